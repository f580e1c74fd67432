"""The model, the optimizer, its schedule and its precision."""

import math
import os
from argparse import Namespace

import torch
from torch import nn

from engine.errors import UsageError
from network import build_model
from network.pretrained import load_public

HEAD_LR_FACTOR = 10  # learning rate of a new last layer on top of pretrained ones, in units of --lr


def load_pretrained(args: Namespace, weights: str | None) -> nn.Module | None:
    """Load the model of a file of weights, if one is named, and set `args.input` to what it was trained with.

    OSError or ModelError where it cannot be read, UsageError where the flags name another model.
    """
    if not weights:
        return None
    weights = os.path.expanduser(weights)
    if not os.path.isfile(weights):
        raise FileNotFoundError(f"{weights}: no such file of weights; --pretrained takes what mypath.py names")
    model = load_public(weights)
    if (model.name, model.options.get("depth", 18)) != (args.model, args.depth):
        depth = f" --depth {model.options['depth']}" if "depth" in model.options else ""
        raise UsageError(f"{weights}: these weights go with --model {model.name}{depth}")
    trained_with = model.normalize.statistics["input"]
    if args.input not in (None, trained_with):
        raise UsageError(f"--input {args.input}: {weights} was trained with {trained_with}; leave the flag out")
    args.input = trained_with
    return model


def create_model(
    args: Namespace, options: dict, classes: list[str], pretrained: nn.Module | None
) -> tuple[nn.Module, str | None]:
    """Build the model of a new run, or give a pretrained one a new last layer where the classes differ.

    Returns (model, head): head names the last layer where it is new on top of pretrained ones.
    """
    torch.manual_seed(args.seed)
    if not pretrained:
        args.input = args.input or "residual"
        model = build_model(args.model, len(classes), **options)
        model.normalize.set(**model.normalize.statistics | {"input": args.input})
        return model, None
    head = pretrained.head
    num_classes = getattr(pretrained.get_submodule(head), "out_features", 0)
    is_new = num_classes != len(classes) or pretrained.classes not in (None, classes)
    if is_new:
        new_model = build_model(args.model, len(classes), **pretrained.options)
        pretrained.set_submodule(head, new_model.get_submodule(head))
    print(f"the weights know {num_classes} classes" + (f"; {head} is new" if is_new else ""))
    return pretrained, head if is_new else None


def create_optimizer(args: Namespace, model: nn.Module, head: str | None, fused: bool) -> torch.optim.SGD:
    """Build the optimizer; a new head on pretrained layers has a higher learning rate."""
    head_params = list(model.get_submodule(head).parameters()) if head else []
    backbone_params = [p for p in model.parameters() if not any(p is other for other in head_params)]
    groups = [{"params": backbone_params}]
    if head:
        groups.append({"params": head_params, "lr": HEAD_LR_FACTOR * args.lr})
    return torch.optim.SGD(groups, args.lr, args.momentum, weight_decay=args.weight_decay, fused=fused)


def lr_factor(name: str, step: int, epochs: int, steps_per_epoch: int) -> float:
    """Return the learning rate of a step, from 0, as a fraction of --lr.

    By the name "cosine" it is a linear warmup over the first tenth of the steps followed by half a cosine down to 0; by
    "step", a tenth after every tenth epoch.
    """
    if name == "step":
        return 0.1 ** (step // (10 * steps_per_epoch))
    num_steps = epochs * steps_per_epoch
    warmup = max(1, num_steps // 10)
    if step < warmup:
        return (step + 1) / warmup
    return (1 + math.cos(math.pi * (step - warmup) / max(1, num_steps - warmup))) / 2


def amp_dtype(device: torch.device) -> torch.dtype | None:
    """Return the type of mixed precision: bfloat16 or else float16; None where float32 is the better choice.

    It is on the CPU, where bfloat16 gradients of Conv3d can be wrong in PyTorch. It also is on CUDA with the releases
    that are known for the same, which is printed.
    """
    if device.type != "cuda":
        return None
    release = torch.__version__.split("+")[0]
    cudnn = torch.backends.cudnn.version() or 0
    if release.startswith(("2.9.", "2.10.")) and 90800 <= cudnn < 91500:
        print(f"PyTorch {release} with cuDNN {cudnn} has wrong gradients in mixed precision: training in float32")
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
