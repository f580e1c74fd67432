import csv
import json
import math
import os
import shutil
import signal
import subprocess
import time
from dataclasses import asdict

import numpy as np
import pytest
import torch
from conftest import data_settings, make_checkpoint, tree, write_dataset
from filelock import FileLock
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny import Tiny

import train
from dataloaders.color_jitter import ColorJitter
from dataloaders.preprocess import preprocess
from dataloaders.samplers import DistributedBatchSampler
from dataloaders.sampling import ClipConfig
from engine import data, precision, setup, trainer
from engine.args import parse_training_args
from engine.checkpoint import load_checkpoint, restore_model, save_checkpoint
from engine.criterion import CrossEntropy
from engine.metrics import CURVES, METRICS
from mypath import Path

QUICK = (
    "train.py",
    "--dataset",
    "own",
    "--crop-size",
    "16",
    "--batch-size",
    "4",
    "--workers",
    "0",
    "--model",
    "Tiny",
)
SCALARS = {
    f"data/{split}_{kind}_epoch" for split in ("train", "val", "test") for kind in ("loss", "acc")
} | {
    "curves/loss_train",
    "curves/loss_val",
    "curves/top1_train",
    "curves/top1_val",
    "curves/top5_val",
    "curves/mean_class_val",
    "curves/macro_f1_val",
    "test/mean_class",
    "test/macro_f1",
    "test/video_top1",
    "test/video_top5",
}
SCALARS |= {f"curves/{curve}_val" for curve in CURVES}
SCALARS |= {f"test/{name}" for name in METRICS if name != "clip_top1"}


