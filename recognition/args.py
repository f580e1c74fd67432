"""The flags of inference.py."""

import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import torch

from engine.errors import UsageError
from engine.parser import ArgumentParser, WeightsAction, number
from recognition.drawing import LAYOUTS
from recognition.settings import LIMITS


def get_args_parser() -> ArgumentParser:
    """Return the parser of all flags."""
    parser = ArgumentParser(
        description="Recognise the actions in videos: an annotated copy and predictions of each."
    )
    add = parser.add_argument
    add("videos", nargs="*", metavar="VIDEO", help="files, folders, or patterns like 'a/*.mp4'")
    add("--source", help="instead, a camera by its number or a stream by its address, until Ctrl-C")
    add("--export", type=Path, metavar="FILE", help="instead, write the model as .onnx and .pt2")
    add_model_flags(parser)
    add_output_flags(parser)
    add(
        "--reconnect",
        type=number(int, 0),
        default=0,
        metavar="N",
        help="open --source again after N outages",
    )
    default_device = "cuda" if torch.cuda.is_available() else "cpu"
    add("--device", default=default_device, help="where to compute (%(default)s)")
    add("--no-amp", action="store_true", help="compute in 32-bit floats only")
    return parser


def add_model_flags(parser: ArgumentParser) -> None:
    """Add the flags that choose the model and how it is applied."""
    add = parser.add_argument
    add("--checkpoint", type=Path, metavar="FILE", help="of train.py (the newest best under ./run)")
    add(
        "--weights",
        action=WeightsAction,
        metavar="FILE",
        help="instead, public weights: a file or a name (help: all)",
    )
    add("--labels", metavar="FILE", help="classes of the weights, one a line (Kinetics-400's)")
    add(
        "--top-k",
        type=number(int, *LIMITS["top_k"]),
        default=5,
        metavar="K",
        help="classes to report (%(default)s)",
    )
    add(
        "--stride",
        type=number(int, *LIMITS["stride"]),
        metavar="N",
        help="frames between windows (half a window)",
    )
    add(
        "--threshold",
        type=number(float, *LIMITS["threshold"]),
        default=0,
        metavar="P",
        help="leave less likely windows without a label",
    )
    add(
        "--smooth",
        type=number(int, *LIMITS["smooth"]),
        default=1,
        metavar="N",
        help="average N windows (%(default)s)",
    )


def add_output_flags(parser: ArgumentParser) -> None:
    """Add the flags that choose what is written, and where."""
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


def parse_inference_args(argv: Sequence[str] | None) -> Namespace:
    """Parse the flags of a start.

    Args:
        argv: The command line; None for that of the process.

    Raises:
        UsageError: Flags are wrong, or do not go together.
    """
    args = get_args_parser().parse_args(argv)
    validate_args(args)
    return args


def validate_args(args: Namespace) -> None:
    """Raise UsageError where flags do not go together."""
    if bool(args.videos) + (args.source is not None) + (args.export is not None) != 1:
        raise UsageError(
            "name videos, or a --source, or a file to --export to; --help lists the flags"
        )
    if args.reconnect and args.source is None:
        raise UsageError("--reconnect goes with --source")
    if args.export is not None and args.export.name in ("", ".."):
        raise UsageError(f"--export {args.export}: name a file")
    if os.path.exists(args.output) and not os.path.isdir(args.output):
        raise UsageError(f"--output {args.output}: a file, not a folder")
    validate_video_flags(args)


def validate_video_flags(args: Namespace) -> None:
    """Raise UsageError where annotated videos are not to be written or shown, but needed."""
    if args.no_video and args.grad_cam:
        raise UsageError("--no-video leaves nothing for --grad-cam")
    if args.no_video and args.show:
        raise UsageError("--no-video leaves nothing for --show")
    if args.show and not has_display():
        raise UsageError(
            "--show needs a display, and there is none; the annotated video is written without it"
        )


def has_display() -> bool:
    """Whether windows can be shown."""
    if sys.platform != "linux":
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
