"""Recognise the actions in videos: an annotated copy of each and its predictions.

    python inference.py VIDEO [VIDEO ...]
"""

import argparse
import json
import os
import sys
from bisect import bisect
from itertools import islice, pairwise
from pathlib import Path

import cv2
import torch
from tqdm import tqdm

from dataloaders import clips
from network import find_device, runs, weights

BATCH_SIZE = 8  # windows that go through the network together


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    flag = parser.add_argument
    flag("videos", nargs="+", type=Path, metavar="VIDEO", help="video files")
    flag("--checkpoint", type=Path, metavar="FILE", help="a checkpoint of train.py (the newest best under ./run)")
    flag("--output", type=Path, default="output", metavar="DIR", help="folder for what is written (%(default)s)")
    flag("--top-k", type=int, default=5, metavar="K", help="likeliest classes to report (%(default)s)")
    flag("--stride", type=int, metavar="N", help="frames from one window to the next (half a window)")
    flag("--show", action="store_true", help="show the annotated video in a window as well")
    flag("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="where to compute (%(default)s)")
    args = parser.parse_args()

    for name in ("top_k", "stride"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be 1 or more")
    for path in args.videos:
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file")
    for one, other in pairwise(sorted(args.videos, key=lambda path: path.stem)):
        if one.stem == other.stem:
            raise ValueError(f"{one} and {other} would write the same files; give each its own --output")
    for path in args.videos:
        target = args.output / f"{path.stem}_annotated.mp4"
        if any(target.resolve() == video.resolve() for video in args.videos):
            raise ValueError(f"{target}: would be overwritten; choose another --output")
    if args.show and sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise ValueError("--show needs a display, and there is none; the annotated video is written without it")
    args.device = find_device(args.device)
    return args


def read_frames(path):
    """Yield the frames of a video, BGR images (H, W, 3), as far as it can be decoded."""
    video = clips.open_video(path)
    while (result := video.read())[0]:
        yield result[1]


@torch.inference_mode()
def predict(network, clip, path, stride=None):
    """Classify windows over the whole of a video.

    A window spans the frames that a clip of the training would: the same number at the same interval.

    Args:
        network: in evaluation mode.
        clip: the recipe of its checkpoint.
        path: the video file.
        stride: frames from the start of one window to that of the next; half a window where it is not given.

    Returns:
        A list of (start, end, probabilities): the frames start..end-1, and a tensor (num_classes,). The last window
        ends on the last frame.

    Raises:
        ValueError: no frame can be decoded.
    """
    device = next(network.parameters()).device
    num_frames = int(clips.open_video(path).get(cv2.CAP_PROP_FRAME_COUNT))
    while True:
        interval = clips.frame_interval(num_frames, clip["clip_len"], clip["frame_interval"])
        step = stride or max(1, clip["clip_len"] * interval // 2)
        small = (clips.resize(frame) for frame in read_frames(path))
        windows = clips.sliding_windows(small, interval, step, clip["clip_len"])
        found = []
        while batch := list(islice(windows, BATCH_SIZE)):
            pixels = [torch.from_numpy(clips.cut(frames, clip)) for _, _, frames in batch]
            logits = network(torch.stack(pixels).to(device).permute(0, 4, 1, 2, 3))
            probabilities = logits.softmax(1).cpu()
            found += [(start, end, p) for (start, end, _), p in zip(batch, probabilities, strict=True)]
        if not found:
            raise ValueError(f"{path}: no frame can be decoded")
        num_frames = found[-1][1]
        if clips.frame_interval(num_frames, clip["clip_len"], clip["frame_interval"]) == interval:
            return found  # else the file's header had told another length, and the interval with it


def top(probabilities, classes, k):
    """The k likeliest classes, likeliest first: a list of {"label", "probability"}."""
    values, labels = probabilities.topk(min(k, len(classes)))
    pairs = zip(labels.tolist(), values.tolist(), strict=True)
    return [{"label": classes[label], "probability": probability} for label, probability in pairs]


def draw_label(frame, text):
    """Write one line, white on a dark band along the bottom edge, into an image; it shrinks where it would not fit."""
    height, width = frame.shape[:2]
    font, margin = cv2.FONT_HERSHEY_SIMPLEX, max(2, height // 40)
    (text_width, text_height), below = cv2.getTextSize(text, font, 1, 2)
    scale = min(max(10, height / 16) / text_height, (width - 2 * margin) / text_width)
    baseline = height - margin - round(below * scale)
    band = frame[max(0, baseline - round(text_height * scale) - margin) :]
    band[:] = band // 4
    cv2.putText(frame, text, (margin, baseline), font, scale, (255, 255, 255), max(1, round(2 * scale)), cv2.LINE_AA)


def annotate(path, target, windows, classes, fps, show=False):
    """Write a copy of a video with, on every frame, the likeliest class of the window whose middle is nearest.

    The frames keep their size, except that the codec drops the last row or column where it is odd.

    Raises:
        OSError: the file cannot be written.
    """
    middles = [(start + end) / 2 for start, end, _ in windows]
    borders = [(one + other) / 2 for one, other in pairwise(middles)]
    captions = [f"{best['label']}  {best['probability']:.0%}" for *_, p in windows for best in top(p, classes, 1)]
    writer = None
    for number, frame in enumerate(tqdm(read_frames(path), path.name, total=windows[-1][1], unit="frame", leave=False)):
        if writer is None:
            size = frame.shape[1], frame.shape[0]
            writer = cv2.VideoWriter(str(target), cv2.VideoWriter_fourcc(*"mp4v"), fps, size)
            if not writer.isOpened():
                raise OSError(f"{target}: cannot be written")
        draw_label(frame, captions[bisect(borders, number + 0.5)])
        writer.write(frame)
        if show:
            cv2.imshow(path.name, frame)
            cv2.waitKey(1)
    writer.release()


def main():
    try:
        args = parse_args()
        file = args.checkpoint or runs.newest_best(Path("run"))
        checkpoint = weights.load(file)
        network = weights.build(checkpoint).to(args.device, memory_format=torch.channels_last_3d).eval()
        args.output.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        print(f"inference.py: {error}", file=sys.stderr)
        sys.exit(2)
    classes = checkpoint["classes"]
    print(f"{file}: {checkpoint['model']}, {len(classes)} classes")

    failed = False
    for path in args.videos:
        try:
            windows = predict(network, checkpoint["clip"], path, args.stride)
            fps = clips.open_video(path).get(cv2.CAP_PROP_FPS) or 25.0
            target = args.output / f"{path.stem}_annotated.mp4"
            annotate(path, target, windows, classes, fps, args.show)
        except (OSError, ValueError) as error:
            print(f"inference.py: {error}", file=sys.stderr)
            failed = True
            continue
        of_video = top(torch.stack([p for *_, p in windows]).mean(0), classes, args.top_k)
        of_windows = [{"start": s / fps, "end": e / fps, "top_k": top(p, classes, args.top_k)} for s, e, p in windows]
        report = {
            "video": str(path),
            "checkpoint": str(file),
            "model": checkpoint["model"],
            "fps": fps,
            "frames": windows[-1][1],
            "top_k": of_video,
            "windows": of_windows,
        }
        text = json.dumps(report, indent=2, ensure_ascii=False)
        (args.output / f"{path.stem}.json").write_text(text + "\n", encoding="utf-8")
        print(path)
        for guess in of_video:
            print(f"  {guess['probability']:6.1%}  {guess['label']}")
        print(f"  in {target}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
