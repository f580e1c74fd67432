import copy
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import SIZES, numbered_frame
from tiny import Tiny
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

import network
from dataloaders import clips, splits
from dataloaders.dataset import VideoDataset
from network import MODELS, engine, report
from network.distributed import World

CPU = torch.device("cpu")


def gradients(net, clips, autocast):
    net.zero_grad()
    with autocast:
        loss = F.cross_entropy(net(clips), torch.arange(len(clips), device=clips.device) % 3)
    loss.backward()
    return {name: parameter.grad.double().cpu() for name, parameter in net.named_parameters()}


def errors(found, exact):
    """How far gradients are off, layer by layer, as a share of their length."""
    return {layer: ((found[layer] - exact[layer]).norm() / exact[layer].norm()).item() for layer in exact}


def features(net, clips):
    """What the last layer sees of stacked clips in training."""
    seen = []
    hook = net.fc.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].detach()))
    net.train()(engine.to_device((clips, torch.zeros(1)), CPU)[0])
    hook.remove()
    return seen[0]


@pytest.mark.parametrize(
    ("device", "name"),
    [("cpu", "R3D"), ("cpu", "R2Plus1D"), pytest.param("cpu", "C3D", marks=pytest.mark.slow)]
    + [pytest.param("cuda", name, marks=pytest.mark.cuda) for name in ("C3D", "R3D", "R2Plus1D")],
)
def test_gradients_of_the_fast_path_are_those_of_the_plain_one(name, device):
    """Layer by layer against 64-bit floats: the layout and the precision that training uses are off by no more than a
    small multiple of what contiguous 32-bit floats are off."""
    device = torch.device(device)
    torch.manual_seed(0)
    net = MODELS[name](num_classes=3).eval()  # no dropout
    stacked = torch.randint(0, 256, (2, 16, SIZES[name], SIZES[name], 3), dtype=torch.uint8)
    off = torch.autocast("cpu", enabled=False)
    exact = gradients(copy.deepcopy(net).double(), stacked.permute(0, 4, 1, 2, 3), off)
    net.to(device)
    stacked = stacked.to(device)
    plain = errors(gradients(net, stacked.permute(0, 4, 1, 2, 3).float().contiguous(), off), exact)
    net.to(memory_format=torch.channels_last_3d)
    half = network.half_precision(device)
    autocast = torch.autocast(device.type, half, enabled=half is not None)
    fast = errors(gradients(net, stacked.permute(0, 4, 1, 2, 3), autocast), exact)
    for layer, error in fast.items():
        assert error < (0.1 if half else 5 * max(plain[layer], 1e-5)), (layer, error, plain[layer])


def test_an_epoch_is_one_step_a_batch_and_its_means_are_over_clips():
    torch.manual_seed(0)
    net = Tiny(num_classes=2)
    net.dropout.p = 0
    optimizer = torch.optim.SGD([net.fc.bias], 0.1)
    steps = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1)
    loader = [(torch.randint(0, 256, (n, 2, 16, 16, 3), dtype=torch.uint8), torch.zeros(n).long()) for n in (4, 2)]
    bias, expected = net.fc.bias.detach().clone(), []
    for clips, labels in loader:
        logits = net.fc(features(net, clips)) - net.fc.bias + bias.requires_grad_()
        loss = F.cross_entropy(logits, labels)
        expected.append((len(labels), loss.item(), (logits.argmax(1) == labels).sum().item()))
        bias = (bias - 0.1 * torch.autograd.grad(loss, bias)[0]).detach()
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    sums = engine.train_epoch(net, loader, optimizer, steps, scaler, torch.autocast("cpu", enabled=False))
    assert sums[0] == pytest.approx(sum(count * loss for count, loss, _ in expected), rel=1e-4)
    assert sums[1:] == (sum(hits for *_, hits in expected), 6)
    assert torch.allclose(net.fc.bias, bias, atol=1e-6)
    assert steps.last_epoch == 2


def test_an_epoch_in_two_parts_is_the_epoch():
    def start():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.Dropout(), nn.Linear(8, 2))
        optimizer = torch.optim.SGD(net.parameters(), 0.1, 0.9)
        return net, optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))

    loader = [(torch.rand(2, 1, 2, 2, 3), torch.tensor([0, 1])) for _ in range(5)]
    rest = torch.amp.GradScaler("cpu", enabled=False), torch.autocast("cpu", enabled=False), 7
    whole, *others = start()
    sums = engine.train_epoch(whole, loader, *others, *rest)
    parts, *others = start()
    left = iter([None, 15])
    first = engine.train_epoch(parts, loader, *others, *rest, stop=lambda: next(left))
    assert first[2] == 4
    torch.rand(3)
    assert engine.train_epoch(parts, loader[2:], *others, *rest, first) == sums
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.equal(one, other)
    another, *others = start()
    assert engine.train_epoch(another, loader, *others, *rest[:2], 8) != sums


def steps_of(network, losses, **others):
    """Train on one-clip batches of such losses; the optimiser sets the weight to the loss."""
    optimizer = torch.optim.SGD(network.parameters(), 1.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1)
    loader = [(torch.full((1, 1, 1, 1, 1), loss), torch.tensor([0])) for loss in losses]
    rest = torch.amp.GradScaler("cpu", enabled=False), torch.autocast("cpu", enabled=False)
    return engine.train_epoch(network, loader, optimizer, scheduler, *rest, **others)


