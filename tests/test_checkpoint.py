import os
import pickle
from dataclasses import asdict

import numpy as np
import pytest
import torch
from conftest import make_checkpoint
from test_converters import FOREIGN, Hostile

from engine.checkpoint import (
    TRAINING_CONTENT,
    TrainState,
    load_checkpoint,
    restore_model,
    restore_state,
    save_checkpoint,
    validate_types,
)
from engine.errors import CheckpointError


@pytest.fixture
def checkpoint():
    return make_checkpoint()


def train_state(**changes):
    """What a checkpoint stores of a TrainState with such changes."""
    return {"train_state": asdict(TrainState()) | changes}


def epoch_of(file):
    return load_checkpoint(file)["train_state"]["epoch"]


def test_round_trip(checkpoint, tmp_path):
    save_checkpoint(checkpoint, tmp_path / "a.pth")
    loaded = load_checkpoint(tmp_path / "a.pth")
    assert loaded.keys() == checkpoint.keys()
    assert all(loaded[key] == checkpoint[key] for key in loaded if key != "state_dict")
    state = restore_model(loaded).state_dict()
    assert state.keys() == checkpoint["state_dict"].keys()
    assert all(torch.equal(state[key], value) for key, value in checkpoint["state_dict"].items())


def test_the_train_state_is_restored(checkpoint):
    state = TrainState(3, 4, 2.5, 1, 2, 0.75, 0.5)
    assert restore_state(checkpoint | {"train_state": asdict(state)}) == state
    with pytest.raises(CheckpointError, match="of another version: its train_state differs"):
        restore_state(checkpoint | {"train_state": {"epoch": 1}})


def test_the_best_epoch_is_the_one_with_the_highest_score_and_then_the_lowest_loss():
    state = TrainState(num_samples=7, loss_sum=2.0, num_correct=3)
    marks = [(0.5, 1.0), (0.5, 1.0), (0.4, 0.1), (0.5, 0.9), (0.6, 2.0)]
    assert [state.complete_epoch(*mark) for mark in marks] == [True, False, False, True, True]
    assert state == TrainState(epoch=5, best_epoch=5, best_score=0.6, best_loss=2.0)
    diverged = TrainState()
    nan = float("nan")
    marks = [(0.5, nan), (0.4, 1.0), (0.9, nan), (nan, nan), (0.4, 0.9)]
    assert [diverged.complete_epoch(*mark) for mark in marks] == [True, True, False, False, True]
    of_older_version = TrainState(best_epoch=0, best_score=0.0, best_loss=0.0)
    assert of_older_version.complete_epoch(-3.0, 3.0)


@pytest.mark.parametrize("links", [True, False])
def test_a_checkpoint_of_several_names(checkpoint, tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(
            os, "link", lambda *args: (_ for _ in ()).throw(OSError("no links here"))
        )
    best, last = tmp_path / "best.pth", tmp_path / "last.pth"
    save_checkpoint(checkpoint | train_state(epoch=1), best, last)
    save_checkpoint(checkpoint | train_state(epoch=2), last)
    assert [epoch_of(file) for file in (best, last)] == [1, 2]
    save_checkpoint(checkpoint | train_state(epoch=3), best, last)
    assert [epoch_of(file) for file in (best, last)] == [3, 3]
    assert best.samefile(last) == links
    assert sorted(tmp_path.iterdir()) == [best, last]


def test_a_failed_save_leaves_the_old_file(checkpoint, tmp_path):
    save_checkpoint(checkpoint, tmp_path / "a.pth")
    before = (tmp_path / "a.pth").read_bytes()
    with pytest.raises((AttributeError, pickle.PicklingError, TypeError)):
        save_checkpoint(
            {"state_dict": torch.ones(1000), "unpicklable": lambda: 0}, tmp_path / "a.pth"
        )
    assert (tmp_path / "a.pth").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.pth"]


def test_a_full_disk_is_reported_and_leaves_the_old_file(checkpoint, tmp_path):
    resource = pytest.importorskip("resource")
    save_checkpoint(checkpoint, tmp_path / "a.pth")
    before = (tmp_path / "a.pth").read_bytes()
    os.link(
        tmp_path / "a.pth", tmp_path / "a.partial.pth"
    )  # a start was killed when it gave the file another name
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (2_000, limits[1])
    )  # bytes a file: as if the disk were full
    try:
        with pytest.raises(OSError, match="a.pth: cannot be written; is the disk full?"):
            save_checkpoint(checkpoint, tmp_path / "a.pth")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == ["a.pth"]
    assert (tmp_path / "a.pth").read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_checkpoint_with_one_changed_byte_is_refused_or_means_the_same(tmp_path, seed):
    weights = {"layer.weight": torch.arange(500.0)}
    checkpoint, file = (
        make_checkpoint(state_dict=weights, optimizer={}),
        tmp_path / "R3D-own_last.pth",
    )
    save_checkpoint(checkpoint, file)
    content, refused = bytearray(file.read_bytes()), 0
    rng = np.random.default_rng(seed)
    for place, change in zip(
        rng.integers(len(content), size=400), rng.integers(1, 256, size=400), strict=True
    ):
        content[place] ^= change
        file.write_bytes(content)
        content[place] ^= change
        try:
            loaded = load_checkpoint(file)
        except CheckpointError:
            refused += 1
        else:
            assert torch.equal(loaded.pop("state_dict")["layer.weight"], weights["layer.weight"])
            assert loaded == {
                key: value for key, value in checkpoint.items() if key != "state_dict"
            }
    assert refused > 250


