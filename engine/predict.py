"""Windows of a video -> what a model predicts for them."""

import contextlib
import queue
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from dataloaders.clips import ClipConfig, frame_number
from dataloaders.video import VideoReader
from dataloaders.windows import Window
from engine.errors import Stopped, StopSignal
from engine.loops import clips_to_device
from network.grad_cam import grad_cam

BATCH_SIZE, CPU_BATCH_SIZE = 8, 2  # windows in a batch; more would not fit into the cache of a CPU
MAX_PENDING_FRAMES = 32  # images, half a window, with which a batch is no longer delayed
RECONNECT_PAUSE = 1  # seconds between two attempts to open a stream


def prefetch(items: Iterable, count: int) -> Iterator:
    """Yield the items of an iterable, which another thread takes from it, up to `count` of them ahead."""
    items, end = iter(items), object()
    with ThreadPoolExecutor(1) as thread:
        pending = deque(thread.submit(next, items, end) for _ in range(count))
        while (item := pending.popleft().result()) is not end:
            pending.append(thread.submit(next, items, end))
            yield item


def read_frames(video: VideoReader, progress: tqdm, stop_signal: StopSignal, reconnect: int = 0) -> Iterator:
    """Yield and count the frames of a video; a signal ends a stream, and raises Stopped between two of a file.

    A stream that closes is opened again up to `reconnect` times; None stands between what was before and comes then.
    """
    for attempt in range(1 + reconnect * video.is_live):
        if attempt:
            progress.write(f"{video.name}: closed, opened again ({attempt} of {reconnect})", sys.stderr)
            try:
                video.reopen()
            except OSError:
                time.sleep(RECONNECT_PAUSE)
                continue
            yield None
        for frame in video:
            if stop_signal.signum:
                if video.is_file:
                    raise Stopped(stop_signal.signum)
                return
            progress.update()
            yield frame


def follow(frames: Iterable, video: VideoReader, config: ClipConfig) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (number, frame) of the frames of a live source, which another thread reads as they come.

    Once as many wait as a clip spans, those that come are dropped until none waits any longer, so that a window has
    consecutive frames, and the delay a bound.
    """
    waiting, is_closed = queue.SimpleQueue(), False
    capacity = frame_number(config.clip_len - 1, config.step(video.fps)) + 1

    def read():
        is_behind = False
        try:
            for number, frame in enumerate(frames):
                if is_closed:
                    break
                is_behind = waiting.qsize() > 0 if is_behind else waiting.qsize() >= capacity
                if frame is not None and not is_behind:
                    waiting.put((number, frame))
        finally:
            waiting.put(None)

    with ThreadPoolExecutor(1) as thread:
        reading = thread.submit(read)
        try:
            while item := waiting.get():
                yield item
        finally:
            is_closed = True
        reading.result()  # raises what the reader has raised


def predict(
    model: nn.Module, windows: Iterable[Window], batch_size: int | None = None, with_heatmap=False, with_features=False
) -> Iterator[Window]:
    """Classify windows with a model in evaluation mode; they are yielded with the predictions instead of the clip."""
    device, batch, captured = next(model.parameters()).device, [], {}
    batch_size = batch_size or (CPU_BATCH_SIZE if device.type == "cpu" else BATCH_SIZE)

    def classify():
        clips = clips_to_device(torch.stack([torch.from_numpy(window.clip) for window in batch]), device)
        if with_heatmap:
            logits, heatmaps = grad_cam(model, clips)
            heatmaps = heatmaps.cpu().numpy()
        else:
            with torch.inference_mode():
                logits, heatmaps = model(clips), [None] * len(batch)
        features = captured["inputs"][0].detach().float().cpu().numpy() if with_features else [None] * len(batch)
        results = zip(batch, logits.float().softmax(1).cpu(), heatmaps, features, strict=True)
        for window, probabilities, heatmap, feature in results:
            yield window._replace(clip=None, probabilities=probabilities, heatmap=heatmap, features=feature)
        batch.clear()

    with contextlib.ExitStack() as stack:
        if with_features:
            head = model.get_submodule(model.head)
            stack.enter_context(head.register_forward_pre_hook(lambda _, inputs: captured.update(inputs=inputs)))
        for window in windows:
            batch.append(window)
            if len(batch) == batch_size or sum(len(window.frames) for window in batch) >= MAX_PENDING_FRAMES:
                yield from classify()
        if batch:
            yield from classify()


def smooth_windows(windows: Iterable[Window], count: int) -> Iterator[Window]:
    """Replace the probabilities of each window by the mean over `count` windows around it, fewer at the ends."""
    num_ahead = count // 2
    pending, around = deque(), deque(maxlen=count)
    for window in chain(windows, [None] * num_ahead):
        pending.append(window)
        around.append(window.probabilities if window else None)
        if len(pending) > num_ahead:
            known = [probabilities for probabilities in around if probabilities is not None]
            yield pending.popleft()._replace(probabilities=torch.stack(known).mean(0))
