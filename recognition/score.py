"""How well the events of inference.py agree with what a person says, and which flags do best.

python -m recognition.score EVENTS.csv TRUTH.csv
"""

import json
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dataloaders.files import atomic_write, plural
from engine.errors import exit_on_user_error
from engine.parser import ArgumentParser
from recognition.event_scores import ERROR_IOU, IOUS, EventScores, score_events
from recognition.event_tables import read_events, read_truth
from recognition.stored_results import StoredResults
from recognition.truth import Comparison, compare
from recognition.tuning import Tuned, mean_f1, tune

PROGRAM = "python -m recognition.score"
MAX_LABEL = 40  # letters of a label in the printed table


def parse_args(argv: Sequence[str] | None) -> Namespace:
    """Parse a command line, by default that of the process; UsageError where it is wrong."""
    parser = ArgumentParser(
        PROGRAM, description="Score the events of inference.py against the truth."
    )
    add = parser.add_argument
    add("events", type=Path, metavar="EVENTS.csv", help="as inference.py writes it")
    add(
        "truth",
        type=Path,
        metavar="TRUTH.csv",
        help="video,start,end,label, or path,label,start,end as train.py takes it",
    )
    add("--tune", action="store_true", help="find the flags of inference.py that score best")
    add("--json", type=Path, metavar="FILE", help="also write all numbers to FILE")
    return parser.parse_args(argv)


def format_scores(scores: EventScores) -> str:
    """Return scores as a table and sentences."""
    titles = "".join(f"{f'AP@{iou:g}':>8}" for iou in IOUS)
    width = max(12, *(len(label) for label in scores.classes))
    width = min(width, MAX_LABEL)
    lines = [f"{'class':{width}}{titles}{'truths':>8}{'events':>8}"]
    for label, score in scores.classes.items():
        numbers = _format_numbers(score.average_precision)
        lines.append(f"{_cut(label):{width}}{numbers}{score.truths:8}{score.events:8}")
    lines.append(f"{'mean':{width}}{_format_numbers(scores.mean_average_precision)}")
    lines.append(f"{'F1 of events':{width}}{_format_numbers(scores.f1)}")
    errors = scores.errors
    lines += [
        f"frame accuracy {scores.frame_accuracy:.3f}",
        f"at IoU {ERROR_IOU:g}: {errors.right} right, {errors.wrong_class} wrong class,"
        f" {errors.wrong_borders} wrong borders, {errors.missed} missed, {errors.false} false",
    ]
    return "\n".join(lines)


def _format_numbers(by_iou: dict[float, float]) -> str:
    return "".join(f"{by_iou[iou]:8.3f}" for iou in IOUS)


def _cut(label: str) -> str:
    return label if len(label) <= MAX_LABEL else label[: MAX_LABEL - 1] + "…"


def format_tuned(tuned: Tuned, before: float) -> str:
    """Return the best flags with what they were chosen by.

    Args:
        tuned: The flags.
        before: The F1 score of the events as they are.
    """
    lines = [
        *tuned.notes,
        f"Searched: {tuned.searched}.",
        f"The mean F1 over IoU {', '.join(f'{iou:g}' for iou in IOUS)} is {before:.3f} now and"
        f" {tuned.f1:.3f} with",
        tuned.flags,
        "That is optimistic, because the flags were chosen on these very videos: score others.",
    ]
    return "\n".join(lines)


def describe(args: Namespace, comparison: Comparison, scores: EventScores) -> dict[str, Any]:
    """Return what `--json` writes.

    Args:
        args: The command line.
        comparison: What was scored.
        scores: The result.
    """
    return {
        "events": str(args.events),
        "truth": str(args.truth),
        "videos": len(comparison.videos),
        **asdict(scores),
        "notes": comparison.notes,
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line; SystemExit where something is wrong."""
    with exit_on_user_error(PROGRAM):
        args = parse_args(argv)
        results = StoredResults(args.events.parent)
        comparison = compare(
            read_events(args.events),
            read_truth(args.truth),
            folder=args.truth.parent,
            results=results,
        )
        detections = comparison.detections
        scores = score_events(detections)
        report = describe(args, comparison, scores)
        print(
            f"{plural(len(detections.events), 'event')} and"
            f" {plural(len(detections.truths), 'truth')} in"
            f" {plural(len(comparison.videos), 'video')}"
        )
        print(*comparison.notes, format_scores(scores), sep="\n")
        if args.tune:
            tuned = tune(comparison, results)
            report["tuned"] = asdict(tuned) | {"flags": tuned.flags}
            print(format_tuned(tuned, mean_f1(detections)))
        if args.json is not None:
            with atomic_write(args.json) as partial:
                text = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
                partial.write_text(text, encoding="utf-8", errors="backslashreplace")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
