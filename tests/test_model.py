from types import SimpleNamespace

import pytest
import torch
from configs import train_config
from conftest import make_checkpoint
from test_converters import random_state, without

from dataloaders.sampling import ClipConfig
from engine.args import get_args_parser
from engine.checkpoint import save_checkpoint
from engine.config import resolve_input
from engine.errors import UsageError
from engine.model import build_run_model, load_pretrained
from network.weights import load_weights

PATHS = SimpleNamespace(model_dir=lambda: None)  # mypath.Path, which is not asked


def arguments(weights, **flags):
    """The flags of a run that starts from weights."""
    defaults = vars(get_args_parser().parse_args([]))
    return SimpleNamespace(**defaults | {"model": "Tiny", "weights": str(weights)} | flags)


def run_model(classes, pretrained=None, **flags):
    """The network of a new run with such classes."""
    data = SimpleNamespace(classes=classes, settings=SimpleNamespace(config=ClipConfig()))
    return build_run_model(train_config(**flags), data, None, pretrained)


@pytest.mark.parametrize(
    ("classes", "head"),
    [(["a", "b", "c"], None), (["a", "c", "b"], "fc"), (["a", "b"], "fc"), (list("abcd"), "fc")],
)
def test_other_classes_need_another_last_layer(tmp_path, classes, head):
    checkpoint = make_checkpoint()
    save_checkpoint(checkpoint, tmp_path / "a.pth")
    pretrained = load_pretrained(arguments(tmp_path / "a.pth"), PATHS)
    built = run_model(classes, pretrained, model="Tiny", seed=1)
    model = built.network
    assert built.new_head == head and model.fc.out_features == len(classes)
    assert torch.equal(model.conv.weight, checkpoint["state_dict"]["conv.weight"])
    is_kept = model.fc.weight.shape == (3, 8) and torch.equal(
        model.fc.weight, checkpoint["state_dict"]["fc.weight"]
    )
    assert is_kept == (head is None)


def test_a_tilde_in_the_path_of_weights_is_the_home_of_the_user(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    save_checkpoint(make_checkpoint(), tmp_path / "a.pth")
    assert load_pretrained(arguments("~/a.pth"), PATHS).name == "Tiny"


@pytest.mark.slow
def test_features_and_files_without_names_get_a_last_layer(tmp_path):
    state = random_state("R3D", 4)
    for content, num_classes, head in (
        (state, 4, None),
        (state, 5, "fc"),
        (without(state, "fc"), 4, "fc"),
    ):
        torch.save(content, tmp_path / "a.pth")
        args = arguments(tmp_path / "a.pth", model="R3D")
        pretrained = load_pretrained(args, PATHS)
        built = run_model(list("abcdefg")[:num_classes], pretrained, model="R3D")
        assert (built.new_head, built.network.fc.out_features) == (head, num_classes)
        assert resolve_input(args, pretrained) == "rgb"


@pytest.fixture(scope="module")
def r3d_34(tmp_path_factory):
    """A file of weights of R3D of 34 layers."""
    file = tmp_path_factory.mktemp("weights") / "a.pth"
    torch.save(random_state("R3D", 3, depth=34), file)
    return file


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"model": "R2Plus1D"}, "a.pth: these weights go with --model R3D --depth 34"),
        ({"model": "R3D"}, "a.pth: these weights go with --model R3D --depth 34"),
        (
            {"model": "R3D", "depth": 34, "input": "residual"},
            "--input residual: .*a.pth was trained with rgb",
        ),
    ],
)
def test_flags_that_name_another_model_are_refused(r3d_34, flags, message):
    with pytest.raises(UsageError, match=message):
        load_pretrained(arguments(r3d_34, **flags), PATHS)


@pytest.mark.parametrize("name", ["Tiny", "R3D"])
def test_dropout_is_set_and_travels_with_the_options(tmp_path, name):
    pretrained = None
    if name == "Tiny":  # whose builder takes no dropout
        save_checkpoint(make_checkpoint(), tmp_path / "a.pth")
        pretrained = load_pretrained(arguments(tmp_path / "a.pth"), PATHS)
    built = run_model(["a", "b"], pretrained, model=name, dropout=0.75)
    assert built.network.dropout.p == built.options["dropout"] == 0.75
    built = run_model(["a", "b"], model=name)
    assert built.network.dropout.p == {"Tiny": 0.2, "R3D": 0}[name] and not built.options


def test_a_checkpoint_of_ours_is_loaded_with_its_normalization(tmp_path):
    statistics = {"mean": [0.5, 0.25, 0.125], "std": [1.0, 2.0, 4.0], "input": "residual"}
    save_checkpoint(make_checkpoint(normalization=statistics), tmp_path / "a.pth")
    loaded = load_weights(tmp_path / "a.pth")
    model = loaded.model
    assert (loaded.name, loaded.classes, loaded.num_classes) == ("Tiny", ["a", "b", "c"], 3)
    assert model.normalize.statistics == statistics
    assert not any(module.training for module in model.modules())
    assert model.normalize(torch.full((1, 3, 1, 1, 1), 255.0)).flatten().tolist() == [
        0.5,
        0.375,
        0.21875,
    ]
    args = arguments(tmp_path / "a.pth")
    assert resolve_input(args, load_pretrained(args, PATHS)) == "residual"
