from collections import Counter

import pytest
import torch
from conftest import NETWORKS, SIZES
from torch import nn

from network import MODELS, build_model, count_flops, head_of, move_to_device
from network.c3d import C3D
from network.errors import ModelError
from network.grad_cam import grad_cam
from network.normalize import RESIDUAL_GAIN, Normalize


def clip(size, batch=1, length=16):
    return torch.randint(0, 256, (batch, 3, length, size, size), dtype=torch.uint8)


@pytest.mark.parametrize(
    ("name", "options", "parameters"),
    [
        ("C3D", {"num_classes": 101}, 78_409_573),
        ("R3D", {"num_classes": 400}, 33_371_472),
        ("R3D", {"num_classes": 400, "depth": 34}, 63_681_104),
        ("R2Plus1D", {"num_classes": 400}, 31_505_325),
        ("R2Plus1D", {"num_classes": 400, "depth": 34}, 63_697_175),
    ],
)
def test_golden_parameter_counts(name, options, parameters):
    with torch.device("meta"):
        network = MODELS[name](**options)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


@pytest.mark.parametrize("name", NETWORKS)
def test_uint8_and_float_clips_give_the_same_logits_for_each_clip(name):
    network = MODELS[name](num_classes=7).eval()
    pixels = clip(SIZES[name], batch=2)
    with torch.inference_mode():
        logits = network(pixels)
        assert logits.shape == (2, 7)
        assert torch.equal(logits, network(pixels.float()))
        assert torch.allclose(logits[1:], network(pixels[1:]), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_input_is_normalised_once(name):
    network = MODELS[name](num_classes=2)
    mean, std = network.normalize.mean.flatten(), network.normalize.std.flatten()
    pixels = (mean + 2 * std).view(1, 3, 1, 1, 1).expand(1, 3, 2, 4, 4)
    assert torch.allclose(network.normalize(pixels), torch.tensor(2.0), atol=1e-4)
    assert not {"normalize.mean", "normalize.std"} & network.state_dict().keys()


@pytest.mark.parametrize("name", NETWORKS)
def test_residual_input_is_what_changes_from_frame_to_frame(name):
    network = move_to_device(MODELS[name](num_classes=2), "cpu")
    pixels = torch.randint(0, 256, (2, 5, 8, 9, 3), dtype=torch.uint8).permute(0, 4, 1, 2, 3)
    rgb = network.normalize(pixels)
    network.normalize.set(**network.normalize.statistics | {"input": "residual"})
    residual = network.normalize(pixels)
    assert residual.is_contiguous(memory_format=torch.channels_last_3d)
    assert torch.equal(residual[:, :, 0], rgb[:, :, 0])
    for t in range(1, 5):
        assert torch.allclose(
            residual[:, :, t], RESIDUAL_GAIN * (rgb[:, :, t] - rgb[:, :, t - 1]), atol=1e-4
        )


def test_what_checkpoints_were_trained_on_is_worked_out_by_hand():
    """Other numbers would break every checkpoint and weight file there is, without a word."""
    clip = torch.tensor([102, 153, 153, 51], dtype=torch.uint8).view(1, 1, 4, 1, 1)
    residual = Normalize([0.2], [0.4], "residual")(clip).flatten()
    torch.testing.assert_close(residual, torch.tensor([0.5, 1.5, 0.0, -3.0]))  # gain 3
    flow = Normalize.for_channels(1, [0.1] * 3, [0.1] * 3)(clip).flatten()
    torch.testing.assert_close(flow, torch.tensor([-0.4, 0.4, 0.4, -1.2]))  # mean 0.5, std 0.25


@pytest.mark.parametrize("name", NETWORKS)
def test_the_batch_permuted_on_the_device_needs_no_copy(name):
    stacked = torch.randint(0, 256, (2, 16, 32, 32, 3), dtype=torch.uint8).permute(0, 4, 1, 2, 3)
    network = move_to_device(MODELS[name](num_classes=2), "cpu")
    assert stacked.is_contiguous(memory_format=torch.channels_last_3d)
    assert network.normalize(stacked).is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("shape", [(8, 112, 112), (16, 128, 171), (16, 56, 56)])
def test_c3d_refuses_other_sizes(shape):
    with (
        torch.device("meta"),
        pytest.raises(ValueError, match="16x112x112.*got " + "x".join(map(str, shape))),
    ):
        C3D(5)(torch.zeros(1, 3, *shape))


@pytest.mark.parametrize("name", ["R3D", "R2Plus1D"])
@pytest.mark.parametrize("shape", [(16, 112, 112), (8, 40, 56), (1, 17, 33)])
def test_residual_networks_take_any_size(name, shape):
    with torch.device("meta"), torch.inference_mode():
        assert MODELS[name](num_classes=3).eval()(torch.zeros(1, 3, *shape)).shape == (1, 3)


def test_c3d_keeps_its_classic_names():
    layers = [
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
    with torch.device("meta"):
        names = C3D(101).state_dict()
    assert list(names) == [f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")]


def torchvision_names(conv, stem):
    """The names and shapes of torchvision's 18-layer VideoResNet state_dict, after its public weights."""

    def batch_norm(name, planes):
        yield from (
            (f"{name}.{kind}", (planes,))
            for kind in ("weight", "bias", "running_mean", "running_var")
        )
        yield f"{name}.num_batches_tracked", ()

    for i, (out_planes, in_planes, *kernel) in enumerate(stem):
        yield f"stem.{3 * i}.weight", (out_planes, in_planes, *kernel)
        yield from batch_norm(f"stem.{3 * i + 1}", out_planes)
    before = 64
    for stage, planes in enumerate((64, 128, 256, 512), start=1):
        for block in (0, 1):
            mid = before * planes * 27 // (before * 9 + 3 * planes)
            for k, in_planes in ((1, before), (2, planes)):
                name = f"layer{stage}.{block}.conv{k}"
                if conv == "3d":
                    yield f"{name}.0.weight", (planes, in_planes, 3, 3, 3)
                else:
                    yield f"{name}.0.0.weight", (mid, in_planes, 1, 3, 3)
                    yield from batch_norm(f"{name}.0.1", mid)
                    yield f"{name}.0.3.weight", (planes, mid, 3, 1, 1)
                yield from batch_norm(f"{name}.1", planes)
            if before != planes:
                yield f"layer{stage}.{block}.downsample.0.weight", (planes, before, 1, 1, 1)
                yield from batch_norm(f"layer{stage}.{block}.downsample.1", planes)
            before = planes
    yield from (("fc.weight", (400, 512)), ("fc.bias", (400,)))


@pytest.mark.parametrize(
    ("name", "conv", "stem"),
    [
        ("R3D", "3d", [(64, 3, 3, 7, 7)]),
        ("R2Plus1D", "2+1d", [(45, 3, 1, 7, 7), (64, 45, 3, 1, 1)]),
    ],
)
def test_residual_networks_have_the_names_and_shapes_of_torchvision(name, conv, stem):
    with torch.device("meta"):
        network = MODELS[name](num_classes=400)
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert shapes == dict(torchvision_names(conv, stem))


def calls(network, kind, pixels):
    """How often each module of a kind runs in one forward pass."""
    counts = Counter()
    for module in network.modules():
        if isinstance(module, kind):
            module.register_forward_hook(lambda module, *_: counts.update([id(module)]))
    with torch.inference_mode():
        network.eval()(pixels)
    return counts


@pytest.mark.parametrize(("name", "relus"), [("R3D", 1 + 2 * 8), ("R2Plus1D", 2 + 4 * 8)])
def test_one_batch_norm_a_convolution_and_no_relu_twice(name, relus):
    network = MODELS[name](num_classes=2)
    pixels = clip(32)
    norms = calls(network, nn.BatchNorm3d, pixels)
    convolutions = sum(isinstance(module, nn.Conv3d) for module in network.modules())
    assert len(norms) == convolutions
    assert set(norms.values()) == {1}
    assert sum(calls(network, nn.ReLU, pixels).values()) == relus


def backward_steps(tensor):
    """The names of the steps that lead back from a tensor."""
    names, seen, todo = Counter(), set(), [tensor.grad_fn]
    while todo:
        step = todo.pop()
        if step is not None and step not in seen:
            seen.add(step)
            names[type(step).__name__] += 1
            todo += [before for before, _ in step.next_functions]
    return names


@pytest.mark.parametrize("name", NETWORKS)
def test_no_softmax_and_no_gradient_of_the_input(name):
    network = MODELS[name](num_classes=3)
    pixels = clip(SIZES[name])
    steps = backward_steps(network(pixels))
    assert not [step for step in steps if "Softmax" in step]
    assert steps["AccumulateGrad"] == sum(1 for _ in network.parameters())
    assert not pixels.requires_grad


def test_the_flops_of_a_clip_of_which_batch_norm_sees_one_value_are_those_by_hand():
    # R3D of 8 frames of 8x8: 8x4x4 places after the stem, then 8x4x4, 4x2x2, 2x1x1 and 1x1x1.
    stem = 64 * (3 * 3 * 7 * 7) * (8 * 4 * 4)
    layer1 = 4 * (64 * 64 * 27) * (8 * 4 * 4)
    layer2 = (64 * 128 * 27 + 3 * 128 * 128 * 27 + 64 * 128) * (4 * 2 * 2)
    layer3 = (128 * 256 * 27 + 3 * 256 * 256 * 27 + 128 * 256) * (2 * 1 * 1)
    layer4 = (256 * 512 * 27 + 3 * 512 * 512 * 27 + 256 * 512) * (1 * 1 * 1)
    expected = stem + layer1 + layer2 + layer3 + layer4 + 512
    assert count_flops("R3D", (8, 8, 8)) == expected
    assert count_flops("R2Plus1D", (8, 8, 8)) > 0


@pytest.mark.parametrize("name", ["R3D", "R2Plus1D"])
def test_a_clip_of_which_batch_norm_sees_one_value_trains_in_a_batch_of_two(name):
    network = build_model(name, 2)
    loss = network(clip(8, batch=2, length=8)).square().sum()
    loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


class FrameLSTM(nn.Module):
    """A network that defines nothing but what it computes; it looks at values when it is built."""

    def __init__(self, num_classes):
        super().__init__()
        self.frame = nn.Conv2d(3, 4, 3, stride=4)
        self.motion = nn.Conv3d(4, 4, (3, 1, 1))
        self.lstm = nn.LSTM(4, 8, batch_first=True)
        self.scale = torch.linspace(1, 2, 3)[1].item()
        self.classify = nn.Linear(8, num_classes)

    def forward(self, x):
        images = x.transpose(1, 2).flatten(0, 1) / 255
        frames = self.frame(images).unflatten(0, x.shape[::2][:2]).transpose(1, 2)
        features = self.motion(frames).mean((3, 4)).transpose(1, 2)
        return self.classify(self.scale * self.lstm(features)[0][:, -1])


@pytest.fixture
def frame_lstm(monkeypatch):
    monkeypatch.setitem(MODELS, "FrameLSTM", FrameLSTM)
    return build_model("FrameLSTM", 5)


def test_any_module_from_clips_to_logits_is_a_network(frame_lstm):
    assert move_to_device(frame_lstm, "cpu") is frame_lstm
    assert frame_lstm.motion.weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert frame_lstm(clip(16, batch=2)).shape == (2, 5)
    assert count_flops("FrameLSTM", (16, 16, 16)) > 0


def test_what_a_network_does_not_define_is_named(frame_lstm):
    with pytest.raises(ModelError, match="FrameLSTM defines no head"):
        head_of(frame_lstm)
    with pytest.raises(ModelError, match="FrameLSTM defines no normalize"):
        grad_cam(frame_lstm, clip(16))
    frame_lstm.head = nn.Linear(1, 1)
    assert head_of(frame_lstm) == "head"


@pytest.mark.parametrize("name", MODELS)
def test_the_head_gives_the_logits(name):
    with torch.device("meta"):
        model = build_model(name, 7)
    assert model.get_submodule(head_of(model)).out_features == 7


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("channels", [1, 2])
def test_networks_take_clips_of_other_channels(name, channels):
    model = build_model(name, 3, channels=channels).eval()
    pixels = clip(SIZES[name])
    with torch.inference_mode():
        assert model(pixels[:, :channels]).shape == (1, 3)
    with pytest.raises(ModelError, match=f"clips of 3 channels for a network of {channels}"):
        model(pixels)
    assert count_flops(name, tuple(pixels.shape[2:]), channels=channels) > 0


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: build_model("VGG", 3), "unknown model 'VGG', known are C3D"),
        (lambda: build_model("C3D", 3, depth=18), "C3D cannot take the options .*'depth'"),
        (lambda: build_model("FrameLSTM", 3, channels=2), "FrameLSTM cannot take .*'channels'"),
        (lambda: build_model("R3D", 3, depth=50), "no network of depth 50, known are 18, 34"),
        (lambda: Normalize([0, 0, 0], [1]), "3 means and 1 standard deviations for 3 channels"),
        (lambda: Normalize([0], [1]).set([0, 0], [1, 1]), "2 means .* for 1 channels"),
        (lambda: count_flops("FrameLSTM", (16, 2, 2)), "cannot take clips of .16, 2, 2.: .*size"),
    ],
)
def test_a_network_that_cannot_be_is_refused(frame_lstm, build, message):
    with pytest.raises(ModelError, match=message):
        build()
