import copy
from dataclasses import replace
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

from dataloaders.dataset import VideoDataset
from dataloaders.records import VideoRecord
from dataloaders.samplers import DistributedBatchSampler
from dataloaders.sampling import ClipConfig
from dataloaders.transforms import make_clip
from engine.build import amp_dtype, lr_factor
from engine.checkpoint import TrainState
from engine.distributed import Distributed
from engine.errors import NonFiniteLossError, Stopped, UsageError
from engine.loops import clips_to_device, evaluate, sync_losses, train_one_epoch
from engine.metrics import compute_metrics
from network import MODELS

CPU = torch.device("cpu")
FLOAT32 = torch.autocast("cpu", enabled=False)
NO_SCALER = torch.amp.GradScaler("cpu", enabled=False)


class StopAfter:
    """A stop signal that comes during the step or batch of such a number, from 1; 0: none comes."""

    def __init__(self, step=0, signum=15):
        self.step, self.number, self.asked = step, signum, 0

    @property
    def signum(self):
        self.asked += 1
        return self.number if self.asked == self.step else 0


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


def features(model, clips):
    """The input of the last layer for stacked clips, in training."""
    inputs_of_fc = []
    hook = model.fc.register_forward_hook(
        lambda module, inputs, output: inputs_of_fc.append(inputs[0].detach())
    )
    model.train()(clips_to_device(clips, CPU))
    hook.remove()
    return inputs_of_fc[0]


