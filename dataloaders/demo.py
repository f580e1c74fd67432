"""The built-in demo: videos whose classes only the order of their frames can tell apart.
Three pairs, each class its partner played backwards: a shape moves up or down, grows or shrinks, two shapes part or
meet. Mirrored left to right, every class stays what it is. Files and groups are named as UCF101 names its own."""

import os
import shutil
from itertools import product
from pathlib import Path

import cv2
import numpy as np

from dataloaders.errors import FileError

PAIRS = (("Up", "Down"), ("Grow", "Shrink"), ("Part", "Meet"))
GROUPS = 12
CLIPS = 2  # videos per class and group
SIZE = 240, 180  # width and height
FPS = 25
LENGTH = 61  # frames; every 4th is the same set in both directions


def write_videos(root_dir: Path) -> None:
    """Write the demo videos, `root_dir/<Class>/v_<Class>_gNN_cNN.avi`, unless the folder is there."""
    if root_dir.exists():
        return
    partial = root_dir.with_name(root_dir.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    for group, clip, (pair, names) in product(range(GROUPS), range(CLIPS), enumerate(PAIRS)):
        frames = draw_video(
            names[0], np.random.default_rng(group), np.random.default_rng((group, clip, pair))
        )
        for name, ordered in zip(names, (frames, frames[::-1]), strict=True):
            path = partial / name / f"v_{name}_g{group + 1:02d}_c{clip + 1:02d}.avi"
            path.parent.mkdir(parents=True, exist_ok=True)
            # OpenCV's own encoder gives every frame the same quality: it must not tell the first frame from the last.
            video = cv2.VideoWriter(
                str(path), cv2.CAP_OPENCV_MJPEG, cv2.VideoWriter_fourcc(*"MJPG"), FPS, SIZE
            )
            video.set(cv2.VIDEOWRITER_PROP_QUALITY, 75)
            if not video.isOpened():
                raise FileError(f"{path}: cannot be written")
            for frame in ordered:
                video.write(frame)
            video.release()
    os.replace(partial, root_dir)


def draw_video(
    name: str, scene: np.random.Generator, motion: np.random.Generator
) -> list[np.ndarray]:
    """Draw one video of the class `name`, the first of its pair: `LENGTH` BGR images, 240x180.
    `scene` draws what the videos of a group share, shape and colours; `motion` what differs: place, size and pace."""
    corners, hue = scene.choice((3, 4, 6, 64)), scene.integers(180)  # 64 make a disc
    palette = np.uint8([[[hue, 60, 245], [(hue + 90) % 180, 150, 200]]])
    colour, tint = cv2.cvtColor(palette, cv2.COLOR_HSV2BGR)[0].tolist()
    clouds = cv2.resize(scene.uniform(50, 150, (5, 7)), SIZE, interpolation=cv2.INTER_CUBIC)
    background = (clouds[..., None] / 255 * tint).astype(np.uint8)
    x, y, size = motion.uniform(86, 154), motion.uniform(71, 109), motion.uniform(16, 24)
    angles = np.arange(corners) * 2 * np.pi / corners - np.pi / 2
    outline = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    frames = []
    for t in np.linspace(0, 1, LENGTH) ** motion.uniform(0.8, 1.25):
        frame = background.copy()
        shapes = {
            "Up": [(x, 150 - 120 * t, size)],
            "Grow": [(x, y, 9 + 52 * t)],
            "Part": [(104 - 44 * t, y, size), (136 + 44 * t, y, size)],
        }
        for *centre, radius in shapes[name]:
            fixed_point = np.round((centre + radius * outline) * 16).astype(np.int32)
            cv2.fillConvexPoly(frame, fixed_point, colour, cv2.LINE_AA, shift=4)
            cv2.polylines(frame, [fixed_point], True, (255, 255, 255), 2, cv2.LINE_AA, shift=4)
        frames.append(frame)
    return frames