def scalars(run):
    """The points that a run has logged, {tag: [(epoch, value), ...]}."""
    events = EventAccumulator(str(run))
    events.Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def is_equal(one, other):
    """Whether two checkpoints are equal, tensors bit for bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(is_equal(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(is_equal, one, other))
    return one == other


def progress(file):
    """How far a checkpoint is: epochs completed, clips of the next that are done."""
    state = load_checkpoint(file)["train_state"]
    return state["epoch"], state["num_samples"]


def tiny_state(num_classes):
    torch.manual_seed(0)
    return {"state_dict": Tiny(num_classes).state_dict()}


def last_checkpoint(run):
    return run / "models" / "Tiny-own_last.pth"


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("videos"))


@pytest.fixture
def project(project, videos):
    project.set_path("own", videos)
    return project


def test_without_mixed_precision_a_run_computes_in_32_bit_floats(project, monkeypatch):
    project.run(*QUICK, "--epochs", 1)  # on the CPU
    monkeypatch.setattr(precision, "amp_dtype", lambda device: torch.bfloat16)
    project.run(*QUICK, "--epochs", 1)
    assert torch.backends.cudnn.allow_tf32
    project.run(*QUICK, "--epochs", 1, "--no-amp")
    assert not torch.backends.cudnn.allow_tf32
    plain, mixed, without = (
        scalars(project.folder / "run" / f"run_{i}")["curves/loss_train"] for i in range(3)
    )
    assert without == plain != mixed


def test_a_run_and_what_it_leaves(project):
    output = project.run(*QUICK, "--epochs", "2", "--snapshot", "1", "--workers", "1").stdout
    run = project.folder / "run" / "run_0"
    names = {f"Tiny-own_{name}.pth" for name in ("last", "best", "epoch-1", "epoch-2")}
    assert {path.name for path in (run / "models").iterdir()} == names

    results = json.loads((run / "results.json").read_text())
    assert {
        key: results[key] for key in ("model", "dataset", "split", "seed", "clips_per_video")
    } == {
        "model": "Tiny",
        "dataset": "own",
        "split": "group",
        "seed": 0,
        "clips_per_video": 10,
    }
    assert 0 <= results["test"]["clip_top1"] <= 1
    assert f"clip top-1 {results['test']['clip_top1']:.3f}" in output
    assert results["test"]["per_class"].keys() == {"Jump", "Run"}
    assert results["leaked_groups"] == 0
    assert "split group: 0 groups in more than one of train, val and test" in output
    predictions = (run / "predictions.csv").read_text().splitlines()
    assert predictions[0] == "source,class,prediction,probability,correct,Jump,Run"
    assert len(predictions) == 1 + 2
    for source, true, predicted, probability, correct, *shares in (
        line.split(",") for line in predictions[1:]
    ):
        assert source.startswith(f"{true}/") and int(correct) == (true == predicted)
        assert (
            dict(zip(("Jump", "Run"), shares, strict=True))[predicted] == max(shares) == probability
        )
        assert sum(map(float, shares)) == pytest.approx(1, abs=2e-4)

    summary = project.run("-m", "engine.metrics", "run/run_0").stdout
    assert summary.startswith(f"1 runs, clip_top1 {results['test']['clip_top1']:.3f} ")
    assert (
        "run_7/results.json: no results"
        in project.run("-m", "engine.metrics", "run/run_7", ok=False).stderr
    )

    curves = scalars(run)
    assert curves.keys() == SCALARS | {"data/lr", "data/clips_per_second"}
    assert [step for step, _ in curves["data/val_acc_epoch"]] == [1, 2]
    assert [step for step, _ in curves["data/test_acc_epoch"]] == [results["epoch"]]
    assert curves["data/test_acc_epoch"][0][1] == pytest.approx(results["test"]["clip_top1"])

    accuracy = [value for _, value in curves["data/val_acc_epoch"]]
    loss = [value for _, value in curves["data/val_loss_epoch"]]
    best = max((0, 1), key=lambda i: (accuracy[i], -loss[i]))
    assert results["epoch"] == best + 1
    checkpoint = load_checkpoint(run / "models" / "Tiny-own_best.pth")
    assert is_equal(checkpoint, load_checkpoint(run / "models" / f"Tiny-own_epoch-{best + 1}.pth"))
    assert checkpoint["classes"] == ["Jump", "Run"]
    assert checkpoint["state_dict"]["fc.weight"].shape == (2, 8)
    assert checkpoint["clip"]["crop_size"] == 16
    assert checkpoint["train_state"]["epoch"] == checkpoint["train_state"]["best_epoch"] == best + 1
    assert checkpoint["scheduler"]["last_epoch"] == best + 1  # of 6 videos, one batch of 4 an epoch

    # Tested again, the best gives the same results, whatever the size of a batch.
    (run / "results.json").unlink()
    project.run("train.py", "--test-only", "--batch-size", "1", "--workers", "0")
    again = json.loads((run / "results.json").read_text())
    assert again["test"].pop("loss") == pytest.approx(results["test"]["loss"], rel=1e-4)
    assert again["test"] == {key: value for key, value in results["test"].items() if key != "loss"}
    assert [step for step, _ in scalars(run)["data/val_acc_epoch"]] == [1, 2]

    # The weights of the last epoch differ from those of the first.
    first, last = (
        load_checkpoint(run / "models" / f"Tiny-own_epoch-{epoch}.pth")["state_dict"]
        for epoch in (1, 2)
    )
    assert not torch.equal(first["fc.weight"], last["fc.weight"])


# Each of what public recipes need, together.
RECIPE = (
    *("--optimizer", "adamw", "--repeat", "3", "--color-jitter", "0.4"),
    *("--lr-scheduler", "step", "--milestones", "1", "--gamma", "0.3", "--warmup-epochs", "0.5"),
)


@pytest.mark.parametrize("flags", [(), RECIPE], ids=["defaults", "recipe"])
def test_resume_ends_where_an_undisturbed_run_ends(project, flags):
    project.run(*QUICK, *flags, "--epochs", "2", "--snapshot", "1", "--clips-per-video", "1")
    undisturbed, resumed = project.folder / "run" / "run_0", project.folder / "run" / "run_1"
    (resumed / "models").mkdir(parents=True)
    for name in ("last", "best"):
        (resumed / f"models/Tiny-own_{name}.pth").hardlink_to(
            undisturbed / "models/Tiny-own_epoch-1.pth"
        )
    assert "1 of 2 epochs done" in project.run("train.py", "--resume", "--workers", "0").stdout
    assert is_equal(*(load_checkpoint(last_checkpoint(run)) for run in (undisturbed, resumed)))
    one, other = scalars(undisturbed), scalars(resumed)
    for tag in ("data/lr", "data/train_loss_epoch", "data/val_loss_epoch", "data/train_acc_epoch"):
        assert one[tag][1:] == other[tag]


def test_an_epoch_has_as_many_steps_as_the_repeated_videos_give(project, monkeypatch):
    drawn = []
    monkeypatch.setattr(ColorJitter, "draw", lambda rng, strength: drawn.append(strength))
    flags = (*RECIPE, "--epochs", "2", "--batch-size", "8", "--lr", "0.1")
    output = project.run(*QUICK, *flags).stdout.replace("\n ", "")
    assert "optimizer adamw" in output and "milestones 1," in output
    checkpoint = load_checkpoint(last_checkpoint(project.folder / "run" / "run_0"))
    assert (
        checkpoint["scheduler"]["last_epoch"] == 2 * 2
    )  # 2 epochs of 6 videos three times, 8 a step
    assert checkpoint["optimizer"]["state"][0]["step"] == 4
    assert set(drawn) == {0.4} and len(drawn) >= 4 * 8  # TensorBoard shows some clips
    assert checkpoint["args"]["milestones"] == (1,)
    assert checkpoint["args"]["momentum"] is None
    rates = [value for _, value in scalars(project.folder / "run" / "run_0")["data/lr"]]
    assert rates == pytest.approx([0.1, 0.03])
    assert "--milestones: 1: never reached with --epochs 1" in (
        project.run(*QUICK, *RECIPE, "--epochs", "1").stdout
    )


@pytest.mark.parametrize(("name", "epochs"), [("cosine", 6), ("step", 3)])
def test_the_logged_rate_is_that_of_the_last_step_of_each_epoch(project, name, epochs):
    flags = "--epochs", epochs, "--batch-size", "2", "--lr", "0.3", "--clips-per-video", "1"
    project.run(*QUICK, *flags, "--lr-scheduler", name)
    steps = 3  # of 6 videos, in batches of 2
    rates = []
    for last in range(steps - 1, epochs * steps, steps):
        fall = math.cos(math.pi * (last - 1) / (epochs * steps - 1))  # 1 of the 18 steps warms up
        rates.append(0.3 * (1 + fall) / 2 if name == "cosine" else 0.3)
    logged = scalars(project.folder / "run" / "run_0")["data/lr"]
    assert logged == list(enumerate(map(pytest.approx, rates), start=1))
    assert min(value for _, value in logged) > 0


def test_small_clips_train_unless_batch_norm_sees_a_single_value(project):
    flags = "--model", "R3D", "--crop-size", "8", "--clip-len", "8", "--epochs", "1"
    output = project.run(*QUICK, *flags, "--clips-per-video", "1").stdout
    assert "GFLOPs a clip of 8x8x8" in output and "video top-1" in output
    (line,) = project.run(*QUICK, *flags, "--batch-size", "1", ok=False).stderr.splitlines()
    assert line == (
        "train.py: --batch-size 1: batch norm needs two values, and R3D has one of a clip of "
        "8x8x8; use --batch-size 2 or more, or larger clips"
    )


def at_step(monkeypatch, number, action):
    """Call `action()` in the training step of such a number, counted from 1."""
    original, steps = CrossEntropy.forward, []

    def counted(self, logits, targets):
        if self.training:
            steps.append(1)
            if len(steps) == number:
                action()
        return original(self, logits, targets)

    monkeypatch.setattr(CrossEntropy, "forward", counted)


def test_interrupted_at_any_step_a_run_ends_as_an_undisturbed_one(project, monkeypatch):
    flags = (*QUICK, "--batch-size", "1", "--epochs", "3", "--clips-per-video", "1")
    project.run(*flags)
    undisturbed, interrupted = project.folder / "run" / "run_0", project.folder / "run" / "run_1"
    last = last_checkpoint(interrupted)

    def interrupt(number, step, *flags):
        with monkeypatch.context() as patched:
            at_step(patched, step, lambda: signal.raise_signal(number))
            stopped = project.run(*flags, ok=False)
        assert stopped.returncode == 128 + number
        assert stopped.stderr.splitlines()[-1].endswith(
            "python train.py --resume run/run_1 continues the run"
        )

    resume = ("train.py", "--resume", "run/run_1")
    interrupt(signal.SIGINT, 2, *flags, "--workers", "1")
    assert progress(last) == (0, 2)
    interrupt(signal.SIGTERM, 4, *resume)  # the last of the epoch
    assert progress(last) == (0, 6)
    interrupt(signal.SIGINT, 5, *resume, "--workers", "2")
    assert progress(last) == (1, 5)
    project.run(*resume, "--workers", "0")
    assert is_equal(*(load_checkpoint(last_checkpoint(run)) for run in (undisturbed, interrupted)))
    one, other = scalars(undisturbed), scalars(interrupted)
    for tag in SCALARS | {"data/lr"}:
        assert one[tag] == other[tag]
    events = EventAccumulator(str(interrupted))
    events.Reload()
    assert [image.step for image in events.Images("train/clips")] == [0]


def test_fine_tuning_resumes_between_accumulated_batches(project, monkeypatch, tmp_path):
    save_checkpoint(
        make_checkpoint(classes=["other", "names"], **tiny_state(2)), tmp_path / "weights.pth"
    )
    flags = (
        *QUICK,
        "--batch-size",
        "1",
        "--epochs",
        "3",
        "--weights",
        tmp_path / "weights.pth",
        "--freeze",
        "conv",
    )
    flags += (
        "--accumulate",
        "2",
        "--label-smoothing",
        "0.1",
        "--clip-grad",
        "1",
        "--min-scale",
        "0.5",
        "--head-lr",
        "5",
    )
    flags += "--no-flip", "--clip-len", "8", "--frame-rate", "12.5"
    assert "this run: 8 frames, 12.5 a second" in project.run(*flags).stdout
    undisturbed, interrupted = project.folder / "run" / "run_0", project.folder / "run" / "run_1"
    with monkeypatch.context() as patched:
        at_step(
            patched, 9, lambda: signal.raise_signal(signal.SIGINT)
        )  # the first of the two of a step
        assert project.run(*flags, ok=False).returncode == 130
    assert progress(last_checkpoint(interrupted)) == (1, 4)
    project.run("train.py", "--resume", "run/run_1")
    one, other = (load_checkpoint(last_checkpoint(run)) for run in (undisturbed, interrupted))
    assert is_equal(one, other)
    assert [len(group["params"]) for group in one["optimizer"]["param_groups"]] == [
        2,
        2,
    ]  # norm; fc
    assert [group["initial_lr"] for group in one["optimizer"]["param_groups"]] == [0.01, 0.05]
    assert one["scheduler"] == {"last_epoch": 9}
    before = load_checkpoint(tmp_path / "weights.pth")["state_dict"]["conv.weight"]
    assert torch.equal(one["state_dict"]["conv.weight"], before)
    assert one["clip"] == asdict(ClipConfig.from_flags(16, 8, frame_rate=12.5))


def test_a_linear_probe_trains_the_last_layer_alone(project, tmp_path):
    save_checkpoint(make_checkpoint(classes=["a", "b", "c"]), tmp_path / "weights.pth")
    project.run(
        *QUICK, "--epochs", "1", "--weights", tmp_path / "weights.pth", "--freeze", "backbone"
    )
    before = load_checkpoint(tmp_path / "weights.pth")["state_dict"]
    after = load_checkpoint(last_checkpoint(project.folder / "run" / "run_0"))
    for key, value in after["state_dict"].items():
        assert key.startswith("fc.") or torch.equal(value, before[key]), key
    assert [len(group["params"]) for group in after["optimizer"]["param_groups"]] == [2]
    (line,) = project.run(
        *QUICK, "--weights", tmp_path / "weights.pth", "--freeze", "layer9", ok=False
    ).stderr.splitlines()
    assert line == "train.py: --freeze layer9: Tiny has none, conv, norm, backbone"


SIGNAL_AT_FORK = """
import os, runpy, signal, sys
from torch.utils.data._utils import signal_handling
number, fork, *sys.argv = sys.argv[1:]
forks, set_handlers = [], signal_handling._set_worker_signal_handlers
def send():
    if len(forks) == int(fork):
        os.killpg(0, int(number))
