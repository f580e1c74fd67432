"""Tables that are read, and videos whose frames are extracted."""

import time
from itertools import count

import cv2

from benchmarks.data import data_settings, list_files
from benchmarks.timing import CORES, make_row, quiet, run_by_turns
from dataloaders.preprocess import preprocess
from dataloaders.records import read_index, write_index
from dataloaders.sources import list_videos
from dataloaders.splits import assign_splits
from dataloaders.video import VideoFile


def time_table(videos, work_dir, device, effort, *, num_rows=240_000):
    """Rows a second of CPU time that are read, split and indexed."""
    table = work_dir / "table.csv"
    with open(table, "w") as file:
        file.write("path,label,group\n")
        for i in range(num_rows):
            path = work_dir / "rows" / str(i // 600) / f"{i}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            file.write(f"rows/{i // 600}/{i}.mp4,class {i // 600},recording {i // 4}\n")
    start = time.process_time()
    with quiet():
        rows = assign_splits(list_videos(table))
        indexed = [row._replace(frames=40, modified=0.0, place=row.split) for row in rows]
        write_index(work_dir / "index.csv", indexed)
        read_index(work_dir / "index.csv")
    speed = num_rows / (time.process_time() - start)
    yield {"work": f"table of {num_rows:,} rows, rows/CPU s", "ours": speed}


def time_preprocess(videos, work_dir, device, effort):
    """Frames a second of the videos."""
    files = list_files(videos)
    num_frames = sum(1 for file in files for _ in VideoFile(file).frames())
    turn = count(1)

    def classic():
        output = work_dir / f"classic{next(turn)}"
        for file in files:
            extract_every_fourth(file, output / file.parent.name / file.stem)
        return num_frames

    def ours():
        preprocess(data_settings(videos, work_dir / f"ours{next(turn)}"))
        return num_frames

    def floor():
        for file in files:
            for _ in VideoFile(file, threads=1).frames():
                pass
        return num_frames * CORES

    speeds = run_by_turns(effort.rounds, classic=classic, ours=ours, floor=floor)
    yield make_row(f"preprocess {len(files)} videos on {CORES} cores, frames/s", **speeds)


def extract_every_fourth(file, folder):
    """Write frames as such scripts do."""
    folder.mkdir(parents=True)
    video = cv2.VideoCapture(str(file))
    number = 0
    while True:
        is_read, image = video.read()
        if not is_read:
            return
        if number % 4 == 0:
            cv2.imwrite(str(folder / f"{number // 4:05d}.jpg"), cv2.resize(image, (171, 128)))
        number += 1
