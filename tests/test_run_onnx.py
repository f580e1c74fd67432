"""The script that needs no PyTorch agrees with inference.py."""

import os
import re
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest
import torch
from conftest import ROOT, make_checkpoint, write_video
from tiny import Tiny

from dataloaders.sampling import ClipConfig
from engine.checkpoint import save_checkpoint


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"frame_rate": 15.0, "clip_len": 8},
        {},
        {"frame_interval": 1, "crop_size": 160},
    ],
)
def test_it_agrees_with_inference_where_torch_cannot_be_imported(project, tmp_path, settings):
    torch.manual_seed(0)
    model = Tiny(3)
    torch.nn.init.normal_(model.fc.weight, std=2)
    clip = asdict(ClipConfig.from_flags(**{"crop_size": 16} | settings))
    content = {"classes": ["jump", "run", "跳绳"], "clip": clip, "state_dict": model.state_dict()}
    save_checkpoint(make_checkpoint(**content), tmp_path / "a.pth")
    project.run("inference.py", "--export", tmp_path / "model", "--checkpoint", tmp_path / "a.pth")
    (tmp_path / "without" / "torch").mkdir(parents=True)
    (tmp_path / "without" / "torch" / "__init__.py").write_text(
        "raise ImportError('no torch here')"
    )
    rng = np.random.default_rng(0)
    for length, shape, fps in (
        (5, (120, 160, 3), 25),
        (40, (240, 320, 3), 30),
        (150, (300, 350, 3), 25),
    ):
        frames = [rng.integers(0, 2 + i, shape, np.uint8) for i in range(length)]
        write_video(project.folder / "v.avi", frames, fps=fps)
        output = project.run("inference.py", "v.avi", "--checkpoint", tmp_path / "a.pth").stdout
        expected = {
            name: float(share) for share, name in re.findall(r"^ +([\d.]+)%  (\S+)$", output, re.M)
        }
        command = [
            sys.executable,
            str(ROOT / "docs" / "run_onnx.py"),
            str(tmp_path / "model.onnx"),
            "v.avi",
        ]
        environment = os.environ | {
            "PYTHONPATH": str(tmp_path / "without"),
            "PYTHONIOENCODING": "utf-8",
        }
        done = subprocess.run(
            command, cwd=project.folder, env=environment, capture_output=True, encoding="utf-8"
        )
        assert done.returncode == 0, done.stderr
        found = {
            name: float(share)
            for share, name in re.findall(r"^ +([\d.]+)%  (\S+)$", done.stdout, re.M)
        }
        assert found.keys() == expected.keys() == {"jump", "run", "跳绳"}
        assert all(abs(found[name] - expected[name]) <= 0.11 for name in found), (found, expected)


def test_it_is_short():
    assert len((ROOT / "docs" / "run_onnx.py").read_text().splitlines()) <= 65
