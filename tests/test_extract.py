"""Frames on disk: which ones, and what becomes of videos that are damaged, hang or crash."""

import contextlib
import faulthandler
import functools
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import ROOT, tree
from videos import B_FRAMES, encode, grey_frame, grey_number, overwrite, packet_places

from dataloaders import extract
from dataloaders.errors import DataError, FileError, TransientReadError
from dataloaders.extract import Extraction, ExtractionJob, extract_all, extract_frames
from dataloaders.sampling import ClipConfig
from dataloaders.video import Damage


def make_job(source, folder, *, start=0.0, end=None, **flags):
    """A job whose clips have 4 frames unless `flags` of `ClipConfig.from_flags` say otherwise."""
    config = ClipConfig.from_flags(**{"clip_len": 4, **flags})
    return ExtractionJob(Path(source), Path(folder), config, start, end)


def stored_numbers(folder):
    """The numbers of the grey frames on disk, in the order of their names."""
    return [grey_number(cv2.imread(str(path))) for path in sorted(Path(folder).iterdir())]


# Which frames are stored.


@pytest.mark.parametrize(("length", "interval"), [(5, 1), (16, 1), (46, 3), (61, 4), (99, 4)])
def test_names_sort_in_time_order_and_every_nth_frame_is_kept(tmp_path, length, interval):
    video = encode(tmp_path / "v.mp4", length)
    done = extract_frames(make_job(video, tmp_path / "frames", clip_len=16))
    kept = range(0, length, interval)
    assert done == Extraction(len(kept), False, True, None)
    names = sorted(path.name for path in (tmp_path / "frames").iterdir())
    assert names == [f"{number:05d}.jpg" for number in range(1, len(kept) + 1)]
    assert stored_numbers(tmp_path / "frames") == pytest.approx(kept, abs=0.9)
    image = cv2.imread(str(tmp_path / "frames" / "00001.jpg"))
    assert image.shape == (128, 171, 3)


def test_frames_are_stored_as_large_as_clips_need_them(tmp_path):
    video = encode(tmp_path / "v.mp4", 20)
    extract_frames(make_job(video, tmp_path / "frames", crop_size=224))
    assert cv2.imread(str(tmp_path / "frames" / "00001.jpg")).shape == (256, 342, 3)


def uneven_video(path, **settings):
    """5 frames a second for 2 s, then 25 for 2 s; the number of a frame is 25 times its time."""
    ticks = [200 * number for number in range(10)] + [2000 + 40 * number for number in range(50)]
    return encode(path, [grey_frame(tick / 40) for tick in ticks], ticks=ticks, **settings), ticks


@pytest.mark.parametrize("rate", [2, 5, 12.5, 25, 60])
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_a_frame_rate_takes_the_nearest_frames_in_time(tmp_path, suffix, rate):
    video, ticks = uneven_video(tmp_path / f"v.{suffix}", options=B_FRAMES)
    done = extract_frames(make_job(video, tmp_path / "frames", frame_rate=rate))
    numbers = stored_numbers(tmp_path / "frames")
    times = np.array(ticks) / 1000
    wanted = np.arange(0, 3.98, 1 / rate)
    distances = np.abs(times[None] - wanted[:, None]).min(1)
    assert len(numbers) == len(wanted) == done.num_frames
    for number, target, distance in zip(numbers, wanted, distances, strict=True):
        assert abs(number / 25 - target) <= distance + 0.04
    assert done.is_repeated == (rate > 15.1)  # there are 60 frames in 4 s


@pytest.mark.parametrize("rate", [5, 10, 12.5, 24])
def test_a_frame_rate_takes_the_nearest_frames_at_an_even_rate(tmp_path, rate):
    video = encode(tmp_path / "v.mp4", 100)
    extract_frames(make_job(video, tmp_path / "frames", frame_rate=rate))
    expected = [number for i in range(100) if (number := math.floor(i * 25 / rate + 0.5)) < 100]
    numbers = [round(number) for number in stored_numbers(tmp_path / "frames")]
    assert len(numbers) == len(expected)
    assert np.abs(np.array(numbers) - expected).max() <= (1 if 25 / rate % 1 else 0)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
@pytest.mark.parametrize(
    ("start", "end"), [(0, 1), (1, 2.2), (0.98, 1.05), (2, None), (3.5, 99), (3.96, None)]
)
def test_a_part_is_cut_by_time(tmp_path, suffix, start, end):
    codec = "mpeg4" if suffix == "avi" else "libx264"
    video = encode(tmp_path / f"v.{suffix}", 100, codec)
    job = make_job(video, tmp_path / "frames", start=start, end=end, frame_interval=1)
    done = extract_frames(job)
    expected = [n for n in range(100) if start <= n / 25 < (math.inf if end is None else end)]
    assert stored_numbers(tmp_path / "frames") == pytest.approx(expected, abs=0.9)
    assert done == Extraction(len(expected), False, True, None)


