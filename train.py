"""Train C3D, R3D or R(2+1)D to recognise actions in videos.

python train.py --dataset ucf101 --model R2Plus1D
torchrun --nproc_per_node=8 train.py --dataset ucf101
"""

import atexit
import contextlib
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

import mypath
from dataloaders.opencv import check_opencv
from dataloaders.workers import available_cores, kill_workers
from engine import report, runs
from engine.args import parse_training_args
from engine.checkpoint import load_checkpoint, save_checkpoint
from engine.config import TrainConfig
from engine.data import RunData
from engine.distributed import Distributed
from engine.errors import Ending, NonFiniteLossError, Stopped, StopSignal, exit_on_user_error
from engine.events import RunWriter
from engine.loaders import Loaders, build_loaders, describe_divergence
from engine.metrics import score_of
from engine.model import RunModel, build_run_model, describe_model, load_pretrained
from engine.resume import PreviousRun
from engine.setup import open_run_folder, prepare_run
from engine.trainer import Trainer, build_trainer
from network import move_to_device


@dataclass(frozen=True)
class Run:
    """What the epochs and the test of a run need.

    Attributes:
        folder: `run/run_<N>`.
        config: Its settings.
        data: Its videos.
        loaders: Of this process.
        model: The network, with the options by which it was built.
        trainer: The network in training, and how far the run is.
        writer: Of the TensorBoard events.
        distributed: The processes that train together.
        stop_signal: By which a user or a cluster ends a start.
    """

    folder: Path
    config: TrainConfig
    data: RunData
    loaders: Loaders
    model: RunModel
    trainer: Trainer
    writer: RunWriter
    distributed: Distributed
    stop_signal: StopSignal

    @property
    def files(self) -> runs.CheckpointFiles:
        """Its checkpoints."""
        stem = f"{self.config.model}-{self.config.dataset}".replace("/", "_")
        return runs.CheckpointFiles(self.folder / "models", stem)


def main(argv: Sequence[str] | None = None) -> None:
    """Train and test a network as the flags say.

    Args:
        argv: The command line; None for that of the process.
    """
    distributed = Distributed.from_env()
    atexit.register(kill_workers)
    with distributed.only_rank_0_prints(), exit_on_user_error("train.py") as ending:
        distributed.init()
        train_and_test(argv, distributed, ending)
        distributed.destroy()


def train_and_test(argv: Sequence[str] | None, distributed: Distributed, ending: Ending) -> None:
    """Tell the story of one start, from its flags to its test.

    Args:
        argv: The command line.
        distributed: The processes that train together.
        ending: The exit status of the script.
    """
    # Flags: a run that is resumed has its own in its checkpoint
    check_opencv()
    args, previous = parse_training_args(argv)
    device = distributed.select_device(args.device)
    # PyTorch knows the affinity of this process, and not the quota of a container.
    torch.set_num_threads(min(torch.get_num_threads(), available_cores()))
    runs.validate_root(previous.folder if previous else args.run_dir)

    # Data: clips are cut as the weights saw them, where no flag says how
    pretrained = None if previous else load_pretrained(args, mypath.Path)
    data, config = prepare_run(args, mypath.Path, previous, pretrained, distributed)
    loaders = build_loaders(config, data, distributed, workers=args.workers, device=device)

    # Model
    model = build_run_model(config, data, previous, pretrained)
    print(describe_model(config, model, data.settings.config))
    network = move_to_device(model.network, device)
    if args.compile:
        network.compile()

    # Optimizer
    trainer = build_trainer(config, network, model.new_head, loaders, device, distributed)

    # Resume: the epoch at hand continues after the clips that are done
    if previous is not None:
        trainer.load_state_dict(previous.checkpoint)
    trainer.continue_in(loaders.sampler)

    # Epochs and test
    with contextlib.ExitStack() as stack:
        folder = open_run_folder(stack, args, previous, data, distributed)
        ending.error_status = 1  # from here on a mistake is one of the run
        first_epoch = None if args.test_only else trainer.state.epoch + 1
        writer = stack.enter_context(
            RunWriter(folder, first_epoch=first_epoch, is_main=distributed.is_main)
        )
        stop_signal = stack.enter_context(StopSignal())
        run = Run(folder, config, data, loaders, model, trainer, writer, distributed, stop_signal)
        print(f"{folder}: {len(data.classes)} classes, on {device}; ", end="")
        print(f"{trainer.state.epoch} of {config.epochs} epochs done")
        ending.status = run_to_the_end(run, previous, test_only=args.test_only)


