import contextlib
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from conftest import (
    SIZES,
    TINY_AND_SLOW,
    drop_frames,
    edit_mp4,
    make_checkpoint,
    numbered_frame,
    read_number,
    read_video,
    with_durations,
    with_matrix,
    write_video,
)
from onnxruntime import InferenceSession
from torch import nn

import inference
from dataloaders.ffmpeg import av
from dataloaders.sampling import ClipConfig
from dataloaders.transforms import make_clip
from dataloaders.video import VideoFile
from dataloaders.video_writer import VideoWriter
from engine.checkpoint import load_checkpoint, restore_model, save_checkpoint
from engine.errors import UsageError
from network import MODELS
from recognition import annotate, inference_network
from recognition.classifier import CPU_BATCH_SIZE, BackgroundClassifier, WindowClassifier
from recognition.frames import ImageFrame
from recognition.inference_network import InferenceNetwork
from recognition.jobs import Job, check_output_collisions
from recognition.reading import FileReader
from recognition.recognizer import Recognizer
from recognition.windows import WindowCutter


@pytest.fixture
def checkpoint(tmp_path):
    """Write a checkpoint of a model with random weights; gives its path."""

    def write(name="Tiny", classes=("jump", "run", "walk"), crop_size=112, file="a.pth"):
        torch.manual_seed(0)
        model = MODELS[name](num_classes=len(classes))
        content = make_checkpoint(
            model=name,
            classes=list(classes),
            clip=asdict(ClipConfig.from_flags(crop_size)),
            state_dict=model.state_dict(),
            normalization=model.normalize.statistics,
        )
        save_checkpoint(content, tmp_path / file)
        return tmp_path / file

    return write


def classify(classifier, cutter, frames):
    """The predictions of all windows of a video of images."""
    predictions = []
    for number, image in enumerate(frames):
        for window in cutter.push(ImageFrame(number / 25, image)):
            predictions += classifier.push(window)
    for window in cutter.flush():
        predictions += classifier.push(window)
    return predictions + classifier.flush()


@pytest.mark.parametrize("name", TINY_AND_SLOW)
def test_predictions_do_not_depend_on_the_batch_size_and_the_stride(name):
    config = ClipConfig.from_flags(SIZES[name])
    torch.manual_seed(0)
    model = MODELS[name](5).eval()
    nn.init.normal_(
        list(model.parameters())[-2], std=0.3
    )  # of the last layer, so that windows differ
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, rng.integers(1, 256), (128, 171, 3), np.uint8) for _ in range(65)]
    clips = [
        torch.from_numpy(make_clip(frames[i : i + 61 : 4], config)).permute(3, 0, 1, 2)
        for i in range(5)
    ]
    with torch.inference_mode():
        expected = [model(clip[None].contiguous()).softmax(1)[0] for clip in clips]
    assert torch.stack(expected).std(0).max() > 1e-3

    model.to(memory_format=torch.channels_last_3d)
    for batch_size, stride in ((1, 1), (5, 1), (2, 3), (8, 100)):
        classifier = WindowClassifier(InferenceNetwork(model), batch_size)
        predictions = classify(classifier, WindowCutter(config, stride), frames)
        starts = [round(25 * prediction.start) for prediction in predictions]
        assert starts == sorted({*range(0, 5, stride), 4})
        for prediction, start in zip(predictions, starts, strict=True):
            found = torch.from_numpy(prediction.probabilities)
            torch.testing.assert_close(found, expected[start], rtol=0, atol=2e-5)


class BatchCounter(nn.Module):
    """Notes how many clips it is given at a time."""

    name = "BatchCounter"

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))
        self.batches = []

    def forward(self, x):
        self.batches.append(len(x))
        return torch.zeros(len(x), 3)

    def __deepcopy__(self, memo):
        return self


def test_batches_are_full_but_for_the_last_one():
    model = BatchCounter()
    frames = [numbered_frame(number) for number in range(69)]
    predictions = classify(
        WindowClassifier(InferenceNetwork(model), 4), WindowCutter(ClipConfig(), 1), frames
    )
    assert [round(25 * prediction.start) for prediction in predictions] == list(range(9))
    assert model.batches == [4, 4, 1]


