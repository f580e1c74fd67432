import copy

import pytest
import torch
from conftest import SIZES
from torch import nn
from torch.nn import functional as F

from engine.precision import Precision, amp_dtype, choose_precision
from network import MODELS, move_to_device

CPU = torch.device("cpu")
FLOAT32 = torch.autocast("cpu", enabled=False)


def gradients(model, clips, autocast):
    model.zero_grad()
    with autocast:
        loss = F.cross_entropy(model(clips), torch.arange(len(clips), device=clips.device) % 3)
    loss.backward()
    return {name: parameter.grad.double().cpu() for name, parameter in model.named_parameters()}


def relative_errors(gradients, exact):
    """How far gradients are off, layer by layer, as a share of their length."""
    return {
        layer: ((gradients[layer] - exact[layer]).norm() / exact[layer].norm()).item()
        for layer in exact
    }


def smooth(model):
    """Replace the modules with kinks, at which rounding makes gradients jump."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.ReLU):
                setattr(module, name, nn.Softplus())
            elif isinstance(child, nn.MaxPool3d):
                setattr(module, name, nn.AvgPool3d(child.kernel_size, child.stride, child.padding))
    return model


@pytest.mark.parametrize(
    ("device", "name"),
    [
        pytest.param("cpu", "R3D", marks=pytest.mark.slow),
        pytest.param("cpu", "R2Plus1D", marks=pytest.mark.slow),
        pytest.param("cpu", "C3D", marks=pytest.mark.slow),
    ]
    + [pytest.param("cuda", name, marks=pytest.mark.cuda) for name in ("C3D", "R3D", "R2Plus1D")],
)
def test_gradients_of_the_fast_path_are_those_of_the_plain_one(name, device):
    """Layer by layer against float64: the memory format and precision of training are off by no
    more than a small multiple of what contiguous float32 is off."""
    device = torch.device(device)
    torch.manual_seed(0)
    model = smooth(MODELS[name](num_classes=3)).eval()  # no dropout
    stacked = torch.randint(0, 256, (1, 16, SIZES[name], SIZES[name], 3), dtype=torch.uint8)
    exact = gradients(copy.deepcopy(model).double(), stacked.permute(0, 4, 1, 2, 3), FLOAT32)
    model.to(device)
    stacked = stacked.to(device)
    plain = relative_errors(
        gradients(model, stacked.permute(0, 4, 1, 2, 3).float().contiguous(), FLOAT32), exact
    )
    move_to_device(model, device)
    dtype = amp_dtype(device)
    autocast = torch.autocast(device.type, dtype, enabled=dtype is not None)
    fast = relative_errors(gradients(model, stacked.permute(0, 4, 1, 2, 3), autocast), exact)
    for layer, error in fast.items():
        assert error < (0.1 if dtype else 5 * max(plain[layer], 1e-5)), (layer, error, plain[layer])


@pytest.mark.parametrize(
    ("release", "cudnn", "expected"),
    [
        ("2.9.1+cu128", 91002, None),
        ("2.10.0", 91400, None),
        ("2.9.0", 91500, torch.bfloat16),
        ("2.9.0", 90701, torch.bfloat16),
        ("2.13.0+cu130", 91002, torch.bfloat16),
    ],
)
def test_releases_known_for_wrong_gradients_train_in_float32(
    monkeypatch, capsys, release, cudnn, expected
):
    monkeypatch.setattr(torch, "__version__", release)
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: cudnn)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    assert amp_dtype(torch.device("cuda")) is expected
    told = capsys.readouterr().out
    assert ("training in float32; cuDNN 9.15" in told) == (expected is None)
    assert amp_dtype(CPU) is None


def test_without_mixed_precision_convolutions_are_not_rounded_to_tf32():
    assert choose_precision(CPU, mixed=True) == Precision(CPU, None)
    assert torch.backends.cudnn.allow_tf32
    assert choose_precision(CPU, mixed=False) == Precision(CPU, None)
    assert not torch.backends.cudnn.allow_tf32