def smooth(model):
    """Replace the modules with kinks: where rounding flips a ReLU or the maximum of a window, gradients jump."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.ReLU):
                setattr(module, name, nn.Softplus())
            elif isinstance(child, nn.MaxPool3d):
                setattr(module, name, nn.AvgPool3d(child.kernel_size, child.stride, child.padding))
    return model


@pytest.mark.parametrize(
    ("device", "name"),
    [("cpu", "R3D"), ("cpu", "R2Plus1D"), pytest.param("cpu", "C3D", marks=pytest.mark.slow)]
    + [pytest.param("cuda", name, marks=pytest.mark.cuda) for name in ("C3D", "R3D", "R2Plus1D")],
)
def test_gradients_of_the_fast_path_are_those_of_the_plain_one(name, device):
    """Layer by layer against float64: the memory format and precision of training are off by no more than a small
    multiple of what contiguous float32 is off."""
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
    model.to(memory_format=torch.channels_last_3d)
    dtype = amp_dtype(device)
    autocast = torch.autocast(device.type, dtype, enabled=dtype is not None)
    fast = relative_errors(gradients(model, stacked.permute(0, 4, 1, 2, 3), autocast), exact)
    for layer, error in fast.items():
        assert error < (0.1 if dtype else 5 * max(plain[layer], 1e-5)), (layer, error, plain[layer])


def test_the_loss_of_mixed_precision_is_a_float32():
    torch.manual_seed(0)
    model, autocast = (
        nn.Sequential(nn.Flatten(), nn.Linear(12, 3)),
        torch.autocast("cpu", torch.bfloat16),
    )
    batch, labels = torch.rand(8, 1, 2, 2, 3), torch.arange(8) % 3
    with autocast:
        logits = model(clips_to_device(batch, CPU))
    assert logits.dtype is torch.bfloat16
    expected = F.cross_entropy(logits.double(), labels).item()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1)
    state = TrainState()
    train_one_epoch(model, [(batch, labels)], optimizer, scheduler, NO_SCALER, autocast, state)
    assert state.loss_sum / 8 == pytest.approx(expected, rel=1e-6)


class LimitedModel(nn.Linear):
    """A model on a GPU whose memory holds so many clips, forwards or backwards."""

    def __init__(self, limit, is_backward):
        super().__init__(3, 2)
        self.limit, self.is_backward = limit, is_backward

    def forward(self, x):
        def fill(gradient=None):
            if len(x) > self.limit:
                raise torch.OutOfMemoryError("CUDA out of memory.")

        if not self.is_backward:
            fill()
        logits = super().forward(x.float().mean((2, 3, 4)))
        logits.register_hook(fill)
        return logits


@pytest.mark.parametrize("is_backward", [False, True])
@pytest.mark.parametrize("limit, told", [(1, 1), (5, 5), (6, 5), (7, 6)])  # a sixth is left free
def test_a_batch_too_large_for_the_memory_is_refused_with_one_that_fits(
    monkeypatch, limit, told, is_backward
):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")
    model = LimitedModel(limit, is_backward)
    before = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1)
    loader = [(torch.ones(8, 2, 4, 4, 3, dtype=torch.uint8), torch.zeros(8, dtype=torch.long))]
    with pytest.raises(
        UsageError, match=f"--batch-size 8: too large for the memory of a GPU; {told} would fit"
    ):
        train_one_epoch(model, loader, optimizer, scheduler, NO_SCALER, FLOAT32, TrainState())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_where_not_a_single_clip_fits_the_words_of_cuda_are_kept():
    model = LimitedModel(0, False)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1)
    loader = [(torch.ones(8, 2, 4, 4, 3, dtype=torch.uint8), torch.zeros(8, dtype=torch.long))]
    with pytest.raises(torch.OutOfMemoryError, match="CUDA out of memory"):
        train_one_epoch(model, loader, optimizer, scheduler, NO_SCALER, FLOAT32, TrainState())


def test_an_epoch_is_one_step_a_batch_and_its_sums_are_over_clips():
    torch.manual_seed(0)
    model = Tiny(num_classes=2)
    model.dropout.p = 0
    optimizer = torch.optim.SGD([model.fc.bias], 0.1)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1)
    loader = [
        (torch.randint(0, 256, (n, 2, 16, 16, 3), dtype=torch.uint8), torch.zeros(n).long())
        for n in (4, 2)
    ]
    bias, expected = model.fc.bias.detach().clone(), []
    for batch, labels in loader:
        logits = model.fc(features(model, batch)) - model.fc.bias + bias.requires_grad_()
        loss = F.cross_entropy(logits, labels)
        expected.append((len(labels), loss.item(), (logits.argmax(1) == labels).sum().item()))
        bias = (bias - 0.1 * torch.autograd.grad(loss, bias)[0]).detach()
    state = TrainState()
    train_one_epoch(model, loader, optimizer, scheduler, NO_SCALER, FLOAT32, state)
    assert state.loss_sum == pytest.approx(
        sum(count * loss for count, loss, _ in expected), rel=1e-4
    )
    assert (state.num_correct, state.num_samples) == (sum(correct for *_, correct in expected), 6)
    assert state == TrainState(
        num_samples=6, loss_sum=state.loss_sum, num_correct=state.num_correct
    )
    assert torch.allclose(model.fc.bias, bias, atol=1e-6)
    assert scheduler.last_epoch == 2


def test_an_epoch_in_two_parts_is_the_epoch():
    def start():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.Dropout(), nn.Linear(8, 2))
        optimizer = torch.optim.SGD(model.parameters(), 0.1, 0.9)
        return (
            model,
            optimizer,
            torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step)),
        )

    loader = [(torch.rand(2, 1, 2, 2, 3), torch.tensor([0, 1])) for _ in range(5)]
    undisturbed, *others = start()
    expected = TrainState(epoch=3, best_epoch=2)
    train_one_epoch(undisturbed, loader, *others, NO_SCALER, FLOAT32, expected, 7)

    interrupted, *others = start()
    state = TrainState(epoch=3, best_epoch=2)
    with pytest.raises(Stopped) as stopped:
        train_one_epoch(interrupted, loader, *others, NO_SCALER, FLOAT32, state, 7, StopAfter(2))
    assert stopped.value.signum == 15
    assert state.num_samples == 4
    assert 0 < state.loss_sum < expected.loss_sum
    torch.rand(3)
    train_one_epoch(interrupted, loader[2:], *others, NO_SCALER, FLOAT32, state, 7, StopAfter())
    assert state == expected
    for one, other in zip(undisturbed.parameters(), interrupted.parameters(), strict=True):
        assert torch.equal(one, other)

    other_seed, *others = start()
    other_state = TrainState(epoch=3, best_epoch=2)
    train_one_epoch(other_seed, loader, *others, NO_SCALER, FLOAT32, other_state, 8)
    assert other_state != expected


def test_a_signal_in_the_last_step_stops_with_the_whole_epoch_done():
    state = TrainState()
    with pytest.raises(Stopped) as stopped:
        train_on_losses(LossModel(), [20.0, 30.0], state, stop_signal=StopAfter(2, signum=2))
    assert stopped.value.signum == 2
    assert (state.num_samples, state.loss_sum) == (2, pytest.approx(50))


def train_on_losses(model, losses, state, **options):
    """Train on batches of one clip with such losses; the optimizer sets the weight to the loss."""
    optimizer = torch.optim.SGD(model.parameters(), 1.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1)
    loader = [(torch.full((1, 1, 1, 1, 1), loss), torch.tensor([0])) for loss in losses]
    train_one_epoch(model, loader, optimizer, scheduler, NO_SCALER, FLOAT32, state, **options)


class LossModel(nn.Module):
    """Logits whose cross-entropy is about the number in the clip; the weight takes it too."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        return torch.stack([-x.flatten() - self.weight + self.weight.detach(), torch.zeros(1)], 1)


