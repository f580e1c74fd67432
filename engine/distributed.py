"""The processes that train one model together, as `torchrun` starts them."""

import gc
import os
import warnings
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed, nn

from engine.errors import Stopped, StopSignal, UsageError

TIMEOUT = timedelta(
    days=30
)  # rank 0 may preprocess for days while the other ranks wait at a barrier


@dataclass(frozen=True)
class Distributed:
    """This process in its process group; the defaults describe a plain start without `torchrun`.
    Control messages and sums use the gloo backend. On CUDA the gradients and SyncBatchNorm use NCCL."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1

    @classmethod
    def from_env(cls) -> "Distributed":
        """Read the environment variables that `torchrun` sets."""
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        return (
            cls(*(int(os.environ[name]) for name in names))
            if set(names) <= set(os.environ)
            else cls()
        )

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, which prints, logs and saves."""
        return self.rank == 0

    def init(self) -> None:
        """Initialize the process group, where `torchrun` has started this process."""
        if self.world_size > 1 or distributed.is_torchelastic_launched():
            distributed.init_process_group("gloo", timeout=TIMEOUT)

    def destroy(self) -> None:
        """Destroy the process group; no DistributedDataParallel model may be left, or PyTorch can abort at the exit."""
        if distributed.is_initialized():
            gc.collect()
            distributed.destroy_process_group()

    def select_device(self, name: str) -> torch.device:
        """Return the device `name`, where "cuda" is the GPU of this local rank; UsageError where it cannot be used."""
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
        """Wrap a model on its device in DistributedDataParallel; on CUDA its batch norm becomes SyncBatchNorm."""
        if not distributed.is_initialized():
            return model
        warnings.filterwarnings(
            "ignore", "Grad strides do not match"
        )  # 1x1x1 weights, whose layout has two names
        device = next(model.parameters()).device
        if device.type == "cpu":
            return nn.parallel.DistributedDataParallel(model)
        nccl = distributed.new_group(backend="nccl")
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model, nccl)
        return nn.parallel.DistributedDataParallel(model, [device], process_group=nccl)

    def barrier(self) -> None:
        if self.world_size > 1:
            distributed.barrier()

    def all_reduce_sum(self, tensor: Tensor) -> None:
        """Replace a tensor, in place, by its sum over all processes."""
        if self.world_size > 1:
            distributed.all_reduce(tensor)

    def all_reduce_max(self, number: int) -> int:
        """Return the largest `number` of all processes."""
        largest = torch.tensor(number)
        if self.world_size > 1:
            distributed.all_reduce(largest, distributed.ReduceOp.MAX)
        return largest.item()

    def raise_if_stopped(self, stop_signal: StopSignal | None) -> None:
        """Raise Stopped on all processes where any of them has received a signal."""
        if signum := self.all_reduce_max(stop_signal.signum if stop_signal else 0):
            raise Stopped(signum)

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
