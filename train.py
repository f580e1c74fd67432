"""Train C3D, R3D or R(2+1)D to recognise actions in videos.

Examples:
    python train.py --dataset demo
    python train.py --dataset ucf101 --model R2Plus1D
    python train.py --resume
    torchrun --nproc_per_node=8 train.py --dataset ucf101
"""

import atexit
import os
import signal
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
from tqdm import tqdm

import mypath
from dataloaders.clips import CROP_SIZE, ClipConfig
from dataloaders.preprocess import add_split_arguments
from dataloaders.workers import kill_workers
from engine import report, runs
from engine.args import CHANGEABLE, ArgumentParser, flag_of, inherited_args, set_inherited_defaults, validate_range
from engine.build import amp_dtype, create_model, create_optimizer, load_pretrained, lr_factor
from engine.checkpoint import (
    TrainState,
    load_checkpoint,
    restore_model,
    restore_training,
    save_checkpoint,
    training_state,
    validate_training_content,
)
from engine.data import BATCH_SIZE, prepare_data
from engine.distributed import Distributed
from engine.errors import NonFiniteLossError, UsageError, exit_on_user_error
from engine.loops import evaluate, train_one_epoch
from engine.stop_signal import Stopped, StopSignal
from network import MODELS, validate_clip_shape
from network.normalize import INPUTS
from network.resnet import LAYERS

MINIMUM = {"epochs": 1, "batch_size": 1, "clips_per_video": 1} | dict.fromkeys(
    ("workers", "snapshot", "seed", "lr", "momentum", "weight_decay"), 0
)
MAXIMUM = {"momentum": 1, "seed": 2**63 - 1}


def get_args_parser() -> ArgumentParser:
    """Return the parser of the flags of this script."""
    parser = ArgumentParser(description=__doc__.split("\n")[0])
    data = parser.add_argument_group("data")
    data.add_argument("--dataset", default="ucf101", help="a data set named in mypath.py (%(default)s)")
    add_split_arguments(data)
    data.add_argument("--crop-size", type=int, default=CROP_SIZE, help="side of the square crop, pixels (%(default)s)")
    data.add_argument("--workers", type=int, default=min(8, os.cpu_count()), help="loader processes (%(default)s)")

    model = parser.add_argument_group("model")
    model.add_argument("--model", choices=MODELS, default="R2Plus1D", help="the network (%(default)s)")
    model.add_argument("--depth", type=int, choices=LAYERS, default=18, help="layers of R3D, R2Plus1D (%(default)s)")
    model.add_argument("--input", choices=INPUTS, help="frames, or frame differences (residual, or as the weights)")
    model.add_argument(
        "--weights", metavar="FILE", help="start from this file; its last layer only if the classes match"
    )
    model.add_argument("--pretrained", action="store_true", help="start from the weights that mypath.py names")

    optimization = parser.add_argument_group("optimization")
    optimization.add_argument("--epochs", type=int, default=50, help="passes over the training videos (%(default)s)")
    optimization.add_argument("--batch-size", type=int, help=f"clips in a batch of each process ({BATCH_SIZE})")
    optimization.add_argument("--lr", type=float, default=0.01, help="peak learning rate (%(default)s; C3D 0.003)")
    schedules = ("cosine", "step")
    optimization.add_argument(
        "--lr-scheduler", choices=schedules, default="cosine", help="cosine with warmup, or /10 every 10 epochs"
    )
    optimization.add_argument("--momentum", type=float, default=0.9, help="momentum of SGD (%(default)s)")
    optimization.add_argument("--weight-decay", type=float, default=5e-4, help="weight decay of SGD (%(default)s)")

    test = parser.add_argument_group("test")
    test.add_argument("--clips-per-video", type=int, default=10, help="windows of each test video (%(default)s)")
    test.add_argument("--test-only", action="store_true", help="test a checkpoint again, without training")
    test.add_argument("--checkpoint", type=Path, metavar="FILE", help="the checkpoint to test (the newest best)")

    run = parser.add_argument_group("run")
    run.add_argument("--seed", type=int, default=0, help="seed of everything random (%(default)s)")
    run.add_argument("--snapshot", type=int, default=0, metavar="E", help="keep a checkpoint every E epochs")
    run.add_argument("--resume", nargs="?", const="latest", metavar="RUN", help="resume a run, by default the latest")
    run.add_argument("--run-dir", type=Path, default="./run", help="folder of the runs (%(default)s)")
    run.add_argument("--compile", action="store_true", help="compile the model before the first step")
    run.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="(%(default)s)")
    return parser


