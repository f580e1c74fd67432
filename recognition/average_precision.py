"""Average precision of events, as ActivityNet's evaluation defines it.

An event is right if it overlaps a truth of its label enough. How much two of them overlap is their
temporal IoU: the time that they share, divided by the time that at least one of them covers
(Caba Heilbron et al. 2015, "ActivityNet", section 4.3).
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from recognition.event_tables import Event

IOU_TOLERANCE = 1e-9  # 0.7 s of 1 s reach an IoU of 0.7, whatever their differences round to


@dataclass(frozen=True)
class Detections:
    """Events that a network found, and the truth about the same videos.

    Attributes:
        events: What was found, with probabilities.
        truths: What a person says.
    """

    events: Sequence[Event]
    truths: Sequence[Event]

    @cached_property
    def ranking(self) -> list[int]:
        """The places of the events, the most probable one first."""
        return sorted(range(len(self.events)), key=lambda place: -self.events[place].probability)

    @cached_property
    def overlaps(self) -> list[dict[int, float]]:
        """For each event its temporal IoU with the truths that it overlaps, by their places."""
        places = defaultdict(list)
        for place, truth in enumerate(self.truths):
            places[truth.video].append(place)
        times = {}
        for video, indices in places.items():
            times[video] = np.array([(self.truths[i].start, self.truths[i].end) for i in indices])
        overlaps = []
        for event in self.events:
            if event.video not in times:
                overlaps.append({})
                continue
            ious = temporal_ious(event.start, event.end, times[event.video])
            overlapping = ious.nonzero()[0]
            overlaps.append({places[event.video][i]: float(ious[i]) for i in overlapping})
        return overlaps

    def match(self, min_iou: float) -> dict[int, int]:
        """Find the events that are right.

        The most probable event comes first. It takes, of the truths of its label that no event
        has taken, the one with the largest IoU.

        Args:
            min_iou: The IoU that the two must have.

        Returns:
            For the place of each event that is right the place of its truth.
        """
        found = {}
        taken = set()
        for place in self.ranking:
            label = self.events[place].label
            best = None
            best_iou = min_iou - IOU_TOLERANCE
            for truth, iou in self.overlaps[place].items():
                is_free = truth not in taken and self.truths[truth].label == label
                if is_free and iou >= best_iou:
                    best = truth
                    best_iou = iou
            if best is not None:
                found[place] = best
                taken.add(best)
        return found

    def average_precisions(self, min_iou: float) -> dict[str, float]:
        """Return the average precision of each label that the truth has.

        Args:
            min_iou: The IoU of an event that is right.
        """
        found = self.match(min_iou)
        are_right = defaultdict(list)
        for place in self.ranking:
            are_right[self.events[place].label].append(place in found)
        counts = defaultdict(int)
        for truth in self.truths:
            counts[truth.label] += 1
        return {
            label: interpolated_average_precision(are_right[label], counts[label])
            for label in sorted(counts)
        }


def temporal_ious(start: float, end: float, times: np.ndarray) -> np.ndarray:
    """Return the temporal IoU of one event with others.

    Args:
        start: Of the event, in seconds.
        end: Of the event, in seconds.
        times: (N, 2), start and end of each other one, which has a length.

    Returns:
        (N,), 0 for those that do not overlap.
    """
    starts, ends = times.T
    shared = (np.minimum(ends, end) - np.maximum(starts, start)).clip(min=0)
    return shared / (ends - starts + end - start - shared)


def interpolated_average_precision(are_right: Sequence[bool], num_truths: int) -> float:
    """Return the area below the interpolated curve of precision over recall.

    The interpolated precision at a recall is the highest one at this recall or above it, as in
    Pascal VOC since 2010 (Everingham et al. 2010, section 4.2) and in ActivityNet's evaluation.

    Args:
        are_right: Whether each event is right, the most probable one first.
        num_truths: How many events there are to be found, one or more.
    """
    right = np.array(are_right, bool)
    precision = right.cumsum() / np.arange(1, len(right) + 1)
    interpolated = np.maximum.accumulate(precision[::-1])[::-1]
    return float(interpolated[right].sum() / num_truths)
