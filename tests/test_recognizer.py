"""Events, features, and the class that a program recognises actions with."""

import contextlib
import csv
import io
import json
import re
from itertools import groupby, product

import cv2
import numpy as np
import pytest
import torch
from brightness import grey
from conftest import (
    ROOT,
    edit_mp4,
    make_checkpoint,
    read_video,
    with_durations,
    write_video,
)
from test_network import FrameLSTM
from torch import nn

from dataloaders.demo import LENGTH, draw_video
from dataloaders.sampling import ClipConfig
from engine.checkpoint import save_checkpoint
from engine.errors import UsageError
from inference import Recognizer
from network import MODELS, build_model, head_of
from recognition.classifier import Prediction, Smoother
from recognition.frames import ImageFrame
from recognition.outputs import format_subtitles
from recognition.results import LabelledSpan, Labels, find_events
from recognition.segments import SegmentBuilder


@pytest.fixture
def checkpoint(tmp_path):
    file = tmp_path / "model.pth"
    save_checkpoint(make_checkpoint(), file)
    return file


def tables(folder):
    with open(folder / "events.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 9])
@pytest.mark.parametrize("num_windows", [1, 2, 5, 12])
def test_smoothing_is_the_mean_over_the_windows_around(count, num_windows):
    values = np.random.default_rng(0).random((num_windows, 3), np.float32)
    smoother = Smoother(count)
    smoothed = []
    for number, value in enumerate(values):
        smoothed += smoother.push(Prediction(number, number + 1, np.zeros(1), 0, value))
        assert len(smoothed) == max(0, number + 1 - count // 2)  # so many windows later
    smoothed += smoother.flush()
    assert [prediction.start for prediction in smoothed] == list(range(num_windows))
    for number, prediction in enumerate(smoothed):
        first = max(0, number - (count - 1 - count // 2))
        expected = values[first : number + count // 2 + 1].mean(0)
        np.testing.assert_allclose(prediction.probabilities, expected, rtol=1e-5)


def test_neighbouring_windows_of_one_label_are_an_event():
    spans = [
        LabelledSpan(0, 1.5, "a", 0.8),
        LabelledSpan(1.5, 2.0004, "a", 0.6),
        LabelledSpan(2, 3, None, 0.3),
        LabelledSpan(3, 4, "a", 0.9),
        LabelledSpan(4, 5, "b", 1.0),
    ]
    assert find_events(spans) == [
        {"start": 0, "end": 2.0, "label": "a", "probability": pytest.approx(0.7)},
        {"start": 3, "end": 4, "label": "a", "probability": 0.9},
        {"start": 4, "end": 5, "label": "b", "probability": 1.0},
    ]
    assert find_events(spans[2:3]) == []


@pytest.mark.parametrize("fps", [25, 30])
def test_a_frame_on_a_border_is_in_the_later_segment_whatever_times_round_to(fps):
    for border in range(6, 60):
        builder = SegmentBuilder(keep_frames=False)
        for number in range(80):
            builder.push_frame(ImageFrame(number / fps, None), run=0)
        segments = []
        for first in (border - 4, border):  # the middles are 2 frames later
            times = (first + np.arange(5)) / fps
            segments += builder.push(Prediction(times[0], times[-1], times, 0, np.zeros(1)))
        assert [segment.num_frames for segment in segments] == [border]


def test_events_are_in_the_table_the_json_and_the_subtitles(project, brightness, tmp_path):
    write_video(project.folder / "one.avi", grey((20, 100), (120, 100), (220, 100)), 25)
    write_video(project.folder / "two, with a comma.avi", grey((220, 70)), 25)
    flags = ("--checkpoint", brightness, "--stride", 10)
    project.run("inference.py", "one.avi", "two, with a comma.avi", *flags)
    rows = tables(project.folder / "output")
    assert [(row["video"], row["label"]) for row in rows] == [
        ("one.avi", "a"), ("one.avi", "b"), ("one.avi", "c"), ("two, with a comma.avi", "c")
    ]  # fmt: skip
    report = json.loads((project.folder / "output" / "one.json").read_text())
    for row, event in zip(rows, report["events"], strict=False):
        assert [str(value) for value in event.values()] == list(row.values())[1:]
        assert event["probability"] == pytest.approx(0.8, abs=1e-6)
    assert [event["start"] for event in report["events"]] == pytest.approx([0, 4, 8], abs=10 / 25)
    assert [event["end"] for event in report["events"]] == pytest.approx([4, 8, 12], abs=10 / 25)
    assert (
        report["events"][0]["end"] == report["events"][1]["start"]
        and report["events"][2]["end"] == 12
    )
    cues = (project.folder / "output" / "one_annotated.vtt").read_text().split("\n\n")
    assert cues[0] == "WEBVTT" and len(cues) == 4
    assert cues[3] == f"00:00:{report['events'][2]['start']:06.3f} --> 00:00:12.000\nc (80%)\n"

    project.run("inference.py", "one.avi", *flags, "--threshold", 0.81, "--output", "none")
    report = json.loads((project.folder / "none" / "one.json").read_text())
    assert report["events"] == [] == tables(project.folder / "none")
    assert all(window["label"] is None and window["top_k"] for window in report["windows"])
    assert (project.folder / "none" / "one_annotated.vtt").read_text() == "WEBVTT\n"
    shown, unlabelled = (
        read_video(project.folder / name / "one_annotated.mp4")[0].astype(int)
        for name in ("output", "none")
    )
    assert (
        np.ptp(shown[-1], axis=1).max() > 60 > 30 > np.ptp(unlabelled[-1], axis=1).max()
    )  # the timeline is grey


def test_a_window_that_is_as_probable_as_the_threshold_has_its_label():
    labels = Labels(["a", "b"], top_k=1, threshold=0.75)
    found = []
    for share in (0.74, 0.75, 0.76):
        prediction = Prediction(0.0, 1.0, np.zeros(1), 0, np.float32([1 - share, share]))
        found.append(labels.describe(prediction)["label"])
    assert found == [None, "b", "b"]


def test_labels_are_escaped_in_subtitles():
    events = [{"start": 3599.9, "end": 3700.5, "label": "<a> & b", "probability": 0.755}]
    text = format_subtitles(events)
    assert text == "WEBVTT\n\n00:59:59.900 --> 01:01:40.500\n&lt;a&gt; &amp; b (76%)\n"


def test_smoothing_loses_no_window_at_the_end(brightness, tmp_path):
    video = write_video(tmp_path / "v.avi", grey((20, 100), (220, 100)), 25)
    plain, smoothed = (
        Recognizer(brightness, stride=20, smooth=smooth).predict(video)["windows"]
        for smooth in (1, 5)
    )
    spans = [
        [(window["start"], window["end"]) for window in windows] for windows in (plain, smoothed)
    ]
    assert spans[0] == spans[1] and spans[1][-1][1] == 8


def test_smoothed_probabilities_bridge_a_short_change(project, brightness):
    write_video(project.folder / "one.avi", grey((20, 150), (220, 30), (20, 150)), 25)
    flags = ("one.avi", "--checkpoint", brightness, "--stride", 10, "--no-video")
    project.run("inference.py", *flags)
    assert [row["label"] for row in tables(project.folder / "output")] != ["a"]
    project.run("inference.py", *flags, "--smooth", 15)
    assert [row["label"] for row in tables(project.folder / "output")] == ["a"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, size", [("R3D", 512), pytest.param("C3D", 4096, marks=pytest.mark.slow)]
)
def test_features_are_what_the_last_layer_sees(project, tmp_path, name, size):
    torch.manual_seed(0)
    model = build_model(name, 3)
    nn.init.normal_(model.get_submodule(head_of(model)).weight, std=0.3)
    config = ClipConfig.from_flags(112 if name == "C3D" else 32)
    changes = {
        "model": name,
        "state_dict": model.state_dict(),
        "normalization": model.normalize.statistics,
    }
    save_checkpoint(make_checkpoint(**changes, clip=vars(config)), tmp_path / "model.pth")
    video = write_video(project.folder / "videos" / "a" / "v.avi", 70)
    flags = ("videos", "--checkpoint", tmp_path / "model.pth", "--features", "--stride", 5)
    project.run("inference.py", *flags)
    features = np.load(project.folder / "output" / "a" / "v.npy")
    report = json.loads((project.folder / "output" / "a" / "v.json").read_text())
    assert features.dtype == np.float32 and features.shape == (len(report["windows"]), size) == (
        3,
        size,
    )
    probabilities = model.get_submodule(head_of(model))(torch.from_numpy(features)).softmax(1)
    for row, window in zip(probabilities, report["windows"], strict=True):
        found = {guess["label"]: guess["probability"] for guess in window["top_k"]}
        assert [found[label] for label in "abc"] == pytest.approx(row.tolist(), abs=1e-5)
    project.run("inference.py", *flags, "--no-video", "--output", "table")
    assert np.allclose(np.load(project.folder / "table" / "a" / "v.npy"), features, atol=1e-5)
    found = Recognizer(tmp_path / "model.pth", stride=5).predict(
        video, features=True, grad_cam=True
    )["features"]
    assert np.allclose(found, features, atol=1e-4)


def test_a_program_gets_what_the_script_writes(project, checkpoint):
    video = write_video(project.folder / "v.avi", 100)
    project.run(
        "inference.py",
        "v.avi",
        "--checkpoint",
        checkpoint,
        "--stride",
        12,
        "--smooth",
        3,
        "--threshold",
        0.3,
    )
    written = json.loads((project.folder / "output" / "v.json").read_text())
    assert written["settings"] == {"top_k": 5, "stride": 12, "threshold": 0.3, "smooth": 3}
    recognizer = Recognizer(checkpoint, stride=12, smooth=3, threshold=0.3)
    found = recognizer.predict(str(video))
    assert found["num_classes"] == 3
    # Half of the images, every 4th from 0, 12, 24, 36 and 39 on, come before frame 30 of these.
    assert [25 * window["middle"] - 30 for window in found["windows"]] == [0, 12, 24, 36, 39]
    assert list(found) == list(written)
    assert [round(25 * window["start"]) for window in found["windows"]] == [0, 12, 24, 36, 39]
    assert json.loads(json.dumps(found)) == written | {"video": str(video)}
    for one, other in zip(
        recognizer.stream(read_video(video), fps=25), found["windows"], strict=True
    ):
        assert [one[name] for name in ("start", "end", "label")] == [
            other[name] for name in ("start", "end", "label")
        ]
        assert [guess["probability"] for guess in one["top_k"]] == pytest.approx(
            [guess["probability"] for guess in other["top_k"]], abs=1e-5
        )
    assert (
        recognizer.predict(video, project.folder / "a.mp4", layout="below")["windows"]
        == found["windows"]
    )
    assert read_video(project.folder / "a.mp4")[0].shape[0] > 120


@pytest.mark.parametrize("size", [(96, 64), (160, 120), (322, 242), (1280, 720)])
def test_below_the_picture_labels_hide_nothing_of_it(brightness, tmp_path, size):
    rng = np.random.default_rng(0)
    picture = cv2.resize(
        rng.integers(0, 256, (4, 6, 3), np.uint8), size, interpolation=cv2.INTER_CUBIC
    )
    video = write_video(tmp_path / "v.avi", [picture] * 20)
    recognizer = Recognizer(brightness)
    below, over = tmp_path / "below.mp4", tmp_path / "over.mp4"
    recognizer.predict(video, below, layout="below")
    recognizer.predict(video, over)
    original, below, over = (read_video(file)[10].astype(int) for file in (video, below, over))
    height = size[1]
    assert over.shape == original.shape
    assert below.shape[1] == size[0] and 1.05 * height < below.shape[0] < 1.6 * height
    assert np.abs(below[: height - 8] - original[: height - 8]).mean() < 6
    assert np.abs(over[-height // 20 :] - original[-height // 20 :]).mean() > 20
    assert below[height + 2 :].max() > 150  # letters


def test_the_docs_classify_and_compare_videos_by_their_features(project, checkpoint, monkeypatch):
    for number, name in enumerate(("Jump", "Run")):
        for clip in range(4):
            write_video(
                project.folder / "videos" / name / f"v_{name}_g{clip:02d}_c01.avi",
                grey((200 * number + 10 * clip, 20)),
            )
    project.run("inference.py", "videos", "--features", "--no-video", "--checkpoint", checkpoint)
    (block,) = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs" / "inference.md").read_text(), re.DOTALL
    )[:1]
    monkeypatch.chdir(project.folder)
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(block, {})
    accuracy, nearest = output.getvalue().splitlines()
    assert float(accuracy) == 1.0
    assert nearest.split()[0] == "v_Jump_g00_c01" and len(nearest.split()) > 1


@pytest.mark.slow
def test_a_network_that_knows_a_background_finds_where_actions_begin_and_end(project, tmp_path):
    """Trained on demo videos of two classes, and on some in which nothing, or little of an action, happens."""
    for group, clip in product(range(10), range(2)):
        up = draw_video("Up", np.random.default_rng(group), np.random.default_rng((group, clip)))
        first, last = [up[0]] * (LENGTH - 20), [up[-1]] * (LENGTH - 20)
        little = (first + up[:20], up[-20:] + last, last + up[:-21:-1], up[19::-1] + first)[
            2 * clip + group % 2
        ]
        clips = (
            ("Up", up),
            ("Down", up[::-1]),
            ("background", [up[-clip]] * LENGTH),
            ("background", little),
        )
        for number, (name, frames) in enumerate(clips):
            write_video(
                tmp_path / "videos" / name / f"v_{name}_g{group:02d}_c{clip}{number}.avi", frames
            )
    project.set_path("own", tmp_path / "videos")
    flags = ("--epochs", 14, "--batch-size", 12, "--crop-size", 16, "--workers", 0)
    project.run("train.py", "--dataset", "own", "--model", "R2Plus1D", *flags)

    up = draw_video("Up", np.random.default_rng(20), np.random.default_rng((20, 0)))
    write_video(
        project.folder / "joined.avi",
        [up[0]] * 90 + up + [up[-1]] * 90 + up[::-1] + [up[0]] * 90,
        25,
    )
    project.run("inference.py", "joined.avi")
    events = json.loads((project.folder / "output" / "joined.json").read_text())["events"]
    runs = [
        (is_pause, list(run))
        for is_pause, run in groupby(events, lambda event: event["label"] == "background")
    ]
    assert [is_pause for is_pause, _ in runs] == [True, False, True, False, True]
    borders = [round(25 * run[-1]["end"]) for _, run in runs[:-1]]
    stride = 32
    assert borders == pytest.approx([90, 90 + LENGTH, 180 + LENGTH, 180 + 2 * LENGTH], abs=stride)


def test_a_program_may_name_files_by_text_and_is_told_its_mistakes(
    checkpoint, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    video = write_video(tmp_path / "v.avi", 20)
    content = video.read_bytes()
    recognizer = Recognizer(str(checkpoint))
    recognizer.predict("v.avi", "new/folder/v.MP4")
    assert len(read_video(tmp_path / "new/folder/v.MP4")) == 20
    with pytest.raises(UsageError, match=r"v.avi: would be overwritten"):
        recognizer.predict("v.avi", str(video))
    assert video.read_bytes() == content
    with pytest.raises(OSError, match="^99: no such camera"):
        recognizer.predict(99)
    for settings in (
        {"top_k": 0},
        {"smooth": -1},
        {"threshold": 2},
        {"threshold": float("nan")},
        {"stride": 0},
    ):
        with pytest.raises(
            UsageError, match=f"--{next(iter(settings)).replace('_', '-')} .*: must be"
        ):
            Recognizer(checkpoint, **settings)
    for settings in ({"labels": "a.txt"}, {"weights": checkpoint}):
        with pytest.raises(
            UsageError, match="--weights or --checkpoint, not both; --labels goes with --weights"
        ):
            Recognizer(checkpoint, **settings)
    with pytest.raises(TypeError, match="stirde"):
        Recognizer(checkpoint, stirde=3)


def test_there_is_a_constructor_for_each_kind_of_model(checkpoint):
    settings = {"stride": 3, "top_k": 2}
    recognizer = Recognizer.from_checkpoint(checkpoint, **settings)
    assert recognizer.labels.classes == ["a", "b", "c"]
    assert (recognizer.settings.stride, recognizer.settings.top_k) == (3, 2)
    recognizer = Recognizer.from_weights(str(checkpoint), **settings)
    assert recognizer.labels.classes == ["a", "b", "c"]
    assert recognizer.settings.stride == 3


def test_events_and_subtitles_have_the_times_of_the_video_and_of_its_copy(project, brightness):
    """At an uneven rate: dark for 60 frames of 40 ms, bright for 60 of 200 ms."""
    video = write_video(project.folder / "v.mp4", grey((20, 60), (220, 60)), fourcc="mp4v")
    video.write_bytes(edit_mp4(video.read_bytes(), with_durations([1] * 60 + [5] * 60)))
    project.run("inference.py", "v.mp4", "--checkpoint", brightness, "--stride", 4)
    report = json.loads((project.folder / "output" / "v.json").read_text())
    # A window of 61 frames has the label of its middle: the change is 60 to 75 frames in.
    first, *_, last = report["events"]
    assert first["label"] == "a" and last["label"] == "c"
    assert 2.4 - 4 / 25 <= last["start"] <= 2.4 + 16 / 5
    assert last["end"] == pytest.approx(2.4 + 12, abs=0.2)
    capture = cv2.VideoCapture(str(project.folder / "output" / "v_annotated.mp4"))
    times = []
    while capture.grab():
        times.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
    expected = [*(n / 25 for n in range(60)), *(2.4 + n / 5 for n in range(60))]
    assert times == pytest.approx(expected, abs=2e-3)
    assert any(abs(time - last["start"]) < 2e-3 for time in times)  # that of a frame
    cues = (project.folder / "output" / "v_annotated.vtt").read_text().split("\n\n")[1:]
    start, end = cues[-1].splitlines()[0].split(" --> ")
    assert float(start[-6:]) == pytest.approx(last["start"], abs=2e-3)
    assert float(end[-6:]) == pytest.approx(last["end"], abs=2e-3)


def test_a_network_that_defines_no_parts_is_refused_where_they_are_needed_alone(
    project, tmp_path, monkeypatch
):
    monkeypatch.setitem(MODELS, "FrameLSTM", FrameLSTM)
    state = FrameLSTM(3).state_dict()
    content = make_checkpoint(model="FrameLSTM", state_dict=state, normalization={})
    save_checkpoint(content, tmp_path / "a.pth")
    write_video(project.folder / "v.avi", 20)
    command = ("inference.py", "v.avi", "--checkpoint", tmp_path / "a.pth")
    project.run(*command)
    for flag, part in (("--features", "head"), ("--grad-cam", "normalize")):
        done = project.run(*command, flag, ok=False)
        assert done.returncode == 2  # before any video is read
        assert done.stderr == (
            f"inference.py: FrameLSTM defines no {part}: see network/__init__.py\n"
        )
