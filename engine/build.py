"""The model, the optimizer, its schedule and its precision."""

import math
import sys
from argparse import Namespace

import torch
from torch import nn

from engine.errors import UsageError
from network import build_model, head_of, weights
from network.weights import TABLE, PretrainedModel, describe_clip


def load_weights(name: str) -> PretrainedModel:
    """Load a file of weights, or public ones by name ("help" lists them); ModelError where that fails."""
    if name == "help":
        print(TABLE.read_text(encoding="utf-8"), end="")
        sys.exit()
    return weights.load_weights(name)


def load_pretrained(args: Namespace, weights: str) -> PretrainedModel:
    """Load the model that a run starts from, and freeze its stages.
    Sets `args.input` and, where no flag does, the clips. UsageError where the flags name another model."""
    model = load_weights(weights)
    if (model.name, model.options.get("depth", 18)) != (args.model, args.depth):
        depth = f" --depth {model.options['depth']}" if "depth" in model.options else ""
        raise UsageError(f"{weights}: these weights go with --model {model.name}{depth}")
    trained_with = model.model.normalize.statistics["input"]
    if args.input not in (None, trained_with):
        raise UsageError(
            f"--input {args.input}: {weights} was trained with {trained_with}; leave the flag out"
        )
    args.input = trained_with
    args.clip_len = model.clip["clip_len"] if args.clip_len is None else args.clip_len
    if args.frame_interval is args.frame_rate is None:
        args.frame_interval, args.frame_rate = (
            model.clip.get("frame_interval"),
            model.clip.get("frame_rate"),
        )
    print(
        f"{weights}: trained on clips of {describe_clip(model.clip)}; this run: {describe_clip(vars(args))}"
    )
    freeze(model.model, args.freeze, model.name)
    return model


def freeze(model: nn.Module, last: str, network: str) -> None:
    """Freeze the stages up to `last`, or "none", or all but the last layer ("backbone"); UsageError for another."""
    names = dict.fromkeys(
        name.partition(".")[0] for name, _ in model.named_parameters()
    )  # in order
    stages = [name for name in names if name != head_of(model)]
    choices = ["none", *stages, "backbone"]
    if last not in choices:
        raise UsageError(f"--freeze {last}: {network} has {', '.join(choices)}")
    for name in stages[: choices.index(last)]:
        model.get_submodule(name).requires_grad_(False)


def create_model(
    args: Namespace, options: dict, classes: list[str], pretrained: PretrainedModel | None
) -> tuple:
    """Build the model of a new run, or give a pretrained one a new last layer where the classes differ.
    Returns (model, head): head names the last layer where it is new on top of pretrained ones, else it is None."""
    torch.manual_seed(args.seed)
    model, head = pretrained and pretrained.model, None
    if not pretrained:
        args.input = args.input or "residual"
        model = build_model(args.model, len(classes), **options)
        model.normalize.set(**model.normalize.statistics | {"input": args.input})
    else:
        known = pretrained.num_classes
        if known != len(classes) or pretrained.classes not in (None, classes):
            head = head_of(model)
            model.set_submodule(
                head, build_model(args.model, len(classes), **options).get_submodule(head)
            )
        print(f"the weights know {known or 0} classes" + (f"; {head} is new" if head else ""))
    if args.dropout is not None:
        model.dropout.p = options["dropout"] = args.dropout
    return model, head


def create_optimizer(
    args: Namespace, model: nn.Module, head: str | None, fused: bool
) -> torch.optim.SGD:
    """Build the optimizer of what is not frozen; a new head on pretrained layers has a learning rate of its own."""
    head_params = list(model.get_submodule(head).parameters()) if head else []
    others = [
        p
        for p in model.parameters()
        if p.requires_grad and not any(p is other for other in head_params)
    ]
    groups = {"params": others}, {"params": head_params, "lr": args.head_lr * args.lr}
    groups = [group for group in groups if group["params"]]
    return torch.optim.SGD(
        groups, args.lr, args.momentum, weight_decay=args.weight_decay, fused=fused
    )


def lr_factor(name: str, step: int, epochs: int, steps_per_epoch: int) -> float:
    """Return the learning rate of a step, from 0, as a fraction of --lr.
    "cosine" is a linear warmup over the first tenth of the steps, then half a cosine down to 0; "step" divides by ten
    after every tenth epoch."""
    if name == "step":
        return 0.1 ** (step // (10 * steps_per_epoch))
    num_steps = epochs * steps_per_epoch
    warmup = max(1, num_steps // 10)
    if step < warmup:
        return (step + 1) / warmup
    return (1 + math.cos(math.pi * (step - warmup) / max(1, num_steps - warmup))) / 2


def last_lr(scheduler: torch.optim.lr_scheduler.LambdaLR) -> float:
    """Return the learning rate of the last step; the scheduler itself has that of the next."""
    return scheduler.base_lrs[0] * scheduler.lr_lambdas[0](scheduler.last_epoch - 1)


def validate_batch_norm(args: Namespace, clip_shape: tuple[int, int, int], options: dict) -> None:
    """Raise UsageError where batch norm would see one value per channel, which has no variance.

    Args:
        args: The flags, of which `model` and `batch_size` count.
        clip_shape: (T, H, W).
        options: Those of the model.
    """
    if args.batch_size > 1:
        return
    with torch.device("meta"):
        model = build_model(args.model, 2, **options)
        try:
            model(torch.empty(1, 3, *clip_shape))
        except ValueError:
            size = "x".join(map(str, clip_shape))
            raise UsageError(
                f"--batch-size 1: batch norm needs two values, and {args.model} has one of a clip "
                f"of {size}; use --batch-size 2 or more, or larger clips"
            ) from None


def amp_dtype(device: torch.device) -> torch.dtype | None:
    """Return the type of mixed precision: bfloat16 or else float16; None where float32 is the better choice.
    It is where PyTorch may have wrong gradients of Conv3d: on the CPU, and, as is printed, in some releases on CUDA."""
    if device.type != "cuda":
        return None
    release = torch.__version__.split("+")[0]
    cudnn = torch.backends.cudnn.version() or 0
    if release.startswith(("2.9.", "2.10.")) and 90800 <= cudnn < 91500:
        print(
            f"PyTorch {release} with cuDNN {cudnn} has wrong gradients in mixed precision: training in float32"
        )
        return None
    return (
        torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    )
