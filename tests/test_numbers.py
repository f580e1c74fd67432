"""The numbers that a run reports, computed again from the files that it leaves.

Nothing here imports `engine` or `dataloaders`: the scripts run as a user runs them, and what they
leave (tables, JSON, event files, checkpoints, JPEGs) is read by the csv module, TensorBoard,
PyTorch and OpenCV. Expected values come from scikit-learn, from the formulas of the pages in
docs/, and from counting by hand.
"""

import ast
import csv
import functools
import json
import math
import re
from collections import Counter, defaultdict
from fractions import Fraction
from pathlib import Path

import cv2  # before av, which otherwise hangs the windows of OpenCV on Linux
import numpy as np
import pytest
import torch
from conftest import Project
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    recall_score,
    top_k_accuracy_score,
)
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.nn import functional as F

import av  # isort: skip

CLASSES = ["Bow", "Cut", "Dig", "Hop", "Mix", "Run", "Sew"]  # more than the 5 of top-5
NUM_VIDEOS = {  # of each class; powers of two in val, so that ties between epochs are exact
    "train": [8, 6, 4, 2, 1, 1, 2],
    "val": [8, 1, 1, 1, 1, 0, 0],
    "test": [7, 5, 4, 3, 2, 1, 0],
}
LENGTHS = 3, 4, 5, 6, 8, 12  # frames of the test videos, in turn; the first is shorter than a clip
CLIP_LEN = 4
WINDOWS = 4  # of each test video
FLAGS = (
    *("train.py", "--model", "Tiny", "--input", "rgb", "--workers", "0", "--device", "cpu"),
    *("--clip-len", CLIP_LEN, "--frame-interval", 1, "--clips-per-video", WINDOWS),
)
SMALL = "--crop-size", 16
RUNS = {  # other values of --best-by would choose other epochs; the first and third have ties
    "default": ("--epochs", 6, "--batch-size", 4, "--accumulate", 2, "--lr", 0.3),
    "top1": (*SMALL, "--epochs", 12, "--batch-size", 4, "--lr", 0.2, "--best-by", "top1"),
    "mean_class": (
        *(*SMALL, "--epochs", 12, "--batch-size", 4, "--lr", 0.05, "--best-by", "mean_class"),
    ),
    "loss": (
        *(*SMALL, "--epochs", 11, "--batch-size", 8, "--lr", 0.1, "--best-by", "loss"),
        *("--lr-scheduler", "step"),
    ),
}
ROUNDING = 1e-4  # of the probabilities in predictions.csv
BLACK, STEP = 16, 3  # brightness of frame 0, and by how much each frame is brighter


# Reading what a run leaves


def read_table(path):
    """Return the rows of a CSV file as dicts."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read_split(run):
    """Return the split of a run: rows with split, class, video, group and source."""
    return read_table(run / "split.csv")


def find_index(frames):
    """Return the only index below an output folder."""
    (index,) = frames.rglob("index.csv")
    return index


def frame_folders(frames):
    """Return {source: its frame folder} of an output folder."""
    index = find_index(frames)
    return {
        row["source"]: index.parent / row["split"] / row["class"] / row["video"]
        for row in read_table(index)
    }


def read_results(run):
    return json.loads((run / "results.json").read_text(encoding="utf-8"))


@functools.cache
def read_events(run):
    """Return the event files of a run, which has ended."""
    events = EventAccumulator(str(run))
    events.Reload()
    return events


def read_points(run, tag):
    """Return {epoch: value} of a curve."""
    return {event.step: event.value for event in read_events(run).Scalars(tag)}


def read_checkpoint(run, name):
    (file,) = (run / "models").glob(f"*_{name}.pth")
    return torch.load(file, weights_only=True)


def read_predictions(run):
    """Return labels (N,), predictions (N,), numbers of a class, and probabilities (N, classes)."""
    rows = read_table(run / "predictions.csv")
    labels = np.array([CLASSES.index(row["class"]) for row in rows])
    predictions = np.array([CLASSES.index(row["prediction"]) for row in rows])
    probabilities = np.array([[float(row[name]) for name in CLASSES] for row in rows])
    return labels, predictions, probabilities


# Videos


def write_mjpeg(path, frames, fps=25):
    """Write BGR images as a video whose frames are coded one by one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), fps, (width, height))
    for frame in frames:
        writer.write(frame)
    writer.release()


