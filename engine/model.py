"""The network of a run: new, from public weights, or from its checkpoint."""

from argparse import Namespace
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from dataloaders.sampling import ClipConfig
from engine.checkpoint import restore_model
from engine.config import TrainConfig, resolve_clip, resolve_options
from engine.data import RunData
from engine.errors import UsageError
from engine.resume import PreviousRun
from network import build_model, count_flops, head_of, part_of
from network.errors import ModelError
from network.normalize import input_of
from network.weights import PretrainedModel, describe_clip, load_weights


@dataclass(frozen=True)
class RunModel:
    """The network that a run trains.

    Attributes:
        network: The module, which is moved to its device in place.
        options: With which it was built, beside the number of classes.
        new_head: The name of its last layer where that is new on pretrained ones, else None.
    """

    network: nn.Module
    options: dict[str, Any]
    new_head: str | None = None


def set_input(model: nn.Module, input: str) -> None:
    """Choose what a network sees.

    Args:
        model: With `normalize` as its first step.
        input: One of `network.normalize.INPUTS`.

    Raises:
        ModelError: The network has no `normalize`.
    """
    if input_of(model) is None:
        raise ModelError(
            f"--input {input}: this network has no `normalize`, a network.normalize.Normalize, "
            "as its first step"
        )
    model.normalize.set(**{**model.normalize.statistics, "input": input})


def load_pretrained(args: Namespace, paths: Any) -> PretrainedModel | None:
    """Load the weights that a new run starts from, and freeze their stages.

    Args:
        args: The flags.
        paths: `mypath.Path`, which knows the weights of `--pretrained`.

    Returns:
        The weights; None where the run starts from scratch.

    Raises:
        ModelError: They cannot be read, or are of no network that is built here.
        UsageError: The flags name another model than they are for.
    """
    weights = paths.model_dir() if args.pretrained else args.weights
    if weights is None:
        return None
    pretrained = load_weights(weights)
    validate_pretrained(args, pretrained, weights)
    freeze(pretrained.model, args.freeze, args.model)
    if pretrained.clip is not None:
        clip = resolve_clip(args, pretrained)
        print(
            f"{weights}: trained on clips of {describe_clip(pretrained.clip)}; "
            f"this run: {describe_clip(asdict(clip))}"
        )
    return pretrained


def validate_pretrained(args: Namespace, pretrained: PretrainedModel, weights: str) -> None:
    """Raise UsageError where the flags name another model than weights are for.

    Args:
        args: The flags.
        pretrained: The weights.
        weights: Their name.
    """
    depth = pretrained.options.get("depth", 18)
    if (pretrained.name, depth) != (args.model, args.depth):
        flags = f"--model {pretrained.name}"
        if "depth" in pretrained.options:
            flags += f" --depth {depth}"
        raise UsageError(f"{weights}: these weights go with {flags}")
    trained_with = input_of(pretrained.model)
    if args.input not in (None, trained_with):
        raise UsageError(
            f"--input {args.input}: {weights} was trained with {trained_with}; leave the flag out"
        )


def build_run_model(
    config: TrainConfig,
    data: RunData,
    previous: PreviousRun | None,
    pretrained: PretrainedModel | None,
) -> RunModel:
    """Build the network of a run: that of its checkpoint, of the weights, or a new one.

    Args:
        config: Of the run.
        data: Its videos.
        previous: The run that is resumed or tested; None for a new one.
        pretrained: The weights that a new run starts from; None for random ones.
    """
    if previous is not None:
        network = restore_model(previous.checkpoint, previous.file)
        freeze(network, config.freeze, config.model)
        return RunModel(network, previous.checkpoint["options"], previous.checkpoint["head"])
    torch.manual_seed(config.seed)
    if pretrained is not None:
        return adapt_pretrained(config, pretrained, data.classes)
    options = resolve_options(config, None, None)
    channels = data.settings.config.channels
    network = build_model(config.model, len(data.classes), channels=channels, **options)
    if config.input is not None:
        set_input(network, config.input)
    return RunModel(network, options)


def adapt_pretrained(
    config: TrainConfig, pretrained: PretrainedModel, classes: list[str]
) -> RunModel:
    """Give pretrained weights a new last layer where the classes differ.

    Args:
        config: Of the run.
        pretrained: The weights.
        classes: The names of the classes of the run.
    """
    network = pretrained.model
    has_as_many = pretrained.num_classes == len(classes)
    new_head = None
    if not has_as_many or pretrained.classes not in (None, classes):
        new_head = head_of(network)
        fresh = build_model(
            config.model, len(classes), channels=pretrained.channels, **pretrained.options
        )
        network.set_submodule(new_head, fresh.get_submodule(new_head))
    num_known = pretrained.num_classes or 0
    print(f"the weights know {num_known} classes" + (f"; {new_head} is new" if new_head else ""))
    if config.dropout is not None:
        part_of(network, "dropout").p = config.dropout
    return RunModel(network, resolve_options(config, None, pretrained), new_head)


def validate_clips(model: str, clip: ClipConfig, options: dict[str, Any]) -> None:
    """Raise ModelError where a network cannot take such clips, or has no such option.

    Args:
        model: The name of the network.
        clip: How clips are cut.
        options: Of the network.
    """
    count_flops(model, clip.shape, channels=clip.channels, **options)


def describe_model(config: TrainConfig, model: RunModel, clip: ClipConfig) -> str:
    """Return the size of a network as text, and the settings of the run.

    Args:
        config: Of the run.
        model: The network.
        clip: How clips are cut.
    """
    num_parameters = sum(parameter.numel() for parameter in model.network.parameters())
    flops = count_flops(config.model, clip.shape, channels=clip.channels, **model.options)
    shape = "x".join(map(str, clip.shape))
    return (
        f"{config}\n"
        f"{config.model}: {num_parameters:,} parameters, {flops / 1e9:.1f} GFLOPs a clip of {shape}"
    )


def freeze(network: nn.Module, last: str, model: str) -> None:
    """Freeze the stages up to one: their weights, and the statistics of their batch norm, stay.

    Args:
        network: With the stages.
        last: The name of the last stage, "none", or "backbone" for all but the last layer.
        model: The name of the network.

    Raises:
        UsageError: There is no such stage.
    """
    if last == "none":
        return
    head = head_of(network)
    stages = []
    for name, _ in network.named_parameters():
        stage = name.partition(".")[0]
        if stage != head and stage not in stages:
            stages.append(stage)
    choices = ["none", *stages, "backbone"]
    if last not in choices:
        raise UsageError(f"--freeze {last}: {model} has {', '.join(choices)}")
    for stage in stages[: choices.index(last)]:
        network.get_submodule(stage).requires_grad_(False)


def validate_batch_norm(config: TrainConfig, options: dict[str, Any], clip: ClipConfig) -> None:
    """Raise UsageError where batch norm would see one value per channel, which has no variance.

    Args:
        config: Of the run.
        options: Of the network.
        clip: How clips are cut.
    """
    if config.batch_size > 1:
        return
    with torch.device("meta"):
        network = build_model(config.model, 2, channels=clip.channels, **options)
        try:
            network(torch.empty(1, clip.channels, *clip.shape))
        except ValueError:
            size = "x".join(map(str, clip.shape))
            raise UsageError(
                f"--batch-size 1: batch norm needs two values, and {config.model} has one of a "
                f"clip of {size}; use --batch-size 2 or more, or larger clips"
            ) from None
