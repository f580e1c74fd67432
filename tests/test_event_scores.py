"""Frame accuracy, F1 and the kinds of errors, against numbers worked by hand."""

import numpy as np
import pytest

from recognition.average_precision import Detections
from recognition.event_scores import Errors, count_errors, frame_accuracy, score_events
from recognition.event_tables import Event


def found(*rows, video="v"):
    return [Event(video, start, end, label, 0.5) for start, end, label in rows]


def true(*rows, video="v"):
    return [Event(video, start, end, label) for start, end, label in rows]


@pytest.mark.parametrize(
    ("events", "truths", "expected"),
    [
        ([(0, 10, "a")], [(0, 10, "a")], 1),
        ([(0, 10, "b")], [(0, 10, "a")], 0),
        ([], [(5, 10, "a")], 0.5),  # nothing happens up to 5, and nothing is found
        ([(0, 4, "a")], [(2, 10, "a")], 0.2),  # right from 2 to 4 of 10
        ([(0, 10, "a")], [(0, 10, "a"), (0, 10, "b")], 1),  # one of two labels is right
        ([(0, 10, "a"), (0, 5, "b")], [(0, 10, "a")], 0.5),  # b is wrong, though a is right
        ([(0, 6, "a"), (3, 9, "a")], [(0, 8, "a"), (7, 9, "a")], 1),  # overlapping alike
        ([(0, 2, "a"), (2, 4, "b")], [(0, 2, "a"), (2, 4, "b")], 1),  # they touch
    ],
)
def test_frame_accuracy_is_that_worked_by_hand(events, truths, expected):
    assert frame_accuracy(found(*events), true(*truths)) == pytest.approx(expected)


def test_frame_accuracy_is_that_of_each_second_of_all_videos():
    rng = np.random.default_rng(0)
    rows = {False: [], True: []}
    for video in "vw":
        for is_truth in rows:
            for _ in range(12):
                start = int(rng.integers(50))
                end = start + int(rng.integers(1, 9))
                label = "abc"[rng.integers(3)]
                rows[is_truth].append(Event(video, start, end, label, 0.5))
    right = total = 0
    for video in "vw":
        last = max(row.end for is_truth in rows for row in rows[is_truth] if row.video == video)
        for second in range(last):
            events, truths = (
                {
                    row.label
                    for row in rows[is_truth]
                    if row.video == video and row.start <= second < row.end
                }
                for is_truth in (False, True)
            )
            total += 1
            right += (not events and not truths) or (bool(events) and not events - truths)
    assert 0.1 < right / total < 0.9
    assert frame_accuracy(rows[False], rows[True]) == pytest.approx(right / total)


@pytest.mark.parametrize(
    ("events", "truths", "expected"),
    [
        ([(0, 10, "a")], [(0, 10, "a")], Errors(1, 0, 0, 0, 0)),
        ([(0, 10, "b")], [(0, 10, "a")], Errors(0, 1, 0, 0, 0)),
        ([(0, 10, "b")], [(0, 30, "a")], Errors(0, 0, 0, 1, 1)),  # the class and a third of IoU
        ([(0, 10, "a")], [(0, 30, "a")], Errors(0, 0, 1, 0, 0)),
        ([(0, 1, "a")], [(0, 10, "a")], Errors(0, 0, 1, 0, 0)),  # just a tenth
        ([(0, 1, "a")], [(0, 11, "a")], Errors(0, 0, 0, 1, 1)),
        ([(20, 30, "a")], [(0, 10, "a")], Errors(0, 0, 0, 1, 1)),
        ([], [(0, 10, "a"), (0, 10, "b")], Errors(0, 0, 0, 2, 0)),
        # A truth in pieces: one has wrong borders, the others are false.
        ([(0, 3, "a"), (3, 6, "a"), (6, 10, "a")], [(0, 10, "a")], Errors(0, 0, 1, 0, 2)),
        # The second event of a truth is false, as is one of another class.
        ([(0, 10, "a"), (0, 9, "a"), (0, 9, "b")], [(0, 10, "a")], Errors(1, 0, 0, 0, 2)),
        # Two labels at once: one is found.
        ([(0, 10, "a")], [(0, 10, "a"), (0, 10, "b")], Errors(1, 0, 0, 1, 0)),
        # The larger IoU comes first: 0..10 is b by 9/10, not a by 3/10.
        ([(0, 10, "a")], [(0, 9, "b"), (7, 17, "a")], Errors(0, 1, 0, 1, 0)),
    ],
)
def test_each_event_and_each_truth_has_one_kind(events, truths, expected):
    assert count_errors(Detections(found(*events), true(*truths))) == expected


def test_kinds_add_up_to_the_events_and_to_the_truths():
    rng = np.random.default_rng(0)
    for _ in range(20):
        rows = []
        for _ in range(30):
            start = rng.uniform(0, 50)
            rows.append((start, start + rng.uniform(1, 9), "abc"[rng.integers(3)]))
        detections = Detections(found(*rows[:17]), true(*rows[17:]))
        errors = count_errors(detections)
        paired = errors.right + errors.wrong_class + errors.wrong_borders
        assert (paired + errors.false, paired + errors.missed) == (17, 13)
        assert errors.right == len(detections.match(0.5))


def test_scores_are_those_of_each_class_and_of_all():
    events = [
        Event("v", 0, 10, "a", 0.9),
        Event("v", 10, 14, "b", 0.8),  # 4 of 10
        Event("w", 0, 3, "a", 0.7),
    ]
    truths = [
        Event("v", 0, 9, "a"),
        Event("v", 10, 20, "b"),
        Event("w", 0, 3, "b"),
        Event("x", 1, 2, "c"),
    ]
    scores = score_events(Detections(events, truths))
    assert list(scores.classes) == ["a", "b", "c"]
    assert scores.classes["a"].average_precision == {0.3: 1, 0.5: 1, 0.7: 1}
    assert scores.classes["b"].average_precision == {0.3: 0.5, 0.5: 0, 0.7: 0}
    assert scores.classes["c"].average_precision == {0.3: 0, 0.5: 0, 0.7: 0}
    counts = [(score.truths, score.events) for score in scores.classes.values()]
    assert counts == [(1, 2), (2, 1), (1, 0)]
    assert scores.mean_average_precision == pytest.approx({0.3: 0.5, 0.5: 1 / 3, 0.7: 1 / 3})
    assert scores.f1 == pytest.approx({0.3: 4 / 7, 0.5: 2 / 7, 0.7: 2 / 7})
    assert scores.frame_accuracy == pytest.approx((9 + 4 + 0 + 1) / (20 + 3 + 2))
    assert scores.errors == Errors(right=1, wrong_class=1, wrong_borders=1, missed=1, false=0)
