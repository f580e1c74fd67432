"""What the parsers of both command lines have in common: their errors, numbers and weights."""

import argparse
import math
import re
import shlex
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
        unreadable = re.fullmatch(r"\[Errno \d+\] (.*): '(.*)'", message)
        if unreadable:
            reason, file = unreadable.groups()
            raise UsageError(f"@{file}: cannot be read: {reason}")
        raise UsageError(f"{message}; --help lists the flags")

    def convert_arg_line_to_args(self, arg_line: str) -> list[str]:
        """Split a line of a file of flags; "#" begins a comment."""
        arg_line.encode()  # fails where argparse could not decode it
        try:
            return shlex.split(arg_line, comments=True)
        except ValueError as error:
            raise UsageError(f"no line of flags: {arg_line.strip()[:60]!r}: {error}") from None

    def parse_known_args(self, args=None, namespace=None):  # noqa: D102
        try:
            return super().parse_known_args(args, namespace)
        except UnicodeError:
            raise UsageError("a file behind @ is no text; it has flags and # comments") from None
        except RecursionError:
            raise UsageError("a file behind @ names itself") from None


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


def ascending(text: str) -> tuple[int, ...]:
    """Parse ascending whole numbers with commas between them, for argparse."""
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = (0,)
    if numbers[0] < 1 or list(numbers) != sorted(set(numbers)):
        raise argparse.ArgumentTypeError(f"{text}: must be ascending, 1 or more, like 6,10,14")
    return numbers


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
