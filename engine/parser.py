"""What the parsers of both command lines have in common: their errors, numbers and weights."""

import argparse
import math
import re
from collections.abc import Callable
from typing import Any, NoReturn

from engine.errors import UsageError
from network.weights import TABLE


class ArgumentParser(argparse.ArgumentParser):
    """Raises UsageError where argparse would print its usage and exit."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError with the flag, its value and what it must be."""
        out_of_range = re.fullmatch(r"argument (--\S+): (.*: must be .*)", message)
        if out_of_range:
            raise UsageError(" ".join(out_of_range.groups()))
        raise UsageError(f"{message}; --help lists the flags")


def number(kind: type, low: float, high: float = math.inf) -> Callable[[str], Any]:
    """Return a type for argparse: a finite number within limits.

    Args:
        kind: `int` or `float`.
        low: The smallest number that is allowed.
        high: The largest.
    """

    def parse(text: str) -> Any:
        value = kind(text)
        limit = broken_limit(value, low, high)
        if limit is not None:
            raise argparse.ArgumentTypeError(f"{value}: must be {limit}")
        return value

    parse.__name__ = kind.__name__  # argparse names it where the text is no number
    return parse


def broken_limit(value: float, low: float, high: float = math.inf) -> str | None:
    """Say what a number must be; None where it is that.

    Args:
        value: The number.
        low: The smallest that is allowed.
        high: The largest.
    """
    if not math.isfinite(value):
        return "a number"
    if value < low:
        return f"{low} or more"
    if value > high:
        return f"{high} or less"
    return None


class WeightsAction(argparse.Action):
    """Stores the name of weights; "help" prints the names of the public ones, and exits."""

    def __call__(self, parser, namespace, value, option_string=None):  # noqa: D102
        if value == "help":
            print(TABLE.read_text(encoding="utf-8"), end="")
            parser.exit()
        setattr(namespace, self.dest, value)
