"""Which OpenCV is installed."""

import re
from importlib.metadata import packages_distributions

import cv2

from dataloaders.errors import DataError

OLDEST = (4, 13)  # as in requirements.txt


def check_opencv() -> None:
    """Raise DataError where the OpenCV that was imported is older than requirements.txt admits.

    Several packages (`opencv-python`, `opencv-contrib-python` and their `-headless` forms) install
    the same folder `cv2`. pip lets them overwrite each other, so the one that it installed last
    runs, whatever requirements.txt has.
    """
    version = tuple(map(int, re.findall(r"\d+", cv2.__version__)[:2]))
    if version >= OLDEST:
        return
    packages = sorted(set(packages_distributions().get("cv2", ["opencv-python"])))
    raise DataError(
        f"OpenCV {cv2.__version__} is imported from {cv2.__file__}, and {OLDEST[0]}.{OLDEST[1]} or "
        f"newer is needed; pip uninstall -y {' '.join(packages)} and then "
        "pip install -r requirements.txt mend it"
    )
