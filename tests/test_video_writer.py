"""Written videos, read back by OpenCV, PyAV and Chromium."""

import contextlib
import gc
import json
import os
import shutil
import struct
import subprocess
import time
import urllib.request
from fractions import Fraction

import cv2
import numpy as np
import pytest

from dataloaders.errors import FileError
from dataloaders.ffmpeg import av
from dataloaders.video_writer import VideoWriter

SIZE = (64, 48)
LARGE = (320, 240)  # enough for more than one thread
FLASH_SECONDS = 0.2  # of a flash and of a beep, at each whole second
ON_LINUX = os.path.isdir("/proc/self/fd")


def grey(value, size=SIZE):
    return np.full((size[1], size[0], 3), value, np.uint8)


def numbered(number):
    """An image whose left half tells the tens of its number, up to 99, and the right half the ones."""
    image = grey(20 + 20 * (number // 10))
    image[:, SIZE[0] // 2 :] = 20 + 20 * (number % 10)
    return image


def write(path, images, times, **options):
    options = {"size": images[0].shape[1::-1], "fps": 25} | options
    with VideoWriter(path, **options) as writer:
        for image, seconds in zip(images, times, strict=True):
            writer.write(image, seconds)
    return path


def write_seconds(path, seconds, **options):
    """Write so many seconds of black at 25 frames/s."""
    count = round(25 * seconds)
    return write(path, [grey(0)] * count, np.arange(count) / 25, **options)


def read_numbers(path):
    """The numbers of numbered images, as OpenCV reads them."""
    capture = cv2.VideoCapture(str(path))
    numbers = []
    while True:
        is_read, image = capture.read()
        if not is_read:
            return numbers
        tens = round((image[24, 16].mean() - 20) / 20)
        ones = round((image[24, 48].mean() - 20) / 20)
        numbers.append(10 * tens + ones)


def read_times(path):
    with av.open(f"file:{path}") as container:
        return [frame.time for frame in container.decode(video=0)]


def read_duration(path):
    with av.open(f"file:{path}") as container:
        return container.duration / 1e6


def open_files():
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def test_opencv_reads_the_images_that_were_written(tmp_path):
    path = write(tmp_path / "a.mp4", [numbered(n) for n in range(100)], np.arange(100) / 25)
    assert read_numbers(path) == list(range(100))
    assert cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FPS) == 25


def test_the_format_is_the_one_that_browsers_and_phones_play(tmp_path):
    path = write_seconds(tmp_path / "a.mp4", 1)
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # plays while it is downloaded


@pytest.mark.parametrize("fps", [1, 24000 / 1001, 25, 30000 / 1001, 240, 1000])
def test_even_rates_are_kept_exactly(tmp_path, fps):
    times = np.arange(30) / fps
    path = write(tmp_path / "a.mp4", [numbered(n) for n in range(30)], times, fps=fps)
    assert read_times(path) == pytest.approx(times, abs=0.51 / 120_000)
    assert read_duration(path) == pytest.approx(30 / fps, abs=0.001)
    with av.open(str(path)) as container:
        assert float(container.streams.video[0].average_rate) == pytest.approx(fps, rel=1e-4)


@pytest.mark.parametrize("fragmented", [False, True])
def test_uneven_times_are_kept(tmp_path, fragmented):
    steps = np.random.default_rng(0).choice([0.001, 0.02, 0.04, 0.3], 99)
    times = np.concatenate([[0], np.cumsum(steps)])
    images = [numbered(n) for n in range(100)]
    path = write(tmp_path / "a.mp4", images, times, fps=10, fragmented=fragmented)
    assert read_times(path) == pytest.approx(times, abs=0.51 / 120_000)
    assert read_numbers(path) == list(range(100))
    assert read_duration(path) == pytest.approx(times[-1] + 0.1, abs=0.001)


def test_images_at_almost_the_same_time_are_all_kept(tmp_path):
    images = [numbered(number) for number in range(50)]
    times = np.arange(50) / 25 - np.arange(50) % 2 * 0.04 + np.arange(50) % 2 * 1e-6  # pairs
    path = write(tmp_path / "a.mp4", images, times)
    assert read_numbers(path) == list(range(50))
    assert read_times(path) == pytest.approx(times, abs=1e-4)


@pytest.mark.parametrize("size", [SIZE, (1280, 720)])
@pytest.mark.parametrize("bgr", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)])
def test_colours_are_those_that_the_file_names(tmp_path, size, bgr):
    path = write(tmp_path / "a.mp4", [np.full((size[1], size[0], 3), bgr, np.uint8)], [0])
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        planes = [np.frombuffer(bytes(plane), np.uint8)[10] for plane in frame.planes]
    # From the definitions of BT.709 and BT.601, 8 bits of limited range.
    red_share, blue_share, matrix = (0.2126, 0.0722, 1) if size != SIZE else (0.299, 0.114, 6)
    blue, green, red = (value / 255 for value in bgr)
    luma = red_share * red + (1 - red_share - blue_share) * green + blue_share * blue
    expected = [
        16 + 219 * luma,
        128 + 112 * (blue - luma) / (1 - blue_share),
        128 + 112 * (red - luma) / (1 - red_share),
    ]
    assert planes == pytest.approx(expected, abs=3)
    assert (frame.colorspace, frame.color_range) == (matrix, 1)


