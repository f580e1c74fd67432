"""Recognise the actions in videos: an annotated copy of each and its predictions.

    python inference.py VIDEO [VIDEO ...]
    python inference.py FOLDER --labels-only
    python inference.py --source 0
    python inference.py --export FILE
"""

import contextlib
import csv
import json
import os
import signal
import sys
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from tqdm import tqdm

from dataloaders import clips
from dataloaders.annotation import CODES, annotate
from dataloaders.videos import Video, Window, cut_windows, find_videos
from network import find_device, flags, runs, weights
from network.explain import explain
from network.export import export

BATCH_SIZE, CPU_BATCH_SIZE = 8, 2  # windows that go through the network together; more would not fit a CPU's cache
HELD = 2**28                       # bytes of images after which a batch waits for no more
BREAKS_OFF = 0.9                   # of the frames that a file's header tells, which may be an estimate


def parse_args():
    parser = flags.Parser(description=__doc__.split("\n")[0])
    flag = parser.add_argument
    flag("videos", nargs="*", metavar="VIDEO", help="files, folders, or patterns like 'a/*.mp4'")
    flag("--source", help="instead of files a camera by its number, or a stream by its address; Ctrl-C ends it")
    flag("--export", type=Path, metavar="FILE", help="write the network for other programs, FILE.onnx and FILE.pt2")
    flag("--checkpoint", type=Path, metavar="FILE", help="a checkpoint of train.py (the newest best under ./run)")
    flag("--output", type=Path, default="output", metavar="DIR", help="folder for what is written (%(default)s)")
    flag("--top-k", type=int, default=5, metavar="K", help="likeliest classes to report (%(default)s)")
    flag("--stride", type=int, metavar="N", help="frames from one window to the next (half a window)")
    flag("--format", choices=CODES, default="mp4", help="of the annotated videos; browsers play webm (%(default)s)")
    flag("--explain", action="store_true", help="colour what the network looks at")
    flag("--labels-only", action="store_true", help="write no videos but a table, predictions.csv")
    flag("--show", action="store_true", help="show the annotated video in a window as well")
    flag("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="where to compute (%(default)s)")
    args = parser.parse_args()

    flags.check(args, least={"top_k": 1, "stride": 1})
    if bool(args.videos) + (args.source is not None) + (args.export is not None) != 1:
        raise ValueError("name videos, or a --source, or a file to --export to; --help lists the flags")
    if args.labels_only and (args.explain or args.show):
        raise ValueError(f"--labels-only makes no videos to {'explain' if args.explain else 'show'}")
    if args.source is None:
        args.videos = [(path, args.output / folder / path.stem) for path, folder in find_videos(args.videos)]
    else:
        kind = "camera" if args.source.isdecimal() else "stream"
        args.videos = [(args.source, args.output / time.strftime(f"{kind}_%Y-%m-%d_%H-%M-%S"))]
    if not args.labels_only:
        check_targets(args)
    if args.show and sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise ValueError("--show needs a display, and there is none; the annotated video is written without it")
    args.device = find_device(args.device)
    return args


def check_targets(args):
    """ValueError where a video would be written over another one."""
    named, sources = {}, {path.resolve() for path, _ in args.videos if isinstance(path, Path)}
    for path, stem in args.videos:
        if (other := named.setdefault(stem, path)) is not path:
            raise ValueError(f"{other} and {path} would write the same files; give each its own --output")
        target = stem.with_name(f"{stem.name}_annotated.{args.format}")
        if target.resolve() in sources:
            raise ValueError(f"{target}: would be overwritten; choose another --output")


def ahead(items, count):
    """Yield items that another thread takes from an iterable, up to `count` of them ahead."""
    items, end = iter(items), object()
    with ThreadPoolExecutor(1) as thread:
        coming = deque(thread.submit(next, items, end) for _ in range(count))
        while (item := coming.popleft().result()) is not end:
            coming.append(thread.submit(next, items, end))
            yield item


def read(sources, clip, stride, keep, progress):
    """Yield of every source its `Video`, its windows, and then what ended them, an error or None.

    A source that cannot be opened has the error alone.

    Args:
        sources: as `Video` takes them.
        clip, stride, keep: see `cut_windows`.
        progress: a bar, which tells how many frames have been read.
    """

    def frames():
        for frame in video:
            progress.update()
            yield frame

    told = 0
    for number, source in enumerate(sources, start=1):
        try:
            video = Video(source)
            told += video.told
            progress.total = told * len(sources) // number or None  # as if the others were as long
            progress.set_description_str(getattr(source, "name", source), refresh=False)
            yield video
            yield from cut_windows(ahead(frames(), 8), clip, stride, keep)
            yield None
        except (OSError, ValueError) as error:
            yield error


def predict(network, windows, batch_size, explained=False):
    """Classify windows, those of several videos together.

    Args:
        network: in evaluation mode.
        windows: an iterable of `Window`s with pixels. What else comes between them is given on in its place.
        batch_size: how many go through the network together, fewer where many or large images wait for it.
        explained: find out where the network looks, too.

    Yields:
        The windows with probabilities, and heat where it is `explained`, in place of pixels.
    """
    waiting, count, held = [], 0, 0
    for item in windows:
        waiting.append(item)
        if isinstance(item, Window):
            count += 1
            held += sum(frame.nbytes for frame in item.frames)
        if count in (0, batch_size) or held > HELD:
            yield from classify(network, waiting, explained)
            waiting, count, held = [], 0, 0
    yield from classify(network, waiting, explained)


def classify(network, items, explained):
    """A batch for `predict`."""
    pixels = [torch.from_numpy(item.pixels) for item in items if isinstance(item, Window)]
    if pixels:
        inputs = torch.stack(pixels).to(next(network.parameters()).device).permute(0, 4, 1, 2, 3)
        if explained:
            logits, heat = explain(network, inputs)
            heat = iter(heat.cpu().numpy())
        else:
            with torch.inference_mode():
                logits = network(inputs)
        probabilities = iter(logits.float().softmax(1).cpu())
    for item in items:
        if isinstance(item, Window):
            found = {"probabilities": next(probabilities)} | ({"heat": next(heat)} if explained else {})
            item = item._replace(pixels=None, **found)
        yield item


def until_end(found):
    """The windows up to what ends those of one video; raises it where it is an error."""
    for item in found:
        if isinstance(item, Exception):
            raise item
        if item is None:
            return
        yield item


def top(probabilities, classes, k):
    """The k likeliest classes, likeliest first: a list of {"label", "probability"}."""
    values, labels = probabilities.topk(min(k, len(classes)))
    pairs = zip(labels.tolist(), values.tolist(), strict=True)
    return [{"label": classes[label], "probability": probability} for label, probability in pairs]


def summarize(video, windows, classes, k):
    """Use up the windows of a video: how many frames it has, its likeliest classes, and those of each window."""
    total, parts = 0, []
    try:
        for window in windows:
            total = total + window.probabilities
            start, end = (round(seconds, 3) for seconds in video.seconds(window.start, window.end))
            likeliest = top(window.probabilities, classes, k)  # plain values: tensors kept tear memory apart
            parts.append({"start": start, "end": end, "top_k": likeliest})
    finally:
        video.wanted = False  # the rest of one that cannot be written
    return {"frames": window.end, "top_k": top(total / len(parts), classes, k), "windows": parts}


def end_on_signal(video):
    """Let Ctrl-C and SIGTERM be the end of a stream; the second time they are what they were."""
    numbers = signal.SIGINT, signal.SIGTERM
    before = [signal.getsignal(number) for number in numbers]

    def end(*_):
        video.wanted = False
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)

    for number in numbers:
        signal.signal(number, end)


