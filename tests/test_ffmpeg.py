"""PyAV beside OpenCV."""

import os
import random
import shutil
import subprocess
import sys
from fractions import Fraction

import pytest
from conftest import ROOT

from dataloaders.ffmpeg import to_seconds


@pytest.mark.skipif(shutil.which("Xvfb") is None, reason="needs Xvfb, a display without a screen")
def test_windows_of_opencv_open_beside_pyav(tmp_path):
    """With `import av` before `import cv2` the call of `imshow` hangs."""
    read, write = os.pipe()
    display = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), "-screen", "0", "320x240x24"],
        pass_fds=[write],
        stderr=subprocess.DEVNULL,
    )
    try:
        os.close(write)
        with os.fdopen(read) as pipe:
            number = pipe.readline().strip()
        code = (
            "from dataloaders.video import VideoFile; import cv2, numpy\n"
            "cv2.imshow('v', numpy.zeros((64, 64, 3), numpy.uint8)); cv2.waitKey(1); print('shown')"
        )
        environment = os.environ | {"DISPLAY": f":{number}"}
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.stdout == "shown\n", done.stderr
    finally:
        display.kill()
        display.wait()


def test_time_stamps_are_rounded_to_seconds_as_fractions_are():
    rng = random.Random(0)
    for _ in range(2000):
        base = Fraction(rng.choice([1, 1, 1001, 125]), rng.choice([25, 90000, 30000, 12800, 10**9]))
        stamp = rng.randrange(-(2**40), 2**40)
        assert to_seconds(stamp, base) == float(stamp * base)
