import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from benchmarks.data import train_dataset, train_loader, write_videos
from benchmarks.inference import draw_label
from benchmarks.loading import feeding_workers
from benchmarks.preprocessing import time_table
from benchmarks.timing import QUICK, format_row, make_row, run_by_turns
from benchmarks.training import bf16_peak, compile_ahead, compile_once, count_flops
from conftest import ROOT, write_dataset
from torch import nn

from network import MODELS


@pytest.mark.slow
def test_rows_compare_three_ways(tmp_path):
    root = write_dataset(tmp_path / "videos", groups=3)
    command = [
        sys.executable,
        "tests/benchmark.py",
        "preprocess",
        "--videos",
        root,
        "--json",
        tmp_path / "rows.json",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    (row,) = json.loads((tmp_path / "rows.json").read_text())
    assert list(row) == ["work", "classic", "ours", "ratio", "floor", "fraction of the floor"]
    assert row["work"].startswith("preprocess 6 videos on ")
    assert row["work"] in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", ["C3D", "R3D", "R2Plus1D"])
def test_flops_are_two_a_weight_and_place_forward_and_twice_that_backward(name):
    """No gradient is due for the pixels, so the first convolution has half of its backward only."""
    forward, model = [], MODELS[name](4)

    def count(module, inputs, output):
        places = 1 if isinstance(module, nn.Linear) else output[0, 0].numel()
        forward.append(2 * module.weight.numel() * places)

    for module in model.modules():
        if isinstance(module, (nn.Conv3d, nn.Linear)):
            module.register_forward_hook(count)
    model.eval()(torch.zeros(1, 3, 16, 112, 112))
    assert count_flops(name) == 3 * sum(forward) - forward[0]


def test_the_peak_of_a_card_is_looked_up_or_measured():
    assert bf16_peak("NVIDIA H100 80GB HBM3") == bf16_peak("NVIDIA H200") == 989.4e12
    assert bf16_peak("NVIDIA H100 PCIe") == 756e12
    assert 1e6 < bf16_peak("another") < 1e16


def test_the_fewest_workers_that_feed_the_fastest_network_are_named():
    loads = [{"work": "load", "workers": n, "ours": 100 * n} for n in (4, 8, 16)]
    trains = [{"work": "train C3D", "ours": speed} for speed in (300, 700, 500)]
    assert feeding_workers(loads + trains) == 8
    assert feeding_workers(loads + [{"work": "train C3D", "ours": 2000}]) is None


def test_a_row_has_the_medians_of_the_speeds_and_of_the_ratios_within_a_round():
    row = make_row("work", classic=[1, 2, 4], ours=[10, 2, 12], floor=[10, 10, 10])
    assert (row["classic"], row["ours"], row["floor"]) == (2, 10, 10)
    assert (row["ratio"], row["fraction of the floor"]) == (3, 1)  # of 10, 1 and 3; of 1, .2, 1.2


def test_ways_take_turns():
    turns = []
    ways = {name: lambda name=name: turns.append(name) or 5 for name in "ab"}
    speeds = run_by_turns(3, warm_ups=1, **ways)
    assert turns == list("abababab")
    assert [len(speeds[name]) for name in "ab"] == [3, 3]
    assert min(speeds["a"]) > 0


def test_a_row_shows_what_it_has():
    row = make_row("train C3D, 16, clips/s", [100], [450.26], [900])
    row |= {"share of the bf16 peak": 0.312, "peak memory, GiB": 7.72}
    assert format_row(row).split() == [
        *("train", "C3D,", "16,", "clips/s", "100", "450", "4.50x", "900", "0.50"),
        *("31.2%", "of", "the", "peak", "7.7", "GiB"),
    ]
    loaded = {"work": "load with 4 workers, clips/s", "workers": 4, "ours": 2.5}
    assert format_row(loaded).split() == [
        "load",
        "with",
        "4",
        "workers,",
        "clips/s",
        "2.50",
    ]


@pytest.mark.parametrize("size", [(160, 120), (320, 240), (640, 90), (90, 640), (1920, 1080)])
@pytest.mark.parametrize("text", ["jump  97%", "BasketballDunkingWithBothHands  100%"])
@pytest.mark.parametrize("shade", [0, 128, 255])
def test_the_label_is_legible_and_inside(size, text, shade):
    frame = np.full((size[1], size[0], 3), shade, np.uint8)
    draw_label(frame, text)
    changed = np.argwhere((frame != shade).any(2) if shade else frame.any(2))
    top, left = changed.min(0)
    assert frame[top:].max() > 200  # white letters
    assert np.median(frame[top:]) < 70  # on dark
    letters = np.argwhere(frame[top:, :, 0] > 180)
    assert letters[:, 1].max() < size[0] - 1
    assert letters[:, 0].max() < size[1] - top - 1
    assert top > size[1] / 2


def test_a_table_is_read_split_and_indexed(tmp_path):
    (row,) = time_table(None, tmp_path, None, QUICK, num_rows=3600)
    assert row["work"].startswith("table of 3,600 rows") and row["ours"] > 0
    assert format_row(row).startswith("table of 3,600 rows, rows/CPU s")


@pytest.mark.slow
def test_what_is_compiled_ahead_is_not_compiled_again(tmp_path, monkeypatch):
    if not shutil.which("g++"):
        pytest.skip("torch.compile needs a compiler")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    counters = torch._dynamo.utils.counters
    counters.clear()
    compile_ahead(["C3D"], 4, [1], torch.device("cpu"))
    compile_once("C3D", 4, 1, torch.device("cpu"))
    assert counters["inductor"]["fxgraph_cache_hit"] > 0
    assert counters["inductor"]["fxgraph_cache_miss"] == 0


def test_the_videos_that_it_makes_can_be_split_and_trained_on(tmp_path):
    write_videos(tmp_path / "videos", num_videos=40, clips_per_group=2, frames=20)
    dataset = train_dataset(tmp_path / "videos", tmp_path)
    assert (len(dataset.classes), len(dataset)) == (4, 24)
    loader = train_loader(dataset, 4, 8, torch.device("cpu"), 1)
    assert [clips.shape for clips, _ in loader] == [(4, 16, 112, 112, 3)] * 2
