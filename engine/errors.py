"""How a script ends: by a mistake of the user, by a signal, or by a loss that is not finite."""

import contextlib
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from dataloaders.errors import UserError
from network.errors import ModelError


class UsageError(UserError):
    """Flags are wrong, or do not go together."""


class CheckpointError(UserError):
    """A checkpoint is damaged, or of another version."""


class Stopped(Exception):  # noqa: N818  a signal is no error
    """Training or testing stopped after a step because of a signal.

    Attributes:
        signum: The number of the signal.
    """

    def __init__(self, signum: int):
        super().__init__(signum)
        self.signum = signum


class NonFiniteLossError(ArithmeticError):
    """The loss or the weights are not finite.

    Attributes:
        position: Clips of the epoch before the batch in which it happened.
    """

    def __init__(self, position: int):
        super().__init__(position)
        self.position = position


# What ends a script with one line; everything else is a bug, and keeps its traceback.
USER_ERRORS = (UserError, ModelError, torch.OutOfMemoryError)


@dataclass
class Ending:
    """The exit status of a script.

    Attributes:
        error_status: After a mistake of the user; by custom 2 before the work has begun, then 1.
        status: Where nothing is raised.
    """

    error_status: int
    status: int = 0


@contextlib.contextmanager
def exit_on_user_error(script: str, status: int = 2) -> Iterator[Ending]:
    """End a script with one line where the block raises one of `USER_ERRORS`.

    Args:
        script: Its name, with which the line begins.
        status: Its exit status then.

    Yields:
        The exit statuses, which the block may change.
    """
    ending = Ending(error_status=status)
    with any_name_printable():
        try:
            yield ending
        except USER_ERRORS as error:
            print(f"{script}: {describe_error(error)}", file=sys.stderr)
            sys.exit(ending.error_status)
    if ending.status:
        sys.exit(ending.status)


def describe_error(error: Exception) -> str:
    """Return the message of a mistake as one line."""
    line = (str(error) or type(error).__name__).splitlines()[-1]
    return re.sub(r"^[\w.]+Error: ", "", line)  # a worker process hands on its traceback


@contextlib.contextmanager
def any_name_printable() -> Iterator[None]:
    """Let the block print any name of a file, also one that the console cannot show."""
    stdout = sys.stdout
    if not hasattr(stdout, "reconfigure"):  # a notebook's, or none
        yield
        return
    errors = stdout.errors
    stdout.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        if not stdout.closed:
            stdout.reconfigure(errors=errors)


class StopSignal:
    """Records the first SIGINT or SIGTERM, so that the step at hand can be finished.

    A second signal, over two seconds later, has its usual effect. Leaving the `with` block restores
    the handlers. Outside the main thread, where Python allows no handlers, no signal is recorded.

    Attributes:
        signum: The number of the signal; None before there is one.
    """

    def __init__(self):
        self.signum: int | None = None
        self._received_at = 0.0
        self._previous = {}

    def __enter__(self) -> "StopSignal":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is not None:  # else C code set it, for ever
                    self._previous[number] = signal.signal(number, self._record)
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _record(self, number, frame):
        now = time.monotonic()
        if self.signum is None:
            self.signum = number
            self._received_at = now
        elif now - self._received_at > 2:  # a launcher passes on what its group has received too
            self.__exit__()
            signal.raise_signal(number)
