import copy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from configs import train_config
from tiny import Tiny
from torch import nn
from torch.nn import functional as F

from dataloaders.dataset import TrainClips
from dataloaders.samplers import DistributedBatchSampler
from dataloaders.sampling import ClipConfig
from engine.checkpoint import TrainState
from engine.criterion import CrossEntropy
from engine.distributed import Distributed
from engine.errors import CheckpointError, NonFiniteLossError, Stopped, UsageError
from engine.evaluation import clips_to_device
from engine.loss_meter import LossMeter
from engine.precision import Precision
from engine.trainer import Trainer

CPU = torch.device("cpu")
FLOAT32 = Precision(CPU, None)


class StopAfter:
    """A stop signal that comes during the step of such a number, from 1; None comes at 0."""

    def __init__(self, step=0, signum=15):
        self.step, self.number, self.asked = step, signum, 0

    @property
    def signum(self):
        self.asked += 1
        return self.number if self.asked >= self.step > 0 else None


def make_trainer(model, rate=0.1, momentum=0.0, factor=None, precision=FLOAT32, **flags):
    """A trainer by SGD; `flags` are those of the configuration."""
    params = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(params, rate, momentum=momentum)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor or (lambda step: 1))
    config = train_config(**flags)
    weights = flags.pop("class_weights", None)
    criterion = CrossEntropy(weights, config.label_smoothing)
    return Trainer(config, model, criterion, scheduler, precision=precision)


def features(model, clips):
    """The input of the last layer for stacked clips, in training."""
    inputs_of_fc = []
    hook = model.fc.register_forward_hook(
        lambda module, inputs, output: inputs_of_fc.append(inputs[0].detach())
    )
    model.train()(clips_to_device(clips, CPU))
    hook.remove()
    return inputs_of_fc[0]


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


def test_the_loss_of_mixed_precision_is_a_float32():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    batch, labels = torch.rand(8, 1, 2, 2, 3), torch.arange(8) % 3
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(clips_to_device(batch, CPU))
    assert logits.dtype is torch.bfloat16
    expected = F.cross_entropy(logits.double(), labels).item()
    trainer = make_trainer(model, precision=Precision(CPU, torch.bfloat16))
    assert trainer.train_epoch([(batch, labels)]).loss == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("is_backward", [False, True])
def test_a_batch_too_large_for_the_memory_is_one_line(monkeypatch, is_backward):
    class LimitedModel(nn.Linear):
        def forward(self, x):
            def fail(*_):
                raise torch.OutOfMemoryError("CUDA out of memory.")

            if not is_backward:
                fail()
            logits = super().forward(x.float().mean((2, 3, 4)))
            logits.register_hook(fail)
            return logits

    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")
    batches = [(torch.ones(8, 2, 4, 4, 3, dtype=torch.uint8), torch.zeros(8, dtype=torch.long))]
    with pytest.raises(UsageError, match="^--batch-size 8: too large for the memory of a GPU; try"):
        make_trainer(LimitedModel(3, 2)).train_epoch(batches)


def test_an_epoch_is_one_step_a_batch_and_its_sums_are_over_clips():
    torch.manual_seed(0)
    model = Tiny(num_classes=2)
    model.dropout.p = 0
    model.requires_grad_(False)
    model.norm.requires_grad_(True)  # its statistics are those of the batch
    model.fc.bias.requires_grad_(True)
    batches = [
        (torch.randint(0, 256, (n, 2, 16, 16, 3), dtype=torch.uint8), torch.zeros(n).long())
        for n in (4, 2)
    ]
    bias, expected = model.fc.bias.detach().clone(), []
    for batch, labels in batches:
        logits = model.fc(features(model, batch)) - model.fc.bias + bias.requires_grad_()
        loss = F.cross_entropy(logits, labels)
        expected.append((len(labels), loss.item(), (logits.argmax(1) == labels).sum().item()))
        bias = (bias - 0.1 * torch.autograd.grad(loss, bias)[0]).detach()
    optimizer = torch.optim.SGD([model.fc.bias], 0.1)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1)
    trainer = Trainer(train_config(), model, CrossEntropy(), scheduler, precision=FLOAT32)
    result = trainer.train_epoch(batches)
    loss_sum = sum(count * loss for count, loss, _ in expected)
    assert result.loss == pytest.approx(loss_sum / 6, rel=1e-4)
    num_correct = sum(correct for *_, correct in expected)
    assert result.top1 == num_correct / 6
    assert trainer.state == TrainState(
        num_samples=6, loss_sum=trainer.state.loss_sum, num_correct=num_correct
    )
    assert torch.allclose(model.fc.bias, bias, atol=1e-6)
    assert scheduler.last_epoch == 2


