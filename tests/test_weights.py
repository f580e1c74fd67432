import pickle

import pytest
import torch

from network import MODELS, weights


@pytest.fixture
def checkpoint():
    torch.manual_seed(0)
    network = MODELS["R3D"](num_classes=3)
    return {"model": "R3D", "classes": ["a", "b", "c"], "clip": {"clip_len": 16}, "state_dict": network.state_dict()}


def test_round_trip(checkpoint, tmp_path):
    weights.save(checkpoint, tmp_path / "a.pth")
    loaded = weights.load(tmp_path / "a.pth")
    assert [loaded[key] for key in ("model", "classes", "clip")] == ["R3D", ["a", "b", "c"], {"clip_len": 16}]
    state = weights.build(loaded).state_dict()
    assert state.keys() == checkpoint["state_dict"].keys()
    assert all(torch.equal(state[key], value) for key, value in checkpoint["state_dict"].items())


def test_a_failed_save_leaves_the_old_file(checkpoint, tmp_path):
    weights.save(checkpoint, tmp_path / "a.pth")
    before = (tmp_path / "a.pth").read_bytes()
    with pytest.raises((AttributeError, pickle.PicklingError, TypeError)):
        weights.save({"state_dict": torch.ones(1000), "unpicklable": lambda: 0}, tmp_path / "a.pth")
    assert (tmp_path / "a.pth").read_bytes() == before


class Hostile:
    def __reduce__(self):
        return (pytest.fail, ("unpickled",))


FOREIGN = {"empty": b"", "text": b"not a checkpoint", "video": b"RIFF" * 99, "pickle": pickle.dumps(Hostile(), 2)}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
def test_what_is_no_checkpoint_is_refused_unread(tmp_path, content):
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(ValueError, match="a.pth: damaged, or no checkpoint"):
        weights.load(tmp_path / "a.pth")


def test_hostile_objects_in_a_checkpoint_are_refused(checkpoint, tmp_path):
    torch.save(checkpoint | {"args": Hostile()}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match="a.pth: damaged, or no checkpoint"):
        weights.load(tmp_path / "a.pth")


def test_a_truncated_checkpoint_is_refused(checkpoint, tmp_path):
    weights.save(checkpoint, tmp_path / "a.pth")
    with open(tmp_path / "a.pth", "r+b") as file:
        file.truncate(1_000_000)
    with pytest.raises(ValueError, match="a.pth: damaged"):
        weights.load(tmp_path / "a.pth")


def test_weights_without_their_story_are_refused(checkpoint, tmp_path):
    torch.save(checkpoint["state_dict"], tmp_path / "a.pth")
    with pytest.raises(ValueError, match="a.pth: not a checkpoint of train.py"):
        weights.load(tmp_path / "a.pth")
    with pytest.raises(FileNotFoundError):
        weights.load(tmp_path / "none.pth")


def test_weights_of_another_network_are_refused(checkpoint):
    with pytest.raises(ValueError, match="do not fit R2Plus1D"):
        weights.build(checkpoint | {"model": "R2Plus1D"})
    with pytest.raises(ValueError, match="unknown model 'VGG'.*R2Plus1D"):
        weights.build(checkpoint | {"model": "VGG"})