def draw_moving_colour(class_number, length, seed):
    """Draw a pattern of its own in the colour of a class, which changes from frame to frame."""
    rng = np.random.default_rng(seed)
    frames = []
    for number in range(length):
        image = np.full((48, 64, 3), 180, np.uint8)
        image[:, :, 0] = (25 * class_number + 12 * number + rng.integers(12)) % 180
        pattern = rng.integers(60, 250, (4, 5)).astype(np.float32)
        image[:, :, 2] = cv2.resize(pattern, (64, 48))
        frames.append(cv2.cvtColor(image, cv2.COLOR_HSV2BGR))
    return frames


def write_labelled_videos(folder):
    """Write videos and their table; every third test video shows another class than its label."""
    rows = ["path,label,split"]
    for split, counts in NUM_VIDEOS.items():
        labels = np.repeat(np.arange(len(CLASSES)), counts)
        for number, label in enumerate(labels):
            shown, length = label, CLIP_LEN
            if split == "val" and number < 5:
                shown = label + 1
            if split == "test":
                shown, length = label + (number % 3 == 2), LENGTHS[number % len(LENGTHS)]
            name = f"{split}_{number}.avi"
            write_mjpeg(folder / name, draw_moving_colour(shown, length, len(rows)))
            rows.append(f"{name},{CLASSES[label]},{split}")
    (folder / "table.csv").write_text("\n".join(rows) + "\n")
    return folder / "table.csv"


def write_groups(folder):
    """Write class folders of 3 classes, 8 groups each, whose groups have one or two videos."""
    for class_number, name in enumerate(CLASSES[:3]):
        for group in range(1, 9):
            for clip in range(1, 2 + (group + class_number) % 2):
                video = f"v_{name}_g{group:02d}_c{clip:02d}.avi"
                seed = 100 * class_number + 10 * group + clip
                frames = draw_moving_colour(class_number, 2 * CLIP_LEN, seed)
                write_mjpeg(folder / name / video, frames)
    return folder


def grey(number):
    """A frame whose brightness tells its number, up to 76."""
    return np.full((48, 64, 3), BLACK + STEP * number, np.uint8)


def write_clock(path, length, fps=25):
    """Write a video of so many frames whose brightness tells the time."""
    write_mjpeg(path, [grey(number) for number in range(length)], fps)


def write_uneven_clock(path, ticks):
    """Write a video whose frame i is shown at `ticks[i]` fiftieths of a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=50, width=64, height=48, bit_rate=2_000_000)
        for number, tick in enumerate(ticks):
            frame = av.VideoFrame.from_ndarray(grey(number), "bgr24")
            frame.pts, frame.time_base = tick, Fraction(1, 50)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def read_clock(folder):
    """Return the numbers of the source frames that a frame folder holds, in order."""
    numbers = []
    for file in sorted(folder.glob("*.jpg")):
        green = cv2.imread(str(file))[:, :, 1].mean()
        number = (green + 1 - BLACK) / STEP  # conversion to YUV and back makes it up to 2 darker
        assert abs(number - round(number)) < 0.45, file  # a frame, and no mixture of two
        numbers.append(round(number))
    return numbers


# Runs, each made by the first test that asks for it


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A folder of runs on videos of 7 classes ("own"), and of 3 classes in 8 groups ("grouped")."""
    folder = tmp_path_factory.mktemp("numbers")
    project = Project(folder)
    project.set_path("own", write_labelled_videos(folder / "videos"))
    project.set_path("grouped", write_groups(folder / "grouped"))
    return project


def train(lab, name, *flags):
    """Return the folder of the run of this name, trained with the flags if it has not been yet."""
    run = lab.folder / name / "run_0"
    if not (run / "results.json").exists():
        lab.run(*FLAGS, "--run-dir", name, *flags)
    return run