def test_an_epoch_in_two_parts_is_the_epoch():
    batches = [(torch.rand(2, 1, 2, 2, 3), torch.tensor([0, 1])) for _ in range(5)]

    def start(seed=7):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.Dropout(), nn.Linear(8, 2))
        trainer = make_trainer(model, 0.1, 0.9, factor=lambda step: 1 / (1 + step), seed=seed)
        trainer.state = TrainState(epoch=3, best_epoch=2)
        return trainer

    undisturbed, interrupted, other_seed = start(), start(), start(seed=8)
    expected = undisturbed.train_epoch(batches)
    with pytest.raises(Stopped) as stopped:
        interrupted.train_epoch(batches, StopAfter(2))
    assert stopped.value.signum == 15
    assert interrupted.state.num_samples == 4
    assert 0 < interrupted.state.loss_sum < undisturbed.state.loss_sum
    torch.rand(3)
    result = interrupted.train_epoch(batches[2:], StopAfter())
    assert interrupted.state == undisturbed.state
    assert (result.loss, result.top1) == (expected.loss, expected.top1)
    parameters = zip(
        undisturbed.network.parameters(), interrupted.network.parameters(), strict=True
    )
    for one, other in parameters:
        assert torch.equal(one, other)
    assert other_seed.train_epoch(batches).loss != expected.loss