def main():
    with flags.in_a_line("inference.py", 2, OSError, ValueError):
        args = parse_args()
        file = args.checkpoint or runs.newest_best(Path("run"))
        checkpoint = weights.load(file)
        clip, classes = checkpoint["clip"], checkpoint["classes"]
        clips.check(clip)
        network = weights.build(checkpoint).eval()
        print(f"{file}: {checkpoint['model']}, {len(classes)} classes")
        if args.export:
            print("in", *export(network, checkpoint, args.export))
            return
        network.to(args.device, memory_format=torch.channels_last_3d)
        args.output.mkdir(parents=True, exist_ok=True)

    live = args.source is not None
    batch_size = 1 if live else CPU_BATCH_SIZE if args.device.type == "cpu" else BATCH_SIZE
    failed = False

    def fail(source, error):
        nonlocal failed
        failed = True
        progress.clear()
        print(f"inference.py: {source}: {str(error).removeprefix(f'{source}: ')}", file=sys.stderr)

    with contextlib.ExitStack() as stack:
        if args.labels_only:
            table = stack.enter_context(open(args.output / "predictions.csv", "w", newline="", encoding="utf-8"))
            rows = csv.writer(table)
            rows.writerow(("video", "label", "probability", "frames", "seconds"))
        progress = stack.enter_context(tqdm(unit=" frames", leave=False, delay=0.3))
        # Decoding, the network and encoding each have a thread.
        windows = read([source for source, _ in args.videos], clip, args.stride, not args.labels_only, progress)
        found = ahead(predict(network, windows, batch_size, args.explain), 1)
        stack.enter_context(contextlib.closing(found))

        for source, stem in args.videos:
            target = stem.with_name(f"{stem.name}_annotated.{args.format}")
            coming = done = until_end(found)
            try:
                video = next(coming)
                if live:
                    end_on_signal(video)
                if not args.labels_only:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    done = annotate(coming, target, classes, video.fps, video.told, clip, args.show)
                summary = summarize(video, done, classes, args.top_k)
            except (OSError, ValueError) as error:
                fail(source, error)
                with contextlib.suppress(OSError, ValueError):
                    deque(coming, 0)  # the next video comes after this one's end
                continue
            frames = summary["frames"]
            if frames < BREAKS_OFF * video.told and not live:
                fail(source, f"breaks off after {frames} of {video.told} frames, which are done")
            guesses = [f"  {guess['probability']:6.1%}  {guess['label']}" for guess in summary["top_k"]]
            progress.clear()
            print(source, *guesses, sep="\n", flush=True)
            if args.labels_only:
                label, probability = summary["top_k"][0].values()
                rows.writerow((source, label, f"{probability:.4f}", frames, f"{video.seconds(0, frames)[1]:.2f}"))
                table.flush()
                continue
            report = {
                "video": str(source),
                "checkpoint": str(file),
                "model": checkpoint["model"],
                "fps": video.fps,
                **summary,
            }
            text = json.dumps(report, indent=2, ensure_ascii=False)
            stem.with_name(f"{stem.name}.json").write_text(text + "\n", encoding="utf-8")
            print(f"  in {target}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
