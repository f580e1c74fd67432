"""How a script ends early: by a signal, or by a mistake of the user, which is one line."""

import contextlib
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from dataloaders.errors import DataError
from dataloaders.samplers import DistributedBatchSampler
from network.errors import ModelError


class UsageError(ValueError):
    """Flags are wrong, or do not go together."""


class CheckpointError(ValueError):
    """A checkpoint is damaged, or of another version."""


class Stopped(Exception):
    """Training or testing stopped after a step because of the signal `signum`."""

    def __init__(self, signum: int):
        self.signum = signum


class NonFiniteLossError(ArithmeticError):
    """The loss or the weights are not finite, `position` clips after the start of the epoch."""

    def __init__(self, position: int):
        self.position = position

    def describe(self, sampler: DistributedBatchSampler, sources: list[str], last: Path) -> str:
        """Return a message that names the step, its videos, and the last checkpoint before it."""
        batch = sampler.order()[self.position :][: sampler.batch_size * sampler.world_size]
        names = ", ".join(sources[index] for index in batch)
        fallback = (
            f"{last} is good: --weights takes it" if last.exists() else "there is no checkpoint yet"
        )
        steps_per_epoch = sampler.num_videos // sampler.clips_per_step
        step = (sampler.epoch - 1) * steps_per_epoch + self.position // sampler.clips_per_step + 1
        place = f"step {step} (epoch {sampler.epoch})"
        return f"the loss is not finite in {place}, of {names}. Look at these, or try a smaller --lr; {fallback}"


USER_ERRORS = (OSError, DataError, ModelError, UsageError, CheckpointError, torch.OutOfMemoryError)


@contextlib.contextmanager
def exit_on_user_error(script: str, status: int) -> Iterator[None]:
    """End the script with one line where the block raises one of `USER_ERRORS`.

    Args:
        script: its name, with which the line begins.
        status: its exit status.
    """
    with any_name_printable():
        try:
            yield
        except USER_ERRORS as error:
            line = (str(error) or type(error).__name__).splitlines()[-1]
            line = re.sub(r"^[\w.]+Error: ", "", line)  # a worker process hands on its traceback
            print(f"{script}: {line}", file=sys.stderr)
            sys.exit(status)


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
        signum: the signal, 0 before.
    """

    def __init__(self):
        self.signum = 0
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
        if not self.signum:
            self.signum = number
            self._received_at = now
        elif now - self._received_at > 2:  # a launcher passes on what its group has received too
            self.__exit__()
            signal.raise_signal(number)
