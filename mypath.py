"""Where things lie on your machine: the one file to edit.

Relative paths start where you run the scripts, or beside this file.
"""

from os.path import abspath, dirname, exists, expanduser, join

from dataloaders.entries import find_entry
from dataloaders.errors import FileError


class Path:
    """The data sets and the weights."""

    # name: (folder of class folders of videos, or a table; folder for the frames of them)
    # or name: {"videos": ..., "frames": ...}, with any of these beside the two:
    #     "lists": folder of the official split lists
    #     "group_pattern": regular expression that finds the group of a video in its path, in one
    #         pair of brackets, as r"(person\d+)_"
    #     "finds_copies": False where videos that show the same share no group
    #     "source_fps": frames a second of a data set of images (25)
    #     "image_prefix": which images to take, where folders of images have several kinds: what
    #         stands before the number in their names, as "img_"
    DATASETS = {
        "ucf101": ("data/UCF-101", "data/ucf101_frames"),
        "hmdb51": ("data/hmdb51", "data/hmdb51_frames"),
        "demo": ("data/demo", "data/demo_frames"),
    }

    # name: folder of the official split lists, where the entry above names none
    SPLITS = {"ucf101": "data/ucfTrainTestlist", "hmdb51": "data/testTrainMulti_7030_splits"}

    @classmethod
    def db_dir(cls, dataset: str) -> tuple[str, str]:
        """Return (videos, frames) of a data set; FileError for a name without an entry."""
        entry = find_entry(cls.DATASETS, dataset)
        return _locate(entry["videos"], entry["frames"])

    @classmethod
    def split_dir(cls, dataset: str) -> str:
        """Return the folder of official lists of a data set; FileError where it has none."""
        lists = find_entry(cls.DATASETS, dataset).get("lists", cls.SPLITS.get(dataset))
        if lists is None:
            known = ", ".join(cls.SPLITS)
            raise FileError(f"no official lists of {dataset!r}: mypath.py has those of {known}")
        return _locate(lists)[0]

    @staticmethod
    def model_dir() -> str:
        """Return the file of pretrained weights."""
        return _locate("data/c3d-pretrained.pth")[0]


def _locate(*paths: str) -> tuple[str, ...]:
    """Return the paths as they are, or beside this file where only there one of them exists."""
    paths = tuple(map(expanduser, paths))
    beside = tuple(join(dirname(abspath(__file__)), path) for path in paths)
    return beside if any(map(exists, beside)) and not any(map(exists, paths)) else paths
