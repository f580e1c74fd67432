import pickle
import re

import pytest
import torch
from conftest import make_checkpoint
from tiny import Tiny
from torch import nn
from torch.nn import functional as F

from engine.checkpoint import restore_model
from network import MODELS
from network.errors import ModelError
from network.weights import load_weights, read_weights


class Hostile:
    def __reduce__(self):
        return (pytest.fail, ("unpickled",))


FOREIGN = {
    "empty": b"",
    "text": b"not a checkpoint",
    "video": b"RIFF" * 99,
    "pickle": pickle.dumps(Hostile(), 2),
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
def test_a_file_without_tensors_is_refused_unread(tmp_path, content):
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(ModelError, match="a.pth: damaged, or not a checkpoint"):
        read_weights(tmp_path / "a.pth")
    with pytest.raises(ModelError, match="a.pth: damaged, or not a checkpoint"):
        load_weights(tmp_path / "a.pth")


def test_hostile_objects_among_weights_are_refused(tmp_path):
    torch.save(Tiny(num_classes=3).state_dict() | {"args": Hostile()}, tmp_path / "a.pth")
    with pytest.raises(ModelError, match="a.pth: damaged, or not a checkpoint"):
        load_weights(tmp_path / "a.pth")


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ModelError, match="none.pth: cannot be read: No such file"):
        read_weights(tmp_path / "none.pth")
    with pytest.raises(ModelError, match="cannot be read: Is a directory"):
        read_weights(tmp_path)


