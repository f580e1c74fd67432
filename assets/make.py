"""Make the pictures of the README and of the other pages again.

    python train.py --dataset demo && python -m assets.make
    python -m assets.make c3d

The pictures of TensorBoard and of the pages need Chromium.
"""

import contextlib
import csv
import random
import socket
import subprocess
import sys
import tempfile
import time
from itertools import cycle
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

import mypath
from dataloaders.records import SPLIT_FILE
from dataloaders.video import VideoFile
from dataloaders.video_writer import VideoWriter
from engine.runs import newest_best_checkpoint

HERE = Path(__file__).parent
ROOT = HERE.parent

BLUE, ORANGE, INK, PAPER = "#2f6fdf", "#e8710a", "#24292f", "#ffffff"


def demo():
    """Three demo videos, annotated by the newest checkpoint, which was trained on none of them, and where it looks."""
    root_dir = ROOT / mypath.Path.db_dir("demo")[0]
    tests = test_videos()
    groups = sorted({row["group"] for row in tests})
    wanted = dict(zip(("Up", "Shrink", "Meet"), cycle(groups), strict=False))
    chosen = {row["class"]: row for row in tests if wanted.get(row["class"]) == row["group"]}
    videos = [root_dir / chosen[name]["source"] for name in wanted]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "inference.py", *videos, "--grad-cam", "--output", folder]
        subprocess.run(list(map(str, command)), cwd=ROOT, check=True)
        shown = [read_every_third(Path(folder) / f"{path.stem}_annotated.mp4") for path in videos]
    rows = []
    for t in range(max(map(len, shown))):
        frames = [frames[min(t, len(frames) - 1)] for frames in shown]
        rows.append(Image.fromarray(cv2.cvtColor(np.hstack(frames), cv2.COLOR_BGR2RGB)))
    rows = [row.quantize(200, dither=Image.Dither.NONE) for row in rows]
    rows[0].save(HERE / "demo.gif", save_all=True, append_images=rows[1:], duration=120, loop=0)


def test_videos():
    """The rows of the demo's videos on which the newest checkpoint was not trained."""
    run_dir = newest_best_checkpoint(ROOT / "run").parent.parent
    with open(run_dir / SPLIT_FILE, newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["split"] == "test"]


def read_every_third(video):
    return [frame.to_image() for frame in VideoFile(video).frames()][::3]


def tensorboard():
    """TensorBoard as it opens on the runs, photographed by Chromium."""
    with socket.create_server(("localhost", 0)) as free:
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "tensorboard.main",
        "--logdir",
        ROOT / "run",
        "--port",
        str(port),
    ]
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    pages = {  # what is left of a page's tags, and its height
        "curves": ("", 1060),
        "pictures": ("&tagFilter=confusion%7Cper_class%7Ctrain/", 510),
    }
    try:
        while server.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("localhost", port)):
                break
            time.sleep(0.1)
        else:
            sys.exit("TensorBoard does not start")
        for name, (wanted, height) in pages.items():
            with tempfile.TemporaryDirectory() as folder:
                address = f"http://localhost:{port}/?darkMode=false{wanted}#timeseries"
                file = HERE / f"tensorboard_{name}.png"
                photograph(address, file, (1800, height), folder)
    finally:
        server.terminate()


def photograph(address, file, size, folder):
    """A page as Chromium shows it; the folder is for the browser's own files."""
    subprocess.run(
        [
            "chromium",
            "--headless",
            "--no-sandbox",
            "--disable-3d-apis",
            "--hide-scrollbars",
            "--no-first-run",
            "--virtual-time-budget=900000",
            f"--user-data-dir={folder}",
            f"--window-size={size[0]},{size[1]}",
            f"--screenshot={file}",
            address,
        ],
        check=True,
        stderr=subprocess.DEVNULL,
    )


def data_page():
    """The page of the demo's videos, its upper part."""
    command = [sys.executable, "-m", "dataloaders.preprocess", "demo", "--page"]
    subprocess.run(command, cwd=ROOT, check=True)
    (page,) = (ROOT / mypath.Path.db_dir("demo")[1]).glob("16x4_171x128/data.html")
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder) / "page.png"
        photograph(page.as_uri(), photo, (1200, 1120), folder)
        Image.open(photo).convert("RGB").save(HERE / "data_page.jpg", quality=75, optimize=True)


