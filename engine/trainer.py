"""A network in training: what one epoch does to it, and what a checkpoint keeps of it."""

import contextlib
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.lr_scheduler import LambdaLR

from dataloaders.dataset import ClipLoader
from dataloaders.samplers import DistributedBatchSampler
from engine.checkpoint import TrainState, restore_state
from engine.config import TrainConfig
from engine.criterion import build_criterion
from engine.distributed import SINGLE, Distributed
from engine.errors import CheckpointError, NonFiniteLossError, Stopped, StopSignal, UsageError
from engine.evaluation import Evaluation, clips_to_device, evaluate
from engine.loaders import Loaders
from engine.loss_meter import LossMeter
from engine.optimizer import build_optimizer, build_scheduler, last_learning_rate, set_step
from engine.precision import Precision, choose_precision
from network.normalize import input_of


@dataclass(frozen=True)
class EpochResult:
    """The training clips of an epoch, as the network saw them.

    Attributes:
        loss: The mean over the clips.
        top1: The share of clips that were classified right.
        clips_per_second: Of this start, over all processes; None where it trained on none.
    """

    loss: float
    top1: float
    clips_per_second: float | None


class Trainer:
    """A network with its optimizer, its schedule and how far the run is.

    Attributes:
        network: The module, on its device.
        state: How far the run is.
    """

    def __init__(
        self,
        config: TrainConfig,
        network: nn.Module,
        criterion: nn.Module,
        scheduler: LambdaLR,
        *,
        precision: Precision,
        distributed: Distributed = SINGLE,
    ):
        """Prepare to train.

        Args:
            config: Of the run.
            network: On its device.
            criterion: Gives the loss of each clip from (logits, labels).
            scheduler: Of the optimizer of the network.
            precision: In which the network is computed.
            distributed: The processes that train together.
        """
        self.network = network
        self.state = TrainState()
        self._config = config
        self._criterion = criterion.to(precision.device)
        self._scheduler = scheduler
        self._optimizer = scheduler.optimizer
        self._precision = precision
        self._scaler = precision.scaler()
        self._distributed = distributed
        self._model = distributed.wrap_ddp(network)

    def train_epoch(
        self, batches: Iterable[tuple[Tensor, Tensor]], stop_signal: StopSignal | None = None
    ) -> EpochResult:
        """Train on every batch once, from where the state is.

        Args:
            batches: Of this process: clips, `uint8` (N, T, H, W, C), and labels, (N,).
            stop_signal: Looked at after every step.

        Raises:
            Stopped: A process received a signal; the step is complete.
            NonFiniteLossError: A loss is not finite on any process, or the weights are not.
            UsageError: The batch does not fit the memory of the GPU.
        """
        self._set_training_mode()
        self._optimizer.zero_grad()
        losses = LossMeter(self._precision.device, self._distributed)
        first = self.state.num_samples
        started_at = time.perf_counter()
        signum = None
        for number, (clips, labels) in enumerate(batches):
            ends_step = (number + 1) % self._config.accumulate == 0
            self._seed(number)
            self._train_batch(clips, labels, ends_step, losses)
            if ends_step:
                signum = self._distributed.any_signal(stop_signal)
            if signum is not None:
                break
        losses.add_to(self.state)
        self._validate_weights(losses.last_position)
        if signum is not None:
            raise Stopped(signum)
        num_clips = self.state.num_samples
        speed = (num_clips - first) / (time.perf_counter() - started_at)
        return EpochResult(
            loss=self.state.loss_sum / num_clips,
            top1=self.state.num_correct / num_clips,
            clips_per_second=speed or None,
        )

    @property
    def _num_steps(self) -> int:
        """Steps of the run that are done; PyTorch calls what a scheduler counts its epoch."""
        return self._scheduler.last_epoch

    def _set_training_mode(self) -> None:
        """Batch norm that is frozen keeps its statistics."""
        self._model.train()
        self._criterion.train()
        for module in self._model.modules():
            if isinstance(module, _BatchNorm) and module.affine:
                module.train(module.weight.requires_grad)

    def _seed(self, number: int) -> None:
        """Seed what is random in the network, by step, batch of the step and process."""
        place = number % self._config.accumulate
        batch = self._num_steps * self._config.accumulate + place
        key = batch * self._distributed.world_size + self._distributed.rank
        # The generator of the CPU reads 32 bits.
        torch.manual_seed((1_000_003 * self._config.seed + key) % 2**32)

    def _train_batch(
        self, clips: Tensor, labels: Tensor, ends_step: bool, losses: "LossMeter"
    ) -> None:
        device = self._precision.device
        clips = clips_to_device(clips, device)
        labels = labels.to(device, non_blocking=True)
        try:
            batch_losses, logits = self._backward(clips, labels, ends_step)
            if ends_step:
                self._step()
        except torch.OutOfMemoryError:
            name = torch.cuda.get_device_name(device)
            raise UsageError(
                f"--batch-size {len(clips)}: too large for the memory of {name}; "
                "try half of it, with a smaller --lr"
            ) from None
        num_correct = (logits.argmax(1) == labels).sum()
        losses.add(self.state.num_samples, batch_losses, num_correct)
        self.state.num_samples += len(labels) * self._distributed.world_size

    def _backward(self, clips: Tensor, labels: Tensor, ends_step: bool) -> tuple[Tensor, Tensor]:
        """Add the gradients of a batch to those of the step; return its losses and logits."""
        sync = contextlib.nullcontext()
        if self._distributed.world_size > 1 and not ends_step:
            sync = self._model.no_sync()
        with sync:
            with self._precision.autocast():
                # In 8 bits the logarithms of probabilities would be rounded.
                logits = self._model(clips).float()
            losses = self._criterion(logits, labels)
            loss = losses.mean() / self._config.accumulate
            self._scaler.scale(loss).backward()
        return losses.detach(), logits.detach()

    def _step(self) -> None:
        if self._config.clip_grad is not None:
            self._scaler.unscale_(self._optimizer)
            nn.utils.clip_grad_norm_(self._model.parameters(), self._config.clip_grad)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad()
        self._scheduler.step()

    def _validate_weights(self, position: int) -> None:
        tensors = self.network.state_dict().values()
        is_finite = all(bool(tensor.isfinite().all()) for tensor in tensors)
        if not self._distributed.all_reduce_min(int(is_finite)):
            raise NonFiniteLossError(position)

    def state_dict(self) -> dict[str, Any]:
        """Return the part of a checkpoint that changes with every step."""
        has_normalize = input_of(self.network) is not None
        return {
            "state_dict": self.network.state_dict(),
            "normalization": self.network.normalize.statistics if has_normalize else {},
            "optimizer": self._optimizer.state_dict(),
            "scheduler": {"last_epoch": self._num_steps},
            "scaler": self._scaler.state_dict(),
            "train_state": asdict(self.state),
        }

    def load_state_dict(self, checkpoint: dict[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Args:
            checkpoint: With these values.

        Raises:
            CheckpointError: This code builds another optimizer than the run had, or the
                checkpoint is of another version.
        """
        fused = self._optimizer.defaults.get("fused")
        try:
            self._optimizer.load_state_dict(checkpoint["optimizer"])
        except (KeyError, ValueError) as error:
            raise CheckpointError(
                f"this code builds another optimizer than the run had: {error}"
            ) from None
        for group in self._optimizer.param_groups:
            group["fused"] = fused  # as this machine has it
        if checkpoint["scaler"]:  # empty where none was needed
            self._scaler.load_state_dict(checkpoint["scaler"])
        self.state = restore_state(checkpoint)
        self.network.load_state_dict(checkpoint["state_dict"])

    def continue_in(self, sampler: DistributedBatchSampler) -> None:
        """Put a sampler and the schedule where the state is."""
        sampler.set_position(self.state.epoch + 1, self.state.num_samples)
        steps_of_epoch = sampler.steps_per_epoch - sampler.steps_left
        set_step(self._scheduler, self.state.epoch * sampler.steps_per_epoch + steps_of_epoch)

    def evaluate(self, loader: ClipLoader, stop_signal: StopSignal | None = None) -> Evaluation:
        """Evaluate the network, see `evaluation.evaluate`.

        Args:
            loader: The items of this process.
            stop_signal: Looked at after every batch.
        """
        return evaluate(
            self.network,
            loader,
            self._criterion,
            precision=self._precision,
            distributed=self._distributed,
            stop_signal=stop_signal,
        )

    @property
    def device(self) -> torch.device:
        """Where the network is computed."""
        return self._precision.device

    @property
    def loss_name(self) -> str:
        """By which the curves of the loss are named."""
        return self._criterion.name

    @property
    def learning_rate(self) -> float:
        """The rate of the last step, of the first group of parameters."""
        return last_learning_rate(self._scheduler)


def build_trainer(
    config: TrainConfig,
    network: nn.Module,
    new_head: str | None,
    loaders: Loaders,
    device: torch.device,
    distributed: Distributed,
) -> Trainer:
    """Choose the precision, the loss, the optimizer and the schedule of a run.

    Args:
        config: Of the run.
        network: On its device.
        new_head: The name of a new last layer on pretrained ones; None where there is none.
        loaders: Of this process.
        device: That of the network.
        distributed: The processes that train together.
    """
    torch.backends.cudnn.benchmark = True  # every training batch has the same shape
    precision = choose_precision(device, mixed=not config.no_amp)
    criterion = build_criterion(config, loaders.train.dataset.class_weights())
    optimizer = build_optimizer(config, network, new_head, fused=not precision.needs_scaler)
    # Without a step an epoch, a run can be tested alone.
    steps_per_epoch = max(1, loaders.sampler.steps_per_epoch)
    scheduler = build_scheduler(config, optimizer, steps_per_epoch)
    return Trainer(
        config, network, criterion, scheduler, precision=precision, distributed=distributed
    )
