"""The processes that train one model together, as `torchrun` starts them."""

import contextlib
import gc
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed, nn

from engine.errors import Stopped, StopSignal, UsageError

# Rank 0 may preprocess for days while the other ranks wait at a barrier.
TIMEOUT = timedelta(days=30)


@dataclass(frozen=True)
class Distributed:
    """This process in its process group; the defaults describe a start without `torchrun`.

    Control messages and sums use the gloo backend. On CUDA gradients and SyncBatchNorm use NCCL.

    Attributes:
        rank: The number of this process.
        world_size: How many processes train together.
        local_rank: The number of this process on its machine.
        local_world_size: How many there are on its machine.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1

    @classmethod
    def from_env(cls) -> "Distributed":
        """Read the environment variables that `torchrun` sets."""
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        if not all(name in os.environ for name in names):
            return cls()
        return cls(*[int(os.environ[name]) for name in names])

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, which prints, logs and saves."""
        return self.rank == 0

    @contextlib.contextmanager
    def only_rank_0_prints(self) -> Iterator[None]:
        """Print nothing in the block on all other ranks."""
        if self.is_main:
            yield
            return
        with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):
            yield

    def init(self) -> None:
        """Initialize the process group, where `torchrun` has started this process."""
        if self.world_size > 1 or distributed.is_torchelastic_launched():
            distributed.init_process_group("gloo", timeout=TIMEOUT)

    def destroy(self) -> None:
        """Destroy the process group.

        No DistributedDataParallel model may be left, or PyTorch can abort at the exit.
        """
        if distributed.is_initialized():
            gc.collect()
            distributed.destroy_process_group()

    def select_device(self, name: str) -> torch.device:
        """Return a device; "cuda" is the GPU of this local rank.

        Raises:
            UsageError: The device cannot be used, or there are fewer GPUs than processes.
        """
        if self.world_size > 1 and name.startswith("cuda"):
            needed, count = self.local_world_size, torch.cuda.device_count()
            if name != "cuda":
                raise UsageError(
                    f"--device {name}: {needed} processes take a GPU each; leave the number out"
                )
            if needed > count:
                raise UsageError(
                    f"--device {name}: {needed} processes need a GPU each, and there are {count}"
                )
            torch.cuda.set_device(self.local_rank)
            name = f"cuda:{self.local_rank}"
        try:
            torch.ones(1, device=name).item()
        except (RuntimeError, AssertionError) as error:
            raise UsageError(f"--device {name}: {str(error).splitlines()[0][:200]}") from None
        return torch.device(name)

    def wrap_ddp(self, model: nn.Module) -> nn.Module:
        """Wrap a model on its device in DistributedDataParallel, where there is a process group.

        On CUDA its batch norm becomes SyncBatchNorm.
        """
        if not distributed.is_initialized():
            return model
        # The layout of 1x1x1 weights has two names.
        warnings.filterwarnings("ignore", "Grad strides do not match")
        device = next(model.parameters()).device
        if device.type == "cpu":
            return nn.parallel.DistributedDataParallel(model)
        nccl = distributed.new_group(backend="nccl")
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model, nccl)
        return nn.parallel.DistributedDataParallel(model, [device], process_group=nccl)

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.world_size > 1:
            distributed.barrier()

    def all_reduce_sum(self, tensor: Tensor) -> None:
        """Replace a tensor, in place, by its sum over all processes."""
        if self.world_size > 1:
            distributed.all_reduce(tensor)

    def all_reduce_min(self, number: int) -> int:
        """Return the smallest `number` of all processes."""
        return -self.all_reduce_max(-number)

    def all_reduce_max(self, number: int) -> int:
        """Return the largest `number` of all processes."""
        largest = torch.tensor(number)
        if self.world_size > 1:
            distributed.all_reduce(largest, distributed.ReduceOp.MAX)
        return largest.item()

    def raise_if_stopped(self, stop_signal: StopSignal | None) -> None:
        """Raise Stopped on all processes where any of them has received a signal."""
        signum = self.any_signal(stop_signal)
        if signum is not None:
            raise Stopped(signum)

    def any_signal(self, stop_signal: StopSignal | None) -> int | None:
        """Return the signal that any process has received; None where there is none."""
        received = 0  # which is no signal
        if stop_signal is not None and stop_signal.signum is not None:
            received = stop_signal.signum
        return self.all_reduce_max(received) or None

    def broadcast_model(self, model: nn.Module) -> None:
        """Broadcast the parameters and buffers of `model` from rank 0 to all processes."""
        if self.world_size > 1:
            for tensor in model.state_dict().values():
                received = tensor.cpu().contiguous()
                distributed.broadcast(received, 0)
                tensor.copy_(received)

    def broadcast_object(self, value: Any) -> Any:
        """Broadcast `value` from rank 0 to all processes."""
        values = [value]
        if self.world_size > 1:
            distributed.broadcast_object_list(values, 0)
        return values[0]


SINGLE = Distributed()  # without other processes
