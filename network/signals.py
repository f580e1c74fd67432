"""Ctrl-C, and the SIGTERM of a cluster."""

import signal
import time


class Signals:
    """SIGINT and SIGTERM, noted the first time, so that a step can be finished, and obeyed the second time.

    `Signals()` is called to ask for the number of the signal that came, or 0.
    """

    def __init__(self):
        self.came, self.when = 0, 0
        self.before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}

    def _note(self, number, frame):
        if self.came and time.monotonic() - self.when > 2:  # not the same again, from a launcher that passes it on
            for number, handler in self.before.items():
                signal.signal(number, handler)
            signal.raise_signal(self.came)
        elif not self.came:
            self.came, self.when = number, time.monotonic()

    def __call__(self):
        return self.came
