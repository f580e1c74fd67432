import json

import pytest
import torch
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    f1_score,
    precision_score,
    recall_score,
    top_k_accuracy_score,
)

from engine.metrics import (
    Predictions,
    compute_class_scores,
    compute_metrics,
    protocol_of,
    summarize_runs,
)

CLASSES = [f"class {i}" for i in range(8)]


@pytest.fixture
def predictions():
    rng = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 7, (60,), generator=rng)  # no video of the last class
    logits = (
        torch.randn(60, 4, 8, generator=rng) + 0.4 * torch.nn.functional.one_hot(labels, 8)[:, None]
    )
    return logits.softmax(2), labels


def test_metrics_are_those_of_sklearn(predictions):
    probabilities, labels = predictions
    metrics = compute_metrics(Predictions(probabilities, labels))
    per_class = compute_class_scores(Predictions(probabilities, labels), CLASSES)
    of_videos, of_clips = probabilities.mean(1), probabilities.flatten(0, 1)
    all_labels = list(range(8))
    assert metrics["clip_top1"] == pytest.approx(
        accuracy_score(labels.repeat_interleave(4), of_clips.argmax(1))
    )
    assert metrics["video_top1"] == pytest.approx(accuracy_score(labels, of_videos.argmax(1)))
    assert metrics["video_top5"] == pytest.approx(
        top_k_accuracy_score(labels, of_videos, k=5, labels=all_labels)
    )
    recall = recall_score(
        labels, of_videos.argmax(1), labels=all_labels, average=None, zero_division=0
    )
    predicted = of_videos.argmax(1)
    precision = precision_score(labels, predicted, labels=all_labels, average=None, zero_division=0)
    assert list(per_class) == CLASSES[:7]
    for label, scores in enumerate(per_class.values()):
        expected = {
            "precision": precision[label],
            "recall": recall[label],
            "support": (labels == label).sum().item(),
        }
        assert scores == pytest.approx(expected)
    assert metrics["mean_class"] == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert metrics["macro_f1"] == pytest.approx(
        f1_score(labels, predicted, labels=range(7), average="macro", zero_division=0)
    )


def test_few_classes_have_a_top5_too():
    predictions = Predictions(torch.eye(2)[:, None], torch.tensor([1, 0]))
    assert compute_metrics(predictions)["video_top5"] == 1


def test_summary_of_folds_and_of_seeds():
    def result(fold, video_top1):
        return {"fold": fold, "test": {"clip_top1": 0.5, "video_top1": video_top1}}

    folds = [result(1, 0.5), result(1, 0.7), result(2, 0.8), result(2, 0.8)]  # folds 0.6 and 0.8
    assert summarize_runs(folds) == "4 runs, clip_top1 0.500 ± 0.000, video_top1 0.700 ± 0.100"
    assert summarize_runs(folds[:2]) == "2 runs, clip_top1 0.500 ± 0.000, video_top1 0.600 ± 0.100"
    assert summarize_runs(folds[:1]).endswith("video_top1 0.500 ± unknown")


def test_the_official_splits_have_a_mean_like_folds():
    results = []
    for split, video_top1 in (("official1", 0.5), ("official2", 0.7), ("official2", 0.9)):
        test = {"clip_top1": 0.5, "video_top1": video_top1}
        results.append({"split": split, "fold": 1, "test": test})
    assert summarize_runs(results).endswith("video_top1 0.650 ± 0.150")
    assert protocol_of("official1") == protocol_of("official3") != protocol_of("group")


def test_a_summary_is_of_one_dataset(project, tmp_path):
    for name, dataset in (("a", "demo"), ("b", "ucf101")):
        test = {"clip_top1": 0.5, "video_top1": 0.25}
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(
            json.dumps({"dataset": dataset, "fold": 1, "test": test})
        )
    one, mixed = (
        project.run("-m", "engine.metrics", *(tmp_path / name for name in names), ok=names == "a")
        for names in ("a", "ab")
    )
    assert (one.returncode, one.stdout) == (
        0,
        "1 runs, clip_top1 0.500 ± unknown, video_top1 0.250 ± unknown\n",
    )
    assert (mixed.returncode, mixed.stderr) == (
        2,
        "runs that differ in dataset have no mean: demo, ucf101\n",
    )


def test_runs_that_differ_have_no_mean_and_damaged_ones_are_named(project, tmp_path):
    result = {
        "dataset": "a",
        "split": "group",
        "model": "R3D",
        "fold": 1,
        "test": {"clip_top1": 1, "video_top1": 1},
    }
    for name, changes in (
        ("a", {}),
        ("b", {"split": "folders"}),
        ("c", {"model": "C3D"}),
        ("d", {"input": "rgb"}),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(json.dumps(result | changes))
    for name, message in (("b", "split"), ("c", "model"), ("d", "input")):
        done = project.run("-m", "engine.metrics", tmp_path / "a", tmp_path / name, ok=False)
        assert done.stderr.startswith(f"runs that differ in {message} have no mean: ")
    (tmp_path / "a" / "results.json").write_text("{")
    done = project.run("-m", "engine.metrics", tmp_path / "a", ok=False)
    assert done.stderr.startswith(f"{tmp_path}/a/results.json: no results; ")
