import os
import pickle

import numpy as np
import pytest
import torch
from conftest import make_checkpoint
from tiny import Tiny

from network import MODELS, weights


@pytest.fixture
def checkpoint():
    return make_checkpoint()


def test_round_trip(checkpoint, tmp_path):
    weights.save(checkpoint, tmp_path / "a.pth")
    loaded = weights.load(tmp_path / "a.pth")
    assert loaded.keys() == checkpoint.keys()
    assert all(loaded[key] == checkpoint[key] for key in loaded if key != "state_dict")
    state = weights.build(loaded).state_dict()
    assert state.keys() == checkpoint["state_dict"].keys()
    assert all(torch.equal(state[key], value) for key, value in checkpoint["state_dict"].items())


@pytest.mark.parametrize("links", [True, False])
def test_a_checkpoint_of_several_names(checkpoint, tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(os, "link", lambda *args: (_ for _ in ()).throw(OSError("no links here")))
    best, last = tmp_path / "best.pth", tmp_path / "last.pth"
    weights.save(checkpoint | {"epoch": 1}, best, last)
    weights.save(checkpoint | {"epoch": 2}, last)
    assert [weights.load(file)["epoch"] for file in (best, last)] == [1, 2]
    weights.save(checkpoint | {"epoch": 3}, best, last)
    assert [weights.load(file)["epoch"] for file in (best, last)] == [3, 3]
    assert best.samefile(last) == links
    assert sorted(tmp_path.iterdir()) == [best, last]


def test_a_failed_save_leaves_the_old_file(checkpoint, tmp_path):
    weights.save(checkpoint, tmp_path / "a.pth")
    before = (tmp_path / "a.pth").read_bytes()
    with pytest.raises((AttributeError, pickle.PicklingError, TypeError)):
        weights.save({"state_dict": torch.ones(1000), "unpicklable": lambda: 0}, tmp_path / "a.pth")
    assert (tmp_path / "a.pth").read_bytes() == before


def test_a_full_disk_is_told_and_leaves_the_old_file(checkpoint, tmp_path):
    resource = pytest.importorskip("resource")
    weights.save(checkpoint, tmp_path / "a.pth")
    before = (tmp_path / "a.pth").read_bytes()
    os.link(tmp_path / "a.pth", tmp_path / "a.partial")  # a start was killed when it gave the file another name
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, limits[1]))  # bytes a file: as if the disk were full
    try:
        with pytest.raises(OSError, match="a.pth: cannot be written; is the disk full?"):
            weights.save(checkpoint, tmp_path / "a.pth")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == ["a.pth"]
    assert (tmp_path / "a.pth").read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_checkpoint_with_one_changed_byte_is_refused_or_means_the_same(tmp_path, seed):
    small = {"layer.weight": torch.arange(500.0)}
    checkpoint, file = make_checkpoint(state_dict=small, optimizer={}), tmp_path / "R3D-own_last.pth"
    weights.save(checkpoint, file)
    content, refused = bytearray(file.read_bytes()), 0
    rng = np.random.default_rng(seed)
    for place, change in zip(rng.integers(len(content), size=400), rng.integers(1, 256, size=400), strict=True):
        content[place] ^= change
        file.write_bytes(content)
        content[place] ^= change
        try:
            loaded = weights.load(file)
        except ValueError:
            refused += 1
        else:
            assert torch.equal(loaded.pop("state_dict")["layer.weight"], small["layer.weight"])
            assert loaded == {key: value for key, value in checkpoint.items() if key != "state_dict"}
    assert refused > 250


