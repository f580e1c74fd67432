"""Make the pictures of the README again.

    python train.py --dataset demo && python -m assets.make
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

import mypath
from dataloaders.splits import INDEX, read_index

HERE = Path(__file__).parent
ROOT = HERE.parent

BLUE, ORANGE, INK, PAPER = "#2f6fdf", "#e8710a", "#24292f", "#ffffff"


def demo():
    """Five moments of three demo videos that the newest checkpoint annotated, none of them trained on."""
    root_dir, output_dir = (ROOT / folder for folder in mypath.Path.db_dir("demo"))
    tests = [video for video in read_index(output_dir / INDEX) if video.split == "test"]
    groups = sorted({video.group for video in tests})
    wanted = dict(zip(("Up", "Shrink", "Meet"), groups, strict=False))
    chosen = {v.class_name: v for v in tests if wanted.get(v.class_name) == v.group}
    videos = [root_dir / chosen[name].source for name in wanted]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "inference.py", *videos, "--output", folder]
        subprocess.run(list(map(str, command)), cwd=ROOT, check=True)
        rows = [moments(Path(folder) / f"{video.stem}_annotated.mp4", 5) for video in videos]
    cv2.imwrite(str(HERE / "demo.png"), np.vstack(rows)[:-4, :-4])


def moments(path, count):
    video, frames = cv2.VideoCapture(str(path)), []
    while (result := video.read())[0]:
        frames.append(cv2.resize(result[1], (240, 180), interpolation=cv2.INTER_AREA))
    chosen = [frames[i] for i in np.linspace(0, len(frames) - 1, count).astype(int)]
    bordered = [cv2.copyMakeBorder(frame, 0, 4, 0, 4, cv2.BORDER_CONSTANT, value=(255, 255, 255)) for frame in chosen]
    return np.hstack(bordered)


def plate(x, y, u0=0.0, u1=1.0, v0=0.0, v1=1.0):
    """The corners of a part of one frame, seen at an angle; u runs across it and v down, 0..1."""
    return [(x + 28 * u, y + 84 * v - 16 * u) for u, v in ((u0, v0), (u1, v0), (u1, v1), (u0, v1))]


def polygon(points, fill, stroke=INK, opacity=1.0):
    corners = " ".join(f"{x:.0f},{y:.0f}" for x, y in points)
    return f'<polygon points="{corners}" fill="{fill}" fill-opacity="{opacity}" stroke="{stroke}"/>'


def text(x, y, words, size=14, fill=INK):
    return f'<text x="{x}" y="{y}" font-size="{size}" fill="{fill}" text-anchor="middle">{words}</text>'


def stack(x, y, kernel, colour):
    """Five frames in a row; `kernel` is (frames it covers, its width as a share of a frame)."""
    length, width = kernel
    part = (0.5 - width / 2, 0.5 + width / 2) * 2
    covered = range(2 - length // 2, 3 + length // 2)
    patches = [plate(x + 33 * t, y, *part) for t in covered]
    edges = [
        f'<line x1="{x1:.0f}" y1="{y1:.0f}" x2="{x2:.0f}" y2="{y2:.0f}" stroke="{colour}" stroke-width="1.5"/>'
        for (x1, y1), (x2, y2) in zip(patches[0], patches[-1], strict=True)
    ]
    frames = [polygon(plate(x + 33 * t, y), "#dfe5ec", opacity=0.9) for t in range(5)]
    return "".join(frames + edges * (length > 1) + [polygon(patch, colour, colour, 0.8) for patch in patches])


def convolutions():
    """2D, 3D and (2+1)D convolution, each over five frames."""
    parts = [
        f'<rect width="860" height="250" rx="12" fill="{PAPER}"/>',
        text(115, 34, "2D", 20),
        stack(36, 84, (1, 0.5), BLUE),
        text(115, 206, "3×3, one frame at a time:"),
        text(115, 226, "motion is out of sight"),
        text(355, 34, "3D", 20),
        stack(276, 84, (3, 0.5), BLUE),
        text(355, 206, "3×3×3, three frames at once:"),
        text(355, 226, "space and time in one step"),
        text(655, 34, "(2+1)D", 20),
        stack(476, 84, (1, 0.5), BLUE),
        text(661, 118, "ReLU", 12),
        f'<path d="M642 128h36m-7-5 7 5-7 5" fill="none" stroke="{INK}" stroke-width="2"/>',
        stack(688, 84, (3, 0.14), ORANGE),
        text(555, 206, "1×3×3 in space,", fill=BLUE),
        text(767, 206, "then 3×1×1 in time", fill=ORANGE),
        text(655, 226, "as many weights as 3D, twice the nonlinearities"),
    ]
    body = "\n".join(parts)
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 860 250" font-family="Helvetica, Arial, sans-serif">\n'
        f"{body}\n</svg>\n"
    )
    (HERE / "convolutions.svg").write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    convolutions()
    demo()
