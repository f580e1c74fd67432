"""The changes of docs/extending.md, each made to a copy of the project, trained, resumed and used."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from conftest import ROOT, write_dataset, write_video
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
SECTIONS = {section.partition("\n")[0]: section for section in PAGE.split("\n### ")[1:]}
QUICK = ("--dataset", "ucf101", "--crop-size", "16", "--batch-size", "2", "--workers", "0")

needs_git = pytest.mark.skipif(not shutil.which("git"), reason="the diffs are applied by git")


def block(section, language):
    """The code block of a section in a language; None where it has none."""
    found = re.search(rf"^```{language}\n(.*?)^```$", SECTIONS[section], re.MULTILINE | re.DOTALL)
    return found and found[1]


DIFFS = {section: block(section, "diff") for section in SECTIONS if block(section, "diff")}


def files_of(diff):
    """The files that a diff changes or makes."""
    return re.findall(r"^\+\+\+ b/(.+)$", diff, re.MULTILINE)


def copy_file(name, folder):
    """Copy a file of the project, if it is there."""
    (folder / name).parent.mkdir(exist_ok=True)
    if (ROOT / name).exists():
        shutil.copy(ROOT / name, folder / name)


def apply(diff, folder, *flags):
    """Apply a diff to a copy of the project, as the page says."""
    (folder / "change.diff").write_text(diff, encoding="utf-8")
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(folder.parent)}
    command = ["git", "apply", *flags, "change.diff"]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_there_are_nine_changes():
    assert len(DIFFS) == 8
    assert [section for section in SECTIONS if section not in DIFFS] == ["Embeddings in a notebook"]


@needs_git
@pytest.mark.parametrize("section", DIFFS)
def test_each_change_applies_and_touches_three_files_at_most(section, tmp_path):
    diff = DIFFS[section]
    assert 1 <= len(files_of(diff)) <= 3
    for name in files_of(diff):
        copy_file(name, tmp_path)
    apply(diff, tmp_path, "--check")


@needs_git
def test_all_changes_fit_on_top_of_each_other(tmp_path):
    for diff in DIFFS.values():
        for name in files_of(diff):
            copy_file(name, tmp_path)
    for diff in DIFFS.values():
        apply(diff, tmp_path)


@dataclass(frozen=True)
class Trained:
    """What training, resuming and inference have left in a copy of the project.

    Attributes:
        folder: Of the copy.
        checkpoint: The last one, of the third epoch.
        results: What `results.json` contains.
        tags: The names of the curves.
        probe: What the probe of the change has saved.
    """

    folder: Path
    checkpoint: dict
    results: dict
    tags: set
    probe: dict


def check_network(trained):
    assert trained.checkpoint["model"] == "CNNLSTM"
    assert "lstm.weight_hh_l0" in trained.checkpoint["state_dict"]


def check_mixup(trained):
    targets = trained.probe["targets"]
    assert targets.shape[1] == 2
    torch.testing.assert_close(targets.sum(1), torch.ones(len(targets)))
    is_mixed = (targets > 0.01).all(1)
    assert is_mixed.any() and not is_mixed.all()  # some clips have a partner of their own class
    assert trained.probe["clips_differ"]


def check_layer_decay(trained):
    optimizer = trained.checkpoint["optimizer"]
    rates = [group["initial_lr"] for group in optimizer["param_groups"]]
    assert rates == pytest.approx([0.001, 0.0005, 0.00025])  # of fc, norm and conv
    assert "exp_avg_sq" in optimizer["state"][0]  # of AdamW


def check_focal_loss(trained):
    assert {"curves/focal_loss_train", "curves/focal_loss_val"} <= trained.tags
    assert "curves/loss_train" not in trained.tags
    assert trained.probe["losses"] == pytest.approx([0.25 * 0.6931, 0.01 * 0.1054], rel=1e-3)


def check_optical_flow(trained):
    assert trained.checkpoint["clip"]["channels"] == 2
    assert trained.checkpoint["state_dict"]["conv.weight"].shape[1] == 2
    right, down = trained.probe["flow"]
    assert right == pytest.approx(128 + 2 * 127 / 20, abs=3)
    assert down == pytest.approx(128, abs=3)


def check_metric(trained):
    assert -1 <= trained.results["test"]["kappa"] <= 1
    assert "curves/kappa_val" in trained.tags
    assert trained.checkpoint["args"]["best_by"] == "kappa"
    assert trained.probe["kappa"] == pytest.approx(0.5)  # 3 of 4 right, 2 of 4 by chance


def check_grayscale(trained):
    assert 0.1 < trained.probe["share"] < 0.3
    assert trained.probe["is_grey"] and not trained.probe["is_plain_grey"]


def check_restarts(trained):
    assert trained.checkpoint["args"]["lr_scheduler"] == "restarts"
    # Two steps that warm up, then four cosines of two steps each.
    assert trained.probe["factors"] == pytest.approx([0.5, 1, *4 * [1, 0.5], 1])


# Probes are run in the copy before and after the training, and fill the dict `probe`.
MIXUP_BEFORE = """
from engine.criterion import CrossEntropy
from engine.trainer import Trainer
from network.tiny import Tiny