def set_handlers_and_send():  # PyTorch makes SIGTERM fatal to a worker before it calls worker_init_fn
    set_handlers()
    send()
signal_handling._set_worker_signal_handlers = set_handlers_and_send
os.register_at_fork(before=lambda: forks.append(1), after_in_child=send)
runpy.run_path("train.py", run_name="__main__")
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "register_at_fork"), reason="workers are not forked here")
def test_a_signal_at_the_fork_of_any_worker_stops_a_run_that_can_be_resumed(project):
    flags = (*QUICK, "--batch-size", "2", "--epochs", "2", "--clips-per-video", "1")
    project.run(*flags)
    undisturbed, interrupted = project.folder / "run" / "run_0", project.folder / "run" / "run_1"
    (project.folder / "signal_at_fork.py").write_text(SIGNAL_AT_FORK)

    def interrupt(number, fork, *flags):
        """Send a signal to all processes from the worker that is forked as such a one: of train, val, test in turn."""
        with project.start("signal_at_fork.py", int(number), fork, *flags, "--workers", "1") as run:
            errors = run.communicate()[1]
        assert run.returncode == 128 + number, errors
        assert errors.splitlines()[-1].endswith(
            "python train.py --resume run/run_1 continues the run"
        )
        assert "Traceback" not in errors

    resume = ("train.py", "--resume", "run/run_1")
    interrupt(signal.SIGTERM, 1, *flags)
    assert progress(last_checkpoint(interrupted)) == (0, 2)
    interrupt(signal.SIGINT, 2, *resume)
    assert progress(last_checkpoint(interrupted)) == (0, 6)
    interrupt(signal.SIGTERM, 3, *resume)
    project.run(*resume, "--workers", "0")
    assert (interrupted / "results.json").read_text() == (undisturbed / "results.json").read_text()
    assert is_equal(*(load_checkpoint(last_checkpoint(run)) for run in (undisturbed, interrupted)))


KILL_IN_STEP_5 = """
import os, runpy, signal, sys
from engine.criterion import CrossEntropy
original, steps = CrossEntropy.forward, []
def forward(self, logits, targets):
    steps.append(self.training)
    if steps.count(True) == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(self, logits, targets)
CrossEntropy.forward = forward
sys.argv = sys.argv[1:]
runpy.run_path("train.py", run_name="__main__")
"""


