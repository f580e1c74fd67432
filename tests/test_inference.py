import contextlib
import csv
import json
import os
import shutil
import signal
import sys
import threading
import time
import weakref
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import (
    FULL_SIZE,
    NETWORKS,
    SIZES,
    drop_frames,
    edit_mp4,
    make_checkpoint,
    numbered_frame,
    read_number,
    write_video,
)
from onnxruntime import InferenceSession
from torch import nn

import inference
from dataloaders import annotation, clips
from dataloaders.videos import Video, Window, cut_windows
from network import MODELS, weights
from network.export import export


class Eye(nn.Module):
    """A network that remembers the frame numbers it saw, and says class 0."""

    def __init__(self):
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(1))
        self.seen = []

    def forward(self, x):
        self.seen += [[read_number(frame) for frame in clip] for clip in x.permute(0, 2, 3, 4, 1).numpy()]
        return torch.tensor([[2.0, 0.0, 0.0]]).expand(len(x), 3)


@pytest.fixture
def checkpoint(tmp_path):
    def write(model="Tiny", name="a.pth", classes=("jump", "run", "walk"), crop_size=112):
        torch.manual_seed(0)
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        network = MODELS[model](num_classes=len(classes))
        story = make_checkpoint(
            model=model,
            classes=list(classes),
            clip=clips.recipe(crop_size),
            state_dict=network.state_dict(),
            normalization=network.normalize.statistics,
        )
        weights.save(story, file)
        return file

    return write


def predict(network, clip, frames, stride=None, batch_size=2):
    return inference.predict(network, cut_windows(frames, clip, stride), batch_size)


@pytest.mark.parametrize(("length", "interval"), [(5, 1), (16, 1), (46, 3), (61, 4), (200, 4)])
@pytest.mark.parametrize("stride", [None, 1, 25, 100])
def test_windows_sample_frames_as_training_does_and_each_frame_gets_the_nearest(length, interval, stride):
    eye = Eye()
    frames = [numbered_frame(number) for number in range(length)]
    found = list(predict(eye, clips.recipe(), frames, stride))
    for window, numbers in zip(found, eye.seen, strict=True):
        assert numbers == [min(window.start + i * interval, length - 1) for i in range(16)]
        assert window.end == min(window.start + 15 * interval + 1, length)
        assert window.probabilities.sum().item() == pytest.approx(1)
    assert found[0].start == 0
    assert found[-1].end == length

    shown = [(number, frame) for number, window in enumerate(found) for frame in window.frames]
    assert all(frame is other for (_, frame), other in zip(shown, frames, strict=True))
    for place, (number, _) in enumerate(shown):
        distances = [abs((window.start + window.end) / 2 - (place + 0.5)) for window in found]
        assert distances[number] == min(distances)


@pytest.mark.parametrize("size", [(160, 120), (171, 128)])
def test_what_is_drawn_on_a_frame_is_hidden_from_the_network(size):
    eye = Eye()
    for window in predict(eye, clips.recipe(), [numbered_frame(n, *size) for n in range(80)], 2):
        for frame in window.frames:
            frame[:] = 255
    assert eye.seen == [[start + 4 * i for i in range(16)] for start in (*range(0, 19, 2), 19)]


@pytest.mark.parametrize("model", NETWORKS)
def test_predictions_are_those_of_the_plain_way_whatever_batch_and_stride(model):
    clip = clips.recipe(SIZES[model])
    torch.manual_seed(0)
    network = MODELS[model](5).eval()
    nn.init.normal_(list(network.parameters())[-2], std=0.3)  # of the last layer, so that windows differ
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, rng.integers(1, 256), (128, 171, 3), np.uint8) for _ in range(65)]
    with torch.inference_mode():
        plain = [
            network(
                torch.from_numpy(clips.cut(frames[i : i + 61 : 4], clip)[None]).permute(0, 4, 1, 2, 3).contiguous()
            ).softmax(1)[0]
            for i in range(5)
        ]
    assert torch.stack(plain).std(0).max() > 1e-3

    network.to(memory_format=torch.channels_last_3d)
    for batch_size, stride in ((1, 1), (5, 1), (2, 3), (8, 100)):
        found = list(predict(network, clip, [frame.copy() for frame in frames], stride, batch_size))
        assert [window.start for window in found] == sorted({*range(0, 5, stride), 4})
        for window in found:
            torch.testing.assert_close(window.probabilities, plain[window.start], rtol=0, atol=2e-5)


