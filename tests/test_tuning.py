"""Stored windows become the events that inference.py finds with other flags, and the best flags are found."""

import json
import re
from dataclasses import asdict
from itertools import product

import numpy as np
import pytest
import torch
from brightness import grey
from conftest import make_checkpoint, write_video
from torch import nn

from dataloaders.errors import DataError
from dataloaders.sampling import ClipConfig
from engine.checkpoint import save_checkpoint
from recognition import loading, tuning
from recognition.recognizer import Recognizer
from recognition.stored_results import StoredResults, read_windows


class SoftBrightness(nn.Module):
    """Knows three classes by how near a clip is to a dark, a middle and a bright grey."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        brightness = x.double().mean((1, 2, 3, 4))[:, None] / 255
        return -20 * (brightness - torch.tensor([[0.2, 0.5, 0.8]])) ** 2


@pytest.fixture
def soft(tmp_path, monkeypatch):
    """Write a checkpoint of a model that is less sure where a clip shows two things; gives its path."""
    monkeypatch.setattr(loading, "restore_model", lambda content, file: SoftBrightness())

    def write(**clip):
        content = make_checkpoint(clip=asdict(ClipConfig.from_flags(16, **clip)))
        save_checkpoint(content, tmp_path / "soft.pth")
        return tmp_path / "soft.pth"

    return write


def flicker(count, seed=0):
    """Images whose brightness wanders, a step about every two thirds of a second."""
    rng = np.random.default_rng(seed)
    levels = rng.integers(20, 235, count // 16 + 1)
    return grey(*[(int(level), 16) for level in levels])[:count]


def events_of(windows, factor, smooth, threshold):
    events = tuning.events_of({"v": tuning.label_windows(windows, factor, smooth)}, threshold)
    return [(event.label, event.start, event.end, event.probability) for event in events]


@pytest.mark.parametrize(
    ("fps", "count", "clip", "stride"),
    [
        (25, 201, {}, 5),
        (30, 200, {"clip_len": 8}, 4),  # 1/30 s has no three digits
        (25, 200, {"frame_rate": 15}, 4),  # by time, the images are not at even distances
        (25, 70, {}, 9),  # little more than a window
        (25, 40, {}, 4),  # less than a window
        (25, 3, {}, 1),
    ],
)
def test_stored_windows_give_the_events_of_other_flags(project, soft, fps, count, clip, stride):
    checkpoint = soft(**clip)
    video = write_video(project.folder / "v.avi", flicker(count), fps)
    project.run("inference.py", "v.avi", "--checkpoint", checkpoint, "--stride", stride)
    windows = read_windows(project.folder / "output" / "v.json")
    compared = 0
    for factor, (smooth, threshold) in product((1, 2, 3, 4), ((1, 0), (3, 0.5))):
        recognizer = Recognizer(
            checkpoint, stride=factor * stride, smooth=smooth, threshold=threshold
        )
        expected = recognizer.predict(video)["events"]
        found = events_of(windows, factor, smooth, threshold)
        assert [event[0] for event in found] == [event["label"] for event in expected]
        for event, wanted in zip(found, expected, strict=True):
            assert event[1:3] == pytest.approx((wanted["start"], wanted["end"]), abs=0.0011)
            assert event[3] == pytest.approx(wanted["probability"], abs=1e-6)
        compared += len(found)
    assert compared >= 8


def test_the_printed_flags_score_what_was_promised(project, soft):
    """On two videos, whose truth is what the model finds with flags that it is not told."""
    checkpoint = soft()
    write_video(project.folder / "in" / "x" / "v.avi", flicker(300))
    write_video(project.folder / "in" / "y" / "v.avi", flicker(280, seed=1))
    secret = ("--stride", 12, "--smooth", 3, "--threshold", 0.45)
    project.run("inference.py", "in", "--checkpoint", checkpoint, *secret, "--no-video")
    (project.folder / "output" / "events.csv").rename(project.folder / "truth.csv")
    project.run(
        "inference.py", "in", "--checkpoint", checkpoint, "--stride", 4, "--output", "first"
    )
    score = ("-m", "recognition.score", "first/events.csv", "truth.csv", "--json", "scores.json")
    lines = project.run(*score, "--tune").stdout.splitlines()
    (place,) = [number for number, line in enumerate(lines) if line.startswith("--threshold")]
    assert lines[place - 2] == (
        "Searched: --threshold 0 to 0.99, --smooth 1 3 5 7 9 13 17 25, --stride 4 8 12 16 24 32 48."
    )
    before, after = re.findall(r"\d\.\d{3}", lines[place - 1])
    assert after == "1.000" > before
    assert "optimistic" in lines[place + 1]
    tuned = json.loads((project.folder / "scores.json").read_text())["tuned"]
    assert tuned["flags"] == lines[place] and tuned["f1"] == 1
    assert (tuned["smooth"], tuned["stride"]) == (3, 12)

    flags = lines[place].split()
    project.run("inference.py", "in", "--checkpoint", checkpoint, *flags, "--output", "second")
    project.run(*score[:2], "second/events.csv", "truth.csv", "--json", "scores.json")
    scores = json.loads((project.folder / "scores.json").read_text())
    assert set(scores["f1"].values()) == {1} == set(scores["mean_average_precision"].values())
    assert scores["frame_accuracy"] == pytest.approx(1)


def write_json(folder, name="v", **changes):
    """A JSON of inference.py about 4 windows of two seconds, of three of five classes."""
    windows = []
    for number, label in enumerate("abba"):
        others = [name for name in "abc" if name != label]
        guesses = [{"label": label, "probability": 0.5}]
        guesses += [{"label": other, "probability": 0.2} for other in others]
        windows.append(
            {"start": number, "end": number + 2, "middle": number + 0.95, "top_k": guesses}
        )
    report = {
        "video": f"{name}.avi",
        "checkpoint": "best.pth",
        "frames": 50,
        "num_classes": 3,
        "windows": windows,
        "settings": {"top_k": 5, "stride": 10, "threshold": 0.0, "smooth": 1},
    }  # fmt: skip
    (folder / f"{name}.json").write_text(json.dumps(report | changes))
    return folder / f"{name}.json"


def test_the_one_class_that_a_window_does_not_list_has_the_rest(tmp_path):
    file = write_json(tmp_path, num_classes=4)
    report = json.loads(file.read_text())
    report["windows"][0]["top_k"][2] = {"label": "d", "probability": 0.2}  # not c
    file.write_text(json.dumps(report))
    windows = read_windows(file)
    assert (windows.classes, windows.unlisted) == (["a", "b", "c", "d"], 0)
    np.testing.assert_allclose(
        windows.probabilities[:2], [[0.5, 0.2, 0.1, 0.2], [0.2, 0.5, 0.2, 0.1]]
    )
    never_listed = read_windows(write_json(tmp_path, num_classes=4))
    assert (never_listed.classes, never_listed.unlisted) == (["a", "b", "c"], 0)
    assert read_windows(write_json(tmp_path, num_classes=5)).unlisted == 2


@pytest.mark.parametrize(
    ("changes", "searched", "note"),
    [
        ({}, "--smooth 1 3, --stride 10 20.", None),
        ({"settings": {"stride": None}}, "--smooth 1 3.", "The stride is the default one"),
        ({"num_classes": 6}, "--smooth 1, --stride 10 20.", "--smooth is not searched, as 3 classes"),
    ],
)  # fmt: skip
def test_what_the_windows_do_not_tell_is_not_searched(tmp_path, project, changes, searched, note):
    write_json(tmp_path, **changes)
    (tmp_path / "events.csv").write_text("video,start,end,label,probability\nv.avi,0,2,a,1\n")
    (tmp_path / "truth.csv").write_text("video,start,end,label\nv.avi,0,1.5,a\n")
    tables = (tmp_path / "events.csv", tmp_path / "truth.csv")
    output = project.run("-m", "recognition.score", *tables, "--tune").stdout
    assert f"Searched: --threshold 0 to 0.99, {searched}\n" in output
    assert (note is None) or f"\n{note}" in output
    assert ("--stride" in output.splitlines()[-2]) == ("--stride" in searched)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"settings": {"smooth": 3}}, "made with --smooth 3; run inference.py without it"),
        ({"dropped": 0}, "of a live source; run inference.py on the recording"),
        ({"windows": [{"start": 0}]}, "no windows of this version; run inference.py again"),
        ({"windows": []}, "no windows of this version; run inference.py again"),
        ({"settings": None}, "no windows of this version; run inference.py again"),
    ],
)
def test_a_json_that_tells_too_little_is_named(tmp_path, changes, message):
    file = write_json(tmp_path, **changes)
    with pytest.raises(DataError) as error:
        read_windows(file)
    assert str(error.value) == f"{file}: {message}"


def test_a_damaged_json_is_named(tmp_path):
    for text in ("", "{", "[]", "3"):
        (tmp_path / "v.json").write_text(text)
        with pytest.raises(DataError, match="v.json: no windows of this version"):
            read_windows(tmp_path / "v.json")


def test_files_that_do_not_belong_together_are_named(tmp_path):
    write_json(tmp_path)
    write_json(tmp_path, "w", settings={"stride": 20})
    videos = tuning.read_videos(["v.avi"], StoredResults(tmp_path))
    assert list(videos) == ["v.avi"]
    with pytest.raises(DataError, match=r"w.json: made with another stride than the other videos"):
        tuning.read_videos(["v.avi", "w.avi"], StoredResults(tmp_path))
    with pytest.raises(DataError, match=r"^x.avi: --tune needs its JSON beside the events"):
        tuning.read_videos(["v.avi", "x.avi"], StoredResults(tmp_path))


@pytest.mark.parametrize(
    ("given", "video", "is_it"),
    [
        ("a/v.avi", "a/v.avi", True),
        ("a/v.avi", "/far/a/v.avi", True),
        ("./v.avi", "/far/a/v.avi", True),
        ("b/v.avi", "a/v.avi", False),
        ("v.avi", "rev.avi", False),
    ],
)
def test_the_json_of_another_video_of_the_same_name_is_not_taken(tmp_path, given, video, is_it):
    file = write_json(tmp_path, video=given)
    assert read_windows(file).is_about(video) == is_it
    if not is_it and video.endswith("/v.avi"):
        with pytest.raises(DataError, match="^a/v.avi: --tune needs its JSON"):
            tuning.read_videos([video], StoredResults(tmp_path))


def test_a_window_as_probable_as_the_threshold_has_its_label(tmp_path):
    windows = read_windows(write_json(tmp_path))
    labels = [[event[0] for event in events_of(windows, 1, 1, p)] for p in (0.49, 0.5, 0.51)]
    assert labels == [["a", "b", "a"], ["a", "b", "a"], []]


def test_of_equal_flags_those_of_the_least_work_are_taken(tmp_path, project):
    """Of a video that shows one thing, all thresholds up to a half find it, and all other flags."""
    file = write_json(tmp_path)
    report = json.loads(file.read_text())
    for window in report["windows"]:
        window["top_k"] = report["windows"][0]["top_k"]
    file.write_text(json.dumps(report))
    (tmp_path / "events.csv").write_text("video,start,end,label,probability\nv.avi,0,5,a,1\n")
    (tmp_path / "truth.csv").write_text("video,start,end,label\nv.avi,0,5,a\n")
    tables = (tmp_path / "events.csv", tmp_path / "truth.csv")
    lines = project.run("-m", "recognition.score", *tables, "--tune").stdout.splitlines()
    assert lines[-3:-1] == [
        "The mean F1 over IoU 0.3, 0.5, 0.7 is 1.000 now and 1.000 with",
        "--threshold 0 --smooth 1 --stride 20",
    ]