def train_own(lab, name):
    """Return the folder of a run of `RUNS`, of which every checkpoint is kept."""
    return train(lab, name, "--dataset", "own", "--snapshot", 1, *RUNS[name])


@pytest.fixture(scope="module", params=RUNS)  # pytest puts the tests of a run side by side
def name(request):
    return request.param


@pytest.fixture
def run(lab, name):
    return train_own(lab, name)


def train_fold(lab, fold, seed=0):
    """Return the folder of a run on a fold, and the rows of its split."""
    name = f"fold{fold}_seed{seed}"
    flags = "--dataset", "grouped", "--fold", fold, "--seed", seed, "--epochs", 2, *SMALL
    run = train(lab, name, *flags, "--batch-size", 8, "--lr", 0.2)
    return run, read_split(run)


def test_this_file_imports_none_of_what_it_checks():
    tree = ast.parse(Path(__file__).read_text(encoding="utf-8"))
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module.partition(".")[0])
    ours = {path.stem for path in Path(__file__).parent.parent.iterdir()}
    assert "numpy" in names
    assert not names & ours


# Accuracy


def test_the_test_is_of_the_videos_that_the_table_gives_it(lab, run):
    table = read_table(lab.folder / "videos" / "table.csv")
    expected = {(row["path"], row["label"]) for row in table if row["split"] == "test"}
    rows = read_table(run / "predictions.csv")
    assert len(rows) == len(expected) == sum(NUM_VIDEOS["test"])
    assert {(row["source"], row["class"]) for row in rows} == expected


def test_accuracies_are_what_scikit_learn_computes_from_the_predictions(run):
    labels, predictions, probabilities = read_predictions(run)
    test = read_results(run)["test"]
    assert test["video_top1"] == pytest.approx(accuracy_score(labels, predictions))
    means = {"labels": sorted(set(labels)), "average": "macro", "zero_division": 0}
    assert test["mean_class"] == pytest.approx(recall_score(labels, predictions, **means))
    assert test["macro_f1"] == pytest.approx(f1_score(labels, predictions, **means))

    # A class may be among the five likeliest or not where rounding makes it equal to the sixth.
    true_class = np.eye(len(CLASSES))[labels]
    every_class = range(len(CLASSES))
    lowest, highest = (
        top_k_accuracy_score(labels, probabilities + shift * true_class, k=5, labels=every_class)
        for shift in (-ROUNDING, ROUNDING)
    )
    assert lowest - 1e-9 <= test["video_top5"] <= highest + 1e-9


def test_a_prediction_is_the_likeliest_class(run):
    labels, predictions, probabilities = read_predictions(run)
    of_prediction = probabilities[np.arange(len(labels)), predictions]
    assert (of_prediction >= probabilities.max(1) - ROUNDING).all()
    assert probabilities.sum(1) == pytest.approx(1, abs=len(CLASSES) * ROUNDING)
    rows = read_table(run / "predictions.csv")
    assert [float(row["probability"]) for row in rows] == of_prediction.tolist()
    assert [row["correct"] == "1" for row in rows] == (labels == predictions).tolist()


def test_precision_recall_and_support_are_those_of_the_confusion_matrix(run):
    labels, predictions, _ = read_predictions(run)
    matrix = confusion_matrix(labels, predictions, labels=range(len(CLASSES)))
    expected = {}
    for number in np.flatnonzero(matrix.sum(1)):  # a class without a test video has no row
        right = matrix[number, number]
        expected[CLASSES[number]] = {
            "precision": right / max(1, matrix[:, number].sum()),
            "recall": right / matrix[number].sum(),
            "support": matrix[number].sum(),
        }
    per_class = read_results(run)["test"]["per_class"]
    assert list(per_class) == list(expected)
    for name, scores in per_class.items():
        assert scores == pytest.approx(expected[name])


