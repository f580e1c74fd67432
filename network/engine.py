"""One pass over the clips of a loader, to train a network or to measure it."""

import signal

import torch
from torch.nn import functional as F

from network import report


def to_device(batch, device):
    """(N, T, H, W, 3) becomes (N, 3, T, H, W) on the device, a view that already is `channels_last_3d`."""
    clips, labels = (tensor.to(device, non_blocking=True) for tensor in batch)
    return clips.permute(0, 4, 1, 2, 3), labels


class Signals:
    """SIGINT and SIGTERM, noted the first time, so that a step can be finished, and obeyed the second time.

    `Signals()` is called to ask for the number of the signal that came, or None.
    """

    def __init__(self):
        self.came = None
        self.before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}

    def _note(self, number, frame):
        self.came = number
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def __call__(self):
        return self.came


def train_epoch(network, loader, optimizer, scheduler, scaler, autocast, seed=0, sums=(0, 0, 0), stop=lambda: None):
    """Train a network on every batch once.

    Args:
        loader: an iterable of (clips, labels) as `VideoDataset` gives them, stacked.
        seed: with the number of the step, what dropout draws from.
        sums: what an interrupted epoch returned, whose remaining batches these are.
        stop: asked after every step whether to leave the rest.

    Returns:
        (loss, hits, clips): sums over the clips seen; `clips` is their number.
    """
    network.train()
    device = next(network.parameters()).device
    seen, totals = sums[2], torch.tensor(sums[:2], dtype=torch.float32, device=device)  # fetched at the end only
    for batch in loader:
        torch.manual_seed((1_000_003 * seed + scheduler.last_epoch) % 2**32)  # the CPU's generator reads 32 bits
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
        if stop():
            break
    return *totals.tolist(), seen


@torch.inference_mode()
def evaluate(network, loader, autocast, stop=lambda: None):
    """Measure a network on the fixed clips of every video.

    Returns:
        What `report.measure` gives, and "loss", the mean cross-entropy of the clips; "labels" (videos,) and
        "probabilities" (videos, windows, classes), tensors on the CPU. None where `stop`, asked after every batch, says
        so.
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
        if stop():
            return None
    probabilities = every_probability.cpu().unflatten(0, (-1, dataset.windows))
    labels = every_label.cpu()[:: dataset.windows]
    measured = report.measure(probabilities, labels, dataset.classes)
    return measured | {"loss": loss.item() / len(dataset), "labels": labels, "probabilities": probabilities}