@pytest.mark.parametrize(
    "changes",
    [
        {"model": ["Tiny"]},
        {"model": "../Tiny"},
        {"options": {"num_classes": 3}},
        {"options": {"depth": -1}},
        {"state_dict": {"fc.weight": "a"}},
        {"state_dict": {0: torch.ones(1)}},
        {"normalization": {"mean": [1], "std": [1, 1, 1]}},
        {"normalization": {"mean": [0, 0, 0], "std": [1, 1, 1], "input": "other"}},
        {"head": "no.layer"},
        {"epoch": "1"},
        {"videos": "x"},
        {"best": [1]},
        {"best": {"score": ["a"], "epoch": 1}},
        {"sums": (1, 2)},
        {"optimizer": {}},
        {"optimizer": {"param_groups": [], "state": {}}},
        {"optimizer": {"param_groups": [3], "state": 5}},
        {"scaler": {"scale": "a"}},
        {"sums": (0.0, 0, float("inf"))},
    ],
    ids=str,
)
def test_a_checkpoint_with_hostile_values_is_an_error_and_nothing_else(tmp_path, changes):
    file = tmp_path / "R3D-own_last.pth"
    weights.save(make_checkpoint(**changes), file)
    optimizer = torch.optim.SGD(Tiny(3).parameters(), 0.1)
    with pytest.raises(ValueError) as refused:
        loaded = weights.load(file)
        weights.build(loaded)
        weights.restore(loaded, optimizer, torch.amp.GradScaler("cpu"))
    assert len(str(refused.value).splitlines()) == 1


def test_a_record_that_passes_for_a_folder_is_refused(tmp_path):
    weights.save(make_checkpoint(state_dict={"layer.weight": torch.arange(500.0)}, optimizer={}), tmp_path / "a.pth")
    content = bytearray((tmp_path / "a.pth").read_bytes())
    entry = content.index(b"archive/data/0", content.index(b"PK\1\2")) - 46
    assert content[entry : entry + 4] == b"PK\1\2"
    content[entry + 38] = 0x10  # the attribute of a folder, of which PyTorch reads nothing
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(ValueError, match="a.pth: damaged"):
        weights.load(tmp_path / "a.pth")


@pytest.mark.parametrize("classes", [[], [1, 2, 3]])
def test_classes_that_are_no_names_are_refused(tmp_path, classes):
    weights.save(make_checkpoint(classes=classes), tmp_path / "a.pth")
    with pytest.raises(ValueError, match="a.pth: damaged, its classes are no names"):
        weights.load(tmp_path / "a.pth")


def test_a_checkpoint_without_what_training_needs_will_do_to_infer(checkpoint, tmp_path):
    weights.save({key: value for key, value in checkpoint.items() if key not in weights.TO_GO_ON}, tmp_path / "a.pth")
    loaded = weights.load(tmp_path / "a.pth")
    weights.build(loaded)
    with pytest.raises(ValueError, match="the checkpoint is damaged: 'videos'"):
        weights.restore(loaded, torch.optim.SGD([torch.ones(1)], 0.1), torch.amp.GradScaler("cpu", enabled=False))


def test_momentum_of_another_shape_is_refused(checkpoint):
    network = weights.build(checkpoint)
    optimizer = torch.optim.SGD(network.parameters(), 0.1, 0.9)
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1)
    sum(parameter.sum() for parameter in network.parameters()).backward()
    optimizer.step()
    state = optimizer.state_dict()
    state["state"][0]["momentum_buffer"] = torch.ones(1)
    with pytest.raises(ValueError, match="momentum of shape"):
        weights.restore(checkpoint | {"optimizer": state}, optimizer, torch.amp.GradScaler("cpu", enabled=False))


def test_an_error_names_the_checkpoint_before_a_damaged_one(checkpoint, tmp_path):
    names = ("epoch-1", "best", "last")
    files = {name: tmp_path / f"R3D-own_{name}.pth" for name in names}
    weights.save(make_checkpoint(epoch=9), tmp_path / "R3D-other_last.pth")
    for epoch, file in enumerate(files.values(), start=1):
        weights.save(checkpoint | {"epoch": epoch}, file)
        os.utime(file, (epoch, epoch))
    whole = files["last"].read_bytes()
    files["last"].write_bytes(whole[:-1000])
    os.utime(files["last"], (3, 3))
    with pytest.raises(ValueError, match=r"own_last.pth: damaged.*before it, of epoch 2, is .*own_best.pth: copy"):
        weights.load(files["last"])
    files["best"].write_bytes(b"")
    with pytest.raises(ValueError, match=r"own_last.pth: damaged.*before it, of epoch 1, is .*own_epoch-1.pth: copy"):
        weights.load(files["last"])
    files["epoch-1"].unlink()
    with pytest.raises(ValueError, match=r"own_last.pth: damaged, or no checkpoint$"):
        weights.load(files["last"])


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
        file.truncate(5_000)
    with pytest.raises(ValueError, match="a.pth: damaged"):
        weights.load(tmp_path / "a.pth")


