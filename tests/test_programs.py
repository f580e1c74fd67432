"""Recognition inside other programs: threads, forks, web servers, and what they hand in."""

import contextlib
import io
import json
import logging
import os
import signal
import sqlite3
import sys
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import pytest
import torch
from conftest import make_checkpoint, some_slow, usual_signals, write_dataset, write_video

import inference
import train
from dataloaders.errors import DataError
from engine.checkpoint import save_checkpoint
from engine.errors import UsageError
from inference import Recognizer
from recognition.frames import ImageFrame

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A checkpoint of a network whose features and probabilities differ from video to video."""
    content = make_checkpoint()
    torch.manual_seed(1)
    content["state_dict"]["fc.weight"].normal_(std=3)
    file = tmp_path_factory.mktemp("model") / "model.pth"
    save_checkpoint(content, file)
    return file


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Eight videos, each of a pattern of its own."""
    folder = tmp_path_factory.mktemp("videos")
    rng = np.random.default_rng(0)
    files = []
    for number in range(8):
        pattern = rng.integers(0, 256, (6, 8, 3), np.uint8)
        images = []
        for shift in range(70):
            rolled = np.roll(pattern, shift // 4, axis=1)
            images.append(cv2.resize(rolled, (160, 120), interpolation=cv2.INTER_NEAREST))
        files.append(write_video(folder / f"{number}.avi", images))
    return files


def images_of(video):
    capture = cv2.VideoCapture(str(video))
    images = []
    while (result := capture.read())[0]:
        images.append(result[1])
    return images


def probabilities(windows):
    return [[guess["probability"] for guess in window["top_k"]] for window in windows]


def slow_down(recognizer):
    """Let other threads call the model while its last layer computes."""

    def forward(x):
        time.sleep(0.005)
        return known_forward(x)

    known_forward = recognizer.model.fc.forward
    recognizer.model.fc.forward = forward


def test_each_of_many_threads_gets_its_own_features_and_windows(checkpoint, videos):
    recognizer = Recognizer(checkpoint, stride=4)
    expected = [recognizer.predict(video, features=True) for video in videos]
    slow_down(recognizer)

    def work(number):
        video = number % 8
        found = recognizer.predict(videos[video], features=True, grad_cam=number % 3 == 0)
        np.testing.assert_allclose(found["features"], expected[video]["features"], atol=1e-4)
        return probabilities(found["windows"])

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(work, range(24)))
    for number, windows in enumerate(found):
        wanted = probabilities(expected[number % 8]["windows"])
        np.testing.assert_allclose(windows, wanted, atol=1e-4)


@pytest.mark.parametrize("size", [(171, 128), (160, 120)])
def test_images_belong_to_the_caller_again_when_the_next_is_asked_for(checkpoint, videos, size):
    recognizer = Recognizer(checkpoint)
    images = [cv2.resize(image, size) for image in images_of(videos[0])]
    expected = list(recognizer.stream([image.copy() for image in images]))
    before = [image.copy() for image in images]

    def one_buffer():
        buffer = np.empty_like(images[0])
        for image in images:
            buffer[:] = image
            yield buffer
            buffer[:] = 0

    assert list(recognizer.stream(one_buffer())) == expected
    assert list(recognizer.stream(images)) == expected
    assert all((image == copy).all() for image, copy in zip(images, before, strict=True))


@pytest.mark.parametrize(("smooth", "ahead"), [(1, 0), (3, 1)])
def test_a_window_comes_with_its_last_frame_and_leaving_waits_for_nobody(checkpoint, smooth, ahead):
    def frames():
        for _ in range(61 + 30 * ahead):
            taken.append(threading.get_ident())
            yield np.zeros((48, 64, 3), np.uint8)
        raise AssertionError("another frame is asked for")

    taken = []
    threads = threading.active_count()
    for window in Recognizer(checkpoint, stride=30, smooth=smooth).stream(frames(), fps=50):
        assert (window["start"], window["end"]) == (0, 61 / 50)
        break
    assert set(taken) == {threading.get_ident()}
    assert threading.active_count() == threads