def test_a_part_of_uneven_rate_is_cut_by_time(tmp_path):
    video, ticks = uneven_video(tmp_path / "v.mp4")
    extract_frames(make_job(video, tmp_path / "f", start=1, end=3, frame_interval=1))
    expected = [tick / 40 for tick in ticks if 1000 <= tick < 3000]
    assert stored_numbers(tmp_path / "f") == pytest.approx(expected, abs=0.9)


def test_a_part_without_a_frame_is_named(tmp_path):
    video = encode(tmp_path / "v.mp4", 25)
    for start, end in ((9, 10), (0.01, 0.03)):
        with pytest.raises(DataError, match="v.mp4: there is no frame in this part$"):
            extract_frames(make_job(video, tmp_path / "f", start=start, end=end))


def test_a_short_part_of_a_long_video_has_its_frames_closer_together(tmp_path):
    video = encode(tmp_path / "v.mp4", 100)
    job = make_job(video, tmp_path / "f", start=1, end=1.4, clip_len=4, frame_interval=8)
    assert extract_frames(job).num_frames == 4
    assert stored_numbers(tmp_path / "f") == pytest.approx([25, 28, 31, 34], abs=0.9)


@pytest.mark.parametrize("told", [None, 1, 17, 1000])
@pytest.mark.parametrize("rate", [{"frame_interval": 4}, {"frame_rate": 10}])
def test_a_header_that_tells_the_wrong_length_does_not_matter(tmp_path, monkeypatch, told, rate):
    for length in (20, 90):
        video = encode(tmp_path / "v.mp4", length)
        job = functools.partial(make_job, video, clip_len=16, **rate)
        with monkeypatch.context() as patch:
            extract_frames(job(tmp_path / "right"))
            patch.setattr("dataloaders.video._estimate_num_frames", lambda *_: told)
            extract_frames(job(tmp_path / "wrong"))
        assert tree(tmp_path / "right") == tree(tmp_path / "wrong")


def test_what_lay_in_the_folder_is_removed(tmp_path):
    extract_frames(make_job(encode(tmp_path / "v.mp4", 40), tmp_path / "f"))
    extract_frames(make_job(encode(tmp_path / "v.mp4", 20), tmp_path / "f"))
    assert len(list((tmp_path / "f").iterdir())) == 5


