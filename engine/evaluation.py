"""The evaluation of a network on the windows of every video, in validation and test."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dataloaders.dataset import ClipLoader
from engine.distributed import SINGLE, Distributed
from engine.errors import StopSignal
from engine.metrics import Predictions, compute_metrics
from engine.precision import Precision


def clips_to_device(clips: Tensor, device: torch.device) -> Tensor:
    """Move clips to a device, in the memory format that convolutions are fast in.

    Args:
        clips: `uint8` (N, T, H, W, C).
        device: Where the network is computed.

    Returns:
        A view (N, C, T, H, W), which is `channels_last_3d`.
    """
    return clips.to(device, non_blocking=True).permute(0, 4, 1, 2, 3)


@dataclass(frozen=True)
class Evaluation:
    """What a network predicts, and how good it is.

    Attributes:
        predictions: For every video.
        metrics: See `engine.metrics.METRICS`, and "loss", the mean over the windows.
    """

    predictions: Predictions
    metrics: dict[str, float]


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    loader: ClipLoader,
    criterion: nn.Module,
    *,
    precision: Precision,
    distributed: Distributed = SINGLE,
    stop_signal: StopSignal | None = None,
) -> Evaluation:
    """Evaluate a network on the windows of every video.

    A window that a video has several times is computed once, and counts as often as it occurs.

    Args:
        model: The network, on its device.
        loader: The items of this process, of an `EvalWindows`; those of all processes are all.
        criterion: The loss of each window.
        precision: In which the network is computed.
        distributed: The processes that evaluate together.
        stop_signal: Looked at after every batch.

    Raises:
        Stopped: A process received a signal.
    """
    model.eval()
    criterion.eval()
    dataset = loader.dataset
    logits = _compute_logits(model, loader, precision, distributed, stop_signal)
    distributed.all_reduce_sum(logits)
    labels = torch.from_numpy(dataset.labels)
    item_of_window = torch.from_numpy(dataset.item_of_window)  # (videos, windows)
    losses = criterion(
        logits.to(precision.device), labels[dataset.video_of_item].to(precision.device)
    ).cpu()
    predictions = Predictions(logits.softmax(1)[item_of_window], labels)
    metrics = compute_metrics(predictions)
    metrics["loss"] = losses[item_of_window].double().mean().item()
    return Evaluation(predictions, metrics)


def _compute_logits(
    model: nn.Module,
    loader: ClipLoader,
    precision: Precision,
    distributed: Distributed,
    stop_signal: StopSignal | None,
) -> Tensor:
    """Return the logits of all items, (items, classes) on the CPU, 0 for those of others."""
    dataset = loader.dataset
    device = precision.device
    items = torch.tensor(list(loader.sampler))
    logits = torch.zeros(len(dataset), len(dataset.classes), device=device)
    num_done = 0
    batches = iter(loader)
    # Every process looks for a signal equally often, also where it has fewer batches.
    for _ in range(distributed.all_reduce_max(len(loader))):
        batch = next(batches, None)
        if batch is not None:
            clips, _ = batch
            count = len(clips)
            clips = clips_to_device(clips, device)
            if device.type == "cuda":
                clips = _pad_batch(clips, loader.batch_size)
            with precision.autocast():
                output = model(clips)[:count].float()
            logits[items[num_done : num_done + count]] = output
            num_done += count
        distributed.raise_if_stopped(stop_signal)
    return logits.cpu()


def _pad_batch(clips: Tensor, batch_size: int) -> Tensor:
    """Fill a batch with black: each new shape costs seconds of cuDNN's search, or a compilation."""
    missing = batch_size - len(clips)
    return F.pad(clips, (0, 0) * 4 + (0, missing))
