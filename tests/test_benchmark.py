import json
import subprocess
import sys

import benchmark
import numpy as np
import pytest
from conftest import ROOT, write_dataset


def test_rows_compare_three_ways(tmp_path):
    root = write_dataset(tmp_path / "videos", groups=3)
    command = [sys.executable, "tests/benchmark.py", "preprocess", "--videos", root, "--json", tmp_path / "rows.json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    (row,) = json.loads((tmp_path / "rows.json").read_text())
    assert list(row) == ["work", "classic", "ours", "ratio", "floor", "fraction of the floor"]
    assert row["ratio"] == pytest.approx(row["ours"] / row["classic"])
    assert row["fraction of the floor"] == pytest.approx(row["ours"] / row["floor"])
    assert row["work"] in done.stdout


@pytest.mark.parametrize("size", [(160, 120), (320, 240), (640, 90), (90, 640), (1920, 1080)])
@pytest.mark.parametrize("text", ["jump  97%", "BasketballDunkingWithBothHands  100%"])
@pytest.mark.parametrize("shade", [0, 128, 255])
def test_the_label_is_legible_and_inside(size, text, shade):
    frame = np.full((size[1], size[0], 3), shade, np.uint8)
    benchmark.draw_label(frame, text)
    changed = np.argwhere((frame != shade).any(2) if shade else frame.any(2))
    top, left = changed.min(0)
    assert frame[top:].max() > 200  # white letters
    assert np.median(frame[top:]) < 70  # on dark
    letters = np.argwhere(frame[top:, :, 0] > 180)
    assert letters[:, 1].max() < size[0] - 1
    assert letters[:, 0].max() < size[1] - top - 1
    assert top > size[1] / 2
