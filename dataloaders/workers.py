"""Worker processes of a data loader or of the preprocessing: what they do with signals, and how they end."""

import contextlib
import multiprocessing
import signal

STOP_SIGNALS = {signal.SIGINT, signal.SIGTERM}


@contextlib.contextmanager
def block_signals():
    """Block SIGINT and SIGTERM in this thread, and so in every process and thread that it starts meanwhile.

    A terminal sends Ctrl-C to the workers as well, and a cluster its SIGTERM. Workers that are born with the signals
    blocked cannot be ended by them before they are able to ignore them: the parent finishes its step with their help.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def init_worker(worker):
    """Prepare a worker process of a `DataLoader`: signals are the parent's, and OpenCV has one thread, as the other
    workers have the other cores."""
    import cv2

    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    cv2.setNumThreads(0)  # 1 would wait for the threads of the parent, which a forked process does not have


def end_workers():
    """Kill the worker processes of every `DataLoader`, which do not hear the signals by which Python would end them."""
    if hasattr(signal, "SIGCHLD"):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # PyTorch would complain
    for worker in multiprocessing.active_children():
        worker.kill()
