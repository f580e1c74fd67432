import contextlib
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest
from conftest import ROOT, read_number, tree, write_video

from dataloaders import extract

pytestmark = pytest.mark.workers


@pytest.fixture
def instead(tmp_path, monkeypatch):
    """Have workers run some code instead of decoding; the rest of what they do stays."""

    def replace(code):
        lines = "import os, signal, time", "import cv2", code
        (tmp_path / "sitecustomize.py").write_text("\n".join(lines))
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    return replace


@pytest.mark.parametrize(("length", "interval"), [(5, 1), (16, 1), (46, 3), (61, 4), (130, 4)])
def test_names_sort_in_time_order_and_every_nth_frame_is_kept(tmp_path, length, interval):
    video = write_video(tmp_path / "v.avi", length)
    assert extract.extract_frames(video, tmp_path / "frames")["frames"] == len(
        range(0, length, interval)
    )
    images = [cv2.imread(str(path)) for path in sorted((tmp_path / "frames").iterdir())]
    assert {image.shape for image in images} == {(128, 171, 3)}
    assert [read_number(image[..., ::-1]) for image in images] == list(range(0, length, interval))


@pytest.mark.parametrize("told", [0, 17, 1000])
def test_a_header_that_tells_the_wrong_length_does_not_matter(tmp_path, monkeypatch, told):
    video = write_video(tmp_path / "v.avi", 40)
    extract.extract_frames(video, tmp_path / "right")
    capture = cv2.VideoCapture

    class Liar:
        def __init__(self, *args):
            self.video = capture(*args)

        def __getattr__(self, name):
            return getattr(self.video, name)

        def get(self, prop):
            return told

    monkeypatch.setattr(cv2, "VideoCapture", Liar)
    extract.extract_frames(video, tmp_path / "wrong")
    assert tree(tmp_path / "right") == tree(tmp_path / "wrong")


def test_workers_answer_for_every_video(tmp_path):
    jobs = [
        (write_video(tmp_path / f"é {i}.avi", 10 + i), tmp_path / "out" / str(i)) for i in range(6)
    ]
    (tmp_path / "broken.avi").write_bytes(b"no video")
    jobs.append((tmp_path / "broken.avi", tmp_path / "out" / "6"))
    answers = {
        number: (answer.get("frames", 0), answer.get("skip"))
        for number, answer in extract.extract_all(jobs, 3)
    }
    assert [answers[i] for i in range(6)] == [(10 + i, None) for i in range(6)]
    assert answers[6] == (0, f"{tmp_path}/broken.avi: not a video that OpenCV can read")
    assert len(answers) == 7


def test_a_video_that_hangs_or_kills_its_worker_is_named_and_the_rest_goes_on(
    tmp_path, instead, monkeypatch
):
    instead(
        "open_ = cv2.VideoCapture\n"
        "def opened(path, *args):\n"
        "    if path.endswith('hangs.avi'): time.sleep(60)\n"
        "    if path.endswith('kills.avi'): os.kill(os.getpid(), signal.SIGKILL)\n"
        "    if path.endswith('once.avi') and not os.path.exists(path + '.seen'):\n"
        "        open(path + '.seen', 'w')\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return open_(path, *args)\n"
        "cv2.VideoCapture = opened"
    )
    monkeypatch.setattr(extract, "TIMEOUT", 4)
    names = ["a.avi", "hangs.avi", "b.avi", "kills.avi", "once.avi"]
    jobs = [(write_video(tmp_path / name, 20), tmp_path / name[:-4]) for name in names]
    answers = {
        number: (answer.get("frames", 0), answer.get("skip"))
        for number, answer in extract.extract_all(jobs, 1)
    }
    assert [answers[i] for i in (0, 2, 4)] == [(20, None)] * 3
    assert answers[1] == (0, f"{tmp_path}/hangs.avi: no new frame in 4 s")
    assert answers[3] == (0, f"{tmp_path}/kills.avi: the decoder crashed, status -9")


def test_a_worker_that_died_between_two_jobs_is_replaced(tmp_path):
    video, worker = write_video(tmp_path / "v.avi", 20), extract.Worker()
    for _ in range(2):
        assert worker.run(video, tmp_path / "v") == {"frames": 20, "repeated": False}
        worker.process.kill()
        worker.process.wait()  # the next job is written into a pipe without a reader
    worker.stop()


def test_a_slow_video_is_no_hang(tmp_path, instead, monkeypatch):
    instead("write = cv2.imwrite\ncv2.imwrite = lambda *args: time.sleep(0.4) or write(*args)")
    monkeypatch.setattr(extract, "TIMEOUT", 3)
    assert list(
        extract.extract_all([(write_video(tmp_path / "v.avi", 16), tmp_path / "v")], 1)
    ) == [(0, {"frames": 16, "repeated": False})]


def test_a_frame_that_cannot_be_written_stops_everything(tmp_path):
    resource = pytest.importorskip("resource")
    jobs = [(write_video(tmp_path / f"{i}.avi", 20), tmp_path / str(i)) for i in range(20)]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (100, limits[1])
    )  # bytes a file: as if the disk were full
    try:
        with pytest.raises(OSError, match="0/00001.jpg: cannot be written; is the disk full?"):
            list(extract.extract_all(jobs, 1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not (tmp_path / "19").exists()


def test_a_video_that_has_gone_and_a_fault_of_the_caller_stop_everything(tmp_path):
    with pytest.raises(OSError, match="none.avi: no such file"):
        list(extract.extract_all([(tmp_path / "none.avi", tmp_path / "0")], 2))

    def jobs():
        yield write_video(tmp_path / "v.avi", 5), tmp_path / "v"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(extract.extract_all(jobs(), 2))


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads /proc")
def test_workers_end_with_their_parent(tmp_path, instead):
    instead("cv2.VideoCapture = lambda *args: time.sleep(60)")
    video = write_video(tmp_path / "v.avi", 5)
    code = "import sys; from pathlib import Path; from dataloaders.extract import extract_all\n"
    code += "list(extract_all([tuple(map(Path, sys.argv[1:]))] * 2, 2))"
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(video), str(tmp_path / "v")], cwd=ROOT
    )

    def workers():
        commands = {}
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if f"PYTHONPATH={tmp_path}".encode() in (process / "environ").read_bytes().split(
                    b"\0"
                ):
                    commands[process.name] = (process / "cmdline").read_bytes()
        return [
            name
            for name, command in commands.items()
            if b"dataloaders.extract" in command.split(b"\0")
        ]

    def wait_for(count):
        deadline = time.monotonic() + 30
        while len(workers()) != count:
            assert time.monotonic() < deadline, workers()
            time.sleep(0.1)

    wait_for(2)
    parent.kill()
    parent.wait()
    wait_for(0)
