"""What a run shows and leaves: TensorBoard pages, `results.json` and `predictions.csv`."""

import json
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tensorboardX.summary import hparams
from torch import Tensor, nn

from dataloaders.dataset import EvalWindows
from dataloaders.files import atomic_write, write_table
from engine.config import TrainConfig
from engine.data import RunData
from engine.evaluation import Evaluation, clips_to_device
from engine.events import RunWriter
from engine.loaders import Loaders
from engine.metrics import CURVES, METRICS, compute_class_scores
from engine.model import RunModel
from engine.text import drawable_names
from engine.trainer import EpochResult, Trainer
from network.normalize import input_of

COMPARED_BY = ("curves/top1_val", "test/video_top1", "test/video_top5")  # by TensorBoard
NUM_CLIPS = 4  # animations of the first clips, and of the worst mistakes
CLIP_SIDE = 160  # of an animation of a training clip, in pixels


def log_run_start(
    writer: RunWriter, config: TrainConfig, network: nn.Module, loaders: Loaders
) -> None:
    """Log the settings of a run, and animations of its first clips.

    Below each clip is what the network sees, where it has a `normalize`.

    Args:
        writer: Of the run.
        config: Of the run.
        network: On its device.
        loaders: Of the run.
    """
    # The third summary would mark the run as completed.
    for summary in hparams(config.texts_and_numbers(), dict.fromkeys(COMPARED_BY))[:2]:
        writer.add_summary(summary)
    dataset = loaders.train.dataset
    items = next(iter(loaders.sampler))[:NUM_CLIPS]
    clips = []
    captions = []
    names = drawable_names(tuple(dataset.classes))
    for item in items:
        clip, label = dataset[item]
        clips.append(clip)
        captions.append(names[label])
    rows = [animate(torch.stack(clips), captions)]
    if input_of(network) is not None:
        inputs = normalized_clips(network, torch.stack(clips))
        rows.append(animate(inputs, len(items) * ["as the network sees it"]))
    frames = [np.vstack(frame_of_rows) for frame_of_rows in zip(*rows, strict=True)]
    writer.add_gif("train/clips", frames, 0)


def normalized_clips(network: nn.Module, clips: Tensor) -> Tensor:
    """Return what the network sees, as pictures.

    Args:
        network: With `normalize` as its first step, on its device.
        clips: `uint8` (N, T, H, W, C).

    Returns:
        `uint8` (N, T, H, W, C) on the CPU, with the mean of the inputs as grey.
    """
    device = network.normalize.mean.device
    inputs = network.normalize(clips_to_device(clips, device))
    # Black and white are 2.7 standard deviations from the mean.
    contrast = 48 / inputs.std().clamp(min=1e-6)
    return (128 + contrast * inputs.permute(0, 2, 3, 4, 1)).clamp(0, 255).byte().cpu()


def animate(clips: Tensor, captions: list[str]) -> list[np.ndarray]:
    """Return the frames of an animation of clips side by side.

    Args:
        clips: `uint8` (N, T, H, W, C).
        captions: Of each.
    """
    from engine.figures import draw_tile

    frames = []
    for images in as_rgb(clips).numpy().swapaxes(0, 1):
        tiles = [
            draw_tile(image, caption, CLIP_SIDE)
            for image, caption in zip(images, captions, strict=True)
        ]
        frames.append(np.hstack(tiles))
    return frames


def log_epoch(
    writer: RunWriter, epoch: int, train: EpochResult, val: dict[str, float], trainer: Trainer
) -> None:
    """Log the curves of an epoch.

    Args:
        writer: Of the run.
        epoch: Its number.
        train: Its training clips.
        val: The metrics of its validation.
        trainer: Which has trained it.
    """
    loss = trainer.loss_name
    scalars = {
        # These names sort first in TensorBoard.
        f"curves/{loss}_train": train.loss,
        f"curves/{loss}_val": val["loss"],
        "curves/top1_train": train.top1,
        # The classic names.
        "data/train_loss_epoch": train.loss,
        "data/train_acc_epoch": train.top1,
        "data/val_loss_epoch": val["loss"],
        "data/val_acc_epoch": val["clip_top1"],
        "data/lr": trainer.learning_rate,
    }
    if train.clips_per_second is not None:
        scalars["data/clips_per_second"] = train.clips_per_second
    for curve, name in CURVES.items():
        scalars[f"curves/{curve}_val"] = val[name]
    if trainer.device.type == "cuda":
        memory = torch.cuda.max_memory_allocated(trainer.device)
        scalars["data/gpu_memory_gb"] = memory / 2**30
    for tag, value in scalars.items():
        writer.add_scalar(tag, value, epoch)
    writer.flush()  # a run that is killed after the next checkpoint has all of its points


def describe_epoch(train: EpochResult, val: dict[str, float]) -> str:
    """Return an epoch as one line.

    Args:
        train: Its training clips.
        val: The metrics of its validation.
    """
    line = (
        f"train loss {train.loss:.3f} top-1 {train.top1:.3f}  "
        f"val loss {val['loss']:.3f} top-1 {val['clip_top1']:.3f}"
    )
    if train.clips_per_second is not None:
        line += f"  {train.clips_per_second:.1f} clips/s"
    return line


