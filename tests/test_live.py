"""Live sources: frames that come too fast, outages, and how long a prediction takes."""

import contextlib
import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise

import cv2
import numpy as np
import pytest
from conftest import make_checkpoint, numbered_frame, read_number, read_video, write_video

from dataloaders.errors import DataError, FileError
from engine.checkpoint import save_checkpoint
from engine.errors import Stopped
from inference import Recognizer
from recognition import live
from recognition.frames import ImageFrame
from recognition.live import End, FrameQueue, Gap, LiveFrame, LiveReader


@pytest.fixture
def checkpoint(tmp_path):
    save_checkpoint(make_checkpoint(), tmp_path / "model.pth")
    return tmp_path / "model.pth"


class Source:
    """A live source of numbered frames, 25 a second of its own time, by connections.

    Each connection is a number of frames, or an error.
    """

    name = "a camera"
    fps = 25
    num_frames = None
    duration = None
    pixel_aspect = 1.0
    is_live = True

    def __init__(self, *connections, before_opening=lambda number: None):
        self.connections = list(connections)
        self.before_opening = before_opening
        self.num_opened = 0
        self.num_sent = 0
        self.is_closed = threading.Event()

    def frames(self, start=0.0, end=np.inf):
        self.before_opening(self.num_opened)
        self.num_opened += 1
        if self.num_opened > len(self.connections):
            raise FileError("refused")
        connection = self.connections[self.num_opened - 1]
        if isinstance(connection, Exception):
            raise connection
        for number in range(connection):
            self.num_sent += 1
            yield ImageFrame(number / 25, numbered_frame((self.num_sent - 1) % 256, 64, 48))

    def close(self):
        self.is_closed.set()


class Signal:
    """A signal that comes after so many questions for it."""

    def __init__(self, patience):
        self.patience = patience

    @property
    def signum(self):
        self.patience -= 1
        return 2 * (self.patience < 0)


def live_frame(number):
    return LiveFrame(number / 25, number / 25, ImageFrame(number / 25, None))


def test_what_waits_in_a_queue_is_consecutive_and_the_newest():
    queue = FrameQueue(5)
    for number in range(23):
        queue.put(live_frame(number))
    queue.put(End.END)
    items = []
    while not items or items[-1] is not End.END:
        items.append(queue.get(0))
    assert items[0] is Gap.DROPPED
    numbers = [round(25 * item.time) for item in items[1:-1]]
    assert numbers == list(range(numbers[0], 23)) and numbers
    assert queue.num_dropped == numbers[0]
    assert queue.get(0) is None


def test_an_outage_among_dropped_frames_stays_an_outage():
    queue = FrameQueue(4)
    for item in (live_frame(0), Gap.OUTAGE, *map(live_frame, range(1, 5))):
        queue.put(item)
    assert queue.get(0) is Gap.OUTAGE
    assert queue.num_dropped == 3
    assert round(25 * queue.get(0).time) == 3


def test_a_slow_consumer_sees_runs_of_consecutive_frames():
    source = Source(1000)
    numbers = []
    runs = [numbers]
    reader = LiveReader(source, 61)
    for number, item in enumerate(reader):
        if item is Gap.DROPPED:
            numbers = []
            runs.append(numbers)
        else:
            numbers.append(round(25 * item.frame.time))
        if number == 20:
            source.is_closed.wait(10)  # all others come meanwhile
    for run in runs:
        assert not run or run == list(range(run[0], run[-1] + 1))
    assert runs[-1][-1] == 999
    assert sum(map(len, runs)) + reader.num_dropped == 1000
    assert reader.end_reason == "ended"


def test_a_window_has_its_label_with_its_last_frame(checkpoint):
    """While the source is silent after it."""

    class SilentSource(Source):
        def frames(self, start=0.0, end=np.inf):
            yield from super().frames()
            deadline = time.monotonic() + 30
            while not reader.latencies and time.monotonic() < deadline:
                time.sleep(0.01)
            numbers_of_labels.append(len(reader.latencies))

    numbers_of_labels = []
    reader = LiveReader(SilentSource(61), 1000)
    assert len(list(Recognizer(checkpoint).recognize(reader))) == 1
    assert numbers_of_labels == [1]


