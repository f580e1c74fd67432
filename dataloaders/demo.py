"""The built-in demo: videos whose classes only the order of their frames can tell apart.

There are three pairs of classes, and each class is its partner played backwards: a shape moves up
or down, grows or shrinks, two shapes part or meet. Mirrored left to right, every class stays what
it is. Files and groups are named as UCF101 names its own.
"""

import os
import shutil
from pathlib import Path

import cv2
import numpy as np

from dataloaders.errors import FileError

PAIRS = (("Up", "Down"), ("Grow", "Shrink"), ("Part", "Meet"))
GROUPS = 12
CLIPS = 2  # videos per class and group
SIZE = (240, 180)  # width and height
FPS = 25
LENGTH = 61  # frames; every 4th is the same set in both directions
QUALITY = 75  # of JPEG


def write_videos(root_dir: Path) -> None:
    """Write the demo videos, `root_dir/<Class>/v_<Class>_gNN_cNN.avi`, if the folder is not there.

    Raises:
        FileError: A file or folder cannot be written.
    """
    if os.path.exists(root_dir):
        return
    partial = root_dir.with_name(root_dir.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        for group in range(GROUPS):
            for clip in range(CLIPS):
                _write_clips(partial, group, clip)
        os.replace(partial, root_dir)
    except OSError as error:
        raise FileError(f"{root_dir}: cannot be written: {error.strerror or error}") from None


def _write_clips(root_dir: Path, group: int, clip: int) -> None:
    """Write one video of each class."""
    for number, (name, partner) in enumerate(PAIRS):
        scene = np.random.default_rng(group)
        motion = np.random.default_rng((group, clip, number))
        frames = draw_video(name, scene, motion)
        file_name = f"g{group + 1:02d}_c{clip + 1:02d}.avi"
        _write_video(root_dir / name / f"v_{name}_{file_name}", frames)
        _write_video(root_dir / partner / f"v_{partner}_{file_name}", frames[::-1])


def _write_video(path: Path, frames: list[np.ndarray]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # OpenCV's own encoder gives every frame the same quality: it must not tell the first frame
    # from the last.
    codec = cv2.VideoWriter_fourcc(*"MJPG")
    video = cv2.VideoWriter(str(path), cv2.CAP_OPENCV_MJPEG, codec, FPS, SIZE)
    if not video.isOpened():
        raise FileError(f"{path}: cannot be written")
    video.set(cv2.VIDEOWRITER_PROP_QUALITY, QUALITY)
    for frame in frames:
        video.write(frame)
    video.release()


def draw_video(
    name: str, scene: np.random.Generator, motion: np.random.Generator
) -> list[np.ndarray]:
    """Draw one video of a class.

    Args:
        name: The class, the first of its pair.
        scene: Draws what the videos of a group share, shape and colours.
        motion: Draws what differs between them: place, size and pace.

    Returns:
        `LENGTH` images, BGR `uint8` (180, 240, 3).
    """
    corners = scene.choice((3, 4, 6, 64))  # 64 make a disc
    hue = scene.integers(180)
    palette = np.uint8([[[hue, 60, 245], [(hue + 90) % 180, 150, 200]]])
    colour, tint = cv2.cvtColor(palette, cv2.COLOR_HSV2BGR)[0].tolist()
    clouds = cv2.resize(scene.uniform(50, 150, (5, 7)), SIZE, interpolation=cv2.INTER_CUBIC)
    background = (clouds[..., None] / 255 * tint).astype(np.uint8)
    x = motion.uniform(86, 154)
    y = motion.uniform(71, 109)
    size = motion.uniform(16, 24)
    angles = np.arange(corners) * 2 * np.pi / corners - np.pi / 2
    outline = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    frames = []
    for t in np.linspace(0, 1, LENGTH) ** motion.uniform(0.8, 1.25):
        frame = background.copy()
        shapes = {  # (x, y, radius) of each
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