def run_to_the_end(run: Run, previous: PreviousRun | None, *, test_only: bool) -> int:
    """Train and test, or test only, until the end or a signal.

    Args:
        run: What to train and test.
        previous: The run that is resumed or tested; None for a new one.
        test_only: Whether the checkpoint of `previous` is tested, without training.

    Returns:
        The exit status.
    """
    is_main = run.distributed.is_main
    try:
        if not test_only:
            if previous is None and is_main:
                report.log_run_start(run.writer, run.config, run.model.network, run.loaders)
            fit(run)
        tested = None
        if is_main:
            tested = previous.checkpoint if test_only else load_checkpoint(run.files.best)
        test(run, tested)
    except Stopped as stopped:
        return stop(run, stopped.signum, test_only=test_only)
    except NonFiniteLossError as error:
        if is_main:
            last = run.files.last
            reason = describe_divergence(run.loaders, error.position, last)
            print(f"train.py: {reason}", file=sys.stderr)
        run.distributed.barrier()
        return 1
    return 0


def fit(run: Run) -> None:
    """Train, validate, log and save, epoch by epoch.

    Args:
        run: From where its state is to its last epoch.
    """
    trainer = run.trainer
    sampler = run.loaders.sampler
    for epoch in range(trainer.state.epoch + 1, run.config.epochs + 1):
        # Train
        sampler.set_position(epoch, trainer.state.num_samples)
        title = f"epoch {epoch}/{run.config.epochs}"
        batches = tqdm(
            run.loaders.train,
            title,
            unit="batch",
            leave=False,
            disable=not run.distributed.is_main,
        )
        train = trainer.train_epoch(batches, run.stop_signal)

        # Validate
        run.distributed.broadcast_model(trainer.network)
        val = trainer.evaluate(run.loaders.val, run.stop_signal).metrics

        # Log
        report.log_epoch(run.writer, epoch, train, val, trainer)
        print(f"{title}  {report.describe_epoch(train, val)}")

        # Save
        is_best = trainer.state.complete_epoch(score_of(val, run.config.best_by), val["loss"])
        save(run, is_best=is_best)
        run.distributed.raise_if_stopped(run.stop_signal)


def save(run: Run, *, is_best: bool = False) -> None:
    """Write the checkpoint `last`, and its further names.

    Args:
        run: As it is.
        is_best: Whether the epoch that has been completed is the best so far.
    """
    if not run.distributed.is_main:
        return
    state = run.trainer.state
    is_whole_epoch = state.num_samples == 0
    files = []
    if run.config.snapshot and is_whole_epoch and state.epoch % run.config.snapshot == 0:
        files.append(run.files.of_epoch(state.epoch))
    if is_best:
        files.append(run.files.best)
    # The last one says that the epoch is done, so it appears after the others.
    files.append(run.files.last)
    save_checkpoint(checkpoint_of(run), *files)


def checkpoint_of(run: Run) -> dict[str, Any]:
    """Return the checkpoint of a run: what it is, and how far it is."""
    return {
        "model": run.config.model,
        "options": run.model.options,
        "classes": run.data.classes,
        "clip": asdict(run.data.settings.config),
        "head": run.model.new_head,
        "videos": run.data.fingerprint,
        "args": asdict(run.config),
        **run.trainer.state_dict(),
    }


def stop(run: Run, signum: int, *, test_only: bool) -> int:
    """Save a run that a signal has stopped, and say how it continues.

    Args:
        run: Its last step is complete.
        signum: The number of the signal.
        test_only: Whether it was tested without training, and is as it was.

    Returns:
        The exit status.
    """
    if run.distributed.is_main and not test_only:
        if run.trainer.state.num_samples:  # otherwise the last checkpoint has it all
            save(run)
        launcher = "python"
        if run.distributed.world_size > 1:
            launcher = f"torchrun --nproc_per_node={run.distributed.local_world_size}"
        name = signal.Signals(signum).name
        print(
            f"{name}: {launcher} train.py --resume {run.folder} continues the run", file=sys.stderr
        )
    run.distributed.barrier()
    return 128 + signum


def test(run: Run, checkpoint: dict[str, Any] | None) -> None:
    """Test the network of a checkpoint, and write what comes out.

    Args:
        run: Whose test videos are taken.
        checkpoint: What is tested; None on all ranks but 0, from which they get the weights.
    """
    if checkpoint is not None:
        run.trainer.network.load_state_dict(checkpoint["state_dict"])
    run.distributed.broadcast_model(run.trainer.network)
    evaluation = run.trainer.evaluate(run.loaders.test, run.stop_signal)
    if checkpoint is not None:
        epoch = checkpoint["train_state"]["epoch"]
        tested = report.describe_test(run.config, run.model, run.data, epoch)
        dataset = run.loaders.test.dataset
        report.write_test_report(run.folder, run.writer, tested, evaluation, dataset)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print(
            "\ninterrupted: frames that are extracted are kept, and --resume continues a run "
            "that has a checkpoint",
            file=sys.stderr,
        )
        sys.exit(130)
