"""The command that scores events: what it prints, what it writes and what it refuses."""

import json
import random
import re
import time

import pytest

from recognition import score

EVENTS = """video,start,end,label,probability
a.mp4,0,10,x,0.9
a.mp4,10,14,y,0.8
sub/b.mp4,0,3,x,0.5
z.mp4,0,3,x,0.5
"""
TRUTH = """video,start,end,label
a.mp4,0,9,x
a.mp4,10,20,y
b,0,3,y
c.mp4,1,2,w
"""


@pytest.fixture
def tables(tmp_path):
    (tmp_path / "events.csv").write_text(EVENTS)
    (tmp_path / "truth.csv").write_text(TRUTH)
    return tmp_path / "events.csv", tmp_path / "truth.csv"


def test_scores_are_printed_as_a_table_and_written_as_json(project, tables):
    output = project.run("-m", "recognition.score", *tables, "--json", "scores.json").stdout
    assert output == (
        "3 events and 4 truths in 3 videos\n"
        "The truth lacks 1 video, whose events do not count: z.mp4.\n"
        "No event was found in 1 video, where all is missed: c.mp4.\n"
        "No event has the label w. Correct it if the network's class has another name.\n"
        "class         AP@0.3  AP@0.5  AP@0.7  truths  events\n"
        "w              0.000   0.000   0.000       1       0\n"
        "x              1.000   1.000   1.000       1       2\n"
        "y              0.500   0.000   0.000       2       1\n"
        "mean           0.500   0.333   0.333\n"
        "F1 of events   0.571   0.286   0.286\n"
        "frame accuracy 0.560\n"
        "at IoU 0.5: 1 right, 1 wrong class, 1 wrong borders, 1 missed, 0 false\n"
    )
    scores = json.loads((project.folder / "scores.json").read_text())
    assert scores["videos"] == 3 and len(scores["notes"]) == 3
    assert scores["classes"]["y"] == {
        "average_precision": {"0.3": 0.5, "0.5": 0, "0.7": 0},
        "truths": 2,
        "events": 1,
    }
    assert scores["f1"] == pytest.approx({"0.3": 4 / 7, "0.5": 2 / 7, "0.7": 2 / 7})
    assert scores["errors"]["wrong_borders"] == 1
    assert scores["frame_accuracy"] == pytest.approx(0.56)


def test_a_corrected_table_for_training_is_a_truth(project, tables):
    events, truth = tables
    expected = project.run("-m", "recognition.score", events, truth).stdout
    rows = [line.split(",") for line in TRUTH.splitlines()[1:]]
    lines = [f"{path},{label},g,{start},{end}" for path, start, end, label in rows]
    truth.write_text("\n".join(["path,label,group,start,end", *lines]))
    assert project.run("-m", "recognition.score", events, truth).stdout == expected


def test_names_in_any_script_are_printed(project, tables):
    events, truth = tables
    events.write_text(EVENTS.replace(",x,", ",行く,").replace("a.mp4", '"a,\u202e <b>.mp4"'))
    truth.write_text(TRUTH.replace(",x", f",{'long' * 20}").replace("a.mp4", '"a,\u202e <b>.mp4"'))
    output = project.run("-m", "recognition.score", *tables).stdout
    assert "The truth lacks the label 行く: such events are errors." in output
    assert re.search(r"^(long){9}lon… ", output, re.MULTILINE)


@pytest.mark.parametrize(
    ("events", "truth", "message"),
    [
        (EVENTS, None, "truth.csv: No such file or directory"),
        (EVENTS, "", "truth.csv: an empty table"),
        (EVENTS, TRUTH.replace("label", "class"), "truth.csv: it has no column label"),
        (
            EVENTS,
            TRUTH.replace("0,9", "9,0"),
            "truth.csv: 1 of 4 rows cannot be used; row 2: it ends at 0, not after it starts at 9",
        ),
        (
            EVENTS,
            TRUTH.replace("0,9", "zero,9"),
            "truth.csv: 1 of 4 rows cannot be used; row 2: start 'zero' is not a number",
        ),
        (
            EVENTS,
            "video,start,end,label\nq.mp4,0,1,x\n",
            "no video in common: the events are about a.mp4, sub/b.mp4, z.mp4;"
            " the truth is about q.mp4",
        ),
        (
            EVENTS,
            "video,start,end,label\na.mp4,0,1,X\n",
            "no label in common: the events have x, y; the truth has X",
        ),
        (TRUTH, TRUTH, "events.csv: it has no column probability"),
    ],
)
def test_a_mistake_is_one_line(mistake, tmp_path, events, truth, message):
    for name, text in (("events.csv", events), ("truth.csv", truth)):
        if text is not None:
            (tmp_path / name).write_text(text)
    assert mistake(score, "events.csv", "truth.csv") == f"python -m recognition.score: {message}"


def test_wrong_flags_and_unwritable_files_are_one_line(mistake, tables):
    names = [str(table) for table in tables]
    assert "required: TRUTH.csv" in mistake(score, names[0])
    assert "--tune needs its JSON beside the events" in mistake(score, *names, "--tune")
    assert "none/scores.json" in mistake(score, *names, "--json", "none/scores.json")


def test_ten_thousand_events_take_seconds(project, tmp_path):
    rng = random.Random(0)
    events = ["video,start,end,label,probability"]
    truths = ["video,start,end,label"]
    for number in range(10_000):
        start = rng.uniform(0, 1000)
        row = f"folder{number % 1000}/video.mp4,{start:.3f},{start + rng.uniform(1, 9):.3f}"
        truths.append(f"{row},c{rng.randrange(20)}")
        events.append(f"{row},c{rng.randrange(20)},{rng.random()}")
    (tmp_path / "events.csv").write_text("\n".join(events))
    (tmp_path / "truth.csv").write_text("\n".join(truths))
    started_at = time.process_time()
    project.run("-m", "recognition.score", tmp_path / "events.csv", tmp_path / "truth.csv")
    assert time.process_time() - started_at < 10
