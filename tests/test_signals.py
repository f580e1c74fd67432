import signal

import pytest

from network import signals


def test_a_signal_is_noted_first_and_obeyed_when_it_comes_again(monkeypatch):
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    now = [100.0]
    monkeypatch.setattr(signals.time, "monotonic", lambda: now[0])
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    try:
        interrupted = signals.Signals()
        assert interrupted() == 0
        signal.raise_signal(signal.SIGINT)
        now[0] += 0.1
        signal.raise_signal(signal.SIGTERM)  # the same, passed on by a launcher
        assert interrupted() == signal.SIGINT
        now[0] += 5
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