def test_weights_without_their_story_are_refused(checkpoint, tmp_path):
    torch.save(checkpoint["state_dict"], tmp_path / "a.pth")
    with pytest.raises(ValueError, match="a.pth: not a checkpoint of train.py"):
        weights.load(tmp_path / "a.pth")
    with pytest.raises(FileNotFoundError):
        weights.load(tmp_path / "none.pth")


def small_state(model, **options):
    """The state of a network in kilobytes: tensors of full shapes, each with one value, which is stored once."""
    with torch.device("meta"):
        shapes = MODELS[model](**options).state_dict()
    return {name: torch.rand(()).to(like.dtype).expand(like.shape) for name, like in shapes.items()}


NUMBERS = [0, 3, 6, 8, 11, 13, 16, 18]


def numbered(state):
    """C3D's weights as the file that numbers its layers has them."""
    layers = list(dict.fromkeys(name.rpartition(".")[0] for name in state))
    names = [f"features.{i}" for i in NUMBERS] + [f"classifier.{i}" for i in (0, 3, 6)]
    renamed = dict(zip(layers, names, strict=True))
    return {f"{renamed[name.rpartition('.')[0]]}.{name.rpartition('.')[2]}": value for name, value in state.items()}


FORMATS = {
    "plain": lambda state: state,
    "nested": lambda state: {"state_dict": state, "epoch": 3},
    "parallel": lambda state: {f"module.{name}": value for name, value in state.items()},
    "both": lambda state: {"state_dict": {f"module.{name}": value for name, value in state.items()}},
}


@pytest.mark.parametrize(
    ("model", "options", "form"),
    [("R3D", {}, form) for form in FORMATS] + [("R2Plus1D", {}, "plain"), ("R2Plus1D", {"depth": 34}, "both")],
)
def test_public_weights_of_the_residual_networks(tmp_path, capsys, model, options, form):
    source = small_state(model, num_classes=400, **options)
    torch.save(FORMATS[form](source), tmp_path / "public.pth")
    network = MODELS[model](num_classes=7, **options)
    head = network.fc.weight.clone()
    assert weights.load_pretrained(network, tmp_path / "public.pth", list("abcdefg")) == "fc"
    assert "fc replaced" in capsys.readouterr().out
    state = network.state_dict()
    assert all(torch.equal(state[name], value) for name, value in source.items() if not name.startswith("fc."))
    assert torch.equal(network.fc.weight, head)

    same_classes = MODELS[model](num_classes=400, **options)
    assert weights.load_pretrained(same_classes, tmp_path / "public.pth", [str(i) for i in range(400)]) is None
    assert torch.equal(same_classes.fc.weight, source["fc.weight"])


@pytest.mark.parametrize("form", [numbered, FORMATS["plain"]], ids=["numbered", "classic"])
def test_public_weights_of_c3d(tmp_path, form):
    source = small_state("C3D", num_classes=487)
    torch.save(form(source), tmp_path / "sports1m.pth")
    network = MODELS["C3D"](num_classes=5)
    assert weights.load_pretrained(network, tmp_path / "sports1m.pth", list("abcde")) == "fc8"
    assert torch.equal(network.conv5b.weight, source["conv5b.weight"])
    assert torch.equal(network.fc7.bias, source["fc7.bias"])
    pixels = torch.full((1, 3, 1, 1, 1), 255.0)
    assert network.normalize(pixels).flatten().tolist() == pytest.approx([153, 157, 165])  # pixels less their mean