@pytest.mark.slow
def test_killed_in_a_step_a_run_resumes_after_its_last_completed_epoch(project):
    flags = (*QUICK, "--batch-size", "2", "--clips-per-video", "1", "--epochs", "3")
    project.run(*flags)
    undisturbed, interrupted = project.folder / "run" / "run_0", project.folder / "run" / "run_1"
    (project.folder / "kill.py").write_text(KILL_IN_STEP_5)
    assert project.spawn("kill.py", *flags, ok=False).returncode == -signal.SIGKILL
    assert progress(last_checkpoint(interrupted)) == (1, 0)
    project.run("train.py", "--resume")
    assert is_equal(*(load_checkpoint(last_checkpoint(run)) for run in (undisturbed, interrupted)))
    one, other = scalars(undisturbed), scalars(interrupted)
    assert {tag: one[tag] for tag in SCALARS | {"data/lr"}} == {
        tag: other[tag] for tag in SCALARS | {"data/lr"}
    }


@pytest.mark.slow
def test_killed_at_any_instant_a_run_resumes_and_no_point_is_doubled_or_missing(project):
    flags = (*QUICK, "--batch-size", "2", "--clips-per-video", "1", "--lr-scheduler", "step")
    project.run(*flags, "--epochs", "40")
    project.run(*flags, "--epochs", "1")
    undisturbed, interrupted = project.folder / "run" / "run_0", project.folder / "run" / "run_1"
    last = last_checkpoint(interrupted)
    for delay in np.random.default_rng(0).permutation(np.linspace(0, 1.5, 4)):
        with project.start(
            "train.py", "--resume", "--epochs", "40", stderr=subprocess.DEVNULL
        ) as process:
            while "epochs done" not in process.stdout.readline():
                pass
            time.sleep(delay)
            process.kill()
        assert progress(last)[0] >= 1
    project.run("train.py", "--resume", "--epochs", "40")
    assert is_equal(*(load_checkpoint(last_checkpoint(run)) for run in (undisturbed, interrupted)))
    one, other = scalars(undisturbed), scalars(interrupted)
    for tag in {tag for tag in SCALARS if "test" not in tag} | {"data/lr"}:
        assert one[tag] == other[tag]


def test_a_loss_that_is_not_finite_is_named_and_leaves_the_last_good_checkpoint(
    project, monkeypatch
):
    original, steps = CrossEntropy.forward, []

    def nan_in_step_5(self, logits, targets):
        steps.append(self.training)
        losses = original(self, logits, targets)
        return losses * float("nan") if steps.count(True) == 5 else losses

    monkeypatch.setattr(CrossEntropy, "forward", nan_in_step_5)
    stopped = project.run(*QUICK, "--batch-size", "2", "--epochs", "2", "--snapshot", "1", ok=False)
    assert stopped.returncode == 1
    with open(project.folder / "run/run_0/split.csv", newline="") as file:
        videos = [row["source"] for row in csv.DictReader(file) if row["split"] == "train"]
    sampler = DistributedBatchSampler(len(videos), 2, seed=0)
    sampler.set_position(2, 0)
    names = ", ".join(videos[index] for index, _ in list(sampler)[1])
    line = stopped.stderr.splitlines()[-1].rpartition("\r")[2]
    models = project.folder / "run" / "run_0" / "models"
    assert line == (
        f"train.py: the loss is not finite in step 5 (epoch 2), of {names}. Look at these, or try a smaller --lr; "
        "run/run_0/models/Tiny-own_last.pth is good: --weights takes it"
    )
    assert is_equal(
        load_checkpoint(models / "Tiny-own_last.pth"),
        load_checkpoint(models / "Tiny-own_epoch-1.pth"),
    )
    assert list(scalars(models.parent)["data/lr"])[-1][0] == 1


def test_a_damaged_frame_is_named_with_what_restores_it(project):
    project.run(*QUICK, "--epochs", "1", "--split", "random")
    with open(project.folder / "run/run_0/split.csv", newline="") as file:
        video = next(row["video"] for row in csv.DictReader(file) if row["split"] == "val")
    frames_dir = project.folder / "data/own_frames/16x4_171x128"
    frame = next(frames_dir.glob(f"*/*/{video}/*.jpg"))
    frames = tree(frame.parent)
    for file in frame.parent.iterdir():
        file.write_bytes(file.read_bytes()[:100])
    resume = ("train.py", "--resume", "--epochs", "2", "--workers", "1")
    stopped = project.run(*resume, ok=False)
    assert stopped.returncode == 1
    line = stopped.stderr.splitlines()[-1].rpartition("\r")[2]
    folder = str(frame.parent.relative_to(project.folder))
    assert line.startswith(f"train.py: {folder}/0")
    advice = f"delete {folder} and start again, which extracts the frames of that video"
    assert line.endswith(f".jpg: missing or damaged; {advice}")
    shutil.rmtree(frame.parent)
    assert "1 of 2 epochs done" in project.run(*resume).stdout
    assert tree(frame.parent) == frames
    assert progress(last_checkpoint(project.folder / "run" / "run_0")) == (2, 0)


def fail_inside(*args, **kwargs):
    raise ValueError("a bug")


# Before and after the run folder is made.
@pytest.mark.parametrize(("module", "name"), [(setup, "prepare_data"), (trainer, "evaluate")])
def test_an_error_that_is_a_bug_keeps_its_traceback(project, monkeypatch, module, name):
    monkeypatch.setattr(module, name, fail_inside)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="^a bug$") as error:
        project.run(*QUICK, "--epochs", "1")
    assert error.traceback[-1].name == "fail_inside"
    assert signal.getsignal(signal.SIGINT) == before


def test_a_damaged_checkpoint_is_refused(mistake, tmp_path):
    file = tmp_path / "run" / "run_0" / "models" / "Tiny-own_last.pth"
    file.parent.mkdir(parents=True)
    save_checkpoint(make_checkpoint(), file)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert mistake(train, "--resume").endswith("_last.pth: damaged, or not a checkpoint")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"run_dir": "/tmp"}, "Tiny-own_last.pth: of another version: unknown flag run_dir"),
        ({"turbo": True}, "Tiny-own_last.pth: of another version: unknown flag turbo"),
        ({"dataset": "../../etc"}, "unknown data set '../../etc'"),
        ({"weights": "a.pth", "pretrained": True}, "--weights or --pretrained, not both"),
    ],
)
def test_flags_of_a_checkpoint_that_are_none_are_refused(mistake, tmp_path, args, message):
    file = tmp_path / "run" / "run_0" / "models" / "Tiny-own_last.pth"
    file.parent.mkdir(parents=True)
    save_checkpoint(make_checkpoint(args=args), file)
    assert message in mistake(train, "--resume")


