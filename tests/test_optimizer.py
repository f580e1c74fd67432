import pytest
import torch
from configs import train_config
from tiny import Tiny

from engine.optimizer import (
    build_optimizer,
    build_scheduler,
    cosine,
    last_learning_rate,
    set_step,
    step_decay,
)


def test_the_learning_rate_rises_and_falls_once():
    factors = [cosine(step, epochs=20, steps_per_epoch=10) for step in range(200)]
    assert max(factors) == factors[19] == 1
    assert factors[:20] == sorted(factors[:20])
    assert factors[19:] == sorted(factors[19:], reverse=True)
    assert cosine(200, epochs=20, steps_per_epoch=10) == 0
    assert cosine(0, epochs=1, steps_per_epoch=1) == 1


def test_the_step_schedule_falls_to_a_tenth_every_ten_epochs():
    factors = [step_decay(step, epochs=25, steps_per_epoch=3) for step in range(75)]
    assert factors == pytest.approx([1] * 30 + [0.1] * 30 + [0.01] * 15)


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
    assert last_learning_rate(other) == 0.2 * cosine(6, epochs=5, steps_per_epoch=4)
    torch.testing.assert_close(rates[1], 10 * rates[0])
