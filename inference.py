"""Recognise the actions in videos: an annotated copy of each and its predictions.
python inference.py VIDEO [VIDEO ...]
python inference.py FOLDER --no-video
python inference.py --source 0"""

import contextlib
import csv
import html
import json
import os
import signal
import sys
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import torch
from tqdm import tqdm

from dataloaders.files import find_videos
from dataloaders.index import atomic_write
from dataloaders.opencv import check_opencv
from dataloaders.video import VideoReader, display_name
from engine.annotate import CODECS
from engine.args import ArgumentParser, validate_range
from engine.errors import USER_ERRORS, Stopped, StopSignal, UsageError, exit_on_user_error
from engine.recognizer import Recognizer
from network.export import export_model

OPTIONS = (
    "checkpoint",
    "weights",
    "labels",
    "top_k",
    "stride",
    "threshold",
    "smooth",
)  # of a Recognizer
MIN_DURATION_SHARE = 0.9  # of the duration in a file's header, which may be an estimate; a shorter video is incomplete


def get_args_parser() -> ArgumentParser:
    parser = ArgumentParser(
        description="Recognise the actions in videos: an annotated copy of each and its predictions."
    )
    add = parser.add_argument
    add("videos", nargs="*", metavar="VIDEO", help="files, folders, or patterns like 'a/*.mp4'")
    add(
        "--source",
        help="instead of files a camera by its number, or a stream by its address; Ctrl-C ends it",
    )
    add(
        "--export",
        type=Path,
        metavar="FILE",
        help="write the model for other programs, FILE.onnx and FILE.pt2",
    )
    add(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="a checkpoint of train.py (the newest best under ./run)",
    )
    add(
        "--weights",
        metavar="FILE",
        help="instead, a file of weights, or public ones by name (help lists them)",
    )
    add(
        "--labels",
        metavar="FILE",
        help="names of the classes of the weights, one a line (Kinetics-400's)",
    )
    add(
        "--output",
        type=Path,
        default="output",
        metavar="DIR",
        help="folder for what is written (%(default)s)",
    )
    add(
        "--top-k",
        type=int,
        default=5,
        metavar="K",
        help="likeliest classes to report (%(default)s)",
    )
    add(
        "--stride", type=int, metavar="N", help="frames from one window to the next (half a window)"
    )
    add(
        "--format",
        choices=CODECS,
        default="mp4",
        help="of the annotated videos; browsers play webm (%(default)s)",
    )
    add("--grad-cam", action="store_true", help="colour where the model looks")
    add(
        "--layout",
        choices=("overlay", "below"),
        default="overlay",
        help="where labels stand (%(default)s)",
    )
    add(
        "--threshold",
        type=float,
        default=0,
        metavar="P",
        help="a window below this probability has no label",
    )
    add(
        "--smooth",
        type=int,
        default=1,
        metavar="N",
        help="average the probabilities of N windows (%(default)s)",
    )
    add(
        "--features",
        action="store_true",
        help="write what the last layer sees of each window, as FILE.npy",
    )
    add(
        "--reconnect",
        type=int,
        default=0,
        metavar="N",
        help="open a --source that closes again, up to N times",
    )
    add("--no-video", action="store_true", help="write no videos but a table, predictions.csv")
    add("--show", action="store_true", help="show the annotated video in a window as well")
    add(
        "--device",
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="where to compute (%(default)s)",
    )
    return parser


