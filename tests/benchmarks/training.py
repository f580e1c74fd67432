"""Networks that are trained."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from itertools import islice
from statistics import median

import numpy as np
import torch
from configs import train_config
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.data import train_dataset, train_loader
from benchmarks.timing import CUDA_COLUMNS, make_row, run_by_turns
from engine.checkpoint import TrainState
from engine.criterion import CrossEntropy
from engine.precision import choose_precision
from engine.trainer import Trainer
from network import MODELS, move_to_device

TRAIN_SIZES = {"cpu": [(2, 2)], "cuda": [(16, 1024), (64, 2048)]}  # clips of a batch, and in all
# Dense bf16 matrix products, FLOP/s, from the data sheets; the first name that occurs in that of
# the card counts.
PEAKS = {"H100 PCIe": 756e12, "H100": 989.4e12, "H200": 989.4e12, "A100": 312e12}


@cache
def count_flops(name):
    """FLOPs of forward and backward for a clip; those of convolutions and linear layers count."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        MODELS[name](4)(torch.empty(1, 3, 16, 112, 112)).sum().backward()
    return counter.get_total_flops()


@cache
def bf16_peak(card):
    """FLOP/s of a card, by its name; measured by a large matrix product where it is not known."""
    for name, peak in PEAKS.items():
        if name in card:
            return peak
    device = "cuda" if torch.cuda.is_available() else "cpu"
    side = 8192 if device == "cuda" else 256
    matrix = torch.randn(side, side, dtype=torch.bfloat16, device=device)

    def multiply():
        for _ in range(10):
            product = matrix @ matrix
        product[0, 0].item()
        return 10 * 2 * side**3

    return median(run_by_turns(3, multiply=multiply)["multiply"])


def fast_model(name, num_classes, device, is_compiled):
    """A network as train.py builds it."""
    model = move_to_device(MODELS[name](num_classes), device)
    if is_compiled:
        torch.compiler.reset()  # or another batch size would be compiled for any
        model.compile()
    return model


def forward_and_backward(model, pixels):
    """One step without an optimizer."""
    with choose_precision(pixels.device, mixed=True).autocast():
        labels = torch.zeros(len(pixels), dtype=torch.long, device=pixels.device)
        loss = cross_entropy(model(pixels.permute(0, 4, 1, 2, 3)), labels)
    loss.backward()
    model.zero_grad()


def resident_clips(batch_size, device):
    """A batch that is on the device already."""
    return torch.randint(0, 256, (batch_size, 16, 112, 112, 3), dtype=torch.uint8, device=device)


def compile_once(name, num_classes, batch_size, device):
    """Compile a network for a batch size."""
    model = fast_model(name, num_classes, device, is_compiled=True)
    forward_and_backward(model, resident_clips(batch_size, device))


def compile_ahead(names, num_classes, batch_sizes, device):
    """Compile all networks at once, each in a process that leaves its kernels in the disk's cache.

    What fails here is compiled again when its row is measured, and fails there.
    """
    jobs = [(name, num_classes, batch_size, device) for name in names for batch_size in batch_sizes]
    with ProcessPoolExecutor(len(jobs), multiprocessing.get_context("spawn")) as pool:
        for job in jobs:
            pool.submit(compile_once, *job)


def time_train(videos, work_dir, device, effort):
    """Clips a second of each network."""
    dataset = train_dataset(videos, work_dir)
    torch.backends.cudnn.benchmark = True
    for batch_size, num_clips in TRAIN_SIZES[device.type]:
        loader = train_loader(dataset, batch_size, num_clips, device)
        for name in MODELS:
            if device.type == "cuda":
                yield from train_on_cuda(name, device, loader)
            else:
                yield train_on_cpu(name, device, loader, effort.rounds)
    torch.backends.cudnn.benchmark = False


def train_on_cpu(name, device, loader, rounds):
    """A row: the classic loop and ours from frames on disk, and a step on clips at hand."""
    num_classes = len(loader.dataset.classes)
    model = fast_model(name, num_classes, device, is_compiled=False)
    speeds = run_by_turns(
        rounds,
        classic=classic_way(name, device, loader, num_batches=len(loader)),
        ours=epoch_way(model, device, loader),
        floor=resident_way(model, device, loader.batch_size, num_batches=len(loader)),
    )
    return make_row(f"train {name}, clips/s", **speeds)


def train_on_cuda(name, device, loader):
    """Two rows like that of the CPU, the second with --compile; the classic way has fewer clips."""
    batch_size = loader.batch_size
    num_classes = len(loader.dataset.classes)
    num_batches = 128 // batch_size
    classic = run_by_turns(1, warm_ups=1, classic=classic_way(name, device, loader, num_batches))[
        "classic"
    ]
    for is_compiled in (False, True):
        torch.cuda.reset_peak_memory_stats()
        model = fast_model(name, num_classes, device, is_compiled)
        floor = run_by_turns(
            1, warm_ups=1, floor=resident_way(model, device, batch_size, num_batches)
        )["floor"]
        # Without a warm-up, as the kernels have been chosen by now.
        ours = run_by_turns(1, ours=epoch_way(model, device, loader))["ours"]
        work = f"train {name}, {batch_size}{' compiled' if is_compiled else ''}, clips/s"
        row = make_row(work, classic, ours, floor)
        share, memory = CUDA_COLUMNS
        row[share] = row["ours"] * count_flops(name) / bf16_peak(torch.cuda.get_device_name())
        row[memory] = torch.cuda.max_memory_allocated() / 2**30
        yield row


def make_sgd(model, **options):
    """The optimizer of train.py."""
    return torch.optim.SGD(model.parameters(), 1e-3, 0.9, weight_decay=5e-4, **options)


def classic_way(name, device, loader, num_batches):
    """Training as such scripts do it: float32, normalised by NumPy, one loss read a step."""
    model = MODELS[name](len(loader.dataset.classes)).to(device)
    mean = model.normalize.mean.view(3).cpu().numpy()
    std = model.normalize.std.view(3).cpu().numpy()
    model.normalize = torch.nn.Identity()
    sgd = make_sgd(model)

    def train():
        # Without the search for the fastest kernels.
        with torch.backends.cudnn.flags(enabled=True):
            for pixels, targets in islice(loader, num_batches):
                floats = (pixels.numpy().astype(np.float32) - mean) / std
                inputs = np.ascontiguousarray(floats.transpose(0, 4, 1, 2, 3))
                sgd.zero_grad()
                logits = model(torch.from_numpy(inputs).to(device))
                loss = cross_entropy(logits, targets.to(device))
                loss.backward()
                sgd.step()
                loss.item()
        return num_batches * loader.batch_size

    return train


def epoch_way(model, device, loader):
    """An epoch of train.py."""
    precision = choose_precision(device, mixed=True)
    sgd = make_sgd(model, fused=not precision.needs_scaler)
    constant = torch.optim.lr_scheduler.LambdaLR(sgd, lambda step: 1)
    trainer = Trainer(train_config(), model, CrossEntropy(), constant, precision=precision)

    def run():
        trainer.state = TrainState()
        trainer.train_epoch(loader)
        wait_for(device)
        return len(loader) * loader.batch_size

    return run


def resident_way(model, device, batch_size, num_batches):
    """Forward and backward alone, on clips that are at hand: an upper bound."""
    pixels = resident_clips(batch_size, device)

    def run():
        for _ in range(num_batches):
            forward_and_backward(model, pixels)
        wait_for(device)
        return num_batches * batch_size

    return run


def wait_for(device):
    """Wait until the device has done its work."""
    if device.type == "cuda":
        torch.cuda.synchronize()
