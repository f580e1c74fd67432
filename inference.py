"""Recognise the actions in videos: an annotated copy of each and its predictions.

python inference.py VIDEO [VIDEO ...]
python inference.py FOLDER --no-video
python inference.py --source 0
"""

import os
import signal
import sys
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import torch
from tqdm import tqdm

from dataloaders.frame_source import display_name
from dataloaders.live_sources import open_live_source
from dataloaders.opencv import check_opencv
from dataloaders.video import VideoFile
from dataloaders.video_files import find_videos
from engine.args import ArgumentParser, validate_range
from engine.errors import (
    USER_ERRORS,
    Stopped,
    StopSignal,
    UsageError,
    any_name_printable,
    exit_on_user_error,
)
from network.weights import TABLE
from recognition.annotate import Preview
from recognition.drawing import LAYOUTS
from recognition.export import export
from recognition.live import LiveReader
from recognition.outputs import (
    Job,
    Tables,
    check_name_length,
    check_output_collisions,
    format_subtitles,
    write_features,
    write_json,
    write_text,
)
from recognition.reading import FileReader
from recognition.recognizer import Recognizer
from recognition.results import VideoResult


def get_args_parser() -> ArgumentParser:
    parser = ArgumentParser(
        description="Recognise the actions in videos: an annotated copy and predictions of each."
    )
    add = parser.add_argument
    add("videos", nargs="*", metavar="VIDEO", help="files, folders, or patterns like 'a/*.mp4'")
    add("--source", help="instead, a camera by its number or a stream by its address, until Ctrl-C")
    add("--export", type=Path, metavar="FILE", help="instead, write the model as .onnx and .pt2")
    add_model_arguments(parser)
    add_output_arguments(parser)
    add("--reconnect", type=int, default=0, metavar="N", help="open --source again after N outages")
    default_device = "cuda" if torch.cuda.is_available() else "cpu"
    add("--device", default=default_device, help="where to compute (%(default)s)")
    return parser


