"""Videos that the tests make for themselves, and a copy of the project to run as a user runs it."""

import contextlib
import importlib
import io
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
from dataclasses import asdict
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from tiny import Tiny

import mypath
from dataloaders import extract, preprocess
from dataloaders.errors import DataError
from dataloaders.frames import DataSettings
from dataloaders.sampling import ClipConfig
from engine import report
from engine.checkpoint import TrainState, save_checkpoint
from network import MODELS
from recognition import inference_network, loading

if "PYTEST_XDIST_WORKER" in os.environ:  # tests run side by side
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    cv2.setNumThreads(1)

NETWORKS = [
    "R3D",
    "R2Plus1D",
    pytest.param("C3D", marks=pytest.mark.slow),
]  # C3D takes seconds a clip
TINY_AND_SLOW = [
    "Tiny",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("C3D", "R3D", "R2Plus1D")),
]
MODELS["Tiny"] = Tiny

ROOT = Path(__file__).parent.parent
RIGHT_HALF_BLUE = 230
UNITS_A_FRAME = 512  # of time, in an MP4 file of 25 frames a second as OpenCV writes it
SIZES = {
    "C3D": 112,
    "R3D": 32,
    "R2Plus1D": 32,
    "Tiny": 16,
}  # crops that each network takes, small where it may be


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


@cache
def numbered_video(suffix, frames, fps, fourcc):
    """The bytes of a video of numbered frames."""
    with tempfile.TemporaryDirectory() as folder:
        images = [numbered_frame(number) for number in range(frames)]
        return write_video(Path(folder) / f"v{suffix}", images, fps, fourcc).read_bytes()


def write_video(path, frames, fps=25, fourcc="MJPG"):
    """Write BGR images, or a number of numbered frames, as a video file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(frames, int):
        path.write_bytes(numbered_video(path.suffix, frames, fps, fourcc))
        return path
    writer = cv2.VideoWriter(
        str(path), cv2.VideoWriter_fourcc(*fourcc), fps, frames[0].shape[1::-1]
    )
    for frame in frames:
        writer.write(frame)
    writer.release()
    return path


def read_video(path):
    """The frames of a video file, BGR, as OpenCV decodes them."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    frames = []
    while (result := capture.read())[0]:
        frames.append(result[1])
    return frames


def edit_mp4(data, edit):
    """An MP4 file as OpenCV writes it, in which each box has become what `edit(kind, content)` gives."""
    edited = b""
    while data:
        size, kind = struct.unpack(">I4s", data[:8])
        box, data = data[8:size], data[size:]
        if kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
            box = edit_mp4(box, edit)
        box = edit(kind, box)
        edited += struct.pack(">I4s", len(box) + 8, kind) + box
    return edited


def with_matrix(a, b, c, d, of_movie=False):
    """An edit of an MP4 file: it is shown by such a display matrix, a quarter turn to the right by (0, 1, -1, 0)."""
    place = 36 if of_movie else 40

    def edit(kind, box):
        numbers = [int(number * (1 << 16)) for number in (a, b, 0, c, d, 0, 0, 0, 1 << 14)]
        matrix = struct.pack(">9i", *numbers)
        return (
            box[:place] + matrix + box[place + 36 :]
            if kind == (b"mvhd" if of_movie else b"tkhd")
            else box
        )

    return edit


def with_durations(durations):
    """An edit of an MP4 file: its frames last so many times as long as they did."""

    def edit(kind, box):
        if kind == b"stts":
            unit = struct.unpack(">I", box[12:16])[0]
            return struct.pack(">II", 0, len(durations)) + b"".join(
                struct.pack(">II", 1, unit * n) for n in durations
            )
        return (
            b"\0" * len(box) if kind == b"edts" else box
        )  # it would end the video after as long as before

    return edit


