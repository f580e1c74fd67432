"""Flags of the scripts: parsed, validated, and carried by checkpoints."""

import argparse
import math
from argparse import Namespace
from collections.abc import Mapping
from typing import Any, NoReturn

from engine.errors import CheckpointError, UsageError

# Flags of the machine and the moment, which a resumed run does not take from its checkpoint, and those it may change.
NOT_INHERITED = ("workers", "device", "compile", "run_dir", "resume", "test_only", "checkpoint")
CHANGEABLE = ("epochs", "snapshot", "clips_per_video")


class ArgumentParser(argparse.ArgumentParser):
    """Raises UsageError where argparse would print its usage and exit."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; --help lists the flags")


def validate_range(args: Namespace, minimum: Mapping[str, float], maximum: Mapping[str, float]) -> None:
    """Raise UsageError where a number is not finite, or outside the limits given by the names of flags."""
    for name, value in vars(args).items():
        low, high = minimum.get(name, -math.inf), maximum.get(name, math.inf)
        if isinstance(value, (int, float)) and not (low <= value <= high and math.isfinite(value)):
            limit = f"{low} or more" if value < low else f"{high} or less" if high < value < math.inf else "a number"
            raise UsageError(f"{flag_of(name)} {value}: must be {limit}")


def flag_of(name: str) -> str:
    """Return the flag that sets the attribute `name`."""
    return f"--{name.replace('_', '-')}"


def inherited_args(args: Namespace) -> dict[str, Any]:
    """Return the flags that a checkpoint carries, by name."""
    return {name: value for name, value in vars(args).items() if name not in NOT_INHERITED}


def set_inherited_defaults(parser: ArgumentParser, values: dict[str, Any], source: str) -> None:
    """Make the flags of the checkpoint `source` the defaults of a parser; CheckpointError where one cannot be."""
    actions = {action.dest: action for action in parser._actions if action.dest not in NOT_INHERITED}
    for name, value in values.items():
        action = actions.get(name)
        if action is None or name == "help":
            raise CheckpointError(f"{source}: damaged, or of another version: unknown flag {name}")
        kind = bool if action.const is True else action.type or str
        is_valid = isinstance(value, kind) or (kind is float and isinstance(value, int))
        is_valid = is_valid and (not action.choices or value in action.choices)
        if not is_valid and (value is not None or action.default is not None):
            raise CheckpointError(f"{source}: damaged, or of another version: {flag_of(name)} {value!r}")
    parser.set_defaults(**values)
