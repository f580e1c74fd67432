"""Videos -> folders of JPEG frames, in worker processes that may hang or die.

    python -m dataloaders.extract

is such a worker. It reads jobs, a JSON list [video, folder] a line, and answers each with one line: {"frames": N},
{"skip": why the video is of no use} or {"stop": why nothing can be written}. It ends with its parent.
"""

import contextlib
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import cv2

from dataloaders import clips
from dataloaders.workers import block_signals

TIME_LIMIT = 120  # seconds without a new frame, after which a decoder is taken to hang


def extract(source, folder):
    """Write the frames of one video that training uses as `folder/00001.jpg`, ..., 171 wide and 128 high.

    Returns:
        The number of frames written.

    Raises:
        ValueError: it is no video, or no frame can be decoded.
        OSError: there is no such file, or a frame cannot be written.
    """
    video = clips.open_video(source, threads=1)
    total = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    while True:
        interval = clips.frame_interval(total)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        total = kept = 0
        while video.grab():
            if total % interval == 0:
                read, frame = video.retrieve()
                if not read:
                    raise ValueError(f"{source}: frame {total} cannot be decoded")
                kept += 1
                file = folder / f"{kept:05d}.jpg"
                if not cv2.imwrite(str(file), clips.resize(frame)):
                    raise OSError(f"{file}: cannot be written; is the disk full?")
            total += 1
        if total == 0:
            raise ValueError(f"{source}: no frame can be decoded")
        if clips.frame_interval(total) == interval:
            return kept
        video = clips.open_video(source, threads=1)  # the file's header had told the wrong length


def extract_all(jobs, processes):
    """Extract the frames of many videos, several at a time.

    Args:
        jobs: iterable of (source, folder), absolute paths; read as workers get free.
        processes: how many at a time.

    Yields:
        (number of the job, frames, reason), in the order in which they end: frames is 0 where the video is of no use,
        and the reason says why.

    Raises:
        OSError: a video has gone, or frames cannot be written.
    """
    jobs, lock, answers = enumerate(jobs), threading.Lock(), queue.SimpleQueue()
    workers = [Worker() for _ in range(processes)]

    def serve(worker):
        try:
            while not worker.stopped:
                with lock:
                    number, job = next(jobs, (None, None))
                if job is None:
                    break
                answers.put((number, worker(*job)))
            answers.put(None)
        except BaseException as error:  # raised again below
            answers.put(error)
        finally:
            worker.stop()

    threads = [threading.Thread(target=serve, args=(worker,), daemon=True) for worker in workers]
    try:
        for thread in threads:
            thread.start()
        at_work = processes
        while at_work:
            said = answers.get()
            if said is None:
                at_work -= 1
                continue
            if isinstance(said, BaseException):
                raise said
            number, outcome = said
            if "stop" in outcome:
                raise OSError(outcome["stop"])
            yield number, outcome.get("frames", 0), outcome.get("skip")
    finally:
        for worker in workers:
            worker.stop()
        for thread in threads:
            if thread.ident:  # an interruption may have come before it was started
                thread.join()


class Worker:
    """A worker process, started when it is needed, and again after it hung or died."""

    def __init__(self):
        self.process, self.stopped, self.lock = None, False, threading.Lock()

    def __call__(self, source, folder):
        for _ in range(2):  # the fault may have been the machine's, not the video's
            outcome, reason = self._ask(source, folder)
            if outcome or self.stopped:
                break
        return outcome or {"skip": f"{source}: {reason}"}

    def stop(self):
        """End the process, and start no other."""
        with self.lock:
            self.stopped = True
            self._end()

    def _ask(self, source, folder):
        """Returns (answer, why there is none)."""
        with self.lock:
            if self.stopped:
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
        answered, hung = threading.Event(), threading.Event()

        def watch():
            frames = 0
            while not answered.wait(TIME_LIMIT):
                before, frames = frames, len(list(folder.glob("*")))
                if frames == before:
                    hung.set()
                    process.kill()
                    return

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        line = ""
        with contextlib.suppress(OSError, ValueError):  # a pipe whose other end has gone, or which stop() closed
            print(json.dumps([str(source), str(folder)]), file=process.stdin, flush=True)
            line = process.stdout.readline()
        answered.set()
        watcher.join()
        if line.endswith("\n") and not hung.is_set():
            return json.loads(line), None
        with self.lock:
            status = self._end()
        return None, f"no new frame in {TIME_LIMIT} s" if hung.is_set() else f"the decoder crashed with status {status}"

    def _end(self):
        if self.process:
            process, self.process = self.process, None
            process.kill()
            with contextlib.suppress(OSError), process:  # closes its pipes, one of them perhaps with an unread job
                pass
            return process.returncode


def answer(source, folder):
    """What a worker answers to a job."""
    try:
        return {"frames": extract(source, folder)}
    except ValueError as error:
        return {"skip": str(error)}
    except OSError as error:
        return {"stop": str(error)}


def work():
    """Be a worker."""
    cv2.setNumThreads(0)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a decoder prints is no answer
    jobs = queue.SimpleQueue()

    def listen():
        for line in sys.stdin:
            jobs.put(json.loads(line))
        os._exit(0)  # the parent has gone

    threading.Thread(target=listen, daemon=True).start()
    while True:
        print(json.dumps(answer(*map(Path, jobs.get()))), file=answers)


if __name__ == "__main__":
    work()
