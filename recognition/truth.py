"""Which rows of a table of events and of a table of truth can be compared."""

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dataloaders.errors import DataError
from dataloaders.files import plural, shorten
from recognition.average_precision import Detections
from recognition.event_tables import Event
from recognition.stored_results import StoredResults
from recognition.video_names import match_videos

BACKGROUND = "background"  # the class whose videos show that nothing happens


@dataclass(frozen=True)
class Comparison:
    """What can be scored.

    Attributes:
        detections: The events and the truth about the videos that count.
        videos: Their names.
        notes: What a person should know about the rest, a line each.
    """

    detections: Detections
    videos: list[str]
    notes: list[str]


def compare(
    events: Sequence[Event], truths: Sequence[Event], *, folder: Path, results: StoredResults
) -> Comparison:
    """Choose the rows that are scored; a video then has the same name in both.

    Args:
        events: Those of inference.py.
        truths: What a person says.
        folder: That of the truth, to which its paths are relative.
        results: What else inference.py has left. If it has left something about the videos with
            events, it has not processed those about which it has left nothing.

    Raises:
        DataError: The tables have no video or no label in common, or it is not clear which videos
            are the same.
    """
    names = match_videos(_videos(truths), _videos(events), folder)
    if not names:
        raise DataError(
            f"no video in common: the events are about {shorten(_videos(events))};"
            f" the truth is about {shorten(_videos(truths))}"
        )
    known = set(names.values())
    silent = [video for video in _videos(truths) if video not in names]
    paths = _paths_of_processed(silent, known, folder=folder, results=results)
    notes = _describe_videos(
        unknown=[video for video in _videos(events) if video not in known],
        skipped=[video for video in silent if video not in paths],
        missed=list(paths),
    )
    names |= paths
    shared = [event for event in events if event.video in known]
    renamed = [replace(row, video=names[row.video]) for row in truths if row.video in names]
    found = [event for event in shared if event.label != BACKGROUND]
    true = [truth for truth in renamed if truth.label != BACKGROUND]
    num_background = len(shared) + len(renamed) - len(found) - len(true)
    if num_background:
        rows = plural(num_background, "row")
        notes.append(f"{rows} labelled {BACKGROUND}: nothing happens there, so they do not count.")
    notes += _describe_labels(found, true)
    notes += _describe_overlaps(true)
    return Comparison(Detections(found, true), list(dict.fromkeys(names.values())), notes)


def _videos(rows: Iterable[Event]) -> list[str]:
    return list(dict.fromkeys(row.video for row in rows))


def _paths_of_processed(
    silent: list[str], known: set[str], *, folder: Path, results: StoredResults
) -> dict[str, str]:
    """Return the paths of the videos without an event, but for those that were not processed.

    Args:
        silent: The videos, relative to the folder.
        known: Those with events.
        folder: That of the truth.
        results: See `compare`.
    """
    paths = {}
    is_telling = any(results.has(video) for video in known)
    for video in silent:
        path = os.path.abspath(folder / video.replace("\\", "/"))
        if results.has(path) or not is_telling:
            paths[video] = path
    return paths


def _describe_videos(*, unknown: list[str], skipped: list[str], missed: list[str]) -> list[str]:
    """Say which videos only one of the tables has."""
    notes = []
    if unknown:
        count = plural(len(unknown), "video")
        notes.append(f"The truth lacks {count}, whose events do not count: {shorten(unknown)}.")
    if skipped:
        count = plural(len(skipped), "video")
        notes.append(f"inference.py did not process {count}: {shorten(skipped)}. Not counted.")
    if missed:
        count = plural(len(missed), "video")
        notes.append(f"No event was found in {count}, where all is missed: {shorten(missed)}.")
    return notes


def _describe_labels(events: Sequence[Event], truths: Sequence[Event]) -> list[str]:
    """Say which labels only one of the tables has; DataError where they share none."""
    found = sorted({event.label for event in events})
    true = sorted({truth.label for truth in truths})
    if not true:
        raise DataError(f"the truth has no label but {BACKGROUND}, so there is nothing to find")
    if found and not set(found) & set(true):
        raise DataError(
            f"no label in common: the events have {shorten(found)}; the truth has {shorten(true)}"
        )
    only_found = [label for label in found if label not in true]
    only_true = [label for label in true if label not in found]
    notes = []
    if only_found:
        notes.append(f"The truth lacks the label {shorten(only_found)}: such events are errors.")
    if only_true:
        notes.append(
            f"No event has the label {shorten(only_true)}. Correct it if the network's class has"
            " another name."
        )
    return notes


def _describe_overlaps(truths: Sequence[Event]) -> list[str]:
    """Say how many truths begin while another one of their video holds."""
    of_videos = defaultdict(list)
    for truth in truths:
        of_videos[truth.video].append(truth)
    num_overlapping = 0
    for of_video in of_videos.values():
        last_end = 0.0
        for truth in sorted(of_video, key=lambda truth: truth.start):
            num_overlapping += truth.start < last_end
            last_end = max(last_end, truth.end)
    if not num_overlapping:
        return []
    return [
        f"{plural(num_overlapping, 'row')} of the truth begin while another one holds. Each counts,"
        " though inference.py finds one label at a time."
    ]