def test_windows_of_several_videos_share_batches():
    class Counting(Eye):
        def forward(self, x):
            batches.append(len(x))
            return super().forward(x)

    batches, stream = [], []
    for first in (0, 50, 100):
        frames = [numbered_frame(first + i) for i in range(20)]
        stream += [first, *cut_windows(frames, clips.recipe(), 2), None]
    found = list(inference.predict(Counting(), stream, 4))
    assert batches == [4, 4, 1]
    assert [item if not isinstance(item, Window) else item.start for item in found] == [
        item if not isinstance(item, Window) else item.start for item in stream
    ]
    batches.clear()
    far_apart = [window._replace(frames=[None] * inference.HELD) for window in stream[1:4]]
    list(inference.predict(Counting(), far_apart, 4))
    assert batches == [1, 1, 1]


def test_frames_are_read_as_they_are_needed_and_let_go():
    gone, most = [], 0

    class Frame(np.ndarray):
        """An image whose end can be seen."""

    def frames():
        nonlocal most
        for count in range(1, 1001):
            frame = numbered_frame(0).view(Frame)
            weakref.finalize(frame, gone.append, count)
            most = max(most, count - len(gone))
            yield frame

    for window in predict(Eye(), clips.recipe(), frames()):
        del window
    assert 61 <= most <= 61 + 2 * 32 + 2

    most = 0
    for _ in inference.predict(Eye(), cut_windows(frames(), clips.recipe(), keep=False), 2):
        pass
    assert most <= 4


@pytest.mark.parametrize("model", ["Tiny", *NETWORKS])
def test_each_network_annotates_a_video(project, checkpoint, tmp_path, model):
    video = write_video(tmp_path / "a b" / "300+ [x] (1)!!!.avi", 40, fps=12.5)
    file = checkpoint(model, crop_size=112 if model == "C3D" else 32)
    run = project.spawn if model == "Tiny" else project.run
    run("inference.py", video, "--checkpoint", file, "--top-k", "2", "--stride", "3", "--output", "out/there")
    output = project.folder / "out" / "there"
    assert sorted(path.name for path in output.iterdir()) == ["300+ [x] (1)!!!.json", "300+ [x] (1)!!!_annotated.mp4"]

    report = json.loads((output / "300+ [x] (1)!!!.json").read_text())
    assert report["frames"] == 40
    assert report["model"] == model
    span = 15 * 2 + 1  # 40 frames hold 16 distinct ones at interval 2
    times = [(round(s / 12.5, 3), round((s + span) / 12.5, 3)) for s in (0, 3, 6, 9)]
    assert [(w["start"], w["end"]) for w in report["windows"]] == times
    for guesses in (report["top_k"], *(window["top_k"] for window in report["windows"])):
        assert len(guesses) == 2
        assert {guess["label"] for guess in guesses} <= {"jump", "run", "walk"}
        assert guesses[0]["probability"] >= guesses[1]["probability"] > 0
    best = report["top_k"][0]
    mean = np.mean([g["probability"] for w in report["windows"] for g in w["top_k"] if g["label"] == best["label"]])
    assert best["probability"] == pytest.approx(mean)

    annotated = cv2.VideoCapture(str(output / "300+ [x] (1)!!!_annotated.mp4"))
    assert annotated.get(cv2.CAP_PROP_FPS) == 12.5
    for number in range(40):
        read, frame = annotated.read()
        assert read
        assert frame.shape == (120, 160, 3)
        assert read_number(frame[:70, :, ::-1]) == number
    assert not annotated.read()[0]


