"""One pass over the clips of a loader, to train a network or to measure it."""

import math

import torch
from torch.nn import functional as F

from network import report
from network.distributed import World

ALONE = World()
NEVER = 2**62
FETCH = 20  # steps on CUDA after which the losses are fetched: each time the card runs dry


class NotFinite(Exception):
    """The loss was not finite from a step on; `position` is how many clips of the epoch came before it."""

    def __init__(self, position):
        super().__init__(position)
        self.position = position


def to_device(batch, device):
    """(N, T, H, W, 3) becomes (N, 3, T, H, W) on the device, a view that already is `channels_last_3d`."""
    clips, labels = (tensor.to(device, non_blocking=True) for tensor in batch)
    return clips.permute(0, 4, 1, 2, 3), labels


def learning_rate(schedule, step, epochs, batches):
    """The share of --lr at a step, in a run of `epochs` of `batches` steps each.

    cosine: a linear rise over the first tenth of the steps, then half a cosine down to 0.
    step: a tenth of what it was after every tenth epoch.
    """
    if schedule == "step":
        return 0.1 ** (step // (10 * batches))
    steps = epochs * batches
    rise = max(1, steps // 10)
    if step < rise:
        return (step + 1) / rise
    return (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise))) / 2


def train_epoch(
    network, loader, optimizer, scheduler, scaler, autocast, seed=0, sums=(0, 0, 0), stop=lambda: 0, world=ALONE
):
    """Train a network on every batch once.

    Args:
        loader: an iterable of (clips, labels) as `VideoDataset` gives them, stacked.
        seed: with the number of the step, what dropout draws from.
        sums: what an interrupted epoch returned, whose remaining batches these are.
        stop: asked after every step whether to leave the rest.
        world: the processes that train together, each with its own loader.

    Returns:
        (loss, hits, clips): sums over the clips seen by all processes; `clips` is their number.

    Raises:
        NotFinite: the loss of some process is, from a step on, or the weights are after the last; all raise the same.
    """
    network.train()
    device = next(network.parameters()).device
    loss_sum, hits, seen = sums if world.rank == 0 else (0, 0, sums[2])
    hits, losses, position = torch.tensor(hits, dtype=torch.long, device=device), [], seen
    for batch in loader:
        step = scheduler.last_epoch * world.size + world.rank
        torch.manual_seed((1_000_003 * seed + step) % 2**32)  # the CPU's generator reads 32 bits
        clips, labels = to_device(batch, device)
        with autocast:
            logits = network(clips)
            loss = F.cross_entropy(logits, labels)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        scheduler.step()
        hits += (logits.argmax(1) == labels).sum()
        losses.append((seen, loss.detach() * len(labels)))
        position, seen = seen, seen + len(labels) * world.size
        stopped = stop()
        if stopped or device.type == "cpu" or len(losses) == FETCH:
            loss_sum += fetch(losses, world)
        if stopped:
            break
    loss_sum += fetch(losses, world)
    if world.most(int(not all(tensor.isfinite().all() for tensor in network.state_dict().values()))):
        raise NotFinite(position)
    totals = torch.tensor([loss_sum, hits.item()], dtype=torch.float64)
    world.sum(totals)
    return totals[0].item(), int(totals[1]), seen


def fetch(losses, world=ALONE):
    """Empty a list of (position, loss) and return the sum; NotFinite where one is not finite in any process."""
    values = torch.stack([loss for _, loss in losses]).tolist() if losses else []
    bad = [position for (position, _), value in zip(losses, values, strict=True) if not math.isfinite(value)]
    losses.clear()
    if (first := -world.most(-min(bad, default=NEVER))) < NEVER:
        raise NotFinite(first)
    return sum(values)


@torch.inference_mode()
def evaluate(network, loader, autocast, stop=lambda: 0, world=ALONE):
    """Measure a network on the fixed clips of every video.

    Args:
        loader: of the clips whose numbers its sampler gives; those of all processes together are the whole data set.
        stop: asked after every batch whether to leave the rest.
        world: the processes that measure together.

    Returns:
        What `report.measure` gives, and "loss", the mean cross-entropy of the clips; "labels" (videos,) and
        "probabilities" (videos, windows, classes), tensors on the CPU. A window that a video has several times goes
        through the network once and counts as often. None where `stop` says so.
    """
    network.eval()
    dataset, device = loader.dataset, next(network.parameters()).device
    loss, seen, items = torch.zeros((), device=device), 0, torch.tensor(list(loader.sampler))
    repeats = torch.from_numpy(dataset.repeats)
    # Filled in place: a list of small tensors would tear memory apart, and hold a file open for each batch of labels.
    every_label = torch.zeros(len(dataset), dtype=torch.long, device=device)
    every_probability = torch.zeros(len(dataset), len(dataset.classes), device=device)
    batches = iter(loader)
    for _ in range(world.most(len(loader))):  # all ask `stop` equally often
        if (batch := next(batches, None)) is not None:
            clips, labels = to_device(batch, device)
            with autocast:
                logits = network(clips)
            logits = logits.float()
            batch = items[seen : seen + len(labels)]
            loss += F.cross_entropy(logits, labels, reduction="none") @ repeats[batch].to(device, logits.dtype)
            every_label[batch], every_probability[batch] = labels, logits.softmax(1)
            seen += len(labels)
        if stop():
            return None
    loss, every_label, every_probability = loss.cpu().double(), every_label.cpu(), every_probability.cpu()
    world.sum(loss, every_label, every_probability)
    probabilities = every_probability.repeat_interleave(repeats, 0).unflatten(0, (-1, dataset.windows))
    labels = every_label.repeat_interleave(repeats)[:: dataset.windows]
    measured = report.measure(probabilities, labels, dataset.classes)
    return measured | {"loss": loss.item() / repeats.sum().item(), "labels": labels, "probabilities": probabilities}