def test_the_first_loss_that_is_not_finite_is_named_by_its_position():
    state = TrainState()
    train_on_losses(LossModel(), [20.0, 30.0], state)
    assert (state.loss_sum, state.num_correct, state.num_samples) == (pytest.approx(50), 0, 2)
    for losses, position in (
        ([1.0, float("nan"), float("inf"), 1.0], 1),
        ([1.0, 1.0, float("-inf")], 2),
    ):
        with pytest.raises(NonFiniteLossError) as error:
            train_on_losses(LossModel(), losses, TrainState())
        assert error.value.position == position
    with pytest.raises(NonFiniteLossError) as error:
        train_on_losses(LossModel(), [1.0, float("nan")], replace(state))
    assert error.value.position == 2 + 1  # in the epoch, not in this part of it


def test_weights_that_are_not_finite_after_the_last_step_are_an_error():
    model = LossModel()
    model.weight.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(NonFiniteLossError) as error:
        train_on_losses(model, [1.0], TrainState())
    assert error.value.position == 0


def test_losses_that_are_synchronized_together_are_looked_at_one_by_one():
    losses = [
        (position, torch.tensor(value)) for position, value in ((4, 1.0), (8, 2.0), (12, 3.0))
    ]
    assert sync_losses(losses) == 6
    assert losses == []
    losses = [
        (4, torch.tensor(1.0)),
        (8, torch.tensor(float("nan"))),
        (12, torch.tensor(float("nan"))),
    ]
    with pytest.raises(NonFiniteLossError) as error:
        sync_losses(losses)
    assert error.value.position == 8


class NumberedClips(Dataset):
    """Clips whose first pixel is their number."""

    windows, classes = 2, ["a", "b", "c"]
    repeats = np.ones(1000, np.int64)
    labels, video_indices = np.arange(500) % 3, np.arange(1000) // 2

    def __len__(self):
        return 1000

    def __getitem__(self, number):
        return torch.full((1, 1, 1, 1), number % 256, dtype=torch.uint8), number // 2 % 3