def test_a_changed_byte_is_found_by_the_checksums_of_the_file(tmp_path):
    torch.save({"conv.weight": torch.arange(4096.0)}, tmp_path / "a.pth")
    content = bytearray((tmp_path / "a.pth").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(ModelError, match="a.pth: damaged, or not a checkpoint"):
        read_weights(tmp_path / "a.pth")


def random_state(name, num_classes, **options):
    """Weights of a network with values that keep its outputs moderate, the statistics of batch norm moved."""
    with torch.device("meta"):
        shapes = MODELS[name](num_classes, **options).state_dict()
    torch.manual_seed(0)
    state = {}
    for key, like in shapes.items():
        if key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(7)
        elif like.dim() > 1:
            state[key] = torch.randn(like.shape) * (2 / like[0].numel()) ** 0.5
        else:
            state[key] = 0.2 * torch.randn(like.shape) + (key.endswith(("weight", "running_var")))
            state[key] = state[key].abs() + 0.1 if key.endswith("running_var") else state[key]
    return state


def without(state, *layers):
    return {key: value for key, value in state.items() if key.rpartition(".")[0] not in layers}


# Residual networks, after the tables of their publishers: how a file is laid out, mean and standard deviation, and eps.

KINETICS = [0.43216, 0.394666, 0.37645], [0.22803, 0.22145, 0.216989]
IMAGENET = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
SHARED, OWN = {"shared_midplanes": True}, {"shared_midplanes": False}


def gluon(state):
    """dmlc/gluon-cv's names, from torchvision's."""
    tops = {"stem.0": "conv1", "stem.1": "bn1", "stem.3": "conv2", "stem.4": "bn2"}
    parts = {"0.0": "conv{}.conv1", "0.1": "conv{}.bn1", "0.3": "conv{}.conv2", "1": "bn{}"}
    renamed = {}
    for key, value in state.items():
        layer, _, kind = key.rpartition(".")
        if match := re.fullmatch(r"(layer\d\.\d)\.conv([12])\.(.*)", layer):
            layer = f"{match[1]}.{parts[match[3]].format(match[2])}"
        renamed[f"{tops.get(layer, layer)}.{kind}"] = value
    return renamed


def gdt(state):
    video = {f"video_network.base.{key}": value for key, value in without(state, "fc").items()}
    return {
        "model": video
        | {"audio_network.conv.weight": torch.rand(3), "mlp_v.0.weight": torch.rand(3)},
        "epoch": 9,
    }


RESIDUAL = {
    "torchvision r3d_18": ("R3D", {}, lambda state: state, KINETICS, 1e-5),
    "torchvision r2plus1d_18": ("R2Plus1D", SHARED, lambda state: state, KINETICS, 1e-5),
    "ig65m": ("R2Plus1D", OWN | {"depth": 34}, lambda state: state, KINETICS, 1e-3),
    "XDC": ("R2Plus1D", OWN, lambda state: without(state, "fc"), KINETICS, 1e-3),
    "GDT": ("R2Plus1D", SHARED, gdt, ([0.45] * 3, [0.225] * 3), 1e-5),
    "gluon-cv 18": ("R2Plus1D", SHARED, gluon, IMAGENET, 1e-5),
    "gluon-cv 34": ("R2Plus1D", SHARED | {"depth": 34}, gluon, IMAGENET, 1e-5),
    "DataParallel": (
        "R3D",
        {},
        lambda s: {"state_dict": {f"module.{k}": v for k, v in s.items()}},
        KINETICS,
        1e-5,
    ),
    "torch.compile": (
        "R3D",
        {},
        lambda s: {f"_orig_mod.{k}": v for k, v in s.items()},
        KINETICS,
        1e-5,
    ),
}


def residual_reference(state, clips, mean, std, eps):
    """Logits of torchvision's VideoResNet, from its weights alone; features where the last layer is missing."""
    state = {key: value.double() for key, value in state.items()}

    def conv(x, name, stride):
        weight = state[f"{name}.weight"]
        padding = [size // 2 for size in weight.shape[2:]]
        # The kernel that spans time has the stride of time, the one that spans space that of space.
        strides = [
            stride if size > 1 or weight.shape[2:] == (1, 1, 1) else 1 for size in weight.shape[2:]
        ]
        return F.conv3d(x, weight, stride=strides, padding=padding)

    def norm(x, name):
        keys = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(state[f"{name}.{key}"] for key in keys), eps=eps)

    mean, std = (
        torch.tensor(values, dtype=torch.double).view(3, 1, 1, 1) for values in (mean, std)
    )
    x, weight = (clips.double() / 255 - mean) / std, state["stem.0.weight"]
    x = F.conv3d(x, weight, stride=(1, 2, 2), padding=[size // 2 for size in weight.shape[2:]])
    x = norm(x, "stem.1").relu()
    if "stem.3.weight" in state:
        x = norm(conv(x, "stem.3", 1), "stem.4").relu()
    blocks = sorted({".".join(key.split(".")[:2]) for key in state if key.startswith("layer")})
    for block in blocks:
        stride = 2 if block.endswith(".0") and block != "layer1.0" else 1
        y = x
        for number in (1, 2):
            name, step = f"{block}.conv{number}", stride if number == 1 else 1
            if f"{name}.0.0.weight" in state:
                y = conv(
                    norm(conv(y, f"{name}.0.0", step), f"{name}.0.1").relu(), f"{name}.0.3", step
                )
            else:
                y = conv(y, f"{name}.0", step)
            y = norm(y, f"{name}.1")
            y = y.relu() if number == 1 else y
        if f"{block}.downsample.0.weight" in state:
            x = norm(conv(x, f"{block}.downsample.0", stride), f"{block}.downsample.1")
        x = (x + y).relu()
    x = x.mean((2, 3, 4))
    return F.linear(x, state["fc.weight"], state["fc.bias"]) if "fc.weight" in state else x


def assert_same_logits(model, clips, expected):
    with torch.inference_mode():
        assert ((model(clips) - expected).norm() / expected.norm()).item() < 1e-4
        assert ((model.double()(clips) - expected).norm() / expected.norm()).item() < 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("family", RESIDUAL)
def test_a_residual_family_gives_the_logits_of_its_publisher(tmp_path, family):
    name, options, layout, statistics, eps = RESIDUAL[family]
    state = random_state(name, 19, **options)
    content = layout(state)
    torch.save(content, tmp_path / "public.pth")
    loaded = load_weights(tmp_path / "public.pth")
    assert (loaded.name, loaded.options["depth"]) == (name, options.get("depth", 18))
    assert not loaded.model.training
    clips = torch.randint(0, 256, (2, 3, 8, 40, 48), dtype=torch.uint8)
    has_head = any(
        key.endswith("fc.weight")
        for key in (content.get("state_dict") or content.get("model") or content)
    )
    expected = residual_reference(
        state if has_head else without(state, "fc"), clips, *statistics, eps
    )
    assert expected.shape == (2, 19 if has_head else 512)
    assert loaded.num_classes == (19 if has_head else None)
    assert_same_logits(loaded.model, clips, expected)


def test_the_planes_and_parameters_of_each_depth():
    with torch.device("meta"):
        models = {depth: MODELS["R2Plus1D"](400, depth=depth) for depth in (18, 34)}
        shared, own = (
            MODELS["R2Plus1D"](400, depth=34, shared_midplanes=True),
            MODELS["R2Plus1D"](400, **OWN),
        )
    count = {depth: sum(p.numel() for p in model.parameters()) for depth, model in models.items()}
    assert count == {18: 31_505_325, 34: 63_697_175}
    stages = [(model.layer2, model.layer3, model.layer4) for model in (shared, models[34], own)]
    planes = [[stage[0].conv2[0][0].out_channels for stage in model] for model in stages]
    assert planes == [[230, 460, 921], [288, 576, 1152], [288, 576, 1152]]


@pytest.mark.slow
def test_checkpoints_of_34_layers_from_before_still_load():
    torch.manual_seed(0)
    old = MODELS["R2Plus1D"](3, depth=34, shared_midplanes=True)
    content = {"model": "R2Plus1D", "options": {"depth": 34}, "state_dict": old.state_dict()}
    model = restore_model(make_checkpoint(**content))
    assert all(
        torch.equal(value, old.state_dict()[key]) for key, value in model.state_dict().items()
    )


# C3D, after the tables of its publishers: names, whether it reads BGR, the mean in its order, and how pool5 pads.

LAYERS = [
    "conv1",
    "conv2",
    "conv3a",
    "conv3b",
    "conv4a",
    "conv4b",
    "conv5a",
    "conv5b",
    "fc6",
    "fc7",
    "fc8",
]
CAFFE_BGR = [90.25, 97.66, 101.41]


def renamed(*names):
    return lambda state: {
        f"{dict(zip(LAYERS, names, strict=True))[key.rpartition('.')[0]]}.{key.rpartition('.')[2]}": value
        for key, value in state.items()
    }


NUMBERED = renamed(
    *(f"features.{i}" for i in (0, 3, 6, 8, 11, 13, 16, 18)),
    *(f"classifier.{i}" for i in (0, 3, 6)),
)
MMACTION2 = renamed(
    "conv1a.conv", "conv2a.conv", *(f"{name}.conv" for name in LAYERS[2:8]), "fc6", "fc7", "fc8"
)
CONVOLUTIONS = [f"backbone.{name}.conv" for name in ("conv1a", "conv2a", *LAYERS[2:8])]
MMACTION2_UCF101 = renamed(*CONVOLUTIONS, "backbone.fc6", "backbone.fc7", "cls_head.fc_cls")
MMACTION = renamed("conv1a", "conv2a", *LAYERS[2:])
C3D = {
    "Sports-1M": (lambda state: state, True, CAFFE_BGR, "right"),
    "numbered": (NUMBERED, True, CAFFE_BGR, "right"),
    "numbered, nested": (lambda state: {"state_dict": NUMBERED(state)}, True, CAFFE_BGR, "right"),
    "mmaction2": (
        lambda s: {"state_dict": without(MMACTION2(s), "fc8")},
        False,
        [104, 117, 128],
        "both",
    ),
    "mmaction2 UCF101": (
        lambda s: {"meta": {}, "state_dict": MMACTION2_UCF101(s)},
        False,
        [104, 117, 128],
        "both",
    ),
    "first mmaction": (MMACTION, True, CAFFE_BGR, "right"),
    "classic scripts": (
        lambda s: {"epoch": 9, "state_dict": s, "opt_dict": {}},
        True,
        [90, 98, 102],
        "both",
    ),
}


def pool5(x, padding):
    """Windows {0} {1, 2} {3, 4} {5, 6} of 7 places, or {0, 1} {2, 3} {4, 5} {6}."""
    left, right = (1, 0) if padding == "both" else (0, 1)
    return F.max_pool3d(
        F.pad(x, (left, right, left, right), value=-1e30), (x.shape[2] // 1, 2, 2), (2, 2, 2)
    )


@pytest.fixture(scope="module")
def c3d_state():
    return random_state("C3D", 11)


@pytest.mark.slow
@pytest.mark.parametrize("family", C3D)
def test_a_family_of_c3d_sees_the_colours_and_pads_as_its_publisher(tmp_path, c3d_state, family):
    layout, is_bgr, mean, padding = C3D[family]
    torch.save(layout(c3d_state), tmp_path / "public.pth")
    loaded = load_weights(tmp_path / "public.pth")
    model = loaded.model.double()
    assert loaded.name == "C3D" and not model.training
    clips = torch.randint(0, 256, (1, 3, 3, 8, 8), dtype=torch.uint8)
    seen = (clips.flip(1) if is_bgr else clips).double() - torch.tensor(
        mean, dtype=torch.double
    ).view(3, 1, 1, 1)
    expected = F.conv3d(
        seen, c3d_state["conv1.weight"].double(), c3d_state["conv1.bias"].double(), padding=1
    )
    torch.testing.assert_close(model.conv1(model.normalize(clips)), expected, rtol=1e-9, atol=1e-9)
    x = torch.randn(1, 5, 2, 7, 7).double()
    torch.testing.assert_close(model.pool5(x), pool5(x, padding))
    for layer in LAYERS[1:10]:
        assert torch.equal(model.get_submodule(layer).weight.float(), c3d_state[f"{layer}.weight"])
    assert (
        isinstance(model.fc8, nn.Identity)
        if family == "mmaction2"
        else model.fc8.out_features == 11
    )


@pytest.mark.slow
@pytest.mark.parametrize("family", C3D)
def test_a_family_of_c3d_gives_the_logits_of_its_publisher(tmp_path, c3d_state, family):
    layout, is_bgr, mean, padding = C3D[family]
    torch.save(layout(c3d_state), tmp_path / "public.pth")
    state = {key: value.double() for key, value in c3d_state.items()}
    clips = torch.randint(0, 256, (1, 3, 16, 112, 112), dtype=torch.uint8)
    x = (clips.flip(1) if is_bgr else clips).double() - torch.tensor(mean, dtype=torch.double).view(
        3, 1, 1, 1
    )
    for layer in LAYERS[:8]:
        x = F.conv3d(x, state[f"{layer}.weight"], state[f"{layer}.bias"], padding=1).relu()
        if layer == "conv1":
            x = F.max_pool3d(x, (1, 2, 2))
        elif layer in ("conv2", "conv3b", "conv4b"):
            x = F.max_pool3d(x, 2)
    x = pool5(x, padding).flatten(1)
    for layer in LAYERS[8:10] if family == "mmaction2" else LAYERS[8:]:
        x = F.linear(x, state[f"{layer}.weight"], state[f"{layer}.bias"])
        x = x if layer == "fc8" else x.relu()
    assert_same_logits(load_weights(tmp_path / "public.pth").model, clips, x)


REFUSED = {
    "R3D or R2Plus1D of the classic scripts": {
        "state_dict": {"res3d.conv1.temporal_conv.weight": torch.rand(1)}
    },
    "a network of pytorchvideo": {"blocks.0.conv.weight": torch.rand(1)},
    "mmaction2's R.2.1.D-34": {
        "state_dict": {"backbone.layer1.0.conv1.conv.conv_s.weight": torch.rand(1)}
    },
    "3D-ResNets-PyTorch": {
        "state_dict": {"conv1.weight": torch.rand(64, 3, 7, 7, 7), "bn1.weight": torch.rand(64)}
    },
    "torchvision's mc3_18": {
        "stem.0.weight": torch.rand(64, 3, 3, 7, 7),
        "layer2.0.conv1.0.weight": torch.rand(128, 64, 1, 3, 3),
    },
    "of no family that docs/weights.md lists": {"encoder.weight": torch.rand(3)},
}


@pytest.mark.parametrize("reason", REFUSED)
def test_another_network_is_refused_by_its_name(tmp_path, reason):
    torch.save(REFUSED[reason], tmp_path / "a.pth")
    with pytest.raises(ModelError, match=f"a.pth: .*{reason}"):
        load_weights(tmp_path / "a.pth")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x80\x02}q\x00U\x05blobsq\x01}q\x02", "a file of Caffe2, which PyTorch does not read"),
        (
            b"<!DOCTYPE html><HTML><body>Sign in",
            "a web page, not the file of weights; download it again",
        ),
    ],
)
def test_what_people_save_in_place_of_weights_is_named(tmp_path, content, message):
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(ModelError, match=message):
        load_weights(tmp_path / "a.pth")