def test_frames_are_taken_in_the_thread_of_the_caller(checkpoint, videos):
    table = sqlite3.connect(":memory:")  # which is of no use in another thread
    table.execute("create table frames(png blob)")
    for image in images_of(videos[0]):
        table.execute("insert into frames values(?)", [cv2.imencode(".png", image)[1].tobytes()])
    rows = table.execute("select png from frames")
    images = (cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR) for (png,) in rows)
    assert len(list(Recognizer(checkpoint).stream(images))) == 2


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf"), "25", None])
def test_a_bad_rate_is_one_line_that_names_it(checkpoint, fps):
    with pytest.raises(UsageError, match=f"^fps {fps}: must be a number") as caught:
        Recognizer(checkpoint).stream([], fps=fps)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("image", "found"),
    [
        (None, "a NoneType"),
        ("v.avi", "a str"),
        (np.zeros((48, 64, 4), np.uint8), r"uint8 \(48, 64, 4\)"),
        (np.zeros((48, 64, 3), np.float32), r"float32 \(48, 64, 3\)"),
        (np.zeros((0, 64, 3), np.uint8), r"uint8 \(0, 64, 3\)"),
        (np.zeros(64, np.uint8), r"uint8 \(64,\)"),
    ],
)
def test_what_is_no_image_is_one_line_that_names_its_place(checkpoint, image, found):
    good = np.zeros((48, 64, 3), np.uint8)
    with pytest.raises(DataError, match=rf"^frames\[2\]: not an image, .*, but {found}$"):
        list(Recognizer(checkpoint).stream([good, good, image]))


def test_an_image_of_another_library_is_named(checkpoint):
    from PIL import Image

    with pytest.raises(DataError, match=r"^frames\[0\]: not an image, .*, but a Image$"):
        list(Recognizer(checkpoint).stream([Image.new("RGB", (64, 48))]))


def test_grey_images_are_seen_as_their_copies_in_three_colours(checkpoint, videos):
    recognizer = Recognizer(checkpoint)
    grey = [cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) for image in images_of(videos[0])]
    expected = list(recognizer.stream([np.stack([image] * 3, axis=2) for image in grey]))
    assert list(recognizer.stream(grey)) == expected
    assert list(recognizer.stream([image[:, :, None] for image in grey])) == expected


def wait_for(pid, seconds=60):
    """The exit status of a child; None, and it is killed, where it does not end."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def fork(work):
    """Run a function in a forked child, whose exit status is 0 where it returns true."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        status = 0 if work() else 2
    finally:
        os._exit(status)


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("num_threads", some_slow([0, 3], 3))
def test_forked_children_predict_right_also_while_other_threads_predict(
    checkpoint, videos, tmp_path, num_threads
):
    torch_threads = torch.get_num_threads()
    torch.set_num_threads(2)  # whose pool a child does not have
    recognizer = Recognizer(checkpoint, stride=8)
    expected = [recognizer.predict(video, features=True, grad_cam=True) for video in videos]
    images = images_of(videos[0])
    expected_windows = probabilities(recognizer.stream(images))
    is_done = threading.Event()

    def keep_busy(number):
        while not is_done.is_set():
            recognizer.predict(videos[number], tmp_path / f"{number}.mp4", grad_cam=True)

    def is_right(number):
        target = tmp_path / f"child_{number}.mp4" if number % 2 else None
        found = recognizer.predict(videos[number], target, features=True, grad_cam=True)
        windows = probabilities(recognizer.stream(images))
        return np.allclose(
            found["features"], expected[number]["features"], atol=1e-4
        ) and np.allclose(windows, expected_windows, atol=1e-4)

    threads = [threading.Thread(target=keep_busy, args=[number]) for number in range(num_threads)]
    for thread in threads:
        thread.start()
    try:
        children = [fork(lambda number=number: is_right(number)) for number in range(8)]
        assert [wait_for(pid) for pid in children] == [0] * 8
    finally:
        is_done.set()
        for thread in threads:
            thread.join()
        torch.set_num_threads(torch_threads)