def events_page():
    """The page of inference.py about recordings in which the demo's test videos follow each other."""
    root_dir = ROOT / mypath.Path.db_dir("demo")[0]
    tests = test_videos()
    random.Random(0).shuffle(tests)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "run").symlink_to(ROOT / "run")
        (folder / "recordings").mkdir()
        for day in range(3):
            sources = [root_dir / row["source"] for row in tests[day::3]]
            join_videos(sources, folder / f"recordings/day{day + 1}.mp4")
        command = [sys.executable, str(ROOT / "inference.py"), "recordings", "--stride", "8"]
        subprocess.run(command, cwd=folder, check=True)
        photo = folder / "page.png"
        photograph((folder / "output/index.html").as_uri(), photo, (1200, 1080), folder / "browser")
        Image.open(photo).convert("RGB").save(HERE / "events_page.jpg", quality=75, optimize=True)


def join_videos(sources, target):
    frames = [frame.to_image() for source in sources for frame in VideoFile(source).frames()]
    with VideoWriter(target, size=(240, 180), fps=25) as writer:
        for number, frame in enumerate(frames):
            writer.write(frame, number / 25)


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
    return "".join(
        frames + edges * (length > 1) + [polygon(patch, colour, colour, 0.8) for patch in patches]
    )


def convolutions():
    """2D, 3D and (2+1)D convolution, each over five frames."""
    parts = [
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
    save("convolutions", 860, 250, parts)


def save(name, width, height, parts):
    """Write a drawing, on paper of its own, so that it can be read on a light page and on a dark one."""
    body = "\n".join([f'<rect width="{width}" height="{height}" rx="12" fill="{PAPER}"/>', *parts])
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'font-family="Helvetica, Arial, sans-serif">\n{body}\n</svg>\n'
    )
    (HERE / f"{name}.svg").write_text(svg, encoding="utf-8")


def box(x, y, width, height, lines, fill, ink=PAPER, size=13):
    """A box with lines of words in its middle."""
    top = y + height / 2 - 8 * (len(lines) - 1) + 5
    words = [
        text(x + width / 2, round(top + 16 * i), line, size, ink) for i, line in enumerate(lines)
    ]
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="4" fill="{fill}"/>'
        + "".join(words)
    )


def c3d():
    """The layers of C3D, and the size of what goes from each group of them to the next."""
    groups = (  # convolutions and their planes, height of their boxes, what comes in, pooling after them
        ((("1", 64),), 150, "16×112×112", "1×2×2"),
        ((("2", 128),), 124, "16×56×56", "2×2×2"),
        ((("3a", 256), ("3b", 256)), 100, "8×28×28", "2×2×2"),
        ((("4a", 512), ("4b", 512)), 78, "4×14×14", "2×2×2"),
        ((("5a", 512), ("5b", 512)), 58, "2×7×7", "2×2×2"),
    )
    x, middle, parts = (
        24,
        118,
        [text(452, 30, "C3D: eight 3×3×3 convolutions, three linear layers", 18)],
    )
    for convolutions, height, size, pool in groups:
        width = 62 * len(convolutions) - 6
        parts.append(text(x + width / 2, middle + height / 2 + 20, size, 12))
        for name, planes in convolutions:
            parts.append(box(x, middle - height / 2, 56, height, (f"conv{name}", planes), BLUE))
            x += 62
        parts.append(box(x, middle - height / 2, 20, height, (), ORANGE))
        parts.append(text(x + 10, middle - height / 2 - 7, pool, 11, ORANGE))
        x += 36
    parts.append(text(x + 28, middle + 49, "8192", 12))
    for name, planes in (("fc6", 4096), ("fc7", 4096), ("fc8", "classes")):
        parts.append(box(x, middle - 29, 56, 58, (name, planes), INK))
        x += 62
    parts.append(
        text(452, 228, "below: frames × height × width of what comes in; orange: max pooling", 13)
    )
    save("c3d", 904, 244, parts)


def arrow(x, y, length):
    return (
        f'<path d="M{x} {y}v{length}m-4-6 4 6 4-6" fill="none" stroke="{INK}" stroke-width="1.5"/>'
    )


