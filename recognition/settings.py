"""How a model is applied to a video: the settings, with their limits."""

import math
from dataclasses import dataclass

from engine.errors import UsageError
from engine.parser import broken_limit

# The smallest and the largest value.
LIMITS = {
    "top_k": (1, math.inf),
    "stride": (1, math.inf),
    "threshold": (0, 1),
    "smooth": (1, 10_000),
}


@dataclass(frozen=True)
class Settings:
    """How a model is applied to a video.

    Attributes:
        top_k: How many of the likeliest classes are reported.
        stride: Frames from the start of one window to that of the next; None for half a window.
        threshold: A window whose likeliest class is less probable has no label.
        smooth: Probabilities are the mean over so many windows.

    Raises:
        UsageError: A setting is out of range.
    """

    top_k: int = 5
    stride: int | None = None
    threshold: float = 0.0
    smooth: int = 1

    def __post_init__(self):
        for name, (low, high) in LIMITS.items():
            value = getattr(self, name)
            if value is None and name == "stride":
                continue
            limit = broken_limit(value, low, high)
            if limit is not None:
                raise UsageError(f"--{name.replace('_', '-')} {value}: must be {limit}")
