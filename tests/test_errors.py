import signal

import pytest
from conftest import usual_signals

from engine import errors
from engine.errors import StopSignal


def test_the_first_signal_is_recorded_and_a_later_one_has_its_usual_effect(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(errors.time, "monotonic", lambda: now[0])
    with usual_signals(), StopSignal() as received:  # a shell's background job ignores SIGINT
        assert received.signum == 0
        signal.raise_signal(signal.SIGTERM)
        now[0] += 0.1
        signal.raise_signal(signal.SIGINT)  # the same, passed on by a launcher
        assert received.signum == signal.SIGTERM
        now[0] += 5
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("error", [None, OSError])
def test_leaving_the_block_restores_the_handlers(error):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        with StopSignal():
            assert signal.getsignal(signal.SIGINT) not in before
            if error:
                raise error
    except OSError:
        pass
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
