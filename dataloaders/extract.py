"""Videos -> folders of JPEG frames, in worker processes, which may hang or crash.

    python -m dataloaders.extract

is such a worker. It reads jobs, a JSON list [video, folder] a line, and answers each with one line: {"frames": N},
{"skip": why the video cannot be used, "passing": whether it may be another time} or {"stop": why nothing can be
written}. It ends with its parent.
"""

import contextlib
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2

from dataloaders import clips
from dataloaders.errors import DataError, PassingError
from dataloaders.video import VideoReader
from dataloaders.workers import block_signals

TIMEOUT = 120  # seconds without a new frame, after which a decoder is considered to hang


def extract_frames(source: Path, folder: Path) -> int:
    """Write the frames of a video that training uses as `folder/00001.jpg`, ..., 171x128, and return their number.

    DataError where no frame can be decoded, PassingError where that may be no fault of the file; OSError where there is
    no such file, or a frame cannot be written.
    """
    try:
        video = VideoReader(source, threads=1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise PassingError(f"{source}: {error.strerror or error}") from None
    num_frames = video.num_frames
    while True:
        interval = clips.frame_interval(num_frames)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        num_frames = num_kept = 0
        while video.grab():
            if num_frames % interval == 0:
                frame = video.retrieve()
                if frame is None:
                    raise DataError(f"{source}: frame {num_frames} cannot be decoded")
                num_kept += 1
                file = folder / f"{num_kept:05d}.jpg"
                if not cv2.imwrite(str(file), clips.resize_frame(frame)):
                    raise OSError(f"{file}: cannot be written; is the disk full?")
            num_frames += 1
        if num_frames == 0:
            raise video.no_frame_error()
        if clips.frame_interval(num_frames) == interval:
            return num_kept
        video = VideoReader(source, threads=1)  # the header had the wrong length


def extract_all(jobs: Iterable[tuple[Path, Path]], processes: int) -> Iterator[tuple[int, int, str | None, bool]]:
    """Extract the frames of many videos, several at a time; OSError where one is gone, or frames cannot be written.

    Args:
        jobs: (source, folder), absolute paths; taken as workers become free.

    Yields:
        (number of the job, frames, reason, is_passing) in the order in which jobs end: where a video cannot be used,
        frames is 0, the reason says why, and `is_passing` whether it may be another time.
    """
    jobs, lock, results = enumerate(jobs), threading.Lock(), queue.SimpleQueue()
    workers = [Worker() for _ in range(processes)]

    def serve(worker):
        try:
            while not worker.is_stopped:
                with lock:
                    number, job = next(jobs, (None, None))
                if job is None:
                    break
                results.put((number, worker.run(*job)))
            results.put(None)
        except BaseException as error:  # raised again by the main thread
            results.put(error)
        finally:
            worker.stop()

    threads = [threading.Thread(target=serve, args=(worker,), daemon=True) for worker in workers]
    try:
        for thread in threads:
            thread.start()
        num_active = processes
        while num_active:
            result = results.get()
            if result is None:
                num_active -= 1
                continue
            if isinstance(result, BaseException):
                raise result
            number, answer = result
            if "stop" in answer:
                raise OSError(answer["stop"])
            yield number, answer.get("frames", 0), answer.get("skip"), answer.get("passing", False)
    finally:
        for worker in workers:
            worker.stop()
        for thread in threads:
            if thread.ident:  # an interruption may come before a thread is started
                thread.join()


class Worker:
    """A worker process, started when it is first needed and again after it hung or crashed."""

    def __init__(self):
        self.process, self.is_stopped, self.lock = None, False, threading.Lock()

    def run(self, source: Path, folder: Path) -> dict:
        """Return the answer to a job; after a hang or crash the job is tried once more."""
        for _ in range(2):  # the machine may have been at fault, not the video
            answer, reason = self._request(source, folder)
            if answer or self.is_stopped:
                break
        return answer or {"skip": f"{source}: {reason}"}

    def stop(self) -> None:
        """End the process and start no other."""
        with self.lock:
            self.is_stopped = True
            self._kill()

    def _request(self, source, folder):
        """Return (answer, None), or (None, why there is no answer)."""
        with self.lock:
            if self.is_stopped:
                return None, "interrupted"
            if self.process is None:
                with block_signals():  # Ctrl-C is for the parent
                    self.process = subprocess.Popen(
                        [sys.executable, "-m", "dataloaders.extract"],
                        cwd=Path(__file__).parent.parent,
                        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},  # NumPy's threads, which spin when they start
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        text=True,
                        start_new_session=True,
                    )
            process = self.process
        has_answered, is_hanging = threading.Event(), threading.Event()

        def watch():
            num_frames = 0
            while not has_answered.wait(TIMEOUT):
                previous, num_frames = num_frames, len(list(folder.glob("*")))
                if num_frames == previous:
                    is_hanging.set()
                    process.kill()
                    return

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        line = ""
        with contextlib.suppress(OSError, ValueError):  # the worker has died, or stop() closed the pipe
            print(json.dumps([str(source), str(folder)]), file=process.stdin, flush=True)
            line = process.stdout.readline()
        has_answered.set()
        watcher.join()
        if line.endswith("\n") and not is_hanging.is_set():
            return json.loads(line), None
        with self.lock:
            status = self._kill()
        return None, f"no new frame in {TIMEOUT} s" if is_hanging.is_set() else f"the decoder crashed, status {status}"

    def _kill(self):
        if self.process:
            process, self.process = self.process, None
            process.kill()
            with contextlib.suppress(OSError), process:  # closes its pipes, one of them perhaps with an unread job
                pass
            return process.returncode


def answer_job(source: Path, folder: Path) -> dict:
    """Extract the frames of one video and return the answer of a worker."""
    try:
        return {"frames": extract_frames(source, folder)}
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
        print(json.dumps(answer_job(*map(Path, jobs.get()))), file=answers)


if __name__ == "__main__":
    main()
