import csv
import json

import numpy as np
import pytest
import torch
from conftest import write_dataset
from PIL import Image
from sklearn.metrics import accuracy_score, recall_score, top_k_accuracy_score
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboardX import SummaryWriter
from tiny import Tiny

from dataloaders import clips
from dataloaders.dataset import VideoDataset
from dataloaders.preprocess import prepare
from network import MODELS, report

CLASSES = [f"class {i}" for i in range(8)]


@pytest.fixture
def prediction():
    rng = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 7, (60,), generator=rng)  # no video of the last class
    logits = torch.randn(60, 4, 8, generator=rng) + 0.4 * torch.nn.functional.one_hot(labels, 8)[:, None]
    return logits.softmax(2), labels


def test_measures_are_those_of_sklearn(prediction):
    probabilities, labels = prediction
    measured = report.measure(probabilities, labels, CLASSES)
    of_video, of_clip = probabilities.mean(1), probabilities.flatten(0, 1)
    every = list(range(8))
    assert measured["clip_top1"] == pytest.approx(accuracy_score(labels.repeat_interleave(4), of_clip.argmax(1)))
    assert measured["video_top1"] == pytest.approx(accuracy_score(labels, of_video.argmax(1)))
    assert measured["video_top5"] == pytest.approx(top_k_accuracy_score(labels, of_video, k=5, labels=every))
    recall = recall_score(labels, of_video.argmax(1), labels=every, average=None, zero_division=0)
    assert measured["per_class"] == pytest.approx(dict(zip(CLASSES[:7], recall, strict=False)))


def test_few_classes_have_a_top5_too():
    assert report.measure(torch.eye(2)[:, None], torch.tensor([1, 0]), ["a", "b"])["video_top5"] == 1


def test_summary_of_folds_and_of_seeds():
    def result(fold, video):
        return {"fold": fold, "test": {"clip_top1": 0.5, "video_top1": video}}

    folds = [result(1, 0.5), result(1, 0.7), result(2, 0.8), result(2, 0.8)]  # folds 0.6 and 0.8
    assert report.summary(folds) == "4 runs, clip_top1 0.500 ± 0.000, video_top1 0.700 ± 0.100"
    assert report.summary(folds[:2]) == "2 runs, clip_top1 0.500 ± 0.000, video_top1 0.600 ± 0.100"
    assert report.summary(folds[:1]).endswith("video_top1 0.500 ± nan")


def test_a_summary_is_of_one_data_set(project, tmp_path):
    for name, dataset in (("a", "demo"), ("b", "ucf101")):
        test = {"clip_top1": 0.5, "video_top1": 0.25}
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(json.dumps({"dataset": dataset, "fold": 1, "test": test}))
    alone, mixed = (
        project.run("-m", "network.report", *(tmp_path / name for name in names), ok=names == "a")
        for names in ("a", "ab")
    )
    assert (alone.returncode, alone.stdout) == (0, "1 runs, clip_top1 0.500 ± nan, video_top1 0.250 ± nan\n")
    assert (mixed.returncode, mixed.stderr) == (2, "runs of different data sets have no mean: demo, ucf101\n")


def test_files_and_pictures(tmp_path, capsys):
    videos = prepare("own", write_dataset(tmp_path / "videos", frames=16), tmp_path / "frames")
    dataset = VideoDataset(tmp_path / "frames", videos, "test", ["Jump", "Run"], clips.recipe(), windows=2)
    probabilities = torch.tensor([[[0.25, 0.75]] * 2, [[0.5, 0.5], [0.125, 0.875]]])
    sources = [video.source for video in videos if video.split == "test"]
    measured = {"loss": 1.0, "clip_top1": 0.5, "video_top1": 0.5, "video_top5": 1.0}
    writer = SummaryWriter(str(tmp_path / "events"))
    test = measured | {"labels": torch.tensor([0, 1]), "probabilities": probabilities}
    of = {"epoch": 3, "split": "random", "leaked_groups": 2}
    report.conclude(tmp_path, writer, of, test, dataset, sources)
    writer.close()
    results = json.loads((tmp_path / "results.json").read_text())
    assert "2 groups in more than one" in results.pop("warning")
    assert results == of | {"test": measured}
    assert "test of epoch 3, split random: clip top-1 0.500, video top-1 0.500" in capsys.readouterr().out
    rows = list(csv.DictReader((tmp_path / "predictions.csv").open()))
    assert [(row["class"], row["prediction"], row["probability"], row["correct"]) for row in rows] == [
        ("Jump", "Run", "0.7500", "0"),
        ("Run", "Run", "0.6875", "1"),
    ]
    assert [row["source"] for row in rows] == sources

    events = EventAccumulator(str(tmp_path / "events"), size_guidance={"images": 0})
    events.Reload()
    assert set(events.Tags()["scalars"]) == {
        "data/test_loss_epoch",
        "data/test_acc_epoch",
        "test/video_top1",
        "test/video_top5",
    }
    assert set(events.Tags()["images"]) == {"test/confusion", "test/per_class", "test/wrong_1"}
    (tmp_path / "wrong.gif").write_bytes(events.Images("test/wrong_1")[0].encoded_image_string)
    assert Image.open(tmp_path / "wrong.gif").n_frames == 16


