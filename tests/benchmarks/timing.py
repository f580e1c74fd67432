"""Ways of doing the same work are timed by turns; each result is a row of a table."""

import contextlib
import io
import os
import time
from dataclasses import dataclass
from statistics import median

from dataloaders.workers import available_cores

COLUMNS = ("work", "classic", "ours", "ratio", "floor", "fraction of the floor")
CUDA_COLUMNS = ("share of the bf16 peak", "peak memory, GiB")
CORES = available_cores()


@dataclass(frozen=True)
class Effort:
    """How much work is timed, and how often.

    Attributes:
        rounds: Turns of each way that count.
        num_videos: Of which frames are extracted.
        num_frames: Of the video that is annotated.
        num_classic_frames: Of it, those that the classic way reads; it has 15 passes fewer.
        is_thorough: Whether there are rows of stride 1, and starts with long indexes.
    """

    rounds: int
    num_videos: int
    num_frames: int
    num_classic_frames: int
    is_thorough: bool


QUICK = Effort(3, num_videos=96, num_frames=157, num_classic_frames=19, is_thorough=False)
THOROUGH = Effort(9, num_videos=400, num_frames=317, num_classic_frames=25, is_thorough=True)
CUDA = Effort(2, num_videos=160, num_frames=317, num_classic_frames=100, is_thorough=True)


@contextlib.contextmanager
def quiet():
    """Print nothing."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def run_by_turns(rounds, warm_ups=0, **ways):
    """Units a second of each way in each round.

    Ways that take turns meet the same neighbours on a shared machine: their ratio within a round
    varies by less than a tenth where their speeds vary by a third.

    Args:
        rounds: How many times each way has its turn.
        warm_ups: Rounds before these that do not count.
        ways: Functions by their names; each does its work and returns how many units that was.

    Returns:
        A list of `rounds` speeds for each name.
    """
    speeds = {name: [] for name in ways}
    for number in range(warm_ups + rounds):
        for name, way in ways.items():
            if hasattr(os, "sync"):
                os.sync()  # what the last one wrote
            start = time.perf_counter()
            with quiet():
                units = way()
            if number >= warm_ups:
                speeds[name].append(units / (time.perf_counter() - start))
    return speeds


def make_row(work, classic, ours, floor):
    """A row of the median speeds of some work, and the medians of how ours compares in a round.

    Args:
        work: What was done.
        classic: A speed a round, as the other two.
        ours: The speeds of this project.
        floor: The speeds of the unavoidable part.
    """
    ratios = [one / other for one, other in zip(ours, classic, strict=True)]
    fractions = [one / other for one, other in zip(ours, floor, strict=True)]
    return {
        "work": work,
        "classic": median(classic),
        "ours": median(ours),
        "ratio": median(ratios),
        "floor": median(floor),
        "fraction of the floor": median(fractions),
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
