"""The losses of an epoch, summed over batches and processes."""

import math

import torch
from torch import Tensor

from engine.checkpoint import TrainState
from engine.distributed import Distributed
from engine.errors import NonFiniteLossError

SYNC_INTERVAL = 20  # batches between two reads of the losses on CUDA, each of which waits for it
NO_POSITION = 2**62  # larger than any


class LossMeter:
    """Sums the losses of an epoch, and looks for one that is not finite.

    On CUDA it reads them rarely, as each read waits for the GPU.

    Attributes:
        last_position: Clips of the epoch before the last batch.
    """

    def __init__(self, device: torch.device, distributed: Distributed):
        """Start with no losses.

        Args:
            device: Where they are computed.
            distributed: The processes over which they are summed.
        """
        self._interval = 1 if device.type == "cpu" else SYNC_INTERVAL
        self._distributed = distributed
        self._unread: list[tuple[int, Tensor]] = []
        self._loss_sum = 0.0
        self._num_correct = torch.zeros((), dtype=torch.long, device=device)
        self.last_position = 0

    def add(self, position: int, losses: Tensor, num_correct: Tensor) -> None:
        """Take a batch.

        Args:
            position: Clips of the epoch before it.
            losses: (N,), of its clips.
            num_correct: How many of them were classified right.

        Raises:
            NonFiniteLossError: A loss is not finite, on any process.
        """
        self.last_position = position
        self._num_correct += num_correct
        self._unread.append((position, losses.sum()))
        if len(self._unread) == self._interval:
            self._read()

    def add_to(self, state: TrainState) -> None:
        """Add the sums of all processes to a state.

        Raises:
            NonFiniteLossError: A loss is not finite, on any process.
        """
        self._read()
        totals = torch.tensor([self._loss_sum, self._num_correct.item()], dtype=torch.float64)
        self._distributed.all_reduce_sum(totals)
        state.loss_sum += totals[0].item()
        state.num_correct += int(totals[1])

    def _read(self) -> None:
        first = NO_POSITION
        if self._unread:
            sums = torch.stack([loss_sum for _, loss_sum in self._unread]).tolist()
            for (position, _), loss_sum in zip(self._unread, sums, strict=True):
                if not math.isfinite(loss_sum):
                    first = min(first, position)
            self._loss_sum += sum(sums)
        self._unread.clear()
        first = self._distributed.all_reduce_min(first)
        if first < NO_POSITION:
            raise NonFiniteLossError(first)
