import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from configs import train_config
from conftest import data_settings, write_dataset
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tiny import Tiny

from dataloaders.dataset import EvalWindows, TrainClips
from dataloaders.preprocess import preprocess, split_records
from dataloaders.records import VideoRecord
from dataloaders.sampling import ClipConfig
from engine import report
from engine.evaluation import Evaluation
from engine.events import RunWriter
from engine.metrics import METRICS, Predictions
from engine.trainer import EpochResult
from network.converters import CLASSIC_STATISTICS


@pytest.mark.pictures
def test_the_middle_window_of_a_mistake_is_shown(tmp_path, monkeypatch):
    videos = [
        VideoRecord("test", name, "v", "g", f"{name}/v.avi", frames, 1e9, "test")
        for name, frames in (("Jump", 16), ("Run", 20))
    ]
    dataset = EvalWindows(tmp_path, videos, ["Jump", "Run"], ClipConfig(), windows=3)
    items, clip = [], torch.zeros((1, 112, 112, 3), dtype=torch.uint8)
    monkeypatch.setattr(EvalWindows, "__getitem__", lambda _, item: items.append(item) or (clip, 0))
    both_wrong = torch.tensor([[0.25, 0.75], [0.75, 0.25]])[:, None].expand(2, 3, 2)
    evaluation = Evaluation(Predictions(both_wrong, torch.tensor([0, 1])), {})
    with RunWriter(tmp_path / "events") as writer:
        report.log_predictions(writer, 0, evaluation, dataset)
    assert sorted(items) == [0, 2]  # of Jump the only window, of Run the second of three


@pytest.mark.pictures
def test_the_files_and_images_of_a_test(tmp_path, capsys):
    root = write_dataset(tmp_path / "videos", frames=16)
    frames = preprocess(data_settings(root, tmp_path / "frames"))
    videos = split_records(frames, "group")
    tested_videos = [video for video in videos if video.split == "test"]
    dataset = EvalWindows(
        frames.frames_dir, tested_videos, ["Jump", "Run"], ClipConfig(), windows=2
    )
    probabilities = torch.tensor([[[0.75, 0.25]] * 2, [[0.5, 0.5], [0.875, 0.125]]])
    metrics = dict.fromkeys(METRICS, 0.5) | {
        "loss": 1.0,
        "clip_top1": 0.5,
        "video_top1": 0.5,
        "video_top5": 1.0,
        "mean_class": 0.5,
        "macro_f1": 0.33,
    }
    writer = RunWriter(tmp_path / "events")
    tested = {"epoch": 3, "split": "random", "leaked_groups": 2, "tested_on": "test"}
    evaluation = Evaluation(Predictions(probabilities, torch.tensor([0, 1])), metrics)
    report.write_test_report(tmp_path, writer, tested, evaluation, dataset)
    writer.close()
    results = json.loads((tmp_path / "results.json").read_text())
    assert "2 groups in more than one" in results.pop("warning")
    per_class = {
        "Jump": {"precision": 0.5, "recall": 1.0, "support": 1},
        "Run": {"precision": 0.0, "recall": 0.0, "support": 1},
    }
    assert results == tested | {"test": metrics | {"per_class": per_class}}
    output = capsys.readouterr().out
    assert (
        "test of epoch 3, split random: clip top-1 0.500, video top-1 0.500, top-5 1.000, "
        in output
    )
    assert "mean class 0.500, macro F1 0.330; see" in output
    rows = list(csv.DictReader((tmp_path / "predictions.csv").open()))
    assert [tuple(row.values())[1:] for row in rows] == [
        ("Jump", "Jump", "0.7500", "1", "0.7500", "0.2500"),
        ("Run", "Jump", "0.6875", "0", "0.6875", "0.3125"),
    ]
    assert [row["source"] for row in rows] == [
        video.source for video in videos if video.split == "test"
    ]

    events = EventAccumulator(str(tmp_path / "events"), size_guidance={"images": 0})
    events.Reload()
    assert set(events.Tags()["scalars"]) == {
        "data/test_loss_epoch",
        "data/test_acc_epoch",
        "test/video_top1",
        "test/video_top5",
        "test/mean_class",
        "test/macro_f1",
    }
    assert set(events.Tags()["images"]) == {"test/confusion", "test/per_class", "test/wrong_1"}
    (tmp_path / "wrong.gif").write_bytes(events.Images("test/wrong_1")[0].encoded_image_string)
    animation = Image.open(tmp_path / "wrong.gif")
    assert animation.n_frames == 16
    assert (animation.info["duration"], animation.info["loop"]) == (160, 0)  # again and again


