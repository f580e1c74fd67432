"""Recognise the actions in videos: an annotated copy of each and its predictions.

python inference.py VIDEO [VIDEO ...]
python inference.py FOLDER --no-video
python inference.py --source 0
"""

import os
import signal
import sys
from argparse import Namespace
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
from tqdm import tqdm

from dataloaders.frame_source import display_name
from dataloaders.live_sources import open_live_source
from dataloaders.opencv import check_opencv
from dataloaders.video import VideoFile
from engine.errors import USER_ERRORS, Stopped, StopSignal, exit_on_user_error
from network import head_of, part_of
from recognition.annotate import Preview
from recognition.args import parse_inference_args
from recognition.jobs import Job, check_name_length, check_output_collisions, live_job, video_jobs
from recognition.live import LiveReader
from recognition.outputs import Tables, format_subtitles, write_features, write_json, write_text
from recognition.page import Page
from recognition.reading import FileReader
from recognition.recognizer import Recognizer
from recognition.results import VideoResult


def find_jobs(args: Namespace) -> list[Job]:
    """Return the sources in order; FileError or UsageError where a name stands for none."""
    if args.export is not None:
        return []
    if args.source is not None:
        return [live_job(args.source, args.output)]
    jobs = video_jobs(args.videos, args.output)
    if args.features or not args.no_video:
        check_output_collisions(jobs, with_videos=not args.no_video)
    return jobs


def load_recognizer(args: Namespace) -> Recognizer:
    """Load the model; ModelError where it does not define what the flags need."""
    recognizer = Recognizer(
        checkpoint=args.checkpoint,
        weights=args.weights,
        labels=args.labels,
        device="cpu" if args.export else args.device,
        amp=not args.no_amp,
        top_k=args.top_k,
        stride=args.stride,
        threshold=args.threshold,
        smooth=args.smooth,
    )
    if args.features:
        head_of(recognizer.model)
    if args.grad_cam:
        part_of(recognizer.model, "normalize")
        part_of(recognizer.model, "last_pool")
    num_classes = len(recognizer.labels.classes)
    print(f"{recognizer.file}: {recognizer.name}, {num_classes} classes")
    return recognizer


@dataclass(frozen=True)
class Outcome:
    """What there is to say about a source: what was found, and what is wrong with it."""

    lines: list[str]
    problem: str | None = None


