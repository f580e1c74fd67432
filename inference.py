"""Recognise the actions in videos: an annotated copy of each and its predictions.

    python inference.py VIDEO [VIDEO ...]
    python inference.py FOLDER --labels-only
"""

import contextlib
import csv
import json
import math
import os
import sys
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import cv2
import torch
from tqdm import tqdm

from dataloaders import clips
from dataloaders.videos import CODES, annotate, find_videos, read_frames
from network import find_device, flags, runs, weights

BATCH_SIZE, CPU_BATCH_SIZE = 8, 2  # windows that go through the network together; more would not fit a CPU's cache
BREAKS_OFF = 0.9  # of the frames that a file's header tells, which may be an estimate


def parse_args():
    parser = flags.Parser(description=__doc__.split("\n")[0])
    flag = parser.add_argument
    flag("videos", nargs="+", metavar="VIDEO", help="files, folders, or patterns like 'a/*.mp4'")
    flag("--checkpoint", type=Path, metavar="FILE", help="a checkpoint of train.py (the newest best under ./run)")
    flag("--output", type=Path, default="output", metavar="DIR", help="folder for what is written (%(default)s)")
    flag("--top-k", type=int, default=5, metavar="K", help="likeliest classes to report (%(default)s)")
    flag("--stride", type=int, metavar="N", help="frames from one window to the next (half a window)")
    flag("--format", choices=CODES, default="mp4", help="of the annotated videos; browsers play webm (%(default)s)")
    flag("--labels-only", action="store_true", help="write no videos but a table, predictions.csv")
    flag("--show", action="store_true", help="show the annotated video in a window as well")
    flag("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="where to compute (%(default)s)")
    args = parser.parse_args()

    flags.check(args, least={"top_k": 1, "stride": 1})
    args.videos = find_videos(args.videos)
    targets = {}
    for path, folder in args.videos:
        other = targets.setdefault(folder / path.stem, path)
        if other is not path and not args.labels_only:
            raise ValueError(f"{other} and {path} would write the same files; give each its own --output")
    sources = {path.resolve() for path, _ in args.videos}
    for stem in targets:
        target = args.output / f"{stem}_annotated.{args.format}"
        if target.resolve() in sources and not args.labels_only:
            raise ValueError(f"{target}: would be overwritten; choose another --output")
    if args.show and sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise ValueError("--show needs a display, and there is none; the annotated video is written without it")
    args.device = find_device(args.device)
    return args


def ahead(items, count):
    """Yield items that another thread takes from an iterable, up to `count` of them ahead."""
    items, end = iter(items), object()
    with ThreadPoolExecutor(1) as thread:
        coming = deque(thread.submit(next, items, end) for _ in range(count))
        while (item := coming.popleft().result()) is not end:
            coming.append(thread.submit(next, items, end))
            yield item


def predict(network, clip, frames, stride=None):
    """Classify windows over the whole of a video.

    A window spans the frames that a clip of the training would: the same number at the same interval.

    Args:
        network: in evaluation mode.
        clip: the recipe of its checkpoint.
        frames: an iterable of BGR images (H, W, 3), read once; as many are held as a window spans and a stride.
        stride: frames from the start of one window to that of the next; half a window where it is not given.

    Yields:
        (start, end, probabilities, nearest): the window covers the frames start..end-1 and the last one ends on the
        last frame; a tensor (num_classes,); the images of the frames whose nearest window it is.

    Raises:
        ValueError: there is no frame.
    """
    device = next(network.parameters()).device
    clip_len, longest = clip["clip_len"], clip["frame_interval"]
    frames = iter(frames)
    first = deque(islice(frames, (clip_len - 1) * longest + 1))  # a video no longer than these has a shorter interval
    if not first:
        raise ValueError("no frame can be decoded")
    interval = clips.frame_interval(len(first), clip_len, longest)
    stride = stride or max(1, clip_len * interval // 2)
    batch_size = min(
        CPU_BATCH_SIZE if device.type == "cpu" else BATCH_SIZE,
        max(1, clip_len * interval // stride // 2),  # more would hold too many frames
    )
    waiting, known, shown = deque(), None, 0

    def small_frames():
        while (frame := first.popleft() if first else next(frames, None)) is not None:
            waiting.append(frame)
            small = clips.resize(frame)
            yield small.copy() if small is frame else small  # the frame itself is going to be drawn on

    windows = clips.sliding_windows(small_frames(), interval, stride, clip_len)
    while batch := list(islice(windows, batch_size)):
        pixels = torch.stack([torch.from_numpy(clips.cut(images, clip)) for _, _, images in batch])
        with torch.inference_mode():
            probabilities = network(pixels.to(device).permute(0, 4, 1, 2, 3)).float().softmax(1).cpu()
        for (start, end, _), of_window in zip(batch, probabilities, strict=True):
            if known:
                border = (known[0] + known[1] + start + end) / 4  # between the middles of two windows
                past, shown = shown, math.ceil(border - 0.5)
                yield *known, [waiting.popleft() for _ in range(past, shown)]
            known = start, end, of_window
    yield *known, list(waiting)


def top(probabilities, classes, k):
    """The k likeliest classes, likeliest first: a list of {"label", "probability"}."""
    values, labels = probabilities.topk(min(k, len(classes)))
    pairs = zip(labels.tolist(), values.tolist(), strict=True)
    return [{"label": classes[label], "probability": probability} for label, probability in pairs]


def main():
    with flags.in_a_line("inference.py", 2, OSError, ValueError):
        args = parse_args()
        file = args.checkpoint or runs.newest_best(Path("run"))
        checkpoint = weights.load(file)
        clips.check(checkpoint["clip"])
        network = weights.build(checkpoint).to(args.device, memory_format=torch.channels_last_3d).eval()
        args.output.mkdir(parents=True, exist_ok=True)
    classes = checkpoint["classes"]
    print(f"{file}: {checkpoint['model']}, {len(classes)} classes")

    failed = False
    with contextlib.ExitStack() as stack:
        if args.labels_only:
            table = stack.enter_context(open(args.output / "predictions.csv", "w", newline="", encoding="utf-8"))
            rows = csv.writer(table)
            rows.writerow(("video", "label", "probability", "frames", "seconds"))
        for path, folder in args.videos:
            stem = args.output / folder / path.stem
            target = stem.with_name(f"{path.stem}_annotated.{args.format}")
            try:
                video = clips.open_video(path)
                fps, told = video.get(cv2.CAP_PROP_FPS) or 25.0, int(video.get(cv2.CAP_PROP_FRAME_COUNT))
                # Decoding, the network and encoding each have a thread.
                frames = tqdm(read_frames(video), path.name, told, unit="frame", leave=False)
                found = ahead(predict(network, checkpoint["clip"], ahead(frames, 8), args.stride), 1)
                total, windows = 0, []
                with contextlib.closing(found):
                    if args.labels_only:
                        labelled = (window[:3] for window in found)
                    else:
                        target.parent.mkdir(parents=True, exist_ok=True)
                        labelled = annotate(found, target, classes, fps, told, args.show)
                    for start, end, probabilities in labelled:
                        total = total + probabilities
                        likeliest = top(probabilities, classes, args.top_k)  # plain: tensors kept tear memory apart
                        windows.append({"start": start / fps, "end": end / fps, "top_k": likeliest})
            except (OSError, ValueError) as error:
                print(f"inference.py: {path}: {str(error).removeprefix(f'{path}: ')}", file=sys.stderr)
                failed = True
                continue
            if end < BREAKS_OFF * told:
                print(f"inference.py: {path}: breaks off after {end} of {told} frames, which are done", file=sys.stderr)
                failed = True
            of_video = top(total / len(windows), classes, args.top_k)
            print(path)
            for guess in of_video:
                print(f"  {guess['probability']:6.1%}  {guess['label']}")
            if args.labels_only:
                label, probability = of_video[0].values()
                rows.writerow((path, label, f"{probability:.4f}", end, f"{end / fps:.2f}"))
                table.flush()
                continue
            report = {
                "video": str(path),
                "checkpoint": str(file),
                "model": checkpoint["model"],
                "fps": fps,
                "frames": end,
                "top_k": of_video,
                "windows": windows,
            }
            text = json.dumps(report, indent=2, ensure_ascii=False)
            stem.with_name(f"{path.stem}.json").write_text(text + "\n", encoding="utf-8")
            print(f"  in {target}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
