"""A model that recognises the actions in videos: the windows of a video -> what is predicted for them."""

import contextlib
import queue
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, groupby, repeat
from pathlib import Path
from statistics import fmean
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from dataloaders.clips import ClipConfig, frame_number
from dataloaders.dataset import KINETICS_LABELS, read_labels
from dataloaders.video import VideoReader
from dataloaders.windows import Window, cut_runs
from engine.annotate import annotate
from engine.args import validate_range
from engine.build import load_weights
from engine.checkpoint import load_checkpoint, restore_model
from engine.distributed import Distributed
from engine.errors import Stopped, StopSignal, UsageError
from engine.loops import clips_to_device
from engine.runs import newest_best_checkpoint
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


def read_frames(
    video: VideoReader, progress: tqdm, stop_signal: StopSignal, reconnect: int = 0
) -> Iterator:
    """Yield and count the frames of a video; a signal ends a stream, and raises Stopped between two of a file.
    A stream that closes is opened again up to `reconnect` times; None is yielded between two connections."""
    for attempt in range(1 + reconnect * video.is_live):
        if attempt:
            progress.write(
                f"{video.name}: closed, opened again ({attempt} of {reconnect})", sys.stderr
            )
            try:
                video.reopen()
            except OSError:
                time.sleep(RECONNECT_PAUSE)
                continue
            yield None
        for frame in video:
            progress.update()
            yield frame
            if stop_signal.signum:
                if video.is_file:
                    raise Stopped(stop_signal.signum)
                return