def block(x, title, convolution):
    """A residual block; `convolution` is the boxes that stand for one, from above: (height, words, colour)."""
    parts, y = [text(x, 34, title, 18), text(x, 58, "x", 14), arrow(x, 62, 16)], 80
    for last in (False, True):
        for height, lines, colour in convolution:
            parts += [box(x - 75, y, 150, height, lines, colour)]
            y += height + 4
        parts += [
            box(x - 75, y, 150, 22, ("BN" if last else "BN, ReLU",), "#6b7682", size=12),
            arrow(x, y + 22, 16),
        ]
        y += 40
    parts += [
        f'<circle cx="{x}" cy="{y + 10}" r="11" fill="none" stroke="{INK}" stroke-width="1.5"/>',
        text(x, y + 16, "+", 18),
        f'<path d="M{x} 68h96V{y + 10}h-83m6-4-6 4 6 4" fill="none" stroke="{INK}" stroke-width="1.5"/>',
        arrow(x, y + 21, 16),
        text(x, y + 54, "ReLU", 13),
    ]
    return parts


def resnets():
    """A block of R3D and one of R(2+1)D, and what both networks are made of."""
    parts = block(130, "R3D block", [(64, ("3×3×3",), BLUE)])
    factored = [(24, ("1×3×3",), BLUE), (18, ("BN, ReLU",), "#6b7682"), (24, ("3×1×1",), ORANGE)]
    parts += block(390, "R(2+1)D block", factored)
    parts.append(text(700, 34, "18 layers (34), clips of 16×112×112", 16))
    stages = (
        ("stem", "64 planes", "16×56×56"),
        ("2 (3) blocks", "64", "16×56×56"),
        ("2 (4) blocks", "128", "8×28×28"),
        ("2 (6) blocks", "256", "4×14×14"),
        ("2 (3) blocks", "512", "2×7×7"),
        ("mean", "512", "1×1×1"),
        ("linear", "classes", ""),
    )
    for row, (name, planes, size) in enumerate(stages):
        y, colour = 58 + 45 * row, BLUE if row < 5 else INK
        parts.append(box(590, y, 180, 30, (f"{name}, {planes}",), colour))
        parts.append(text(830, y + 20, size, 13))
        if row < 6:
            parts.append(arrow(680, y + 30, 14))
    parts.append(
        text(696, 388, "stem: 3×7×7, in R(2+1)D 1×7×7 then 3×1×1; right: what comes out", 12)
    )
    save("resnets", 900, 400, parts)


def measure_stages():
    """CPU milliseconds a frame of each stage of inference, by network, as the benchmark prints them."""
    command = [sys.executable, "tests/benchmark.py", "infer"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    costs = {}
    for line in done.stdout.splitlines():
        name, is_found, stages = line.partition(", CPU ms a frame: ")
        if is_found:
            pairs = [stage.rsplit(" ", 1) for stage in stages.split(", ")]
            costs[name] = {stage: float(cost) for stage, cost in pairs}
    return costs


def inference_stages():
    """Where the CPU time of an annotated video goes: a bar for each network."""
    colours = dict(
        zip(
            ("decode", "cut clips", "network", "draw", "encode"),
            ("#6b7682", "#1a936f", BLUE, "#b5179e", ORANGE),
            strict=True,
        )
    )
    costs = measure_stages()
    scale = 620 / max(sum(stages.values()) for stages in costs.values())
    parts = []
    for number, (name, stages) in enumerate(costs.items()):
        x, y = 130, 66 + 74 * number
        parts.append(text(70, y + 27, name, 16))
        for stage, cost in stages.items():
            width = round(scale * cost, 1)
            parts.append(
                f'<rect x="{round(x, 1)}" y="{y}" width="{width}" height="40" fill="{colours[stage]}"/>'
            )
            x += width
        parts.append(text(round(x + 40), y + 26, f"{sum(stages.values()):.1f} ms", 14))
        words = ", ".join(f"{stage} {cost:.2f}" for stage, cost in stages.items())
        parts.append(f'<text x="130" y="{y + 56}" font-size="12" fill="{INK}">{words}</text>')
    for number, (stage, colour) in enumerate(colours.items()):
        x = 130 + 130 * number
        parts.append(f'<rect x="{x}" y="22" width="16" height="16" fill="{colour}"/>')
        parts.append(f'<text x="{x + 24}" y="35" font-size="14" fill="{INK}">{stage}</text>')
    save("inference_stages", 860, 70 + 74 * len(costs), parts)


if __name__ == "__main__":
    for name in sys.argv[1:] or (
        "convolutions",
        "c3d",
        "resnets",
        "demo",
        "data_page",
        "inference_stages",
        "events_page",
        "tensorboard",
    ):
        globals()[name]()
