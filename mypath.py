"""Where things lie on your machine. The one file to edit; relative paths start where you run the scripts."""


class Path:
    # name: (folder of class folders of videos, folder for the frames made from them)
    DATASETS = {
        "ucf101": ("data/UCF-101", "data/ucf101_frames"),
        "hmdb51": ("data/hmdb51", "data/hmdb51_frames"),
        "demo": ("data/demo", "data/demo_frames"),
    }

    # name: folder of the official split lists
    SPLITS = {
        "ucf101": "data/ucfTrainTestlist",
        "hmdb51": "data/testTrainMulti_7030_splits",
    }

    @classmethod
    def db_dir(cls, dataset):
        """(root_dir, output_dir) of a data set; ValueError for a name that has no entry."""
        if dataset not in cls.DATASETS:
            raise ValueError(f"unknown data set {dataset!r}: mypath.py knows {', '.join(cls.DATASETS)}")
        return cls.DATASETS[dataset]

    @classmethod
    def split_dir(cls, dataset):
        """The folder of official split lists of a data set; ValueError for a name that has no entry."""
        if dataset not in cls.SPLITS:
            raise ValueError(f"no official lists of {dataset!r}: mypath.py has those of {', '.join(cls.SPLITS)}")
        return cls.SPLITS[dataset]

    @staticmethod
    def model_dir():
        """The file of pretrained weights."""
        return "data/c3d-pretrained.pth"
