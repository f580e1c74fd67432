"""What a run shows and leaves: TensorBoard pages, `results.json` and `predictions.csv`."""

import io
import json
import math
import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from tensorboardX import summary as summaries
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.summary import hparams
from tensorboardX.utils import figure_to_image

from dataloaders.dataset import VideoDataset
from dataloaders.files import atomic_write, write_table
from engine.loops import Evaluation, clips_to_device
from engine.text import DEJAVU, draw_text, drawable_names, find_font

METRICS = (
    "curves/top1_val",
    "test/video_top1",
    "test/video_top5",
)  # by which TensorBoard compares runs
NUM_CLIPS = 4  # animations of the first clips, and of the worst mistakes


class RunWriter:
    """Writes the TensorBoard events of a run, each at once.

    tensorboardX's own `SummaryWriter` hands them to a thread through a queue, which needs shared
    memory, and blocks for ever when the thread dies of a full disk.
    """

    def __init__(self, run_dir: Path, *, is_main: bool = True):
        """Open a file of events in the folder of a run, on all other ranks none."""
        self.events = None
        if is_main:
            run_dir.mkdir(parents=True, exist_ok=True)
            # The name has seconds only: a start in the same second would overwrite the file.
            suffix = f".{time.time_ns()}"
            self.events = EventsWriter(str(run_dir / "events"), suffix)

    def __enter__(self) -> "RunWriter":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def add_event(self, event: Event) -> None:
        """Write an event; OSError where the disk is full."""
        event.wall_time = time.time()
        if self.events:
            self.events.write_event(event)

    def add_summary(self, summary: Summary, step: int | None = None) -> None:
        """Write scalars, images or hyperparameters, at a step where they have one."""
        self.add_event(Event(summary=summary, step=step))

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        """Write a point of a curve."""
        self.add_summary(summaries.scalar(tag, value), step)

    def add_figure(self, tag: str, figure, step: int) -> None:
        """Write a figure of matplotlib as an image."""
        self.add_summary(summaries.image(tag, figure_to_image(figure), dataformats="CHW"), step)

    def flush(self) -> None:
        """Hand what is written to the operating system."""
        if self.events:
            self.events.flush()

    def close(self) -> None:
        """Close the file."""
        if self.events:
            self.events.close()


def log_run_start(
    writer: RunWriter, hyperparameters: dict, model, dataset: VideoDataset, items: Sequence
) -> None:
    """Log the hyperparameters of a run, and animations of its first `items`, before and after `model.normalize`."""
    for summary in hparams(hyperparameters, dict.fromkeys(METRICS))[
        :2
    ]:  # the third marks the run as completed
        writer.add_summary(summary)

    clips, labels = zip(*(dataset[item] for item in items[:NUM_CLIPS]), strict=True)
    clips = torch.stack(clips)
    inputs = model.normalize(clips_to_device(clips, model.normalize.mean.device))
    contrast = 48 / inputs.std().clamp(
        min=1e-6
    )  # black and white are 2.7 standard deviations from the mean
    inputs = (128 + contrast * inputs.permute(0, 2, 3, 4, 1)).clamp(0, 255).byte().cpu()
    names = drawable_names(tuple(dataset.classes))
    captions = [names[label] for label in labels] + len(labels) * ["as the network sees it"]
    frames = []
    for images in torch.cat([clips, inputs]).numpy().swapaxes(0, 1):
        tiles = [
            draw_tile(image, caption, 160) for image, caption in zip(images, captions, strict=True)
        ]
        frames.append(np.vstack(np.hsplit(np.hstack(tiles), 2)))
    add_gif(writer, "train/clips", frames, 0)


def open_writer(run_dir: Path, first_epoch: int | None, is_main: bool) -> RunWriter:
    """Open the writer of a run.

    Args:
        run_dir: The folder of the run.
        first_epoch: TensorBoard drops the points of an interrupted start from this epoch on.
        is_main: Whether this is rank 0, which alone writes.
    """
    writer = RunWriter(run_dir, is_main=is_main)
    if first_epoch is not None:
        writer.add_event(Event(step=first_epoch, session_log=SessionLog(status=SessionLog.START)))
    return writer


