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
import re
import signal
import sys
import time
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import torch
from tqdm import tqdm

from dataloaders import clips
from dataloaders.annotation import CODES, annotate
from dataloaders.videos import Video, Window, cut_windows, find_videos
from network import find_device, flags, runs, weights
from network.explain import explain
from network.export import export
from network.signals import Signals

BATCH_SIZE, CPU_BATCH_SIZE = 8, 2  # windows that go through the network together; more would not fit a CPU's cache
HELD = 32  # images, half a window, after which a batch waits for no more
BREAKS_OFF = 0.9  # of the frames that a file's header tells, which may be an estimate


def parse_args(argv):
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
    args = parser.parse_args(argv)

    flags.check(args, least={"top_k": 1, "stride": 1})
    if bool(args.videos) + (args.source is not None) + (args.export is not None) != 1:
        raise ValueError("name videos, or a --source, or a file to --export to; --help lists the flags")
    if args.labels_only and (args.explain or args.show):
        raise ValueError(f"--labels-only makes no videos to {'explain' if args.explain else 'show'}")
    if args.source is None:
        videos = [(path, args.output / folder / path.stem) for path, folder in find_videos(args.videos, args.output)]
        often = Counter(stem for _, stem in videos)
        args.videos = [(path, stem if often[stem] == 1 else stem.with_name(path.name)) for path, stem in videos]
    else:
        host = urlsplit(args.source).hostname or Path(args.source).stem
        name = f"camera_{args.source}" if args.source.isdecimal() else f"stream_{host}"
        args.videos = [(args.source, args.output / f"{name}_{time.strftime('%Y-%m-%d_%H-%M-%S')}")]
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


def read(sources, clip, stride, keep, progress, stop):
    """Yield of every source its `Video`, its windows, and then what ended them, an error or None.

    A source that cannot be opened has the error alone.

    Args:
        sources: as `Video` takes them.
        clip, stride, keep: see `cut_windows`.
        progress: a bar, which tells how many frames have been read.
        stop: asked at every frame whether to leave the rest, which ends a stream and is an interruption of a file.
    """

    def frames():
        for frame in video:
            if stop():
                if isinstance(source, Path):
                    raise KeyboardInterrupt
                return
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
        batch_size: how many go through the network together, fewer where images wait for it.
        explained: find out where the network looks, too.

    Yields:
        The windows with probabilities, and heat where it is `explained`, in place of pixels.
    """
    waiting, count, held = [], 0, 0
    for item in windows:
        waiting.append(item)
        if isinstance(item, Window):
            count += 1
            held += len(item.frames)
        if count in (0, batch_size) or held >= HELD:
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
    for window in windows:
        total = total + window.probabilities
        start, end = (round(seconds, 3) for seconds in video.seconds(window.start, window.end))
        likeliest = top(window.probabilities, classes, k)  # plain values: tensors kept tear memory apart
        parts.append({"start": start, "end": end, "top_k": likeliest})
    return {"frames": window.end, "top_k": top(total / len(parts), classes, k), "windows": parts}


def main(argv=None):
    sys.stdout.reconfigure(errors="backslashreplace")  # names of files may be anything
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # of a damaged video one line tells
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    with flags.in_a_line("inference.py", 2, OSError, ValueError):
        args = parse_args(argv)
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
        rows = contextlib.nullcontext()
        if args.labels_only:
            rows = (args.output / "predictions.csv").open("w", newline="", encoding="utf-8")

    batch_size = CPU_BATCH_SIZE if args.device.type == "cpu" else BATCH_SIZE
    interrupted = Signals()  # noted, and raised between two frames: no thread is left in the middle of something
    failed = False

    def say(*lines, file=None):
        with progress.get_lock():  # another thread moves it
            progress.clear(nolock=True)
            print(*lines, sep="\n", file=file, flush=True)

    def fail(source, error):
        nonlocal failed
        failed = True
        say(f"inference.py: {source}: {str(error).removeprefix(f'{source}: ')}", file=sys.stderr)

    with rows as table, tqdm(unit=" frames", leave=False, delay=0.3) as progress:
        if table:
            rows = csv.writer(table)
            rows.writerow(("video", "label", "probability", "frames", "seconds"))
        # Decoding, the network and encoding each have a thread.
        sources = [source for source, _ in args.videos]
        windows = read(sources, clip, args.stride, not args.labels_only, progress, interrupted)
        found = ahead(predict(network, windows, batch_size, args.explain), 1)
        with contextlib.closing(found):
            for source, stem in args.videos:
                target = stem.with_name(f"{stem.name}_annotated.{args.format}")
                coming, video = until_end(found), None
                try:
                    video = next(coming)
                    done = coming
                    if not table:
                        target.parent.mkdir(parents=True, exist_ok=True)
                        done = annotate(coming, target, classes, video, clip, args.show)
                    summary = summarize(video, done, classes, args.top_k)
                    frames, best = summary["frames"], summary["top_k"][0]
                    end = video.seconds(0, frames)[1]
                    if table:
                        rows.writerow((source, best["label"], f"{best['probability']:.4f}", frames, f"{end:.2f}"))
                        table.flush()
                    else:
                        shown = re.sub("(?<=//)[^/]*@", "", str(source))  # without a password
                        about = {"video": shown, "checkpoint": str(file), "model": checkpoint["model"]}
                        text = json.dumps(about | {"fps": video.fps} | summary, indent=2, ensure_ascii=False)
                        stem.with_name(f"{stem.name}.json").write_text(text + "\n", encoding="utf-8")
                except (OSError, ValueError) as error:
                    fail(source, error)
                    if video:
                        video.wanted = False
                    with contextlib.suppress(OSError, ValueError):
                        deque(coming, 0)  # the next video comes after this one's end
                    continue
                if video.live and not interrupted():
                    fail(source, f"ended after {frames} frames, which are done")
                elif frames < video.told and end < BREAKS_OFF * video.length and not interrupted():
                    fail(source, f"breaks off after {frames} of {video.told} frames, which are done")
                if interrupted() and args.source is None:
                    raise KeyboardInterrupt
                if table:
                    say(f"{source}: {best['label']}, {best['probability']:.1%}")
                    continue
                guesses = (f"  {guess['probability']:6.1%}  {guess['label']}" for guess in summary["top_k"])
                say(source, *guesses, f"  in {target}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