class VideoProcessor:
    """Recognises the actions in one source after the other, and writes what is found."""

    def __init__(
        self,
        args: Namespace,
        recognizer: Recognizer,
        *,
        tables: Tables,
        page: Page,
        stop: StopSignal,
    ):
        self._args = args
        self._recognizer = recognizer
        self._tables = tables
        self._page = page
        self._stop = stop

    def process(self, job: Job, title: str) -> Outcome:
        """Recognise the actions in a source.

        Args:
            job: the source, and where the files go.
            title: of the progress bar.

        Raises:
            Stopped: a signal came before the end of a file.
        """
        try:
            return self._process(job, title)
        except USER_ERRORS as error:
            problem = str(error).removeprefix(f"{display_name(job.source)}: ")
            self._page.add(job, None, None, problem=problem)
            return Outcome([], problem)

    def _process(self, job: Job, title: str) -> Outcome:
        args = self._args
        if args.features or not args.no_video:
            check_name_length(job.features if args.no_video else job.annotated)
        is_live = args.source is not None
        source = open_live_source(job.source) if is_live else VideoFile(job.source)
        with tqdm(
            desc=title,
            total=source.num_frames,
            unit=" frames",
            leave=False,
            delay=0.3,
            disable=sys.stderr is None,  # closed by who started the script
        ) as progress:
            reader = self._recognizer.open_reader(
                source,
                reconnect=args.reconnect,
                stop=self._stop,
                report=partial(progress.write, file=sys.stderr),
            )
            result = self._recognize(reader, job, progress)
        report = self._recognizer.report(reader, result)
        lines = self._write(job, report, result)
        problem = None
        if reader.end_reason is not None:
            problem = f"{reader.end_reason} after {report['frames']} frames, which are done"
        elif "damage" in report:
            problem = str(source.damage)
        self._page.add(job, report, result.curve, problem=problem)
        return Outcome(lines, problem)

    def _recognize(self, reader: FileReader | LiveReader, job: Job, progress: tqdm) -> VideoResult:
        """Recognise the actions in a source and write its annotated copy."""
        args = self._args
        result = VideoResult(self._recognizer.labels)
        with ExitStack() as stack:
            stack.callback(reader.close)
            writer = None
            if not args.no_video:
                preview = Preview(job.annotated.name) if args.show else None
                writer = self._recognizer.open_writer(
                    job.annotated, reader.source, args.layout, preview
                )
                stack.enter_context(writer)
            segments = self._recognizer.recognize(
                reader,
                keep_frames=writer is not None,
                features=args.features,
                grad_cam=args.grad_cam,
            )
            for segment in stack.enter_context(closing(segments)):
                result.add(segment)
                if writer is not None:
                    writer.write(segment)
                progress.update(segment.num_frames)
                if reader.latencies:
                    progress.set_postfix_str(f"latency {reader.latencies[-1]:.1f} s")
        return result

    def _write(self, job: Job, report: dict[str, Any], result: VideoResult) -> list[str]:
        """Write what was found in a source; return it as lines for the console."""
        name = display_name(job.source)
        if self._args.features:
            write_features(job.features, result.features)
        self._tables.add(name, report, result.duration)
        if self._args.no_video:
            best = report["top_k"][0]
            return [f"{name}: {best['label']}, {best['probability']:.1%}"]
        write_json(job.json, report)
        write_text(job.subtitles, format_subtitles(report["events"]))
        guesses = [f"  {guess['probability']:6.1%}  {guess['label']}" for guess in report["top_k"]]
        return [name, *guesses, f"  in {job.annotated}"]


def process_all(jobs: list[Job], processor: VideoProcessor) -> bool:
    """Process sources one after the other, and print what was found.

    Args:
        jobs: the sources.
        processor: does each of them.

    Returns:
        Whether each was whole and could be done.
    """
    is_fine = True
    for position, job in enumerate(jobs, start=1):
        name = display_name(job.source)
        outcome = processor.process(job, f"{position}/{len(jobs)} {Path(name).name}")
        if outcome.lines:
            print(*outcome.lines, sep="\n", flush=True)
        if outcome.problem is not None:
            is_fine = False
            print(f"inference.py: {name}: {outcome.problem}", file=sys.stderr)
    return is_fine


def open_page(args: Namespace, jobs: list[Job], recognizer: Recognizer) -> Page:
    """Open the page about the videos of this start.

    Args:
        args: the flags.
        jobs: the sources.
        recognizer: finds what the page shows.
    """
    return Page(
        args.output,
        jobs,
        recognizer.labels,
        with_videos=not args.no_video,
        model=f"{recognizer.name}, {recognizer.file}",
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Run the script; SystemExit where something is wrong."""
    with exit_on_user_error("inference.py", status=2):
        check_opencv()
        args = parse_inference_args(argv)
        jobs = find_jobs(args)
        recognizer = load_recognizer(args)
        cv2.setNumThreads(1)  # its threads would take the cores from the network
        if args.export:
            from recognition.export import export  # PyTorch's exporter takes time to import

            export(recognizer, args.export)
            return
        tables = Tables(args.output, with_predictions=args.no_video)
        page = open_page(args, jobs, recognizer)
    with exit_on_user_error("inference.py", status=1), tables, page, StopSignal() as stop:
        try:
            processor = VideoProcessor(args, recognizer, tables=tables, page=page, stop=stop)
            is_fine = process_all(jobs, processor)
        except Stopped:
            sys.exit(130)
    if stop.signum and args.source is None:  # it came after the last frame had been read
        sys.exit(130)
    if not is_fine:
        sys.exit(1)


if __name__ == "__main__":
    # Of a camera that is not there OpenCV prints several lines, and this script one.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # of `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(141)
