"""The flags of inference.py whose events score best, found without running the network again."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from statistics import fmean

from tqdm import tqdm

from dataloaders.errors import DataError
from recognition.average_precision import Detections
from recognition.event_scores import IOUS, f1_score, frame_accuracy
from recognition.event_tables import Event
from recognition.results import LabelledSpan, find_events
from recognition.stored_results import StoredResults, StoredWindows, read_windows
from recognition.truth import BACKGROUND, Comparison

THRESHOLDS = (*(round(0.05 * number, 2) for number in range(20)), 0.97, 0.99)
SMOOTHING = (3, 5, 7, 9, 13, 17, 25)  # windows
STRIDE_FACTORS = (2, 3, 4, 6, 8, 12, 16)
DIGITS = 9  # of a score; what differs by less is equal


@dataclass(frozen=True)
class Tuned:
    """The best flags.

    Attributes:
        threshold: That of inference.py.
        smooth: That of inference.py.
        stride: That of inference.py; None for the default.
        f1: Of all events, the mean over `IOUS`.
        searched: What was tried, as a text.
        notes: What was not tried, and what would make it possible, a line each.
    """

    threshold: float
    smooth: int
    stride: int | None
    f1: float
    searched: str
    notes: list[str]

    @property
    def flags(self) -> str:
        """As they follow `python inference.py`."""
        flags = f"--threshold {self.threshold:g} --smooth {self.smooth}"
        return flags if self.stride is None else f"{flags} --stride {self.stride}"


def mean_f1(detections: Detections) -> float:
    """Return the F1 score of all events, the mean over `IOUS`."""
    return fmean(f1_score(detections, iou) for iou in IOUS)


def tune(comparison: Comparison, results: StoredResults) -> Tuned:
    """Search the threshold, smoothing and stride with the largest F1 score.

    Of equal ones it takes those with the higher frame accuracy, and then the larger stride, less
    smoothing and the lower threshold. Average precision cannot choose a threshold: what is less
    probable hardly lowers it.

    Args:
        comparison: Which videos count, and what happens in them.
        results: What inference.py has left about them.

    Raises:
        FileError: The JSON of a video cannot be read.
        DataError: It is missing, or the files do not belong together.
    """
    truths = comparison.detections.truths
    videos = read_videos(comparison.videos, results)
    space = _find_space(list(videos.values()))
    best = None
    best_score = (-1.0, 0.0)
    steps = list(product(reversed(space.factors), space.smoothing))
    for factor, smooth in tqdm(steps, leave=False, delay=1, disable=sys.stderr is None):
        labelled = {name: label_windows(video, factor, smooth) for name, video in videos.items()}
        for threshold in THRESHOLDS:
            events = events_of(labelled, threshold)
            f1 = round(mean_f1(Detections(events, truths)), DIGITS)
            if f1 < best_score[0]:
                continue
            score = (f1, round(frame_accuracy(events, truths), DIGITS))
            if score > best_score:
                best = (threshold, smooth, factor)
                best_score = score
    threshold, smooth, factor = best
    stride = None if space.stride is None else factor * space.stride
    return Tuned(
        threshold, smooth, stride, f1=best_score[0], searched=space.text, notes=space.notes
    )


def read_videos(names: list[str], results: StoredResults) -> dict[str, StoredWindows]:
    """Read the windows of videos; errors as of `tune`.

    Args:
        names: The videos.
        results: What inference.py has left about them.
    """
    videos = {}
    for video in names:
        file = results.find_json(video)
        windows = None if file is None else read_windows(file)
        if windows is None or not windows.is_about(video):
            raise DataError(
                f"{video}: --tune needs its JSON beside the events, which inference.py writes"
                " without --no-video"
            )
        videos[video] = windows
        first = next(iter(videos.values()))
        for name in ("checkpoint", "stride"):
            if getattr(windows, name) != getattr(first, name):
                raise DataError(
                    f"{file}: made with another {name} than the other videos; run inference.py on"
                    " all of them again"
                )
    return videos


@dataclass(frozen=True)
class _Space:
    """What is searched: multiples of a stride, None for the default one, and numbers of windows."""

    stride: int | None
    factors: list[int]
    smoothing: list[int]
    notes: list[str]

    @property
    def text(self) -> str:
        """The settings, for a person."""
        text = f"--threshold {THRESHOLDS[0]:g} to {THRESHOLDS[-1]:g}"
        text += f", --smooth {_list(self.smoothing)}"
        if self.stride is not None:
            text += f", --stride {_list([factor * self.stride for factor in self.factors])}"
        return text


def _list(numbers: list[int]) -> str:
    return " ".join(map(str, numbers))


def _find_space(videos: Sequence[StoredWindows]) -> _Space:
    """Return what can be searched with the windows that there are."""
    notes = []
    stride = videos[0].stride
    factors = [1]
    if stride is None:
        notes.append(
            "The stride is the default one: a small one, as inference.py --stride 4, lets --tune"
            " compare its multiples."
        )
    else:
        longest = max(windows.window_duration / windows.frame_duration for windows in videos)
        factors += [factor for factor in STRIDE_FACTORS if factor * stride <= longest]
    smoothing = [1]
    unlisted = max(windows.unlisted for windows in videos)
    if unlisted:
        notes.append(
            f"--smooth is not searched, as {unlisted} classes of each window are not in the JSON:"
            " inference.py writes all with a larger --top-k."
        )
    else:
        most = max(len(windows.middles) for windows in videos)
        smoothing += [count for count in SMOOTHING if count <= most]
    return _Space(stride, factors, smoothing, notes)


@dataclass(frozen=True)
class LabelledWindow:
    """The part of a video for which a window stands, with its likeliest class and without one."""

    with_label: LabelledSpan
    without: LabelledSpan


def label_windows(windows: StoredWindows, factor: int, smooth: int) -> list[LabelledWindow]:
    """Return the part of a video for which each window stands, with its likeliest class.

    Args:
        windows: Those of the video.
        factor: By how much the stride is larger.
        smooth: Probabilities are the mean over so many windows.
    """
    places = windows.choose(factor)
    probabilities = windows.smooth(places, smooth)
    borders = windows.borders(places)
    labelled = []
    for number, label in enumerate(probabilities.argmax(1)):
        probability = float(probabilities[number, label])
        span = LabelledSpan(
            borders[number], borders[number + 1], windows.classes[label], probability
        )
        labelled.append(LabelledWindow(span, replace(span, label=None)))
    return labelled


def events_of(windows_of_videos: dict[str, list[LabelledWindow]], threshold: float) -> list[Event]:
    """Return the events at a threshold; those in which nothing happens do not count.

    Args:
        windows_of_videos: For each video its windows.
        threshold: A window whose class is less probable has no label.
    """
    events = []
    for video, windows in windows_of_videos.items():
        spans = []
        for window in windows:
            is_sure = window.with_label.probability >= threshold
            spans.append(window.with_label if is_sure else window.without)
        found = [Event(video, **event) for event in find_events(spans)]
        events += [event for event in found if event.label != BACKGROUND]
    return events