def test_a_run_of_an_older_version_resumes(project):
    """Its number of test windows had another name, and no best epoch was epoch 0."""
    project.run(*QUICK, "--epochs", "1", "--test-windows", "3")
    last = last_checkpoint(project.folder / "run" / "run_0")
    checkpoint = load_checkpoint(last)
    checkpoint["args"]["clips_per_video"] = checkpoint["args"].pop("test_windows")
    checkpoint["clip"].pop("channels")
    for name in ("optimizer", "repeat", "color_jitter", "warmup_epochs", "milestones", "gamma"):
        checkpoint["args"].pop(name)  # flags that came later
    save_checkpoint(checkpoint, last)
    changed = project.run("train.py", "--resume", "--optimizer", "adam", ok=False).stderr
    assert changed == "train.py: --optimizer adam: run/run_0 was started with sgd\n"
    assert "epoch 2/2" in project.run("train.py", "--resume", "--epochs", "2").stdout
    assert load_checkpoint(last)["args"]["test_windows"] == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_state": {"epoch": 1}}, "of another version: its train_state differs"),
        ({"optimizer": {}}, "this code builds another optimizer than the run had"),
        ({"scaler": []}, "Tiny-own_last.pth: cannot be resumed, its scaler is a list"),
    ],
    ids=str,
)
def test_a_checkpoint_that_cannot_be_resumed_is_refused_in_one_line(project, changes, message):
    project.run(*QUICK, "--epochs", "1")
    last = last_checkpoint(project.folder / "run" / "run_0")
    save_checkpoint(load_checkpoint(last) | changes, last)
    refused = project.run("train.py", "--resume", "--epochs", "2", ok=False)
    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert message in line


def test_a_test_that_is_interrupted_is_done_by_the_next_start(project, monkeypatch):
    original = trainer.evaluate

    def interrupted(network, loader, criterion, **options):
        if loader.dataset.windows > 1:
            signal.raise_signal(signal.SIGTERM)
        return original(network, loader, criterion, **options)

    run = project.folder / "run" / "run_0"
    with monkeypatch.context() as patched:
        patched.setattr(trainer, "evaluate", interrupted)
        stopped = project.run(*QUICK, "--epochs", "1", ok=False)
    assert stopped.returncode == 128 + signal.SIGTERM
    assert stopped.stderr.endswith(
        "SIGTERM: python train.py --resume run/run_0 continues the run\n"
    )
    assert not (run / "results.json").exists()
    assert "1 of 1 epochs done" in project.run("train.py", "--resume").stdout
    assert (run / "results.json").exists()
    monkeypatch.setattr(trainer, "evaluate", interrupted)
    stopped = project.run("train.py", "--test-only", ok=False)
    assert (stopped.returncode, stopped.stderr.splitlines()[-1:]) == (128 + signal.SIGTERM, [])


def test_the_default_batch_is_no_larger_than_the_data(project):
    place = QUICK.index("--batch-size")
    output = project.run(*QUICK[:place], *QUICK[place + 2 :], "--epochs", "1").stdout
    assert "--batch-size 6: there are no more training videos\n" in output
    checkpoint = load_checkpoint(last_checkpoint(project.folder / "run" / "run_0"))
    assert (checkpoint["args"]["batch_size"], checkpoint["scheduler"]["last_epoch"]) == (6, 1)


def test_a_batch_larger_than_the_data_is_refused_before_any_work(
    mistake, videos, tmp_path, monkeypatch
):
    monkeypatch.setitem(Path.DATASETS, "own", (str(videos), str(tmp_path / "frames")))
    line = mistake(train, "--dataset", "own", "--batch-size", "7")
    assert line == "train.py: --batch-size 7: there are training videos for 6 at most"
    assert not (tmp_path / "frames").exists()


def test_changed_videos_and_a_single_class_are_refused(mistake, tmp_path, monkeypatch, capsys):
    root = write_dataset(tmp_path / "videos", classes=["Run"], groups=3)
    monkeypatch.setitem(Path.DATASETS, "own", (str(root), str(tmp_path / "frames")))
    preprocess(data_settings(root, tmp_path / "frames"))
    capsys.readouterr()
    line = mistake(train, "--dataset", "own")
    assert line == "train.py: there is one class only, Run: at least two are needed"

    write_dataset(root, classes=["Jump"], groups=3)
    preprocess(data_settings(root, tmp_path / "frames"))
    run = tmp_path / "run" / "run_0"
    (run / "models").mkdir(parents=True)
    args = {"dataset": "own", "model": "Tiny", "crop_size": 16}
    videos = {"train": [5, "x"], "val": [1, "x"], "test": [1, "x"]}
    checkpoint = make_checkpoint(classes=["Fly", "Jump"], videos=videos, args=args)
    save_checkpoint(checkpoint, last_checkpoint(run))
    capsys.readouterr()
    line = mistake(train, "--resume")
    assert line.endswith(
        "not the data that the run was started with: new classes Run, missing classes Fly, "
        "2 train videos, not 5, 2 val videos, not 1, 2 test videos, not 1; start a new run"
    )


