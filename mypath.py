"""Where things lie on your machine. The one file to edit; relative paths start where you run the scripts, or here."""

from os.path import abspath, dirname, exists, expanduser, join

from dataloaders.errors import FileError


class Path:
    # name: (folder of class folders of videos, or a table; folder for the frames extracted from them)
    DATASETS = {
        "ucf101": ("data/UCF-101", "data/ucf101_frames"),
        "hmdb51": ("data/hmdb51", "data/hmdb51_frames"),
        "demo": ("data/demo", "data/demo_frames"),
    }

    # name: regular expression that finds the group of a video in its path, in one pair of brackets, as r"(person\d+)_"
    GROUPS = {}

    # name: False where videos that show the same must not be looked for, nor share a group
    COPIES = {}

    # name: frames a second of a data set of images (25)
    SOURCE_FPS = {}

    # name: which images to take, where folders of images have several kinds: what stands before the
    # number in their names, as "img_"
    IMAGES = {}

    # name: folder of the official split lists
    SPLITS = {"ucf101": "data/ucfTrainTestlist", "hmdb51": "data/testTrainMulti_7030_splits"}

    @classmethod
    def db_dir(cls, dataset: str) -> tuple[str, str]:
        """Return (root_dir, output_dir) of a data set; FileError for a name without an entry."""
        if dataset not in cls.DATASETS:
            raise FileError(
                f"unknown data set {dataset!r}: mypath.py knows {', '.join(cls.DATASETS)}"
            )
        folders = cls.DATASETS[dataset]
        if isinstance(folders, str) or len(folders) != 2:
            raise FileError(
                f"mypath.py: the entry {dataset!r} is not a pair of folders, but {folders!r}"
            )
        return _locate(*folders)

    @classmethod
    def options(cls, dataset: str, source_fps: float | None = None) -> dict:
        """Return how a data set is preprocessed: groups, copies, and the rate and kind of its images.

        `source_fps` overrides the rate in SOURCE_FPS.
        """
        source_fps = cls.SOURCE_FPS.get(dataset, 25) if source_fps is None else source_fps
        return {
            "group_pattern": cls.GROUPS.get(dataset),
            "source_fps": source_fps,
            "image_prefix": cls.IMAGES.get(dataset),
            "finds_copies": cls.COPIES.get(dataset, True),
        }

    @classmethod
    def split_dir(cls, dataset: str) -> str:
        """Return the folder of official split lists of a data set; FileError for a name without an entry."""
        if dataset not in cls.SPLITS:
            raise FileError(
                f"no official lists of {dataset!r}: mypath.py has those of {', '.join(cls.SPLITS)}"
            )
        return _locate(cls.SPLITS[dataset])[0]

    @staticmethod
    def model_dir() -> str:
        """Return the file of pretrained weights."""
        return _locate("data/c3d-pretrained.pth")[0]


def _locate(*paths: str) -> tuple[str, ...]:
    """Return the paths as they are, or, where none of them exists, beside this file if one exists there."""
    paths = tuple(map(expanduser, paths))
    beside = tuple(join(dirname(abspath(__file__)), path) for path in paths)
    return beside if any(map(exists, beside)) and not any(map(exists, paths)) else paths