def test_the_curves_of_the_test_are_its_results(run):
    results = read_results(run)
    tags = {
        **{f"test/{name}": name for name in ("video_top1", "video_top5", "mean_class", "macro_f1")},
        **{"data/test_loss_epoch": "loss", "data/test_acc_epoch": "clip_top1"},
    }
    for tag, name in tags.items():
        point = {results["epoch"]: pytest.approx(results["test"][name])}
        assert read_points(run, tag) == point


def tiny_logits(weights, clips):
    """Compute what the network of tests/tiny.py does, without it: clips (N, T, H, W, 3), RGB."""
    x = (torch.from_numpy(clips).permute(0, 4, 1, 2, 3) / 255 - 0.4) / 0.2
    x = F.conv3d(x, weights["conv.weight"], stride=(2, 4, 4), padding=1)
    statistics = weights["norm.running_mean"], weights["norm.running_var"]
    x = F.batch_norm(x, *statistics, weights["norm.weight"], weights["norm.bias"])
    return F.linear(x.relu().mean((2, 3, 4)), weights["fc.weight"], weights["fc.bias"])


def read_windows(folder):
    """Read the windows of a test video, spread over its frames, each the centre of 171x128."""
    images = [cv2.imread(str(file)) for file in sorted(folder.glob("*.jpg"))]
    frames = np.stack([image[8:120, 29:141, ::-1] for image in images])
    last_start = max(0, len(frames) - CLIP_LEN)
    windows = []
    for number in range(WINDOWS):
        start = round(last_start * number / (WINDOWS - 1))
        indices = np.minimum(np.arange(start, start + CLIP_LEN), len(frames) - 1)
        windows.append(frames[indices])
    return np.stack(windows)


def test_probabilities_clip_accuracy_and_loss_come_from_the_frames_and_the_best_weights(lab):
    run = train_own(lab, "default")
    weights = read_checkpoint(run, "best")["state_dict"]
    folders = frame_folders(lab.folder / "data/own_frames")
    sources = [row["source"] for row in read_table(run / "predictions.csv")]
    windows = np.stack([read_windows(folders[source]) for source in sources])
    logits = tiny_logits(weights, windows.reshape(-1, *windows.shape[2:])).double()
    logits = logits.unflatten(0, (len(sources), WINDOWS))

    labels, _, probabilities = read_predictions(run)
    assert probabilities == pytest.approx(logits.softmax(2).mean(1).numpy(), abs=ROUNDING)
    of_windows = np.repeat(labels, WINDOWS)
    test = read_results(run)["test"]
    clip_predictions = logits.argmax(2).flatten().numpy()
    assert test["clip_top1"] == pytest.approx(accuracy_score(of_windows, clip_predictions))
    loss = -logits.log_softmax(2).flatten(0, 1)[np.arange(len(of_windows)), of_windows].mean()
    assert test["loss"] == pytest.approx(loss.item(), rel=1e-4)


# Training


def test_best_is_the_epoch_with_the_best_score_and_of_equal_ones_the_lowest_loss(run, name):
    losses = read_points(run, "curves/loss_val")
    scores = {epoch: -loss for epoch, loss in losses.items()}
    if name != "loss":
        curve = "mean_class" if name == "mean_class" else "top1"
        scores = read_points(run, f"curves/{curve}_val")
    expected = max(losses, key=lambda epoch: (scores[epoch], -losses[epoch], -epoch))

    best = read_checkpoint(run, "best")
    assert best["train_state"]["epoch"] == read_results(run)["epoch"] == expected
    of_that_epoch = read_checkpoint(run, f"epoch-{expected}")["state_dict"]
    assert all(torch.equal(best["state_dict"][name], of_that_epoch[name]) for name in of_that_epoch)