@pytest.mark.parametrize("is_prompt", [False, True])
def test_in_the_background_a_window_is_classified_while_the_next_one_comes(is_prompt):
    model = BatchCounter()
    cutter = WindowCutter(ClipConfig(), 10)
    found = []
    with ThreadPoolExecutor(1) as executor:
        classifier = BackgroundClassifier(executor, InferenceNetwork(model), 1, is_prompt=is_prompt)
        for number in range(91):
            for window in cutter.push(ImageFrame(number / 25, numbered_frame(number))):
                found.append([round(25 * p.start) for p in classifier.push(window)])
        found.append([round(25 * p.start) for p in classifier.flush()])
    assert found == ([[0], [10], [20], [30], []] if is_prompt else [[], [0], [10], [20], [30]])
    assert model.batches == [1] * 4


@pytest.mark.parametrize(
    ("stride", "keep_frames", "is_live", "expected"),
    [
        (1, False, False, CPU_BATCH_SIZE),
        (1, True, False, CPU_BATCH_SIZE),
        (16, True, False, 2),
        (32, False, False, CPU_BATCH_SIZE),
        (32, True, False, 1),  # two of them would keep 64 whole images waiting
        (None, True, False, 1),
        (1, False, True, 1),  # nobody waits for a batch of what happens now
    ],
)
def test_windows_wait_for_a_batch_only_where_that_costs_nobody(
    checkpoint, stride, keep_frames, is_live, expected
):
    recognizer = Recognizer(checkpoint(crop_size=16), stride=stride)
    recognizer.model = BatchCounter()
    source = SimpleNamespace(fps=25, is_live=is_live)
    frames = [ImageFrame(number / 25, numbered_frame(number)) for number in range(150)]

    reader = FileReader(source)
    source.frames = lambda: iter(frames)
    segments = list(recognizer.recognize(reader, keep_frames=keep_frames))
    assert max(recognizer.model.batches) == expected
    assert sum(recognizer.model.batches) == len(segments)
    assert sum(len(segment.frames) for segment in segments) == 150 * keep_frames


def test_whole_images_are_let_go_when_their_segment_is_done(checkpoint):
    """No more wait than a window and two and a half strides have."""
    released = []
    most = 0

    class Image(np.ndarray):
        """An image whose deletion is noticed."""

    def frames():
        nonlocal most
        for number in range(1000):
            image = numbered_frame(number % 256).view(Image)
            weakref.finalize(image, released.append, number)
            most = max(most, number + 1 - len(released))
            yield ImageFrame(number / 25, image)
            del image

    reader = FileReader(SimpleNamespace(fps=25, is_live=False, frames=frames))

    recognizer = Recognizer(checkpoint(crop_size=16))
    for segment in recognizer.recognize(reader, keep_frames=True):
        del segment
    assert 61 <= most <= 61 + 2 * 32 + 16
    released.clear()
    most = 0
    for segment in recognizer.recognize(reader):
        del segment
    assert most <= 3