class FirstPixelModel(nn.Module):
    """A model that is sure of the class that the first pixel tells."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return 10 * F.one_hot(x.flatten(1)[:, 0].long() % 3, 3).float()


def test_an_evaluation_keeps_every_video_in_order_and_no_file_open():
    resource = pytest.importorskip("resource")
    loader = DataLoader(NumberedClips(), 7, num_workers=1)
    num_open = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").is_dir() else 100
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (num_open + 60, hard))  # batches: 143
    try:
        evaluation = evaluate(FirstPixelModel(), loader, FLOAT32)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert evaluation.labels.tolist() == [number % 3 for number in range(500)]
    predicted = (torch.arange(1000) % 256 % 3).unflatten(0, (500, 2))
    assert torch.equal(evaluation.probabilities.argmax(2), predicted)
    expected = F.cross_entropy(
        10 * F.one_hot(predicted.flatten(), 3).float(), torch.arange(1000) // 2 % 3
    )
    assert evaluation.metrics["loss"] == pytest.approx(expected.item(), rel=1e-5)


def test_a_signal_stops_an_evaluation_after_the_batch():
    num_batches, model = [], FirstPixelModel()
    model.register_forward_hook(lambda module, inputs, output: num_batches.append(1))
    with pytest.raises(Stopped) as stopped:
        evaluate(model, DataLoader(NumberedClips(), 200), FLOAT32, StopAfter(3, signum=2))
    assert stopped.value.signum == 2
    assert len(num_batches) == 3


@pytest.mark.parametrize("length", [1, 16, 17, 20, 25, 26, 90])
def test_windows_that_are_the_same_are_computed_once_and_count_as_often(tmp_path, length):
    """Against the plain way, which computes every window of every video."""
    videos = [
        VideoRecord("test", name, f"v{i}", f"g{i}", f"v{i}.avi", length + i, 1e9, "test")
        for i in range(2)
        for name in "ab"
    ]
    for video in videos:
        video.folder(tmp_path).mkdir(parents=True)
        for number in range(video.frames):
            frame = numbered_frame(10 * number % 256, 171, 128)
            cv2.imwrite(str(video.folder(tmp_path) / f"{number + 1:05d}.jpg"), frame)
    config = ClipConfig.from_flags(16)
    dataset = VideoDataset(tmp_path, videos, "test", ["a", "b"], config, windows=10)
    num_places = [min(max(video.frames - 15, 1), 10) for video in videos]
    assert len(dataset) == sum(num_places)
    torch.manual_seed(0)
    model, batch_sizes = Tiny(2).eval(), []
    model.register_forward_hook(lambda module, inputs, output: batch_sizes.append(len(output)))
    evaluation = evaluate(model, DataLoader(dataset, 3), FLOAT32)
    assert sum(batch_sizes) == sum(num_places)

    probabilities, losses = [], []
    for video, label in zip(videos, (0, 1, 0, 1), strict=True):
        for window in range(10):
            start = round(window * max(video.frames - 16, 0) / 9)
            numbers = [min(start + i, video.frames - 1) for i in range(16)]
            files = [f"{video.folder(tmp_path)}/{number + 1:05d}.jpg" for number in numbers]
            clip = torch.from_numpy(make_clip(map(cv2.imread, files), config))
            logits = model(clip[None].permute(0, 4, 1, 2, 3)).detach()
            probabilities.append(logits.softmax(1))
            losses.append(F.cross_entropy(logits, torch.tensor([label])).item())
    probabilities = torch.cat(probabilities).unflatten(0, (4, 10))
    torch.testing.assert_close(evaluation.probabilities, probabilities)
    assert evaluation.labels.tolist() == [0, 1, 0, 1]
    assert evaluation.metrics["loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    plain = compute_metrics(probabilities, evaluation.labels, ["a", "b"])
    assert {key: value for key, value in evaluation.metrics.items() if key != "loss"} == plain


def test_a_rank_with_fewer_batches_looks_for_a_signal_as_often():
    class OtherHasNine(Distributed):
        def all_reduce_max(self, number):
            return max(number, 9) if number == len(loader) else number

    signal, loader = StopAfter(), DataLoader(NumberedClips(), 200)
    evaluation = evaluate(FirstPixelModel(), loader, FLOAT32, signal, OtherHasNine())
    assert len(loader) == 5
    assert signal.asked == 9
    assert len(evaluation.labels) == 500


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
    assert ("training in float32" in capsys.readouterr().out) == (expected is None)
    assert amp_dtype(CPU) is None


def test_the_learning_rate_rises_and_falls_once():
    factors = [lr_factor("cosine", step, 20, 10) for step in range(200)]
    assert max(factors) == factors[19] == 1
    assert factors[:20] == sorted(factors[:20])
    assert factors[19:] == sorted(factors[19:], reverse=True)
    assert lr_factor("cosine", 200, 20, 10) == 0
    assert lr_factor("cosine", 0, 1, 1) == 1


def test_the_step_scheduler_falls_to_a_tenth_every_ten_epochs():
    factors = [lr_factor("step", step, 25, 3) for step in range(75)]
    assert factors == pytest.approx([1] * 30 + [0.1] * 30 + [0.01] * 15)


def train_once(model, batches, **options):
    """One pass over batches of (clips, labels) at a learning rate of 0.1."""
    params = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(params, 0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
    state = TrainState()
    train_one_epoch(model, batches, optimizer, scheduler, NO_SCALER, FLOAT32, state, **options)
    return state, scheduler.last_epoch


def random_batches(sizes):
    generator = torch.Generator().manual_seed(0)
    clips = torch.randint(0, 256, (sum(sizes), 4, 8, 8, 3), dtype=torch.uint8, generator=generator)
    labels = torch.arange(sum(sizes)) % 3
    return list(zip(clips.split(sizes), labels.split(sizes), strict=True))


def frozen_tiny():
    torch.manual_seed(0)
    model = Tiny(3)
    model.norm.requires_grad_(False)
    model.dropout.p = 0
    return model.double()


def test_accumulated_batches_are_one_step_with_the_mean_of_their_gradients():
    small, large = frozen_tiny(), frozen_tiny()
    state, steps = train_once(small, random_batches([2] * 6), accumulate=3)
    expected, expected_steps = train_once(large, random_batches([6] * 2))
    assert steps == expected_steps == 2
    assert (state.num_samples, state.num_correct) == (expected.num_samples, expected.num_correct)
    assert state.loss_sum == pytest.approx(expected.loss_sum, rel=1e-6)
    for (name, one), other in zip(small.named_parameters(), large.parameters(), strict=True):
        torch.testing.assert_close(
            one, other, rtol=1e-5, atol=1e-8, msg=name
        )  # the loss is a float32


def test_a_signal_waits_for_the_batches_of_its_step():
    signal = StopAfter(2)
    with pytest.raises(Stopped):
        train_once(frozen_tiny(), random_batches([2] * 6), accumulate=3, stop_signal=signal)
    state = TrainState()
    model = frozen_tiny()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1)
    with pytest.raises(Stopped):
        train_one_epoch(
            model,
            random_batches([2] * 6),
            optimizer,
            scheduler,
            NO_SCALER,
            FLOAT32,
            state,
            accumulate=3,
            stop_signal=StopAfter(1),
        )
    assert (state.num_samples, scheduler.last_epoch) == (6, 1)


def test_frozen_batch_norm_keeps_its_statistics_and_the_others_learn():
    model = frozen_tiny()
    before = copy.deepcopy(model.state_dict())
    train_once(model, random_batches([4, 4]))
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]) == key.startswith("norm."), key
    model.norm.requires_grad_(True)
    train_once(model, random_batches([4]))
    assert not torch.equal(model.norm.running_mean, before["norm.running_mean"])


def test_label_smoothing_and_the_norm_of_the_gradient():
    model = frozen_tiny()
    model.norm.eval()
    clips, labels = random_batches([6])[0]
    logits = model(clips_to_device(clips, CPU))
    targets = 0.9 * F.one_hot(labels, 3) + 0.1 / 3
    expected = -(targets * logits.log_softmax(1)).sum(1).mean()
    gradient = torch.autograd.grad(expected, [p for p in model.parameters() if p.requires_grad])
    norm = torch.cat([g.flatten() for g in gradient]).norm()
    before = [p.detach().clone() for p in model.parameters() if p.requires_grad]
    state, _ = train_once(model, [(clips, labels)], label_smoothing=0.1, clip_grad=norm.item() / 4)
    assert state.loss_sum / 6 == pytest.approx(expected.item(), rel=1e-6)
    after = [p.detach() for p in model.parameters() if p.requires_grad]
    for one, other, g in zip(before, after, gradient, strict=True):
        torch.testing.assert_close(one - other, 0.1 * g / 4, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("balance", ["loss", "sampler"])
def test_a_class_twenty_times_as_rare_is_recalled_when_classes_are_balanced(balance):
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [400, 20])
    brightness = np.where(labels, 150, 100) + 40 * rng.standard_normal(420)
    pixels = brightness[:, None, None, None, None] + 10 * rng.standard_normal((420, 2, 4, 4, 3))
    clips = torch.from_numpy(pixels.clip(0, 255).astype(np.uint8))
    dataset = VideoDataset(".", [], "train", ["common", "rare"], ClipConfig())
    dataset.labels = labels
    weights = dataset.class_weights()
    assert weights[labels].mean() == pytest.approx(1) and weights[1] == pytest.approx(
        20 * weights[0]
    )

    def recall(class_weights=None, video_weights=()):
        torch.manual_seed(0)
        model = Tiny(2)
        sampler = DistributedBatchSampler(420, 20, 0, weights=video_weights)
        for sampler.epoch in range(1, 6):
            batches = [[index for index, _ in batch] for batch in sampler]
            batches = [(clips[batch], torch.from_numpy(labels)[batch]) for batch in batches]
            train_once(model, batches, class_weights=class_weights)
        predictions = model.eval()(clips_to_device(clips, CPU)).argmax(1).numpy()
        return (predictions[labels == 1] == 1).mean()

    plain = recall()
    if balance == "loss":
        balanced = recall(class_weights=torch.from_numpy(weights))
    else:
        balanced = recall(video_weights=weights[labels])
        sampler = DistributedBatchSampler(420, 20, 0, weights=weights[labels])
        assert 0.4 < labels[sampler.order()].mean() < 0.6
        assert (
            len({tuple(key) for batch in sampler for _, key in batch}) == 420
        )  # a clip of its own each time
    assert plain < 0.3 and balanced > 0.6


def test_an_epoch_has_whole_steps_alone(tmp_path):
    sampler = DistributedBatchSampler(23, 2, 0, accumulate=3)
    assert len(sampler) == len(list(sampler)) == 9
    sampler.start = 6
    assert len(sampler) == 6
    sampler.epoch = 2
    for position, step in ((0, 4), (6, 5), (12, 6)):
        message = NonFiniteLossError(position).describe(sampler, ["a.avi"] * 23, tmp_path)
        assert f"not finite in step {step} (epoch 2), of a.avi, a.avi. " in message