def describe_test(
    config: TrainConfig, model: RunModel, data: RunData, epoch: int
) -> dict[str, Any]:
    """Return what a test is about, as `results.json` has it.

    Args:
        config: Of the run.
        model: Its network.
        data: Its videos.
        epoch: Of the checkpoint that is tested.
    """
    return {
        "model": config.model,
        **model.options,
        "input": config.input,
        "dataset": config.dataset,
        "split": config.split,
        "fold": config.fold,
        "tested_on": data.tested_part,
        "leaked_groups": data.num_leaked_groups,
        "damaged_videos": data.num_damaged,
        "seed": config.seed,
        "epoch": epoch,
        "clips_per_video": config.test_windows,
    }


def write_test_report(
    run_dir: Path,
    writer: RunWriter,
    tested: dict[str, Any],
    evaluation: Evaluation,
    dataset: EvalWindows,
) -> None:
    """Write `results.json` and `predictions.csv`; log and print the test.

    Args:
        run_dir: The folder of the run.
        writer: Of the run.
        tested: What was tested, see `describe_test`.
        evaluation: What came out.
        dataset: The test videos.
    """
    epoch = tested["epoch"]
    metrics = evaluation.metrics
    writer.add_summary(hparams({}, {})[2])  # marks the run as completed on the page HPARAMS
    writer.add_scalar("data/test_loss_epoch", metrics["loss"], epoch)
    writer.add_scalar("data/test_acc_epoch", metrics["clip_top1"], epoch)
    for name in METRICS:
        if name != "clip_top1":  # data/test_acc_epoch
            writer.add_scalar(f"test/{name}", metrics[name], epoch)
    write_results(run_dir, tested, evaluation, dataset)
    write_predictions(run_dir, evaluation, dataset)
    log_predictions(writer, epoch, evaluation, dataset)
    numbers = ", ".join(f"{metric.title} {metrics[name]:.3f}" for name, metric in METRICS.items())
    results = run_dir / "results.json"
    print(f"test of epoch {epoch}, split {tested['split']}: {numbers}; see {results}")


def write_results(
    run_dir: Path, tested: dict[str, Any], evaluation: Evaluation, dataset: EvalWindows
) -> None:
    """Write `results.json`, with a warning where groups leak.

    Args:
        run_dir: The folder of the run.
        tested: What was tested.
        evaluation: What came out.
        dataset: The test videos.
    """
    per_class = compute_class_scores(evaluation.predictions, dataset.classes)
    results = {**tested, "test": {**evaluation.metrics, "per_class": per_class}}
    warnings = []
    if tested["leaked_groups"]:
        warnings.append(
            f"{tested['leaked_groups']} groups in more than one of train, val and test: "
            "the accuracy is too high"
        )
    if tested["tested_on"] == "val":
        warnings.append("there is no test: the best epoch was chosen on the videos it is tested on")
    if warnings:
        results["warning"] = "; ".join(warnings)
        print(results["warning"], file=sys.stderr)
    text = json.dumps(results, indent=2, ensure_ascii=False)
    with atomic_write(run_dir / "results.json") as partial:
        partial.write_text(text + "\n", encoding="utf-8")


def write_predictions(run_dir: Path, evaluation: Evaluation, dataset: EvalWindows) -> None:
    """Write `predictions.csv`, a row for each test video.

    Args:
        run_dir: The folder of the run.
        evaluation: What came out.
        dataset: The test videos.
    """
    classes = dataset.classes
    rows = []
    for source, label, probabilities in zip(
        dataset.sources,
        evaluation.predictions.labels.tolist(),
        evaluation.predictions.of_videos.numpy(),
        strict=True,
    ):
        prediction = int(probabilities.argmax())
        shares = [f"{share:.4f}" for share in probabilities]
        is_correct = int(label == prediction)
        named = (source, classes[label], classes[prediction], shares[prediction], is_correct)
        rows.append((*named, *shares))
    columns = ("source", "class", "prediction", "probability", "correct", *classes)
    write_table(run_dir / "predictions.csv", columns, rows)


def log_predictions(
    writer: RunWriter, step: int, evaluation: Evaluation, dataset: EvalWindows
) -> None:
    """Log the confusion matrix, the accuracy of each class and the most confident mistakes.

    Args:
        writer: Of the run.
        step: The epoch that is tested.
        evaluation: What came out.
        dataset: The test videos.
    """
    from sklearn.metrics import confusion_matrix

    from engine import figures

    labels = evaluation.predictions.labels
    confidence, predicted = evaluation.predictions.of_videos.max(1)
    present = sorted({*labels.tolist(), *predicted.tolist()})
    classes = drawable_names(tuple(dataset.classes))
    names = [textwrap.shorten(classes[label], 40, placeholder="…") for label in present]
    matrix = confusion_matrix(labels, predicted, labels=present)
    with figures.figure_fonts(names):
        writer.add_figure("test/confusion", figures.plot_confusion_matrix(matrix, names), step)
        writer.add_figure("test/per_class", figures.plot_class_accuracy(matrix, names), step)
    wrong = torch.nonzero(predicted != labels).flatten()
    most_confident = wrong[confidence[wrong].argsort(descending=True)][:NUM_CLIPS]
    for place, video in enumerate(most_confident.tolist(), start=1):
        middle_window = dataset.item_of_window[video, dataset.windows // 2]
        clip, label = dataset[middle_window]
        caption = f"{classes[label]} taken for {classes[predicted[video]]}"
        tiles = [figures.draw_tile(frame, caption) for frame in as_rgb(clip).numpy()]
        writer.add_gif(f"test/wrong_{place}", tiles, step)


def as_rgb(clips: Tensor) -> Tensor:
    """Return clips (..., C) as pictures (..., 3); of other channels the first is shown as grey."""
    if clips.shape[-1] == 3:
        return clips
    return clips[..., :1].expand(*clips.shape[:-1], 3)
