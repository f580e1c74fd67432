"""Frames in, predictions of windows out."""

from dataloaders.frame_source import Frame
from recognition.classifier import Prediction, Smoother, WindowClassifier
from recognition.forking import FORK_GUARD
from recognition.windows import Window, WindowCutter


class WindowPipeline:
    """Cuts windows, classifies them and smooths their probabilities.

    A prediction comes with the last frame of its batch of windows; with smoothing over N windows
    N // 2 windows later.
    """

    def __init__(self, cutter: WindowCutter, classifier: WindowClassifier, smoother: Smoother):
        self._cutter = cutter
        self._classifier = classifier
        self._smoother = smoother

    @property
    def run(self) -> int:
        """Number of the run of consecutive frames at hand, from 0."""
        return self._cutter.run

    def push(self, frame: Frame) -> list[Prediction]:
        """Take the next frame; return the predictions that it completes."""
        with FORK_GUARD:
            windows = self._cutter.push(frame)
        return self._classify(windows)

    def end_run(self) -> list[Prediction]:
        """Note that the next frame does not follow the last one."""
        with FORK_GUARD:
            windows = self._cutter.flush()
        return self._classify(windows)

    def flush(self) -> list[Prediction]:
        """Return all predictions that wait; the next frame begins a new run."""
        predictions = self.end_run()
        predictions += self._smooth(self._classifier.flush())
        return predictions + self._smoother.flush()

    def _classify(self, windows: list[Window]) -> list[Prediction]:
        predictions = []
        for window in windows:
            predictions += self._smooth(self._classifier.push(window))
        return predictions

    def _smooth(self, predictions: list[Prediction]) -> list[Prediction]:
        smoothed = []
        for prediction in predictions:
            smoothed += self._smoother.push(prediction)
        return smoothed