def test_a_folder_of_images_is_a_video_of_its_rate(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(40):
        image = grey_frame(number).reformat(format="bgr24").to_ndarray()
        cv2.imwrite(str(folder / f"img_{number}.png"), image)
        cv2.imwrite(str(folder / f"flow_{number}.png"), 255 - image)
    job = ExtractionJob(folder, tmp_path / "f", ClipConfig.from_flags(frame_rate=5), 1.0, 3.0)
    with pytest.raises(TransientReadError, match="several kinds of images"):
        extract_frames(job)
    job = ExtractionJob(
        folder,
        tmp_path / "f",
        ClipConfig.from_flags(clip_len=4, frame_rate=5),
        start=1.0,
        end=3.0,
        source_fps=10,
        image_prefix="img_",
    )
    assert extract_frames(job) == Extraction(10, False, True, None)
    assert stored_numbers(tmp_path / "f") == pytest.approx(range(10, 30, 2), abs=0.9)


def test_frames_that_are_counted_are_named(tmp_path):
    video = encode(tmp_path / "v.h264", 30)
    assert extract_frames(make_job(video, tmp_path / "f")) == Extraction(8, False, False, None)


# Damage.


def damaged_video(path, numbers, length=50):
    encode(path, length, "mjpeg", pix_fmt="yuvj420p")
    places = packet_places(path)
    for number in numbers:
        place, size = places[number]
        overwrite(path, place + size // 4, size // 2)
    return path


def test_a_damaged_video_is_used_as_far_as_it_is_whole(tmp_path):
    video = damaged_video(tmp_path / "v.avi", [10, 11, 40])
    done = extract_frames(make_job(video, tmp_path / "f", frame_interval=1))
    assert done == Extraction(47, False, True, Damage(3, 50, pytest.approx(0.4)))
    expected = [number for number in range(50) if number not in (10, 11, 40)]
    assert stored_numbers(tmp_path / "f") == pytest.approx(expected, abs=0.9)
    part = extract_frames(make_job(video, tmp_path / "f", start=1, end=1.8, frame_interval=1))
    assert part == Extraction(19, False, True, Damage(1, 20, pytest.approx(1.6)))
    part = extract_frames(make_job(video, tmp_path / "f", start=1, end=1.4, frame_interval=1))
    assert part == Extraction(10, False, True, None)


def test_times_behind_damage_are_right(tmp_path):
    video = damaged_video(tmp_path / "v.avi", range(10, 30))
    extract_frames(make_job(video, tmp_path / "f", frame_rate=5))
    expected = [0, 5, 9, 9, 30, 30, 30, 35, 40, 45]  # the nearest ones to 0, 5, 10, ...
    assert stored_numbers(tmp_path / "f") == pytest.approx(expected, abs=0.9)


def test_a_video_of_which_less_than_half_is_whole_is_not_used(tmp_path):
    video = damaged_video(tmp_path / "half.avi", range(10, 35))
    assert extract_frames(make_job(video, tmp_path / "f")).damage.num_lost == 25
    video = damaged_video(tmp_path / "less.avi", range(10, 36))
    message = "less.avi: 26 of 50 frames are damaged or missing, the first at 0.4 s$"
    with pytest.raises(DataError, match=message):
        extract_frames(make_job(video, tmp_path / "f"))


def test_a_folder_that_cannot_be_made_is_an_error_that_names_it(tmp_path):
    video = encode(tmp_path / "v.mp4", 20)
    with pytest.raises(FileError, match="v.mp4/f: cannot be written: Not a directory$"):
        extract_frames(make_job(video, video / "f"))


def test_a_video_that_is_gone_is_no_fault_of_the_video(tmp_path):
    with pytest.raises(FileError, match="none.mp4: no such file"):
        extract_frames(make_job(tmp_path / "none.mp4", tmp_path / "f"))


def test_the_time_limit_grows_with_the_length(tmp_path):
    file = tmp_path / "v.mp4"
    file.write_bytes(b"0" * 1_000_000)
    assert extract.time_limit(file) == 120 + 20
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(50):
        (folder / f"{number}.png").touch()
    assert extract.time_limit(folder) == 120 + 10
    assert extract.time_limit(tmp_path / "none.mp4") == 120


# Worker processes.

WORKERS = pytest.mark.workers


def instead(monkeypatch, code):
    """Have workers call `code` with a job before they extract it."""
    whole = extract.extract_frames

    @functools.wraps(whole)
    def extract_frames(job):
        code(job)
        return whole(job)

    monkeypatch.setattr(extract, "extract_frames", extract_frames)


def once(job):
    """Whether a job is tried for the first time."""
    mark = job.source.with_suffix(".seen")
    is_first = not mark.exists()
    mark.touch()
    return is_first


def results_of(jobs, processes=1):
    return dict(extract_all(jobs, processes))


@WORKERS
def test_workers_answer_for_every_video(tmp_path):
    jobs = [
        make_job(encode(tmp_path / f"é {number}.mp4", 10 + number), tmp_path / str(number))
        for number in range(6)
    ]
    (tmp_path / "broken.avi").write_bytes(b"no video")
    jobs.append(make_job(tmp_path / "broken.avi", tmp_path / "6"))
    results = results_of(iter(jobs), 3)
    assert sorted(results) == list(range(7))
    for number in range(6):
        assert results[number] == Extraction(4, False, True, None)
        assert len(list((tmp_path / str(number)).iterdir())) == results[number].num_frames
    assert type(results[6]) is DataError
    assert str(results[6]).startswith(f"{tmp_path}/broken.avi: not a video")


@WORKERS
def test_jobs_are_taken_as_workers_become_free(tmp_path):
    video = encode(tmp_path / "v.mp4", 10)
    taken = []

    def jobs():
        for number in range(20):
            taken.append(number)
            yield make_job(video, tmp_path / str(number))

    with contextlib.closing(extract_all(jobs(), 2)) as results:
        next(results)
        assert len(taken) <= 4
    assert not (tmp_path / "19").exists()


@WORKERS
@pytest.mark.skipif(not hasattr(os, "fork"), reason="workers inherit what the test replaces")
def test_a_video_that_crashes_or_hangs_its_worker_is_named_and_the_rest_goes_on(
    tmp_path, monkeypatch
):
    def misbehave(job):
        faulthandler.disable()  # pytest's, which says where each of them crashed
        kind = job.source.stem
        if kind == "aborts" or (kind == "aborts_once" and once(job)):
            os.abort()
        if kind == "faults":
            os.kill(os.getpid(), signal.SIGSEGV)
        if kind == "killed" or (kind == "killed_once" and once(job)):
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == "hangs":
            time.sleep(600)

    instead(monkeypatch, misbehave)
    monkeypatch.setattr(extract, "BASE_TIME_LIMIT", 2)
    monkeypatch.setattr(extract, "BYTES_PER_SECOND", 1e9)
    names = ["a", "aborts", "aborts_once", "faults", "hangs", "killed", "killed_once", "z"]
    jobs = [make_job(encode(tmp_path / f"{name}.mp4", 20), tmp_path / name) for name in names]
    results = {names[number]: result for number, result in extract_all(jobs, 2)}
    whole = Extraction(5, False, True, None)
    assert [results[name] for name in ("a", "aborts_once", "killed_once", "z")] == [whole] * 4
    said = {name: (type(error), str(error)) for name, error in results.items() if error != whole}
    assert said == {
        "aborts": (DataError, f"{tmp_path}/aborts.mp4: the decoder crashed, status -6"),
        "faults": (DataError, f"{tmp_path}/faults.mp4: the decoder crashed, status -11"),
        "hangs": (DataError, f"{tmp_path}/hangs.mp4: not decoded within 2 s"),
        "killed": (
            TransientReadError,
            f"{tmp_path}/killed.mp4: the system killed its worker; is memory short?",
        ),
    }


@WORKERS
def test_a_frame_that_cannot_be_written_stops_everything(tmp_path):
    resource = pytest.importorskip("resource")
    video = encode(tmp_path / "v.mp4", 20)
    jobs = [make_job(video, tmp_path / str(number)) for number in range(20)]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Bytes a file: as if the disk were full.
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(FileError, match="0/00001.jpg: cannot be written; is the disk full?"):
            results_of(jobs)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not (tmp_path / "19").exists()


@WORKERS
def test_a_video_that_has_gone_and_a_fault_of_the_caller_stop_everything(tmp_path):
    with pytest.raises(FileError, match="none.avi: no such file"):
        results_of([make_job(tmp_path / "none.avi", tmp_path / "0")])

    def jobs():
        yield make_job(encode(tmp_path / "v.mp4", 5), tmp_path / "v")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        results_of(jobs())


PARENT = """
import os, sys, time
from pathlib import Path
from dataloaders import extract
from dataloaders.sampling import ClipConfig

def hang(job):
    (job.folder / str(os.getpid())).touch()
    time.sleep(600)

if __name__ == "__main__":
    extract.extract_frames = hang
    job = extract.ExtractionJob(Path(sys.argv[1]), Path(sys.argv[2]), ClipConfig())
    list(extract.extract_all([job] * 2, 2))
"""


def is_running(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_until(condition):
    """Wait for what must come, however slow the machine is."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@WORKERS
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc; workers are forked")
@pytest.mark.parametrize("stop", ["SIGKILL", "SIGINT"])
def test_workers_end_with_their_parent_and_by_ctrl_c(tmp_path, stop):
    folder = tmp_path / "workers"
    folder.mkdir()
    video = encode(tmp_path / "v.mp4", 5)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(video), str(folder)],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        wait_until(lambda: len(list(folder.iterdir())) == 2)
        workers = [int(path.name) for path in folder.iterdir()]
        assert all(map(is_running, workers))
        if stop == "SIGINT":
            os.killpg(parent.pid, signal.SIGINT)  # as a terminal does, to all of them
        else:
            parent.kill()
        _, errors = parent.communicate()  # the workers would sleep on for ten minutes
        wait_until(lambda: not any(map(is_running, workers)))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(parent.pid, signal.SIGKILL)
    assert errors.count("Traceback") == (1 if stop == "SIGINT" else 0)
    assert ("KeyboardInterrupt" in errors) == (stop == "SIGINT")


@WORKERS
def test_log_levels_of_opencv_and_ffmpeg_do_not_matter(tmp_path):
    video = damaged_video(tmp_path / "v.avi", [3], 20)
    code = (
        "import sys; from pathlib import Path\n"
        "from dataloaders.sampling import ClipConfig\n"
        "from dataloaders.extract import ExtractionJob, extract_all\n"
        "if __name__ == '__main__':\n"
        "    job = ExtractionJob(Path(sys.argv[1]), Path(sys.argv[2]), ClipConfig())\n"
        "    print(*extract_all([job], 1))"
    )
    levels = {"OPENCV_LOG_LEVEL": "INFO", "OPENCV_FFMPEG_DEBUG": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(video), str(tmp_path / "f")],
        cwd=ROOT,
        env=os.environ | levels,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("(0, Extraction(num_frames=19, ")


@WORKERS
@pytest.mark.skipif(not hasattr(os, "fork"), reason="workers inherit what the test replaces")
def test_the_workers_end_with_the_caller_whatever_they_do(tmp_path, monkeypatch):
    finished = tmp_path / "finished"

    def work_on(job):
        if job.source.stem == "slow":
            time.sleep(20)
            finished.touch()

    instead(monkeypatch, work_on)
    names = ["quick", "slow", "a", "b", "c"]
    jobs = [make_job(encode(tmp_path / f"{name}.mp4", 10), tmp_path / name) for name in names]
    with contextlib.closing(extract_all(jobs, 2)) as results:
        assert next(results)[0] == 0
    assert multiprocessing.active_children() == []
    assert not finished.exists()
