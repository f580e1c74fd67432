"""The flags of a script: refused in one line, carried by checkpoints."""

import argparse
import contextlib
import math
import sys

# Flags that a resumed run reads anew, and those that it may change.
NOT_INHERITED = ("workers", "device", "compile", "run_dir", "resume", "test_only", "checkpoint")
CHANGEABLE = ("epochs", "snapshot", "clips")


class Parser(argparse.ArgumentParser):
    """Raises ValueError where argparse would print its usage and exit."""

    def error(self, message):
        raise ValueError(f"{message}; --help lists the flags")


def check(args, least, most=None):
    """ValueError where a number is less than `least`, more than `most`, dicts by the flag's name, or not finite."""
    for name, value in vars(args).items():
        low, high = least.get(name, -math.inf), (most or {}).get(name, math.inf)
        if isinstance(value, (int, float)) and not (low <= value <= high and math.isfinite(value)):
            limit = f"{low} or more" if value < low else f"{high} or less" if high < value < math.inf else "a number"
            raise ValueError(f"--{name.replace('_', '-')} {value}: must be {limit}")


def travelling(args):
    """The values of the flags that travel in a checkpoint."""
    return {name: value for name, value in vars(args).items() if name not in NOT_INHERITED}


def command_line(values):
    """Such values as a command line, to be checked like one that a user typed."""
    given = {f"--{name.replace('_', '-')}": value for name, value in values.items() if value not in (None, False)}
    return [flag if value is True else f"{flag}={value}" for flag, value in given.items()]


@contextlib.contextmanager
def in_a_line(script, status, *kinds, dataset="DATASET"):
    """End a script with an exit status and one line where such an error comes, its DATASET named."""
    try:
        yield
    except kinds as error:
        said = str(error) or type(error).__name__
        line = said.splitlines()[-1].removeprefix("FileNotFoundError: ")  # a loader's process tells its traceback
        print(f"{script}: {line.replace('preprocess DATASET', f'preprocess {dataset}')}", file=sys.stderr)
        sys.exit(status)