def test_the_last_window_before_an_outage_has_its_label_at_once(checkpoint):
    def wait(number):
        if number == 1:
            assert has_labels.wait(30)

    has_labels = threading.Event()
    source = Source(70, 30, before_opening=wait)
    recognizer = Recognizer(checkpoint, stride=20, smooth=3)
    reader = LiveReader(source, 1000, reconnect=1)
    segments = []
    for segment in recognizer.recognize(reader):
        segments.append(segment)
        if sum(segment.num_frames for segment in segments) == 70:
            has_labels.set()
    assert [segment.prediction.run for segment in segments] == [0, 0, *[1] * (len(segments) - 2)]
    assert sum(segment.num_frames for segment in segments) == 100
    assert segments[1].end == pytest.approx(70 / 25)


class Clock:
    """A clock that stands still but for those who wait."""

    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now

    def wait(self, seconds):
        self.now += seconds

    def is_set(self):
        return False


def items_of(queue):
    items = []
    while (item := queue.get(0)) is not None:
        items.append(item)
    return items


def test_an_outage_is_reported_when_it_is_over_and_counts_as_time(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(live.time, "monotonic", clock.monotonic)
    lines = []
    source = Source(3, FileError("refused"), FileError("refused"), 2)
    reader = LiveReader(source, 61, reconnect=2, report=lines.append)
    reader._is_left = clock
    reader._read()
    assert lines == ["a camera: closed, opened again after 2.0 s (1 of 2)"]
    items = [
        item if isinstance(item, (Gap, End)) else item.time for item in items_of(reader._queue)
    ]
    assert items[:3] + items[4:6] == pytest.approx([0, 0.04, 0.08, 2.08, 2.12])
    assert [items[3], *items[6:]] == [Gap.OUTAGE, Gap.OUTAGE, End.END]
    assert reader.num_dropped == 0
    assert reader.fps == pytest.approx(25)  # of which the outage is no part
    # The second outage does not end: thirty attempts, a second apart.
    assert source.num_opened == 4 + 30
    assert reader._end_reason == "could not be opened again in 30 s, and ended"
    assert source.is_closed.is_set()


def test_without_reconnecting_the_first_outage_is_the_end():
    source = Source(5, 5)
    reader = LiveReader(source, 61)
    assert sum(isinstance(item, LiveFrame) for item in reader) == 5
    assert reader.end_reason == "ended" and source.num_opened == 1


def test_an_error_before_the_first_frame_is_raised_and_a_later_one_is_an_outage():
    with pytest.raises(FileError, match="refused"):
        list(LiveReader(Source(FileError("refused"), 5), 61, reconnect=3))
    lines = []
    items = list(LiveReader(Source(5, 5), 61, reconnect=1, report=lines.append))
    assert items[5] is Gap.OUTAGE and len(items) == 11 and len(lines) == 1


def test_a_source_that_gives_no_frame_is_named():
    class Empty(Source):
        def frames(self, start=0.0, end=np.inf):
            return iter(())

    with pytest.raises(DataError, match="no frame came from there"):
        list(LiveReader(Empty(), 61))


def test_a_signal_ends_the_reading_and_before_the_first_frame_stops_it():
    reader = LiveReader(Source(1000), 2000, stop=Signal(3))
    assert 1 <= len(list(reader)) <= 4
    assert reader.end_reason is None
    release = threading.Event()
    silent = Source(5, before_opening=lambda number: release.wait(30))
    with pytest.raises(Stopped):
        list(LiveReader(silent, 61, stop=Signal(0)))
    release.set()


def test_leaving_waits_for_no_frame():
    release = threading.Event()
    source = Source(5, 5, before_opening=lambda number: number == 0 or release.wait(30))
    reader = LiveReader(source, 61, reconnect=1)
    for _ in reader:
        break
    assert not source.is_closed.is_set()  # the thread waits for the next connection
    release.set()
    assert source.is_closed.wait(30)


class CameraHandler(BaseHTTPRequestHandler):
    """Sends numbered frames as motion JPEG, `count` of them in a connection."""

    def do_GET(self):
        server = self.server
        size = server.sizes[server.connections % len(server.sizes)]
        server.connections += 1
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        with contextlib.suppress(OSError):
            for _ in range(server.count):
                picture = cv2.imencode(".jpg", numbered_frame(server.number % 256, *size))[1]
                server.number += 1
                head = "--frame\r\nContent-Type: image/jpeg\r\n"
                head += f"Content-Length: {len(picture)}\r\n\r\n"
                self.wfile.write(head.encode() + picture.tobytes() + b"\r\n")
                time.sleep(server.pause)
            server.is_left.wait(server.stall)

    def log_message(self, *_):
        pass


@pytest.fixture
def camera():
    """A network camera, whose settings are attributes."""
    with ThreadingHTTPServer(("127.0.0.1", 0), CameraHandler) as server:
        server.daemon_threads = True
        server.connections = 0
        server.number = 0
        server.count = 300
        server.pause = 0.005  # seconds between two frames
        server.stall = 0  # seconds of silence after the last one
        server.sizes = [(160, 120)]  # of the connections in turn
        server.is_left = threading.Event()
        server.address = f"http://127.0.0.1:{server.server_port}/camera.mjpg"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.is_left.set()
        server.shutdown()


def test_a_source_that_is_faster_than_the_machine_is_followed(brightness, camera, tmp_path):
    recognizer = Recognizer(brightness, stride=8)
    forward = recognizer.model.forward

    def slow_forward(x):
        time.sleep(0.25)  # 32 frames a second; up to 200 come
        return forward(x)

    recognizer.model.forward = slow_forward
    camera.count = 600
    result = recognizer.predict(camera.address, tmp_path / "a.mp4")
    assert result["dropped"] > 50
    assert result["frames"] == 600 and len(result["windows"]) < 60
    steps = [
        {(after - before) % 256 for before, after in pairwise(numbers)}
        for numbers in recognizer.model.clip_numbers()
    ]
    assert steps[0] == {4}
    # Consecutive frames, in the end perhaps of a short rest, whose last one is repeated.
    assert all(len(step - {0}) <= 1 and max(step) <= 4 for step in steps)
    assert sum(step != {4} for step in steps) <= 4
    assert len(read_video(tmp_path / "a.mp4")) + result["dropped"] == 600
    assert result["latency"].keys() == {"mean", "max"}
    assert 0 < result["latency"]["mean"] <= result["latency"]["max"]
    starts = [window["start"] for window in result["windows"]]
    assert starts == sorted(starts)


def test_a_slow_source_is_seen_whole(brightness, camera):
    camera.count = 150
    camera.pause = 0.01
    result = Recognizer(brightness).predict(camera.address)
    assert (result["dropped"], result["frames"]) == (0, 150)


def test_a_source_that_closes_or_stalls_is_opened_again(project, brightness, camera, monkeypatch):
    monkeypatch.setattr("dataloaders.live_sources.STREAM_TIMEOUT", 1.0)
    camera.count = 100
    camera.stall = 5
    flags = ("inference.py", "--source", camera.address, "--checkpoint", brightness, "--output")
    done = project.run(*flags, "twice", "--reconnect", 2, ok=False)
    assert camera.connections == 3
    (report,) = (json.loads(file.read_text()) for file in (project.folder / "twice").glob("*.json"))
    assert (report["frames"], report["dropped"]) == (300, 0)
    found = re.findall(r"closed, opened again after \d+\.\d s \((\d of \d)\)", done.stderr)
    assert found == ["1 of 2", "2 of 2"]
    assert done.stderr.rstrip().endswith("ended after 300 frames, which are done")
    spans = [(window["start"], window["end"]) for window in report["windows"]]
    assert all(end > start for start, end in spans) and spans == sorted(spans)
    gaps = [after[0] - before[1] for before, after in pairwise(spans)]
    assert sum(gap > 0.8 for gap in gaps) == 2  # a second of silence, twice
    done = project.run(*flags, "once", ok=False)
    assert camera.connections == 4 and "opened again" not in done.stderr


def test_reconnect_is_for_sources(project, checkpoint):
    write_video(project.folder / "v.avi", 20)
    done = project.run(
        "inference.py", "v.avi", "--checkpoint", checkpoint, "--reconnect", 2, ok=False
    )
    assert done.stderr == "inference.py: --reconnect goes with --source\n"


def test_a_source_of_another_size_is_recorded_at_the_first(checkpoint, camera, tmp_path):
    camera.count = 80
    camera.sizes = [(160, 120), (96, 64)]
    result = Recognizer(checkpoint).predict(camera.address, tmp_path / "a.mp4", reconnect=1)
    assert camera.connections == 2
    frames = read_video(tmp_path / "a.mp4")
    assert len(frames) == result["frames"] == 160
    assert {frame.shape for frame in frames} == {(120, 160, 3)}


def test_frames_of_a_camera_are_recorded_in_order(checkpoint, camera, tmp_path):
    camera.count = 100
    Recognizer(checkpoint).predict(camera.address, tmp_path / "a.mp4", reconnect=0)
    numbers = [read_number(frame[:70, :, ::-1]) for frame in read_video(tmp_path / "a.mp4")]
    assert numbers == list(range(100))
