"""Which rows of two tables are compared, and what is said about the others."""

import pytest

from dataloaders.errors import DataError
from recognition.event_tables import Event
from recognition.stored_results import StoredResults
from recognition.truth import compare


def found(video, label="a", start=0, end=1):
    return Event(video, start, end, label, 0.5)


def true(video, label="a", start=0, end=1):
    return Event(video, start, end, label)


@pytest.fixture
def comparison(tmp_path):
    """Compare events and truths; files in `left` lie beside the events."""

    def run(events, truths, left=()):
        for name in left:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text("")
        results = StoredResults(tmp_path)
        return compare(events, truths, folder=tmp_path / "truth", results=results)

    return run


def rows_of(comparison):
    detections = comparison.detections
    return [
        [(row.video, row.label) for row in rows] for rows in (detections.events, detections.truths)
    ]


def test_videos_that_only_one_table_has_are_said(comparison):
    result = comparison([found("x/v.mp4"), found("new.mp4")], [true("v.mp4"), true("w.mp4")])
    events, truths = rows_of(result)
    assert events == [("x/v.mp4", "a")]
    assert truths[0] == ("x/v.mp4", "a") and len(truths) == len(result.videos) == 2
    assert result.notes == [
        "The truth lacks 1 video, whose events do not count: new.mp4.",
        "No event was found in 1 video, where all is missed: w.mp4.",
    ]


@pytest.mark.parametrize("left", ["v.json", "v.mp4.json", "x/v.json", "predictions.csv"])
def test_videos_that_were_not_processed_are_not_missed(comparison, tmp_path, left):
    events = [found("some/x/v.mp4")]
    truths = [true("v.mp4"), true("y/w.mp4"), true("silent.mp4")]
    comparison([found("v")], [true("v")], ["silent.json", left])
    if left == "predictions.csv":
        (tmp_path / left).write_text("video,label\nsome/x/v.mp4,a\nsome/silent.mp4,a\n")
    result = comparison(events, truths)
    assert len(rows_of(result)[1]) == len(result.videos) == 2
    assert result.notes == [
        "inference.py did not process 1 video: y/w.mp4. Not counted.",
        "No event was found in 1 video, where all is missed: silent.mp4.",
    ]


def test_background_is_nothing_that_happens(comparison):
    events = [found("v"), found("v", "background", 1, 2), found("w"), found("x", "background")]
    truths = [true("v"), true("v", "background", 1, 2), true("w", "background"), true("x")]
    result = comparison(events, truths)
    assert rows_of(result) == [[("v", "a"), ("w", "a")], [("v", "a"), ("x", "a")]]
    assert result.videos == ["v", "w", "x"]
    assert result.notes == [
        "4 rows labelled background: nothing happens there, so they do not count."
    ]


def test_labels_that_only_one_table_has_are_said(comparison):
    events = [found("v"), found("v", "b")]
    result = comparison(events, [true("v"), true("v", "c", 1, 2)])
    assert rows_of(result) == [[("v", "a"), ("v", "b")], [("v", "a"), ("v", "c")]]
    assert result.notes == [
        "The truth lacks the label b: such events are errors.",
        "No event has the label c. Correct it if the network's class has another name.",
    ]


def test_overlapping_truths_are_said_and_touching_ones_are_not(comparison):
    truths = [
        true("v", "a", 0, 9),
        true("v", "a", 9, 12),
        true("v", "a", 10, 11),
        true("v", "b", 11, 13),
        true("w", "a", 0, 5),
    ]
    result = comparison([found("v"), found("v", "b"), found("w")], truths)
    assert len(result.detections.truths) == 5
    assert [note for note in result.notes if note.startswith("2 rows of the truth begin while")]


@pytest.mark.parametrize(
    ("events", "truths", "message"),
    [
        (
            [found("v"), found("w")],
            [true("x")],
            "no video in common: the events are about v, w; the truth is about x",
        ),
        (
            [found("v", "a"), found("v", "b")],
            [true("v", "c")],
            "no label in common: the events have a, b; the truth has c",
        ),
        (
            [found("v")],
            [true("v", "background")],
            "the truth has no label but background, so there is nothing to find",
        ),
    ],
)
def test_what_has_nothing_in_common_is_one_line(comparison, events, truths, message):
    with pytest.raises(DataError) as error:
        comparison(events, truths)
    assert str(error.value) == message
