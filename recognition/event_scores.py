"""How well the events of a network agree with the truth: scores, and the kinds of errors."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from recognition.average_precision import IOU_TOLERANCE, Detections
from recognition.event_tables import Event

IOUS = (0.3, 0.5, 0.7)  # temporal IoU from which on an event is right
ERROR_IOU = 0.5  # at which errors are counted
BORDER_IOU = 0.1  # from which on an event that is not right has wrong borders


@dataclass(frozen=True)
class Errors:
    """Each event and each truth by its kind, at a temporal IoU of `ERROR_IOU`.

    Every event is right, has a wrong class or wrong borders, or is false. Every truth is found
    (by an event that is right), belongs to an event with a wrong class or wrong borders, or is
    missed.

    Attributes:
        right: Pairs of an event and a truth of its label with enough IoU.
        wrong_class: Pairs with enough IoU, but of different labels.
        wrong_borders: Pairs of one label with an IoU of `BORDER_IOU` or more, but not enough.
        missed: Truths in none of these pairs.
        false: Events in none of these pairs.
    """

    right: int
    wrong_class: int
    wrong_borders: int
    missed: int
    false: int


@dataclass(frozen=True)
class ClassScore:
    """The score of a class.

    Attributes:
        average_precision: At each temporal IoU.
        truths: How often it happens.
        events: How often it is found, rightly or wrongly.
    """

    average_precision: dict[float, float]
    truths: int
    events: int


@dataclass(frozen=True)
class EventScores:
    """How well events agree with the truth.

    Attributes:
        classes: The score of each class that the truth has.
        mean_average_precision: Over these classes, at each temporal IoU.
        f1: Of all events together, at each temporal IoU.
        frame_accuracy: See `frame_accuracy`.
        errors: Events and truths by kind.
    """

    classes: dict[str, ClassScore]
    mean_average_precision: dict[float, float]
    f1: dict[float, float]
    frame_accuracy: float
    errors: Errors


def score_events(detections: Detections) -> EventScores:
    """Compute all scores of events; there must be one truth or more."""
    precisions = {iou: detections.average_precisions(iou) for iou in IOUS}
    num_truths = Counter(truth.label for truth in detections.truths)
    num_events = Counter(event.label for event in detections.events)
    classes = {}
    for label in sorted(num_truths):
        of_class = {iou: precisions[iou][label] for iou in IOUS}
        classes[label] = ClassScore(of_class, num_truths[label], num_events[label])
    return EventScores(
        classes=classes,
        mean_average_precision={iou: sum(precisions[iou].values()) / len(classes) for iou in IOUS},
        f1={iou: f1_score(detections, iou) for iou in IOUS},
        frame_accuracy=frame_accuracy(detections.events, detections.truths),
        errors=count_errors(detections),
    )


def f1_score(detections: Detections, min_iou: float) -> float:
    """Return the harmonic mean of precision and recall of all events.

    Args:
        detections: The events and the truth, of which there is one or more.
        min_iou: The IoU of an event that is right.
    """
    num_right = len(detections.match(min_iou))
    return 2 * num_right / (len(detections.events) + len(detections.truths))


def count_errors(detections: Detections) -> Errors:
    """Give each event and each truth exactly one kind.

    Of the events and truths that are not right, those of the largest IoU are paired first.
    """
    found = detections.match(ERROR_IOU)
    used_events = set(found)
    used_truths = set(found.values())
    pairs = []
    for event, overlaps in enumerate(detections.overlaps):
        pairs += [(iou, event, truth) for truth, iou in overlaps.items()]
    counts = Counter()
    for iou, event, truth in sorted(pairs, key=lambda pair: -pair[0]):
        if event in used_events or truth in used_truths:
            continue
        has_label = detections.events[event].label == detections.truths[truth].label
        if iou < (BORDER_IOU if has_label else ERROR_IOU) - IOU_TOLERANCE:
            continue
        counts[has_label] += 1
        used_events.add(event)
        used_truths.add(truth)
    return Errors(
        right=len(found),
        wrong_class=counts[False],
        wrong_borders=counts[True],
        missed=len(detections.truths) - len(used_truths),
        false=len(detections.events) - len(used_events),
    )


def frame_accuracy(events: Sequence[Event], truths: Sequence[Event]) -> float:
    """Return the share of time in which the labels of the events are right.

    At a moment they are right if there is one or more and the truth has each of them, or if
    neither has any. Each video counts from 0 to the last end in either table.

    Args:
        events: What was found.
        truths: What a person says; one or more.
    """
    right = 0.0
    total = 0.0
    for changes in _changes_of_videos(events, truths).values():
        found = Counter()
        true = Counter()
        previous = 0.0
        for change in changes:
            total += change.time - previous
            if _agree(found, true):
                right += change.time - previous
            labels = true if change.is_truth else found
            labels[change.label] += change.step
            previous = change.time
    return right / total


def _agree(found: Counter[str], true: Counter[str]) -> bool:
    """Whether labels that hold at a moment, each so often, are right."""
    found_labels = set(+found)
    true_labels = set(+true)
    return found_labels <= true_labels and bool(found_labels) == bool(true_labels)


@dataclass(frozen=True)
class _Change:
    """A label begins to hold at a time (step 1), or ceases to (-1)."""

    time: float
    is_truth: bool
    label: str
    step: int


def _changes_of_videos(
    events: Sequence[Event], truths: Sequence[Event]
) -> dict[str, list[_Change]]:
    """Return the changes in each video, in the order of their times."""
    changes = defaultdict(list)
    for is_truth, rows in ((False, events), (True, truths)):
        for row in rows:
            changes[row.video].append(_Change(row.start, is_truth, row.label, 1))
            changes[row.video].append(_Change(row.end, is_truth, row.label, -1))
    for of_video in changes.values():
        of_video.sort(key=lambda change: change.time)
    return changes