@pytest.mark.parametrize("name", TINY_AND_SLOW)
def test_each_model_annotates_a_video(project, checkpoint, tmp_path, name):
    video = write_video(tmp_path / "a b" / "300+ [x] (1)!!!.avi", 40, fps=12.5)
    file = checkpoint(name, crop_size=112 if name == "C3D" else 32)
    project.run(
        "inference.py",
        video,
        "--checkpoint",
        file,
        "--top-k",
        "2",
        "--stride",
        "3",
        "--output",
        "out/there",
    )
    output = project.folder / "out" / "there"
    written = {
        "300+ [x] (1)!!!.json",
        "300+ [x] (1)!!!_annotated.mp4",
        "300+ [x] (1)!!!_annotated.vtt",
        "events.csv",
        "index.html",
    }
    assert {path.name for path in output.iterdir()} == written

    report = json.loads((output / "300+ [x] (1)!!!.json").read_text())
    assert report["frames"] == 40
    assert report["model"] == name
    span = 15 * 2 + 1  # 40 frames hold 16 distinct ones at interval 2
    times = [(round(s / 12.5, 3), round((s + span) / 12.5, 3)) for s in (0, 3, 6, 9)]
    assert [(w["start"], w["end"]) for w in report["windows"]] == times
    for top_k in (report["top_k"], *(window["top_k"] for window in report["windows"])):
        assert len(top_k) == 2
        assert {prediction["label"] for prediction in top_k} <= {"jump", "run", "walk"}
        assert top_k[0]["probability"] >= top_k[1]["probability"] > 0
    best = report["top_k"][0]
    mean = np.mean(
        [
            p["probability"]
            for w in report["windows"]
            for p in w["top_k"]
            if p["label"] == best["label"]
        ]
    )
    assert best["probability"] == pytest.approx(mean)

    annotated = cv2.VideoCapture(str(output / "300+ [x] (1)!!!_annotated.mp4"))
    assert annotated.get(cv2.CAP_PROP_FPS) == 12.5
    for number in range(40):
        is_decoded, frame = annotated.read()
        assert is_decoded
        assert frame.shape == (120, 160, 3)
        assert read_number(frame[:70, :, ::-1]) == number
    assert not annotated.read()[0]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["none.avi"], "none.avi: no such file"),
        (["*.mkv"], "*.mkv: no such file, nor a folder or pattern with videos"),
        (["empty"], "empty: no such file, nor a folder or pattern with videos"),
        (["v.avi", "--layout", "above"], "invalid choice: 'above'"),
        (["http://me:secret@host/x.mp4"], "http://host/x.mp4: an address of a stream goes behind"),
        (["v.avi", "--checkpoint", "none.pth"], "none.pth"),
        (["v.avi", "--checkpoint", "v.avi"], "v.avi: damaged, or not a checkpoint"),
        (["v.avi"], "no checkpoint under run: train one with train.py"),
        (["v.avi", "again/v.avi"], "v.avi and again/v.avi would write the same files"),
        (["v.avi", "v_annotated.mp4", "--output", "."], "v_annotated.mp4: would be overwritten"),
        (["v.avi", "--stride", "0"], "--stride 0: must be 1 or more"),
        (["v.avi", "--top-k", "-1"], "--top-k -1: must be 1 or more"),
        (["v.avi", "--stride", "x"], "--stride: invalid int value: 'x'; --help lists the flags"),
        ([], "name videos, or a --source, or a file to --export to; --help lists the flags"),
        (["v.avi", "--source", "0"], "name videos, or a --source, or a file to --export to"),
        (["v.avi", "--no-video", "--grad-cam"], "--no-video leaves nothing for --grad-cam"),
        (["v.avi", "--no-video", "--show"], "--no-video leaves nothing for --show"),
        (["--source", "http://[::1/x"], "--source http://[::1/x: not an address"),
        (["v.avi", "--device", "cuda:77"], "--device cuda:77: "),
        (["v.avi", "--show"], "--show needs a display"),
        (["v.avi", "--weights", "x" * 300], "no such file of weights"),
    ],
)
def test_mistakes_are_one_line(mistake, tmp_path, monkeypatch, flags, message):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    (tmp_path / "empty").mkdir()
    write_video(tmp_path / "v.avi", 20)
    write_video(tmp_path / "again" / "v.avi", 20)
    write_video(tmp_path / "v_annotated.mp4", 20, fourcc="mp4v")
    assert message in mistake(inference, *flags)


def test_a_broken_video_does_not_stop_the_others(project, checkpoint):
    (project.folder / "broken.avi").write_bytes(b"no video")
    write_video(project.folder / "v.avi", [numbered_frame(3)] * 20)
    done = project.run(
        "inference.py", "broken.avi", "v.avi", "--checkpoint", checkpoint(crop_size=32), ok=False
    )
    assert done.returncode == 1
    assert "broken.avi: not a video" in done.stderr
    assert (project.folder / "output" / "v_annotated.mp4").is_file()


def test_a_folder_of_videos_becomes_a_table(project, checkpoint):
    for name, frames in (("a/one.avi", 40), ("a/two.avi", 5), ("b/one.avi", 70)):
        write_video(project.folder / "videos" / name, frames, fps=10)
    (project.folder / "videos" / "notes.txt").write_text("no video")
    file = checkpoint(crop_size=32)
    done = project.run("inference.py", "videos", "--no-video", "--checkpoint", file)
    assert done.stderr.rpartition("\r")[2] == ""  # the progress bar is cleared
    assert {path.name for path in (project.folder / "output").iterdir()} == {
        "predictions.csv",
        "events.csv",
        "index.html",
    }
    rows = list(csv.DictReader((project.folder / "output" / "predictions.csv").open()))
    assert [(row["video"], row["frames"], row["seconds"]) for row in rows] == [
        ("videos/a/one.avi", "40", "4.00"),
        ("videos/a/two.avi", "5", "0.50"),
        ("videos/b/one.avi", "70", "7.00"),
    ]

    # The annotated videos lie in the same folders, and have the same predictions.
    project.run("inference.py", "videos", "--checkpoint", file, "--output", "all")
    for row in rows:
        path = project.folder / "all" / row["video"].removeprefix("videos/")
        best = json.loads(path.with_suffix(".json").read_text())["top_k"][0]
        assert (best["label"], f"{best['probability']:.4f}") == (row["label"], row["probability"])
        annotated = read_video(path.with_name(f"{path.stem}_annotated.mp4"))
        assert len(annotated) == int(row["frames"])