def test_a_leak_stops_the_run(mistake, videos, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(Path.DATASETS, "own", (str(videos), str(tmp_path / "frames")))
    monkeypatch.setattr(data, "leaked_groups", lambda videos, protocol: 1)
    assert (
        mistake(train, "--dataset", "own") == "train.py: 1 groups leak between train, val and test"
    )
    assert not (tmp_path / "run").exists()


def test_converters_weights_start_a_run_and_train_slower_than_the_new_layer(project):
    torch.manual_seed(1)
    public, statistics = Tiny(num_classes=3), {"mean": [0.5] * 3, "std": [0.25] * 3, "input": "rgb"}
    content = make_checkpoint(state_dict=public.state_dict(), normalization=statistics)
    save_checkpoint(content, project.folder / "public.pth")
    project.run(*QUICK, "--epochs", "1", "--lr", "0.001", "--weights", "public.pth")
    checkpoint = load_checkpoint(last_checkpoint(project.folder / "run" / "run_0"))
    change = (checkpoint["state_dict"]["conv.weight"] - public.conv.weight).abs().max()
    assert 0 < change < 0.05
    assert checkpoint["normalization"] == statistics
    backbone, head = checkpoint["optimizer"]["param_groups"]
    assert head["initial_lr"] == 10 * backbone["initial_lr"] == 0.01
    assert len(head["params"]) == 2
    assert len(backbone["params"]) == sum(1 for _ in public.parameters()) - 2
    (project.folder / "public.pth").unlink()  # the checkpoint has all that is needed
    assert "1 of 2 epochs done" in project.run("train.py", "--resume", "--epochs", "2").stdout


def test_the_input_is_part_of_the_checkpoint(project, mistake):
    chosen, other = "rgb", "residual"
    project.run(*QUICK, "--epochs", "1", "--input", chosen, "--lr-scheduler", "step")
    run = project.folder / "run" / "run_0"
    checkpoint = last_checkpoint(run)
    assert restore_model(load_checkpoint(checkpoint)).normalize.statistics["input"] == chosen
    assert json.loads((run / "results.json").read_text())["input"] == chosen
    assert scalars(run)["data/lr"] == [(1, pytest.approx(0.01))]
    assert load_checkpoint(checkpoint)["normalization"]["input"] == chosen

    # Another run starts from it with the same input, and with no other.
    project.run(*QUICK, "--epochs", "1", "--weights", "run/run_0/models/Tiny-own_best.pth")
    assert (
        json.loads((project.folder / "run" / "run_1" / "results.json").read_text())["input"]
        == chosen
    )
    assert (
        load_checkpoint(last_checkpoint(project.folder / "run" / "run_1"))["args"]["input"]
        == chosen
    )
    refused = project.run(*QUICK, "--weights", checkpoint, "--input", other, ok=False)
    assert refused.returncode == 2
    assert (
        refused.stderr
        == f"train.py: --input {other}: {checkpoint} was trained with {chosen}; leave the flag out\n"
    )
    line = mistake(
        train, "--run-dir", str(project.folder / "run"), "--resume", "0", "--input", other
    )
    assert f"--input {other}" in line and f"was started with {chosen}" in line


def test_a_leaky_split_is_reported_and_every_epoch_draws_other_clips(project):
    done = project.run(
        *QUICK, "--epochs", "2", "--lr", "0", "--split", "random", "--clips-per-video", "1"
    )
    run = project.folder / "run" / "run_0"
    results = json.loads((run / "results.json").read_text())
    assert results["leaked_groups"] > 0
    assert results["warning"].startswith(f"{results['leaked_groups']} groups in more than one")
    assert results["warning"] in done.stderr
    # With a learning rate of 0 nothing but the clips can change the training loss.
    (_, first), (_, second) = scalars(run)["data/train_loss_epoch"]
    assert first != second


def test_resume_continues_the_run_with_the_highest_number_for_more_epochs(project, mistake):
    project.run(*QUICK, "--epochs", "1")
    (project.folder / "run" / "run_0").rename(project.folder / "run" / "run_10")
    (project.folder / "run" / "run_9").mkdir()
    project.run("train.py", "--resume", "--epochs", "2")
    assert [step for step, _ in scalars(project.folder / "run" / "run_10")["data/lr"]] == [1, 2]
    run_dir = ("--run-dir", str(project.folder / "run"))
    assert "run_9: no checkpoint" in mistake(train, *run_dir, "--resume", "9")
    for flag, value, previous in (
        ("--model", "C3D", "Tiny"),
        ("--dataset", "demo", "own"),
        ("--batch-size", "3", "4"),
    ):
        line = mistake(train, *run_dir, "--resume", "run_10", flag, value)
        assert line == f"train.py: {flag} {value}: {run_dir[1]}/run_10 was started with {previous}"


def test_the_optimizer_trains_the_parameters_of_the_moved_model(project):
    """Where moving a model makes new parameters, an optimizer built before would train the old ones."""
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        project.run(*QUICK, "--epochs", "1")
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(False)
    trained = load_checkpoint(last_checkpoint(project.folder / "run" / "run_0"))["state_dict"]
    torch.manual_seed(0)
    untrained = Tiny(num_classes=2).state_dict()
    assert not torch.equal(untrained["fc.weight"], trained["fc.weight"])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--dataset", "nothing"], "unknown data set 'nothing': mypath.py knows ucf101"),
        (
            ["--dataset", "ucf101"],
            "data/UCF-101: no such folder. mypath.py says where the videos lie",
        ),
        (["--resume"], "run: no run to resume; start one without --resume"),
        (["--resume", "7"], "--resume 7: no such run in run"),
        (["--device", "cuda:77"], "--device cuda:77: "),
        (["--model", "C3D", "--depth", "34"], "--depth 34: C3D has one depth"),
        (["--test-only"], "no checkpoint under run"),
        (["--checkpoint", "a.pth"], "--checkpoint goes with --test-only"),
        (["--test-only", "--resume"], "not both"),
        (["--weights", "a.pth", "--pretrained"], "not both"),
        (["--fold", "2", "--split", "random"], "--fold 2: only --split group has folds"),
        (["--weights", "none.pth"], "none.pth: no such file of weights"),
        (["--epochs", "0"], "--epochs 0: must be 1 or more"),
        (["--batch-size", "-4"], "--batch-size -4: must be 1 or more"),
        (["--seed", "-1"], "--seed -1: must be 0 or more"),
        (["--seed", str(2**64)], f"--seed {2**64}: must be {2**63 - 1} or less"),
        (["--lr", "nan"], "--lr nan: must be a number"),
        (["--lr", "inf"], "--lr inf: must be a number"),
        (["--momentum", "-0.5"], "--momentum -0.5: must be 0 or more"),
        (["--momentum", "2"], "--momentum 2.0: must be 1 or less"),
        (["--optimizer", "foo"], "argument --optimizer: invalid choice: 'foo'"),
        (
            ["--optimizer", "adam", "--momentum", "0.9"],
            "--momentum 0.9: of --optimizer sgd, not adam",
        ),
        (["--repeat", "0"], "--repeat 0: must be 1 or more"),
        (["--color-jitter", "-1"], "--color-jitter -1.0: must be 0 or more"),
        (["--milestones", "5,3"], "--milestones 5,3: must be ascending"),
        (["--milestones", "0,3"], "--milestones 0,3: must be ascending, 1 or more"),
        (["--milestones", "5,"], "--milestones 5,: must be ascending, 1 or more, like 6,10,14"),
        (["--milestones", "5"], "--milestones goes with --lr-scheduler step"),
        (["--gamma", "0.3"], "--gamma goes with --lr-scheduler step"),
        (["--gamma", "2"], "--gamma 2.0: must be 1 or less"),
        (["--warmup-epochs", "50"], "--warmup-epochs 50: must be less than --epochs 50"),
        (["@none.txt"], "@none.txt: cannot be read: No such file or directory"),
        (["--weight-decay", "-1"], "--weight-decay -1.0: must be 0 or more"),
        (["--epochs", "x"], "argument --epochs: invalid int value: 'x'; --help lists the flags"),
        (["--model", "R4D"], "argument --model: invalid choice: 'R4D'"),
        (["--turbo"], "unrecognized arguments: --turbo"),
        (["--device", "meta"], "--device meta: "),
        (
            ["--run-dir", __file__],
            f"{__file__}: not a folder that can be written to; --run-dir says where runs go",
        ),
        (["--run-dir", f"{__file__}/run"], f"{__file__}: not a folder"),
        (["--model", "C3D", "--crop-size", "56"], "C3D takes clips of 16x112x112"),
        (["--crop-size", "2000"], "--crop-size 2000: must be 1 to 1024"),
    ],
)
def test_a_mistake_is_one_line_that_says_how_to_mend_it(mistake, tmp_path, flags, message):
    assert message in mistake(train, *flags)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--clip-len", "1"], "--clip-len 1: must be 2 to 4096"),
        (["--frame-interval", "0"], "--frame-interval 0: must be 1 to 4096"),
        (["--frame-rate", "0"], "--frame-rate 0.0: must be 0.01 to 1000"),
        (["--frame-rate", "nan"], "--frame-rate nan: must be "),
        (
            ["--frame-rate", "15", "--frame-interval", "2"],
            "--frame-interval or --frame-rate, not both",
        ),
        (["--model", "C3D", "--clip-len", "32"], "C3D takes clips of 16x112x112"),
        (
            ["--freeze", "backbone"],
            "--freeze backbone: only --weights or --pretrained give layers worth keeping",
        ),
        (["--accumulate", "0"], "--accumulate 0: must be 1 or more"),
        (["--dropout", "1.5"], "--dropout 1.5: must be 1 or less"),
        (["--label-smoothing", "-0.1"], "--label-smoothing -0.1: must be 0 or more"),
        (["--min-scale", "0"], "--min-scale 0.0: must be 0.01 or more"),
        (["--clip-grad", "0"], "--clip-grad 0.0: must be 1e-06 or more"),
        (["--head-lr", "-1"], "--head-lr -1.0: must be 0 or more"),
    ],
)
def test_a_wrong_clip_or_rate_of_fine_tuning_is_one_line(mistake, tmp_path, flags, message):
    assert message in mistake(train, *flags)
    assert not list(tmp_path.iterdir())


