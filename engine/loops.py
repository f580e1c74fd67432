"""One pass over the clips of a loader, to train a model or to evaluate it."""

import contextlib
import math
import traceback
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader

from engine.checkpoint import TrainState
from engine.distributed import Distributed
from engine.errors import NonFiniteLossError, Stopped, StopSignal, UsageError
from engine.metrics import compute_metrics

SYNC_INTERVAL = 20  # steps on CUDA between two reads of the losses, each of which waits for the GPU
NEVER = 2**62
SINGLE = Distributed()  # without other processes


def clips_to_device(clips: Tensor, device: torch.device) -> Tensor:
    """Move clips (N, T, H, W, 3) to the device and view them as (N, 3, T, H, W), which is `channels_last_3d`."""
    return clips.to(device, non_blocking=True).permute(0, 4, 1, 2, 3)


def train_one_epoch(
    model: nn.Module,
    loader: Iterable[tuple[Tensor, Tensor]],
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
    scaler: torch.amp.GradScaler,
    autocast: torch.autocast,
    state: TrainState,
    seed: int = 0,
    stop_signal: StopSignal | None = None,
    distributed: Distributed = SINGLE,
    label_smoothing: float = 0,
    accumulate: int = 1,
    clip_grad: float | None = None,
    class_weights: Tensor | None = None,
) -> None:
    """Train a model on every batch of a loader once; its frozen batch norm keeps its statistics.
    Each rank has a loader of its own, of batches (clips, labels), clips `uint8` (N, T, H, W, 3). A step averages the
    gradients of `accumulate` batches, and cuts their norm to `clip_grad`. The sums in `state` are updated in place.
    Raises Stopped after the step in which any rank received a signal; NonFiniteLossError on all ranks where a loss is
    not finite on any, or the weights are not in the end; UsageError where the batch does not fit the GPU's memory."""
    model.train()
    for module in model.modules():
        if isinstance(module, _BatchNorm) and not module.weight.requires_grad:
            module.eval()
    device = next(model.parameters()).device
    loss_sum, num_correct = (state.loss_sum, state.num_correct) if distributed.is_main else (0.0, 0)
    num_correct = torch.tensor(num_correct, dtype=torch.long, device=device)
    losses, position, signum = [], state.num_samples, 0
    loss_options = {"weight": class_weights, "label_smoothing": label_smoothing}
    optimizer.zero_grad()
    for number, (clips, labels) in enumerate(loader):
        place = number % accumulate  # in the step
        key = (
            scheduler.last_epoch * accumulate + place
        ) * distributed.world_size + distributed.rank
        torch.manual_seed((1_000_003 * seed + key) % 2**32)  # the CPU's generator reads 32 bits
        clips, labels = clips_to_device(clips, device), labels.to(device, non_blocking=True)
        is_last = place == accumulate - 1
        sync = (
            model.no_sync()
            if distributed.world_size > 1 and not is_last
            else contextlib.nullcontext()
        )
        try:
            with sync:
                loss, logits = _backward(
                    model, clips, labels, scaler, autocast, loss_options, accumulate
                )
            if is_last:
                if clip_grad:
                    scaler.unscale_(optimizer)
                    nn.utils.clip_grad_norm_(model.parameters(), clip_grad)
                scaler.step(optimizer)
                scaler.update()
                optimizer.zero_grad()
                scheduler.step()
        except torch.OutOfMemoryError as error:
            traceback.clear_frames(error.__traceback__)  # they hold the activations
            if not (
                fitting := largest_batch_size(getattr(model, "module", model), clips, autocast)
            ):
                raise
            reason = f"too large for the memory of {torch.cuda.get_device_name(device)}"
            advice = f"{fitting} would fit, and go with a smaller --lr"
            raise UsageError(f"--batch-size {len(clips)}: {reason}; {advice}") from None
        num_correct += (logits.argmax(1) == labels).sum()
        position = state.num_samples
        losses.append((position, loss * len(labels)))
        state.num_samples += len(labels) * distributed.world_size
        signum = distributed.all_reduce_max(stop_signal.signum if stop_signal and is_last else 0)
        if signum or device.type == "cpu" or len(losses) == SYNC_INTERVAL:
            loss_sum += sync_losses(losses, distributed)
        if signum:
            break
    loss_sum += sync_losses(losses, distributed)
    if distributed.all_reduce_max(
        int(not all(tensor.isfinite().all() for tensor in model.state_dict().values()))
    ):
        raise NonFiniteLossError(position)
    totals = torch.tensor([loss_sum, num_correct.item()], dtype=torch.float64)
    distributed.all_reduce_sum(totals)
    state.loss_sum, state.num_correct = totals[0].item(), int(totals[1])
    if signum:
        raise Stopped(signum)


