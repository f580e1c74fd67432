"""Streams and cameras."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from http_server import PLAYLISTS, serve
from timed_videos import shown
from videos import (
    B_FRAMES,
    encode,
    grey_frame,
    grey_number,
)

from dataloaders import live_sources
from dataloaders.errors import FileError
from dataloaders.live_sources import Camera, Stream, open_live_source
from dataloaders.video import VideoFile


@pytest.fixture
def server():
    with serve() as httpd:
        yield httpd


def send_motion_jpeg(handler, numbers=range(20)):
    handler.send_response(200)
    handler.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
    handler.end_headers()
    for number in numbers:
        image = grey_frame(number).reformat(format="bgr24").to_ndarray()
        jpeg = cv2.imencode(".jpg", image)[1].tobytes()
        head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
        handler.wfile.write(head.encode() + jpeg + b"\r\n")
        handler.wfile.flush()


def test_motion_jpeg_of_a_camera_has_the_times_of_the_clock(server, monkeypatch):
    clock = iter(np.arange(0, 100, 0.5))
    monkeypatch.setattr(live_sources, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    server.pages["/cam"] = send_motion_jpeg
    stream = Stream(f"{server.address}/cam")
    assert stream.is_live and stream.duration is None and stream.num_frames is None
    frames = list(stream.frames())
    assert [grey_number(frame.to_image()) for frame in frames] == pytest.approx(range(20), abs=1)
    assert [frame.time for frame in frames] == pytest.approx([0.5 * n for n in range(1, 21)])
    assert len(list(stream.frames(end=3.1))) == 6
    assert server.asked == ["/cam", "/cam"]
    stream.close()


def test_no_two_frames_have_one_time_where_the_clock_is_coarse(server, monkeypatch):
    monkeypatch.setattr(live_sources, "time", SimpleNamespace(monotonic=lambda: 7.0))
    server.pages["/cam"] = send_motion_jpeg
    times = [frame.time for frame in Stream(f"{server.address}/cam").frames()]
    assert times == sorted(set(times)) and len(times) == 20
    assert times[-1] < 0.001


def test_a_stream_has_the_times_of_its_own_and_ends_with_it(server, tmp_path):
    data = encode(tmp_path / "v.ts", 50, options=B_FRAMES).read_bytes()
    server.pages["/live.ts"] = data
    stream = Stream(f"{server.address.replace('//', '//user:secret@')}/live.ts")
    assert stream.name == f"{server.address}/live.ts" and stream.fps == 25
    for _ in range(2):
        frames = shown(stream)
        assert [number for _, number in frames] == pytest.approx(range(50), abs=0.6)
        assert [time for time, _ in frames] == pytest.approx([n / 25 for n in range(50)])
    frames = stream.frames()
    next(frames)
    stream.close()
    assert len(list(frames)) == 49


def test_a_file_of_a_server_is_not_live(server, tmp_path):
    path = encode(tmp_path / "v.mp4", 50, muxer={"movflags": "faststart"})
    server.pages["/v.mp4"] = path.read_bytes()
    stream = Stream(f"{server.address}/v.mp4")
    assert not stream.is_live and stream.duration == pytest.approx(2)
    assert len(list(stream.frames())) == 50


def test_a_stream_that_falls_silent_ends_after_the_time_limit(server, tmp_path, monkeypatch):
    frames = [grey_frame(number % 100) for number in range(400)]
    data = encode(tmp_path / "v.ts", frames, "mpeg2video").read_bytes()

    def fall_silent(handler):
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(data)
        handler.wfile.flush()
        gave_up.append(not server.is_over.wait(20))

    gave_up = []
    monkeypatch.setattr(live_sources, "STREAM_TIMEOUT", 0.5)
    server.pages["/live.ts"] = fall_silent
    stream = Stream(f"{server.address}/live.ts")
    assert len(list(stream.frames())) > 300
    assert gave_up == []  # the server is still silent


def test_a_stream_that_never_starts_or_is_not_there_is_one_line(server, tmp_path, monkeypatch):
    monkeypatch.setattr(live_sources, "STREAM_TIMEOUT", 0.3)
    server.pages["/silent"] = lambda handler: server.is_over.wait(100)
    server.pages["/text"] = b"Buy milk.\n" * 1000
    server.pages["/notes.txt"] = server.pages["/text"]
    server.pages["/concat"] = PLAYLISTS["concat"].format(target="v.ts").encode()
    server.pages["/v.ts"] = encode(tmp_path / "v.ts", 30).read_bytes()
    for path in ("silent", "text", "notes.txt", "none", "concat"):
        with pytest.raises(OSError, match=f"/{path}: cannot be opened as a stream: ") as caught:
            Stream(f"{server.address.replace('//', '//user:secret@')}/{path}")
        assert "secret" not in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(OSError, match="^http://127.0.0.1:1/x: .*refused"):
        Stream("http://127.0.0.1:1/x")


def test_a_stream_makes_us_open_no_file_of_this_machine(server, tmp_path, monkeypatch):
    monkeypatch.setattr(live_sources, "STREAM_TIMEOUT", 2)
    secret = encode(tmp_path / "secret.ts", 30)
    server.pages["/secret.ts"] = secret.read_bytes()
    server.pages["/good.m3u8"] = PLAYLISTS["hls"].format(target="secret.ts").encode()
    assert len(list(Stream(f"{server.address}/good.m3u8").frames())) == 30
    for number, target in enumerate(
        (f"file://{secret}", f"file:{secret}", str(secret), f"concat:{secret}", f"subfile:{secret}")
    ):
        server.pages[f"/{number}.m3u8"] = PLAYLISTS["hls"].format(target=target).encode()
        with pytest.raises(OSError, match="cannot be opened as a stream"):
            list(Stream(f"{server.address}/{number}.m3u8").frames())
    for address in (f"file://{secret}", f"concat://{secret}", f"pipe://{secret}"):
        with pytest.raises(OSError, match="cannot be opened as a stream"):
            Stream(address)


class Capture:
    """A stand-in for `cv2.VideoCapture`: a camera of three pictures, or none."""

    def __init__(self, device):
        if isinstance(device, int) and device >= 2**31:
            raise OverflowError  # as OpenCV does
        self.device = device
        self.numbers = iter(range(3))

    def isOpened(self):  # noqa: N802  the name is of OpenCV
        return self.device in (0, "/dev/video0")

    def get(self, _):
        return 0.0 if self.device == 0 else 30.0

    def read(self):
        number = next(self.numbers, None)
        if number is None:
            return False, None
        return True, np.full((4, 4, 3), number, np.uint8)

    def release(self):
        self.device = None


def test_a_camera_has_the_times_of_the_clock(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr(live_sources, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    camera = open_live_source("0")
    assert isinstance(camera, Camera) and camera.is_live and camera.fps is None
    frames = list(camera.frames())
    assert [frame.time for frame in frames] == [1, 2, 3]
    assert [frame.to_image()[0, 0, 0] for frame in frames] == [0, 1, 2]
    camera.close()
    assert len(list(camera.frames(end=2.5))) == 2
    assert open_live_source("/dev/video0").fps == 30
    for name in ("1", "/dev/video7", "9" * 30):
        with pytest.raises(OSError, match=f"^{name}: no such camera$"):
            open_live_source(name)


def test_an_address_is_a_stream(server):
    server.pages["/cam"] = send_motion_jpeg
    assert isinstance(open_live_source(f"{server.address}/cam"), Stream)


def test_what_is_neither_an_address_nor_a_camera_is_a_file(tmp_path, monkeypatch):
    encode(tmp_path / "0", 3, "mpeg4", format="avi")
    monkeypatch.chdir(tmp_path)
    assert isinstance(open_live_source("0"), VideoFile)
    with pytest.raises(FileError, match="^none.avi: no such file$"):
        open_live_source("none.avi")


def test_a_file_named_as_a_live_source_is_read_to_its_end_and_waits(tmp_path):
    path = encode(tmp_path / "v.avi", 12, "mpeg4")
    source = open_live_source(str(path))
    assert not source.is_live
    assert len(list(source.frames())) == 12
