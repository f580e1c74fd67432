"""One pass over the clips of a loader, to train a network or to measure it."""

import torch
from torch.nn import functional as F

from network import report


def to_device(batch, device):
    """(N, T, H, W, 3) becomes (N, 3, T, H, W) on the device, a view that already is `channels_last_3d`."""
    clips, labels = (tensor.to(device, non_blocking=True) for tensor in batch)
    return clips.permute(0, 4, 1, 2, 3), labels


def train_epoch(network, loader, optimizer, scheduler, scaler, autocast):
    """Train a network on every batch once.

    Args:
        loader: an iterable of (clips, labels) as `VideoDataset` gives them, stacked.

    Returns:
        (loss, accuracy): means over the clips.
    """
    network.train()
    device = next(network.parameters()).device
    seen, totals = 0, torch.zeros(2, device=device)  # nothing is fetched from the device before the end
    for batch in loader:
        clips, labels = to_device(batch, device)
        with autocast:
            logits = network(clips)
            loss = F.cross_entropy(logits, labels)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        scheduler.step()
        totals += torch.stack([loss.detach() * len(labels), (logits.argmax(1) == labels).sum()])
        seen += len(labels)
    return (totals / seen).tolist()


@torch.inference_mode()
def evaluate(network, loader, autocast):
    """Measure a network on the fixed clips of every video.

    Returns:
        What `report.measure` gives, and "loss", the mean cross-entropy of the clips; "labels" (videos,) and
        "probabilities" (videos, windows, classes), tensors on the CPU.
    """
    network.eval()
    dataset, device = loader.dataset, next(network.parameters()).device
    loss, seen = 0, 0
    # Filled in place: a list of small tensors would tear memory apart, and hold a file open for each batch of labels.
    every_label = torch.empty(len(dataset), dtype=torch.long, device=device)
    every_probability = torch.empty(len(dataset), len(dataset.classes), device=device)
    for batch in loader:
        clips, labels = to_device(batch, device)
        with autocast:
            logits = network(clips)
        logits = logits.float()
        loss += F.cross_entropy(logits, labels, reduction="sum")
        batch = slice(seen, seen + len(labels))
        every_label[batch], every_probability[batch] = labels, logits.softmax(1)
        seen += len(labels)
    probabilities = every_probability.cpu().unflatten(0, (-1, dataset.windows))
    labels = every_label.cpu()[:: dataset.windows]
    measured = report.measure(probabilities, labels, dataset.classes)
    return measured | {"loss": loss.item() / len(dataset), "labels": labels, "probabilities": probabilities}
