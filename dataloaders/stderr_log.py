"""What libraries written in C print: FFmpeg tells nowhere else that it could not convert a frame."""

import os
import sys
import tempfile
import threading


class StderrLog:
    """Sends the standard error stream to a temporary file within a `with` block, which one thread enters at a time."""

    lock, file = threading.Lock(), None

    def __enter__(self) -> None:
        self.lock.acquire()
        if self.file is None:
            if sys.stderr is None:  # closed, and the next file that is opened would get its number
                os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            for name in ("OPENCV_FFMPEG_LOGLEVEL", "OPENCV_FFMPEG_DEBUG"):
                os.environ.pop(name, None)  # with them it prints elsewhere, or less
            self.file = tempfile.TemporaryFile(buffering=0)
        self.file.seek(0)
        self.file.truncate()
        self.stderr = os.dup(2)
        os.dup2(self.file.fileno(), 2)

    def __exit__(self, *_) -> None:
        os.dup2(self.stderr, 2)
        os.close(self.stderr)
        self.lock.release()

    def read(self) -> str:
        """Return what was printed since the start of the block."""
        self.file.seek(0)
        return self.file.read().decode(errors="replace")


STDERR_LOG = StderrLog()
