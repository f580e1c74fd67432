"""The configuration of a run: what follows from its flags, its weights and its data."""

import textwrap
from argparse import Namespace
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch

from dataloaders.sampling import ClipConfig
from engine.resume import PreviousRun
from network import build_model
from network.normalize import input_of
from network.weights import PretrainedModel

BATCH_SIZE = 16  # where there are as many training videos
DEFAULT_INPUT = "residual"  # from scratch, where the network can choose


@dataclass(frozen=True)
class TrainConfig:
    """All settings of a run; checkpoints store them as a dict, from which the run resumes.

    The fields have the names of the flags, see docs/train.md. What a flag leaves open is decided
    here: the split, the clips, the input and the batch size are those of the run.
    """

    dataset: str
    split: str
    fold: int
    clip_len: int
    frame_interval: int | None
    frame_rate: float | None
    source_fps: float | None
    crop_size: int
    min_scale: float
    no_flip: bool
    color_jitter: float
    model: str
    depth: int
    input: str | None  # None for a network without `normalize`
    weights: str | None
    pretrained: bool
    freeze: str
    dropout: float | None
    epochs: int
    repeat: int
    batch_size: int
    accumulate: int
    balance: str
    optimizer: str
    lr: float
    head_lr: float
    lr_scheduler: str
    warmup_epochs: float | None
    milestones: tuple[int, ...] | None
    gamma: float
    momentum: float | None  # None for optimizers without
    weight_decay: float
    clip_grad: float | None
    label_smoothing: float
    test_windows: int
    seed: int
    best_by: str
    snapshot: int
    no_amp: bool

    def texts_and_numbers(self) -> dict[str, Any]:
        """Return the settings that are set as texts, numbers and booleans, for people."""
        settings = {name: value for name, value in asdict(self).items() if value is not None}
        if self.milestones is not None:
            settings["milestones"] = ",".join(map(str, self.milestones))
        return settings

    def __str__(self) -> str:
        """Return the settings that are set, as they are printed at the start."""
        settings = [
            f"{name} {value}"
            for name, value in self.texts_and_numbers().items()
            if value is not False
        ]
        return textwrap.fill("settings: " + ", ".join(settings), 100, subsequent_indent="  ")


def resolve_config(
    args: Namespace,
    clip: ClipConfig,
    pretrained: PretrainedModel | None,
    *,
    split: str,
    batch_size: int,
) -> TrainConfig:
    """Return the configuration of a run.

    Args:
        args: The flags.
        clip: How clips are cut.
        pretrained: The weights that a new run starts from; None without.
        split: The rule by which the videos are split.
        batch_size: Clips of a batch of each process.
    """
    values = {field.name: getattr(args, field.name) for field in fields(TrainConfig)}
    values.update(
        clip_len=clip.clip_len,
        frame_interval=clip.frame_interval,
        frame_rate=clip.frame_rate,
        split=split,
        input=resolve_input(args, pretrained),
        batch_size=batch_size,
    )
    return TrainConfig(**values)


def resolve_clip(args: Namespace, pretrained: PretrainedModel | None) -> ClipConfig:
    """Return how clips are cut: as the flags say, or else as those that the weights saw.

    Args:
        args: The flags.
        pretrained: The weights that a new run starts from; None for others.
    """
    clip_len = args.clip_len
    frame_interval = args.frame_interval
    frame_rate = args.frame_rate
    if pretrained is not None and pretrained.clip is not None:
        if clip_len is None:
            clip_len = pretrained.clip["clip_len"]
        if frame_interval is None and frame_rate is None:
            frame_interval = pretrained.clip.get("frame_interval")
            frame_rate = pretrained.clip.get("frame_rate")
    return ClipConfig.from_flags(args.crop_size, clip_len, frame_interval, frame_rate)


def resolve_options(
    args: Namespace, previous: PreviousRun | None, pretrained: PretrainedModel | None
) -> dict[str, Any]:
    """Return the options of the network, beside its number of classes.

    Args:
        args: The flags.
        previous: The run that is resumed or tested; None for a new one.
        pretrained: The weights that a new run starts from; None for others.
    """
    if previous is not None:
        return dict(previous.checkpoint["options"])
    if pretrained is not None:
        options = dict(pretrained.options)
    elif args.depth != 18:
        options = {"depth": args.depth}
    else:
        options = {}
    if args.dropout is not None:
        options["dropout"] = args.dropout
    return options


def resolve_input(args: Namespace, pretrained: PretrainedModel | None) -> str | None:
    """Return what the network sees: as the weights did, as the flag says, or else residuals.

    Args:
        args: The flags.
        pretrained: The weights that a new run starts from; None without.

    Returns:
        One of `network.normalize.INPUTS`; None for a network that has no `normalize`.
    """
    if pretrained is not None:
        return input_of(pretrained.model)
    if args.input is not None:
        return args.input
    with torch.device("meta"):
        network = build_model(args.model, 1)
    return None if input_of(network) is None else DEFAULT_INPUT