def with_edit_list(first, frames, delay=0):
    """An edit of an MP4 file of `frames` frames: only those from `first` on are shown, after so many milliseconds."""

    def edit(kind, box):
        if kind == b"tkhd":
            duration = struct.unpack(">I", box[20:24])[0]
            return (
                box[:20]
                + struct.pack(">I", delay + duration * (frames - first) // frames)
                + box[24:]
            )
        if (
            kind == b"edts"
        ):  # with one box, elst: version, one entry, its duration, where it starts, its rate
            duration = struct.unpack(">I", box[16:20])[0]
            start = struct.unpack(">i", box[20:24])[0] + UNITS_A_FRAME * first
            entries = [(delay, -1)] * bool(delay) + [(duration * (frames - first) // frames, start)]
            entries = b"".join(struct.pack(">IiI", *entry, 1 << 16) for entry in entries)
            content = b"\0" * 4 + struct.pack(">I", 1 + bool(delay)) + entries
            return struct.pack(">I4s", len(content) + 8, b"elst") + content
        return box

    return edit


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
    network = Tiny(num_classes=3)
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1)
    return {
        "model": "Tiny",
        "options": {},
        "classes": ["a", "b", "c"],
        "clip": asdict(ClipConfig.from_flags(16)),
        "state_dict": network.state_dict(),
        "normalization": network.normalize.statistics,
        "head": None,
        "videos": {},
        "optimizer": optimizer.state_dict(),
        "scheduler": {},
        "scaler": {},
        "train_state": asdict(TrainState()),
        "args": {},
    } | changes


def some_slow(names, *fast):
    """Names as parameters of a test, all but some for the slow tests."""
    assert set(fast) <= set(names)
    return [name if name in fast else pytest.param(name, marks=pytest.mark.slow) for name in names]


def data_settings(root, output_dir, **flags):
    """The settings of a data set of the tests, with frames for clips by `ClipConfig.from_flags`."""
    return DataSettings("own", root, output_dir, ClipConfig.from_flags(**flags))


def decoded_names(monkeypatch):
    """Return a list to which the names of the videos are added that are decoded from here on."""
    names, extract_all = [], preprocess.extract_all

    def spy(jobs, processes):
        def noted():
            for job in jobs:
                names.append(job.source.name)
                yield job

        return extract_all(noted(), processes)

    monkeypatch.setattr(preprocess, "extract_all", spy)
    return names


def make_newer(path):
    """Have a file seem to have been changed."""
    os.utime(path, (path.stat().st_mtime + 10,) * 2)


def shown(folder):
    """The numbers of the frames in a frame folder."""
    return [read_number(cv2.imread(str(path))[..., ::-1]) for path in sorted(folder.iterdir())]


def tree(folder):
    """Every file below a folder and what is in it."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


MAINS = {"train.py": "train", "inference.py": "inference"}  # by how a user names them


class Project:
    """An empty folder in which the scripts run as a user runs them, mypath.py edited to the tests' own videos."""

    def __init__(self, folder):
        self.folder, self.datasets = folder, {}

    def set_path(self, dataset, root_dir):
        self.datasets[dataset] = str(root_dir), f"data/{dataset}_frames"

    def add_entry(self, dataset, **fields):
        """Add to what mypath.py says of a data set."""
        entry = self.datasets[dataset]
        if isinstance(entry, tuple):
            entry = {"videos": entry[0], "frames": entry[1]}
        self.datasets[dataset] = entry | fields

    def run(self, *command, ok=True):
        """Run what `python ...` would in this process; its exit status must be 0, or not 0 if not `ok`."""
        script, *flags = map(str, command)
        if script == "-m":
            script, *flags = flags
        main = importlib.import_module(MAINS.get(script, script)).main
        streams = [
            io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors=errors, write_through=True)
            for errors in ("strict", "backslashreplace")
        ]
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(streams[0]),
            contextlib.redirect_stderr(streams[1]),
            usual_signals(),
        ):
            patch.chdir(self.folder)
            patch.setattr(mypath.Path, "DATASETS", mypath.Path.DATASETS | self.datasets)
            patch.delenv("DISPLAY", raising=False)
            patch.delenv("WAYLAND_DISPLAY", raising=False)
            try:
                main(flags)
                status = 0
            except SystemExit as stop:
                status = stop.code or 0
        output, errors = (stream.buffer.getvalue().decode() for stream in streams)
        assert (status == 0) == ok, output + errors
        return SimpleNamespace(returncode=status, stdout=output, stderr=errors)

    def copy(self):
        """Copy the scripts into the folder, once, with the paths and the tiny network that the tests know."""
        if (self.folder / "train.py").exists():
            return
        for name in (
            "train.py",
            "inference.py",
            "mypath.py",
            "network",
            "dataloaders",
            "engine",
            "recognition",
        ):
            source = ROOT / name
            copy = shutil.copytree if source.is_dir() else shutil.copy
            copy(source, self.folder / name)
        shutil.copy(ROOT / "tests" / "tiny.py", self.folder / "network" / "tiny.py")
        with open(self.folder / "network" / "__init__.py", "a") as file:
            file.write('\nfrom network.tiny import Tiny\n\nMODELS["Tiny"] = Tiny\n')
        with open(self.folder / "dataloaders" / "copies.py", "a") as file:
            file.write("\n\ndef find_copies(videos, folders):\n    return []\n")
        with open(self.folder / "mypath.py", "a") as file:
            file.write(f"\nPath.DATASETS |= {self.datasets!r}\n")

    @contextlib.contextmanager
    def start(self, *command, **options):
        """Start `python ...` there in a process and a session of its own, whose output is read through pipes; it is
        gone afterwards."""
        self.copy()
        environment = {
            key: value
            for key, value in os.environ.items()
            if key not in ("DISPLAY", "WAYLAND_DISPLAY")
        }
        options = {
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
            "start_new_session": True,
        } | options
        command = [sys.executable, "-u", *map(str, command)]
        with usual_signals():  # which the process inherits
            process = subprocess.Popen(command, cwd=self.folder, env=environment, **options)
        with process:
            try:
                yield process
            finally:
                process.kill()

    def spawn(self, *command, ok=True):
        """Run `python ...` there to its end in a process of its own."""
        with self.start(*command) as process:
            output, errors = process.communicate(timeout=300)
        assert (process.returncode == 0) == ok, output + errors
        return SimpleNamespace(returncode=process.returncode, stdout=output, stderr=errors)


