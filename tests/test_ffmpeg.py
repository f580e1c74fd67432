"""PyAV beside OpenCV."""

import os
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT


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
