"""Numbers from predictions; `python -m engine.metrics RUN [RUN ...]` summarizes the tests of a cross-validation."""

import argparse
import json
import statistics
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor


def compute_metrics(
    probabilities: Tensor, labels: Tensor, classes: Sequence[str]
) -> dict[str, Any]:
    """Compute the accuracies of a test from the softmax of each window (videos, windows, classes) and labels (videos,).
    "clip_top1" is of windows; "video_top1" and "video_top5" are of the mean over the windows of a video; "mean_class"
    is the mean recall of the classes, which is their top-1; "macro_f1" the mean of their F1; "per_class" has {class:
    its "precision", "recall" and "support", the number of its videos}. Classes without a video count for nothing."""
    from sklearn.metrics import precision_recall_fscore_support

    video_probabilities, present = probabilities.mean(1), labels.unique().tolist()
    predictions = video_probabilities.argmax(1)
    top5 = video_probabilities.topk(min(5, len(classes)), 1).indices
    scores = precision_recall_fscore_support(
        labels.numpy(), predictions.numpy(), labels=present, zero_division=0
    )
    precision, recall, f1, support = (values.tolist() for values in scores)
    return {
        "clip_top1": (probabilities.argmax(2) == labels[:, None]).double().mean().item(),
        "video_top1": (predictions == labels).double().mean().item(),
        "video_top5": (top5 == labels[:, None]).any(1).double().mean().item(),
        "mean_class": statistics.fmean(recall),
        "macro_f1": statistics.fmean(f1),
        "per_class": {
            classes[label]: {"precision": precision[i], "recall": recall[i], "support": support[i]}
            for i, label in enumerate(present)
        },
    }


def summarize_runs(results: Sequence[dict[str, Any]]) -> str:
    """Return the mean and standard error over folds, or over the seeds of a single one, of several `results.json`."""
    parts = [f"{len(results)} runs"]
    for name in ("clip_top1", "video_top1"):
        folds = defaultdict(list)
        for result in results:
            folds[result["fold"]].append(result["test"][name])
        values = (
            [statistics.fmean(seeds) for seeds in folds.values()]
            if len(folds) > 1
            else folds.popitem()[1]
        )
        error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("nan")
        parts.append(f"{name} {statistics.fmean(values):.3f} ± {error:.3f}")
    return ", ".join(parts)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m engine.metrics", description="Summarize several runs."
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders")
    results = []
    for file in (run / "results.json" for run in parser.parse_args(argv).runs):
        try:
            results.append(json.loads(file.read_text(encoding="utf-8")))
        except (OSError, json.JSONDecodeError):
            parser.exit(
                2,
                f"{file}: no results; python train.py --test-only --checkpoint FILE writes them\n",
            )
    for name in ("dataset", "split", "model", "input"):
        if len(values := sorted({str(result.get(name)) for result in results})) > 1:
            parser.exit(2, f"runs that differ in {name} have no mean: {', '.join(values)}\n")
    print(summarize_runs(results))


if __name__ == "__main__":
    main()