HOSTILE_VALUES = [
    {"model": ["Tiny"]},
    {"model": "../Tiny"},
    {"options": {"num_classes": 3}},
    {"options": {"depth": -1}},
    {"clip": {}},
    {"clip": {"clip_len": 16, "frame_interval": 4, "height": 8, "width": 8, "crop_size": 16}},
    {"state_dict": {"fc.weight": "a"}},
    {"state_dict": {0: torch.ones(1)}},
    {"normalization": {"mean": [1], "std": [1, 1, 1]}},
    {"normalization": {"mean": [0, 0, 0], "std": [1, 1, 1], "input": "other"}},
    {"videos": "x"},
    {"args": ["--epochs"]},
    {"train_state": "x"},
]


@pytest.mark.parametrize("changes", HOSTILE_VALUES, ids=str)
def test_a_checkpoint_with_hostile_values_is_an_error_and_nothing_else(tmp_path, changes):
    file = tmp_path / "R3D-own_last.pth"
    save_checkpoint(make_checkpoint(**changes), file)
    with pytest.raises(CheckpointError) as refused:
        loaded = load_checkpoint(file)
        restore_model(loaded)
        validate_types(loaded, TRAINING_CONTENT, "damaged")
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("classes", [[], [1, 2, 3]])
def test_classes_that_are_not_names_are_refused(tmp_path, classes):
    save_checkpoint(make_checkpoint(classes=classes), tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="a.pth: damaged, its classes are not names"):
        load_checkpoint(tmp_path / "a.pth")


def test_a_checkpoint_without_what_training_needs_is_enough_for_inference(checkpoint, tmp_path):
    file = tmp_path / "a.pth"
    save_checkpoint(
        {key: value for key, value in checkpoint.items() if key not in TRAINING_CONTENT}, file
    )
    loaded = load_checkpoint(file)
    restore_model(loaded)
    with pytest.raises(CheckpointError, match="a.pth: cannot be resumed, it has no videos"):
        validate_types(loaded, TRAINING_CONTENT, f"{file}: cannot be resumed")


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
def test_what_is_not_a_checkpoint_is_refused_unread(tmp_path, content):
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match="a.pth: damaged, or not a checkpoint"):
        load_checkpoint(tmp_path / "a.pth")


def test_hostile_objects_in_a_checkpoint_are_refused(checkpoint, tmp_path):
    torch.save(checkpoint | {"args": Hostile()}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="a.pth: damaged, or not a checkpoint"):
        load_checkpoint(tmp_path / "a.pth")


def test_a_truncated_checkpoint_is_refused(checkpoint, tmp_path):
    save_checkpoint(checkpoint, tmp_path / "a.pth")
    with open(tmp_path / "a.pth", "r+b") as file:
        file.truncate(5_000)
    with pytest.raises(CheckpointError, match="a.pth: damaged"):
        load_checkpoint(tmp_path / "a.pth")


def test_weights_alone_are_refused(checkpoint, tmp_path):
    torch.save(checkpoint["state_dict"], tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="a.pth: not a checkpoint of train.py"):
        load_checkpoint(tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="none.pth: cannot be read: No such file"):
        load_checkpoint(tmp_path / "none.pth")


def test_the_normalization_is_restored(tmp_path):
    statistics = {"mean": [0.5, 0.25, 0.125], "std": [1.0, 2.0, 4.0], "input": "residual"}
    save_checkpoint(make_checkpoint(normalization=statistics), tmp_path / "a.pth")
    model = restore_model(load_checkpoint(tmp_path / "a.pth"))
    assert model.normalize.statistics == statistics
    assert model.normalize(torch.full((1, 3, 1, 1, 1), 255.0)).flatten().tolist() == [
        0.5,
        0.375,
        0.21875,
    ]


def test_a_checkpoint_whose_clips_its_model_cannot_take_is_refused():
    with pytest.raises(CheckpointError, match="C3D takes clips of 16x112x112 .*, got 16x16x16"):
        restore_model(make_checkpoint(model="C3D"))


def test_weights_of_another_model_are_refused(checkpoint):
    with pytest.raises(CheckpointError, match="does not fit the model 'R2Plus1D': .*stem.0.weight"):
        restore_model(checkpoint | {"model": "R2Plus1D"})
    with pytest.raises(CheckpointError, match="unknown model 'VGG'.*R2Plus1D"):
        restore_model(checkpoint | {"model": "VGG"})
