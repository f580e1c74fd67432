"""A video -> the overlapping windows that it is classified by."""

import math
from collections import deque
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import chain, count, groupby, islice
from typing import NamedTuple

import numpy as np
from torch import Tensor

from dataloaders.clips import ClipConfig, frame_number, make_clip, resize_frame
from dataloaders.errors import DataError

print_once = cache(print)  # each message, whatever the number of videos


class Window(NamedTuple):
    """A part of a video, its clip, and what a model predicts for it."""

    start: int  # it covers the frames start..end-1
    end: int
    frames: list  # BGR images (H, W, 3), the frames of the video to which this window is the nearest, where kept
    clip: np.ndarray | None = None  # (T, H, W, 3) RGB, until the model has seen it
    probabilities: Tensor | None = None  # (num_classes,)
    heatmap: np.ndarray | None = None  # (T, H, W), see `network.grad_cam.grad_cam`
    step: float = 1  # distance between two images of the clip, in frames
    nearest: tuple[int, int] = (0, 0)  # the half-open range of frames to which it is the nearest
    features: np.ndarray | None = None  # (512,) or (4096,), what the last layer of the model sees

    def heatmap_at(self, frame: int) -> np.ndarray:
        """Return the heat map (H, W) of the clip's image nearest to a frame of the video."""
        return self.heatmap[
            min(max(round((frame - self.start) / self.step), 0), len(self.heatmap) - 1)
        ]


def sliding_windows(frames: Iterable, span: int, stride: int) -> Iterator[tuple[int, list]]:
    """Yield (start, frames) of windows of `span` frames, `stride` apart, the last at the end; a short stream is one."""
    recent, is_due = deque(maxlen=span), True
    for end, frame in enumerate(frames, start=1):
        recent.append(frame)
        if is_due := end >= span and (end - span) % stride == 0:
            yield end - span, list(recent)
    if not is_due:
        yield end - len(recent), list(recent)


def cut_windows(
    frames: Iterable, config: ClipConfig, stride=None, keep_frames=True, video=None
) -> Iterator[Window]:
    """Cut overlapping windows over a whole video; each spans the frames that a clip in training would.
    The frames, BGR images (H, W, 3), are read once, and with `keep_frames` passed on in `Window.frames`. A `stride` is
    half a window by default. Clips by frame rate need the VideoReader, `video`. DataError where there is no frame."""
    pending, previous, num_passed = (
        deque(),
        None,
        0,
    )  # frames that have been read and belong to no window yet

    def scale(frame):
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise DataError(f"not an image, BGR uint8 (H, W, 3), but {frame.dtype} {frame.shape}")
        image = resize_frame(frame, *config.stored_size)
        if keep_frames:
            pending.append(frame)
        return (
            image.copy() if keep_frames and image is frame else image
        )  # the frame is going to be drawn on

    scaled = map(scale, frames)
    first_images = list(islice(scaled, config.clip_len))
    if not first_images:
        raise DataError("no frame can be decoded")
    fps = video.fps if video else 0  # which a live source has measured by now
    span = frame_number(config.clip_len - 1, config.step(fps)) + 1
    first_images += islice(scaled, max(0, span - len(first_images)))
    step = config.step(fps, len(first_images))  # smaller in a video that is shorter than one window
    if step < 1:
        print_once(
            f"frames are repeated where a video has fewer than {config.frame_rate:g} a second"
        )
    offsets = [frame_number(i, step) for i in range(config.clip_len)]
    stride = stride or max(1, int(config.clip_len * step / 2))
    images_in_order = chain(iter(first_images), scaled)
    del first_images  # the iterator alone holds these images, and lets them go when they are read
    for start, images in sliding_windows(images_in_order, offsets[-1] + 1, stride):
        end = start + len(images)
        if previous:
            border = math.ceil(
                (previous.start + previous.end + start + end) / 4 - 0.5
            )  # between the two middles
            nearest = [pending.popleft() for _ in range(num_passed, border) if keep_frames]
            yield previous._replace(frames=nearest, nearest=(num_passed, border))
            num_passed = border
        clip = make_clip((images[min(offset, len(images) - 1)] for offset in offsets), config)
        previous = Window(start, end, [], clip, step=step)
    yield previous._replace(frames=list(pending), nearest=(num_passed, end))


def cut_runs(numbered: Iterable[tuple[int, np.ndarray]], *settings) -> Iterator[Window]:
    """Cut windows over each run of frames with consecutive numbers; the settings are those of `cut_windows`."""
    positions = count()
    for _, run in groupby(numbered, key=lambda pair: pair[0] - next(positions)):
        first, frame = next(run)
        for window in cut_windows(chain([frame], (frame for _, frame in run)), *settings):
            nearest = window.nearest[0] + first, window.nearest[1] + first
            yield window._replace(
                start=window.start + first, end=window.end + first, nearest=nearest
            )