def parse_args(argv: Sequence[str] | None) -> tuple[Namespace, Path | None, dict | None]:
    """Parse the flags; where a checkpoint is resumed or tested, its flags are the defaults.

    Returns:
        (args, run_dir, checkpoint): the last two are None for a new run.
    """
    parser = get_args_parser()
    args = validate_args(parser.parse_args(argv))
    if args.dataset == "demo":
        parser.set_defaults(epochs=7, batch_size=12, crop_size=16)
    if args.model == "C3D":
        parser.set_defaults(lr=0.003, crop_size=CROP_SIZE)
    if args.test_only:
        file = args.checkpoint or runs.newest_best_checkpoint(args.run_dir)
        run_dir = file.parent.parent if file.parent.name == "models" else file.parent
    elif args.resume is not None:
        run_dir = runs.find_run(args.run_dir, args.resume)
        file = runs.last_checkpoint(run_dir)
    else:
        return parser.parse_args(argv), None, None

    checkpoint = load_checkpoint(file)
    validate_training_content(checkpoint, file)
    inherited = checkpoint["args"]
    set_inherited_defaults(parser, inherited, str(file))
    args = validate_args(parser.parse_args(argv))
    changeable = (*CHANGEABLE, "batch_size") if args.test_only else CHANGEABLE
    for name, previous in inherited.items():
        if (value := getattr(args, name)) != previous and name not in changeable:
            raise UsageError(f"{flag_of(name)} {value}: {run_dir} was started with {previous}")
    return args, run_dir, checkpoint