def add_model_arguments(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("--checkpoint", type=Path, metavar="FILE", help="of train.py (the newest best under ./run)")
    add("--weights", metavar="FILE", help="instead, public weights: a file or a name (help: all)")
    add("--labels", metavar="FILE", help="classes of the weights, one a line (Kinetics-400's)")
    add("--top-k", type=int, default=5, metavar="K", help="classes to report (%(default)s)")
    add("--stride", type=int, metavar="N", help="frames between windows (half a window)")
    add("--threshold", type=float, default=0, metavar="P", help="label no less likely windows")
    add("--smooth", type=int, default=1, metavar="N", help="average N windows (%(default)s)")


def add_output_arguments(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--output",
        type=Path,
        default="output",
        metavar="DIR",
        help="folder of all files (%(default)s)",
    )
    add("--no-video", action="store_true", help="write no videos but a table, predictions.csv")
    add("--grad-cam", action="store_true", help="colour where the model looks")
    add("--layout", choices=LAYOUTS, default="overlay", help="place of labels (%(default)s)")
    add("--features", action="store_true", help="write what the last layer sees, as FILE.npy")
    add("--show", action="store_true", help="show the annotated video in a window as well")


def parse_args(argv: Sequence[str] | None) -> Namespace:
    """Parse the flags; UsageError where they are wrong or do not go together."""
    args = get_args_parser().parse_args(argv)
    if args.weights != "help":
        validate_args(args)
    return args


def validate_args(args: Namespace) -> None:
    validate_range(reconnect=args.reconnect)
    if bool(args.videos) + (args.source is not None) + (args.export is not None) != 1:
        raise UsageError(
            "name videos, or a --source, or a file to --export to; --help lists the flags"
        )
    if args.reconnect and args.source is None:
        raise UsageError("--reconnect goes with --source")
    if args.export is not None and args.export.name in ("", ".."):
        raise UsageError(f"--export {args.export}: name a file")
    if args.output.exists() and not args.output.is_dir():
        raise UsageError(f"--output {args.output}: a file, not a folder")
    if args.no_video and args.grad_cam:
        raise UsageError("--no-video leaves nothing for --grad-cam")
    if args.show:
        validate_show(args)


def validate_show(args: Namespace) -> None:
    if args.no_video:
        raise UsageError("--no-video leaves nothing for --show")
    if not has_display():
        raise UsageError(
            "--show needs a display, and there is none; the annotated video is written without it"
        )


def has_display() -> bool:
    if sys.platform != "linux":
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def find_jobs(args: Namespace) -> list[Job]:
    """Return the sources in order; OSError or UsageError where a name stands for none."""
    if args.source is not None:
        started_at = time.strftime("%Y-%m-%d_%H-%M-%S")
        return [Job(args.source, args.output / f"{name_of_source(args.source)}_{started_at}")]
    videos = find_videos(args.videos, args.output)
    stems = Counter(args.output / folder / path.stem for path, folder in videos)
    jobs = []
    for path, folder in videos:
        stem = args.output / folder / path.stem
        # Videos that differ only in their ending keep it.
        jobs.append(Job(path, stem if stems[stem] == 1 else stem.with_name(path.name)))
    check_output_collisions(jobs, with_videos=not args.no_video, with_features=args.features)
    return jobs


def name_of_source(source: str) -> str:
    """Return the beginning of the names of what is written about a camera or stream."""
    if source.isdecimal():
        return f"camera_{source}"
    try:
        host = urlsplit(source).hostname
    except ValueError:
        raise UsageError(f"--source {display_name(source)}: not an address") from None
    return f"stream_{host or Path(source).stem}"


def load_recognizer(args: Namespace) -> Recognizer:
    recognizer = Recognizer(
        checkpoint=args.checkpoint,
        weights=args.weights,
        labels=args.labels,
        device="cpu" if args.export else args.device,
        top_k=args.top_k,
        stride=args.stride,
        threshold=args.threshold,
        smooth=args.smooth,
    )
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

    def __init__(self, args: Namespace, recognizer: Recognizer, tables: Tables, stop: StopSignal):
        self._args = args
        self._recognizer = recognizer
        self._tables = tables
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
            return Outcome([], str(error).removeprefix(f"{display_name(job.source)}: "))

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
        if reader.end_reason is not None:
            return Outcome(
                lines, f"{reader.end_reason} after {report['frames']} frames, which are done"
            )
        damage = report.get("damage") and str(source.damage)
        return Outcome(lines, damage)

    def _recognize(self, reader: FileReader | LiveReader, job: Job, progress: tqdm) -> VideoResult:
        """Recognise the actions in a source and write its annotated copy."""
        args = self._args
        result = VideoResult(self._recognizer.labels)
        with ExitStack() as stack:
            stack.callback(reader.close)
            writer = None
            if not args.no_video:
                writer = self._recognizer.open_writer(
                    job.annotated,
                    reader.source,
                    args.layout,
                    Preview(job.annotated.name) if args.show else None,
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
    for number, job in enumerate(jobs, start=1):
        name = display_name(job.source)
        outcome = processor.process(job, f"{number}/{len(jobs)} {Path(name).name}")
        if outcome.lines:
            print(*outcome.lines, sep="\n", flush=True)
        if outcome.problem is not None:
            is_fine = False
            print(f"inference.py: {name}: {outcome.problem}", file=sys.stderr)
    return is_fine


def main(argv: Sequence[str] | None = None) -> None:
    with exit_on_user_error("inference.py", status=2):
        check_opencv()
        args = parse_args(argv)
        if args.weights == "help":
            print(TABLE.read_text(encoding="utf-8"), end="")
            return
        jobs = [] if args.export else find_jobs(args)
        recognizer = load_recognizer(args)
        if args.export:
            export(recognizer, args.export)
            return
        tables = Tables(args.output, with_predictions=args.no_video)
    with any_name_printable(), tables, StopSignal() as stop:
        try:
            is_fine = process_all(jobs, VideoProcessor(args, recognizer, tables, stop))
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
