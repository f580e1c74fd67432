"""Several processes that train one network, as PyTorch's torchrun starts them; a plain start is a world of one."""

import gc
import os
import warnings
from datetime import timedelta
from typing import NamedTuple

import torch
from torch import distributed, nn

from network import find_device

LONG = timedelta(days=30)  # one process may preprocess for days while the others wait


class World(NamedTuple):
    """This process among those that train together.

    What they tell each other goes over gloo; only the gradients on CUDA over NCCL, which has its usual timeout.
    """

    rank: int = 0  # which one it is
    size: int = 1  # of how many
    local_rank: int = 0  # the same on its own machine
    local_size: int = 1

    @classmethod
    def of_torchrun(cls):
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        return cls(*(int(os.environ[name]) for name in names)) if names[-1] in os.environ else cls()

    def device(self, name):
        """The device of this process where the flag said `name`; ValueError where it is not there."""
        if self.size > 1 and name.startswith("cuda"):
            if name != "cuda":
                raise ValueError(f"--device {name}: {self.local_size} processes take a GPU each; leave the number out")
            if self.local_size > (count := torch.cuda.device_count()):
                raise ValueError(f"--device {name}: {self.local_size} processes need a GPU each, and there are {count}")
            torch.cuda.set_device(self.local_rank)
            name = f"cuda:{self.local_rank}"
        return find_device(name)

    def join(self):
        """Wait for the others."""
        if self.size > 1:
            distributed.init_process_group("gloo", timeout=LONG)

    def leave(self):
        """Part from the others, with no parallel network left."""
        if self.size > 1:
            gc.collect()
            distributed.destroy_process_group()

    def parallel(self, network):
        """A network on its device that averages its gradients over all processes; batch norm too sees all their
        clips on CUDA."""
        if self.size == 1:
            return network
        warnings.filterwarnings("ignore", "Grad strides do not match")  # of 1x1x1 weights, whose layout has two names
        if next(network.parameters()).device.type == "cpu":
            return nn.parallel.DistributedDataParallel(network)
        gradients = distributed.new_group(backend="nccl")
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network, gradients)
        return nn.parallel.DistributedDataParallel(network, [self.local_rank], process_group=gradients)

    def wait(self):
        """Until all have come here."""
        if self.size > 1:
            distributed.barrier()

    def sum(self, *tensors):
        """Put the sum over all processes into each tensor."""
        if self.size > 1:
            for tensor in tensors:
                distributed.all_reduce(tensor)

    def most(self, number):
        """The largest whole number that any process has."""
        most = torch.tensor(number)
        if self.size > 1:
            distributed.all_reduce(most, distributed.ReduceOp.MAX)
        return most.item()

    def agree(self, network):
        """Give every process the weights and statistics of the first."""
        if self.size > 1:
            for tensor in network.state_dict().values():
                said = tensor.cpu().contiguous()
                distributed.broadcast(said, 0)
                tensor.copy_(said)

    def tell(self, value):
        """What the first process gave."""
        values = [value]
        if self.size > 1:
            distributed.broadcast_object_list(values, 0)
        return values[0]