def test_a_logged_epoch_is_on_disk_at_once(tmp_path):
    """A run that is killed later does not log it again."""
    train = EpochResult(loss=0.5, top1=0.25, clips_per_second=100.0)
    val = dict.fromkeys(METRICS, 0.5) | {
        "loss": 1.5,
        "clip_top1": 0.75,
        "video_top5": 1.0,
        "mean_class": 0.7,
        "macro_f1": 0.6,
    }
    with RunWriter(tmp_path, first_epoch=1) as writer:
        for epoch in range(1, 21):
            trainer = SimpleNamespace(
                loss_name="loss", learning_rate=0.01 * epoch, device=torch.device("cpu")
            )
            report.log_epoch(writer, epoch, train, val, trainer)
            events = EventAccumulator(str(tmp_path))
            events.Reload()
            for tag in (
                "curves/loss_train",
                "data/val_acc_epoch",
                "data/lr",
                "data/clips_per_second",
            ):
                assert [event.step for event in events.Scalars(tag)] == list(range(1, epoch + 1))
    values = {tag: events.Scalars(tag)[-1].value for tag in events.Tags()["scalars"]}
    assert values == pytest.approx(
        {
            "curves/loss_train": 0.5,
            "curves/loss_val": 1.5,
            "curves/top1_train": 0.25,
            "curves/top1_val": 0.75,
            "curves/top5_val": 1.0,
            "curves/mean_class_val": 0.7,
            "curves/macro_f1_val": 0.6,
            "data/train_loss_epoch": 0.5,
            "data/train_acc_epoch": 0.25,
            "data/val_loss_epoch": 1.5,
            "data/val_acc_epoch": 0.75,
            "data/lr": 0.2,
            "data/clips_per_second": 100.0,
        }
    )


@pytest.mark.pictures
@pytest.mark.parametrize(
    "statistics", [{"input": "residual"}, {"input": "rgb"} | CLASSIC_STATISTICS], ids=str
)
def test_hyperparameters_and_training_clips(tmp_path, statistics):
    frames = preprocess(data_settings(write_dataset(tmp_path / "videos"), tmp_path / "frames"))
    videos = split_records(frames, "group")
    train_videos = [video for video in videos if video.split == "train"]
    dataset = TrainClips(
        frames.frames_dir, train_videos, ["Jump", "Run"], ClipConfig.from_flags(64)
    )
    model = Tiny(2)
    model.normalize.set(**model.normalize.statistics | statistics)
    items = [(0, (0, 1, 0)), (1, (0, 1, 1))]
    writer = RunWriter(tmp_path / "events")
    loaders = SimpleNamespace(train=SimpleNamespace(dataset=dataset), sampler=iter([items]))
    report.log_run_start(writer, train_config(model="R3D", lr=0.5), model, loaders)
    writer.close()
    events = EventAccumulator(str(tmp_path / "events"), size_guidance={"images": 0})
    events.Reload()
    content = events.PluginTagToContent("hparams")["_hparams_/session_start_info"]
    hyperparameters = HParamsPluginData.FromString(content).session_start_info.hparams
    assert hyperparameters["model"].string_value == "R3D"
    assert hyperparameters["lr"].number_value == 0.5
    assert hyperparameters["pretrained"].bool_value is False
    assert "weights" not in hyperparameters  # None
    (tmp_path / "clips.gif").write_bytes(events.Images("train/clips")[0].encoded_image_string)
    animation = Image.open(tmp_path / "clips.gif")
    assert (animation.n_frames, animation.size) == (16, (320, 368))
    for t in (0, 9):
        animation.seek(t)
        frame = np.asarray(animation.convert("RGB"))
        for column, item in enumerate(items):
            clip = dataset[item][0].numpy()
            shown_clip = frame[24:184, 160 * column : 160 * column + 160]
            assert shown_clip[::8, ::8].mean((0, 1)) == pytest.approx(clip[t].mean((0, 1)), abs=12)
            shown_input = frame[208:, 160 * column : 160 * column + 160]
            has_edge = (
                np.ptp(shown_input.mean((0, 2))) > 10
            )  # it does not move: residual input has it in the first
            assert has_edge == (t == 0 or statistics["input"] == "rgb")
            if statistics["input"] == "rgb":
                assert (
                    (shown_input > 4) & (shown_input < 251)
                ).mean() > 0.9  # neither black nor white
