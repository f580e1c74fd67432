"""Worker processes: how they treat signals, and how they end."""

import contextlib
import multiprocessing
import signal
from collections.abc import Iterator

STOP_SIGNALS = {signal.SIGINT, signal.SIGTERM}


@contextlib.contextmanager
def block_signals() -> Iterator[None]:
    """Block SIGINT and SIGTERM here and in workers started within, which are needed until the step at hand ends."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def worker_init_fn(worker_id: int) -> None:
    """Prepare a worker process of a DataLoader: ignore the stop signals and keep OpenCV to one thread."""
    import cv2

    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    cv2.setNumThreads(
        0
    )  # 1 would wait for the threads of the parent, which a forked process does not have


def kill_workers() -> None:
    """Kill the worker processes of every DataLoader; they ignore the SIGTERM with which Python would end them."""
    if hasattr(signal, "SIGCHLD"):
        signal.signal(
            signal.SIGCHLD, signal.SIG_DFL
        )  # PyTorch's handler would report the killed workers
    for worker in multiprocessing.active_children():
        worker.kill()
