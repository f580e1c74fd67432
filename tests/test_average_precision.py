"""Average precision, against numbers worked by hand and against its definition."""

import numpy as np
import pytest

from recognition.average_precision import (
    Detections,
    interpolated_average_precision,
    temporal_ious,
)
from recognition.event_tables import Event


def found(*rows):
    """Events of one class and one video: (start, end, probability)."""
    return [Event("v", start, end, "a", probability) for start, end, probability in rows]


def true(*rows):
    return [Event("v", start, end, "a") for start, end in rows]


def test_iou_is_the_shared_time_by_the_time_of_either():
    times = np.array([(0, 10), (5, 15), (10, 20), (12, 13), (2, 4)], float)
    # 0..10: all of it; 5 of 15; they touch; apart; 2 of 10
    assert temporal_ious(0, 10, times).tolist() == pytest.approx([1, 1 / 3, 0, 0, 0.2])
    assert temporal_ious(3, 3, times).tolist() == [0] * 5  # of no length


@pytest.mark.parametrize(
    ("are_right", "num_truths", "expected"),
    [
        ([True], 1, 1),
        ([True], 2, 0.5),
        ([False], 1, 0),
        ([], 3, 0),
        # Precision 0, 1/2, 2/3; the one at recall 1/2 is lifted to that at recall 1.
        ([False, True, True], 2, 2 / 3),
        # Precision 1, 1/2, 2/3, 1/2, 3/5 at recall 1/4, 1/4, 2/4, 2/4, 3/4.
        ([True, False, True, False, True], 4, (1 + 2 / 3 + 3 / 5) / 4),
        # Precision 1, 1/2, 1/3, 1/2, 3/5: 3/5 counts at recall 2/3 and at 1.
        ([True, False, False, True, True], 3, (1 + 3 / 5 + 3 / 5) / 3),
    ],
)
def test_the_interpolated_area_is_that_worked_by_hand(are_right, num_truths, expected):
    assert interpolated_average_precision(are_right, num_truths) == pytest.approx(expected)


def test_the_area_is_the_mean_over_truths_of_the_best_precision_at_their_recall_or_above():
    rng = np.random.default_rng(0)
    for _ in range(50):
        are_right = rng.random(rng.integers(1, 20)) < 0.5
        num_truths = int(are_right.sum()) + int(rng.integers(1, 4))
        total = 0
        for needed in range(1, num_truths + 1):
            precisions = [
                sum(are_right[:count]) / count
                for count in range(1, len(are_right) + 1)
                if sum(are_right[:count]) >= needed
            ]
            total += max(precisions, default=0)
        area = interpolated_average_precision(are_right.tolist(), num_truths)
        assert area == pytest.approx(total / num_truths)


def test_the_most_probable_event_takes_a_truth_and_the_next_one_is_false():
    events = found((0, 9, 0.5), (0, 10, 0.4), (1, 10, 0.9))
    detections = Detections(events, true((0, 10)))
    assert detections.match(0.5) == {2: 0}
    assert detections.average_precisions(0.5) == {"a": 1}
    less_sure = Detections(found((0, 1, 0.9), (0, 10, 0.4)), true((0, 10)))
    assert less_sure.average_precisions(0.5) == {"a": 0.5}


def test_an_event_takes_the_free_truth_that_it_overlaps_most():
    truths = true((0, 10), (2, 12), (3, 12))  # they overlap each other
    detections = Detections(found((2, 12, 0.9), (2, 12, 0.8), (2, 12, 0.7)), truths)
    # IoU with 2..12 is 8/12, 1 and 9/10.
    assert detections.match(0.5) == {0: 1, 1: 2, 2: 0}
    assert detections.match(0.7) == {0: 1, 1: 2}
    assert detections.match(0.95) == {0: 1}


@pytest.mark.parametrize("shift", [0, 0.1, 1.1, 1234.567])
@pytest.mark.parametrize("iou", [0.3, 0.5, 0.7])
def test_an_iou_that_is_just_enough_is_enough(shift, iou):
    truths = true((shift, shift + 10))
    enough = Detections(found((shift, shift + 10 * iou, 0.5)), truths)
    less = Detections(found((shift, shift + 10 * iou - 0.01, 0.5)), truths)
    assert (len(enough.match(iou)), len(less.match(iou))) == (1, 0)


def test_other_videos_and_labels_are_not_matched_and_each_label_has_its_own_precision():
    events = [
        Event("v", 0, 10, "a", 0.9),
        Event("w", 0, 10, "a", 0.8),  # that truth is in v
        Event("v", 20, 30, "b", 0.7),
        Event("w", 20, 30, "c", 0.9),  # no truth has this label
    ]
    truths = [
        Event("v", 0, 10, "a"),
        Event("w", 50, 60, "a"),
        Event("v", 20, 30, "b"),
        Event("v", 40, 50, "d"),  # no event has this label
    ]
    detections = Detections(events, truths)
    assert detections.match(0.5) == {0: 0, 2: 2}
    assert detections.average_precisions(0.5) == {"a": 0.5, "b": 1, "d": 0}
    assert Detections([], truths).average_precisions(0.5) == {"a": 0, "b": 0, "d": 0}