RATED = [(0.9, 0.5, 3.0), (0.8, 0.7, 2.0), (0.7, 0.6, 1.0)]
EQUAL = [(0.0, 0.0, 99.0), (0.0, 0.0, 98.0), (0.0, 0.0, 98.0)]  # the loss decides, then the first


@pytest.mark.parametrize(
    ("best_by", "validations", "best"),
    [
        ("top1", RATED, 1),
        ("mean_class", RATED, 2),
        ("loss", RATED, 3),
        ("top1", EQUAL, 2),
        ("top1", EQUAL[1:], 1),
    ],
)
def test_the_best_epoch_is_best_by_what_is_asked_for(
    project, monkeypatch, best_by, validations, best
):
    num_epochs, validations = len(validations), iter(validations)
    evaluate = trainer.evaluate

    def rated(network, loader, criterion, **options):
        evaluation = evaluate(network, loader, criterion, **options)
        if len(loader.dataset.sources) and (values := next(validations, None)):
            evaluation.metrics.update(zip(("clip_top1", "mean_class", "loss"), values, strict=True))
        return evaluation

    monkeypatch.setattr(trainer, "evaluate", rated)
    project.run(*QUICK, "--epochs", num_epochs, "--best-by", best_by, "--balance", "sampler")
    results = json.loads((project.folder / "run" / "run_0" / "results.json").read_text())
    assert results["epoch"] == best


SPAWN = """
import multiprocessing, runpy, signal, sys
if __name__ == "__main__":
    del signal.pthread_sigmask
    multiprocessing.set_start_method("spawn")
    sys.argv = sys.argv[1:]
    runpy.run_path("train.py", run_name="__main__")
"""


@pytest.mark.slow
def test_as_on_windows_workers_are_spawned_and_a_run_is_interrupted_and_ends_alike(project):
    (project.folder / "data").mkdir()
    project.copy()
    (project.folder / "spawned.py").write_text(SPAWN)
    flags = (*QUICK[1:], "--epochs", "40", "--clips-per-video", "1")
    project.spawn("train.py", *flags)
    with project.start("spawned.py", "train.py", *flags, "--workers", "1") as process:
        next(line for line in process.stdout if line.startswith("epoch 1/40"))
        os.killpg(process.pid, signal.SIGINT)  # Ctrl-C reaches the workers too
        assert process.wait(120) == 130, process.stderr.read()
    assert progress(last_checkpoint(project.folder / "run" / "run_1"))[0] < 40
    project.spawn("spawned.py", "train.py", "--resume", "--workers", "1")
    one, other = (
        load_checkpoint(last_checkpoint(project.folder / "run" / name))
        for name in ("run_0", "run_1")
    )
    assert is_equal(one["state_dict"], other["state_dict"])


def test_without_hard_links_checkpoints_are_copied(project, monkeypatch):
    monkeypatch.setattr(
        os, "link", lambda *paths: (_ for _ in ()).throw(OSError("no such system call"))
    )
    project.run(*QUICK, "--epochs", "1", "--snapshot", "1")
    models = project.folder / "run" / "run_0" / "models"
    contents = {path.read_bytes() for path in models.iterdir()}
    assert len(list(models.iterdir())) == 3 and len(contents) == 1