def test_videos_that_differ_only_in_their_ending_are_written_apart(project, checkpoint):
    for name in ("a.avi", "a.mkv", "b.avi"):
        write_video(project.folder / "videos" / name, 20)
    project.run("inference.py", "videos/*", "--checkpoint", checkpoint(crop_size=16))
    assert sorted(path.name for path in (project.folder / "output").glob("*.json")) == [
        "a.avi.json",
        "a.mkv.json",
        "b.json",
    ]


def test_a_video_that_breaks_off_is_done_as_far_as_it_goes(project, checkpoint):
    whole = write_video(project.folder / "v.avi", 100).read_bytes()
    (project.folder / "v.avi").write_bytes(whole[: len(whole) // 2])
    done = project.run("inference.py", "v.avi", "--checkpoint", checkpoint(crop_size=32), ok=False)
    assert done.returncode == 1
    report = json.loads((project.folder / "output" / "v.json").read_text())
    num_frames = report["frames"]
    assert 30 < num_frames < 60
    assert report["damage"] == {
        "lost": 100 - num_frames,
        "frames": 100,
        "first": pytest.approx(num_frames / 25, abs=0.05),
    }
    line = f"inference.py: v.avi: {100 - num_frames} of 100 frames are damaged or missing,"
    assert f"{line} the first at {num_frames / 25:.1f} s" in done.stderr
    assert len(read_video(project.folder / "output" / "v_annotated.mp4")) == num_frames


def test_of_a_damaged_video_all_that_is_whole_is_done_at_its_time(project, checkpoint):
    """The packet of frame 49 is overwritten."""
    data = bytearray(write_video(project.folder / "v.avi", 100).read_bytes())
    place = data.index(b"movi")
    for _ in range(50):
        place = data.index(b"00dc", place + 1)
    size = int.from_bytes(data[place + 4 : place + 8], "little")
    data[place + 8 : place + 8 + size] = bytes(size)
    (project.folder / "v.avi").write_bytes(data)
    done = project.run("inference.py", "v.avi", "--checkpoint", checkpoint(crop_size=16), ok=False)
    assert done.returncode == 1
    assert "v.avi: 1 of 100 frames are damaged or missing, the first at 2.0 s" in done.stderr
    report = json.loads((project.folder / "output" / "v.json").read_text())
    assert report["damage"] == {"lost": 1, "frames": 100, "first": 1.96}
    assert report["frames"] == 99
    assert report["windows"][-1]["end"] == pytest.approx(4, abs=0.01)
    frames = read_video(project.folder / "output" / "v_annotated.mp4")
    numbers = [read_number(frame[:70, :, ::-1]) for frame in frames]
    assert numbers == [*range(49), *range(50, 100)]


def test_a_video_with_fewer_frames_than_its_header_has_does_not_break_off_if_its_duration_is_right(
    project, checkpoint
):
    whole = write_video(project.folder / "v.mkv", 100).read_bytes()
    (project.folder / "v.mkv").write_bytes(drop_frames(whole, range(10, 90, 2)))
    late = write_video(project.folder / "late.mp4", 20, fourcc="mp4v")
    late.write_bytes(
        edit_mp4(late.read_bytes(), with_durations([1] * 19 + [60]))
    )  # shown for long at the end
    project.run("inference.py", "v.mkv", "late.mp4", "--checkpoint", checkpoint(crop_size=16))
    report = json.loads((project.folder / "output" / "v.json").read_text())
    assert report["frames"] == 60
    assert "damage" not in report
    assert report["windows"][-1]["end"] == pytest.approx(4, abs=0.05)


@pytest.mark.slow
def test_odd_sizes_rates_and_lengths_a_turned_one_and_a_large_one(project, checkpoint):
    videos = project.folder / "videos"
    shapes = {  # frames, height, width, of what is shown
        "odd.avi": (20, 121, 161),
        "tiny.avi": (17, 18, 20),
        "tall.avi": (20, 160, 40),
        "four_k.avi": (6, 2160, 3840),
        "flat.avi": (20, 8, 300),
        "slow.avi": (30, 120, 160),
        "short.avi": (5, 120, 160),
        "single.avi": (1, 120, 160),
        "turned.mp4": (20, 160, 120),
        "uneven.mp4": (20, 120, 160),
    }
    for name, (frames, height, width) in shapes.items():
        if not name.endswith("mp4"):
            images = [numbered_frame(number, width, height) for number in range(frames)]
            write_video(videos / name, images, fps=10 if name == "slow.avi" else 25)
    plain = write_video(project.folder / "plain.mp4", 20, fourcc="mp4v").read_bytes()
    (videos / "turned.mp4").write_bytes(edit_mp4(plain, with_matrix(0, 1, -1, 0)))
    (videos / "uneven.mp4").write_bytes(
        edit_mp4(plain, with_durations([1 + 2 * (i % 3 == 0) for i in range(20)]))
    )

    project.run("inference.py", "videos", "--checkpoint", checkpoint(crop_size=32), "--grad-cam")
    for name, (frames, height, width) in shapes.items():
        stem = (project.folder / "output" / name).with_suffix("")
        assert json.loads(stem.with_suffix(".json").read_text())["frames"] == frames, name
        annotated = read_video(stem.with_name(f"{stem.name}_annotated.mp4"))
        assert [frame.shape for frame in annotated] == [
            (height // 2 * 2, width // 2 * 2, 3)
        ] * frames, name
    uneven, slow = (
        json.loads((project.folder / "output" / f"{n}.json").read_text())
        for n in ("uneven", "slow")
    )
    first, second = [(window["start"], window["end"]) for window in uneven["windows"]]
    assert first == (0, 1.12) and second == (0.32, pytest.approx(1.36, abs=0.04))
    assert uneven["fps"] == pytest.approx(20 / 1.36, abs=0.05)
    assert slow["windows"][-1]["end"] == 3


def test_the_rest_of_a_video_is_not_read_if_its_copy_cannot_be_written(
    project, checkpoint, tmp_path, monkeypatch
):
    num_read = 0

    class CountedFile(VideoFile):
        def frames(self, *part):
            nonlocal num_read
            for frame in super().frames(*part):
                num_read += 1
                yield frame

    class BrokenWriter:
        def __init__(self, path, **_):
            raise OSError(f"{path}: cannot be written")

    path = write_video(tmp_path / "v.avi", [numbered_frame(3)] * 1000)
    monkeypatch.setattr(inference, "VideoFile", CountedFile)
    monkeypatch.setattr(annotate, "VideoWriter", BrokenWriter)
    done = project.run("inference.py", path, "--checkpoint", checkpoint(crop_size=16), ok=False)
    assert "v_annotated.partial.mp4: cannot be written" in done.stderr
    assert 61 <= num_read < 200


def test_what_cannot_be_written_does_not_stop_the_others(project, checkpoint):
    for name in "abc":
        write_video(project.folder / f"{name}.avi", 200)
    for name in ("a_annotated.partial.mp4", "b.json"):
        (project.folder / "output" / name).mkdir(parents=True)
    file = checkpoint(crop_size=16)
    done = project.run("inference.py", "a.avi", "b.avi", "c.avi", "--checkpoint", file, ok=False)
    assert done.returncode == 1
    first, second = [line for line in done.stderr.splitlines() if line.startswith("inference.py: ")]
    assert "output/a_annotated" in first
    assert "output/b.json" in second
    assert sorted(path.name for path in (project.folder / "output").iterdir()) == [
        "a_annotated.partial.mp4",
        "b.json",
        "b_annotated.mp4",
        "c.json",
        "c_annotated.mp4",
        "c_annotated.vtt",
        "events.csv",
        "index.html",
    ]


def test_names_that_are_not_utf8_are_read_and_written(project, checkpoint):
    write_video(project.folder / "videos" / "b.avi", 20)
    try:
        shutil.copy(
            project.folder / "videos" / "b.avi",
            os.fsencode(project.folder / "videos") + b"/a\xe9.avi",
        )
    except OSError:
        pytest.skip("this file system has no such names")
    done = project.run("inference.py", "videos", "--checkpoint", checkpoint(crop_size=16))
    assert "videos/a\\udce9.avi\n" in done.stdout
    for name in ("a\udce9", "b"):
        annotated = project.folder / "output" / f"{name}_annotated.mp4"
        copy = shutil.copy(annotated, project.folder / "copy.mp4")  # OpenCV knows UTF-8 alone
        assert len(read_video(copy)) == 20

    file = checkpoint(crop_size=16, file=os.fsdecode(b"\xe9.pth"))
    project.run("inference.py", "videos/b.avi", "--checkpoint", file)
    assert json.loads((project.folder / "output" / "b.json").read_text())["checkpoint"] == str(file)


@pytest.fixture
def interrupt_at(monkeypatch):
    """Let Ctrl-C come when so many frames have been written; gives a list that grows with each."""
    written = []

    def interrupt(count):
        class Writer(VideoWriter):
            def write(self, image, time):
                written.append(time)
                if len(written) == count:
                    signal.raise_signal(signal.SIGINT)
                super().write(image, time)

        monkeypatch.setattr(annotate, "VideoWriter", Writer)
        return written

    return interrupt


def test_interrupted_it_leaves_no_part_of_a_video(project, checkpoint, interrupt_at):
    for name in "abc":
        write_video(project.folder / f"{name}.avi", [numbered_frame(3)] * 400)
    written = interrupt_at(500)  # in the second video
    file = checkpoint(crop_size=16)
    done = project.run("inference.py", "a.avi", "b.avi", "c.avi", "--checkpoint", file, ok=False)
    assert done.returncode == 130
    files = {"a.json", "a_annotated.mp4", "a_annotated.vtt", "events.csv", "index.html"}
    assert {path.name for path in (project.folder / "output").iterdir()} == files
    assert len(written) < 750


def test_interrupted_after_the_last_frame_was_read_it_finishes_the_video(
    project, checkpoint, interrupt_at
):
    write_video(project.folder / "v.avi", 100)
    interrupt_at(100)
    done = project.run("inference.py", "v.avi", "--checkpoint", checkpoint(crop_size=16), ok=False)
    assert done.returncode == 130
    files = {"v.json", "v_annotated.mp4", "v_annotated.vtt", "events.csv", "index.html"}
    assert {path.name for path in (project.folder / "output").iterdir()} == files


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_silence(project, checkpoint, number):
    write_video(project.folder / "v.avi", [numbered_frame(3)] * 3000)
    command = ("inference.py", "v.avi", "--stride", "1", "--checkpoint", checkpoint(crop_size=16))
    with project.start(*command) as process:
        while not (project.folder / "output" / "v_annotated.partial.mp4").exists():
            time.sleep(0.01)
        process.send_signal(number)
        errors = process.communicate()[1]
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert [path.name for path in (project.folder / "output").iterdir()] == ["events.csv"]


@pytest.fixture
def stream():
    """The server of an endless stream of numbered frames, as network cameras have them; Ctrl-C comes at the 250th."""

    class Camera(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            with contextlib.suppress(OSError):
                for number in cycle(range(256)):
                    server.sent_at.append(time.monotonic())
                    if len(server.sent_at) == 250:
                        os.kill(os.getpid(), signal.SIGINT)
                    picture = cv2.imencode(".jpg", numbered_frame(number))[1].tobytes()
                    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
                    self.wfile.write(head.encode() + picture + b"\r\n")
                    time.sleep(0.01)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Camera) as server:
        server.daemon_threads, server.sent_at = True, []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_a_stream_is_annotated_until_ctrl_c(project, checkpoint, stream):
    source = f"http://me:secret@127.0.0.1:{stream.server_port}/camera.mjpg"
    project.run("inference.py", "--source", source, "--checkpoint", checkpoint(crop_size=16))
    *files, subtitles = sorted((project.folder / "output").glob("stream_*"))
    assert [path.suffix for path in (*files, subtitles)] == [".json", ".mp4", ".vtt"]
    assert (project.folder / "output" / "index.html").is_file()
    report = json.loads(files[0].read_text())
    assert report["video"] == source.replace("me:secret@", "")
    assert len(report["windows"]) > 1
    assert len(read_video(files[1])) == report["frames"] >= 100
    rate = len(stream.sent_at) / (
        stream.sent_at[-1] - stream.sent_at[0]
    )  # which the stream does not contain
    assert report["fps"] == pytest.approx(rate, rel=0.5)
    assert report["windows"][-1]["end"] == pytest.approx(report["frames"] / rate, rel=0.5)
    numbers = [read_number(frame[:70, :, ::-1]) for frame in read_video(files[1])]
    assert numbers == [(numbers[0] + i) % 256 for i in range(len(numbers))]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("99", "99: no such camera"),
        (
            "http://me:secret@127.0.0.1:9/x.mjpg?token=secret",
            "http://127.0.0.1:9/x.mjpg?token=...: cannot be opened as a stream: Connection refused",
        ),
    ],
)
def test_a_source_that_is_not_there_is_one_line_without_its_password(
    project, checkpoint, source, reason
):
    done = project.run(
        "inference.py", "--source", source, "--checkpoint", checkpoint(crop_size=16), ok=False
    )
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert line == f"inference.py: {reason}"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Tiny", "C3D", "R3D", "R2Plus1D"])
def test_export_writes_what_other_programs_compute_alike(project, checkpoint, tmp_path, name):
    size = SIZES[name]
    file = checkpoint(name, crop_size=size, classes=("jump", "Köpfen", "walk"))
    saved = load_checkpoint(file)
    model = restore_model(saved).eval()
    clips = torch.randint(0, 256, (3, 3, 16, size, size), dtype=torch.uint8)
    with torch.inference_mode():
        logits = model(clips)
    output = tmp_path / "out"
    project.run("inference.py", "--export", output / "v1.0", "--checkpoint", file)
    assert sorted(path.name for path in output.iterdir()) == ["v1.0.onnx", "v1.0.pt2"]

    session = InferenceSession(output / "v1.0.onnx")
    (onnx_logits,) = session.run(["logits"], {"clips": clips.numpy()})
    np.testing.assert_allclose(onnx_logits, logits.numpy(), rtol=1e-3, atol=1e-5)
    metadata = {"model": "", "classes": "", "clip": ""}
    program = torch.export.load(output / "v1.0.pt2", extra_files=metadata)
    torch.testing.assert_close(program.module()(clips), logits, rtol=1e-3, atol=1e-5)
    for texts in (session.get_modelmeta().custom_metadata_map, metadata):
        assert {key: json.loads(texts[key]) for key in metadata} == {
            key: saved[key] for key in metadata
        }


def test_an_export_is_whole_or_not_there(project, checkpoint, tmp_path, monkeypatch):
    def fail(program, file, **_):
        Path(file).write_text("half")
        raise RuntimeError("disk full\nframe #0: of C++")

    monkeypatch.setattr(torch.export, "save", fail)
    output = tmp_path / "out"
    command = (
        "inference.py",
        "--export",
        output / "net.onnx",
        "--checkpoint",
        checkpoint(crop_size=16),
    )
    done = project.run(*command, ok=False)
    assert done.returncode == 2
    assert done.stderr == f"inference.py: {output / 'net.pt2'}: cannot be written: disk full\n"
    assert [path.name for path in output.iterdir()] == ["net.onnx"]


def test_export_names_the_package_it_lacks(project, checkpoint, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    done = project.run(
        "inference.py", "--export", "net", "--checkpoint", checkpoint(crop_size=16), ok=False
    )
    assert done.stderr == "inference.py: --export needs one more package: pip install onnxscript\n"


def test_features_of_two_videos_of_one_name_are_not_written_to_one_file(mistake, tmp_path):
    for folder in "ab":
        write_video(tmp_path / folder / "v.avi", 20)
    line = mistake(inference, "a/v.avi", "b/v.avi", "--no-video", "--features")
    assert "would write the same files" in line


def test_a_video_is_in_the_way_of_an_annotated_one_alone(tmp_path):
    jobs = [Job(tmp_path / f"{name}.mp4", tmp_path / name) for name in ("v", "v_annotated")]
    check_output_collisions(jobs, with_videos=False)
    with pytest.raises(UsageError, match="v_annotated.mp4: would be overwritten"):
        check_output_collisions(jobs, with_videos=True)


def test_what_cannot_be_written_is_refused_before_any_work(mistake, tmp_path):
    write_video(tmp_path / "v.avi", 20)
    for name in (".", "", ".."):
        assert mistake(inference, "--export", name).endswith(": name a file")
    assert mistake(inference, "v.avi", "--output", "v.avi").endswith(
        "--output v.avi: a file, not a folder"
    )


def test_pictures_are_no_videos(mistake, tmp_path):
    for name in ("a.jpg", "b.PNG"):
        cv2.imwrite(str(tmp_path / name), numbered_frame(0))
    for name in ("a.jpg", "*", "."):
        assert "no such file, nor a folder or pattern with videos" in mistake(inference, name)


@pytest.mark.slow
@pytest.mark.workers
@pytest.mark.parametrize("closed", ["2>&-", "2>&- >&- <&-"])
def test_closed_streams_do_not_stop_it(project, checkpoint, closed):
    project.copy()
    write_video(project.folder / "v.avi", 20)
    command = f"{sys.executable} inference.py v.avi --checkpoint {checkpoint()} {closed}"
    for _ in range(3):
        assert subprocess.run(command, shell=True, cwd=project.folder, timeout=60).returncode == 0
        assert len(read_video(project.folder / "output" / "v_annotated.mp4")) == 20


def test_a_folder_that_cannot_be_written_to_names_the_flag(project, checkpoint, monkeypatch):
    write_video(project.folder / "v.avi", 20)
    (project.folder / "output" / "events.csv").mkdir(parents=True)  # as on a read-only file system
    file = checkpoint(crop_size=16)
    done = project.run("inference.py", "v.avi", "--checkpoint", file, ok=False)
    assert done.returncode == 2
    assert done.stderr == (
        "inference.py: --output output: cannot be written to (Is a directory); name another folder\n"
    )

    def refuse(path, **_):
        raise OSError(30, "Read-only file system", str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    done = project.run("inference.py", "v.avi", "--checkpoint", file, "--output", "new", ok=False)
    assert "--output new: cannot be written to (Read-only file system)" in done.stderr


def test_a_name_that_is_too_long_for_the_output_is_named_with_the_limit(project, checkpoint):
    names = ["v" * 240 + ".avi", "short.avi"]
    for name in names:
        write_video(project.folder / name, 20)
    file = checkpoint(crop_size=16)
    done = project.run("inference.py", *names, "--checkpoint", file, ok=False)
    assert done.returncode == 1
    limit = os.pathconf(project.folder, "PC_NAME_MAX")
    length = 240 + len("_annotated.partial.mp4")
    reason = f"a name of {length} bytes, and the file system allows {limit}"
    assert reason in done.stderr and "vvv_annotated.partial.mp4: " in done.stderr
    assert (project.folder / "output" / "short_annotated.mp4").is_file()
    project.run("inference.py", *names, "--checkpoint", file, "--no-video")


def test_what_is_no_video_is_refused_whatever_its_name(project, checkpoint):
    (project.folder / "notes.txt").write_text("a line of text\n" * 100)
    (project.folder / "list.mp4").write_text("ffconcat version 1.0\nfile 'v.avi'\n")
    write_video(project.folder / "v.avi", 20)
    done = project.run(
        "inference.py", "notes.txt", "list.mp4", "--checkpoint", checkpoint(crop_size=16), ok=False
    )
    assert done.returncode == 1
    assert [line.partition(": not a video")[0] for line in done.stderr.splitlines()] == [
        "inference.py: notes.txt",
        "inference.py: list.mp4",
    ]
    assert {path.name for path in (project.folder / "output").iterdir()} == {
        "events.csv",
        "index.html",
    }


def test_the_annotated_video_has_the_sound_of_the_video(project, checkpoint):
    """A tone of 440 Hz that begins after half a second."""
    file = project.folder / "v.mp4"
    with av.open(str(file), "w") as container:
        video = container.add_stream("mpeg4", rate=25, width=160, height=120, pix_fmt="yuv420p")
        sound = container.add_stream("aac", rate=48000, layout="mono")
        for number in range(50):
            frame = av.VideoFrame.from_ndarray(numbered_frame(number), format="bgr24")
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        samples = np.sin(2 * np.pi * 440 * np.arange(96000) / 48000).astype(np.float32)
        samples[:24000] = 0
        for start in range(0, 96000, 1024):
            part = np.ascontiguousarray(samples[None, start : start + 1024])
            frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="mono")
            frame.sample_rate = 48000
            frame.pts = start
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    project.run("inference.py", "v.mp4", "--checkpoint", checkpoint(crop_size=16))
    loudness = np.zeros(200)  # by hundredths of a second
    with av.open(str(project.folder / "output" / "v_annotated.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        for frame in container.decode(audio=0):
            place = min(199, max(0, int(100 * frame.time)))
            loudness[place] = np.abs(frame.to_ndarray()).max()
    heard = np.flatnonzero(loudness > 0.5)
    assert 47 <= heard[0] <= 53 and heard[-1] >= 190


def test_bfloat16_is_used_where_the_processor_has_it_and_the_flags_allow_it(
    project, checkpoint, monkeypatch
):
    monkeypatch.setattr(inference_network, "has_fast_bfloat16", lambda: True)
    write_video(project.folder / "a.avi", 20)
    file = checkpoint(crop_size=16)
    used = []
    for flags in ([], ["--no-amp"], ["--grad-cam"]):
        project.run("inference.py", "a.avi", "--checkpoint", file, *flags)
        used.append(json.loads((project.folder / "output" / "a.json").read_text())["precision"])
    assert used == ["bfloat16", "float32", "float32"]
