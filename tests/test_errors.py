import contextlib
import io
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from conftest import usual_signals

from engine import errors
from engine.errors import StopSignal, UsageError, exit_on_user_error


def test_the_first_signal_is_recorded_and_a_later_one_has_its_usual_effect(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(errors.time, "monotonic", lambda: now[0])
    with usual_signals(), StopSignal() as received:  # a shell's background job ignores SIGINT
        assert received.signum is None
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


@pytest.mark.slow
def test_the_scripts_run_without_docstrings():
    code = (
        "import inference, train; from dataloaders import preprocess; from engine import args; "
        "from recognition.args import get_args_parser; "
        "print(args.get_args_parser().format_help(), get_args_parser().format_help()); "
        "preprocess.main(['--help'])"
    )
    command = [sys.executable, "-OO", "-c", code]
    root = Path(__file__).parent.parent
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("usage:") == 3


def test_outside_the_main_thread_no_handler_is_installed():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    found = []

    def work():
        with StopSignal() as stop:
            found.extend(signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM))
            found.append(stop.signum)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [*before, None]


def test_standard_output_prints_any_name_within_a_script_and_is_as_before_after_it():
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    with contextlib.redirect_stdout(stream), exit_on_user_error("a.py", status=1):
        print("\udce9 \u4e2d", flush=True)
    assert stream.buffer.getvalue() == b"\\udce9 \\u4e2d\n"
    assert stream.errors == "strict"


def test_a_users_error_is_one_line_and_a_status(capsys):
    with pytest.raises(SystemExit) as stop, exit_on_user_error("a.py", status=3):
        raise UsageError("no such flag")
    assert stop.value.code == 3
    assert capsys.readouterr().err == "a.py: no such flag\n"
    with pytest.raises(ZeroDivisionError), exit_on_user_error("a.py", status=3):
        raise ZeroDivisionError
