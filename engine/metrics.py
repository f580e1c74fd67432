"""Numbers from predictions; `python -m engine.metrics RUN [RUN ...]` summarizes several tests.

A further metric is a function and a line in `METRICS`: tables, curves, `--best-by` and
`results.json` follow from it.
"""

import argparse
import json
import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Predictions:
    """What a network predicts for videos, tensors on the CPU.

    Attributes:
        probabilities: (videos, windows, classes), the softmax of each window.
        labels: (videos,).
    """

    probabilities: Tensor
    labels: Tensor

    @cached_property
    def of_videos(self) -> Tensor:
        """(videos, classes), the mean over the windows of a video."""
        return self.probabilities.mean(1)

    @cached_property
    def scores(self) -> "ClassScores":
        """The scores of each class that has a video."""
        from sklearn.metrics import precision_recall_fscore_support

        present = self.labels.unique().tolist()
        predicted = self.of_videos.argmax(1)
        precision, recall, f1, support = precision_recall_fscore_support(
            self.labels.numpy(), predicted.numpy(), labels=present, zero_division=0
        )
        return ClassScores(
            present, precision.tolist(), recall.tolist(), f1.tolist(), support.tolist()
        )


@dataclass(frozen=True)
class ClassScores:
    """Scores of the classes that have a video, by scikit-learn.

    Attributes:
        labels: The classes.
        precision: Of each.
        recall: Of each, which is its top-1 accuracy.
        f1: Of each.
        support: How many videos each has.
    """

    labels: list[int]
    precision: list[float]
    recall: list[float]
    f1: list[float]
    support: list[int]


def clip_top1(predictions: Predictions) -> float:
    """Return the accuracy of single windows."""
    is_right = predictions.probabilities.argmax(2) == predictions.labels[:, None]
    return is_right.double().mean().item()


def video_top1(predictions: Predictions) -> float:
    """Return the accuracy of videos."""
    is_right = predictions.of_videos.argmax(1) == predictions.labels
    return is_right.double().mean().item()


def video_top5(predictions: Predictions) -> float:
    """Return the share of videos whose class is among the five likeliest."""
    num_classes = predictions.of_videos.shape[1]
    top5 = predictions.of_videos.topk(min(5, num_classes), 1).indices
    is_right = (top5 == predictions.labels[:, None]).any(1)
    return is_right.double().mean().item()


def mean_class(predictions: Predictions) -> float:
    """Return the mean recall of the classes, also called balanced accuracy."""
    return statistics.fmean(predictions.scores.recall)


def macro_f1(predictions: Predictions) -> float:
    """Return the mean F1 of the classes."""
    return statistics.fmean(predictions.scores.f1)


@dataclass(frozen=True)
class Metric:
    """A number of a test or a validation, of which more is better.

    Attributes:
        compute: From the predictions.
        title: As it is printed.
        curve: Its name among the curves of validation and for `--best-by`; None for the test alone.
    """

    compute: Callable[[Predictions], float]
    title: str
    curve: str | None = None


METRICS = {
    "clip_top1": Metric(clip_top1, "clip top-1", curve="top1"),
    "video_top1": Metric(video_top1, "video top-1"),  # in validation that of the one window
    "video_top5": Metric(video_top5, "top-5", curve="top5"),
    "mean_class": Metric(mean_class, "mean class", curve="mean_class"),
    "macro_f1": Metric(macro_f1, "macro F1", curve="macro_f1"),
}
CURVES = {metric.curve: name for name, metric in METRICS.items() if metric.curve is not None}
BEST_BY = (*CURVES, "loss")
# What the runs of a mean have in common, in their `results.json`.
COMPARABLE = ("dataset", "split", "model", "depth", "input", "tested_on", "clips_per_video")


def compute_metrics(predictions: Predictions) -> dict[str, float]:
    """Return all metrics by their names; classes without a video do not count."""
    return {name: metric.compute(predictions) for name, metric in METRICS.items()}


def compute_class_scores(
    predictions: Predictions, classes: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Return precision, recall and support, the number of videos, by class.

    Args:
        predictions: Of the test.
        classes: The names in the order of their labels.
    """
    scores = predictions.scores
    table = {}
    for i, label in enumerate(scores.labels):
        table[classes[label]] = {
            "precision": scores.precision[i],
            "recall": scores.recall[i],
            "support": scores.support[i],
        }
    return table


def score_of(metrics: dict[str, float], best_by: str) -> float:
    """Return the number by which epochs are compared, of which more is better.

    Args:
        metrics: Of the validation, with "loss".
        best_by: One of `BEST_BY`.
    """
    if best_by == "loss":
        return -metrics["loss"]
    return metrics[CURVES[best_by]]


def protocol_of(value: str) -> str:
    """Return a value of `results.json` that runs share; the three official splits are folds."""
    return value.rstrip("123") if value.startswith("official") else value


def summarize_runs(results: Sequence[dict[str, Any]]) -> str:
    """Return the mean and standard error of several tests as text.

    They are over the folds or official splits, or over the seeds of a single one.

    Args:
        results: What `results.json` of each run contains.
    """
    parts = [f"{len(results)} runs"]
    for name in ("clip_top1", "video_top1"):
        folds = defaultdict(list)
        for result in results:
            folds[result.get("split"), result["fold"]].append(result["test"][name])
        values = [statistics.fmean(seeds) for seeds in folds.values()]
        if len(folds) == 1:
            values = next(iter(folds.values()))
        error = "unknown"
        if len(values) > 1:
            error = f"{statistics.stdev(values) / len(values) ** 0.5:.3f}"
        parts.append(f"{name} {statistics.fmean(values):.3f} ± {error}")
    return ", ".join(parts)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the summary of the runs of a command line."""
    parser = argparse.ArgumentParser(
        prog="python -m engine.metrics", description="Summarize several runs."
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders")
    results = []
    for run in parser.parse_args(argv).runs:
        file = run / "results.json"
        try:
            results.append(json.loads(file.read_text(encoding="utf-8")))
        except (OSError, json.JSONDecodeError):
            parser.exit(
                2,
                f"{file}: no results; python train.py --test-only --checkpoint FILE writes them\n",
            )
    for name in COMPARABLE:
        values = sorted({protocol_of(str(result.get(name))) for result in results})
        if len(values) > 1:
            parser.exit(2, f"runs that differ in {name} have no mean: {', '.join(values)}\n")
    print(summarize_runs(results))


if __name__ == "__main__":
    main()
