"""Flags of the scripts: parsed, validated, and carried by checkpoints."""

import argparse
import math
import re
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from dataloaders.sampling import CROP_SIZE
from engine import runs
from engine.checkpoint import TRAINING_CONTENT, load_checkpoint, validate_types
from engine.errors import CheckpointError, UsageError
from network.weights import TABLE

# Flags that a resumed run does not inherit from its checkpoint, and inherited ones that it may change.
NOT_INHERITED = (
    "workers",
    "device",
    "compile",
    "run_dir",
    "resume",
    "test_only",
    "checkpoint",
    "help",
)
CHANGEABLE = ("epochs", "snapshot", "clips_per_video")

FRACTIONS = ("momentum", "dropout", "label_smoothing", "min_scale", "threshold")
MINIMUM = dict.fromkeys(
    (*FRACTIONS, "workers", "snapshot", "seed", "lr", "head_lr", "weight_decay", "reconnect"), 0
)
MINIMUM |= dict.fromkeys(
    ("epochs", "batch_size", "clips_per_video", "accumulate", "top_k", "stride", "smooth"), 1
)
MINIMUM |= {"clip_grad": 1e-6, "min_scale": 0.01}
MAXIMUM = (
    dict.fromkeys(FRACTIONS, 1) | dict.fromkeys(("epochs", "snapshot"), 10**9) | {"seed": 2**63 - 1}
)
MAXIMUM |= dict.fromkeys(("clips_per_video", "smooth"), 10**4)


class ArgumentParser(argparse.ArgumentParser):
    """Raises UsageError where argparse would print its usage and exit."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError with the flag, its value and what it must be."""
        out_of_range = re.fullmatch(r"argument (--[\w-]+)\S*: (.*: must be .*)", message)
        if out_of_range:
            raise UsageError(" ".join(out_of_range.groups()))
        raise UsageError(f"{message}; --help lists the flags")


def number(kind: type, low: float, high: float | None = None) -> Callable[[str], Any]:
    """Return a type for argparse: a finite number within limits.

    Args:
        kind: int or float.
        low: The smallest number that is allowed.
        high: The largest; None for any.
    """
    limits = f"{low} or more" if high is None else f"{low} to {high}"

    def parse(text: str) -> Any:
        value = kind(text)
        is_small_enough = high is None or value <= high
        if not (math.isfinite(value) and value >= low and is_small_enough):
            raise argparse.ArgumentTypeError(f"{text}: must be {limits}")
        return value

    parse.__name__ = kind.__name__  # argparse names it where the text is no number
    return parse


class WeightsAction(argparse.Action):
    """Stores the name of weights; "help" prints the names of the public ones, and exits."""

    def __call__(self, parser, namespace, value, option_string=None):  # noqa: D102
        if value == "help":
            print(TABLE.read_text(encoding="utf-8"), end="")
            parser.exit()
        setattr(namespace, self.dest, value)


def validate_range(**flags: Any) -> None:
    """Raise UsageError where a number is not finite, or outside the limits of its flag."""
    for name, value in flags.items():
        low, high = MINIMUM.get(name, -math.inf), MAXIMUM.get(name, math.inf)
        if isinstance(value, (int, float)) and not (low <= value <= high and math.isfinite(value)):
            limit = (
                f"{low} or more"
                if value < low
                else f"{high} or less"
                if high < value < math.inf
                else "a number"
            )
            raise UsageError(f"{flag_of(name)} {value}: must be {limit}")


def flag_of(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def parse_training_args(
    parser: ArgumentParser, argv: Sequence[str] | None
) -> tuple[Namespace, Path | None, Any]:
    """Return (args, run_dir, checkpoint), None for a new run; else the flags of the checkpoint are the defaults.
    UsageError where flags are wrong or not those of the run; CheckpointError where those of the checkpoint are."""
    args = validate_args(parser.parse_args(argv))
    if args.dataset == "demo":
        parser.set_defaults(epochs=7, batch_size=12, crop_size=16)
    if args.model == "C3D":
        parser.set_defaults(lr=0.003, crop_size=CROP_SIZE)
    if args.test_only:
        file = args.checkpoint or runs.newest_best_checkpoint(args.run_dir)
    elif args.resume is not None:
        file = runs.last_checkpoint(args.run_dir, args.resume)
    else:
        return parser.parse_args(argv), None, None
    run_dir = file.parent.parent if file.parent.name == "models" else file.parent
    checkpoint = load_checkpoint(file)
    validate_types(checkpoint, TRAINING_CONTENT, f"{file}: cannot be resumed")
    actions = {
        action.dest: action for action in parser._actions if action.dest not in NOT_INHERITED
    }
    for name, value in checkpoint["args"].items():
        if (action := actions.get(name)) is None:
            raise CheckpointError(f"{file}: damaged, or of another version: unknown flag {name}")
        kind = bool if action.const is True else action.type or str
        is_valid = isinstance(value, (float, int) if kind is float else kind) and value in (
            action.choices or [value]
        )
        if not is_valid and (value is not None or action.default is not None):
            raise CheckpointError(
                f"{file}: damaged, or of another version: {flag_of(name)} {value!r}"
            )
    parser.set_defaults(**checkpoint["args"])
    args = validate_args(parser.parse_args(argv))
    changeable = (*CHANGEABLE, "batch_size") if args.test_only else CHANGEABLE
    for name, previous in checkpoint["args"].items():
        if (value := getattr(args, name)) != previous and name not in changeable:
            raise UsageError(f"{flag_of(name)} {value}: {run_dir} was started with {previous}")
    args.checkpoint = file
    return args, run_dir, checkpoint


def validate_args(args: Namespace) -> Namespace:
    """Return the flags; UsageError where one is out of range, or some do not go together."""
    validate_range(**vars(args))
    if args.checkpoint and not args.test_only:
        raise UsageError("--checkpoint goes with --test-only; --weights FILE starts a run from one")
    if args.resume and args.test_only:
        raise UsageError(
            "--resume or --test-only, not both; --test-only --checkpoint FILE names what to test"
        )
    if args.weights and args.pretrained:
        raise UsageError("--weights or --pretrained, not both")
    if args.freeze != "none" and not (args.weights or args.pretrained):
        raise UsageError(
            f"--freeze {args.freeze}: only --weights or --pretrained give layers worth keeping"
        )
    if args.depth != 18 and args.model == "C3D":
        raise UsageError(f"--depth {args.depth}: C3D has one depth")
    return args
