"""What libraries written in C print, OpenCV and its FFmpeg above all."""

import os
import tempfile
import threading


class StderrLog:
    """Within a `with` block, what libraries in C print to the standard error stream goes to a temporary file.

    FFmpeg tells nowhere else that it could not convert a frame. One thread at a time is in the block.
    """

    lock, file = threading.Lock(), None

    def __enter__(self) -> None:
        self.lock.acquire()
        if self.file is None:
            for name in ("OPENCV_FFMPEG_LOGLEVEL", "OPENCV_FFMPEG_DEBUG"):
                os.environ.pop(name, None)  # with them it prints elsewhere, or less
            self.file = tempfile.TemporaryFile(buffering=0)
        if self.file.tell():
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
