"""The numbers of charts: values in bins of even widths, and the counts of names."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

MAX_BINS = 12
OUTLIERS = 0.02  # of the values, the largest, which share a wider last bin
MAX_BARS = 8  # of names; two others or more share one


@dataclass(frozen=True)
class Bar:
    """One bar of a chart.

    Attributes:
        label: What it counts, such as "0 to 5" or "320x240".
        count: How many.
    """

    label: str
    count: int


@dataclass(frozen=True)
class Histogram:
    """Values in bins.

    Attributes:
        bars: A bar for each bin.
        edges: The lower edge of each bin, and the upper one of the last.
        is_open: Whether the last bin is wider than the others, up to the largest value.
        has_single_values: Whether each other bin holds one whole number.
    """

    bars: list[Bar]
    edges: list[str]
    is_open: bool
    has_single_values: bool

    @property
    def peak(self) -> int:
        """The count of the highest bar."""
        return max(bar.count for bar in self.bars)


def make_histogram(values: Sequence[float], *, is_whole: bool = False) -> Histogram | None:
    """Count values in at most `MAX_BINS` bins, whose edges are round numbers.

    Each bin holds its lower edge and not its upper one.

    Args:
        values: The values, from 0 on.
        is_whole: Whether they are whole numbers.

    Returns:
        The bins; None where there are no values.
    """
    if not values:
        return None
    bins = _choose_bins(values, is_whole=is_whole)
    counts = Counter(bins.find(value) for value in values)
    bars = [Bar(bins.label(i), counts[i]) for i in range(bins.count)]
    edges = [_format(bins.edge(i)) for i in range(bins.count)]
    last = bins.largest if bins.is_open else bins.edge(bins.count)
    has_single_values = is_whole and bins.step == 1
    return Histogram(bars, [*edges, _format(last)], bins.is_open, has_single_values)


@dataclass(frozen=True)
class _Bins:
    """The bins of a histogram; `first` and `step` say where they begin."""

    first: int  # the lowest edge, in steps
    step: float
    count: int
    largest: float  # value
    is_open: bool  # whether the last one goes up to the largest value
    is_whole: bool

    def edge(self, i: int) -> float:
        """Return the lower edge of a bin."""
        return (self.first + i) * self.step

    def find(self, value: float) -> int:
        """Return the number of the bin of a value."""
        return min(_steps(value, self.step) - self.first, self.count - 1)

    def label(self, i: int) -> str:
        """Return what a bin holds."""
        low = _format(self.edge(i))
        if self.is_open and i == self.count - 1:
            return f"{low} to {_format(self.largest)}"
        if not self.is_whole:
            return f"{low} to {_format(self.edge(i + 1))}"
        return low if self.step == 1 else f"{low} to {_format(self.edge(i + 1) - 1)}"


def _choose_bins(values: Sequence[float], *, is_whole: bool) -> _Bins:
    """Choose bins in which a few values far above the others do not press these into one."""
    ordered = sorted(values)
    low = ordered[0]
    largest = ordered[-1]
    num_usual = min(math.ceil((1 - OUTLIERS) * len(ordered)), len(ordered) - 1)
    usual = ordered[max(num_usual, 1) - 1]
    is_open = largest > 2 * usual and largest > usual + 2 * (usual - low)
    high = usual if is_open else largest
    step = _round_step(max(high - low, high / MAX_BINS), is_whole=is_whole)
    first = _steps(low, step)
    count = _steps(high, step) - first + (2 if is_open else 1)
    return _Bins(first, step, count, largest, is_open, is_whole)


def _steps(value: float, step: float) -> int:
    """Return how many whole steps a value has."""
    return math.floor(value / step + 1e-9)


def _round_step(span: float, *, is_whole: bool) -> float:
    """Return 1, 2 or 5 times a power of ten, of which at most `MAX_BINS` - 2 make up `span`."""
    step = span / (MAX_BINS - 2)
    if is_whole and step <= 1:
        return 1
    if step <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(step))
    factor = next(factor for factor in (1, 2, 5, 10) if step <= factor * power * (1 + 1e-9))
    step = factor * power
    return round(step) if is_whole else step


def _format(value: float) -> str:
    """Return a number for people."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def count_names(names: Sequence[str]) -> list[Bar]:
    """Count names, the most frequent first; those beyond `MAX_BARS` share a last bar.

    Args:
        names: A name for each video.
    """
    counts = sorted(Counter(names).items(), key=lambda item: (-item[1], item[0]))
    bars = [Bar(name, count) for name, count in counts]
    rest = bars[MAX_BARS:]
    if len(rest) < 2:
        return bars
    return [*bars[:MAX_BARS], Bar(f"{len(rest):,} others", sum(bar.count for bar in rest))]
