"""Ways of doing the same work are timed by turns; each result is a row of a table."""

import contextlib
import io
import os
import time

from dataloaders.workers import available_cores

COLUMNS = ("work", "classic", "ours", "ratio", "floor", "fraction of the floor")
CUDA_COLUMNS = ("share of the bf16 peak", "peak memory, GiB")
CORES = available_cores()


@contextlib.contextmanager
def quiet():
    """Print nothing."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def best(rounds, **ways):
    """Units a second of each way, in its best round.

    Args:
        rounds: How many times each way has its turn.
        ways: Functions by their names; each does its work and returns how many units that was.
    """
    speeds = dict.fromkeys(ways, 0)
    for _ in range(rounds):
        for name, way in ways.items():
            if hasattr(os, "sync"):
                os.sync()  # what the last one wrote
            start = time.perf_counter()
            with quiet():
                units = way()
            speeds[name] = max(speeds[name], units / (time.perf_counter() - start))
    return speeds


def make_row(work, classic, ours, floor):
    """A row of the three speeds of some work, and how ours compares with the others."""
    return {
        "work": work,
        "classic": classic,
        "ours": ours,
        "ratio": ours / classic,
        "floor": floor,
        "fraction of the floor": ours / floor,
    }


def format_header():
    """The names of the columns, in one line."""
    return "{:38}{:>10}{:>10}{:>9}{:>10}{:>8}".format(*COLUMNS[:5], "of it")


def format_row(row):
    """A row, which need not have all columns, in one line."""
    cells = [f"{row['work']:38}"]
    for column, width in (("classic", 10), ("ours", 10), ("ratio", 9), ("floor", 10)):
        cell = ""
        if column == "ratio" and column in row:
            cell = f"{row[column]:.2f}x"
        elif column in row:
            cell = f"{row[column]:,.{0 if row[column] >= 100 else 2}f}"
        cells.append(f"{cell:>{width}}")
    if "fraction of the floor" in row:
        cells.append(f"{row['fraction of the floor']:8.2f}")
    if CUDA_COLUMNS[0] in row:
        share, memory = (row[column] for column in CUDA_COLUMNS)
        cells.append(f"{share:7.1%} of the peak{memory:7.1f} GiB")
    return "".join(cells).rstrip()
