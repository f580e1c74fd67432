"""The TensorBoard events of a run."""

import contextlib
import io
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from tensorboardX import summary as summaries
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.utils import figure_to_image

from dataloaders.errors import FileError

GIF_MILLISECONDS = 160  # a frame
GIF_COLORS = 256  # the most that a palette of a GIF has
PALETTE_STEP = 4  # pixels


class RunWriter:
    """Writes the TensorBoard events of a run, each at once.

    tensorboardX's own `SummaryWriter` hands them to a thread through a queue, which needs shared
    memory, and blocks for ever when the thread dies of a full disk.
    """

    def __init__(self, run_dir: Path, *, first_epoch: int | None = None, is_main: bool = True):
        """Open a file of events in the folder of a run, on all ranks but 0 none.

        Args:
            run_dir: The folder of the run.
            first_epoch: TensorBoard drops the points of an interrupted start from this epoch on;
                None to keep all.
            is_main: Whether this is rank 0, which alone writes.
        """
        self._events = None
        if is_main:
            run_dir.mkdir(parents=True, exist_ok=True)
            # The name has seconds only: a start in the same second would overwrite the file.
            self._events = EventsWriter(str(run_dir / "events"), f".{time.time_ns()}")
        self._run_dir = run_dir
        if first_epoch is not None:
            log = SessionLog(status=SessionLog.START)
            self._add_event(Event(step=first_epoch, session_log=log))

    def __enter__(self) -> "RunWriter":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _add_event(self, event: Event) -> None:
        if self._events is None:
            return
        event.wall_time = time.time()
        with self._named_errors():
            self._events.write_event(event)

    @contextlib.contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise FileError(f"{self._run_dir}: cannot be written: {error.strerror}") from error

    def add_summary(self, summary: Summary, step: int | None = None) -> None:
        """Write scalars, images or hyperparameters.

        Args:
            summary: As tensorboardX makes them.
            step: Its step; None where it has none.

        Raises:
            FileError: The disk is full.
        """
        self._add_event(Event(summary=summary, step=step))

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        """Write a point of a curve.

        Args:
            tag: The name of the curve.
            value: Of the point.
            step: Its place.
        """
        self.add_summary(summaries.scalar(tag, value), step)

    def add_figure(self, tag: str, figure, step: int) -> None:
        """Write a figure of matplotlib as an image.

        Args:
            tag: The name of the image.
            figure: Of matplotlib.
            step: Its place.
        """
        image = figure_to_image(figure)
        self.add_summary(summaries.image(tag, image, dataformats="CHW"), step)

    def add_gif(self, tag: str, frames: Sequence[np.ndarray], step: int) -> None:
        """Write an animation.

        Args:
            tag: The name of the animation.
            frames: Images, RGB `uint8` (H, W, 3).
            step: Its place.
        """
        # One palette, chosen from a part of the pixels of all frames: a palette for each frame
        # takes twenty times as long.
        sample = Image.fromarray(np.vstack(frames)[::PALETTE_STEP, ::PALETTE_STEP])
        palette = sample.quantize(GIF_COLORS)
        images = [
            Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE)
            for frame in frames
        ]
        file = io.BytesIO()
        images[0].save(
            file,
            "GIF",
            save_all=True,
            append_images=images[1:],
            duration=GIF_MILLISECONDS,
            loop=0,
        )
        image = Summary.Image(
            height=images[0].height,
            width=images[0].width,
            colorspace=3,
            encoded_image_string=file.getvalue(),
        )
        self.add_summary(Summary(value=[Summary.Value(tag=tag, image=image)]), step)

    def flush(self) -> None:
        """Hand what is written to the operating system."""
        if self._events is not None:
            with self._named_errors():
                self._events.flush()

    def close(self) -> None:
        """Close the file."""
        if self._events is not None:
            self._events.close()
