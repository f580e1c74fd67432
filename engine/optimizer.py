"""The optimizer of a run and the schedule of its learning rate."""

import math
from functools import partial

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from engine.config import TrainConfig

OPTIMIZERS = {"sgd": SGD, "adam": Adam, "adamw": AdamW}
WARMUP_SHARE = 10  # one of so many steps, for the schedule "cosine"
STEP_EPOCHS = 10  # between two falls of the schedule "step" without milestones


def build_optimizer(
    config: TrainConfig, model: nn.Module, new_head: str | None, *, fused: bool = True
) -> Optimizer:
    """Build the optimizer of what is not frozen.

    Args:
        config: Of the run.
        model: On its device.
        new_head: The name of a new last layer on pretrained ones, which learns at a rate of its
            own; None where there is none.
        fused: Whether a step is one pass over the parameters.
    """
    head_params = list(model.get_submodule(new_head).parameters()) if new_head else []
    is_in_head = {id(param) for param in head_params}
    others = [p for p in model.parameters() if p.requires_grad and id(p) not in is_in_head]
    groups = [
        {"params": others, "lr": config.lr},
        {"params": head_params, "lr": config.head_lr * config.lr},
    ]
    options = {"weight_decay": config.weight_decay, "fused": fused}
    if config.momentum is not None:
        options["momentum"] = config.momentum
    groups = [group for group in groups if group["params"]]
    return OPTIMIZERS[config.optimizer](groups, config.lr, **options)


def build_scheduler(config: TrainConfig, optimizer: Optimizer, steps_per_epoch: int) -> LambdaLR:
    """Build the schedule, which is asked before every step.

    Args:
        config: Of the run.
        optimizer: What it schedules; all groups follow the same curve.
        steps_per_epoch: Steps of the optimizer in an epoch.
    """
    factor = partial(rate_factor, config=config, steps_per_epoch=steps_per_epoch)
    return LambdaLR(optimizer, factor)


def rate_factor(step: int, config: TrainConfig, steps_per_epoch: int) -> float:
    """Return the learning rate of a step, as a fraction of its peak.

    It rises linearly during the warm-up, then follows the schedule.

    Args:
        step: The number of the step, from 0.
        config: Of the run.
        steps_per_epoch: Steps in an epoch.
    """
    warmup = warmup_steps(config, steps_per_epoch)
    if step < warmup:
        return (step + 1) / warmup
    return SCHEDULES[config.lr_scheduler](step, config, steps_per_epoch)


def warmup_steps(config: TrainConfig, steps_per_epoch: int) -> int:
    """Return how many steps the warm-up has; by default only the schedule "cosine" has any.

    Args:
        config: Of the run.
        steps_per_epoch: Steps in an epoch.
    """
    if config.warmup_epochs is not None:
        return round(config.warmup_epochs * steps_per_epoch)
    if config.lr_scheduler == "cosine":
        return max(1, config.epochs * steps_per_epoch // WARMUP_SHARE)
    return 0


def cosine(step: int, config: TrainConfig, steps_per_epoch: int) -> float:
    """Return the fraction of the peak rate after the warm-up: half a cosine down to 0.

    Args:
        step: The number of the step, from 0.
        config: Of the run.
        steps_per_epoch: Steps in an epoch.
    """
    warmup = warmup_steps(config, steps_per_epoch)
    num_steps = config.epochs * steps_per_epoch
    return (1 + math.cos(math.pi * (step - warmup) / max(1, num_steps - warmup))) / 2


def step_decay(step: int, config: TrainConfig, steps_per_epoch: int) -> float:
    """Return the fraction of the peak rate after the warm-up: `gamma` times less each milestone.

    Args:
        step: The number of the step, from 0.
        config: Of the run. Without milestones, the rate falls every ten epochs.
        steps_per_epoch: Steps in an epoch.
    """
    epoch = step // steps_per_epoch
    if config.milestones is None:
        falls = epoch // STEP_EPOCHS
    else:
        falls = sum(milestone <= epoch for milestone in config.milestones)
    return config.gamma**falls


SCHEDULES = {"cosine": cosine, "step": step_decay}


def set_step(scheduler: LambdaLR, step: int) -> None:
    """Continue a schedule at a step, from 0, and set the learning rates of that step.

    Args:
        scheduler: Of a run that is resumed.
        step: Steps that are done.
    """
    scheduler.last_epoch = step
    for group, base, factor in zip(
        scheduler.optimizer.param_groups, scheduler.base_lrs, scheduler.lr_lambdas, strict=True
    ):
        group["lr"] = base * factor(step)


def last_learning_rate(scheduler: LambdaLR) -> float:
    """Return the rate of the last step, of the first group; the scheduler has that of the next."""
    return scheduler.base_lrs[0] * scheduler.lr_lambdas[0](scheduler.last_epoch - 1)
