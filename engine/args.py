"""The flags of train.py: parsed, and inherited by a run that is resumed."""

import argparse
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import torch

from dataloaders.arguments import add_data_arguments
from dataloaders.sampling import CROP_SIZE
from dataloaders.workers import available_cores
from engine.config import BATCH_SIZE
from engine.metrics import BEST_BY
from engine.optimizer import OPTIMIZERS, SCHEDULES
from engine.parser import ArgumentParser, WeightsAction, ascending, number
from engine.resume import PreviousRun, inherited_flags, open_previous_run, validate_unchanged
from engine.validation import GAMMA, validate_args, validate_schedule
from network import MODELS
from network.normalize import INPUTS
from network.resnet import LAYERS

MAX_SEED = 2**63 - 1

# Defaults that depend on another flag and its value.
DEFAULTS = {
    ("dataset", "demo"): {"epochs": 7, "batch_size": 12, "crop_size": 16},
    ("model", "C3D"): {"lr": 0.003, "crop_size": CROP_SIZE},
    ("optimizer", "adam"): {"lr": 0.001, "weight_decay": 0.0, "momentum": None},
    ("optimizer", "adamw"): {"lr": 0.001, "weight_decay": 0.01, "momentum": None},
}


def get_args_parser() -> ArgumentParser:
    """Return the parser of all flags of train.py."""
    parser = ArgumentParser(
        description="Train C3D, R3D or R(2+1)D to recognise actions in videos.",
        epilog="@FILE reads flags from a file, such as one of recipes/; later flags override it.",
        fromfile_prefix_chars="@",
    )
    add_dataset_flags(parser.add_argument_group("data"))
    add_model_flags(parser.add_argument_group("model"))
    optimization = parser.add_argument_group("optimization")
    add_epoch_flags(optimization)
    add_optimizer_flags(optimization)
    add_schedule_flags(optimization)
    add_test_flags(parser.add_argument_group("test"))
    add_run_flags(parser.add_argument_group("run"))
    return parser


def add_dataset_flags(group: argparse._ArgumentGroup) -> None:
    """Add the flags that choose the data, the clips and their augmentation."""
    add = group.add_argument
    add("--dataset", default="ucf101", help="a data set named in mypath.py (%(default)s)")
    add_data_arguments(group)
    add(
        "--min-scale",
        type=number(float, 0.01, 1),
        default=1,
        help="crop at random this share of a frame's area or more (%(default)s: a fixed size)",
    )
    add(
        "--no-flip",
        action="store_true",
        help="mirror no clips, for classes that tell left from right",
    )
    add(
        "--color-jitter",
        type=number(float, 0, 1),
        default=0,
        metavar="S",
        help="change brightness, contrast, saturation and hue at random so much (%(default)s)",
    )
    add(
        "--workers",
        type=number(int, 0),
        default=min(8, available_cores()),
        help="processes that read clips (%(default)s)",
    )


def add_model_flags(group: argparse._ArgumentGroup) -> None:
    """Add the flags that choose the network and the weights it starts from."""
    add = group.add_argument
    add("--model", choices=MODELS, default="R2Plus1D", help="the network (%(default)s)")
    add(
        "--depth",
        type=int,
        choices=LAYERS,
        default=18,
        help="layers of R3D and R2Plus1D (%(default)s)",
    )
    add(
        "--input",
        choices=INPUTS,
        help="frames, or how each differs from the one before (residual, or as the weights)",
    )
    add(
        "--weights",
        metavar="FILE",
        action=WeightsAction,
        help="weights to start from: a file, or public ones by name (help lists them)",
    )
    add("--pretrained", action="store_true", help="start from the weights that mypath.py names")
    add(
        "--freeze",
        default="none",
        metavar="STAGE",
        help="freeze the layers up to this stage; backbone: all but the last layer",
    )
    add(
        "--dropout",
        type=number(float, 0, 1),
        metavar="P",
        help="probability of dropping a unit before the last layers (C3D 0.5, others 0)",
    )


def add_epoch_flags(group: argparse._ArgumentGroup) -> None:
    """Add the flags of the epochs, their batches and the loss."""
    add = group.add_argument
    add("--epochs", type=number(int, 1), default=50, help="passes over the data (%(default)s)")
    add(
        "--repeat",
        type=number(int, 1, 10_000),
        default=1,
        metavar="N",
        help="clips of each training video in an epoch (%(default)s)",
    )
    add("--batch-size", type=number(int, 1), help=f"clips a batch, of each process ({BATCH_SIZE})")
    add(
        "--accumulate",
        type=number(int, 1),
        default=1,
        metavar="STEPS",
        help="batches that make one step (%(default)s)",
    )
    add(
        "--balance",
        choices=("none", "loss", "sampler"),
        default="none",
        help="weigh or draw rare classes more (%(default)s)",
    )
    add(
        "--label-smoothing",
        type=number(float, 0, 1),
        default=0,
        metavar="E",
        help="share of the target that all classes get alike (%(default)s)",
    )


