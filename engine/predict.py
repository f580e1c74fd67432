"""Windows of a video -> what a model predicts for them."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor, nn

from dataloaders.video import VideoReader
from dataloaders.windows import Window
from engine.errors import Stopped, StopSignal
from engine.loops import clips_to_device
from network.grad_cam import grad_cam

BATCH_SIZE, CPU_BATCH_SIZE = 8, 2  # windows in a batch; more would not fit into the cache of a CPU
MAX_PENDING_FRAMES = 32  # images, half a window, with which a batch is no longer delayed


def prefetch(items: Iterable, count: int) -> Iterator:
    """Yield the items of an iterable, which another thread takes from it, up to `count` of them ahead."""
    items, end = iter(items), object()
    with ThreadPoolExecutor(1) as thread:
        pending = deque(thread.submit(next, items, end) for _ in range(count))
        while (item := pending.popleft().result()) is not end:
            pending.append(thread.submit(next, items, end))
            yield item


def read_frames(video: VideoReader, progress, stop_signal: StopSignal) -> Iterator:
    """Yield and count the frames of a video; a signal ends a stream, and raises Stopped between two of a file."""
    for frame in video:
        if stop_signal.signum:
            if video.is_file:
                raise Stopped(stop_signal.signum)
            return
        progress.update()
        yield frame


def predict(
    model: nn.Module, windows: Iterable[Window], batch_size: int | None = None, with_heatmap: bool = False
) -> Iterator[Window]:
    """Classify windows with a model in evaluation mode; they are yielded with the predictions instead of the clip."""
    device = next(model.parameters()).device
    batch_size = batch_size or (CPU_BATCH_SIZE if device.type == "cpu" else BATCH_SIZE)
    batch = []
    for window in windows:
        batch.append(window)
        if len(batch) == batch_size or sum(len(window.frames) for window in batch) >= MAX_PENDING_FRAMES:
            yield from _predict_batch(model, batch, device, with_heatmap)
            batch = []
    if batch:
        yield from _predict_batch(model, batch, device, with_heatmap)


def _predict_batch(model, batch, device, with_heatmap):
    clips = clips_to_device(torch.stack([torch.from_numpy(window.clip) for window in batch]), device)
    if with_heatmap:
        logits, heatmaps = grad_cam(model, clips)
        heatmaps = heatmaps.cpu().numpy()
    else:
        with torch.inference_mode():
            logits, heatmaps = model(clips), [None] * len(batch)
    for window, probabilities, heatmap in zip(batch, logits.float().softmax(1).cpu(), heatmaps, strict=True):
        yield window._replace(clip=None, probabilities=probabilities, heatmap=heatmap)


def top_k(probabilities: Tensor, classes: Sequence[str], k: int) -> list[dict[str, Any]]:
    """Return the k likeliest classes, the likeliest first, as {"label", "probability"}."""
    values, labels = probabilities.topk(min(k, len(classes)))
    pairs = zip(labels.tolist(), values.tolist(), strict=True)
    return [{"label": classes[label], "probability": probability} for label, probability in pairs]


def summarize(video: VideoReader, windows: Iterable[Window], classes: Sequence[str], k: int) -> dict[str, Any]:
    """Use up the windows of a video, and return its "fps", its number of "frames", its "top_k" and "windows".

    Its "top_k" is by the mean over the windows; each of these has "start" and "end", in seconds, and its own "top_k".
    """
    total, parts = 0, []
    for window in windows:
        total = total + window.probabilities
        start, end = (round(seconds, 3) for seconds in video.interval(window.start, window.end))
        likeliest = top_k(window.probabilities, classes, k)  # plain values, as small tensors fragment memory
        parts.append({"start": start, "end": end, "top_k": likeliest})
    likeliest = top_k(total / len(parts), classes, k)
    return {"fps": video.fps, "frames": window.end, "top_k": likeliest, "windows": parts}