def follow(
    frames: Iterable, video: VideoReader, config: ClipConfig
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (number, frame) of the frames of a live source, which another thread reads as they come.
    Once as many wait as a clip spans, those that come are dropped until none waits any longer, so that a window has
    consecutive frames, and the delay a bound."""
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


def classify_windows(
    model, windows, batch_size=None, with_heatmap=False, with_features=False
) -> Iterator[Window]:
    """Yield the windows with what a model in evaluation mode predicts for them; the clips are dropped."""
    device, batch, captured = next(model.parameters()).device, [], {}
    batch_size = batch_size or (CPU_BATCH_SIZE if device.type == "cpu" else BATCH_SIZE)

    def classify():
        clips = clips_to_device(
            torch.stack([torch.from_numpy(window.clip) for window in batch]), device
        )
        if with_heatmap:
            logits, heatmaps = grad_cam(model, clips)
            heatmaps = heatmaps.cpu().numpy()
        else:
            with torch.inference_mode():
                logits, heatmaps = model(clips), [None] * len(batch)
        features = (
            captured["inputs"][0].detach().float().cpu().numpy()
            if with_features
            else [None] * len(batch)
        )
        results = zip(batch, logits.float().softmax(1).cpu(), heatmaps, features, strict=True)
        for window, probabilities, heatmap, feature in results:
            yield window._replace(
                clip=None, probabilities=probabilities, heatmap=heatmap, features=feature
            )
        batch.clear()

    with contextlib.ExitStack() as stack:
        if with_features:
            head = model.get_submodule(model.head)
            stack.enter_context(
                head.register_forward_pre_hook(lambda _, inputs: captured.update(inputs=inputs))
            )
        for window in windows:
            batch.append(window)
            if (
                len(batch) == batch_size
                or sum(len(window.frames) for window in batch) >= MAX_PENDING_FRAMES
            ):
                yield from classify()
        if batch:
            yield from classify()


def smooth_windows(windows: Iterable[Window], count: int) -> Iterator[Window]:
    """Replace the probabilities of each window by the mean over `count` windows around it, fewer at the ends."""
    num_ahead, pending, around = count // 2, deque(), deque(maxlen=count)
    for window in chain(windows, repeat(None, num_ahead)):
        pending.append(window)
        around.append(window.probabilities if window else None)
        if len(pending) > num_ahead:
            known = [probabilities for probabilities in around if probabilities is not None]
            yield pending.popleft()._replace(probabilities=torch.stack(known).mean(0))


class Recognizer:
    """A model in evaluation mode, with how its clips are cut.
    It is that of a `checkpoint` of train.py, by default the newest best under ./run, or of public `weights`, a file or
    a name, whose classes are the lines of the file `labels`. The `top_k` likeliest classes are reported of windows that
    are `stride` frames apart (half a window). Probabilities are the mean over `smooth` windows; a window whose
    likeliest class stays below the `threshold` has no label. OSError or one of our errors where these cannot be had."""

    def __init__(
        self,
        checkpoint=None,
        weights=None,
        labels=None,
        device=None,
        top_k=5,
        stride=None,
        threshold=0.0,
        smooth=1,
    ):
        validate_range(top_k=top_k, stride=stride, threshold=threshold, smooth=smooth)
        if weights and checkpoint or labels and not weights:
            raise UsageError("--weights or --checkpoint, not both; --labels goes with --weights")
        device = Distributed().select_device(
            device or ("cuda" if torch.cuda.is_available() else "cpu")
        )
        self.file = weights or checkpoint or newest_best_checkpoint(Path("run"))
        if weights:
            self.model = load_weights(weights)
            name, clip, num_classes = (
                f"--weights {weights}",
                self.model.clip,
                self.model.num_classes,
            )
            self.config = (
                ClipConfig.from_dict(clip) if "height" in clip else ClipConfig.from_flags(**clip)
            )
            if not num_classes:
                raise UsageError(f"{name}: has no last layer; train.py --weights trains one")
            labels = labels or (
                KINETICS_LABELS if num_classes == 400 and not self.model.classes else None
            )
            self.model.classes = read_labels(labels) if labels else self.model.classes
            if not self.model.classes:
                raise UsageError(
                    f"{name}: its {num_classes} classes have no names; --labels FILE has a line for each"
                )
            if (count := len(self.model.classes)) != num_classes:
                raise UsageError(
                    f"--labels {labels}: {count} names, and {weights} has {num_classes} classes"
                )
        else:
            content = load_checkpoint(Path(self.file))
            self.model, self.config = (
                restore_model(content, self.file),
                ClipConfig.from_dict(content["clip"]),
            )
        self.model.eval().to(device, memory_format=torch.channels_last_3d)
        self.top_k, self.stride, self.threshold, self.smooth = top_k, stride, threshold, smooth

    def predict(
        self,
        video,
        target=None,
        features=False,
        grad_cam=False,
        reconnect=0,
        progress=None,
        stop=None,
        **drawing,
    ) -> dict[str, Any]:
        """Recognise the actions in a file, a stream (by its address), a camera (by its number) or a VideoReader.
        Returns what inference.py writes as JSON, with `features` also those of the windows, float32 (windows, 512 or
        4096). The file `target` gets the annotated video, see `annotate` for how it is drawn, with `grad_cam` coloured
        where the model looks. A stream that closes is opened again up to `reconnect` times. A StopSignal can `stop` it,
        which raises Stopped for a file. OSError where one cannot be read or written, DataError for a broken video."""
        target = target and Path(target)
        if not isinstance(video, VideoReader):
            name = str(video)
            is_file = isinstance(video, Path) or "://" not in name and not name.isdecimal()
            video = VideoReader(Path(name) if is_file else name)
        if target and video.is_file and target.resolve() == video.source.resolve():
            raise UsageError(f"{target}: would be overwritten")
        progress = tqdm(disable=True) if progress is None else progress
        frames = read_frames(video, progress, stop or StopSignal(), reconnect)
        windows = self._windows(frames, video, target is not None, None, grad_cam, features)
        total, num_seen, parts, rows, latencies = 0, 0, [], [], []
        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.closing(windows))
            if target:
                target.parent.mkdir(parents=True, exist_ok=True)
                drawing |= {"threshold": self.threshold}
                windows = annotate(
                    windows, target, self.model.classes, video, self.config, **drawing
                )
                stack.enter_context(contextlib.closing(windows))
            for window in windows:
                parts.append((self._describe(window, video), video.interval(*window.nearest)))
                rows.append(window.features)
                total, num_seen = (
                    total + window.probabilities,
                    num_seen + window.nearest[1] - window.nearest[0],
                )
                if video.is_live:
                    latencies.append(time.monotonic() - video.arrivals[window.end - 1])
                    progress.set_postfix_str(f"latency {latencies[-1]:.1f} s")
        result = {
            "video": video.name,
            "checkpoint": str(self.file),
            "model": self.model.name,
            "fps": video.fps,
        }
        result |= {
            "frames": window.end,
            "top_k": self._top_k(total / len(parts)),
            "events": find_events(parts),
        }
        result["windows"] = [part for part, _ in parts]
        if latencies:
            result["latency"] = {
                "mean": round(fmean(latencies), 3),
                "max": round(max(latencies), 3),
            }
            result["dropped"] = len(video.timestamps) - num_seen
        return result | ({"features": np.stack(rows)} if features else {})

    def stream(self, frames: Iterable[np.ndarray], fps: float = 25) -> Iterator[dict[str, Any]]:
        """Yield the windows of images, BGR `uint8` (H, W, 3), `fps` of them a second, as soon as each is seen."""
        video = SimpleNamespace(
            fps=fps, is_live=False, interval=lambda start, end: (start / fps, end / fps)
        )
        with contextlib.closing(self._windows(frames, video, batch_size=1)) as windows:
            yield from (self._describe(window, video) for window in windows)

    def _windows(
        self, frames, video, keep_frames=False, batch_size=None, *outputs
    ) -> Iterator[Window]:
        numbered = (
            follow(frames, video, self.config) if video.is_live else enumerate(prefetch(frames, 8))
        )
        windows = cut_runs(numbered, self.config, self.stride, keep_frames, video)
        windows = classify_windows(
            self.model, windows, 1 if video.is_live else batch_size, *outputs
        )
        return prefetch(smooth_windows(windows, self.smooth), 1)

    def _describe(self, window, video) -> dict[str, Any]:
        start, end = (round(seconds, 3) for seconds in video.interval(window.start, window.end))
        likeliest = self._top_k(
            window.probabilities
        )  # plain values, as small tensors fragment memory
        label = likeliest[0]["label"] if likeliest[0]["probability"] >= self.threshold else None
        return {"start": start, "end": end, "label": label, "top_k": likeliest}

    def _top_k(self, probabilities) -> list[dict[str, Any]]:
        values, labels = probabilities.topk(min(self.top_k, len(self.model.classes)))
        pairs = zip(labels.tolist(), values.tolist(), strict=True)
        return [
            {"label": self.model.classes[label], "probability": probability}
            for label, probability in pairs
        ]


def find_events(parts: list[tuple[dict[str, Any], tuple[float, float]]]) -> list[dict[str, Any]]:
    """Merge neighbouring windows of one label into events: "start" and "end", in seconds, "label", "probability".
    Each window has the seconds in which it is the nearest. The probability is the mean over the windows."""
    events = []
    for label, group in groupby(parts, key=lambda part: part[0]["label"]):
        windows, spans = zip(*group, strict=True)
        probability = fmean(window["top_k"][0]["probability"] for window in windows)
        event = {"start": round(spans[0][0], 3), "end": round(spans[-1][1], 3)}
        events += (
            [event | {"label": label, "probability": probability}] if label is not None else []
        )
    return events
