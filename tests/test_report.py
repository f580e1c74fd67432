import csv
import json
import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from configs import train_config
from conftest import data_settings, write_dataset
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tiny import Tiny

from dataloaders.dataset import EvalWindows, TrainClips
from dataloaders.errors import FileError
from dataloaders.preprocess import preprocess, split_records
from dataloaders.records import VideoRecord
from dataloaders.sampling import ClipConfig
from engine import figures, report
from engine.events import RunWriter
from engine.loops import Evaluation
from engine.metrics import Predictions
from engine.trainer import EpochResult
from network.converters import CLASSIC_STATISTICS


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


def test_the_files_and_images_of_a_test(tmp_path, capsys):
    root = write_dataset(tmp_path / "videos", frames=16)
    frames = preprocess(data_settings(root, tmp_path / "frames"))
    videos = split_records(frames, "group")
    tested_videos = [video for video in videos if video.split == "test"]
    dataset = EvalWindows(
        frames.frames_dir, tested_videos, ["Jump", "Run"], ClipConfig(), windows=2
    )
    probabilities = torch.tensor([[[0.75, 0.25]] * 2, [[0.5, 0.5], [0.875, 0.125]]])
    metrics = {
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
    val = {
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


def readable_texts(figure):
    """The texts of a figure, which must be 9.5 pixels high or more, lie within it and not overlap."""
    figure.draw_without_rendering()
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text()]
    boxes = np.array(
        [text.get_window_extent().extents for text in texts]
    )  # left, bottom, right, top
    assert min(text.get_fontsize() for text in texts) * figure.dpi / 72 >= 9.5
    assert boxes[:, :2].min() >= 0 and (boxes[:, 2:] <= figure.bbox.extents[2:]).all()
    bottom_left = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    top_right = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    is_overlap = (top_right > bottom_left).all(2)
    assert is_overlap.sum() == len(texts)  # each with itself
    return texts


def tick_labels(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def render(figure):
    """A figure as an image (H, W, 3), RGB."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].astype(int)


COUNTS = [2, 6, 51, 101, pytest.param(400, marks=pytest.mark.slow)]
LARGEST = {2: 400, 6: 600, 51: 2400, 101: 2400, 400: 5600}  # side of a confusion matrix in pixels


@pytest.mark.parametrize("count", COUNTS)
def test_a_confusion_matrix_of_any_number_of_classes_can_be_read(count):
    matrix = 30 * np.eye(count, dtype=int) + 12 * np.eye(count, k=1, dtype=int)
    names = [f"class number {i}" for i in range(count)]
    figure = figures.plot_confusion_matrix(matrix, names)
    width, height = figure.get_size_inches() * figure.dpi
    assert width == height < LARGEST[count]
    (axes,) = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")
    assert tick_labels(axes.xaxis) == tick_labels(axes.yaxis) == names
    assert (
        axes.yaxis_inverted() and not axes.xaxis_inverted()
    )  # the first class is above and on the left
    cells = {
        tuple(map(round, text.get_position()[::-1])): int(text.get_text()) for text in axes.texts
    }
    assert cells == {cell: count for cell, count in np.ndenumerate(matrix) if count}
    assert len(readable_texts(figure)) == 2 + 2 * count + len(cells)


def test_a_confusion_matrix_grows_with_the_classes():
    names = [f"class number {i}" for i in range(400)]
    sides = [
        figures.plot_confusion_matrix(np.eye(count, dtype=int), names[:count]).get_size_inches()[0]
        for count in (2, 6, 51, 101, 200, 400)
    ]
    assert sides == sorted(sides)
    assert sides[-1] > 2 * sides[3] > 4 * sides[1]


def test_a_confusion_matrix_is_shaded_by_row_from_white_to_blue():
    matrix = np.array([[30, 0, 0, 0], [0, 3, 0, 0], [0, 1, 1, 2], [40, 25, 21, 14]])
    figure = figures.plot_confusion_matrix(matrix, list("abcd"))
    image, (axes,) = render(figure), figure.axes

    def shade(i, j):
        """The colour of a cell, beside its number."""
        x, y = axes.transData.transform((j - 0.4, i - 0.4)).astype(int)
        return image[len(image) - 1 - y, x]

    assert shade(0, 0).tolist() == shade(1, 1).tolist()  # all of the row, however many videos
    assert shade(0, 0)[2] > shade(0, 0)[0] + 50  # blue where right
    assert shade(0, 1).min() > 240  # white where never
    shares = matrix / matrix.sum(1, keepdims=True)
    order = sorted(np.ndindex(4, 4), key=lambda cell: shares[cell])
    darkness = [-shade(*cell).sum() for cell in order]
    assert darkness == sorted(darkness)
    colours = {int(text.get_text()): text.get_color() for text in axes.texts}
    assert colours[3] == colours[30] == "white" and colours[40] == colours[14] == "black"


@pytest.mark.parametrize("correct", [0.2, 0.3, 0.45, 0.55, 0.9])
def test_counts_stand_out_from_the_shade_of_their_cell(correct):
    """Also in a matrix where no cell has most of its row, or where none is empty."""
    matrix = np.full((6, 6), 20 * (1 - correct)).astype(int) + np.eye(6, dtype=int) * int(
        100 * correct
    )
    figure = figures.plot_confusion_matrix(matrix, list("abcdef"))
    image, (axes,) = render(figure), figure.axes
    for text in axes.texts:
        box = text.get_window_extent().extents.astype(int)
        cell = image[len(image) - box[3] : len(image) - box[1], box[0] : box[2]].mean(2)
        background = np.median(cell)
        ink = cell.max() if text.get_color() == "white" else cell.min()
        assert abs(ink - background) > 60


@pytest.mark.parametrize("count", COUNTS)
def test_the_accuracy_of_any_number_of_classes_can_be_read(count):
    correct = np.random.default_rng(0).integers(0, 21, count)
    matrix = np.diag(correct)
    matrix[range(count), (np.arange(count) + 1) % count] += 20 - correct
    names = [f"class number {i}" for i in range(count)]
    figure = figures.plot_class_accuracy(matrix, names)
    _, height = figure.get_size_inches() * figure.dpi
    assert height <= 26 * 40 + 10
    assert len(figure.axes) == -(-count // 40)
    shown = [name for axes in figure.axes for name in tick_labels(axes.yaxis)]
    widths = [bar.get_width() for axes in figure.axes for bar in axes.patches]
    assert shown == [names[i] for i in np.argsort(correct, kind="stable")]
    assert widths == pytest.approx(sorted(correct / 20))
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert texts == [f"{width:.0%}" for width in widths]
    assert len(readable_texts(figure)) == 2 * count + 3 * len(figure.axes)


def test_there_is_a_bar_for_each_class_that_was_tested_the_worst_first():
    matrix = np.diag([4, 0, 1, 2]) + np.array([[0] * 4, [0] * 4, [3, 0, 0, 0], [2, 0, 0, 0]])
    figure = figures.plot_class_accuracy(matrix, ["a", "b", "c", "d"])
    image, (axes,) = render(figure), figure.axes
    assert tick_labels(axes.yaxis) == ["c", "d", "a"]
    assert [bar.get_width() for bar in axes.patches] == [0.25, 0.5, 1]
    assert [text.get_text() for text in axes.texts] == ["25%", "50%", "100%"]
    blue = (image == (33, 96, 176)).all(2)
    heights = [len(image) - 1 - round(axes.transData.transform((0, row))[1]) for row in range(3)]
    assert heights == sorted(heights)  # from above
    lengths = [blue[height].sum() for height in heights]
    assert lengths == pytest.approx([lengths[2] / 4, lengths[2] / 2, lengths[2]], abs=2)
    assert lengths[2] > 100


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


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_an_error_and_no_wait_without_end(tmp_path):
    writer = RunWriter(tmp_path, first_epoch=1)
    writer._events._py_recordio_writer._writer = open("/dev/full", "wb")  # noqa: SIM115
    with pytest.raises(FileError, match="cannot be written: No space left"):
        for step in range(5):
            writer.add_scalar("a", 1, step)
            writer.flush()


@pytest.mark.parametrize("names", [["$5_to_$10", "cost $x_{$"], ["a\\b", "{x}"]])
def test_names_of_classes_are_no_formulas(names):
    with figures.figure_fonts(names):
        for plot in (figures.plot_confusion_matrix, figures.plot_class_accuracy):
            figure = plot(np.array([[3, 1], [0, 2]]), names)
            figure.draw_without_rendering()
            assert set(names) <= {text.get_text() for text in figure.findobj(Text)}
