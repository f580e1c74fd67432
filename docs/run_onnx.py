"""Recognise the action in a video without PyTorch.

The network is one that `python inference.py --export model` has written.

    pip install onnxruntime opencv-python numpy
    python docs/run_onnx.py model.onnx VIDEO

This file needs nothing else of this repository: copy it.
"""

import json
import sys

import cv2
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession(sys.argv[1])
metadata = session.get_modelmeta().custom_metadata_map
classes, clip = json.loads(metadata["classes"]), json.loads(metadata["clip"])
height, width, size = clip["height"], clip["width"], clip["crop_size"]


def resize(frame, height, width):
    """Halve an image while it is twice as large, then scale it to its size."""
    while frame.shape[0] >= 2 * height and frame.shape[1] >= 2 * width:
        rows, columns = frame.shape[0] // 2, frame.shape[1] // 2
        frame = cv2.resize(
            frame[: 2 * rows, : 2 * columns], (columns, rows), interpolation=cv2.INTER_AREA
        )
    return cv2.resize(frame, (width, height)) if frame.shape[:2] != (height, width) else frame


# Frames: scaled as those that the network was trained on, the centre crop, RGB.
video, frames = cv2.VideoCapture(sys.argv[2]), []
top, left = (height - size) // 2, (width - size) // 2
while (frame := video.read()[1]) is not None:
    frame = resize(resize(frame, max(128, height), max(171, width)), height, width)
    frames.append(cv2.cvtColor(frame[top : top + size, left : left + size], cv2.COLOR_BGR2RGB))
if not frames:
    sys.exit(f"{sys.argv[2]}: no frame can be decoded")

# Windows: every Nth frame, or so many a second, less far apart in a short video; half a window from
# one to the next, the last at the end.
length, rate = clip["clip_len"], clip["frame_rate"]
step = video.get(cv2.CAP_PROP_FPS) / rate if rate else clip["frame_interval"]
if step > 1 and int((length - 1) * step + 0.5) >= len(frames):
    step = max(1, (len(frames) - 1) / (length - 1))
if not rate:
    step = int(step)
span, stride = (length - 1) * step, length * step / 2
starts = np.arange(0, max(0, len(frames) - 0.5 - span), stride if rate else max(1, int(stride)))
if len(starts) == 0 or int(starts[-1] + span + 0.5) < len(frames) - 1:
    starts = np.append(starts, max(0, len(frames) - 1 - span))

total = 0
for start in starts:
    numbers = [min(int(start + i * step + 0.5), len(frames) - 1) for i in range(length)]
    clips = np.stack([frames[number] for number in numbers]).transpose(3, 0, 1, 2)[None]
    logits = session.run(None, {"clips": clips})[0][0].astype(float)
    total += np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
for label in np.argsort(-total)[:5]:
    print(f"{total[label] / len(starts):7.1%}  {classes[label]}")