class LossModel(nn.Module):
    """Logits whose cross-entropy is about the number in the clip; the weight takes it too."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        return torch.stack([-x.flatten() - self.weight + self.weight.detach(), torch.zeros(1)], 1)


def batches_of(losses):
    """Batches of one clip with such losses."""
    return [(torch.full((1, 1, 1, 1, 1), loss), torch.tensor([0])) for loss in losses]


def test_a_signal_in_the_last_step_stops_with_the_whole_epoch_done():
    trainer = make_trainer(LossModel(), 1.0)
    with pytest.raises(Stopped) as stopped:
        trainer.train_epoch(batches_of([20.0, 30.0]), StopAfter(2, signum=2))
    assert stopped.value.signum == 2
    assert (trainer.state.num_samples, trainer.state.loss_sum) == (2, pytest.approx(50))


def test_the_first_loss_that_is_not_finite_is_named_by_its_position():
    trainer = make_trainer(LossModel(), 1.0)
    trainer.train_epoch(batches_of([20.0, 30.0]))
    state = trainer.state
    assert (state.loss_sum, state.num_correct, state.num_samples) == (pytest.approx(50), 0, 2)
    for losses, position in (
        ([1.0, float("nan"), float("inf"), 1.0], 1),
        ([1.0, 1.0, float("-inf")], 2),
    ):
        with pytest.raises(NonFiniteLossError) as error:
            make_trainer(LossModel(), 1.0).train_epoch(batches_of(losses))
        assert error.value.position == position
    continued = make_trainer(LossModel(), 1.0)
    continued.state = replace(state)
    with pytest.raises(NonFiniteLossError) as error:
        continued.train_epoch(batches_of([1.0, float("nan")]))
    assert error.value.position == 2 + 1  # in the epoch, not in this part of it


def test_weights_that_are_not_finite_after_the_last_step_are_an_error():
    model = LossModel()
    model.weight.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(NonFiniteLossError) as error:
        make_trainer(model, 1.0).train_epoch(batches_of([1.0]))
    assert error.value.position == 0


def test_accumulated_batches_are_one_step_with_the_mean_of_their_gradients():
    small = make_trainer(frozen_tiny(), 0.1, 0.9, factor=lambda step: 0.5**step, accumulate=3)
    large = make_trainer(frozen_tiny(), 0.1, 0.9, factor=lambda step: 0.5**step)
    one = small.train_epoch(random_batches([2] * 6))
    other = large.train_epoch(random_batches([6] * 2))
    for trainer in (small, large):
        assert trainer.state_dict()["scheduler"] == {"last_epoch": 2}
        assert trainer.state.num_samples == 12
    assert small.state.num_correct == large.state.num_correct
    assert one.loss == pytest.approx(other.loss, rel=1e-6)
    named = zip(small.network.named_parameters(), large.network.parameters(), strict=True)
    for (name, parameter), expected in named:  # the loss is a float32
        torch.testing.assert_close(parameter, expected, rtol=1e-5, atol=1e-8, msg=name)


def test_a_signal_waits_for_the_batches_of_its_step():
    trainer = make_trainer(frozen_tiny(), accumulate=3)
    with pytest.raises(Stopped):
        trainer.train_epoch(random_batches([2] * 6), StopAfter(1))
    assert trainer.state.num_samples == 6
    assert trainer.state_dict()["scheduler"] == {"last_epoch": 1}


def test_frozen_batch_norm_keeps_its_statistics_and_the_others_learn():
    model = frozen_tiny()
    before = copy.deepcopy(model.state_dict())
    make_trainer(model).train_epoch(random_batches([4, 4]))
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]) == key.startswith("norm."), key
    model.norm.requires_grad_(True)
    make_trainer(model).train_epoch(random_batches([4]))
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
    trainer = make_trainer(model, label_smoothing=0.1, clip_grad=norm.item() / 4)
    assert trainer.train_epoch([(clips, labels)]).loss == pytest.approx(expected.item(), rel=1e-6)
    after = [p.detach() for p in model.parameters() if p.requires_grad]
    for one, other, g in zip(before, after, gradient, strict=True):
        torch.testing.assert_close(one - other, 0.1 * g / 4, rtol=1e-4, atol=1e-9)


def test_the_state_of_a_run_is_restored_to_the_bit():
    batches = random_batches([3] * 4)
    one = make_trainer(frozen_tiny(), 0.1, 0.9, factor=lambda step: 0.5**step)
    one.train_epoch(batches[:2])
    saved = copy.deepcopy(one.state_dict())
    other = make_trainer(frozen_tiny(), 0.1, 0.9, factor=lambda step: 0.5**step)
    other.load_state_dict(saved)
    sampler = DistributedBatchSampler(12, 3, 0)
    other.continue_in(sampler)
    assert (sampler.epoch, sampler.start, len(sampler)) == (1, 6, 2)
    for trainer in (one, other):
        trainer.train_epoch(batches[2:])
    assert one.state == other.state and other.state.num_samples == 12
    for key, value in one.network.state_dict().items():
        assert torch.equal(other.network.state_dict()[key], value), key


def test_a_checkpoint_of_another_optimizer_is_told_as_that():
    saved = make_trainer(frozen_tiny()).state_dict()
    saved["optimizer"]["param_groups"] *= 2
    with pytest.raises(CheckpointError, match="this code builds another optimizer than the run"):
        make_trainer(frozen_tiny()).load_state_dict(saved)


@pytest.mark.parametrize("balance", ["loss", "sampler"])
def test_a_class_twenty_times_as_rare_is_recalled_when_classes_are_balanced(balance):
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [400, 20])
    brightness = np.where(labels, 150, 100) + 40 * rng.standard_normal(420)
    pixels = brightness[:, None, None, None, None] + 10 * rng.standard_normal((420, 2, 4, 4, 3))
    clips = torch.from_numpy(pixels.clip(0, 255).astype(np.uint8))
    dataset = TrainClips(".", [], ["common", "rare"], ClipConfig())
    dataset.labels = labels
    weights = dataset.class_weights()
    assert weights[labels].mean() == pytest.approx(1)
    assert weights[1] == pytest.approx(20 * weights[0])

    def recall(class_weights=None, video_weights=None):
        torch.manual_seed(0)
        model = Tiny(2)
        sampler = DistributedBatchSampler(420, 20, 0, weights=video_weights)
        for epoch in range(1, 6):
            sampler.set_position(epoch, 0)
            batches = [[index for index, _ in batch] for batch in sampler]
            batches = [(clips[batch], torch.from_numpy(labels)[batch]) for batch in batches]
            optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
            scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
            criterion = CrossEntropy(class_weights)
            Trainer(train_config(), model, criterion, scheduler, precision=FLOAT32).train_epoch(
                batches
            )
        predictions = model.eval()(clips_to_device(clips, CPU)).argmax(1).numpy()
        return (predictions[labels == 1] == 1).mean()

    plain = recall()
    if balance == "loss":
        balanced = recall(class_weights=torch.from_numpy(weights))
    else:
        balanced = recall(video_weights=weights[labels])
        sampler = DistributedBatchSampler(420, 20, 0, weights=weights[labels])
        assert 0.4 < labels[sampler.order()].mean() < 0.6
        keys = {tuple(key) for batch in sampler for _, key in batch}
        assert len(keys) == 420  # a clip of its own each time
    assert plain < 0.3 and balanced > 0.6


def test_a_loss_that_is_not_finite_on_another_process_is_an_error_of_all():
    class OtherHasOne(Distributed):
        def all_reduce_min(self, number):
            return min(number, 4)

    meter = LossMeter(CPU, OtherHasOne())
    with pytest.raises(NonFiniteLossError) as error:
        meter.add(6, torch.tensor([1.0]), torch.tensor(1))
    assert error.value.position == 4


def test_the_norm_of_the_gradient_is_that_before_it_was_scaled():
    class Scaled(Precision):
        def scaler(self):
            return torch.amp.GradScaler("cpu", init_scale=1024.0)

    plain = make_trainer(frozen_tiny().float(), clip_grad=0.01)
    scaled = make_trainer(frozen_tiny().float(), precision=Scaled(CPU, None), clip_grad=0.01)
    before = plain.network.fc.bias.detach().clone()
    for trainer in (plain, scaled):
        trainer.train_epoch(random_batches([6]))
    assert not torch.equal(plain.network.fc.bias, before)
    parameters = zip(plain.network.parameters(), scaled.network.parameters(), strict=True)
    for expected, parameter in parameters:
        torch.testing.assert_close(parameter, expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(("world_size", "accumulate"), [(1, 1), (1, 3), (2, 1)])
def test_every_batch_of_every_process_drops_other_units(world_size, accumulate):
    class WithoutOthers(Distributed):
        def all_reduce_sum(self, tensor):
            pass

        def all_reduce_max(self, number):
            return number

    kept = []
    for rank in range(world_size):
        model = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(192, 3))
        model[1].register_forward_hook(lambda module, inputs, output: kept.append(output != 0))
        trainer = make_trainer(model, accumulate=accumulate)
        trainer._distributed = WithoutOthers(rank=rank, world_size=world_size)
        trainer.train_epoch([(torch.ones(1, 1, 8, 8, 3), torch.tensor([0]))] * 6)
    assert len({tuple(mask.flatten().tolist()) for mask in kept}) == 6 * world_size


def test_the_speed_is_that_of_the_clips_of_this_start(monkeypatch):
    times = iter([10.0, 12.0, 20.0, 21.0])
    monkeypatch.setattr("engine.trainer.time", SimpleNamespace(perf_counter=times.__next__))
    trainer = make_trainer(LossModel(), 1.0)
    trainer.state = TrainState(num_samples=6, loss_sum=6.0)
    assert trainer.train_epoch(batches_of([1.0] * 4)).clips_per_second == 4 / 2
    assert trainer.train_epoch([]).clips_per_second is None
