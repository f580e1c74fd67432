"""Ctrl-C, and the SIGTERM of a cluster."""

import signal
import time


class Stopped(Exception):
    """Training or testing stopped after a step because of the signal `signum`."""

    def __init__(self, signum: int):
        super().__init__(signum)
        self.signum = signum


class StopSignal:
    """Records the first SIGINT or SIGTERM as its `signum`, 0 before, so that the step at hand can be finished.

    A second signal, more than two seconds later, has its usual effect. Leaving the `with` block restores the handlers.
    """

    def __init__(self):
        self.signum, self.received_at = 0, 0.0

    def __enter__(self) -> "StopSignal":
        self.previous = {number: signal.signal(number, self._record) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)

    def _record(self, number, frame):
        if not self.signum:
            self.signum, self.received_at = number, time.monotonic()
        elif time.monotonic() - self.received_at > 2:  # a launcher passes on what the process group has received too
            self.__exit__()
            signal.raise_signal(number)