def parse_args(argv: Sequence[str] | None) -> tuple[Namespace, list[tuple[Path | str, Path]]]:
    """Parse and validate the flags; return them, and for each source the path of what is written, without ending."""
    args = get_args_parser().parse_args(argv)
    validate_range(reconnect=args.reconnect)
    if (
        args.weights != "help"
        and bool(args.videos) + (args.source is not None) + (args.export is not None) != 1
    ):
        raise UsageError(
            "name videos, or a --source, or a file to --export to; --help lists the flags"
        )
    if args.output.exists() and not args.output.is_dir():
        raise UsageError(f"--output {args.output}: a file, not a folder")
    if args.no_video and (args.grad_cam or args.show):
        raise UsageError(
            f"--no-video leaves nothing for {'--grad-cam' if args.grad_cam else '--show'}"
        )
    if args.reconnect and args.source is None:
        raise UsageError("--reconnect goes with --source")
    if (
        args.show
        and sys.platform == "linux"
        and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    ):
        raise UsageError(
            "--show needs a display, and there is none; the annotated video is written without it"
        )
    if args.export is not None:
        if args.export.name in ("", ".."):
            raise UsageError(f"--export {args.export}: name a file")
        return args, []
    if args.source is not None:
        try:
            host = urlsplit(args.source).hostname or Path(args.source).stem
        except ValueError:
            raise UsageError(f"--source {display_name(args.source)}: not an address") from None
        name = f"camera_{args.source}" if args.source.isdecimal() else f"stream_{host}"
        return args, [(args.source, args.output / f"{name}_{time.strftime('%Y-%m-%d_%H-%M-%S')}")]
    videos = [
        (path, args.output / folder / path.stem)
        for path, folder in find_videos(args.videos, args.output)
    ]
    counts = Counter(stem for _, stem in videos)
    videos = [
        (path, stem if counts[stem] == 1 else stem.with_name(path.name)) for path, stem in videos
    ]
    owners, sources = {}, {os.path.realpath(path) for path, _ in videos}
    for path, stem in videos if args.features or not args.no_video else ():
        if (owner := owners.setdefault(stem, path)) is not path:
            raise UsageError(
                f"{owner} and {path} would write the same files; give each its own --output"
            )
        if (
            not args.no_video
            and os.path.realpath(target := annotated_path(stem, args.format)) in sources
        ):
            raise UsageError(f"{target}: would be overwritten; choose another --output")
    return args, videos


def annotated_path(stem: Path, ending: str) -> Path:
    return stem.with_name(f"{stem.name}_annotated.{ending}")


def write_text(file: Path, text: str) -> None:
    with atomic_write(file) as partial:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")


def format_subtitles(events: list[dict], video: VideoReader) -> str:
    """Return events as WebVTT, which players show as subtitles of the annotated video, whose rate is even."""
    cues = ["WEBVTT\n"]
    for event in events:
        frames = np.searchsorted(video.timestamps, [event["start"] - 0.001, event["end"] - 0.001])
        start, end = (
            f"{datetime.min + timedelta(seconds=n / video.fps):%H:%M:%S.%f}"[:-3]
            for n in frames.tolist()
        )
        cues.append(
            f"{start} --> {end}\n{html.escape(event['label'], quote=False)} ({event['probability']:.0%})\n"
        )
    return "\n".join(cues)


def find_incompleteness(video: VideoReader, num_frames: int, is_stopped: bool) -> str | None:
    """Say why a video or stream ended early, or None where it did not."""
    if is_stopped or video.is_whole:
        return None
    if video.is_live:
        return f"ended after {num_frames} frames, which are done"
    is_short = (
        num_frames < video.num_frames
        and video.interval(0, num_frames)[1] < MIN_DURATION_SHARE * video.duration
    )
    if is_short and (video.is_file or video.last_message):
        return f"breaks off after {num_frames} of {video.num_frames} frames, which are done"
    return None