def test_a_truncated_file_is_damaged(tmp_path):
    torch.save(random_state("R3D", 3), tmp_path / "a.pth")
    data = (tmp_path / "a.pth").read_bytes()
    (tmp_path / "a.pth").write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelError, match="a.pth: damaged, or not a checkpoint"):
        load_weights(tmp_path / "a.pth")


def test_a_layer_too_many_too_few_or_of_another_shape_is_named(tmp_path):
    state = random_state("R3D", 3)
    for change, message in (
        ({"layer9.weight": torch.rand(1)}, "another network, with layer9.weight"),
        (
            {"layer4.1.conv2.1.bias": torch.rand(9)},
            r"size mismatch for layer4.1.conv2.1.bias: .*\[9\].*\[512\]",
        ),
    ):
        torch.save(state | change, tmp_path / "a.pth")
        with pytest.raises(ModelError, match=message):
            load_weights(tmp_path / "a.pth")
    torch.save(without(state, "layer4.1.conv2.1"), tmp_path / "a.pth")
    with pytest.raises(ModelError, match="they have no layer4.1.conv2.1.weight"):
        load_weights(tmp_path / "a.pth")


@pytest.mark.parametrize("content", [[1, 2], {"state_dict": {"a": 1}}, 7, {}])
def test_a_file_without_weights_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(ModelError, match="a.pth: no weights in it"):
        load_weights(tmp_path / "a.pth")


@pytest.mark.slow
def test_a_file_of_sports_1m_is_one_however_it_is_wrapped(tmp_path):
    state = random_state("C3D", 487)
    for content in (
        state,
        {"state_dict": state},
        {"model": {f"module.{key}": state[key] for key in state}},
    ):
        torch.save(content, tmp_path / "a.pth")
        loaded = load_weights(tmp_path / "a.pth")
        assert (loaded.options, loaded.clip["frame_interval"]) == ({"ceil_mode": True}, 1)