def add_optimizer_flags(group: argparse._ArgumentGroup) -> None:
    """Add the flags of the optimizer."""
    add = group.add_argument
    add("--optimizer", choices=OPTIMIZERS, default="sgd", help="(%(default)s)")
    add(
        "--lr",
        type=number(float, 0),
        default=0.01,
        help="peak learning rate (0.01; C3D 0.003; Adam 0.001)",
    )
    add(
        "--head-lr",
        type=number(float, 0),
        default=10,
        metavar="FACTOR",
        help="learning rate of a new last layer, in units of --lr (%(default)s)",
    )
    add("--momentum", type=number(float, 0, 1), default=0.9, help="of SGD (%(default)s)")
    add(
        "--weight-decay",
        type=number(float, 0),
        default=5e-4,
        help="of the optimizer (%(default)s; Adam 0, AdamW 0.01)",
    )
    add(
        "--clip-grad",
        type=number(float, 1e-6),
        metavar="NORM",
        help="largest norm of the gradient of a step",
    )


def add_schedule_flags(group: argparse._ArgumentGroup) -> None:
    """Add the flags of the schedule of the learning rate."""
    add = group.add_argument
    add(
        "--lr-scheduler",
        choices=SCHEDULES,
        default="cosine",
        help="cosine, or a fall at each milestone (%(default)s)",
    )
    add(
        "--milestones",
        type=ascending,
        metavar="E,E",
        help="epochs after which the rate of the schedule step falls (each 10)",
    )
    add(
        "--gamma",
        type=number(float, 0, 1),
        default=GAMMA,
        help="factor of the rate at a milestone (%(default)s)",
    )
    add(
        "--warmup-epochs",
        type=number(float, 0),
        metavar="E",
        help="epochs in which the rate rises to its peak (cosine a tenth of them, step 0)",
    )


def add_test_flags(group: argparse._ArgumentGroup) -> None:
    """Add the flags of the test."""
    add = group.add_argument
    add(
        "--test-windows",
        "--clips-per-video",
        type=number(int, 1, 10_000),
        default=10,
        metavar="N",
        help="windows of each test video (%(default)s)",
    )
    add("--test-only", action="store_true", help="test a checkpoint again, without training")
    add("--checkpoint", type=Path, metavar="FILE", help="the checkpoint to test (the newest best)")


def add_run_flags(group: argparse._ArgumentGroup) -> None:
    """Add the flags of the run folder and of the machine."""
    add = group.add_argument
    add(
        "--seed",
        type=number(int, 0, MAX_SEED),
        default=0,
        help="seed of everything random but the split (%(default)s)",
    )
    add("--best-by", choices=BEST_BY, default="top1", help="in validation (%(default)s)")
    add(
        "--snapshot",
        type=number(int, 0),
        default=0,
        metavar="E",
        help="keep a checkpoint every E epochs",
    )
    add(
        "--resume",
        nargs="?",
        const="latest",
        metavar="RUN",
        help="resume a run, by default the latest",
    )
    add("--run-dir", type=Path, default="./run", help="folder of the runs (%(default)s)")
    add("--compile", action="store_true", help="compile the model before the first step")
    add(
        "--no-amp",
        action="store_true",
        help="32-bit floats on CUDA too, where mixed precision is the default",
    )
    add(
        "--device",
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="where to compute (%(default)s)",
    )


def parse_training_args(argv: Sequence[str] | None) -> tuple[Namespace, PreviousRun | None]:
    """Parse the flags of a start.

    Args:
        argv: The command line; None for that of the process.

    Returns:
        The flags, and the run that they resume or test. Its flags are their defaults. None for a
        new run.

    Raises:
        UsageError: Flags are wrong, do not go together, or are not those of the run.
        FileError: There is no such run.
        CheckpointError: Its checkpoint is damaged.
    """
    parser = get_args_parser()
    args = parser.parse_args(argv)
    for (name, value), defaults in DEFAULTS.items():
        if getattr(args, name) == value:
            parser.set_defaults(**defaults)
    args = parser.parse_args(argv)
    validate_args(args)
    previous = open_previous_run(args)
    if previous is None:
        validate_schedule(args)
        return args, None
    inherited = inherited_flags(previous, args)
    parser.set_defaults(**inherited)
    args = parser.parse_args(argv)
    validate_unchanged(args, inherited, previous.folder)
    validate_args(args)
    validate_schedule(args)
    return args, previous
