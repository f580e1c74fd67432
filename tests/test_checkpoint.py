import os
import pickle
from dataclasses import asdict

import numpy as np
import pytest
import torch
from conftest import make_checkpoint
from test_pretrained import FOREIGN, Hostile
from tiny import Tiny

from engine.checkpoint import (
    TRAINING_CONTENT,
    TrainState,
    load_checkpoint,
    restore_model,
    restore_training,
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
    optimizer = torch.optim.SGD(restore_model(checkpoint).parameters(), 0.2)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    assert (
        restore_training(checkpoint | {"train_state": asdict(state)}, optimizer, scaler, 4) == state
    )
    assert optimizer.param_groups[0]["lr"] == 0.1


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
    {"head": "no.layer"},
    {"videos": "x"},
    {"args": ["--epochs"]},
    {"train_state": "x"},
    {"train_state": {"epoch": 1}},
    train_state(other=1),
    train_state(epoch="1"),
    train_state(best_epoch=[1]),
    train_state(best_score="a"),
    train_state(loss_sum=None),
    train_state(num_samples=float("inf")),
    train_state(num_samples=7),
    train_state(num_samples=-1),
    {"optimizer": {}},
    {"optimizer": {"param_groups": [], "state": {}}},
    {"optimizer": {"param_groups": [3], "state": 5}},
    {"scaler": {"scale": "a"}},
]


@pytest.mark.parametrize("changes", HOSTILE_VALUES, ids=str)
def test_a_checkpoint_with_hostile_values_is_an_error_and_nothing_else(tmp_path, changes):
    file = tmp_path / "R3D-own_last.pth"
    save_checkpoint(make_checkpoint(**changes), file)
    optimizer = torch.optim.SGD(Tiny(3).parameters(), 0.1)
    with pytest.raises(CheckpointError) as refused:
        loaded = load_checkpoint(file)
        restore_model(loaded)
        validate_types(loaded, TRAINING_CONTENT, "damaged")
        restore_training(loaded, optimizer, torch.amp.GradScaler("cpu"), num_videos=6)
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
    optimizer, scaler = (
        torch.optim.SGD([torch.ones(1)], 0.1),
        torch.amp.GradScaler("cpu", enabled=False),
    )
    with pytest.raises(CheckpointError, match="damaged: 'optimizer'"):
        restore_training(loaded, optimizer, scaler, num_videos=6)


def test_momentum_of_another_shape_is_refused(checkpoint):
    model = restore_model(checkpoint)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, 0.9)
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1)
    sum(parameter.sum() for parameter in model.parameters()).backward()
    optimizer.step()
    state = optimizer.state_dict()
    state["state"][0]["momentum_buffer"] = torch.ones(1)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    with pytest.raises(CheckpointError, match="momentum of shape"):
        restore_training(checkpoint | {"optimizer": state}, optimizer, scaler, num_videos=6)


def test_an_error_names_the_checkpoint_before_a_damaged_one(checkpoint, tmp_path):
    names = ("epoch-1", "best", "last")
    files = {name: tmp_path / f"R3D-own_{name}.pth" for name in names}
    save_checkpoint(checkpoint | train_state(epoch=9), tmp_path / "R3D-other_last.pth")
    for epoch, file in enumerate(files.values(), start=1):
        save_checkpoint(checkpoint | train_state(epoch=epoch), file)
        os.utime(file, (epoch, epoch))
    content = files["last"].read_bytes()
    files["last"].write_bytes(content[:-1000])
    os.utime(files["last"], (3, 3))
    with pytest.raises(
        CheckpointError,
        match=r"own_last.pth: damaged.*before it, of epoch 2, is .*own_best.pth: copy",
    ):
        load_checkpoint(files["last"])
    before = r"own_last.pth: damaged.*before it, of epoch 1, is .*own_epoch-1.pth: copy it to .*own_last.pth$"
    for damaged in (b"", {"train_state": "x"}):
        if isinstance(damaged, dict):
            save_checkpoint(checkpoint | damaged, files["best"])
        else:
            files["best"].write_bytes(damaged)
        with pytest.raises(CheckpointError, match=before):
            load_checkpoint(files["last"])
    files["best"].unlink()
    files["epoch-1"].unlink()
    with pytest.raises(CheckpointError, match=r"own_last.pth: damaged, or not a checkpoint$"):
        load_checkpoint(files["last"])


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
    with pytest.raises(FileNotFoundError):
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