def test_the_last_row_and_column_of_an_odd_size_are_repeated(tmp_path):
    image = np.zeros((47, 61, 3), np.uint8)
    image[:, 30:] = 200
    _, read = cv2.VideoCapture(str(write(tmp_path / "a.mp4", [image], [0]))).read()
    assert read.shape == (48, 62, 3)
    assert read[:, 40:].mean() == pytest.approx(200, abs=3)
    assert read[:, :20].mean() == pytest.approx(0, abs=3)


def test_an_image_of_another_size_is_scaled(tmp_path):
    images = [numbered(0), cv2.resize(numbered(1), (30, 90))]
    path = write(tmp_path / "a.mp4", images, [0, 0.04], size=SIZE)
    assert read_numbers(path) == [0, 1]


# Files


def sine(begin, num_samples, rate):
    """A tone of 1 kHz that begins at each whole second, from `begin` seconds on."""
    seconds = begin + np.arange(num_samples) / rate
    return 0.5 * np.sin(2000 * np.pi * seconds) * ((seconds + 1e-9) % 1 < FLASH_SECONDS)


def write_flashes(path, codecs=("libx264", "aac"), rate=48_000, layout="mono", **changes):
    """Write a video that flashes and beeps at each whole second.

    Args:
        changes: `sound`, when the sound begins and ends; `gap`, likewise, where it is missing;
            `seconds` of the picture; `first` time stamp of the picture.
    """
    settings = {"sound": (0, 3), "gap": (9, 9), "seconds": 3, "first": 0} | changes
    with av.open(str(path), "w") as container:
        picture = container.add_stream(codecs[0], rate=25, width=64, height=48)
        picture.pix_fmt = "yuv420p"
        picture.bit_rate = 1_000_000
        sound = container.add_stream(codecs[1], rate=rate, layout=layout, bit_rate=128_000)
        for number in range(25 * settings["seconds"]):
            is_bright = number % 25 < 25 * FLASH_SECONDS
            frame = av.VideoFrame.from_ndarray(grey(235 if is_bright else 16), format="bgr24")
            frame.pts = number + round(25 * settings["first"])
            frame.time_base = Fraction(1, 25)
            container.mux(picture.encode(frame))
        container.mux(picture.encode(None))
        block = rate // 50
        for begin in np.arange(*settings["sound"], 0.02):
            if settings["gap"][0] <= begin < settings["gap"][1]:
                continue
            samples = np.tile(sine(begin, block, rate).astype(np.float32), sound.layout.nb_channels)
            samples = samples.reshape(sound.layout.nb_channels, block)
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=layout)
            frame.sample_rate = rate
            frame.time_base = Fraction(1, rate)
            frame.pts = round((begin + settings["first"]) * rate)
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return path


def find_media(data):
    """Where the boxes of images begin and end in an MP4 file."""
    places = []
    begin = 0
    while begin < len(data):
        size, kind = struct.unpack(">I4s", data[begin : begin + 8])
        if kind == b"mdat":
            places.append((begin, begin + size))
        begin += size
    return places