class ForkingSource:
    """A source of 70 frames that forks before the last one, as one that starts a program may do."""

    name = "a source"
    fps = 25
    num_frames = 70
    duration = 2.8
    pixel_aspect = 1.0
    is_live = False

    def frames(self, start=0.0, end=float("inf")):
        for number in range(70):
            if number == 69:
                assert wait_for(fork(lambda: True)) == 0
            yield ImageFrame(number / 25, np.zeros((48, 64, 3), np.uint8))

    def close(self):
        pass


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_what_gives_the_frames_may_fork_itself(checkpoint):
    recognizer = Recognizer(checkpoint)
    images = (frame.image for frame in ForkingSource().frames())
    assert len(list(recognizer.stream(images))) == 2
    assert recognizer.predict(ForkingSource())["frames"] == 70


class RecognitionHandler(BaseHTTPRequestHandler):
    """Answers the path of a video by its features."""

    def do_GET(self):
        result = self.server.recognizer.predict(self.path, features=True)
        body = json.dumps(result["features"].tolist()).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def test_a_web_server_answers_eight_requests_at_once_each_with_its_own_features(checkpoint, videos):
    recognizer = Recognizer(checkpoint, stride=4)
    expected = [recognizer.predict(video, features=True)["features"] for video in videos]
    slow_down(recognizer)
    with ThreadingHTTPServer(("127.0.0.1", 0), RecognitionHandler) as server:
        server.recognizer = recognizer
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        together = threading.Barrier(8)

        def ask(video):
            address = f"http://127.0.0.1:{server.server_port}{video}"
            together.wait()
            with urllib.request.urlopen(address, timeout=60) as answer:
                return json.load(answer)

        try:
            with ThreadPoolExecutor(8) as pool:
                answers = list(pool.map(ask, videos))
        finally:
            server.shutdown()
            thread.join()
    for answer, features in zip(answers, expected, strict=True):
        np.testing.assert_allclose(answer, features, atol=1e-4)


@contextlib.contextmanager
def unchanged_process():
    """The block changes nothing that belongs to the whole process."""

    def state():
        return {
            "handlers": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
            "stderr": os.fstat(2)[:3],
            "stdout": (sys.stdout, getattr(sys.stdout, "errors", None)),
            "level": logging.getLogger().level,
            "handlers of logging": list(logging.getLogger().handlers),
            "threads": (torch.get_num_threads(), cv2.getNumThreads()),
            "level of OpenCV": cv2.utils.logging.getLogLevel(),
        }

    before = state()
    yield
    assert state() == before


def run_in_thread(function, *args):
    """Call a function in another thread; what it returns, or the exit status that it ends with."""
    outcome = []

    def work():
        try:
            outcome.append(function(*args))
        except SystemExit as stop:
            outcome.append(stop)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return outcome[0]


def test_inference_runs_in_any_thread_and_returns(checkpoint, videos, tmp_path, capsys):
    flags = [str(videos[0]), "--checkpoint", str(checkpoint), "--output", str(tmp_path)]
    with unchanged_process():
        assert run_in_thread(inference.main, flags) is None
        assert inference.main(flags) is None
    assert (tmp_path / "0_annotated.mp4").is_file()
    failure = run_in_thread(inference.main, [*flags, "--top-k", "0"])
    assert isinstance(failure, SystemExit) and failure.code == 2
    (tmp_path / "notes.avi").write_text("no video")
    flags = [str(tmp_path / "notes.avi"), *flags]
    failure = run_in_thread(inference.main, flags)
    assert isinstance(failure, SystemExit) and failure.code == 1


def test_training_runs_in_another_thread_and_returns(project, tmp_path, monkeypatch):
    project.set_path("own", write_dataset(tmp_path / "videos"))
    monkeypatch.chdir(project.folder)
    monkeypatch.setattr(train.mypath.Path, "DATASETS", project.datasets)
    flags = "--dataset own --model Tiny --epochs 1 --crop-size 16 --batch-size 4 --workers 0"
    output = io.StringIO()
    with usual_signals(), contextlib.redirect_stdout(output):
        handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        assert run_in_thread(train.main, flags.split()) is None, output.getvalue()
        assert handlers == [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    assert (project.folder / "run" / "run_0" / "results.json").is_file()
