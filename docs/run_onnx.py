"""Recognise the action in a video without PyTorch, by a network that `python inference.py --export model` has written.

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

# Windows: every Nth frame, or so many a second, less far apart in a short video; half a window from one to the next.
length = clip["clip_len"]
step = (
    video.get(cv2.CAP_PROP_FPS) / clip["frame_rate"]
    if clip["frame_rate"]
    else clip["frame_interval"]
)
if step > 1 and int((length - 1) * step + 0.5) >= len(frames):
    step = max(1, (len(frames) - 1) / (length - 1))
step = step if clip["frame_rate"] else int(step)
offsets = [int(i * step + 0.5) for i in range(length)]
last = max(0, len(frames) - offsets[-1] - 1)
starts = sorted({*range(0, last + 1, max(1, int(length * step / 2))), last})

total = 0
for start in starts:
    images = [frames[min(start + offset, len(frames) - 1)] for offset in offsets]
    logits = session.run(None, {"clips": np.stack(images).transpose(3, 0, 1, 2)[None]})[0][
        0
    ].astype(float)
    total += np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
for label in np.argsort(-total)[:5]:
    print(f"{total[label] / len(starts):7.1%}  {classes[label]}")