def test_ahead_keeps_order_and_passes_errors_on():
    drawn = []

    def items():
        for i in range(10):
            drawn.append(i)
            yield i
        raise OSError("torn")

    taken = inference.ahead(items(), 3)
    assert [next(taken) for _ in range(10)] == list(range(10))
    with pytest.raises(OSError, match="torn"):
        next(taken)
    assert list(inference.ahead(range(100), 7)) == list(range(100))
    drawn.clear()
    taken = inference.ahead(items(), 3)
    next(taken)
    taken.close()
    assert len(drawn) <= 5


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["none.avi"], "none.avi: no such file"),
        (["*.mkv"], "*.mkv: no such file, nor a folder or pattern with videos"),
        (["empty"], "empty: no such file, nor a folder or pattern with videos"),
        (["v.avi", "--format", "gif"], "invalid choice: 'gif'"),
        (["v.avi", "--checkpoint", "none.pth"], "none.pth"),
        (["v.avi", "--checkpoint", "v.avi"], "v.avi: damaged, or no checkpoint"),
        (["v.avi"], "no checkpoint under run: train one with train.py"),
        (["v.avi", "again/v.avi"], "v.avi and again/v.avi would write the same files"),
        (["v.avi", "v_annotated.mp4", "--output", "."], "v_annotated.mp4: would be overwritten"),
        (["v.avi", "--stride", "0"], "--stride 0: must be 1 or more"),
        (["v.avi", "--top-k", "-1"], "--top-k -1: must be 1 or more"),
        (["v.avi", "--stride", "x"], "--stride: invalid int value: 'x'; --help lists the flags"),
        ([], "name videos, or a --source, or a file to --export to; --help lists the flags"),
        (["v.avi", "--source", "0"], "name videos, or a --source, or a file to --export to"),
        (["v.avi", "--labels-only", "--explain"], "--labels-only makes no videos to explain"),
        (["v.avi", "--device", "cuda:77"], "--device cuda:77: "),
        (["v.avi", "--show"], "--show needs a display"),
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
    done = project.run("inference.py", "broken.avi", "v.avi", "--checkpoint", checkpoint(crop_size=32), ok=False)
    assert done.returncode == 1
    assert "broken.avi: not a video" in done.stderr
    assert (project.folder / "output" / "v_annotated.mp4").is_file()


def test_a_folder_of_videos_becomes_a_table(project, checkpoint):
    for name, frames in (("a/one.avi", 40), ("a/two.avi", 5), ("b/one.avi", 70)):
        write_video(project.folder / "videos" / name, frames, fps=10)
    (project.folder / "videos" / "notes.txt").write_text("no video")
    file = checkpoint(crop_size=32)
    project.run("inference.py", "videos", "--labels-only", "--checkpoint", file)
    assert [path.name for path in (project.folder / "output").iterdir()] == ["predictions.csv"]
    rows = list(csv.DictReader((project.folder / "output" / "predictions.csv").open()))
    assert [(row["video"], row["frames"], row["seconds"]) for row in rows] == [
        ("videos/a/one.avi", "40", "4.00"),
        ("videos/a/two.avi", "5", "0.50"),
        ("videos/b/one.avi", "70", "7.00"),
    ]

    # Annotated, each lies where it lay, and says the same.
    project.run("inference.py", "videos", "--checkpoint", file, "--output", "all", "--format", "webm")
    for row in rows:
        path = project.folder / "all" / row["video"].removeprefix("videos/")
        guess = json.loads(path.with_suffix(".json").read_text())["top_k"][0]
        assert (guess["label"], f"{guess['probability']:.4f}") == (row["label"], row["probability"])
        assert len(list(Video(path.with_name(f"{path.stem}_annotated.webm")))) == int(row["frames"])


def test_videos_that_differ_in_their_ending_are_told_apart(project, checkpoint):
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
    assert 30 < report["frames"] < 60
    line = f"inference.py: v.avi: breaks off after {report['frames']} of 100 frames, which are done"
    assert line in done.stderr.splitlines()
    assert len(list(Video(project.folder / "output" / "v_annotated.mp4"))) == report["frames"]