def test_another_process_does_not_train_the_same_run(project):
    project.run(*QUICK, "--epochs", "1")
    with FileLock(project.folder / "run" / "run_0" / ".in_use"):
        refused = project.run("train.py", "--resume", "--epochs", "2", ok=False)
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
    assert "run/run_0: another process works on this run" in refused.stderr
    assert "epoch 2/2" in project.run("train.py", "--resume", "--epochs", "2").stdout


def test_a_checkpoint_that_is_written_meanwhile_is_not_resumed(project, monkeypatch):
    project.run(*QUICK, "--epochs", "1")
    last = last_checkpoint(project.folder / "run" / "run_0")
    prepare_data = setup.prepare_data

    def slow(*args):
        save_checkpoint(load_checkpoint(last), last)  # as the other process does
        return prepare_data(*args)

    monkeypatch.setattr(setup, "prepare_data", slow)
    refused = project.run("train.py", "--resume", "--epochs", "2", ok=False)
    assert "written by another process meanwhile; start again" in refused.stderr


def test_a_run_is_free_again_as_soon_as_it_has_ended(project, monkeypatch):
    """Also within one process, whatever still refers to it, and where it failed."""
    locks, acquire = [], FileLock.acquire

    def spy(*args, **options):
        locks.append(acquire(*args, **options))
        return locks[-1]

    monkeypatch.setattr(FileLock, "acquire", spy)
    project.run(*QUICK, "--epochs", "1")
    with monkeypatch.context() as patched:
        patched.setattr(trainer, "evaluate", fail_inside)
        with pytest.raises(ValueError, match="a bug"):
            project.run("train.py", "--resume", "--epochs", "2")
    project.run("train.py", "--test-only")


def test_a_run_does_not_resume_with_longer_videos_of_the_same_names(project, tmp_path):
    project.set_path("own", write_dataset(tmp_path / "own"))
    project.run(*QUICK, "--epochs", "1")
    for video in write_dataset(tmp_path / "own", frames=24).glob("*/*"):
        os.utime(video, (time.time() + 60,) * 2)
    refused = project.run("train.py", "--resume", "--epochs", "2", ok=False)
    message = "not the data that the run was started with: removed or changed Jump/v_Jump_g01_c01."
    assert message in refused.stderr


def test_a_data_set_may_have_a_slash_in_its_name_and_the_results_say_what_was_tested(
    project, tmp_path
):
    project.set_path("my/own", write_dataset(tmp_path / "own"))
    project.run(*QUICK, "--dataset", "my/own", "--epochs", "1")
    run = project.folder / "run" / "run_0"
    assert sorted(file.name for file in (run / "models").iterdir()) == [
        "Tiny-my_own_best.pth",
        "Tiny-my_own_last.pth",
    ]
    assert json.loads((run / "results.json").read_text())["tested_on"] == "test"


@pytest.mark.parametrize(
    ("flags", "expected"),  # (epochs, clips of a batch, side of the crop, learning rate)
    [
        ([], (50, None, 112, 0.01)),
        (["--model", "R3D"], (50, None, 112, 0.01)),
        (["--model", "C3D"], (50, None, 112, 0.003)),
        (["--model", "C3D", "--lr", "0.02"], (50, None, 112, 0.02)),
        (["--dataset", "demo"], (7, 12, 16, 0.01)),
        (["--dataset", "demo", "--epochs", "3"], (3, 12, 16, 0.01)),
        (["--dataset", "demo", "--model", "C3D"], (7, 12, 112, 0.003)),
        (["--model", "C3D", "--optimizer", "adam"], (50, None, 112, 0.001)),
    ],
)
def test_defaults_are_those_of_the_network_and_the_data_set(flags, expected):
    args, previous = parse_training_args(flags)
    assert (args.epochs, args.batch_size, args.crop_size, args.lr) == expected
    assert previous is None


def test_weights_without_a_name_are_refused(mistake):
    assert "no such file of weights" in mistake(train, "--weights", "")


def test_clips_of_no_length_are_refused_with_weights_too(mistake, tmp_path):
    save_checkpoint(make_checkpoint(), tmp_path / "a.pth")
    flags = ("--model", "Tiny", "--weights", "a.pth")
    for flag in ("--clip-len", "--frame-interval", "--frame-rate"):
        assert f"{flag} 0" in mistake(train, *flags, flag, "0")


def test_batches_of_a_step_are_named_where_they_are_too_many(
    mistake, videos, tmp_path, monkeypatch
):
    monkeypatch.setitem(Path.DATASETS, "own", (str(videos), str(tmp_path / "frames")))
    line = mistake(train, "--dataset", "own", "--accumulate", "7")
    assert (
        line == "train.py: --batch-size 1 --accumulate 7: there are training videos for 0 at most"
    )


def test_weights_that_are_a_damaged_checkpoint_are_refused(mistake, tmp_path):
    checkpoint = make_checkpoint()
    checkpoint["state_dict"]["fc.weight"][0, 0] = float("nan")
    save_checkpoint(checkpoint, tmp_path / "a.pth")
    line = mistake(train, "--model", "Tiny", "--weights", "a.pth")
    assert "a.pth: some of the weights are not finite" in line
    bias = make_checkpoint()["state_dict"]["fc.bias"].numpy().tobytes()
    save_checkpoint(make_checkpoint(), tmp_path / "b.pth")
    content = bytearray((tmp_path / "b.pth").read_bytes())
    content[content.find(bias) + 2] ^= 1
    (tmp_path / "b.pth").write_bytes(content)
    assert "b.pth: damaged" in mistake(train, "--model", "Tiny", "--weights", "b.pth")


def test_a_file_system_without_locks_is_good_enough(project, monkeypatch):
    def refuse(*_, **__):
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    project.run(*QUICK, "--epochs", "1")


def test_a_dropout_that_a_network_cannot_take_is_refused_before_any_work(mistake):
    """A checkpoint of it could not be read."""
    for value in ("0.4", "0"):
        assert "Tiny cannot take the options {'dropout': " in mistake(
            train, "--model", "Tiny", "--dropout", value
        )