def test_normalisation_travels_in_our_own_checkpoints(checkpoint, tmp_path):
    statistics = {"mean": [0.5, 0.25, 0.125], "std": [1.0, 2.0, 4.0], "input": "residual"}
    weights.save(checkpoint | {"normalization": statistics}, tmp_path / "a.pth")
    network = Tiny(num_classes=9)
    weights.load_pretrained(network, tmp_path / "a.pth", ["a", "b", "c"])
    for loaded in (network, weights.build(weights.load(tmp_path / "a.pth"))):
        assert loaded.normalize.statistics == statistics
        assert loaded.normalize(torch.full((1, 3, 1, 1, 1), 255.0)).flatten().tolist() == [0.5, 0.375, 0.21875]


@pytest.mark.parametrize(("classes", "head"), [(["a", "b", "c"], None), (["a", "c", "b"], "fc")])
def test_the_same_number_of_other_classes_needs_another_head(checkpoint, tmp_path, classes, head):
    weights.save(checkpoint, tmp_path / "a.pth")
    network = Tiny(num_classes=3)
    assert weights.load_pretrained(network, tmp_path / "a.pth", classes) == head
    assert torch.equal(network.fc.weight, checkpoint["state_dict"]["fc.weight"]) == (head is None)


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("R2Plus1D", {}, "they have no stem.3.weight|their stem.0.weight is"),
        ("R3D", {"depth": 34}, "they have no layer1.2.conv1.0.weight"),
        ("C3D", {}, "they have no conv1.weight"),
    ],
)
def test_a_file_of_another_network_is_never_loaded_in_part(tmp_path, model, options, message):
    weights.save(make_checkpoint(model="R3D", state_dict=small_state("R3D", num_classes=3)), tmp_path / "a.pth")
    network = MODELS[model](num_classes=3, **options)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        weights.load_pretrained(network, tmp_path / "a.pth", ["a", "b", "c"])
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_the_first_weight_of_another_shape_is_named(tmp_path):
    state = small_state("R3D", num_classes=3) | {"layer2.0.conv1.0.weight": torch.zeros(1).expand(128, 64, 1, 3, 3)}
    weights.save(make_checkpoint(model="R3D", state_dict=state), tmp_path / "a.pth")
    message = r"layer2.0.conv1.0.weight is \(128, 64, 1, 3, 3\), not \(128, 64, 3, 3, 3\)"
    with pytest.raises(ValueError, match=message):
        weights.load_pretrained(MODELS["R3D"](num_classes=3), tmp_path / "a.pth", ["a", "b", "c"])


def test_a_deeper_network_does_not_pass_for_a_shallower(tmp_path):
    torch.save(small_state("R3D", num_classes=3, depth=34), tmp_path / "a.pth")
    with pytest.raises(ValueError, match="this one has no layer1.2.conv1.0.weight"):
        weights.load_pretrained(MODELS["R3D"](num_classes=3), tmp_path / "a.pth", ["a", "b", "c"])


@pytest.mark.parametrize("content", [[1, 2], {"state_dict": {"a": 1}}, 7])
def test_a_file_without_weights_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(ValueError, match="a.pth: no weights in it"):
        weights.load_pretrained(Tiny(num_classes=3), tmp_path / "a.pth", ["a", "b", "c"])


def test_a_checkpoint_whose_clips_its_network_cannot_take_is_refused():
    with pytest.raises(ValueError, match="C3D takes clips of 16x112x112 .*, got 16x16x16"):
        weights.build(make_checkpoint(model="C3D"))


def test_weights_of_another_network_are_refused(checkpoint):
    with pytest.raises(ValueError, match="do not fit R2Plus1D"):
        weights.build(checkpoint | {"model": "R2Plus1D"})
    with pytest.raises(ValueError, match="unknown model 'VGG'.*R2Plus1D"):
        weights.build(checkpoint | {"model": "VGG"})