def main(argv: Sequence[str] | None = None) -> None:
    with exit_on_user_error("inference.py", status=2):
        check_opencv()
        args, videos = parse_args(argv)
        options = {name: getattr(args, name) for name in OPTIONS}
        recognizer = Recognizer(**options, device="cpu" if args.export else args.device)
        model, config = recognizer.model, recognizer.config
        print(f"{recognizer.file}: {model.name}, {len(model.classes)} classes")
        if args.export:
            metadata = {"model": model.name, "classes": model.classes, "clip": asdict(config)}
            stem = (
                args.export.with_suffix("")
                if args.export.suffix in (".onnx", ".pt2")
                else args.export
            )
            stem.parent.mkdir(parents=True, exist_ok=True)
            for ending, write in export_model(model, config.shape, metadata).items():
                target = stem.with_name(f"{stem.name}{ending}")
                with atomic_write(target) as partial:
                    try:
                        write(partial)
                    except (
                        OSError,
                        RuntimeError,
                    ) as error:  # PyTorch raises RuntimeError when the disk is full
                        reason = str(error).partition("\n")[0]
                        raise OSError(f"{target}: cannot be written: {reason}") from error
                print(f"  in {target}")
            return
        args.output.mkdir(parents=True, exist_ok=True)
        text_format = {
            "buffering": 1,
            "newline": "",
            "encoding": "utf-8",
            "errors": "backslashreplace",
        }  # line by line
        tables = {"events.csv": "video,start,end,label,probability"}
        tables |= (
            {"predictions.csv": "video,label,probability,frames,seconds"} if args.no_video else {}
        )
        files = [open(args.output / name, "w", **text_format) for name in tables]  # noqa: SIM115

    has_failed = False
    with contextlib.ExitStack() as stack, StopSignal() as stop:
        events, *predictions = (csv.writer(stack.enter_context(file)) for file in files)
        for table, columns in zip((events, *predictions), tables.values(), strict=True):
            table.writerow(columns.split(","))
        for number, (source, stem) in enumerate(videos, start=1):
            shown = display_name(source)
            try:
                video = VideoReader(source)
                video.count_frames()
                target = None if args.no_video else annotated_path(stem, args.format)
                if args.features:
                    stem.parent.mkdir(parents=True, exist_ok=True)
                bar = {
                    "desc": f"{number}/{len(videos)} {Path(shown).name}",
                    "total": video.num_frames or None,
                }
                with tqdm(**bar, unit=" frames", leave=False, delay=0.3) as progress:
                    outputs = {
                        "target": target,
                        "features": args.features,
                        "grad_cam": args.grad_cam,
                    }
                    control = {"reconnect": args.reconnect, "progress": progress, "stop": stop}
                    result = recognizer.predict(
                        video, **outputs, **control, layout=args.layout, show=args.show
                    )
                best, num_frames = result["top_k"][0], result["frames"]
                if args.features:
                    with atomic_write(stem.with_name(f"{stem.name}.npy")) as partial:
                        np.save(partial, result.pop("features"))
                events.writerows((shown, *event.values()) for event in result["events"])
                if args.no_video:
                    seconds, probability = (
                        f"{video.interval(0, num_frames)[1]:.2f}",
                        f"{best['probability']:.4f}",
                    )
                    predictions[0].writerow(
                        (shown, best["label"], probability, num_frames, seconds)
                    )
                    lines = [f"{shown}: {best['label']}, {best['probability']:.1%}"]
                else:
                    text = json.dumps(result, indent=2, ensure_ascii=False)
                    write_text(stem.with_name(f"{stem.name}.json"), text + "\n")
                    write_text(
                        target.with_suffix(".vtt"), format_subtitles(result["events"], video)
                    )
                    lines = [
                        f"  {guess['probability']:6.1%}  {guess['label']}"
                        for guess in result["top_k"]
                    ]
                    lines = [shown, *lines, f"  in {target}"]
                reason = find_incompleteness(video, num_frames, bool(stop.signum))
            except Stopped:
                sys.exit(130)
            except USER_ERRORS as error:
                lines, reason = [], str(error).removeprefix(f"{shown}: ")
            if lines:
                print(*lines, sep="\n", flush=True)
            if reason:
                has_failed = True
                print(f"inference.py: {shown}: {reason}", file=sys.stderr)
        if stop.signum and args.source is None:  # it came after the last frame had been read
            sys.exit(130)
    sys.exit(1 if has_failed else 0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # of `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(141)
