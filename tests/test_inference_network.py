"""Recognition computes in bfloat16 where that is right, and says where it is not."""

import pytest
import torch
from conftest import make_checkpoint, write_video
from tiny import Tiny
from torch import nn

from engine.checkpoint import save_checkpoint
from recognition import inference_network
from recognition.inference_network import (
    NUM_CHECKED_CLIPS,
    InferenceNetwork,
    describe_difference,
)
from recognition.recognizer import Recognizer


@pytest.fixture(autouse=True)
def fast_bfloat16(compute_in_float32, monkeypatch):
    monkeypatch.setattr(inference_network, "has_fast_bfloat16", lambda: True)


def clips(number, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (number, 3, 8, 16, 16), dtype=torch.uint8, generator=generator)


def tiny():
    torch.manual_seed(0)
    return Tiny(num_classes=3).eval()


class Last(nn.Module):
    """A network whose last layer does more than one with such weights does."""

    head = "linear"

    def __init__(self, change):
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.change = change

    def forward(self, x):
        logits = self.linear(x.float().mean((2, 3, 4)) / 255)
        return self.change(logits)


def bfloat16_plus(amount):
    """Shift the logits, if they were computed in bfloat16."""
    return lambda logits: logits + amount if logits.dtype is torch.bfloat16 else logits


class OfOneType(nn.Module):
    """A layer that takes the type of its weights only."""

    def __init__(self):
        super().__init__()
        self.weights = nn.Parameter(torch.ones(3))

    def forward(self, logits):
        return logits * torch.dot(logits[0], self.weights)


def test_logits_are_those_of_float32_up_to_rounding():
    model = tiny()
    network = InferenceNetwork(model)
    for number in (2, NUM_CHECKED_CLIPS, 2):  # checked, checked, not checked any more
        outputs = network.compute(clips(number), with_features=True)
        with torch.no_grad():
            exact = model(clips(number))
        assert outputs.precision == "bfloat16"
        assert outputs.logits.dtype is torch.bfloat16
        difference = (outputs.logits - exact).norm() / exact.norm()
        assert 0 < difference < 0.02
        with torch.no_grad():
            of_features = model.fc(outputs.features.float())
        assert (of_features - exact).norm() < 0.02 * exact.norm()
    assert all(parameter.dtype is torch.float32 for parameter in model.parameters())


def test_the_first_clips_are_computed_in_both(monkeypatch):
    network = InferenceNetwork(tiny())
    compared = []

    def compare(logits, exact):
        compared.append((len(logits), logits.dtype, exact.dtype))
        return describe_difference(logits, exact)

    monkeypatch.setattr(inference_network, "describe_difference", compare)
    for _ in range(10):
        network.compute(clips(2))
    assert compared == [(2, torch.bfloat16, torch.float32)] * (NUM_CHECKED_CLIPS // 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (bfloat16_plus(1.0), "bfloat16 changes the logits of this network by "),
        (bfloat16_plus(float("nan")), "bfloat16 changes the logits of this network by nan%"),
        (OfOneType(), "this network cannot be computed in bfloat16"),
    ],
)
def test_where_it_is_wrong_float32_is_used_and_one_line_says_so(change, message, capsys):
    torch.manual_seed(0)
    model = Last(change).eval()
    network = InferenceNetwork(model)
    for _ in range(3):
        outputs = network.compute(clips(2))
        with torch.inference_mode():
            assert torch.equal(outputs.logits, model(clips(2)))
        assert outputs.precision == "float32"
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(message)
    assert line.endswith(": float32 is used")


# Probabilities of logits (log p, log q) are p and q where p + q = 1. The shift of both by 10
# makes the relative difference small.
@pytest.mark.parametrize(
    ("exact", "logits", "problem"),
    [
        ([3.0, 4.0], [3.0, 4.0], None),
        ([3.0, 4.0], [3.0, 4.09], None),  # 0.09 of 5 is 1.8 %
        ([3.0, 4.0], [3.0, 4.11], "by 2.2%"),
        ([10.06, 10.0], [10.0, 10.06], None),  # 51.5 % and 48.5 %: a lead of 3 points
        ([10.12, 10.0], [10.0, 10.06], "changes the likeliest class"),  # 53 % and 47 %
        ([3.0, 4.0], [3.0, float("nan")], "by nan%"),
        ([2.0], [2.0], None),  # of one class
    ],
)
def test_how_much_two_precisions_may_differ(exact, logits, problem):
    fine = torch.tensor([[1.0, 0.0][: len(exact)]])
    exact, logits = (torch.cat([fine, torch.tensor([row])]) for row in (exact, logits))
    found = describe_difference(logits, exact)
    assert found is None if problem is None else found.endswith(problem)


def test_heat_maps_and_what_is_not_allowed_are_computed_in_float32():
    exact = InferenceNetwork(tiny(), with_amp=False).compute(clips(2))
    assert exact.precision == "float32"
    network = InferenceNetwork(tiny())
    outputs = network.compute(clips(2), with_heatmaps=True, with_features=True)
    assert outputs.precision == "float32"
    assert outputs.features.dtype is outputs.heatmaps.dtype is torch.float32
    torch.testing.assert_close(outputs.logits, exact.logits, rtol=1e-5, atol=1e-5)


def test_the_report_says_which_precision_was_used(tmp_path):
    file, video = tmp_path / "a.pth", write_video(tmp_path / "a.avi", 20)
    save_checkpoint(make_checkpoint(), file)
    for options, outputs, precision in (
        ({}, {}, "bfloat16"),
        ({}, {"grad_cam": True}, "float32"),
        ({"amp": False}, {}, "float32"),
    ):
        report = Recognizer(file, **options).predict(video, **outputs)
        assert report["precision"] == precision
