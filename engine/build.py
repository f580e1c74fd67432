"""The model and the optimizer of a new run."""

from argparse import Namespace

import torch
from torch import nn

from engine.errors import UsageError
from network import build_model
from network.pretrained import load_pretrained

HEAD_LR_FACTOR = 10  # learning rate of a new last layer on top of pretrained ones, in units of --lr


def create_model(
    args: Namespace, options: dict, classes: list[str], weights: str | None
) -> tuple[nn.Module, str | None]:
    """Build the model of a new run.

    Returns:
        (model, head): head names the last layer where it is new on top of pretrained ones. `args.input` is set.
    """
    torch.manual_seed(args.seed)
    model = build_model(args.model, len(classes), **options)
    model.normalize.set(**model.normalize.statistics | {"input": args.input or "residual"})
    head = load_pretrained(model, weights, classes) if weights else None
    trained_with = model.normalize.statistics["input"]
    if args.input not in (None, trained_with):
        raise UsageError(f"--input {args.input}: {weights} was trained with {trained_with}; leave the flag out")
    args.input = trained_with
    return model, head


def create_optimizer(args: Namespace, model: nn.Module, head: str | None, fused: bool) -> torch.optim.SGD:
    """Build the optimizer; a new head on pretrained layers has a higher learning rate."""
    head_params = list(model.get_submodule(head).parameters()) if head else []
    backbone_params = [p for p in model.parameters() if not any(p is other for other in head_params)]
    groups = [{"params": backbone_params}]
    if head:
        groups.append({"params": head_params, "lr": HEAD_LR_FACTOR * args.lr})
    return torch.optim.SGD(groups, args.lr, args.momentum, weight_decay=args.weight_decay, fused=fused)
