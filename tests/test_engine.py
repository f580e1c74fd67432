from pathlib import Path

import pytest
import torch
from conftest import SIZES
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

import network
from network import MODELS, engine
from network.distributed import World

CPU = torch.device("cpu")


def gradients(net, clips, autocast):
    net.zero_grad()
    with autocast:
        loss = F.cross_entropy(net(clips), torch.arange(len(clips), device=clips.device) % 3)
    loss.backward()
    return {name: parameter.grad.float().clone() for name, parameter in net.named_parameters()}


def features(net, clips):
    """What the last layer sees of stacked clips in training."""
    seen = []
    hook = net.fc.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].detach()))
    net.train()(engine.to_device((clips, torch.zeros(1)), CPU)[0])
    hook.remove()
    return seen[0]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_gradients_of_the_fast_path_are_those_of_the_plain_one(name, device):
    """Layer by layer: contiguous 32-bit floats against the layout and the precision that training uses."""
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    device = torch.device(device)
    torch.manual_seed(0)
    net = MODELS[name](num_classes=3).to(device).eval()  # no dropout
    stacked = torch.randint(0, 256, (4, 16, SIZES[name], SIZES[name], 3), dtype=torch.uint8, device=device)
    plain = gradients(net, stacked.permute(0, 4, 1, 2, 3).float().contiguous(), torch.autocast("cpu", enabled=False))
    net.to(memory_format=torch.channels_last_3d)
    half = network.half_precision(device)
    fast = gradients(
        net, stacked.permute(0, 4, 1, 2, 3), torch.autocast(device.type, half, enabled=half is not None)
    )
    for layer, gradient in plain.items():
        error = (fast[layer] - gradient).norm() / gradient.norm()
        assert error < (0.1 if half else 1e-2), (layer, error)


def test_an_epoch_is_one_step_a_batch_and_its_means_are_over_clips():
    torch.manual_seed(0)
    net = MODELS["R3D"](num_classes=2)
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
