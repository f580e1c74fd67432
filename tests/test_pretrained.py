import pickle

import pytest
import torch
from conftest import make_checkpoint
from tiny import Tiny

from engine.checkpoint import save_checkpoint
from network import MODELS
from network.errors import ModelError
from network.pretrained import load_pretrained, read_weights


class Hostile:
    def __reduce__(self):
        return (pytest.fail, ("unpickled",))


FOREIGN = {"empty": b"", "text": b"not a checkpoint", "video": b"RIFF" * 99, "pickle": pickle.dumps(Hostile(), 2)}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
def test_a_file_without_tensors_is_refused_unread(tmp_path, content):
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(ModelError, match="a.pth: damaged, or not a checkpoint"):
        read_weights(tmp_path / "a.pth")
    with pytest.raises(ModelError, match="a.pth: damaged, or not a checkpoint"):
        load_pretrained(Tiny(num_classes=3), tmp_path / "a.pth", ["a", "b", "c"])


def test_hostile_objects_among_weights_are_refused(tmp_path):
    torch.save(Tiny(num_classes=3).state_dict() | {"args": Hostile()}, tmp_path / "a.pth")
    with pytest.raises(ModelError, match="a.pth: damaged, or not a checkpoint"):
        load_pretrained(Tiny(num_classes=3), tmp_path / "a.pth", ["a", "b", "c"])


def test_a_missing_file_is_an_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_weights(tmp_path / "none.pth")


def small_state(model, **options):
    """The state of a model in kilobytes: tensors of full shapes, each with one value, which is stored once."""
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
    ("name", "options", "form"),
    [("R3D", {}, form) for form in FORMATS] + [("R2Plus1D", {}, "plain"), ("R2Plus1D", {"depth": 34}, "both")],
)
def test_public_weights_of_the_residual_networks(tmp_path, capsys, name, options, form):
    source = small_state(name, num_classes=400, **options)
    torch.save(FORMATS[form](source), tmp_path / "public.pth")
    model = MODELS[name](num_classes=7, **options)
    head = model.fc.weight.clone()
    assert load_pretrained(model, tmp_path / "public.pth", list("abcdefg")) == "fc"
    assert capsys.readouterr().out.endswith(f"public.pth: {len(source) - 2} tensors loaded, fc is new\n")
    state = model.state_dict()
    assert all(torch.equal(state[name], value) for name, value in source.items() if not name.startswith("fc."))
    assert torch.equal(model.fc.weight, head)

    same_classes = MODELS[name](num_classes=400, **options)
    assert load_pretrained(same_classes, tmp_path / "public.pth", [str(i) for i in range(400)]) is None
    assert capsys.readouterr().out.endswith(f"public.pth: {len(source)} tensors loaded\n")
    assert torch.equal(same_classes.fc.weight, source["fc.weight"])


@pytest.mark.parametrize("form", [numbered, FORMATS["plain"]], ids=["numbered", "classic"])
def test_public_weights_of_c3d(tmp_path, form):
    source = small_state("C3D", num_classes=487)
    torch.save(form(source), tmp_path / "sports1m.pth")
    model = MODELS["C3D"](num_classes=5)
    assert load_pretrained(model, tmp_path / "sports1m.pth", list("abcde")) == "fc8"
    assert torch.equal(model.conv5b.weight, source["conv5b.weight"])
    assert torch.equal(model.fc7.bias, source["fc7.bias"])
    pixels = torch.full((1, 3, 1, 1, 1), 255.0)
    assert model.normalize(pixels).flatten().tolist() == pytest.approx([153, 157, 165])  # pixels less their mean


def test_the_normalization_of_a_checkpoint_is_loaded_with_its_weights(tmp_path):
    statistics = {"mean": [0.5, 0.25, 0.125], "std": [1.0, 2.0, 4.0], "input": "residual"}
    save_checkpoint(make_checkpoint(normalization=statistics), tmp_path / "a.pth")
    model = Tiny(num_classes=9)
    load_pretrained(model, tmp_path / "a.pth", ["a", "b", "c"])
    assert model.normalize.statistics == statistics
    assert model.normalize(torch.full((1, 3, 1, 1, 1), 255.0)).flatten().tolist() == [0.5, 0.375, 0.21875]


@pytest.mark.parametrize(("classes", "head"), [(["a", "b", "c"], None), (["a", "c", "b"], "fc")])
def test_the_same_number_of_other_classes_needs_another_head(tmp_path, classes, head):
    checkpoint = make_checkpoint()
    save_checkpoint(checkpoint, tmp_path / "a.pth")
    model = Tiny(num_classes=3)
    assert load_pretrained(model, tmp_path / "a.pth", classes) == head
    assert torch.equal(model.fc.weight, checkpoint["state_dict"]["fc.weight"]) == (head is None)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("R2Plus1D", {}, "they have no stem.3.weight|their stem.0.weight is"),
        ("R3D", {"depth": 34}, "they have no layer1.2.conv1.0.weight"),
        ("C3D", {}, "they have no conv1.weight"),
    ],
)
def test_a_file_of_another_model_is_never_loaded_in_part(tmp_path, name, options, message):
    save_checkpoint(make_checkpoint(model="R3D", state_dict=small_state("R3D", num_classes=3)), tmp_path / "a.pth")
    model = MODELS[name](num_classes=3, **options)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ModelError, match=message):
        load_pretrained(model, tmp_path / "a.pth", ["a", "b", "c"])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_first_weight_of_another_shape_is_named(tmp_path):
    state = small_state("R3D", num_classes=3) | {"layer2.0.conv1.0.weight": torch.zeros(1).expand(128, 64, 1, 3, 3)}
    save_checkpoint(make_checkpoint(model="R3D", state_dict=state), tmp_path / "a.pth")
    message = r"layer2.0.conv1.0.weight is \(128, 64, 1, 3, 3\), not \(128, 64, 3, 3, 3\)"
    with pytest.raises(ModelError, match=message):
        load_pretrained(MODELS["R3D"](num_classes=3), tmp_path / "a.pth", ["a", "b", "c"])


def test_weights_of_a_deeper_model_are_refused(tmp_path):
    torch.save(small_state("R3D", num_classes=3, depth=34), tmp_path / "a.pth")
    with pytest.raises(ModelError, match="this one has no layer1.2.conv1.0.weight"):
        load_pretrained(MODELS["R3D"](num_classes=3), tmp_path / "a.pth", ["a", "b", "c"])


@pytest.mark.parametrize("content", [[1, 2], {"state_dict": {"a": 1}}, 7])
def test_a_file_without_weights_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(ModelError, match="a.pth: no weights in it"):
        load_pretrained(Tiny(num_classes=3), tmp_path / "a.pth", ["a", "b", "c"])
