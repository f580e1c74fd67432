import pytest
import torch
from test_trainer import CPU

from engine.checkpoint import TrainState
from engine.distributed import Distributed
from engine.errors import NonFiniteLossError
from engine.loss_meter import SYNC_INTERVAL, LossMeter


def test_losses_that_are_read_together_are_looked_at_one_by_one():
    meter = LossMeter(torch.device("meta"), Distributed())  # as a GPU's, which is read rarely
    meter._num_correct = torch.zeros((), dtype=torch.long)
    losses = torch.tensor([1.0, 0.5])
    for position in range(SYNC_INTERVAL - 1):
        bad = position in (8, 11)
        meter.add(position, losses * float("nan") if bad else losses, torch.tensor(1))
    with pytest.raises(NonFiniteLossError) as error:
        meter.add(SYNC_INTERVAL - 1, losses, torch.tensor(1))
    assert error.value.position == 8


def test_sums_are_added_to_those_of_the_epoch():
    meter = LossMeter(CPU, Distributed())
    meter.add(4, torch.tensor([1.0, 2.0]), torch.tensor(1))
    meter.add(6, torch.tensor([3.0]), torch.tensor(0))
    state = TrainState(loss_sum=10.0, num_correct=5)
    meter.add_to(state)
    assert (state.loss_sum, state.num_correct, meter.last_position) == (16.0, 6, 6)
