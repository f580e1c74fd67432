import csv
import json
import weakref

import cv2
import numpy as np
import pytest
import torch
from conftest import SIZES, make_checkpoint, numbered_frame, read_number, write_dataset, write_video
from torch import nn

import inference
from dataloaders import clips
from dataloaders.videos import read_frames
from network import MODELS, weights


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
    def write(model="R3D", name="a.pth", classes=("jump", "run", "walk"), crop_size=112):
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


@pytest.mark.parametrize(("length", "interval"), [(5, 1), (16, 1), (46, 3), (61, 4), (200, 4)])
@pytest.mark.parametrize("stride", [None, 1, 25, 100])
def test_windows_sample_frames_as_training_does_and_each_frame_gets_the_nearest(length, interval, stride):
    eye = Eye()
    frames = [numbered_frame(number) for number in range(length)]
    found = list(inference.predict(eye, clips.recipe(), frames, stride))
    assert len(found) == len(eye.seen)
    for (start, end, probabilities, _), numbers in zip(found, eye.seen, strict=True):
        assert numbers == [min(start + i * interval, length - 1) for i in range(16)]
        assert end == min(start + 15 * interval + 1, length)
        assert probabilities.sum().item() == pytest.approx(1)
    assert found[0][0] == 0
    assert found[-1][1] == length

    shown = [(number, frame) for number, (*_, nearest) in enumerate(found) for frame in nearest]
    assert all(frame is other for (_, frame), other in zip(shown, frames, strict=True))
    for place, (number, _) in enumerate(shown):
        distances = [abs((start + end) / 2 - (place + 0.5)) for start, end, *_ in found]
        assert distances[number] == min(distances)


@pytest.mark.parametrize("size", [(160, 120), (171, 128)])
def test_what_is_drawn_on_a_frame_is_hidden_from_the_network(size):
    eye = Eye()
    for *_, nearest in inference.predict(eye, clips.recipe(), [numbered_frame(n, *size) for n in range(80)], 2):
        for frame in nearest:
            frame[:] = 255
    assert eye.seen == [[start + 4 * i for i in range(16)] for start in (*range(0, 19, 2), 19)]


@pytest.mark.parametrize("model", MODELS)
def test_predictions_are_those_of_the_plain_way_whatever_batch_and_stride(model, monkeypatch):
    clip = clips.recipe(SIZES[model])
    torch.manual_seed(0)
    network = MODELS[model](5).eval()
    nn.init.normal_(list(network.parameters())[-2], std=0.3)  # of the last layer, so that windows differ
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, rng.integers(1, 256), (128, 171, 3), np.uint8) for _ in range(65)]
    with torch.inference_mode():
        plain = [
            network(torch.from_numpy(clips.cut(frames[i : i + 61 : 4], clip)[None]).permute(0, 4, 1, 2, 3).contiguous())
            .softmax(1)[0]
            for i in range(5)
        ]
    assert torch.stack(plain).std(0).max() > 1e-3

    network.to(memory_format=torch.channels_last_3d)
    for batch_size, stride in ((1, 1), (5, 1), (2, 3), (8, 100)):
        monkeypatch.setattr(inference, "CPU_BATCH_SIZE", batch_size)
        found = list(inference.predict(network, clip, [frame.copy() for frame in frames], stride))
        assert [start for start, *_ in found] == sorted({*range(0, 5, stride), 4})
        for start, _, probabilities, _ in found:
            torch.testing.assert_close(probabilities, plain[start], rtol=0, atol=2e-5)


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

    for *_, nearest in inference.predict(Eye(), clips.recipe(), frames()):
        del nearest
    assert 61 <= most <= 61 + 32 + 2


@pytest.mark.parametrize("model", MODELS)
def test_each_network_annotates_a_video(project, checkpoint, tmp_path, model):
    video = write_video(tmp_path / "a b" / "300+ [x] (1)!!!.avi", 40, fps=12.5)
    file = checkpoint(model, crop_size=112 if model == "C3D" else 32)
    project.run("inference.py", video, "--checkpoint", file, "--top-k", "2", "--stride", "3", "--output", "out/there")
    output = project.folder / "out" / "there"
    assert sorted(path.name for path in output.iterdir()) == ["300+ [x] (1)!!!.json", "300+ [x] (1)!!!_annotated.mp4"]

    report = json.loads((output / "300+ [x] (1)!!!.json").read_text())
    assert report["frames"] == 40
    assert report["model"] == model
    span = 15 * 2 + 1  # 40 frames hold 16 distinct ones at interval 2
    assert [(w["start"], w["end"]) for w in report["windows"]] == [(s / 12.5, (s + span) / 12.5) for s in (0, 3, 6, 9)]
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


def test_the_newest_best_is_found(project, tmp_path):
    project.set_path("own", write_dataset(tmp_path / "videos"))
    project.run("train.py", "--dataset", "own", "--epochs", "1", "--crop-size", "16", "--model", "R3D")
    video = write_video(tmp_path / "v.avi", 20)
    output = project.run("inference.py", video, "--top-k", "99").stdout
    assert output.startswith("run/run_0/models/R3D-own_best.pth: R3D, 2 classes")
    assert len(json.loads((project.folder / "output" / "v.json").read_text())["top_k"]) == 2


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
        ([], "required: VIDEO; --help lists the flags"),
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
        ("videos/a/one.avi", "40", "4.00"), ("videos/a/two.avi", "5", "0.50"), ("videos/b/one.avi", "70", "7.00"),
    ]

    # Annotated, each lies where it lay, and says the same.
    project.run("inference.py", "videos", "--checkpoint", file, "--output", "all", "--format", "webm")
    for row in rows:
        path = project.folder / "all" / row["video"].removeprefix("videos/")
        guess = json.loads(path.with_suffix(".json").read_text())["top_k"][0]
        assert (guess["label"], f"{guess['probability']:.4f}") == (row["label"], row["probability"])
        annotated = clips.open_video(path.with_name(f"{path.stem}_annotated.webm"))
        assert len(list(read_frames(annotated))) == int(row["frames"])


def test_a_video_that_breaks_off_is_done_as_far_as_it_goes(project, checkpoint):
    whole = write_video(project.folder / "v.avi", 100).read_bytes()
    (project.folder / "v.avi").write_bytes(whole[: len(whole) // 2])
    done = project.run("inference.py", "v.avi", "--checkpoint", checkpoint(crop_size=32), ok=False)
    assert done.returncode == 1
    report = json.loads((project.folder / "output" / "v.json").read_text())
    assert 30 < report["frames"] < 60
    assert done.stderr.splitlines()[-1].endswith(
        f"inference.py: v.avi: breaks off after {report['frames']} of 100 frames, which are done"
    )
    annotated = clips.open_video(project.folder / "output" / "v_annotated.mp4")
    assert len(list(read_frames(annotated))) == report["frames"]
