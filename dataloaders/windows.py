"""A video -> the overlapping windows that it is classified by."""

import math
from collections import deque
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dataloaders import clips
from dataloaders.clips import ClipConfig
from dataloaders.errors import DataError
from dataloaders.video import VideoReader

if TYPE_CHECKING:
    import torch


@cache
def note_held_frames(frame_rate: float) -> None:
    """Print once that a video has fewer frames a second than its clips."""
    print(f"frames are held where a video has fewer than {frame_rate:g} a second")


class Window(NamedTuple):
    """A part of a video, its clip, and what a model predicts for it."""

    start: int  # it covers the frames start..end-1
    end: int
    frames: list  # BGR images (H, W, 3), the frames of the video to which this window is the nearest
    clip: np.ndarray | None = None  # (T, H, W, 3) RGB, until the model has seen it
    probabilities: "torch.Tensor | None" = None  # (num_classes,)
    heatmap: np.ndarray | None = None  # (T, H, W), see `network.grad_cam.grad_cam`
    step: float = 1  # distance between two images of the clip, in frames

    def heatmap_at(self, frame: int) -> np.ndarray:
        """Return the heat map (H, W) of the clip's image nearest to a frame of the video."""
        return self.heatmap[min(max(round((frame - self.start) / self.step), 0), len(self.heatmap) - 1)]


def cut_windows(
    frames: Iterable[np.ndarray],
    config: ClipConfig,
    stride: int | None = None,
    keep_frames: bool = True,
    video: VideoReader | None = None,
) -> Iterator[Window]:
    """Cut overlapping windows over a whole video; each spans the frames that a clip in training would.

    Args:
        frames: BGR images (H, W, 3), read once; as many are kept in memory as a window spans and a stride.
        stride: frames from the start of one window to that of the next; half a window by default.
        keep_frames: pass the images on in `Window.frames`.
        video: what the frames are read from; a clip of so many frames a second needs its rate.

    Yields:
        Windows with their clips; the last one ends on the last frame. DataError where there is no frame.
    """
    scaled = ((frame if keep_frames else None, clips.resize_frame(frame, *config.stored_size)) for frame in frames)
    head = deque(islice(scaled, config.clip_len))
    if not head:
        raise DataError("no frame can be decoded")
    # A live source has been measured by now. The interval of a video that is shorter than one window is smaller.
    fps = video.fps if video else 0
    span = clips.frame_number(config.clip_len - 1, config.step(fps)) + 1
    head += islice(scaled, max(0, span - len(head)))
    step = config.step(fps, len(head)) if len(head) < span else config.step(fps)
    if step < 1:
        note_held_frames(config.frame_rate)
    offsets = [clips.frame_number(i, step) for i in range(config.clip_len)]
    stride = stride or max(1, int(config.clip_len * step / 2))
    pending, previous, num_passed = deque(), None, 0  # frames that have been read and belong to no window yet

    def small_frames():
        while pair := head.popleft() if head else next(scaled, None):
            frame, small = pair
            if keep_frames:
                pending.append(frame)
            yield small.copy() if small is frame else small  # the frame itself is going to be drawn on

    for start, end, images in clips.sliding_windows(small_frames(), offsets, stride):
        if previous:
            border = math.ceil((previous.start + previous.end + start + end) / 4 - 0.5)  # between the two middles
            nearest = [pending.popleft() for _ in range(num_passed, border) if keep_frames]
            num_passed = border
            yield previous._replace(frames=nearest)
        previous = Window(start, end, [], clips.make_clip(images, config), step=step)
    yield previous._replace(frames=list(pending))
