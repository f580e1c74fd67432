"""What the machine gives to worker processes: cores and shared memory."""

import multiprocessing
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import write_dataset
from test_train import QUICK

from dataloaders import workers
from dataloaders.sampling import ClipConfig
from engine import args
from engine.loaders import validate_workers


def lay_out(monkeypatch, folder, membership, files):
    """Make the control groups of a process: its file of memberships, and files below the mount."""
    (folder / "membership").write_text(membership)
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    monkeypatch.setattr(workers, "MEMBERSHIP", folder / "membership")
    monkeypatch.setattr(workers, "CGROUPS", folder)


V1 = "4:memory:/job\n3:cpu,cpuacct:/job/step\n1:name=systemd:/\n"
V1_FILES = {
    "cpu/job/step/cpu.cfs_quota_us": "-1\n",
    "cpu/job/step/cpu.cfs_period_us": "100000\n",
    "cpu/job/cpu.cfs_quota_us": "300000\n",
    "cpu/job/cpu.cfs_period_us": "100000\n",
}


@pytest.mark.parametrize(
    ("membership", "files", "cores"),
    [
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 64),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),  # a part of a core is one more worker
        ("0::/\n", {"cpu.max": "10000 100000\n"}, 1),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "400000 100000\n"}, 4),
        ("0::/host/path\n", {"cpu.max": "500000 100000\n"}, 5),  # in a container
        (V1, V1_FILES, 3),
        (V1, {}, 64),
        ("2:cpu:/\n", {"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "25000"}, 2),
        ("0::/\n", {}, 64),
        ("", {}, 64),
    ],
)
def test_the_cores_are_no_more_than_the_quota(monkeypatch, tmp_path, membership, files, cores):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    lay_out(monkeypatch, tmp_path, membership, files)
    assert workers.available_cores() == cores


def test_the_cores_are_those_of_the_affinity(monkeypatch, tmp_path):
    monkeypatch.setattr(workers, "MEMBERSHIP", tmp_path / "none")
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 5}, raising=False)
    assert workers.available_cores() == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    assert workers.available_cores() == 64


def test_the_loader_has_as_many_workers_as_there_are_cores(monkeypatch):
    for cores, default in ((3, 3), (64, 8)):
        monkeypatch.setattr(args, "available_cores", lambda cores=cores: cores)
        assert args.get_args_parser().parse_args([]).workers == default


def no_locks(*args, **options):
    raise FileNotFoundError(2, "No such file or directory")


@pytest.mark.parametrize("fault", ["none", "tiny"])
def test_without_shared_memory_a_run_needs_no_workers(project, tmp_path, monkeypatch, fault):
    project.set_path("own", write_dataset(tmp_path / "videos"))
    if fault == "none":
        for name in ("Lock", "RLock", "Queue", "Semaphore", "Event"):
            monkeypatch.setattr(multiprocessing, name, no_locks)
        reason = "there is no shared memory (No such file or directory)"
    else:
        monkeypatch.setattr(workers, "SHARED_MEMORY", Path(tmp_path))
        # Two workers, two batches each, of four clips of 16 frames of 16x16 pixels in 3 colours.
        reason = f"0.20 MB of shared memory are needed, {tmp_path} has 0.20 MB"
        usage = SimpleNamespace(free=2 * 2 * 4 * 16 * 16 * 16 * 3 - 1)
        monkeypatch.setattr(workers.shutil, "disk_usage", lambda path: usage)
    errors = project.run(*QUICK, "--workers", "2", ok=False).stderr
    assert errors.splitlines()[-1] == (
        f"train.py: --workers 2: {reason}; --workers 0 needs none, and in a container "
        "docker run --shm-size 8g gives more"
    )
    assert not (project.folder / "run").exists()
    output = project.run(*QUICK, "--epochs", "1", "--clips-per-video", "1").stdout
    assert "video top-1" in output


def test_the_shared_memory_is_for_the_batches_ahead_of_all_workers_of_the_machine(monkeypatch):
    needed = []
    monkeypatch.setattr("engine.loaders.describe_missing_shared_memory", needed.append)
    validate_workers(3, 4, ClipConfig.from_flags(32, clip_len=8), processes=2)
    # Two processes with three workers, each two batches ahead, of four clips.
    assert needed == [2 * 3 * 2 * 4 * (8 * 32 * 32 * 3)]
