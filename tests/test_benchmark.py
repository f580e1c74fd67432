import json
import subprocess
import sys

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
