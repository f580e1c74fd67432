"""Videos -> folders of JPEG frames, in worker processes, which may hang or crash.
`python -m dataloaders.extract` is such a worker. It reads jobs, a JSON list of the arguments of `extract_frames` a
line, and writes what `answer_job` returns for each as one line. It ends with its parent."""

import contextlib
import json
import math
import os
import queue
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from itertools import islice
from pathlib import Path

import cv2

from dataloaders.clips import ClipConfig, frame_number, resize_frame
from dataloaders.errors import DataError, PassingError
from dataloaders.images import ImageFolder
from dataloaders.video import VideoReader
from dataloaders.workers import block_signals

TIMEOUT = 120  # seconds without a new frame, after which a decoder is considered to hang


def extract_frames(
    source,
    folder,
    settings: dict | None = None,
    start=0,
    end=math.inf,
    source_fps=25,
    image_prefix: str | None = None,
) -> dict:
    """Write the frames that clips of `ClipConfig(**settings)` are cut from as `folder/00001.jpg`, ...
    The source is a video, of which the seconds from `start` to `end` are taken, or a folder of images.
    DataError where none can be decoded, PassingError where the file may not be at fault; OSError where it is gone, or a
    frame cannot be written. Returns the number of "frames", and whether some are "repeated"."""
    source, folder, config, num_frames = Path(source), Path(folder), ClipConfig(**settings or {}), 0
    while True:
        try:
            video = (
                ImageFolder(source, source_fps, image_prefix)
                if source.is_dir()
                else VideoReader(source, threads=1)
            )
        except FileNotFoundError:
            raise
        except OSError as error:
            raise PassingError(f"{source}: {error.strerror or error}") from None
        if config.frame_rate and not video.has_frame_rate:
            raise PassingError(f"{source}: no frame rate in its header; --frame-interval takes it")
        if start:
            video.seek(start)
        length = round((end - start) * video.fps) if end < math.inf else math.inf
        step = config.step(
            video.fps, num_frames or min(length, video.num_frames)
        )  # as counted, or by the header
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        num_frames = num_written = 0
        while num_frames < length and video.grab():
            while frame_number(num_written, step) == num_frames:
                if (frame := video.retrieve()) is None:
                    raise DataError(f"{source}: frame {num_frames} cannot be decoded")
                num_written += 1
                file = folder / f"{num_written:05d}.jpg"
                if not cv2.imwrite(str(file), resize_frame(frame, *config.stored_size)):
                    raise OSError(f"{file}: cannot be written; is the disk full?")
            num_frames += 1
        if num_frames == 0:
            raise video.no_frame_error()
        if config.step(video.fps, num_frames) == step:  # else the header is wrong
            return {"frames": num_written, "repeated": step < 1}


def extract_all(jobs: Iterable[tuple], processes: int) -> Iterator[tuple[int, dict]]:
    """Extract the frames of many videos, several at a time; OSError where one is gone, or frames cannot be written.
    Jobs, arguments of `extract_frames` with absolute paths, wait for a free worker. Yields (number, answer)."""
    workers, pending = [Worker() for _ in range(processes)], set()
    idle = workers.copy()

    def run(number, job):
        worker = idle.pop()
        answer = worker.run(*job)
        idle.append(worker)
        if "stop" in answer:
            raise OSError(answer["stop"])
        return number, answer

    with ThreadPoolExecutor(processes) as executor:
        futures = (executor.submit(run, *job) for job in enumerate(jobs))
        try:
            # As many jobs wait as are worked on: the workers stay busy while the caller takes what is yielded.
            while pending := pending | set(islice(futures, 2 * processes - len(pending))):
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        finally:
            executor.shutdown(wait=False, cancel_futures=True)
            for worker in workers:
                worker.stop()


class Worker:
    """A worker process, started when it is first needed and again after it hung or crashed."""

    process, is_stopped = None, False

    def run(self, *job) -> dict:
        """Return the answer to a job; after a hang or crash the job is tried once more."""

        def ask(process, lines):
            with contextlib.suppress(
                OSError, ValueError
            ):  # the worker has died, or stop() closed the pipe
                print(json.dumps(job, default=str), file=process.stdin, flush=True)
                lines.append(process.stdout.readline())

        for _ in range(2):  # the machine may have been at fault, not the video
            process = self.process = self.process or _start_process()
            if self.is_stopped:  # stop() may have come before there was a process
                process.kill()
            lines, num_frames, previous = [], 0, None
            thread = threading.Thread(target=ask, args=(process, lines), daemon=True)
            thread.start()
            while thread.is_alive() and num_frames != previous:
                thread.join(TIMEOUT)
                previous, num_frames = num_frames, len(list(Path(job[1]).glob("*")))
            is_hanging = thread.is_alive()
            if lines and lines[0].endswith("\n"):
                return json.loads(lines[0])
            status = self._kill()
            if self.is_stopped:
                break
        reason = (
            f"no new frame in {TIMEOUT} s"
            if is_hanging
            else f"the decoder crashed, status {status}"
        )
        return {"skip": f"{job[0]}: {reason}", "passing": False}

    def stop(self) -> None:
        """End the process and start no other; it is called while `run` works in another thread."""
        self.is_stopped = True
        self._kill()

    def _kill(self):
        process, self.process = self.process, None
        if process:
            with (
                contextlib.suppress(OSError),
                process,
            ):  # closes its pipes, one of them perhaps with an unread job
                process.kill()
            return process.returncode


def _start_process() -> subprocess.Popen:
    command, root = [sys.executable, "-m", "dataloaders.extract"], Path(__file__).parent.parent
    env = os.environ | {"OPENBLAS_NUM_THREADS": "1"}  # NumPy's threads, which spin when they start
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with block_signals():  # Ctrl-C is for the parent
        return subprocess.Popen(command, cwd=root, env=env, **pipes, start_new_session=True)


def answer_job(*job) -> dict:
    """Return what `extract_frames` does, {"skip": reason, "passing": whether that may pass} or {"stop": reason}."""
    try:
        return extract_frames(*job)
    except DataError as error:
        return {"skip": str(error), "passing": isinstance(error, PassingError)}
    except OSError as error:
        return {"stop": str(error)}


def main() -> None:
    """Answer jobs from standard input until it is closed."""
    cv2.setNumThreads(0)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a decoder prints is not an answer
    jobs = queue.SimpleQueue()

    def listen():
        for line in sys.stdin:
            jobs.put(json.loads(line))
        os._exit(0)  # the parent has ended

    threading.Thread(target=listen, daemon=True).start()
    while True:
        print(json.dumps(answer_job(*jobs.get())), file=answers)


if __name__ == "__main__":
    main()