targets = []
seen = []
loss = CrossEntropy.forward
forward = Tiny.forward

def note_targets(self, logits, given):
    if self.training:
        targets.append(given.detach().clone())
    return loss(self, logits, given)

def note_clips(self, clips):
    if self.training:
        seen.append(clips.is_floating_point() and bool((clips % 1).any()))
    return forward(self, clips)

CrossEntropy.forward = note_targets
Tiny.forward = note_clips
"""
MIXUP_AFTER = """
probe["targets"] = torch.cat(targets)
probe["clips_differ"] = any(seen)
"""
FOCAL_AFTER = """
from engine.criterion import FocalLoss

logits = torch.tensor([[0.0, 0.0], [0.9, 0.1]])
logits[1] = logits[1].log()
probe["losses"] = FocalLoss(2)(logits, torch.tensor([0, 0])).tolist()
"""
FLOW_AFTER = """
import cv2
import numpy as np
from dataloaders.sampling import ClipConfig
from dataloaders.transforms import make_clip

noise = np.random.default_rng(0).integers(0, 256, (128, 203, 3), np.uint8)
image = cv2.GaussianBlur(noise, (0, 0), 4)
image = cv2.normalize(image, None, 0, 255, cv2.NORM_MINMAX)
frames = [image[:, 32 - 2 * number :][:, :171] for number in range(16)]
clip = make_clip(frames, ClipConfig.from_flags(112))
assert (clip[0] == 128).all()
probe["flow"] = clip[1:].mean((0, 1, 2)).tolist()
"""
METRIC_AFTER = """
from engine.metrics import Predictions, kappa

probabilities = torch.eye(2)[[0, 0, 1, 1]][:, None]
probe["kappa"] = kappa(Predictions(probabilities, torch.tensor([0, 0, 1, 0])))
assert kappa(Predictions(probabilities[:1], torch.tensor([0]))) == 0
"""
GRAYSCALE_AFTER = """
import numpy as np
from dataloaders.sampling import ClipConfig
from dataloaders.transforms import Augmentation, make_clip

config = ClipConfig.from_flags(16)
transforms = [Augmentation().draw(np.random.default_rng(key), config) for key in range(500)]
image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)

def is_grey(transform):
    clip = make_clip([image] * 16, config, transform)
    return bool((clip == clip[..., :1]).all())

grey = [transform.grayscale for transform in transforms]
probe["share"] = sum(grey) / len(grey)
probe["is_grey"] = is_grey(transforms[grey.index(True)])
probe["is_plain_grey"] = is_grey(transforms[grey.index(False)]) or is_grey(None)
"""
RESTARTS_AFTER = """
from argparse import Namespace
from engine.optimizer import rate_factor

