"""The flags that choose the clips and the split of a data set, and those of preprocessing."""

import argparse
from collections.abc import Iterable
from pathlib import Path

from dataloaders.entries import find_entry
from dataloaders.errors import DataError
from dataloaders.frames import DataSettings, default_protocol
from dataloaders.records import VideoRecord
from dataloaders.sampling import CROP_SIZE, ClipConfig
from dataloaders.splits import PROTOCOLS

# A mypath.py of an older version says each of these in a dict of its own.
OLDER_DICTS = {
    "GROUPS": "group_pattern",
    "COPIES": "finds_copies",
    "SOURCE_FPS": "source_fps",
    "IMAGES": "image_prefix",
}


def get_preprocess_parser() -> argparse.ArgumentParser:
    """Return the parser of `python -m dataloaders.preprocess`."""
    parser = argparse.ArgumentParser(
        "python -m dataloaders.preprocess",
        description="Videos -> train/val/test folders of JPEG frames, and their index.",
    )
    add = parser.add_argument
    add("dataset", help="a data set named in mypath.py")
    add("--force", action="store_true", help="extract all frames again")
    add("--prune", action="store_true", help="delete the frames of videos that are gone or changed")
    add("--dry-run", action="store_true", help="say what there is, by the headers; write nothing")
    add("--page", action="store_true", help="write data.html beside the frames: a page to look at")
    add("--output", type=Path, metavar="FILE", help="write the split of --split and --fold there")
    add_data_arguments(parser)
    return parser


def add_data_arguments(parser) -> None:
    """Add the flags that choose a split and the clips to a parser or group of arguments."""
    add = parser.add_argument
    add(
        "--split",
        choices=PROTOCOLS,
        help="which videos are in train, val and test (group, or as the data set says)",
    )
    add(
        "--fold",
        type=int,
        choices=range(1, 6),
        default=1,
        help="the fifth that --split group tests on (%(default)s)",
    )
    add("--clip-len", type=int, metavar="N", help=f"frames of a clip ({ClipConfig.clip_len})")
    add(
        "--frame-interval",
        type=int,
        metavar="N",
        help=f"keep every Nth frame ({ClipConfig.frame_interval})",
    )
    add(
        "--frame-rate",
        type=float,
        metavar="F",
        help="or F frames a second, whatever the rate of the video",
    )
    add(
        "--source-fps",
        type=float,
        metavar="F",
        help="rate of videos that are folders of images (25, or as mypath.py)",
    )
    add(
        "--crop-size",
        type=int,
        default=CROP_SIZE,
        help="side of the square crop, pixels (%(default)s)",
    )


def open_settings(
    paths, name: str, config: ClipConfig, source_fps: float | None = None
) -> DataSettings:
    """Return the settings of a data set.

    Args:
        paths: `mypath.Path`, or a class of another project with a method `db_dir`.
        name: Of the data set.
        config: The clips that the frames are for.
        source_fps: Frame rate of folders of images, by default that of the entry.

    Raises:
        FileError: There is no such data set.
        DataError: Its entry is wrong.
    """
    root_dir, output_dir = paths.db_dir(name)
    datasets = getattr(paths, "DATASETS", {})
    options = find_entry(datasets, name) if name in datasets else {}
    for older, key in OLDER_DICTS.items():
        value = getattr(paths, older, {}).get(name)
        if value is not None:
            options.setdefault(key, value)
    for key in ("videos", "frames", "lists"):  # found by methods, which people override
        options.pop(key, None)
    if source_fps is not None:
        options["source_fps"] = source_fps
    return DataSettings(name, Path(root_dir), Path(output_dir), config, **options)


def choose_protocol(
    settings: DataSettings, split: str | None, fold: int, records: Iterable[VideoRecord] = ()
) -> str:
    """Return the protocol of a split, by default that of the data set, if it has one.

    Args:
        settings: The data set.
        split: The flag `--split`.
        fold: The flag `--fold`.
        records: The videos, by which this is known where their folder is gone.

    Raises:
        DataError: A fold of another split than "group" is asked for.
    """
    protocol = split or default_protocol(settings, records)
    if split is None and protocol == "folders":
        print(f"--split folders: {settings.root_dir} says which videos are in train, val and test")
    if fold != 1 and protocol != "group":
        raise DataError(f"--fold {fold}: only --split group has folds, not {protocol}")
    return protocol


def find_split_dir(paths, name: str, protocol: str) -> str | None:
    """Return the folder of official lists; None for a split that needs none.

    Args:
        paths: `mypath.Path`.
        name: Of the data set.
        protocol: Of the split.
    """
    return paths.split_dir(name) if protocol.startswith("official") else None