def test_a_live_video_that_is_cut_off_plays_up_to_there(tmp_path):
    cut = tmp_path / "cut.mp4"
    with VideoWriter(tmp_path / "a.mp4", size=SIZE, fragmented=True) as writer:
        for number in range(100):
            writer.write(numbered(number), number / 20)
        data = (tmp_path / "a.mp4").read_bytes()
    places = find_media(data)
    assert len(places) == 4  # the fragments of the first 80 images; the fifth is unfinished
    for number, (begin, end) in enumerate(places):
        for place in (end, (begin + end) // 2, begin + 20):
            cut.write_bytes(data[:place])
            numbers = read_numbers(cut)
            assert numbers == list(range(len(numbers)))
            assert len(numbers) >= 20 * (number + (place == end))
    assert read_numbers(tmp_path / "a.mp4") == list(range(100))


@pytest.mark.parametrize(
    "name",
    ["%03d.mp4", "a:b.mp4", "http:a.mp4", "pipe:1.mp4", "-o.mp4", "a b?#'é視.mp4", "no ending"],
)
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_names_mean_nothing_to_ffmpeg(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write_flashes("source.mp4")
    os.rename("source.mp4", f"source {name}")
    write_seconds(type(tmp_path)(name), 0.2, sound_from=type(tmp_path)(f"source {name}"))
    assert sorted(os.listdir()) == sorted([name, f"source {name}"])
    with av.open(f"file:{name}") as container:
        assert [stream.type for stream in container.streams] == ["video", "audio"]


@pytest.mark.parametrize("fragmented", [False, True])
def test_a_full_disk_is_one_error_that_names_the_file(tmp_path, fragmented):
    resource = pytest.importorskip("resource")
    noise = np.random.default_rng(0).integers(0, 256, (30, 48, 64, 3), np.uint8)
    options = {"fragmented": fragmented, "sound_from": write_flashes(tmp_path / "s.mp4")}
    path = write(tmp_path / "a.mp4", noise, np.arange(30) / 25, **options)
    whole = path.stat().st_size
    before = open_files() if ON_LINUX else None
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for size in (0, 1000, whole // 2, whole - 1000, whole - 1):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
        try:
            with pytest.raises(FileError, match="^.*a.mp4: cannot be written: File too large$"):
                write(path, noise, np.arange(30) / 25, **options)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not ON_LINUX or open_files() == before


@pytest.mark.parametrize(
    "path, size, message",
    [
        ("missing/a.mp4", SIZE, "missing/a.mp4: cannot be written: No such file or directory"),
        (".", SIZE, ".*: cannot be written: "),
        ("a.mp4", (20_000, 20_000), "a.mp4: H.264 cannot encode images of 20000x20000"),
    ],
)
def test_what_cannot_be_written_is_named_at_once(tmp_path, path, size, message):
    with pytest.raises(FileError, match=message):
        VideoWriter(tmp_path / path, size=size)


@pytest.mark.skipif(not ON_LINUX, reason="counts open files and threads in /proc")
def test_an_exception_closes_the_files_and_ends_the_threads(tmp_path, monkeypatch):
    monkeypatch.setattr("dataloaders.video_writer.available_cores", lambda: 6)
    source = write_flashes(tmp_path / "s.mp4")
    files, threads = open_files(), len(os.listdir("/proc/self/task"))
    with (
        contextlib.suppress(ZeroDivisionError),
        VideoWriter(tmp_path / "a.mp4", size=LARGE, sound_from=source) as writer,
    ):
        writer.write(grey(0, LARGE), 0)
        assert len(os.listdir("/proc/self/task")) > threads
        raise ZeroDivisionError
    assert open_files() == files
    assert len(os.listdir("/proc/self/task")) == threads


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs the affinity of Linux")
def test_the_encoder_takes_no_more_cores_than_the_process_may(tmp_path):
    threads = len(os.listdir("/proc/self/task"))
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        with VideoWriter(tmp_path / "a.mp4", size=LARGE) as writer:
            writer.write(grey(0, LARGE), 0)
            assert len(os.listdir("/proc/self/task")) == threads
    finally:
        os.sched_setaffinity(0, cores)


# Chromium

PAGE = """<!doctype html><body><script>
async function probe(address, times) {
  const video = document.createElement('video');
  const wait = (event) => new Promise((resolve, reject) => {
    video.addEventListener(event, resolve, {once: true});
    video.addEventListener('error', () => reject(video.error.message), {once: true});
  });
  document.body.append(video);
  video.src = address;
  await wait('canplay');
  const canvas = document.createElement('canvas').getContext('2d');
  const numbers = [];
  const digit = (x) => Math.round((canvas.getImageData(x, 24, 1, 1).data[1] - 20) / 20);
  for (const time of times) {
    video.currentTime = time;
    await wait('seeked');
    canvas.drawImage(video, 0, 0, 64, 48);
    numbers.push(10 * digit(16) + digit(48));
  }
  await video.play();
  await new Promise((resolve) => setTimeout(resolve, 300));
  return {duration: video.duration, numbers, sound: video.webkitAudioDecodedByteCount};
}
</script>"""
CHROMIUM_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--no-first-run",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--allow-file-access-from-files",
    "--autoplay-policy=no-user-gesture-required",
]


class Chromium:
    """A page in Chromium, by the WebDriver protocol."""

    def __init__(self, folder, port=9527):
        self.address = f"http://127.0.0.1:{port}/session"
        (folder / "page.html").write_text(PAGE)
        self.driver = subprocess.Popen(["chromedriver", f"--port={port}", "--silent"])
        options = {"args": [*CHROMIUM_FLAGS, f"--user-data-dir={folder / 'profile'}"]}
        capabilities = {"goog:chromeOptions": options, "timeouts": {"script": 30_000}}
        for _ in range(50):
            with contextlib.suppress(ConnectionError, urllib.error.URLError):
                session = self.post("", {"capabilities": {"alwaysMatch": capabilities}})
                break
            time.sleep(0.1)
        self.address += f"/{session['sessionId']}"
        self.post("/url", {"url": (folder / "page.html").as_uri()})

    def post(self, command, content, method="POST"):
        data = json.dumps(content).encode() if method == "POST" else None
        request = urllib.request.Request(self.address + command, data, method=method)
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.load(response)["value"]

    def probe(self, path, times):
        script = "const done = arguments[2]; probe(arguments[0], arguments[1]).then(done, done)"
        return self.post("/execute/async", {"script": script, "args": [path.as_uri(), times]})

    def close(self):
        self.post("", None, "DELETE")
        self.driver.terminate()
        self.driver.wait()


@pytest.fixture
def chromium(tmp_path):
    if not shutil.which("chromedriver"):
        pytest.skip("needs Chromium and its chromedriver")
    browser = Chromium(tmp_path)
    yield browser
    browser.close()


@pytest.mark.slow
def test_chromium_plays_and_seeks(tmp_path, chromium):
    images = [numbered(number) for number in range(75)]
    uneven = np.arange(75) / 25 + np.arange(75) % 2 / 50
    source = write_flashes(tmp_path / "s.mkv", ("libx264", "ac3"))
    even = write(tmp_path / "even.mp4", images, np.arange(75) / 25, sound_from=source)
    found = chromium.probe(even, [0, 1.02, 2.98])
    assert found["duration"] == pytest.approx(3, abs=0.022)
    assert found["numbers"] == [0, 25, 74]
    assert found["sound"] > 0

    with VideoWriter(tmp_path / "uneven.mp4", size=SIZE, fps=25, fragmented=True) as writer:
        for image, seconds in zip(images, uneven, strict=True):
            writer.write(image, seconds)
        shutil.copy(tmp_path / "uneven.mp4", tmp_path / "unfinished.mp4")
    found = chromium.probe(tmp_path / "uneven.mp4", [0.05, 1.03, 2.97])
    assert found["duration"] == pytest.approx(3, abs=0.001)
    assert found["numbers"] == [0, 25, 74]
    assert chromium.probe(tmp_path / "unfinished.mp4", [0.05, 1.03])["numbers"] == [0, 25]
