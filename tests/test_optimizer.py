import pytest
import torch
from configs import train_config
from tiny import Tiny
from torch.optim.lr_scheduler import LinearLR, MultiStepLR, SequentialLR

from engine.optimizer import (
    build_optimizer,
    build_scheduler,
    last_learning_rate,
    rate_factor,
    set_step,
)


def factors(steps_per_epoch=10, **flags):
    """The learning rate of each step of a run, and of the one after the last, in units of --lr."""
    config = train_config(**flags)
    num_steps = config.epochs * steps_per_epoch
    return [rate_factor(step, config, steps_per_epoch) for step in range(num_steps + 1)]


def test_the_learning_rate_rises_and_falls_once():
    rates = factors(epochs=20)
    assert max(rates) == rates[19] == 1
    assert rates[:20] == sorted(rates[:20])
    assert rates[19:] == sorted(rates[19:], reverse=True)
    assert rates[200] == 0
    assert factors(epochs=1, steps_per_epoch=1)[0] == 1


def test_the_step_schedule_falls_to_a_tenth_every_ten_epochs():
    rates = factors(epochs=25, steps_per_epoch=3, lr_scheduler="step")
    assert rates[:75] == pytest.approx([1] * 30 + [0.1] * 30 + [0.01] * 15)


def torch_rates(scheduler, steps):
    """The rates that a scheduler of PyTorch gives."""
    rates = []
    for _ in range(steps):
        rates.append(scheduler.optimizer.param_groups[0]["lr"])
        scheduler.optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.filterwarnings("ignore:The epoch parameter")
def test_milestones_and_warm_up_are_those_of_pytorch():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1)
    # PyTorch counts the milestones of the second scheduler from the end of the warm-up.
    warmup = LinearLR(optimizer, start_factor=1 / 6, total_iters=5)
    falls = MultiStepLR(optimizer, [24 - 6, 40 - 6], gamma=0.3)
    expected = torch_rates(SequentialLR(optimizer, [warmup, falls], [6]), 64)
    rates = factors(
        epochs=16,
        steps_per_epoch=4,
        lr_scheduler="step",
        milestones=(6, 10, 40),
        gamma=0.3,
        warmup_epochs=1.5,
    )
    assert rates[:64] == pytest.approx(expected)


def test_a_warm_up_of_a_cosine_is_as_long_as_asked_for():
    rates = factors(epochs=4, warmup_epochs=2)
    assert rates[:20] == pytest.approx([(step + 1) / 20 for step in range(20)])
    assert rates[20:31:5] == pytest.approx([1, 0.8535534, 0.5], abs=1e-6)
    assert factors(epochs=4, warmup_epochs=0)[0] == 1


def test_a_gamma_of_one_keeps_the_rate():
    assert set(factors(epochs=30, steps_per_epoch=1, lr_scheduler="step", gamma=1.0)) == {1}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sgd", (torch.optim.SGD, {"momentum": 0.8})),
        ("adam", (torch.optim.Adam, {"betas": (0.9, 0.999)})),
        ("adamw", (torch.optim.AdamW, {"betas": (0.9, 0.999)})),
    ],
)
def test_the_optimizer_is_the_one_asked_for(name, expected):
    momentum = 0.8 if name == "sgd" else None
    config = train_config(optimizer=name, momentum=momentum, lr=0.2, weight_decay=0.03)
    optimizer = build_optimizer(config, Tiny(3), None)
    kind, options = expected
    assert type(optimizer) is kind
    options = {"lr": 0.2, "weight_decay": 0.03, **options}
    assert {key: optimizer.defaults[key] for key in options} == options


def test_a_new_last_layer_has_a_rate_of_its_own_and_frozen_ones_none():
    model = Tiny(3)
    model.conv.requires_grad_(False)
    config = train_config(lr=0.2, head_lr=5)
    optimizer = build_optimizer(config, model, "fc")
    others, head = optimizer.param_groups
    assert (others["lr"], head["lr"]) == (0.2, 1.0)
    assert {id(p) for p in head["params"]} == {id(p) for p in model.fc.parameters()}
    assert {id(p) for p in others["params"]} == {id(p) for p in model.norm.parameters()}
    assert len(build_optimizer(config, model, None).param_groups) == 1


def test_a_schedule_that_is_continued_has_the_rates_of_one_that_was_not():
    model = Tiny(3)
    config = train_config(epochs=5, lr=0.2)

    def start():
        optimizer = build_optimizer(config, model, "fc")
        return optimizer, build_scheduler(config, optimizer, steps_per_epoch=4)

    optimizer, scheduler = start()
    continued, other = start()
    for _ in range(7):
        optimizer.step()
        scheduler.step()
    set_step(other, 7)
    rates = [group["lr"] for group in optimizer.param_groups]
    assert [group["lr"] for group in continued.param_groups] == rates
    assert last_learning_rate(other) == 0.2 * factors(epochs=5, steps_per_epoch=4)[6]
    torch.testing.assert_close(rates[1], 10 * rates[0])