def test_a_video_whose_frames_are_fewer_than_its_rate_promises_does_not_break_off(project, checkpoint):
    whole = write_video(project.folder / "v.mkv", 100).read_bytes()
    (project.folder / "v.mkv").write_bytes(drop_frames(whole, range(10, 90, 2)))
    late = write_video(project.folder / "late.mp4", 20, fourcc="mp4v")
    late.write_bytes(edit_mp4(late.read_bytes(), durations=[1] * 19 + [60]))  # shown for long at the end
    project.run("inference.py", "v.mkv", "late.mp4", "--checkpoint", checkpoint(crop_size=16))
    report = json.loads((project.folder / "output" / "v.json").read_text())
    assert report["frames"] == 60
    assert report["windows"][-1]["end"] == 4


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
    (videos / "turned.mp4").write_bytes(edit_mp4(plain, turned=True))
    (videos / "uneven.mp4").write_bytes(edit_mp4(plain, durations=[1 + 2 * (i % 3 == 0) for i in range(20)]))

    project.run("inference.py", "videos", "--checkpoint", checkpoint(crop_size=32), "--explain")
    for name, (frames, height, width) in shapes.items():
        stem = (project.folder / "output" / name).with_suffix("")
        assert json.loads(stem.with_suffix(".json").read_text())["frames"] == frames, name
        annotated = list(Video(stem.with_name(f"{stem.name}_annotated.mp4")))
        assert [frame.shape for frame in annotated] == [(height // 2 * 2, width // 2 * 2, 3)] * frames, name
    uneven, slow = (json.loads((project.folder / "output" / f"{n}.json").read_text()) for n in ("uneven", "slow"))
    assert [(w["start"], w["end"]) for w in uneven["windows"]] == [(0, 1.12), (0.32, 1.388)]
    assert uneven["fps"] == pytest.approx(20 / 1.36, abs=0.05)
    assert slow["windows"][-1]["end"] == 3


def test_the_rest_of_what_cannot_be_written_is_not_read(project, checkpoint, tmp_path, monkeypatch):
    opened = []

    class Seen(Video):
        def __init__(self, source):
            super().__init__(source)
            opened.append(self)

    path = write_video(tmp_path / "v.avi", [numbered_frame(3)] * 1000)
    (tmp_path / "output" / "v_annotated.partial.mp4").mkdir(parents=True)
    monkeypatch.setattr(inference, "Video", Seen)
    project.run(
        "inference.py", path, "--checkpoint", checkpoint(crop_size=16), "--output", tmp_path / "output", ok=False
    )
    assert 61 <= len(opened[0].times) < 300


def test_what_cannot_be_written_does_not_stop_the_others(project, checkpoint):
    for name in "abc":
        write_video(project.folder / f"{name}.avi", 200)
    for name in ("a_annotated.partial.mp4", "b.json"):
        (project.folder / "output" / name).mkdir(parents=True)
    file = checkpoint(crop_size=16)
    done = project.run("inference.py", "a.avi", "b.avi", "c.avi", "--checkpoint", file, ok=False)
    assert done.returncode == 1
    first, second = [line for line in done.stderr.splitlines() if line.startswith("inference.py: ")]
    assert "output/a_annotated.partial.mp4" in first
    assert "output/b.json" in second
    assert sorted(path.name for path in (project.folder / "output").iterdir()) == [
        "a_annotated.partial.mp4",
        "b.json",
        "b_annotated.mp4",
        "c.json",
        "c_annotated.mp4",
    ]


def test_a_name_that_is_not_utf8_does_not_stop_the_others(project, checkpoint):
    write_video(project.folder / "videos" / "b.avi", 20)
    try:
        shutil.copy(project.folder / "videos" / "b.avi", os.fsencode(project.folder / "videos") + b"/a\xe9.avi")
    except OSError:
        pytest.skip("this file system has no such names")
    done = project.run("inference.py", "videos", "--checkpoint", checkpoint(crop_size=16), ok=False)
    assert done.returncode == 1
    assert "inference.py: videos/a\\udce9.avi: the name is not UTF-8" in done.stderr
    assert (project.folder / "output" / "b_annotated.mp4").is_file()


def test_interrupted_it_leaves_no_part_of_a_video(project, checkpoint, monkeypatch):
    for name in "abc":
        write_video(project.folder / f"{name}.avi", 200)
    write, written = annotation.open_writer, []

    class Writer:
        """Writes frames; Ctrl-C comes at one of the second video."""

        def __init__(self, *args):
            self.writer = write(*args)

        def write(self, frame):
            written.append(1)
            if len(written) == 300:
                signal.raise_signal(signal.SIGINT)
            return self.writer.write(frame)

        def __getattr__(self, name):
            return getattr(self.writer, name)

    monkeypatch.setattr(annotation, "open_writer", Writer)
    with pytest.raises(KeyboardInterrupt):
        project.run("inference.py", "a.avi", "b.avi", "c.avi", "--checkpoint", checkpoint(crop_size=16))
    assert sorted(path.name for path in (project.folder / "output").iterdir()) == ["a.json", "a_annotated.mp4"]
    assert len(written) < 400


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
    assert list((project.folder / "output").iterdir()) == []


@pytest.fixture
def stream():
    """The address of an endless stream of numbered frames, as network cameras have them."""

    class Camera(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            with contextlib.suppress(OSError):
                for number in cycle(range(256)):
                    server.times.append(time.monotonic())
                    if len(server.times) == 250:
                        os.kill(os.getpid(), signal.SIGINT)
                    picture = cv2.imencode(".jpg", numbered_frame(number))[1].tobytes()
                    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
                    self.wfile.write(head.encode() + picture + b"\r\n")
                    time.sleep(0.01)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Camera) as server:
        server.daemon_threads, server.times = True, []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_a_stream_is_annotated_until_ctrl_c(project, checkpoint, stream):
    source = f"http://me:secret@127.0.0.1:{stream.server_port}/camera.mjpg"
    project.run("inference.py", "--source", source, "--checkpoint", checkpoint(crop_size=16))
    files = sorted((project.folder / "output").iterdir())
    assert [path.suffix for path in files] == [".json", ".mp4"]
    report = json.loads(files[0].read_text())
    assert report["video"] == source.replace("me:secret@", "")
    assert len(report["windows"]) > 1
    assert len(list(Video(files[1]))) == report["frames"] >= 100
    rate = len(stream.times) / (stream.times[-1] - stream.times[0])  # which the stream does not tell
    assert report["fps"] == pytest.approx(rate, rel=0.5)
    assert report["windows"][-1]["end"] == pytest.approx(report["frames"] / rate, rel=0.5)
    numbers = [read_number(frame[:70, :, ::-1]) for frame in Video(files[1])]
    assert numbers == [(numbers[0] + i) % 256 for i in range(len(numbers))]


@pytest.mark.parametrize("source", ["99", "http://127.0.0.1:9/x.mjpg"])
def test_a_source_that_is_not_there_is_one_line(project, checkpoint, source):
    done = project.run("inference.py", "--source", source, "--checkpoint", checkpoint(crop_size=16), ok=False)
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert line == f"inference.py: {source}: no such camera, nor a stream that can be opened"


@pytest.mark.parametrize("model", ["Tiny", *(pytest.param(name, marks=pytest.mark.slow) for name in FULL_SIZE)])
def test_export_writes_what_other_programs_compute_alike(checkpoint, tmp_path, model):
    size = SIZES[model]
    saved = weights.load(checkpoint(model, crop_size=size, classes=("jump", "Köpfen", "walk")))
    network = weights.build(saved).eval()
    clip = torch.randint(0, 256, (3, 3, 16, size, size), dtype=torch.uint8)
    with torch.inference_mode():
        logits = network(clip)
    onnx_file, program_file = export(network, saved, tmp_path / "out" / "v1.0")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["v1.0.onnx", "v1.0.pt2"]

    session = InferenceSession(onnx_file)
    (found,) = session.run(["logits"], {"clips": clip.numpy()})
    np.testing.assert_allclose(found, logits.numpy(), rtol=1e-3, atol=1e-5)
    extra = {"model": "", "classes": "", "clip": ""}
    program = torch.export.load(program_file, extra_files=extra)
    torch.testing.assert_close(program.module()(clip), logits, rtol=1e-3, atol=1e-5)
    for texts in (session.get_modelmeta().custom_metadata_map, extra):
        assert {key: json.loads(texts[key]) for key in extra} == {key: saved[key] for key in extra}


def test_an_export_is_whole_or_not_there(checkpoint, tmp_path, monkeypatch):
    def torn(program, file, **_):
        Path(file).write_text("half")
        raise RuntimeError("disk full")

    monkeypatch.setattr(torch.export, "save", torn)
    saved = weights.load(checkpoint(crop_size=16))
    with pytest.raises(OSError, match="net.pt2: cannot be written: disk full"):
        export(weights.build(saved).eval(), saved, tmp_path / "out" / "net")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["net.onnx"]


def test_export_names_the_package_it_misses(project, checkpoint, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    done = project.run("inference.py", "--export", "net", "--checkpoint", checkpoint(crop_size=16), ok=False)
    assert done.stderr == "inference.py: --export needs one more package: pip install onnxscript\n"