def log_epoch(
    writer: RunWriter, epoch, train: dict, val: dict, lr, clips_per_second, device: torch.device
) -> None:
    """Log the scalars of an epoch: "loss" and "top1" of the training clips, and the metrics of the validation."""
    scalars = {"curves/top5_val": val["video_top5"], "curves/mean_class_val": val["mean_class"]}
    for part, loss, top1 in (
        ("train", train["loss"], train["top1"]),
        ("val", val["loss"], val["clip_top1"]),
    ):
        scalars |= {
            f"curves/loss_{part}": loss,
            f"curves/top1_{part}": top1,
        }  # names that sort first in TensorBoard
        scalars |= {
            f"data/{part}_loss_epoch": loss,
            f"data/{part}_acc_epoch": top1,
        }  # the classic names
    scalars |= {"data/lr": lr, "data/clips_per_second": clips_per_second}
    if device.type == "cuda":
        scalars["data/gpu_memory_gb"] = torch.cuda.max_memory_allocated(device) / 2**30
    for tag, value in scalars.items():
        writer.add_scalar(tag, value, epoch)
    writer.flush()  # a run that is killed after the next checkpoint has all of its points


def write_test_report(
    run_dir: Path, writer, results: dict, evaluation: Evaluation, dataset: VideoDataset
) -> None:
    """Write `results.json`, in which `results` say what was tested, and `predictions.csv`; log and print the test."""
    epoch, test = results["epoch"], evaluation.metrics
    writer.add_summary(hparams({}, {})[2])  # marks the run as completed on the page HPARAMS
    writer.add_scalar("data/test_loss_epoch", test["loss"], epoch)
    writer.add_scalar("data/test_acc_epoch", test["clip_top1"], epoch)
    for name in ("video_top1", "video_top5", "mean_class", "macro_f1"):
        writer.add_scalar(f"test/{name}", test[name], epoch)
    results = results | {"test": test}
    if leaked := results["leaked_groups"]:
        results["warning"] = (
            f"{leaked} groups in more than one of train, val and test: the accuracy is too high"
        )
        print(results["warning"], file=sys.stderr)
    with atomic_write(run_dir / "results.json") as partial:
        partial.write_text(
            json.dumps(results, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
    rows, classes = [], dataset.classes
    videos = zip(
        dataset.sources,
        evaluation.labels.tolist(),
        evaluation.probabilities.mean(1).numpy(),
        strict=True,
    )
    for source, label, probabilities in videos:
        prediction, shares = (
            int(probabilities.argmax()),
            [f"{share:.4f}" for share in probabilities],
        )
        names = classes[label], classes[prediction]
        rows.append((source, *names, shares[prediction], int(label == prediction), *shares))
    columns = ("source", "class", "prediction", "probability", "correct", *classes)
    write_table(run_dir / "predictions.csv", columns, rows)
    log_predictions(writer, epoch, evaluation, dataset)
    print(
        f"test of epoch {epoch}, split {results['split']}: clip top-1 {test['clip_top1']:.3f}, "
        f"video top-1 {test['video_top1']:.3f}, top-5 {test['video_top5']:.3f}, mean class {test['mean_class']:.3f}, "
        f"macro F1 {test['macro_f1']:.3f}; see {run_dir / 'results.json'}"
    )


def log_predictions(
    writer: RunWriter, step: int, evaluation: Evaluation, dataset: VideoDataset
) -> None:
    """Log the confusion matrix, the accuracy of each class, and the most confident mistakes as animations."""
    from sklearn.metrics import confusion_matrix

    labels = evaluation.labels
    confidence, predictions = evaluation.probabilities.mean(1).max(1)
    present = sorted({*labels.tolist(), *predictions.tolist()})
    classes = drawable_names(tuple(dataset.classes))
    names = [textwrap.shorten(classes[label], 40, placeholder="…") for label in present]
    matrix = confusion_matrix(labels, predictions, labels=present)
    with figure_fonts(names):
        writer.add_figure("test/confusion", plot_confusion_matrix(matrix, names), step)
        writer.add_figure("test/per_class", plot_class_accuracy(matrix, names), step)
    wrong = torch.nonzero(predictions != labels).flatten()
    most_confident = wrong[confidence[wrong].argsort(descending=True)][:NUM_CLIPS]
    middle_items = np.repeat(np.arange(len(dataset)), dataset.repeats)[
        dataset.windows // 2 :: dataset.windows
    ]
    for place, index in enumerate(most_confident.tolist(), start=1):
        clip, label = dataset[middle_items[index]]
        caption = f"{classes[label]} taken for {classes[predictions[index]]}"
        add_gif(
            writer,
            f"test/wrong_{place}",
            [draw_tile(frame, caption) for frame in clip.numpy()],
            step,
        )


def figure_fonts(names: Sequence[str]):
    """Return a context in which the figures of matplotlib write such names."""
    import matplotlib
    from matplotlib import font_manager

    paths = {find_font(name) for name in names} - {None, DEJAVU}
    for path in paths:
        font_manager.fontManager.addfont(path)
    families = [font_manager.FontProperties(fname=path).get_name() for path in sorted(paths)]
    return matplotlib.rc_context(
        {"font.family": ["DejaVu Sans", *families], "text.parse_math": False}
    )  # "$" is one


def plot_confusion_matrix(matrix: np.ndarray, names: Sequence[str]):
    """Return a figure of a confusion matrix (classes, classes), shaded by row, that grows so that 400 can be read."""
    from matplotlib.figure import Figure

    cell = min(0.45, max(0.13, 20 / len(names)))  # inches
    font = min(10, 60 * cell)
    side = cell * len(names) + 0.09 * font * max(map(len, names)) / 10 + 1.2
    figure = Figure(figsize=(side, side), dpi=100, layout="constrained")
    axes = figure.subplots()
    fractions = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    axes.imshow(fractions, "Blues", interpolation="nearest", vmin=0, vmax=1)
    axes.set(xlabel="predicted", ylabel="true")
    axes.set_xticks(range(len(names)), names, fontsize=font, rotation="vertical")
    axes.set_yticks(range(len(names)), names, fontsize=font)
    for i, j in zip(*np.nonzero(matrix), strict=True):
        colour = "white" if fractions[i, j] > 0.5 else "black"
        axes.text(j, i, matrix[i, j], ha="center", va="center", color=colour, fontsize=0.9 * font)
    return figure


def plot_class_accuracy(matrix: np.ndarray, names: Sequence[str]):
    """Return a figure with a bar for the accuracy of each class that was tested, the lowest first, in columns."""
    from matplotlib.figure import Figure

    accuracy = matrix.diagonal() / np.maximum(matrix.sum(1), 1)
    order = [i for i in np.argsort(accuracy, kind="stable") if matrix[i].sum()]
    columns = np.array_split(order, math.ceil(len(order) / 40))
    width = 2.5 + 0.08 * max(len(names[i]) for i in order)
    figure = Figure(
        figsize=(width * len(columns), 0.24 * len(columns[0]) + 0.7), dpi=100, layout="constrained"
    )
    for axes, column in zip(
        figure.subplots(1, len(columns), squeeze=False)[0], columns, strict=True
    ):
        bars = axes.barh(range(len(column)), accuracy[column], color="#2160b0")
        axes.bar_label(bars, [f"{accuracy[i]:.0%}" for i in column], padding=3, fontsize=8)
        axes.set_yticks(range(len(column)), [names[i] for i in column], fontsize=8)
        axes.set(xlim=(0, 1.2), xticks=(0, 0.5, 1), ylim=(len(columns[0]) - 0.5, -0.5))
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def draw_tile(image: np.ndarray, caption: str, side: int = 224) -> np.ndarray:
    """Return a square picture with a caption above it, (side + 24, side, 3) RGB."""
    image = cv2.resize(image, (side, side), interpolation=cv2.INTER_CUBIC)
    tile = cv2.copyMakeBorder(image, 24, 0, 0, 0, cv2.BORDER_CONSTANT)
    draw_text(tile[4:20, 6 : side - 6], caption)
    return tile


def add_gif(writer: RunWriter, tag: str, frames: Sequence[np.ndarray], step: int) -> None:
    """Log images (H, W, 3), RGB, as an animation."""
    (first, *others), file = map(Image.fromarray, frames), io.BytesIO()
    first.save(file, "GIF", save_all=True, append_images=others, duration=160, loop=0)
    image = Summary.Image(
        height=first.height, width=first.width, colorspace=3, encoded_image_string=file.getvalue()
    )
    writer.add_summary(Summary(value=[Summary.Value(tag=tag, image=image)]), step)