@contextlib.contextmanager
def usual_signals():
    """Ctrl-C and SIGTERM do what they do in a terminal, also where a shell's background job ignores them; afterwards
    they do what they did."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def pytest_collection_modifyitems(items):
    """Tests of the GPU come first: a process that has once hidden it does not find it again."""
    items.sort(key=lambda item: item.get_closest_marker("cuda") is None)


@pytest.fixture(autouse=True)
def gpu(request, monkeypatch):
    """Hide the GPU from every test that is not marked `cuda`; skip those that are where there is none."""
    if request.node.get_closest_marker("cuda"):
        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA GPU")
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture(autouse=True)
def compute_in_float32(monkeypatch):
    """Recognise in `float32` on every machine; tests of bfloat16 ask for it."""
    monkeypatch.setattr(inference_network, "has_fast_bfloat16", lambda: False)


def extract_all_here(jobs, processes):
    """What `extract_all` does, in this process."""
    for number, job in enumerate(jobs):
        try:
            yield number, extract.extract_frames(job)
        except DataError as error:
            yield number, error


@pytest.fixture(autouse=True)
def decode_here(request, monkeypatch):
    """Decode videos in this process, as processes of their own take longer to start than to decode these; tests of
    the workers themselves are marked `workers`."""
    if not request.node.get_closest_marker("workers"):
        for module in (extract, preprocess):
            monkeypatch.setattr(module, "extract_all", extract_all_here)


def take_nothing_for_copies(monkeypatch):
    """The videos of the tests show the same numbered frames, and are no copies of each other for it."""
    monkeypatch.setattr(preprocess, "find_copies", lambda records, folders: [])


@pytest.fixture(autouse=True)
def no_copies(monkeypatch):
    take_nothing_for_copies(monkeypatch)


@pytest.fixture(autouse=True)
def no_pictures(request, monkeypatch):
    """Log no animations and no figures, which take half the time of a tiny run; tests of them are marked `pictures`."""
    if not request.node.get_closest_marker("pictures"):
        black = np.zeros((8, 8, 3), np.uint8)
        monkeypatch.setattr(report, "animate", lambda clips, captions: [black])
        monkeypatch.setattr(report, "log_predictions", lambda *_: None)


@pytest.fixture
def mistake(tmp_path, monkeypatch, capsys):
    """Run the `main` of a script in an empty folder with flags that it must refuse; gives the one line it says."""

    def refused(script, *flags):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SystemExit) as stop, usual_signals():
            script.main(flags)
        assert stop.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line

    return refused


@pytest.fixture
def project(tmp_path):
    (tmp_path / "project").mkdir()
    return Project(tmp_path / "project")


@pytest.fixture
def brightness(tmp_path, monkeypatch):
    """A checkpoint of a model that knows how bright a clip is, with the classes a, b and c."""
    from brightness import BrightnessModel

    monkeypatch.setattr(loading, "restore_model", lambda content, file: BrightnessModel())
    save_checkpoint(make_checkpoint(), tmp_path / "brightness.pth")
    return tmp_path / "brightness.pth"
