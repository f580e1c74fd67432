"""Videos in which actions are recognised and which are annotated."""

import contextlib
import copy
import shutil
import subprocess
import sys
import time
from collections import deque
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch

from benchmarks.data import CLASSES, FPS, list_files, write_checkpoint, write_video
from benchmarks.timing import make_row, run_by_turns
from dataloaders.transforms import resize_frame
from dataloaders.video import VideoFile
from dataloaders.video_writer import VideoWriter
from engine.text import draw_text
from network import MODELS
from recognition.annotate import Painter
from recognition.classifier import BATCH_SIZE, CPU_BATCH_SIZE, WindowClassifier
from recognition.frames import ImageFrame
from recognition.inference_network import InferenceNetwork
from recognition.recognizer import Recognizer
from recognition.windows import WindowCutter

SCRIPT = Path(__file__).parent.parent.parent / "inference.py"
WINDOW = 61  # frames of a video that a clip spans
STRIDE = 32  # frames from one window to the next, by default


def time_infer(videos, work_dir, device, effort):
    """Frames a second of annotated video: at the default stride, and at stride 1 if thorough."""
    cv2.setNumThreads(1)  # as inference.py does
    images = read_images(list_files(videos)[0])
    size = images[0].shape[1::-1]
    long = write_video(work_dir / "long.avi", cycle(images, effort.num_frames), size)
    num_short = 72 if device.type == "cpu" else 200
    short = write_video(work_dir / "short.avi", cycle(images, num_short), size)
    for name in MODELS:
        checkpoint = write_checkpoint(work_dir / f"{name}.pth", name)
        classic = partial(
            recognize_classic, device=device, video=long, num_frames=effort.num_classic_frames
        )
        yield infer_model(name, checkpoint, long, classic, effort.rounds, device=device)
        if device.type == "cpu":
            print_stages(name, measure_stages(checkpoint, long))
        if effort.is_thorough:
            yield infer_model(
                name, checkpoint, short, classic, effort.rounds, device=device, stride=1
            )
    yield time_folder(videos, work_dir, device, effort)


def read_images(video):
    """The images of a video."""
    return [frame.to_image() for frame in VideoFile(video).frames()]


def cycle(images, count):
    """So many images, over and over."""
    return [images[i % len(images)] for i in range(count)]


def time_folder(videos, work_dir, device, effort):
    """A row: inference.py on a folder, with its start, the loading of R(2+1)D and the encoding."""
    num_videos = 8 if effort.is_thorough else 4
    folder = work_dir / "folder"
    folder.mkdir()
    num_frames = 0
    for number, source in enumerate(cycle(list_files(videos), num_videos)):
        video = shutil.copy(source, folder / f"{number}{source.suffix}")
        num_frames += sum(1 for _ in VideoFile(Path(video)).frames())
    command = [sys.executable, SCRIPT, folder, "--device", str(device)]
    command += ["--checkpoint", write_checkpoint(work_dir / "model.pth", "R2Plus1D")]
    command += ["--output", work_dir / "out"]

    def ours():
        subprocess.run(command, capture_output=True, check=True)
        return num_frames

    speeds = run_by_turns(1, ours=ours)
    return {"work": f"infer a folder of {num_videos} videos, frames/s", "ours": speeds["ours"][0]}


def infer_model(name, checkpoint, video, classic, rounds, *, device, stride=None):
    """A row: a video is annotated at a stride, by default half a window."""
    recognizer = Recognizer(checkpoint, device=str(device), stride=stride)
    plain = copy.deepcopy(recognizer.model).to(memory_format=torch.contiguous_format)
    batch_size = CPU_BATCH_SIZE if device.type == "cpu" else BATCH_SIZE
    target = video.with_name("annotated.mp4")

    def ours():
        report = recognizer.predict(video, target)
        return report["frames"] if stride is None else len(report["windows"])

    speeds = run_by_turns(
        rounds,
        warm_ups=0 if device.type == "cpu" else 1,
        classic=partial(classic, plain, target=target),
        ours=ours,
        floor=partial(
            decode_classify_encode, plain, batch_size, device, target, video, stride or STRIDE
        ),
    )
    at_stride = "" if stride is None else f" at stride {stride}"
    return make_row(f"infer {name}{at_stride}, frames/s", **speeds)