def validate_args(args: Namespace) -> Namespace:
    """Return the flags; UsageError where one is out of range, or some do not go together."""
    validate_range(args, MINIMUM, MAXIMUM)
    if args.checkpoint and not args.test_only:
        raise UsageError("--checkpoint goes with --test-only; --weights FILE starts a run from one")
    if args.resume and args.test_only:
        raise UsageError("--resume or --test-only, not both; --test-only --checkpoint FILE names what to test")
    if args.weights and args.pretrained:
        raise UsageError("--weights or --pretrained, not both")
    if args.fold != 1 and args.split != "group":
        raise UsageError(f"--fold {args.fold}: only --split group has folds")
    if args.depth != 18 and args.model == "C3D":
        raise UsageError(f"--depth {args.depth}: C3D has one depth")
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Train a model, or test one, as the flags say."""
    distributed = Distributed.from_env()
    if not distributed.is_main:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # rank 0 alone prints
    distributed.init()
    atexit.register(kill_workers)
    with exit_on_user_error("train.py", status=2):
        # Arguments
        args, run_dir, checkpoint = parse_args(argv)
        device = distributed.select_device(args.device)
        config = ClipConfig.from_crop_size(args.crop_size)
        options = {} if args.depth == 18 else {"depth": args.depth}
        validate_clip_shape(args.model, config.shape, **options)
        weights = mypath.Path.model_dir() if args.pretrained else args.weights
        pretrained = None if checkpoint else load_pretrained(args, weights)
        runs.check_writable(run_dir or args.run_dir)

        # Data: the first process of each machine extracts the frames while the others wait
        root_dir, output_dir = mypath.Path.db_dir(args.dataset)
        split_dir = mypath.Path.split_dir(args.dataset) if args.split.startswith("official") else None
        data = prepare_data(args, root_dir, output_dir, split_dir, config, distributed, checkpoint, device)

        # Model
        if checkpoint:
            model, head = restore_model(checkpoint), checkpoint["head"]
        else:
            model, head = create_model(args, options, data.classes, pretrained)
        model.to(device, memory_format=torch.channels_last_3d)
        if args.compile:
            model.compile()
        torch.backends.cudnn.benchmark = True  # every training batch has the same shape

        # Optimizer
        dtype = amp_dtype(device)
        autocast = torch.autocast(device.type, dtype, enabled=dtype is not None)
        scaler = torch.amp.GradScaler(device.type, enabled=dtype is torch.float16)
        optimizer = create_optimizer(args, model, head, fused=not scaler.is_enabled())

        # Resume: the epoch at hand continues after the clips that are done
        sampler, state = data.sampler, TrainState()
        steps_per_epoch = max(1, len(sampler))  # 0 only for a test alone
        if checkpoint:
            state = restore_training(checkpoint, optimizer, scaler, len(data.datasets["train"]))
        sampler.epoch, sampler.start = state.epoch + 1, state.num_samples
        steps_done = (state.epoch + 1) * steps_per_epoch - len(sampler)  # whatever the number of processes was
        factor = partial(lr_factor, args.lr_scheduler, epochs=args.epochs, steps_per_epoch=steps_per_epoch)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor, last_epoch=steps_done - 1)
        optimization = optimizer, scheduler, scaler

        if run_dir is None and distributed.is_main:
            run_dir = runs.create_run(args.run_dir)
        run_dir = distributed.broadcast_object(run_dir)

    static = {
        "model": args.model,
        "options": model.options,
        "classes": data.classes,
        "clip": asdict(config),
        "head": head,
        "videos": data.fingerprint,
        "args": inherited_args(args),
    }
    path_of = partial(runs.checkpoint_path, run_dir, args.model, args.dataset)
    ddp_model = distributed.wrap_ddp(model)
    writer = report.open_writer(run_dir, None if args.test_only else state.epoch + 1, distributed.is_main)
    print(f"{run_dir}: {args.model}, {len(data.classes)} classes, on {device}", end="; ")
    print(f"{state.epoch} of {args.epochs} epochs done")
    exit_status = 0
    with exit_on_user_error("train.py", status=1), writer, StopSignal() as stop_signal:
        try:
            # Epochs
            if distributed.is_main and not checkpoint:
                report.log_run_start(writer, inherited_args(args), model, data.datasets["train"], next(iter(sampler)))
            for epoch in range(state.epoch + 1, 1 if args.test_only else args.epochs + 1):
                sampler.epoch, sampler.start, started_at = epoch, state.num_samples, time.perf_counter()
                progress = tqdm(
                    data.loaders["train"],
                    f"epoch {epoch}/{args.epochs}",
                    steps_per_epoch,
                    leave=False,
                    unit="batch",
                    initial=steps_per_epoch - len(sampler),
                    disable=not distributed.is_main,
                )
                train_one_epoch(
                    ddp_model, progress, *optimization, autocast, state, args.seed, stop_signal, distributed
                )
                clips_per_second = (state.num_samples - sampler.start) / (time.perf_counter() - started_at)
                distributed.broadcast_model(model)
                val = evaluate(model, data.loaders["val"], autocast, stop_signal, distributed).metrics
                train = {"loss": state.loss_sum / state.num_samples, "top1": state.num_correct / state.num_samples}
                report.log_epoch(writer, epoch, train, val, scheduler.get_last_lr()[0], clips_per_second, device)
                print(
                    f"epoch {epoch}/{args.epochs}  train loss {train['loss']:.3f} top-1 {train['top1']:.3f}  "
                    f"val loss {val['loss']:.3f} top-1 {val['clip_top1']:.3f}  {clips_per_second:.1f} clips/s"
                )

                # Save: `best` is the epoch with the highest clip top-1 in validation, then the lowest loss
                state.finish_epoch()
                files = [path_of("best")] if state.update_best(val["clip_top1"], val["loss"]) else []
                if args.snapshot and epoch % args.snapshot == 0:
                    files.append(path_of(f"epoch-{epoch}"))
                if distributed.is_main:
                    save_checkpoint(static | training_state(model, *optimization, state), *files, path_of("last"))
                distributed.raise_if_stopped(stop_signal)

            # Test
            if distributed.is_main:
                tested = checkpoint if args.test_only else load_checkpoint(path_of("best"))
                model.load_state_dict(tested["state_dict"])
            distributed.broadcast_model(model)
            evaluation = evaluate(model, data.loaders["test"], autocast, stop_signal, distributed)
            if distributed.is_main:
                results = {
                    "model": args.model,
                    **model.options,
                    "input": model.normalize.statistics["input"],
                    "dataset": args.dataset,
                    "split": args.split,
                    "fold": args.fold,
                    "leaked_groups": data.leaked_groups,
                    "seed": args.seed,
                    "epoch": tested["train_state"]["epoch"],
                    "clips_per_video": args.clips_per_video,
                }
                report.write_test_report(run_dir, writer, results, evaluation, data.datasets["test"])
        except Stopped as stopped:
            exit_status = 128 + stopped.signum
            if distributed.is_main and not args.test_only:
                if state.epoch < args.epochs:
                    save_checkpoint(static | training_state(model, *optimization, state), path_of("last"))
                name = signal.Signals(stopped.signum).name
                print(f"{name}: {distributed.launcher} train.py --resume {run_dir} continues the run", file=sys.stderr)
            distributed.barrier()
        except NonFiniteLossError as error:
            exit_status, reason = 1, error.describe(sampler, data.datasets["train"].sources, path_of("last"))
            if distributed.is_main:
                print(f"train.py: {reason}", file=sys.stderr)
            distributed.barrier()

    del ddp_model  # before its process group
    distributed.destroy()
    if exit_status:
        sys.exit(exit_status)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("\ninterrupted: the same command starts again with the frames that are there", file=sys.stderr)
        sys.exit(130)
