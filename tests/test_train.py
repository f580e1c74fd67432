import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from conftest import write_dataset
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import train
from dataloaders.preprocess import prepare
from mypath import Path
from network import MODELS, weights

QUICK = ("train.py", "--dataset", "own", "--crop-size", "16", "--batch-size", "4", "--workers", "1", "--model", "R3D")
SCALARS = {f"data/{split}_{kind}_epoch" for split in ("train", "val", "test") for kind in ("loss", "acc")}


def scalars(run):
    events = EventAccumulator(str(run))
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def same(one, other):
    """Whether two checkpoints hold the same, tensors bit for bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("videos"))


@pytest.fixture
def project(project, videos):
    project.set_path("own", videos)
    return project


def test_a_run_and_what_it_leaves(project):
    output = project.run(*QUICK, "--epochs", "2", "--snapshot", "1").stdout
    run = project.folder / "run" / "run_0"
    names = {f"R3D-own_{name}.pth" for name in ("last", "best", "epoch-1", "epoch-2")}
    assert {path.name for path in (run / "models").iterdir()} == names

    results = json.loads((run / "results.json").read_text())
    assert {key: results[key] for key in ("model", "dataset", "split", "seed")} == {
        "model": "R3D", "dataset": "own", "split": "group", "seed": 0,
    }
    assert 0 <= results["test"]["clip_top1"] <= 1
    assert f"clip top-1 {results['test']['clip_top1']:.3f}" in output
    assert results["test"]["per_class"].keys() == {"Jump", "Run"}
    assert results["leaked_groups"] == 0
    assert "split group: 0 groups in more than one of train, val and test" in output
    predictions = (run / "predictions.csv").read_text().splitlines()
    assert predictions[0] == "source,class,prediction,probability,correct"
    assert len(predictions) == 1 + 2

    summary = project.run("-m", "network.report", "run/run_0").stdout
    assert summary.startswith(f"1 runs, clip_top1 {results['test']['clip_top1']:.3f} ")
    assert "run_7/results.json: no results" in project.run("-m", "network.report", "run/run_7", ok=False).stderr

    curves = scalars(run)
    assert curves.keys() == SCALARS | {"data/lr", "data/clips_per_second"}
    assert [step for step, _ in curves["data/val_acc_epoch"]] == [1, 2]
    assert [step for step, _ in curves["data/test_acc_epoch"]] == [results["epoch"]]
    assert curves["data/test_acc_epoch"][0][1] == pytest.approx(results["test"]["clip_top1"])

    accuracy = [value for _, value in curves["data/val_acc_epoch"]]
    loss = [value for _, value in curves["data/val_loss_epoch"]]
    best = max((0, 1), key=lambda i: (accuracy[i], -loss[i]))
    assert results["epoch"] == best + 1
    checkpoint = weights.load(run / "models" / "R3D-own_best.pth")
    assert same(checkpoint, weights.load(run / "models" / f"R3D-own_epoch-{best + 1}.pth"))
    assert checkpoint["classes"] == ["Jump", "Run"]
    assert checkpoint["state_dict"]["fc.weight"].shape == (2, 512)
    assert checkpoint["clip"]["crop_size"] == 16
    assert checkpoint["scheduler"]["last_epoch"] == checkpoint["epoch"]  # of 6 videos, one batch of 4 an epoch

    # Tested once more, the best gives the same again, whatever the batch.
    (run / "results.json").unlink()
    project.run("train.py", "--test-only", "--batch-size", "1", "--workers", "0")
    again = json.loads((run / "results.json").read_text())
    assert again["test"].pop("loss") == pytest.approx(results["test"]["loss"], rel=1e-4)
    assert again["test"] == {key: value for key, value in results["test"].items() if key != "loss"}
    assert [step for step, _ in scalars(run)["data/val_acc_epoch"]] == [1, 2]

    # The last epoch's weights do differ from the first's, and the rate fell to 0.
    first, last = (weights.load(run / "models" / f"R3D-own_epoch-{epoch}.pth")["state_dict"] for epoch in (1, 2))
    assert not torch.equal(first["fc.weight"], last["fc.weight"])
    assert curves["data/lr"][-1][1] == 0


@pytest.mark.parametrize("model", ["R3D", "C3D"])
def test_resume_ends_where_an_undisturbed_run_ends(project, model):
    size = ["--crop-size", "112"] if model == "C3D" else []
    project.run(*QUICK, "--model", model, *size, "--epochs", "2", "--snapshot", "1", "--clips", "1")
    whole = project.folder / "run" / "run_0" / "models"
    cut = project.folder / "run" / "run_1" / "models"
    cut.mkdir(parents=True)
    for name in ("last", "best"):
        (cut / f"{model}-own_{name}.pth").hardlink_to(whole / f"{model}-own_epoch-1.pth")
    assert "1 of 2 epochs done" in project.run("train.py", "--resume", "--workers", "0").stdout
    assert same(weights.load(cut / f"{model}-own_last.pth"), weights.load(whole / f"{model}-own_last.pth"))
    one, other = scalars(whole.parent), scalars(cut.parent)
    for tag in ("data/lr", "data/train_loss_epoch", "data/val_loss_epoch", "data/train_acc_epoch"):
        assert one[tag][1:] == other[tag]


def test_interrupted_at_any_step_a_run_ends_as_an_undisturbed_one(project):
    flags = (*QUICK, "--batch-size", "1", "--epochs", "3", "--clips", "1")
    project.run(*flags)
    whole, cut = project.folder / "run" / "run_0", project.folder / "run" / "run_1"
    last = cut / "models" / "R3D-own_last.pth"

    def interrupt(number, delay, *flags):
        command = [sys.executable, *flags]
        environment = os.environ | {"PYTHONUNBUFFERED": "1"}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen(command, cwd=project.folder, env=environment, start_new_session=True, **pipes) as process:
            while "epochs done" not in process.stdout.readline():
                pass
            time.sleep(delay)
            os.killpg(process.pid, number)  # the workers get it as well, as from a terminal
            errors = process.stderr.read()
        assert process.returncode == 128 + number, errors
        assert errors.splitlines()[-1].endswith("python train.py --resume run/run_1 goes on from here")
        assert "Traceback" not in errors

    interrupt(signal.SIGINT, 0, *flags)
    assert weights.load(last)["epoch"] == 0
    assert 0 < weights.load(last)["sums"][2] < 6
    interrupt(signal.SIGTERM, 0.1, "train.py", "--resume", "run/run_1")
    interrupt(signal.SIGINT, 0.4, "train.py", "--resume", "run/run_1", "--workers", "2")
    project.run("train.py", "--resume", "run/run_1", "--workers", "0")
    assert same(weights.load(last), weights.load(whole / "models" / "R3D-own_last.pth"))
    one, other = scalars(whole), scalars(cut)
    for tag in SCALARS | {"data/lr"}:
        assert one[tag] == other[tag]


def test_changed_videos_and_a_single_class_are_refused(mistake, tmp_path, monkeypatch, capsys):
    root = write_dataset(tmp_path / "videos", classes=["Run"], groups=3)
    monkeypatch.setitem(Path.DATASETS, "own", (str(root), str(tmp_path / "frames")))
    prepare("own", *Path.db_dir("own"))
    capsys.readouterr()
    assert "one class, Run" in mistake(train, "--dataset", "own")

    write_dataset(root, classes=["Jump"], groups=3)
    prepare("own", *Path.db_dir("own"))
    run = tmp_path / "run" / "run_0"
    (run / "models").mkdir(parents=True)
    args = {"dataset": "own", "model": "R3D", "crop_size": 16}
    story = dict.fromkeys(weights.CONTENT) | {"classes": ["Jump", "Run"], "videos": "before", "args": args}
    weights.save(story, run / "models" / "R3D-own_last.pth")
    capsys.readouterr()
    assert "the videos of own or their split are no longer those of run/run_0" in mistake(train, "--resume")


def test_a_leak_stops_the_run(mistake, videos, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(Path.DATASETS, "own", (str(videos), str(tmp_path / "frames")))
    monkeypatch.setattr(train, "leaked_groups", lambda videos, protocol: 1)
    prepare("own", *Path.db_dir("own"))
    capsys.readouterr()
    assert "groups leak between train, val and test" in mistake(train, "--dataset", "own")
    assert not (tmp_path / "run").exists()


def test_pretrained_weights_start_a_run_and_train_slower_than_the_new_layer(project):
    torch.manual_seed(1)
    public = MODELS["R3D"](num_classes=400)
    torch.save(public.state_dict(), project.folder / "r3d_18.pth")
    project.run(*QUICK, "--epochs", "1", "--lr", "0.001", "--weights", "r3d_18.pth")
    checkpoint = weights.load(project.folder / "run" / "run_0" / "models" / "R3D-own_last.pth")
    moved = (checkpoint["state_dict"]["layer4.1.conv2.0.weight"] - public.layer4[1].conv2[0].weight).abs().max()
    assert 0 < moved < 0.05
    assert checkpoint["normalization"] == {**public.normalize.statistics, "input": "rgb"}
    body, head = checkpoint["optimizer"]["param_groups"]
    assert head["initial_lr"] == 10 * body["initial_lr"] == 0.01
    assert len(head["params"]) == 2
    assert len(body["params"]) == sum(1 for _ in public.parameters()) - 2
    (project.folder / "r3d_18.pth").unlink()  # the checkpoint has all that is needed
    assert "1 of 2 epochs done" in project.run("train.py", "--resume", "--epochs", "2").stdout


@pytest.mark.parametrize("chosen", ["rgb", "residual"])
def test_the_input_travels_in_the_checkpoint(project, mistake, chosen):
    project.run(*QUICK, "--epochs", "1", "--input", chosen, "--schedule", "step")
    run = project.folder / "run" / "run_0"
    checkpoint = run / "models" / "R3D-own_last.pth"
    assert weights.build(weights.load(checkpoint)).normalize.statistics["input"] == chosen
    assert json.loads((run / "results.json").read_text())["input"] == chosen
    assert scalars(run)["data/lr"] == [(1, pytest.approx(0.01))]
    project.run("train.py", "--resume", "--epochs", "2")
    assert weights.load(checkpoint)["normalization"]["input"] == chosen

    # Another run starts from it with the same input, and with no other.
    project.run(*QUICK, "--epochs", "1", "--weights", "run/run_0/models/R3D-own_best.pth")
    assert json.loads((project.folder / "run" / "run_1" / "results.json").read_text())["input"] == chosen
    assert weights.load(project.folder / "run" / "run_1" / "models" / "R3D-own_last.pth")["args"]["input"] == chosen
    other = {"rgb": "residual", "residual": "rgb"}[chosen]
    refused = project.run(*QUICK, "--weights", checkpoint, "--input", other, ok=False)
    assert refused.returncode == 2
    assert refused.stderr == f"train.py: --input {other}: {checkpoint} was trained with {chosen}; leave the flag out\n"
    said = mistake(train, "--run-dir", str(project.folder / "run"), "--resume", "0", "--input", other)
    assert f"--input {other}" in said and f"was started with {chosen}" in said


def test_a_leaky_split_is_told_and_every_epoch_draws_its_clips_anew(project):
    done = project.run(*QUICK, "--epochs", "2", "--lr", "0", "--split", "random", "--clips", "1")
    run = project.folder / "run" / "run_0"
    results = json.loads((run / "results.json").read_text())
    assert results["leaked_groups"] > 0
    assert results["warning"].startswith(f"{results['leaked_groups']} groups stand in more than one")
    assert results["warning"] in done.stderr
    # With a learning rate of 0 nothing but the clips can change the training loss.
    (_, first), (_, second) = scalars(run)["data/train_loss_epoch"]
    assert first != second


def test_resume_goes_on_with_the_highest_number_and_more_epochs(project, mistake):
    project.run(*QUICK, "--epochs", "1")
    (project.folder / "run" / "run_0").rename(project.folder / "run" / "run_10")
    (project.folder / "run" / "run_9").mkdir()
    project.run("train.py", "--resume", "--epochs", "2")
    assert [step for step, _ in scalars(project.folder / "run" / "run_10")["data/lr"]] == [1, 2]
    run_dir = ("--run-dir", str(project.folder / "run"))
    assert "run_9: no checkpoint" in mistake(train, *run_dir, "--resume", "9")
    for flag, value, was in (("--model", "C3D", "R3D"), ("--dataset", "demo", "own"), ("--batch-size", "3", "4")):
        said = mistake(train, *run_dir, "--resume", "run_10", flag, value)
        assert said == f"train.py: {flag} {value}: {run_dir[1]}/run_10 was started with {was}"


def test_the_optimiser_trains_the_parameters_of_the_moved_network(project):
    """Where moving a network makes new parameters, an optimiser built before would train the old ones."""
    (project.folder / "moving.py").write_text(
        "import runpy, sys, torch\n"
        "torch.__future__.set_overwrite_module_params_on_conversion(True)\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path('train.py', run_name='__main__')\n"
    )
    project.run("moving.py", *QUICK, "--epochs", "1")
    trained = weights.load(project.folder / "run" / "run_0" / "models" / "R3D-own_last.pth")["state_dict"]
    torch.manual_seed(0)
    untrained = MODELS["R3D"](num_classes=2).state_dict()
    assert not torch.equal(untrained["fc.weight"], trained["fc.weight"])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--dataset", "nothing"], "unknown data set 'nothing': mypath.py knows ucf101"),
        (["--dataset", "ucf101"], "data/UCF-101: no such folder. mypath.py says where the videos lie"),
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
        (["--model", "C3D", "--crop-size", "56"], "C3D takes clips of 16x112x112"),
        (["--crop-size", "200"], "the crop size is 200, and must be 1 to 112"),
    ],
)
def test_mistakes_are_one_line_that_says_how_to_mend_them(mistake, tmp_path, flags, message):
    assert message in mistake(train, *flags)
    assert not list(tmp_path.iterdir())


def test_learning_rate_rises_and_falls_once():
    rates = [train.learning_rate("cosine", step, 20, 10) for step in range(200)]
    assert max(rates) == rates[19] == 1
    assert rates[:20] == sorted(rates[:20])
    assert rates[19:] == sorted(rates[19:], reverse=True)
    assert train.learning_rate("cosine", 200, 20, 10) == 0
    assert train.learning_rate("cosine", 0, 1, 1) == 1


def test_the_classic_schedule_falls_to_a_tenth_every_ten_epochs():
    rates = [train.learning_rate("step", step, 25, 3) for step in range(75)]
    assert rates == pytest.approx([1] * 30 + [0.1] * 30 + [0.01] * 15)