def measure_stages(checkpoint, video):
    """Measure what each stage of the annotation of a video costs alone, in CPU ms a frame."""
    recognizer = Recognizer(checkpoint)
    network = InferenceNetwork(recognizer.model)
    source = VideoFile(video)
    target = video.with_name("stages.mp4")
    stages = {}

    @contextlib.contextmanager
    def stage(name):
        start = time.process_time()
        yield
        stages[name] = 1000 * (time.process_time() - start) / source.num_frames

    with stage("decode"):
        frames = [ImageFrame(frame.time, frame.to_image()) for frame in source.frames()]
    with stage("cut clips"):
        windows = cut_windows(recognizer, source, frames)
    classify(network, 2 * windows[:2])  # the first four are computed in two precisions
    with stage("network"):
        classify(network, windows)
    segments = list(recognizer.recognize(recognizer.open_reader(source), keep_frames=True))
    painter = Painter(
        recognizer.labels, recognizer.config, layout="overlay", pixel_aspect=1, duration=None
    )
    with stage("draw"):
        images = paint(painter, segments)
    with stage("encode"), VideoWriter(target, size=images[0].shape[1::-1], fps=FPS) as writer:
        for number, image in enumerate(images):
            writer.write(image, number / FPS)
    return stages


def cut_windows(recognizer, source, frames):
    """The windows of a video, with their clips."""
    cutter = WindowCutter(recognizer.config, fps=source.fps)
    windows = []
    for frame in frames:
        windows += cutter.push(frame)
    return windows + cutter.flush()


def classify(network, windows):
    """Classify windows in batches."""
    classifier = WindowClassifier(network, CPU_BATCH_SIZE)
    for window in windows:
        classifier.push(window)
    classifier.flush()


def paint(painter, segments):
    """The frames of a video with the predictions on them."""
    images = []
    for segment in segments:
        painter.begin(segment)
        images += [painter.paint(frame) for frame in segment.frames]
    return images


def print_stages(name, stages):
    """Print where the CPU time goes."""
    shares = ", ".join(f"{stage} {cost:.2f}" for stage, cost in stages.items())
    print(f"{name}, CPU ms a frame: {shares}", flush=True)


@torch.inference_mode()
def recognize_classic(model, *, device, video, target, num_frames):
    """Recognise as such scripts do: a pass for each frame, of the 16 frames before it."""
    capture = cv2.VideoCapture(str(video))
    clip = deque(maxlen=16)
    writer = None
    for _ in range(num_frames):
        _, image = capture.read()
        clip.append(resize_frame(image))
        if len(clip) == 16:
            inputs = np.stack(clip)[:, 8:120, 29:141, ::-1].astype(np.float32)
            inputs = torch.from_numpy(inputs.transpose(3, 0, 1, 2)[None].copy()).to(device)
            probabilities = model(inputs).softmax(1)[0]
            label = CLASSES[probabilities.argmax()]
            draw_label(image, f"{label} {probabilities.max():.0%}")
        if writer is None:
            codec = cv2.VideoWriter_fourcc(*"mp4v")
            writer = cv2.VideoWriter(str(target), codec, FPS, image.shape[1::-1])
        writer.write(image)
    writer.release()
    return num_frames - 15  # those that had a pass


@torch.inference_mode()
def decode_classify_encode(model, batch_size, device, target, video, stride):
    """Decode a video, encode it, and classify as many clips as it has windows, one by one."""
    images = read_images(video)
    with VideoWriter(target, size=images[0].shape[1::-1], fps=FPS) as writer:
        for number, image in enumerate(images):
            writer.write(image, number / FPS)
    num_windows = -(-(len(images) - WINDOW) // stride) + 1
    shape = (batch_size, 16, 112, 112, 3)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, device=device)
    for _ in range(-(-num_windows // batch_size)):
        model(pixels.permute(0, 4, 1, 2, 3)).softmax(1).cpu()
    return num_windows if stride == 1 else len(images)


def draw_label(frame, text):
    """Write one line along the bottom edge of an image, white on a dark band; it shrinks to fit."""
    height, width = frame.shape[:2]
    line = max(12, height // 12)
    margin = max(2, height // 60)
    frame[height - line :] //= 4
    draw_text(frame[height - line : height - 2, margin : width - margin], text)
