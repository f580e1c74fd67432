import json
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from configs import train_config
from conftest import data_settings, write_dataset
from test_train import SCALARS, SIGNAL_AT_FORK, is_equal, last_checkpoint, progress, scalars

from dataloaders.records import VideoRecord
from engine.args import get_args_parser
from engine.checkpoint import load_checkpoint
from engine.data import SplitRule, largest_batch_size, prepare_data
from engine.distributed import Distributed
from engine.errors import Stopped, UsageError
from engine.loaders import build_loaders, choose_batch_size

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
    "--clips-per-video",
    "3",
    "--lr",
    "0.001",
)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return write_dataset(
        tmp_path_factory.mktemp("videos"), groups=7
    )  # 10 in train, 2 in val, 2 in test


@pytest.fixture
def project(project, videos, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    project.set_path("own", videos)
    return project


@pytest.mark.slow
def test_two_processes_train_and_one_writes(project):
    done = project.spawn(*TORCHRUN, *QUICK, "--epochs", "2", "--batch-size", "2", "--snapshot", "1")
    (run,) = (project.folder / "run").iterdir()
    assert done.stderr.count("videos to frames") >= 1
    assert done.stdout.count("epoch 2/2") == done.stdout.count("test of epoch") == 1
    assert len(list(run.glob("events*"))) == 1
    assert [step for step, _ in scalars(run)["data/val_loss_epoch"]] == [1, 2]
    checkpoint = load_checkpoint(run / "models" / "Tiny-own_epoch-2.pth")
    assert checkpoint["scheduler"]["last_epoch"] == 2 * (10 // 4)

    # What they have measured together is what a single process measures.
    together = json.loads((run / "results.json").read_text())
    predictions = (run / "predictions.csv").read_text()
    project.run("train.py", "--test-only", "--workers", "0")
    single = json.loads((run / "results.json").read_text())
    assert single["test"].pop("loss") == pytest.approx(together["test"].pop("loss"), rel=1e-4)
    assert single == together
    assert (run / "predictions.csv").read_text() == predictions

    # After an epoch a single process resumes what two have begun, at its place in the schedule.
    project.run("train.py", "--resume", "--epochs", "3")
    assert progress(last_checkpoint(run)) == (3, 0)
    assert load_checkpoint(last_checkpoint(run))["scheduler"]["last_epoch"] == 3 * (10 // 2)
    assert [step for step, _ in scalars(run)["data/lr"]] == [1, 2, 3]


@pytest.mark.slow
def test_two_processes_are_interrupted_and_end_as_undisturbed_ones(project):
    flags = (*QUICK, "--epochs", "3", "--batch-size", "1")
    project.spawn(*TORCHRUN, *flags)
    undisturbed, interrupted = project.folder / "run" / "run_0", project.folder / "run" / "run_1"
    (project.folder / "signal_at_fork.py").write_text(SIGNAL_AT_FORK)
    # From the first worker of each rank, to it and the process that started it.
    stopped = project.spawn(
        *TORCHRUN, "signal_at_fork.py", int(signal.SIGTERM), 1, *flags, "--workers", "1", ok=False
    )
    errors = stopped.stderr
    assert "Traceback" not in errors.partition("continues the run")[0]
    assert (
        "SIGTERM: torchrun --nproc_per_node=2 train.py --resume run/run_1 continues the run"
        in errors
    )
    assert "[rank" not in errors
    assert progress(last_checkpoint(interrupted))[0] < 3
    project.spawn(*TORCHRUN, "train.py", "--resume", "run/run_1", "--workers", "0")
    assert is_equal(*(load_checkpoint(last_checkpoint(run)) for run in (undisturbed, interrupted)))
    one, other = scalars(undisturbed), scalars(interrupted)
    for tag in SCALARS | {"data/lr"}:
        assert one[tag] == other[tag]


@pytest.mark.slow
def test_a_failing_process_ends_all_with_its_message(project):
    project.run("-m", "dataloaders.preprocess", "own")
    frames_dir = project.folder / "data" / "own_frames" / "16x4_171x128"
    frame = next((frames_dir / "train").rglob("00001.jpg"))
    for path in frame.parent.iterdir():
        path.write_bytes(b"not an image")
    failed = project.spawn(
        *TORCHRUN, *QUICK, "--epochs", "2", "--batch-size", "5", "--workers", "1", ok=False
    )
    folder = frame.parent.relative_to(project.folder)
    (line,) = (
        line
        for line in failed.stderr.splitlines()
        if "train.py: " in line and "missing or damaged" in line
    )
    assert line.endswith(
        f"; delete {folder} and start again, which extracts the frames of that video"
    )


@pytest.mark.slow
def test_a_mistake_is_printed_once(project):
    refused = project.spawn(*TORCHRUN, *QUICK, "--batch-size", "6", ok=False)
    assert refused.stderr.count("train.py: ") == 1
    assert "train.py: --batch-size 6: there are training videos for 5 at most\n" in refused.stderr
    assert not list((project.folder / "data").rglob("*.jpg"))  # before any work
    assert not (project.folder / "run").exists()


def test_other_videos_than_those_of_rank_0_are_refused(videos, tmp_path):
    class OtherVideosOnRank0(Distributed):
        def broadcast_object(self, value):
            if isinstance(value, tuple):  # the classes, and what videos there are
                return value[0], value[1] | {"train": [11, "x"]}
            return value

    flags = [
        "--dataset",
        "own",
        "--split",
        "group",
        "--batch-size",
        "2",
        "--clips-per-video",
        "1",
        "--workers",
        "0",
    ]
    args = get_args_parser().parse_args(flags)
    settings = data_settings(videos, tmp_path / "frames")
    with pytest.raises(UsageError, match="frames: not the videos that rank 0 has"):
        prepare_data(args, settings, SplitRule("group", 1), OtherVideosOnRank0())
    data = prepare_data(args, settings, SplitRule("group", 1), Distributed())
    config = train_config(batch_size=choose_batch_size(args, data, Distributed()))
    device = torch.device("cpu")
    loaders = build_loaders(config, data, Distributed(), workers=0, device=device)
    parts = (loaders.train, loaders.val, loaders.test)
    assert [len(part.dataset.sources) for part in parts] == [10, 2, 2]


@pytest.mark.slow
def test_gradients_are_those_of_all_clips(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, torch\n"
        "from engine.distributed import Distributed\n"
        "from engine.errors import Stopped, StopSignal\n"
        "distributed = Distributed.from_env()\n"
        "distributed.init()\n"
        "torch.manual_seed(distributed.rank)\n"
        "model = torch.nn.Sequential(torch.nn.Linear(3, 1), torch.nn.BatchNorm1d(1))\n"
        "ddp_model = distributed.wrap_ddp(model[0])\n"
        "clips = torch.arange(12.).view(4, 3)[2 * distributed.rank :][:2] ** 2\n"
        "(ddp_model(clips) ** 2).mean().backward()\n"
        "model[1].running_mean += distributed.rank\n"
        "distributed.broadcast_model(model)\n"
        "assert model[1].running_mean == 0\n"
        "assert distributed.all_reduce_max(distributed.rank) == 1\n"
        "assert distributed.broadcast_object(distributed.rank) == 0\n"
        "sums = torch.tensor([1.0, distributed.rank]), torch.tensor(2 + distributed.rank)\n"
        "for total in sums:\n"
        "    distributed.all_reduce_sum(total)\n"
        "assert sums[0].tolist() == [2, 1] and sums[1] == 5\n"
        "stop_signal = StopSignal()\n"
        "distributed.raise_if_stopped(stop_signal)\n"
        "stop_signal.signum = 15 if distributed.rank else None\n"
        "try:\n"
        "    distributed.raise_if_stopped(stop_signal)\n"
        "    raise SystemExit(1)\n"
        "except Stopped as stopped:\n"
        "    assert stopped.signum == 15\n"
        "if distributed.rank: torch.save([model[0].state_dict(), model[0].weight.grad], sys.argv[1])\n"
        "del ddp_model\n"
        "distributed.destroy()\n"
    )
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    command = [sys.executable, *TORCHRUN, str(script), str(tmp_path / "saved.pth")]
    subprocess.run(
        command,
        env=os.environ | {"PYTHONPATH": root, "OMP_NUM_THREADS": "1"},
        check=True,
        timeout=120,
    )
    state, gradient = torch.load(tmp_path / "saved.pth")
    model = torch.nn.Linear(3, 1)
    model.load_state_dict(state)
    (model(torch.arange(12.0).view(4, 3) ** 2) ** 2).mean().backward()
    assert torch.allclose(model.weight.grad, gradient)
    torch.manual_seed(0)
    assert torch.equal(model.weight, torch.nn.Linear(3, 1).weight)  # that of rank 0


def test_a_single_process_needs_no_process_group():
    single = Distributed()
    model, total = torch.nn.Linear(3, 1), torch.tensor(5)
    single.init()
    single.barrier()
    single.all_reduce_sum(total)
    single.broadcast_model(model)
    assert single.is_main
    assert single.wrap_ddp(model) is model
    assert (total, single.all_reduce_max(3), single.broadcast_object("a")) == (5, 3, "a")
    single.raise_if_stopped(None)
    with pytest.raises(Stopped):
        single.raise_if_stopped(SimpleNamespace(signum=2))
    single.destroy()


@pytest.mark.parametrize(("is_launched", "expected"), [(True, ["gloo"]), (False, [])])
def test_a_single_process_of_torchrun_has_a_process_group(monkeypatch, is_launched, expected):
    backends = []
    monkeypatch.setattr(torch.distributed, "is_torchelastic_launched", lambda: is_launched)
    monkeypatch.setattr(
        torch.distributed, "init_process_group", lambda backend, **options: backends.append(backend)
    )
    Distributed().init()
    assert backends == expected


def test_the_environment_of_torchrun_is_read(monkeypatch):
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    assert Distributed.from_env() == Distributed()
    for name, value in zip(names, (3, 4, 1, 2), strict=True):
        monkeypatch.setenv(name, str(value))
    assert Distributed.from_env() == Distributed(
        rank=3, world_size=4, local_rank=1, local_world_size=2
    )
    assert not Distributed.from_env().is_main


def test_each_process_has_a_gpu_or_there_are_too_few(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    selected = []
    monkeypatch.setattr(torch.cuda, "set_device", selected.append)
    monkeypatch.setattr(torch, "ones", lambda size, device: torch.tensor(1.0))
    assert Distributed(3, 4, 1, 2).select_device("cuda") == torch.device("cuda:1")
    assert selected == [1]
    assert Distributed().select_device("cuda") == torch.device("cuda")
    assert Distributed(3, 4, 1, 2).select_device("cpu") == torch.device("cpu")
    with pytest.raises(UsageError, match="4 processes need a GPU each, and there are 2"):
        Distributed(0, 4, 0, 4).select_device("cuda")
    with pytest.raises(UsageError, match="leave the number out"):
        Distributed(0, 2, 0, 2).select_device("cuda:0")


def test_the_training_videos_are_shared_by_processes_and_batches_of_a_step():
    records = [
        VideoRecord("train" if number < 25 else "val", "Run", f"{number}", "g", f"{number}.avi")
        for number in range(30)
    ]

    def largest(batch_size, **flags):
        args = SimpleNamespace(batch_size=batch_size, accumulate=2, repeat=1, test_only=False)
        return largest_batch_size(SimpleNamespace(**{**vars(args), **flags}), records, three)

    three = Distributed(world_size=3)
    assert largest(None) == largest(4) == largest(5, test_only=True) == 4  # 3 * 2 * 4 of 25
    assert largest(8, accumulate=1) == 8
    assert largest(5, repeat=2) == 8  # 3 * 2 * 8 of 50
    with pytest.raises(UsageError, match="^--batch-size 5 --accumulate 2: .* for 4 at most$"):
        largest(5)