def rate_of_step(step, num_steps, steps_per_epoch, scheduler):
    """Return the learning rate of a step, from 0, in units of --lr, as docs/train.md has it."""
    if scheduler == "step":  # a tenth every 10 epochs
        return 0.1 ** (step // (10 * steps_per_epoch))
    warmup = num_steps // 10  # the first tenth of the steps
    if step < warmup:
        return (step + 1) / warmup
    return (1 + math.cos(math.pi * (step - warmup) / (num_steps - warmup))) / 2


def test_each_point_of_the_learning_rate_is_that_of_the_last_step_of_its_epoch(run, name):
    flags = dict(zip(RUNS[name][::2], RUNS[name][1::2], strict=True))
    clips_per_step = flags["--batch-size"] * flags.get("--accumulate", 1)
    steps_per_epoch = sum(NUM_VIDEOS["train"]) // clips_per_step
    num_steps = flags["--epochs"] * steps_per_epoch
    expected = {}
    for epoch in range(1, flags["--epochs"] + 1):
        last_step = epoch * steps_per_epoch - 1
        factor = rate_of_step(
            last_step, num_steps, steps_per_epoch, flags.get("--lr-scheduler", "cosine")
        )
        expected[epoch] = pytest.approx(flags["--lr"] * factor)
    assert read_points(run, "data/lr") == expected


BIASES = [0.0, 1.0, -1.0, 0.5, 2.0, -2.0, -0.5]


@pytest.fixture
def constant_network(lab):
    """The file of a network that gives every clip the logits `BIASES`."""
    file = lab.folder / "constant.pth"
    if not file.exists():
        checkpoint = read_checkpoint(train_own(lab, "default"), "last")
        checkpoint["state_dict"]["fc.weight"].zero_()
        checkpoint["state_dict"]["fc.bias"].copy_(torch.tensor(BIASES))
        torch.save(checkpoint, file)
    return file


@pytest.mark.parametrize("balance", ["none", "loss"])
def test_balance_weighs_the_loss_of_a_clip_by_the_inverse_size_of_its_class(
    lab, constant_network, balance
):
    flags = "--dataset", "own", "--weights", constant_network, "--balance", balance, *SMALL
    run = train(lab, f"balance_{balance}", *flags, "--lr", 0, "--epochs", 1, "--batch-size", 4)

    # The rate is 0, so the loss of a clip is known: it is that of its class.
    losses = np.log(np.exp(BIASES).sum()) - BIASES
    counts = {split: np.array(count) for split, count in NUM_VIDEOS.items()}
    weights = np.ones(len(CLASSES))
    if balance == "loss":
        weights = 1 / counts["train"]
        weights /= np.average(weights, weights=counts["train"])  # their mean over the videos is 1
    expected = np.average(losses * weights, weights=counts["train"])
    assert read_points(run, "curves/loss_train") == {1: pytest.approx(expected, rel=1e-5)}
    expected = np.average(losses, weights=counts["val"])
    assert read_points(run, "curves/loss_val") == {1: pytest.approx(expected, rel=1e-5)}
    expected = np.average(losses, weights=counts["test"])
    test = read_results(run)["test"]
    assert test["loss"] == pytest.approx(expected, rel=1e-5)

    likeliest = int(np.argmax(BIASES))
    for split in ("train", "val"):
        share = counts[split][likeliest] / counts[split].sum()
        assert read_points(run, f"curves/top1_{split}") == {1: pytest.approx(share)}
    share = counts["test"][likeliest] / counts["test"].sum()
    assert test["clip_top1"] == test["video_top1"] == pytest.approx(share)


# Splits and folds


@pytest.mark.slow
def test_the_five_folds_test_each_group_once_and_keep_it_in_one_part(lab):
    videos = {
        path.relative_to(lab.folder / "grouped").as_posix()
        for path in (lab.folder / "grouped").rglob("*.avi")
    }
    tested = Counter()
    for fold in range(1, 6):
        run, rows = train_fold(lab, fold)
        assert sorted(row["source"] for row in rows) == sorted(videos)
        parts, classes = defaultdict(set), defaultdict(set)
        for row in rows:
            group = re.search(r"_(g\d+)_c\d+\.avi$", row["source"])[1]
            assert row["group"] == group
            parts[group].add(row["split"])
            classes[row["split"]].add(row["class"])
        assert all(len(splits) == 1 for splits in parts.values())
        assert classes == dict.fromkeys(("train", "val", "test"), set(CLASSES[:3]))
        tested.update(group for group, splits in parts.items() if splits == {"test"})
        predicted = sorted(row["source"] for row in read_table(run / "predictions.csv"))
        assert predicted == sorted(row["source"] for row in rows if row["split"] == "test")
    assert tested == {f"g{group:02d}": 1 for group in range(1, 9)}


def mean_and_error(values):
    """Return the mean of values and its standard error."""
    return np.mean(values), np.std(values, ddof=1) / math.sqrt(len(values))


def read_summary(lab, runs):
    """Return {metric: (mean, standard error)} as `python -m engine.metrics` prints them."""
    printed = lab.run("-m", "engine.metrics", *runs).stdout
    found = re.findall(r"(\w+_top1) ([\d.]+) ± ([\d.]+)", printed)
    return {name: (float(mean), float(error)) for name, mean, error in found}


@pytest.mark.slow
def test_the_summary_of_runs_is_their_mean_over_folds_and_its_standard_error(lab):
    folds = [train_fold(lab, fold)[0] for fold in range(1, 6)]
    other_seed = train_fold(lab, 1, seed=1)[0]
    of_folds = read_summary(lab, folds)
    of_seeds = read_summary(lab, [folds[0], other_seed])
    of_both = read_summary(lab, [*folds, other_seed])
    assert sorted(of_folds) == sorted(of_seeds) == sorted(of_both) == ["clip_top1", "video_top1"]
    for name in of_folds:
        values = [read_results(run)["test"][name] for run in folds]
        seeds = [values[0], read_results(other_seed)["test"][name]]
        rounded = {"abs": 0.00051}
        assert of_folds[name] == pytest.approx(mean_and_error(values), **rounded)
        assert of_seeds[name] == pytest.approx(mean_and_error(seeds), **rounded)
        seeds_first = [np.mean(seeds), *values[1:]]  # the seeds of a fold count as one value
        assert of_both[name] == pytest.approx(mean_and_error(seeds_first), **rounded)


# Which frames are stored


def store(project, rows, *flags):
    """Preprocess a table of videos, and return {name: the numbers of the stored frames}."""
    splits = ["train", "val", "test"]
    table = ["path,label,split,start,end"]
    for number, row in enumerate(rows):
        path, start, end = (*row, "", "")[:3]
        table.append(f"{path},Rise,{splits[min(number, 2)]},{start},{end}")
    path = project.folder / "clocks" / "table.csv"
    path.write_text("\n".join(table) + "\n")
    project.set_path("clocks", path)
    project.run("-m", "dataloaders.preprocess", "clocks", *flags)
    folders = frame_folders(project.folder / "data/clocks_frames")
    return {Path(source).stem: read_clock(folder) for source, folder in folders.items()}


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (
            (),  # every 4th; every 3rd, 2nd or each where fewer than 16 would remain
            {
                70: range(0, 70, 4),
                61: range(0, 61, 4),
                60: range(0, 60, 3),
                46: range(0, 46, 3),
                45: range(0, 45, 2),
                31: range(0, 31, 2),
                30: range(30),
                16: range(16),
                9: range(9),
            },
        ),
        (
            ("--frame-interval", 2),
            {70: range(0, 70, 2), 32: range(0, 32, 2), 31: range(0, 31, 2), 30: range(30)},
        ),
        (
            ("--frame-interval", 7, "--clip-len", 8),
            {70: range(0, 70, 7), 50: range(0, 50, 7), 49: range(0, 49, 6), 5: range(5)},
        ),
    ],
)
def test_every_nth_frame_is_stored_and_more_of_a_short_video(project, flags, expected):
    for length in expected:
        write_clock(project.folder / "clocks" / f"{length}.avi", length)
    stored = store(project, [(f"{length}.avi",) for length in expected], *flags)
    assert stored == {str(length): list(numbers) for length, numbers in expected.items()}


