"""Windows -> what a model predicts for them, in any number of threads and forked processes."""

import math
import threading
from collections import deque
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from engine.evaluation import clips_to_device
from recognition.forking import FORK_GUARD
from recognition.inference_network import InferenceNetwork, Outputs
from recognition.windows import Window

BATCH_SIZE = 8  # windows
CPU_BATCH_SIZE = 2  # more would not fit into the cache
MAX_WAITING_FRAMES = 32  # whole images, half a window, for which a batch is delayed at most

# Features and heat maps are read by hooks, which would also see the calls of other threads.
FORWARD_LOCK = threading.Lock()


@dataclass(frozen=True)
class Prediction:
    """What a model predicts for a window.

    Attributes:
        start: When the window begins, in seconds.
        end: When it ends, in seconds.
        image_times: (T,), when each image of its clip begins, in seconds.
        run: Number of the run of consecutive frames that it was cut from.
        probabilities: (num_classes,) `float32`.
        precision: The type in which they were computed, see `Outputs`.
        features: (512,) or (4096,) `float32`, what the last layer sees; None where not asked for.
        heatmap: (T, H, W), see `network.grad_cam.grad_cam`; None where not asked for.
    """

    start: float
    end: float
    image_times: np.ndarray
    run: int
    probabilities: np.ndarray
    precision: str = "float32"
    features: np.ndarray | None = None
    heatmap: np.ndarray | None = None

    @property
    def middle(self) -> float:
        """The time in the middle of the images, which the label is about, in seconds."""
        return float(np.median(self.image_times))

    def heatmap_at(self, time: float) -> np.ndarray:
        """Return the heat map (H, W) of the image that is nearest to a time in seconds."""
        return self.heatmap[np.abs(self.image_times - time).argmin()]


def choose_batch_size(
    device: torch.device, frames_per_stride: float, *, is_live: bool, keep_frames: bool
) -> int:
    """Return how many windows wait for each other.

    Args:
        device: Where the network is computed.
        frames_per_stride: Frames from one window to the next.
        is_live: Whether the video is shown while it happens.
        keep_frames: Whether whole images wait with their windows.
    """
    if is_live:
        return 1
    batch_size = CPU_BATCH_SIZE if device.type == "cpu" else BATCH_SIZE
    if keep_frames:
        batch_size = min(batch_size, math.ceil(MAX_WAITING_FRAMES / frames_per_stride))
    return batch_size


class WindowClassifier:
    """Classifies windows in batches."""

    def __init__(
        self,
        network: InferenceNetwork,
        batch_size: int = 1,
        *,
        with_features: bool = False,
        with_heatmaps: bool = False,
    ):
        self._network = network
        self._batch_size = batch_size
        self._with_features = with_features
        self._with_heatmaps = with_heatmaps
        self._batch: list[Window] = []

    def push(self, window: Window) -> list[Prediction]:
        """Take a window; return the predictions of the batch that it fills."""
        self._batch.append(window)
        return self._classify_batch() if len(self._batch) == self._batch_size else []

    def flush(self) -> list[Prediction]:
        """Return the predictions of the windows that wait for a batch to fill."""
        return self._classify_batch()

    def _classify_batch(self) -> list[Prediction]:
        windows = self._batch
        self._batch = []
        return self._classify(windows) if windows else []

    def _classify(self, windows: list[Window]) -> list[Prediction]:
        with FORK_GUARD:
            with FORWARD_LOCK:
                outputs = self._compute(np.stack([window.clip for window in windows]))
            probabilities = outputs.logits.float().softmax(1).cpu().numpy()
            features = _rows(outputs.features, len(windows))
            heatmaps = _rows(outputs.heatmaps, len(windows))
        predictions = []
        for number, window in enumerate(windows):
            prediction = Prediction(
                start=window.start,
                end=window.end,
                image_times=window.image_times,
                run=window.run,
                probabilities=probabilities[number],
                precision=outputs.precision,
                features=features[number],
                heatmap=heatmaps[number],
            )
            predictions.append(prediction)
        return predictions

    def _compute(self, clips: np.ndarray) -> Outputs:
        return self._network.compute(
            clips_to_device(torch.from_numpy(clips), self._network.device),
            with_features=self._with_features,
            with_heatmaps=self._with_heatmaps,
        )


class BackgroundClassifier(WindowClassifier):
    """Classifies batches in another thread, while the frames of the next one are read.

    The predictions of a batch come when the next one is full.
    """

    def __init__(
        self,
        executor: Executor,
        network: InferenceNetwork,
        batch_size: int,
        *,
        is_prompt: bool = False,
        **outputs: bool,
    ):
        """Prepare to classify.

        Args:
            executor: Has the thread.
            network: Computes the batches.
            batch_size: Windows.
            is_prompt: Whether predictions come at once, as live sources need them.
            **outputs: `with_features` and `with_heatmaps`.
        """
        super().__init__(network, batch_size, **outputs)
        self._executor = executor
        self._is_prompt = is_prompt
        self._running: Future[list[Prediction]] | None = None

    def flush(self) -> list[Prediction]:
        """Return the predictions of all windows that have none yet."""
        predictions = super().flush()
        return predictions + self._wait()

    def _classify(self, windows: list[Window]) -> list[Prediction]:
        predictions = self._wait()
        self._running = self._executor.submit(super()._classify, windows)
        return predictions + self._wait() if self._is_prompt else predictions

    def _wait(self) -> list[Prediction]:
        """Return the predictions of the batch that is being classified."""
        running = self._running
        self._running = None
        return [] if running is None else running.result()


def _rows(values: Tensor | None, count: int) -> list[np.ndarray | None]:
    """Return the rows of a batch of values, `float32`; None for each where there are no values."""
    return [None] * count if values is None else list(values.float().cpu().numpy())


class Smoother:
    """Replaces the probabilities of a window by the mean over `count` windows around it.

    At both ends there are fewer. A window comes `count // 2` windows later.
    """

    def __init__(self, count: int):
        self._num_ahead = count // 2
        self._num_behind = count - 1 - self._num_ahead
        self._windows: deque[Prediction] = deque()  # those that wait, and those before them
        self._num_waiting = 0

    def push(self, prediction: Prediction) -> list[Prediction]:
        """Take a window; return the one around which all are known now, in a list, or none."""
        self._windows.append(prediction)
        self._num_waiting += 1
        return [self._smooth_next()] if self._num_waiting > self._num_ahead else []

    def flush(self) -> list[Prediction]:
        """Return the windows that wait for others, which do not come."""
        predictions = [self._smooth_next() for _ in range(self._num_waiting)]
        self._windows.clear()
        return predictions

    def _smooth_next(self) -> Prediction:
        """Smooth the first window that waits, by at most `num_ahead` after it."""
        place = len(self._windows) - self._num_waiting
        around = list(self._windows)[: place + self._num_ahead + 1]
        mean = np.mean([window.probabilities for window in around], axis=0)
        smoothed = replace(self._windows[place], probabilities=mean)
        self._num_waiting -= 1
        if place == self._num_behind:
            self._windows.popleft()
        return smoothed
