import json
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import write_dataset
from test_train import BORN, SCALARS, same, scalars

import train
from dataloaders.dataset import TrainingBatches, share
from mypath import Path
from network import distributed, weights
from network.distributed import World

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
QUICK = (
    "train.py",
    "--dataset",
    "own",
    "--crop-size",
    "16",
    "--model",
    "Tiny",
    "--workers",
    "0",
    "--clips",
    "3",
    "--lr",
    "0.001",
)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("videos"), groups=7)  # 10 in train, 2 in val, 2 in test


@pytest.fixture
def project(project, videos, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    project.set_path("own", videos)
    return project


@pytest.mark.parametrize("size", [2, 3])
def test_processes_share_out_what_one_alone_would_take(size):
    alone = TrainingBatches(50, 4 * size, seed=1)
    parts = [TrainingBatches(50, 4, 1, rank, size) for rank in range(size)]
    for sampler in (alone, *parts):
        sampler.epoch, sampler.start = 2, 8 * size
    together = [sum(batches, []) for batches in zip(*parts, strict=True)]
    assert together == list(alone)
    assert len(alone) == len(parts[0]) == (50 - 8 * size) // (4 * size)


def test_every_window_is_evaluated_once():
    class Videos:
        video_of_item = np.repeat(np.arange(5), 3)

    parts = [share(Videos(), rank, 4) for rank in range(4)]
    assert sorted(sum(parts, [])) == list(range(15))
    assert parts[1] == [3, 4, 5]


def test_two_processes_train_and_one_writes(project):
    done = project.spawn(*TORCHRUN, *QUICK, "--epochs", "2", "--batch-size", "2", "--snapshot", "1")
    (run,) = (project.folder / "run").iterdir()
    assert done.stderr.count("videos to frames") >= 1
    assert done.stdout.count("epoch 2/2") == done.stdout.count("test of epoch") == 1
    assert len(list(run.glob("events*"))) == 1
    assert [step for step, _ in scalars(run)["data/val_loss_epoch"]] == [1, 2]
    checkpoint = weights.load(run / "models" / "Tiny-own_epoch-2.pth")
    assert checkpoint["scheduler"]["last_epoch"] == 2 * (10 // 4)

    # What they measured together is what one alone measures.
    together = json.loads((run / "results.json").read_text())
    predictions = (run / "predictions.csv").read_text()
    project.run("train.py", "--test-only", "--workers", "0")
    alone = json.loads((run / "results.json").read_text())
    assert alone["test"].pop("loss") == pytest.approx(together["test"].pop("loss"), rel=1e-4)
    assert alone == together
    assert (run / "predictions.csv").read_text() == predictions

    # At an epoch's boundary one process takes up what two have begun, at the place in the schedule.
    project.run("train.py", "--resume", "--epochs", "3")
    checkpoint = weights.load(run / "models" / "Tiny-own_last.pth")
    assert (checkpoint["epoch"], checkpoint["scheduler"]["last_epoch"]) == (3, 3 * (10 // 2))
    assert [step for step, _ in scalars(run)["data/lr"]] == [1, 2, 3]


@pytest.mark.slow
def test_two_processes_are_interrupted_and_end_as_undisturbed_ones(project):
    flags = (*QUICK, "--epochs", "3", "--batch-size", "1")
    project.spawn(*TORCHRUN, *flags)
    whole, cut = project.folder / "run" / "run_0", project.folder / "run" / "run_1"
    last = cut / "models" / "Tiny-own_last.pth"
    (project.folder / "born.py").write_text(BORN)
    born = ("born.py", int(signal.SIGTERM), 1)  # from the first worker of each, to it and the process that started it
    stopped = project.spawn(*TORCHRUN, *born, *flags, "--workers", "1", ok=False)
    errors = stopped.stderr
    assert "Traceback" not in errors.partition("goes on from here")[0]
    assert "SIGTERM: torchrun --nproc_per_node=2 train.py --resume run/run_1 goes on from here" in errors
    assert "[rank" not in errors
    assert weights.load(last)["epoch"] < 3
    project.spawn(*TORCHRUN, "train.py", "--resume", "run/run_1", "--workers", "0")
    assert same(weights.load(last), weights.load(whole / "models" / "Tiny-own_last.pth"))
    one, other = scalars(whole), scalars(cut)
    for tag in SCALARS | {"data/lr"}:
        assert one[tag] == other[tag]


@pytest.mark.slow
def test_a_failing_process_ends_all_with_its_message(project):
    project.run("-m", "dataloaders.preprocess", "own")
    frame = next((project.folder / "data" / "own_frames" / "train").rglob("00001.jpg"))
    for path in frame.parent.iterdir():
        path.write_bytes(b"no picture")
    failed = project.spawn(*TORCHRUN, *QUICK, "--epochs", "2", "--batch-size", "5", "--workers", "1", ok=False)
    folder = frame.parent.relative_to(project.folder)
    (line,) = (line for line in failed.stderr.splitlines() if "train.py: " in line and "missing or damaged" in line)
    assert f"Delete {folder} and run python -m dataloaders.preprocess own --split group --fold 1" in line
    assert "[rank" not in failed.stderr  # no other process complains


@pytest.mark.slow
def test_a_mistake_is_told_once(project):
    refused = project.spawn(*TORCHRUN, *QUICK, "--batch-size", "6", ok=False)
    assert refused.stderr.count("train.py: ") == 1
    assert "train.py: --batch-size 6: there are training videos for 5 at most\n" in refused.stderr
    assert not list((project.folder / "data").rglob("*.jpg"))  # before any work
    assert not (project.folder / "run").exists()


def test_other_videos_than_the_first_process_has_are_refused(videos, tmp_path, monkeypatch):
    class Second(World):
        def tell(self, value):
            return value[0], value[1] | {"train": [11, "x"]}

    monkeypatch.setitem(Path.DATASETS, "own", (str(videos), str(tmp_path / "frames")))
    args = SimpleNamespace(dataset="own", split="group", fold=1, batch_size=2, test_only=False)
    with pytest.raises(ValueError, match="frames: other videos than the first process has"):
        train.load_data(args, Second(), None)
    assert len(train.load_data(args, World(), None)[0]) == 14


def test_gradients_are_those_of_all_clips(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, torch\n"
        "from network.distributed import World\n"
        "world = World.of_torchrun()\n"
        "world.join()\n"
        "torch.manual_seed(world.rank)\n"
        "network = torch.nn.Sequential(torch.nn.Linear(3, 1), torch.nn.BatchNorm1d(1))\n"
        "parallel = world.parallel(network[0])\n"
        "clips = torch.arange(12.).view(4, 3)[2 * world.rank :][:2] ** 2\n"
        "(parallel(clips) ** 2).mean().backward()\n"
        "network[1].running_mean += world.rank\n"
        "world.agree(network)\n"
        "assert network[1].running_mean == 0\n"
        "assert world.most(world.rank) == 1 and world.tell(world.rank) == 0\n"
        "if world.rank: torch.save([network[0].state_dict(), network[0].weight.grad], sys.argv[1])\n"
        "del parallel\n"
        "world.leave()\n"
    )
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    command = [sys.executable, *TORCHRUN, str(script), str(tmp_path / "said.pth")]
    subprocess.run(command, env=os.environ | {"PYTHONPATH": root, "OMP_NUM_THREADS": "1"}, check=True, timeout=120)
    state, gradient = torch.load(tmp_path / "said.pth")
    network = torch.nn.Linear(3, 1)
    network.load_state_dict(state)
    (network(torch.arange(12.0).view(4, 3) ** 2) ** 2).mean().backward()
    assert torch.allclose(network.weight.grad, gradient)
    torch.manual_seed(0)
    assert torch.equal(network.weight, torch.nn.Linear(3, 1).weight)  # that of the first process


def test_each_process_has_a_gpu_or_says_that_there_are_too_few(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    chosen = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(distributed, "find_device", str)
    assert World(3, 4, 1, 2).device("cuda") == "cuda:1"
    assert chosen == [1]
    assert World().device("cuda") == "cuda"
    assert World(3, 4, 1, 2).device("cpu") == "cpu"
    with pytest.raises(ValueError, match="4 processes need a GPU each, and there are 2"):
        World(0, 4, 0, 4).device("cuda")
    with pytest.raises(ValueError, match="leave the number out"):
        World(0, 2, 0, 2).device("cuda:0")