def test_at_a_frame_rate_the_nearest_frame_to_each_moment_is_stored(project):
    rates = {"film": 24, "fast": 40, "slow": 4}
    for name, fps in rates.items():
        write_clock(project.folder / "clocks" / f"{name}.avi", 75, fps)
    stored = store(project, [(f"{name}.avi",) for name in rates], "--frame-rate", 10)
    assert stored["film"][:6] == [0, 2, 5, 7, 10, 12]  # at 0, 0.1, ... seconds, by hand
    assert stored["fast"][:6] == [0, 4, 8, 12, 16, 20]
    assert stored["slow"][:11] == [0, 0, 1, 1, 2, 2, 2, 3, 3, 4, 4]
    for name, fps in rates.items():
        distances = np.array(stored[name]) / fps - np.arange(len(stored[name])) / 10
        assert np.abs(distances).max() <= 0.5 / fps + 1e-6
        next_moment = len(stored[name]) / 10
        assert next_moment > 73 / fps  # nothing is left out at the end


def test_at_a_frame_rate_a_short_video_has_the_frames_of_a_clip_spread_over_it(project):
    names = ["a.avi", "b.avi", "c.avi"]
    for name in names:
        write_clock(project.folder / "clocks" / name, 24, 24)  # 10 frames of a clip of 16
    stored = store(project, [(name,) for name in names], "--frame-rate", 10)
    for numbers in stored.values():
        assert len(set(numbers)) == len(numbers) == 16
        assert numbers == pytest.approx(np.linspace(0, 23, 16), abs=0.51)