config = Namespace(lr_scheduler="restarts", warmup_epochs=1, epochs=5)
probe["factors"] = [rate_factor(step, config, 2) for step in range(11)]
"""


@dataclass(frozen=True)
class Change:
    """How a change is tried.

    Attributes:
        check: Sees that it acts.
        flags: Of the training.
        before: A probe before the training.
        after: A probe after it.
    """

    check: Callable[[Trained], None]
    flags: tuple[str, ...] = ("--model", "Tiny")
    before: str = ""
    after: str = ""


CHANGES = {
    "A CNN with an LSTM": Change(check_network, ("--model", "CNNLSTM")),
    "MixUp": Change(check_mixup, ("--model", "Tiny", "--mixup", "1"), MIXUP_BEFORE, MIXUP_AFTER),
    "Layer decay": Change(
        check_layer_decay,
        ("--model", "Tiny", "--optimizer", "adamw", "--lr", "0.001", "--layer-decay", "0.5"),
    ),
    "Focal loss": Change(
        check_focal_loss, ("--model", "Tiny", "--focal-gamma", "2"), after=FOCAL_AFTER
    ),
    "Optical flow": Change(
        check_optical_flow, ("--model", "Tiny", "--input", "rgb"), after=FLOW_AFTER
    ),
    "A metric that chooses the best epoch": Change(
        check_metric, ("--model", "Tiny", "--best-by", "kappa"), after=METRIC_AFTER
    ),
    "Grayscale clips": Change(check_grayscale, after=GRAYSCALE_AFTER),
    "A cosine with restarts": Change(
        check_restarts,
        ("--model", "Tiny", "--lr-scheduler", "restarts", "--warmup-epochs", "1"),
        after=RESTARTS_AFTER,
    ),
}


def prepare(project):
    """Copy the project, with ten tiny videos as its data set and one to recognise."""
    write_dataset(project.folder / "data" / "videos")
    write_video(project.folder / "video.avi", 20)
    project.set_path("ucf101", "data/videos")
    project.copy()


def write_probed_training(folder, change):
    """Write a script that trains as train.py does, with the probes of a change."""
    parts = ["import torch", "import train", "probe = {}", change.before, "train.main()"]
    parts += [change.after, 'torch.save(probe, "probe.pt")', ""]
    (folder / "probed_train.py").write_text("\n".join(parts), encoding="utf-8")


def read_trained(folder):
    """Read what the scripts have left."""
    run = folder / "run" / "run_0"
    (last,) = run.glob("models/*_last.pth")
    events = EventAccumulator(str(run))
    events.Reload()
    return Trained(
        folder=folder,
        checkpoint=torch.load(last, weights_only=True),
        results=json.loads((run / "results.json").read_text(encoding="utf-8")),
        tags=set(events.Tags()["scalars"]),
        probe=torch.load(folder / "probe.pt", weights_only=True),
    )


@pytest.mark.slow
@needs_git
@pytest.mark.parametrize("section", DIFFS)
def test_each_change_trains_resumes_and_recognises(section, project):
    change = CHANGES[section]
    prepare(project)
    apply(DIFFS[section], project.folder)
    write_probed_training(project.folder, change)
    project.spawn("probed_train.py", *QUICK, *change.flags, "--epochs", "2")
    project.spawn("train.py", "--resume", "--epochs", "3", "--workers", "0")
    project.spawn("inference.py", "video.avi")
    trained = read_trained(project.folder)
    assert trained.checkpoint["train_state"]["epoch"] == 3
    change.check(trained)
    recognised = json.loads((project.folder / "output" / "video.json").read_text(encoding="utf-8"))
    assert recognised["model"] == trained.checkpoint["model"]
    assert recognised["windows"]
    assert (project.folder / "output" / "video_annotated.mp4").exists()


@pytest.mark.slow
def test_embeddings_are_what_the_last_layer_sees(project):
    prepare(project)
    project.spawn("train.py", *QUICK, "--model", "Tiny", "--epochs", "1")
    code = block("Embeddings in a notebook", "python")
    checks = """
assert of_windows.shape[1] == features.shape[1] == recognizer.model.fc.in_features
assert len(features) == len(dataset) == len(dataset.labels) > 0
clips = torch.stack([clip for clip, _ in dataset]).permute(0, 4, 1, 2, 3)
with torch.inference_mode():
    logits = recognizer.model(clips)
torch.testing.assert_close(recognizer.model.fc(features), logits)
"""
    (project.folder / "notebook.py").write_text(code + checks, encoding="utf-8")
    project.spawn("notebook.py")
