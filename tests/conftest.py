"""Videos that the tests make for themselves, and a copy of the project to run as a user runs it."""

import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from dataloaders import clips
from network import MODELS

if "PYTEST_XDIST_WORKER" in os.environ:  # tests run side by side
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)

ROOT = Path(__file__).parent.parent
RIGHT_HALF_BLUE = 230
SIZES = {"C3D": 112, "R3D": 32, "R2Plus1D": 32}  # crops that each network takes, small where it may be


def numbered_frame(number, width=160, height=120):
    """A BGR image that tells its number (0..255) by its red and green, and left from right by its blue."""
    frame = np.empty((height, width, 3), np.uint8)
    frame[:] = 20, 16 * (number % 16) + 8, 16 * (number // 16) + 8
    frame[:, width // 2 :, 0] = RIGHT_HALF_BLUE
    return frame


def read_number(image):
    """The number of a numbered frame, RGB, whatever was cut out of it."""
    red, green, _ = image.reshape(-1, 3).mean(0)
    return 16 * int(red // 16) + int(green // 16)


def is_flipped(image):
    """Whether a numbered frame, RGB, is mirrored."""
    blue = image[:, :, 2].mean(0)
    return bool(blue[0] > blue[-1])


def write_video(path, frames, fps=25, fourcc="MJPG"):
    """Write BGR images, or a number of numbered frames, as a video file."""
    if isinstance(frames, int):
        frames = [numbered_frame(number) for number in range(frames)]
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*fourcc), fps, frames[0].shape[1::-1])
    for frame in frames:
        writer.write(frame)
    writer.release()
    return path


def edit_mp4(data, turned=False, durations=None):
    """An MP4 file as OpenCV writes it, made to be shown a quarter turn to the right, or with frames that last
    `durations` times as long as they did."""
    edited = b""
    while data:
        size, kind = struct.unpack(">I4s", data[:8])
        box, data = data[8:size], data[size:]
        if kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
            box = edit_mp4(box, turned, durations)
        elif kind == b"tkhd" and turned:
            box = box[:40] + struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30) + box[76:]
        elif kind == b"stts" and durations:
            unit = struct.unpack(">I", box[12:16])[0]
            box = struct.pack(">II", 0, len(durations)) + b"".join(struct.pack(">II", 1, unit * n) for n in durations)
        elif kind == b"edts" and durations:
            kind = b"free"  # it would end the video after as long as before
        edited += struct.pack(">I4s", len(box) + 8, kind) + box
    return edited


def drop_frames(data, dropped):
    """A Matroska file as OpenCV writes it, without the frames of such numbers; the others last longer."""
    data, place, number = bytearray(data), 0, 0
    while place < len(data):
        kind, start = data[place], place
        place += 9 - kind.bit_length()
        length = 9 - data[place].bit_length()
        size = int.from_bytes(data[place : place + length], "big") - (1 << 7 * length)
        place += length
        if data[start : start + 4].hex() in ("18538067", "1f43b675"):  # segment, cluster
            continue
        if kind == 0xA3:  # a frame
            if number in dropped:
                data[start] = 0xEC  # a void
            number += 1
        place += size
    return bytes(data)


def write_dataset(root, classes=("Jump", "Run"), groups=5, frames=20):
    """Write a data set in UCF101's layout, a video per class and group."""
    for name in classes:
        for group in range(1, groups + 1):
            write_video(root / name / f"v_{name}_g{group:02d}_c01.avi", frames)
    return root


def make_checkpoint(**changes):
    """What train.py writes about a run that was started but did no step."""
    torch.manual_seed(0)
    network = MODELS["R3D"](num_classes=3)
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1)
    return {
        "model": "R3D",
        "options": {},
        "classes": ["a", "b", "c"],
        "clip": clips.recipe(16),
        "state_dict": network.state_dict(),
        "normalization": network.normalize.statistics,
        "head": None,
        "videos": {},
        "optimizer": optimizer.state_dict(),
        "scheduler": {},
        "scaler": {},
        "epoch": 0,
        "sums": (0, 0, 0),
        "best": None,
        "args": {},
    } | changes


def tree(folder):
    """Every file below a folder and what is in it."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Project:
    """A copy of the scripts in an empty folder, mypath.py edited to the tests' own videos."""

    def __init__(self, folder):
        self.folder = folder
        for name in ("train.py", "inference.py", "mypath.py", "network", "dataloaders"):
            source = ROOT / name
            copy = shutil.copytree if source.is_dir() else shutil.copy
            copy(source, folder / name)

    def set_path(self, dataset, root_dir):
        with open(self.folder / "mypath.py", "a") as file:
            file.write(f"\nPath.DATASETS[{dataset!r}] = {str(root_dir), f'data/{dataset}_frames'}\n")

    def run(self, *command, ok=True):
        """Run `python ...` there without a display; its exit status must be 0, or not 0 if not `ok`."""
        environment = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "WAYLAND_DISPLAY")}
        command = [sys.executable, *map(str, command)]
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=300)
        assert (done.returncode == 0) == ok, done.stdout + done.stderr
        return done


@pytest.fixture
def mistake(tmp_path, monkeypatch, capsys):
    """Run the `main` of a script in an empty folder with flags that it must refuse; gives the one line it says."""

    def refused(script, *flags):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [script.__file__, *flags])
        with pytest.raises(SystemExit) as stop:
            script.main()
        assert stop.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line

    return refused


@pytest.fixture
def project(tmp_path):
    (tmp_path / "project").mkdir()
    return Project(tmp_path / "project")