class Loss(nn.Module):
    """Logits whose cross-entropy is about the number in the clip; the weight takes it too."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        return torch.stack([-x.flatten() - self.weight + self.weight.detach(), torch.zeros(1)], 1)


def test_the_first_loss_that_is_not_finite_is_told_by_its_position():
    loss, hits, clips = steps_of(Loss(), [20.0, 30.0])
    assert (loss, hits, clips) == (pytest.approx(50), 0, 2)
    for losses, position in (([1.0, float("nan"), float("inf"), 1.0], 1), ([1.0, 1.0, float("-inf")], 2)):
        with pytest.raises(engine.NotFinite) as stopped:
            steps_of(Loss(), losses)
        assert stopped.value.position == position


def test_weights_that_are_not_finite_after_the_last_step_are_told():
    network = Loss()
    network.weight.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(engine.NotFinite) as stopped:
        steps_of(network, [1.0])
    assert stopped.value.position == 0


def test_losses_that_are_fetched_together_are_looked_at_one_by_one():
    losses = [(position, torch.tensor(value)) for position, value in ((4, 1.0), (8, 2.0), (12, 3.0))]
    assert engine.fetch(losses) == 6
    assert losses == []
    losses = [(4, torch.tensor(1.0)), (8, torch.tensor(float("nan"))), (12, torch.tensor(float("nan")))]
    with pytest.raises(engine.NotFinite) as stopped:
        engine.fetch(losses)
    assert stopped.value.position == 8


class Numbers(Dataset):
    """Clips whose first pixel is their number."""

    windows, classes = 2, ["a", "b", "c"]
    repeats = np.ones(1000, np.int64)

    def __len__(self):
        return 1000

    def __getitem__(self, number):
        return torch.full((1, 1, 1, 1), number % 256, dtype=torch.uint8), number // 2 % 3


class Says(nn.Module):
    """A network that is sure of the class that the first pixel tells."""

    def __init__(self):
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return 10 * F.one_hot(x.flatten(1)[:, 0].long() % 3, 3).float()


def test_an_evaluation_keeps_every_video_in_order_and_no_file_open():
    resource = pytest.importorskip("resource")
    loader = DataLoader(Numbers(), 7, num_workers=1)
    open_now = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").is_dir() else 100
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_now + 60, hard))  # batches: 143
    try:
        measured = engine.evaluate(Says(), loader, torch.autocast("cpu", enabled=False))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert measured["labels"].tolist() == [number % 3 for number in range(500)]
    said = (torch.arange(1000) % 256 % 3).unflatten(0, (500, 2))
    assert torch.equal(measured["probabilities"].argmax(2), said)
    expected = F.cross_entropy(10 * F.one_hot(said.flatten(), 3).float(), torch.arange(1000) // 2 % 3)
    assert measured["loss"] == pytest.approx(expected.item(), rel=1e-5)
    assert engine.evaluate(Says(), loader, torch.autocast("cpu", enabled=False), stop=lambda: 2) is None


@pytest.mark.parametrize("length", [1, 16, 17, 20, 25, 26, 90])
def test_windows_that_are_the_same_are_computed_once_and_count_as_often(tmp_path, length):
    """Against the plain way, which computes every window of every video."""
    videos = [splits.Video("test", name, f"v{i}", f"g{i}", length + i, "") for i in range(2) for name in "ab"]
    for video in videos:
        video.folder(tmp_path).mkdir(parents=True)
        for number in range(video.frames):
            frame = numbered_frame(10 * number % 256, 171, 128)
            cv2.imwrite(str(video.folder(tmp_path) / f"{number + 1:05d}.jpg"), frame)
    clip = clips.recipe(16)
    dataset = VideoDataset(tmp_path, videos, "test", ["a", "b"], clip, windows=10)
    places = [min(clips.num_windows(video.frames), 10) for video in videos]
    assert len(dataset) == sum(places)
    torch.manual_seed(0)
    net, seen = Tiny(2).eval(), []
    net.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    found = engine.evaluate(net, DataLoader(dataset, 3), torch.autocast("cpu", enabled=False))
    assert sum(seen) == sum(places)

    probabilities, losses = [], []
    for video, label in zip(videos, (0, 1, 0, 1), strict=True):
        for start in clips.even_starts(video.frames, 10):
            files = [f"{video.folder(tmp_path)}/{n + 1:05d}.jpg" for n in clips.window(start, video.frames)]
            pixels = torch.from_numpy(clips.cut(map(cv2.imread, files), clip))[None].permute(0, 4, 1, 2, 3)
            logits = net(pixels).detach()
            probabilities.append(logits.softmax(1))
            losses.append(F.cross_entropy(logits, torch.tensor([label])).item())
    probabilities = torch.cat(probabilities).unflatten(0, (4, 10))
    torch.testing.assert_close(found["probabilities"], probabilities)
    assert found["labels"].tolist() == [0, 1, 0, 1]
    assert found["loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    plain = report.measure(probabilities, found["labels"], ["a", "b"])
    assert {key: found[key] for key in plain} == plain


def test_a_process_with_fewer_batches_asks_as_often_whether_to_stop():
    class Busy(World):
        def most(self, number):
            return 9

    asked, loader = [], DataLoader(Numbers(), 200)
    measured = engine.evaluate(Says(), loader, torch.autocast("cpu", enabled=False), lambda: asked.append(1), Busy())
    assert len(loader) == 5
    assert len(asked) == 9
    assert len(measured["labels"]) == 500


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
def test_releases_known_for_wrong_gradients_get_32_bit_floats(monkeypatch, capsys, release, cudnn, expected):
    monkeypatch.setattr(torch, "__version__", release)
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: cudnn)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    assert network.half_precision(torch.device("cuda")) is expected
    assert ("32-bit floats instead" in capsys.readouterr().out) == (expected is None)
    assert network.half_precision(CPU) is None