@pytest.mark.parametrize("count", [2, 51, 101])
def test_pictures_of_any_number_of_classes(count):
    matrix = np.eye(count, dtype=int) * 3
    names = [f"class number {i}" for i in range(count)]
    confusion = report.draw_confusion(matrix, names)
    assert confusion.shape[0] == confusion.shape[1] < 1750
    cell = max(15, min(32, 960 // count))
    diagonal = confusion[-cell // 2, -cell // 2]
    assert diagonal[2] > diagonal[0] + 50  # blue where right
    assert confusion[-cell // 2, -3 * cell // 2].min() == 255  # white where never
    assert report.draw_classes(matrix, names).shape[0] <= 26 * 40 + 10


def test_there_is_a_bar_for_each_class_that_was_tested_the_worst_first():
    matrix = np.diag([4, 0, 1, 2]) + np.array([[0] * 4, [0] * 4, [3, 0, 0, 0], [2, 0, 0, 0]])
    picture = report.draw_classes(matrix, ["a", "b", "c", "d"])
    blue = (picture == (33, 96, 176)).all(2)
    left = np.argwhere(blue)[:, 1].min()
    assert [blue[y, left:].sum() for y in (17, 43, 69)] == [76, 151, 301]
    assert len(picture) == 3 * 26 + 10


@pytest.mark.parametrize(
    "statistics", [{"input": "residual"}, {"input": "rgb"} | MODELS["C3D"].public_normalization], ids=str
)
def test_flags_and_training_clips(tmp_path, statistics):
    videos = prepare("own", write_dataset(tmp_path / "videos"), tmp_path / "frames")
    dataset = VideoDataset(tmp_path / "frames", videos, "train", ["Jump", "Run"], clips.recipe(64))
    network = Tiny(2)
    network.normalize.set(**network.normalize.statistics | statistics)
    items = [(0, (0, 1, 0)), (1, (0, 1, 1))]
    writer = SummaryWriter(str(tmp_path / "events"))
    report.introduce(writer, {"model": "R3D", "lr": 0.5, "weights": None, "pretrained": False}, network, dataset, items)
    writer.close()
    events = EventAccumulator(str(tmp_path / "events"), size_guidance={"images": 0})
    events.Reload()
    content = events.PluginTagToContent("hparams")["_hparams_/session_start_info"]
    flags = HParamsPluginData.FromString(content).session_start_info.hparams
    assert flags["model"].string_value == "R3D"
    assert flags["lr"].number_value == 0.5
    assert sorted(flags) == ["lr", "model", "pretrained"]
    (tmp_path / "clips.gif").write_bytes(events.Images("train/clips")[0].encoded_image_string)
    picture = Image.open(tmp_path / "clips.gif")
    assert (picture.n_frames, picture.size) == (16, (320, 368))
    for t in (0, 9):
        picture.seek(t)
        shown = np.asarray(picture.convert("RGB"))
        for place, item in enumerate(items):
            clip = dataset[item][0].numpy()
            of_clip = shown[24:184, 160 * place : 160 * place + 160]
            assert of_clip[::8, ::8].mean((0, 1)) == pytest.approx(clip[t].mean((0, 1)), abs=12)
            seen = shown[208:, 160 * place : 160 * place + 160]
            edge = np.ptp(seen.mean((0, 2))) > 10  # it stands still, so residual frames have it in the first
            assert edge == (t == 0 or statistics["input"] == "rgb")
            if statistics["input"] == "rgb":
                assert ((seen > 4) & (seen < 251)).mean() > 0.9  # neither black nor white