def test_a_part_of_a_recording_has_the_frames_between_its_start_and_its_end(project):
    write_clock(project.folder / "clocks" / "day.avi", 75)
    parts = [("day.avi", 0.99, 2.55), ("day.avi", "", 1.59), ("day.avi", 1.39, "")]
    stored = store_parts(project, parts, "--frame-interval", 2)
    assert stored == [list(range(25, 65, 2)), list(range(0, 40, 2)), list(range(35, 75, 2))]


def store_parts(project, parts, *flags):
    """Preprocess parts of one recording, and return the numbers of the stored frames, part by part."""
    store(project, parts, *flags)
    index = find_index(project.folder / "data/clocks_frames")
    by_split = {}
    for row in read_table(index):
        folder = index.parent / row["split"] / row["class"] / row["video"]
        by_split[row["split"]] = read_clock(folder)
    return [by_split[split] for split in ("train", "val", "test")]


SLOW_THEN_FAST = [*range(0, 100, 5), *range(100, 150)]  # fiftieths of a second


def test_at_a_frame_rate_time_decides_where_frames_come_at_uneven_intervals(project):
    names = ["a.mp4", "b.mp4", "c.mp4"]
    (project.folder / "clocks").mkdir()
    for name in names:
        write_uneven_clock(project.folder / "clocks" / name, SLOW_THEN_FAST)
    stored = store(project, [(name,) for name in names], "--frame-rate", 10)
    times = np.array(SLOW_THEN_FAST) / 50
    for numbers in stored.values():
        assert 29 <= len(numbers) <= 31
        nearest = [np.abs(times - moment / 10).argmin() for moment in range(len(numbers))]
        assert numbers == pytest.approx(nearest, abs=1)


def test_time_decides_what_belongs_to_a_part_where_frames_come_at_uneven_intervals(project):
    (project.folder / "clocks").mkdir()
    write_uneven_clock(project.folder / "clocks" / "day.mp4", SLOW_THEN_FAST)
    parts = [("day.mp4", 0.05, 1.95), ("day.mp4", 2.31, 2.75), ("day.mp4", 1.75, 2.31)]
    stored = store_parts(project, parts, "--frame-interval", 1)
    # By hand: frame n is shown at n / 10 seconds up to frame 20, then at 2 + (n - 20) / 50.
    expected = [list(range(1, 20)), list(range(36, 58)), list(range(18, 36))]
    for numbers, right in zip(stored, expected, strict=True):
        assert (numbers[0], numbers[-1]) == pytest.approx((right[0], right[-1]), abs=1)
        assert numbers == list(range(numbers[0], numbers[-1] + 1))
