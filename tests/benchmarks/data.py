"""Videos, frames and checkpoints to work on."""

import shutil
from dataclasses import asdict

import cv2
import numpy as np
from torch.utils.data import DataLoader

from benchmarks.timing import CORES, quiet
from dataloaders.dataset import TrainClips
from dataloaders.frames import DataSettings
from dataloaders.preprocess import preprocess, split_records
from dataloaders.sampling import ClipConfig
from dataloaders.workers import worker_init_fn
from engine.checkpoint import save_checkpoint
from network import build_model

CLASSES = ["Jump", "Run", "Sit", "Walk"]
FPS = 25
SIZE = (320, 240)


def list_files(videos):
    """The videos of a folder of class folders."""
    return sorted(path for path in videos.glob("*/*") if path.is_file())


def write_videos(root, num_videos, clips_per_group=4, frames=180):
    """Write videos like those of UCF101: 320x240, 25 fps, MPEG-4, about 2 kB a frame.

    Each class has as many. The clips of a group are different; each group has the same ones.
    """
    groups = num_videos // (len(CLASSES) * clips_per_group)
    rng = np.random.default_rng(0)
    texture = cv2.GaussianBlur(rng.integers(0, 256, (600, 800, 3), np.uint8), (0, 0), 4)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX)
    for clip in range(1, clips_per_group + 1):
        first = root / "Run" / f"v_Run_g01_c{clip:02d}.avi"
        first.parent.mkdir(parents=True, exist_ok=True)
        write_video(first, (draw_frame(texture, t, speed=clip + 1) for t in range(frames)))
        for name in CLASSES:
            for group in range(1, groups + 1):
                copy = root / name / f"v_{name}_g{group:02d}_c{clip:02d}.avi"
                copy.parent.mkdir(exist_ok=True)
                if copy != first:
                    shutil.copy(first, copy)


def draw_frame(texture, t, speed):
    """A frame over which a texture moves, and a circle from side to side."""
    x = speed * t % 400
    y = t % 300
    frame = texture[y : y + SIZE[1], x : x + SIZE[0]].copy()
    cv2.circle(frame, (160 + int(90 * np.sin(t / 9)), 120), 30, (40, 80, 220), -1)
    return frame


def write_video(file, images, size=SIZE):
    """Write images as a video like those of UCF101."""
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*"XVID"), FPS, size)
    for image in images:
        writer.write(image)
    writer.release()
    return file


def data_settings(videos, output_dir):
    """A data set of made videos, which are many times the same and yet no copies here."""
    return DataSettings("own", videos, output_dir, finds_copies=False)


def train_dataset(videos, work_dir):
    """The training clips of a folder of videos, whose frames are extracted where they are not."""
    with quiet():
        frames = preprocess(data_settings(videos, work_dir / "frames"))
    records = split_records(frames, "group")
    classes = sorted({record.class_name for record in records})
    train = [record for record in records if record.split == "train"]
    return TrainClips(frames.frames_dir, train, classes, ClipConfig())


def train_loader(dataset, batch_size, num_clips, device, num_workers=CORES):
    """Batches of so many clips, drawn from one video after the other."""
    return DataLoader(
        dataset,
        batch_size,
        sampler=[(i % len(dataset), (0, 1, i)) for i in range(num_clips)],
        num_workers=num_workers,
        persistent_workers=True,
        worker_init_fn=worker_init_fn,
        pin_memory=device.type == "cuda",
    )


def write_checkpoint(file, name):
    """Write a checkpoint of a network that has not been trained."""
    model = build_model(name, len(CLASSES))
    content = {
        "model": name,
        "options": {},
        "classes": CLASSES,
        "clip": asdict(ClipConfig()),
        "state_dict": model.state_dict(),
        "normalization": model.normalize.statistics,
    }
    save_checkpoint(content, file)
    return file
