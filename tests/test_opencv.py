import re
from pathlib import Path

import cv2
import pytest

import inference
import train
from dataloaders import opencv, preprocess
from dataloaders.errors import DataError

ROOT = Path(__file__).parent.parent


def test_the_oldest_opencv_is_that_of_the_requirements():
    (bound,) = re.findall(
        r"^opencv-python>=([\d.]+)", (ROOT / "requirements.txt").read_text(), re.M
    )
    assert tuple(map(int, bound.split("."))) == opencv.OLDEST
    opencv.check_opencv()  # the one that the tests run with


@pytest.mark.parametrize("version", ["4.12.0", "4.9.0.80", "3.4.18-dev"])
def test_an_older_opencv_is_refused(monkeypatch, version):
    monkeypatch.setattr(cv2, "__version__", version)
    with pytest.raises(DataError, match=f"OpenCV {version} is imported from"):
        opencv.check_opencv()


@pytest.mark.parametrize("version", ["4.13.0", "4.13.0-rc1", "5.0.0", "10.1"])
def test_a_newer_opencv_is_taken(monkeypatch, version):
    monkeypatch.setattr(cv2, "__version__", version)
    opencv.check_opencv()


@pytest.mark.parametrize("script", [train, inference, preprocess])
def test_every_script_names_the_file_and_the_commands_that_mend_it(mistake, monkeypatch, script):
    monkeypatch.setattr(cv2, "__version__", "4.12.0")
    packages = {"cv2": ["opencv-python", "opencv-contrib-python", "opencv-python"]}
    monkeypatch.setattr(opencv, "packages_distributions", lambda: packages)
    line = mistake(script, "demo")
    assert line.removeprefix(f"{script.__name__}.py: ") == (
        f"OpenCV 4.12.0 is imported from {cv2.__file__}, and 4.13 or newer is needed; "
        "pip uninstall -y opencv-contrib-python opencv-python and then "
        "pip install -r requirements.txt mend it"
    )