def _backward(
    model, clips, labels, scaler, autocast, loss_options, accumulate
) -> tuple[Tensor, Tensor]:
    """Add the gradients of a batch to those of the step, and return its loss and logits."""
    with autocast:
        logits = model(
            clips
        ).float()  # or cross_entropy would round the logarithms of probabilities to 8 bits
    loss = F.cross_entropy(logits, labels, reduction="sum", **loss_options) / len(labels)
    scaler.scale(loss / accumulate).backward()
    return loss.detach(), logits.detach()


def largest_batch_size(model: nn.Module, clips: Tensor, autocast: torch.autocast) -> int:
    """Find by bisection how many of the clips of a batch that does not fit into the memory of the GPU would.
    A sixth is left free: cuDNN chooses the kernels of training by trial, and these need more memory than those here."""
    model.zero_grad()
    model.eval()  # statistics of batch norm stay as they are, and are not sent to other processes
    params = [param for param in model.parameters() if param.requires_grad]
    momentum = [torch.empty_like(param) for param in params]  # noqa: F841, which a first step has not allocated yet
    low, high = 0, len(clips)
    while high - low > 1:
        batch_size = (low + high) // 2
        torch.cuda.empty_cache()
        try:
            with (
                autocast,
                torch.compiler.set_stance("force_eager"),
                torch.backends.cudnn.flags(enabled=True),
            ):
                torch.autograd.grad(model(clips[:batch_size]).float().square().sum(), params)
            low = batch_size
        except torch.OutOfMemoryError as error:
            traceback.clear_frames(error.__traceback__)
            high = batch_size
    return low - low // 6


def sync_losses(losses: list[tuple[int, Tensor]], distributed: Distributed = SINGLE) -> float:
    """Empty a list of (position, loss) and return the sum; NonFiniteLossError for the first not finite on any rank."""
    values = torch.stack([loss for _, loss in losses]).tolist() if losses else []
    positions = [
        position
        for (position, _), value in zip(losses, values, strict=True)
        if not math.isfinite(value)
    ]
    losses.clear()
    if (first := -distributed.all_reduce_max(-min(positions, default=NEVER))) < NEVER:
        raise NonFiniteLossError(first)
    return sum(values)


class Evaluation(NamedTuple):
    """What `evaluate` returns, tensors on the CPU."""

    metrics: dict[
        str, Any
    ]  # of `metrics.compute_metrics`, and "loss", the mean cross-entropy of the clips
    labels: Tensor  # (videos,)
    probabilities: Tensor  # (videos, windows, classes), the softmax of each window


@torch.inference_mode()
def evaluate(
    model: nn.Module, loader: DataLoader, autocast, stop_signal=None, distributed=SINGLE
) -> Evaluation:
    """Evaluate a model on the windows of every video; Stopped after the batch in which a signal was received.
    A window that a video has several times passes through the model once, and counts as often as it occurs. The
    sampler of the loader has the items of this rank, those of all ranks are the whole data set."""
    model.eval()
    dataset, device = loader.dataset, next(model.parameters()).device
    items, repeats = torch.tensor(list(loader.sampler)), torch.from_numpy(dataset.repeats)
    logits, num_done = torch.zeros(len(dataset), len(dataset.classes), device=device), 0
    batches = iter(loader)
    for _ in range(
        distributed.all_reduce_max(len(loader))
    ):  # every rank looks for a signal equally often
        if (batch := next(batches, None)) is not None:
            clips, count = clips_to_device(batch[0], device), len(batch[0])
            if (
                device.type == "cuda"
            ):  # each shape costs seconds of cuDNN's search, or a compilation
                clips = F.pad(clips, (0, 0) * 4 + (0, loader.batch_size - count))
            with autocast:
                logits[items[num_done : num_done + count]] = model(clips)[:count].float()
            num_done += count
        distributed.raise_if_stopped(stop_signal)
    logits, labels = logits.cpu(), torch.from_numpy(dataset.labels)
    distributed.all_reduce_sum(logits)
    losses = F.cross_entropy(logits, labels[dataset.video_indices], reduction="none").double()
    probabilities = (
        logits.softmax(1).repeat_interleave(repeats, 0).unflatten(0, (-1, dataset.windows))
    )
    metrics = compute_metrics(probabilities, labels, dataset.classes)
    return Evaluation(
        metrics | {"loss": (losses @ repeats.double() / repeats.sum()).item()},
        labels,
        probabilities,
    )
