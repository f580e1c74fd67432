"""Worker processes: how many there may be, how they treat signals, and how they end."""

import contextlib
import math
import multiprocessing
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

STOP_SIGNALS = {signal.SIGINT, signal.SIGTERM}
CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
SHARED_MEMORY = Path("/dev/shm")  # of Linux; other systems have no such folder


def available_cores() -> int:
    """Return how many cores this process may use: those of its affinity, at most its quota.

    `os.cpu_count` has those of the machine, of which a job of a cluster or a container may use few.
    """
    affinity = getattr(os, "sched_getaffinity", None)  # not of macOS and Windows
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return math.ceil(min(cores, cgroup_quota()))


def cgroup_quota() -> float:
    """Return how many cores the control groups of this process grant; infinity without a limit."""
    try:
        lines = MEMBERSHIP.read_text().splitlines()
    except OSError:  # not Linux
        return math.inf
    quota = math.inf
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers == "":  # version 2
            root = CGROUPS
        elif "cpu" in controllers.split(","):
            root = CGROUPS / "cpu"
        else:
            continue
        # A container may see the group of the host in its path, and its own at the root.
        folder = root / group.lstrip("/")
        for path in (folder, *folder.parents):
            if path.is_relative_to(root):
                quota = min(quota, _read_quota(path))
    return quota


def _read_quota(folder: Path) -> float:
    """Return the limit of one control group of either version, in cores; infinity without one."""
    for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        with contextlib.suppress(OSError, ValueError):  # ValueError of "max", no limit
            texts = [(folder / name).read_text() for name in names]
            quota, period = " ".join(texts).split()
            if int(quota) > 0:
                return int(quota) / int(period)
    return math.inf


def describe_missing_shared_memory(num_bytes: int) -> str | None:
    """Say why workers cannot hand over so many bytes through shared memory; None where they can."""
    try:
        multiprocessing.Lock()
    except OSError as error:
        return f"there is no shared memory ({error.strerror})"
    if SHARED_MEMORY.is_dir():
        free = shutil.disk_usage(SHARED_MEMORY).free
        if free < num_bytes:
            needed = f"{num_bytes / 1e6:.2f} MB of shared memory are needed"
            return f"{needed}, {SHARED_MEMORY} has {free / 1e6:.2f} MB"
    return None


@contextlib.contextmanager
def block_signals() -> Iterator[None]:
    """Block SIGINT and SIGTERM here and in workers started within, which the step at hand needs."""
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
    """Prepare a worker of a DataLoader: ignore the stop signals, use one thread of OpenCV."""
    import cv2

    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    # 1 would wait for the threads of the parent, which a forked process does not have.
    cv2.setNumThreads(0)


def kill_workers() -> None:
    """Kill the worker processes of every DataLoader, which ignore the SIGTERM that Python sends."""
    if hasattr(signal, "SIGCHLD"):
        # PyTorch's handler would report the killed workers.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for worker in multiprocessing.active_children():
        worker.kill()
