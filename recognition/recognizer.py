"""A trained model that recognises actions: videos, streams or images -> what happens when."""

import math
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from dataloaders.clips import ClipConfig
from dataloaders.dataset import KINETICS_LABELS, read_labels
from dataloaders.errors import DataError
from engine.args import validate_range
from engine.build import load_weights
from engine.checkpoint import load_checkpoint, restore_model
from engine.distributed import Distributed
from engine.errors import UsageError
from engine.runs import newest_best_checkpoint
from recognition.annotate import AnnotatedVideoWriter, Painter
from recognition.classifier import (
    BATCH_SIZE,
    CPU_BATCH_SIZE,
    FORWARD_LOCK,
    Prediction,
    Smoother,
    WindowClassifier,
)
from recognition.frames import Frame, FrameSource, ImageFrame, number_images
from recognition.live import Gap, LiveReader
from recognition.results import Labels, VideoResult
from recognition.segments import Segment, SegmentBuilder
from recognition.sources import open_source
from recognition.windows import Window, WindowCutter

MAX_WAITING_FRAMES = 32  # whole images, half a window, with which a batch is no longer delayed


@dataclass(frozen=True)
class Settings:
    """How a model is applied to a video.

    Attributes:
        top_k: how many of the likeliest classes are reported.
        stride: frames from the start of one window to that of the next; None for half a window.
        threshold: a window whose likeliest class is less probable has no label.
        smooth: probabilities are the mean over so many windows.
    """

    top_k: int = 5
    stride: int | None = None
    threshold: float = 0.0
    smooth: int = 1

    def __post_init__(self):
        validate_range(**asdict(self))


class WindowPipeline:
    """Frames in, predictions of windows out, each as soon as its last frame is there.

    With smoothing over N windows a prediction waits for N // 2 more windows.
    """

    def __init__(self, cutter: WindowCutter, classifier: WindowClassifier, smoother: Smoother):
        self._cutter = cutter
        self._classifier = classifier
        self._smoother = smoother
        self.run = 0  # number of the run of consecutive frames at hand

    def push(self, frame: Frame) -> list[Prediction]:
        """Take the next frame; return the predictions that it completes."""
        return self._classify(self._cutter.push(frame))

    def end_run(self) -> list[Prediction]:
        """Note that the next frame does not follow the last one."""
        self.run += 1
        return self._classify(self._cutter.flush())

    def flush(self) -> list[Prediction]:
        """Return all predictions that wait; the next frame begins a new run."""
        predictions = self.end_run()
        for prediction in self._classifier.flush():
            predictions += self._smoother.push(prediction)
        return predictions + self._smoother.flush()

    def _classify(self, windows: list[Window]) -> list[Prediction]:
        predictions = []
        for window in windows:
            for prediction in self._classifier.push(window):
                predictions += self._smoother.push(prediction)
        return predictions
