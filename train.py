"""Train C3D, R3D or R(2+1)D to recognise actions in videos.
python train.py --dataset ucf101 --model R2Plus1D
torchrun --nproc_per_node=8 train.py --dataset ucf101"""

import atexit
import contextlib
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
from filelock import FileLock
from tqdm import tqdm

import mypath
from dataloaders.arguments import (
    add_data_arguments,
    choose_protocol,
    find_split_dir,
    open_settings,
)
from dataloaders.errors import FileError
from dataloaders.opencv import check_opencv
from dataloaders.records import SPLIT_FILE, write_split
from dataloaders.sampling import ClipConfig
from dataloaders.workers import available_cores, kill_workers
from engine import report, runs
from engine.args import NOT_INHERITED, ArgumentParser, parse_training_args
from engine.build import (
    amp_dtype,
    create_model,
    create_optimizer,
    freeze,
    last_lr,
    load_pretrained,
    lr_factor,
    validate_batch_norm,
)
from engine.checkpoint import (
    TrainState,
    load_checkpoint,
    restore_model,
    restore_training,
    save_checkpoint,
    state_dicts,
)
from engine.data import BATCH_SIZE, build_loaders, prepare_data
from engine.distributed import Distributed
from engine.errors import NonFiniteLossError, Stopped, StopSignal, exit_on_user_error
from engine.loops import evaluate, train_one_epoch
from network import MODELS, count_flops, move_to_device
from network.normalize import INPUTS
from network.resnet import LAYERS


def get_args_parser() -> ArgumentParser:
    parser = ArgumentParser(description="Train C3D, R3D or R(2+1)D to recognise actions in videos.")
    data = parser.add_argument_group("data")
    add = data.add_argument
    add("--dataset", default="ucf101", help="a data set named in mypath.py (%(default)s)")
    add_data_arguments(data)
    add(
        "--min-scale",
        type=float,
        default=1,
        help="crop at random this share of a frame's area or more",
    )
    add(
        "--no-flip",
        action="store_true",
        help="mirror no clips, for classes that tell left from right",
    )
    add(
        "--workers",
        type=int,
        default=min(8, available_cores()),
        help="loader processes (%(default)s)",
    )

    add = parser.add_argument_group("model").add_argument
    add("--model", choices=MODELS, default="R2Plus1D", help="the network (%(default)s)")
    add(
        "--depth",
        type=int,
        choices=LAYERS,
        default=18,
        help="layers of R3D, R2Plus1D (%(default)s)",
    )
    add(
        "--input", choices=INPUTS, help="frames, or frame differences (residual, or as the weights)"
    )
    add(
        "--weights",
        metavar="FILE",
        help="weights to start from: a file, or public ones by name (help lists them)",
    )
    add("--pretrained", action="store_true", help="start from the weights that mypath.py names")
    add(
        "--freeze",
        default="none",
        metavar="STAGE",
        help="freeze up to this stage; backbone: all but the last layer",
    )
    add("--dropout", type=float, metavar="P", help="before the last layers (C3D 0.5, others 0)")

    add = parser.add_argument_group("optimization").add_argument
    add("--epochs", type=int, default=50, help="passes over the training videos (%(default)s)")
    add("--batch-size", type=int, help=f"clips in a batch of each process ({BATCH_SIZE})")
    add(
        "--accumulate",
        type=int,
        default=1,
        metavar="STEPS",
        help="batches that make one step (%(default)s)",
    )
    add(
        "--balance",
        choices=("none", "loss", "sampler"),
        default="none",
        help="weigh or sample rare classes more",
    )
    add("--lr", type=float, default=0.01, help="peak learning rate (%(default)s; C3D 0.003)")
    add(
        "--head-lr",
        type=float,
        default=10,
        metavar="FACTOR",
        help="rate of a new last layer, in --lr (%(default)s)",
    )
    add(
        "--lr-scheduler",
        choices=("cosine", "step"),
        default="cosine",
        help="cosine with warmup, or /10 per 10 epochs",
    )
    add("--momentum", type=float, default=0.9, help="momentum of SGD (%(default)s)")
    add("--weight-decay", type=float, default=5e-4, help="weight decay of SGD (%(default)s)")
    add("--clip-grad", type=float, metavar="NORM", help="largest norm of the gradient")
    add("--label-smoothing", type=float, default=0, metavar="E", help="of the loss (%(default)s)")

    add = parser.add_argument_group("test").add_argument
    add("--clips-per-video", type=int, default=10, help="windows of each test video (%(default)s)")
    add("--test-only", action="store_true", help="test a checkpoint again, without training")
    add("--checkpoint", type=Path, metavar="FILE", help="the checkpoint to test (the newest best)")

    add = parser.add_argument_group("run").add_argument
    add("--seed", type=int, default=0, help="seed of everything random (%(default)s)")
    add(
        "--best-by",
        choices=("top1", "mean_class", "loss"),
        default="top1",
        help="in validation (%(default)s)",
    )
    add("--snapshot", type=int, default=0, metavar="E", help="keep a checkpoint every E epochs")
    add(
        "--resume",
        nargs="?",
        const="latest",
        metavar="RUN",
        help="resume a run, by default the latest",
    )
    add("--run-dir", type=Path, default="./run", help="folder of the runs (%(default)s)")
    add("--compile", action="store_true", help="compile the model before the first step")
    add(
        "--no-amp",
        action="store_true",
        help="32-bit floats on CUDA too, where mixed precision is the default",
    )
    add(
        "--device",
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="where to compute (%(default)s)",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    distributed = Distributed.from_env()
    if not distributed.is_main:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # rank 0 alone prints
    distributed.init()
    atexit.register(kill_workers)
    with exit_on_user_error("train.py", status=2):
        # Arguments
        check_opencv()
        args, run_dir, checkpoint = parse_training_args(get_args_parser(), argv)
        device = distributed.select_device(args.device)
        # PyTorch knows the affinity of this process, and not the quota of a container.
        torch.set_num_threads(min(torch.get_num_threads(), available_cores()))
        weights = mypath.Path.model_dir() if args.pretrained else args.weights
        pretrained = (
            load_pretrained(args, weights) if weights is not None and not checkpoint else None
        )
        config = ClipConfig.from_flags(
            args.crop_size, args.clip_len, args.frame_interval, args.frame_rate
        )
        args.clip_len, args.frame_interval, args.frame_rate = (
            config.clip_len,
            config.frame_interval,
            config.frame_rate,
        )
        options = {} if args.depth == 18 else {"depth": args.depth}
        options = (
            checkpoint["options"] if checkpoint else pretrained.options if pretrained else options
        )
        dropout = (
            {} if args.dropout is None else {"dropout": args.dropout}
        )  # which not every network takes
        flops = count_flops(args.model, config.shape, **options | dropout)
        folder = (run_dir or args.run_dir).absolute()
        folder = next(path for path in (folder, *folder.parents) if path.exists())
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            raise FileError(
                f"{folder}: not a folder that can be written to; --run-dir says where runs go"
            )

        # Data: the first process of each machine extracts the frames while the others wait
        settings = open_settings(mypath.Path, args.dataset, config, args.source_fps)
        args.split = choose_protocol(settings, args.split, args.fold)
        split_dir = find_split_dir(mypath.Path, args.dataset, args.split)
        data = prepare_data(
            args,
            settings,
            distributed,
            checkpoint=checkpoint,
            split_file=run_dir / SPLIT_FILE if run_dir else None,
            split_dir=split_dir,
        )
        args.batch_size = data.batch_size
        loaders = build_loaders(args, settings, data, distributed, device)
        validate_batch_norm(args, config.shape, options)
        train_dataset, sampler = loaders["train"].dataset, loaders["train"].batch_sampler

        # Model
        if checkpoint:
            model, head = restore_model(checkpoint, args.checkpoint), checkpoint["head"]
            freeze(model, args.freeze, args.model)
        else:
            model, head = create_model(args, options, train_dataset.classes, pretrained)
        num_parameters = sum(parameter.numel() for parameter in model.parameters())
        shape = "x".join(map(str, config.shape))
        print(
            f"{args.model}: {num_parameters:,} parameters, {flops / 1e9:.1f} GFLOPs a clip of {shape}"
        )
        move_to_device(model, device)
        if args.compile:
            model.compile()
        torch.backends.cudnn.benchmark = True  # every training batch has the same shape

        # Optimizer
        dtype = None if args.no_amp else amp_dtype(device)
        torch.backends.cudnn.allow_tf32 = not args.no_amp
        autocast = torch.autocast(device.type, dtype, enabled=dtype is not None)
        scaler = torch.amp.GradScaler(device.type, enabled=dtype is torch.float16)
        optimizer = create_optimizer(args, model, head, fused=not scaler.is_enabled())
        class_weights = (
            torch.from_numpy(train_dataset.class_weights()).to(device)
            if args.balance == "loss"
            else None
        )

        # Resume: the epoch at hand continues after the clips that are done
        steps_per_epoch = max(1, len(sampler) // args.accumulate)  # 0 only for a test alone
        state = TrainState()
        if checkpoint:
            state = restore_training(
                checkpoint, optimizer, scaler, len(train_dataset), args.checkpoint
            )
        sampler.epoch, sampler.start = state.epoch + 1, state.num_samples
        steps_done = (state.epoch + 1) * steps_per_epoch - len(sampler) // args.accumulate
        factor = partial(
            lr_factor, args.lr_scheduler, epochs=args.epochs, steps_per_epoch=steps_per_epoch
        )
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor, last_epoch=steps_done - 1)
        optimization = optimizer, scheduler, scaler

        lock = contextlib.nullcontext()
        if distributed.is_main:
            run_dir = run_dir or runs.create_run(args.run_dir)
            with contextlib.suppress(NotImplementedError):  # of a file system without locks
                lock = FileLock(run_dir / ".in_use").acquire(timeout=0)
            if not checkpoint:
                write_split(run_dir / SPLIT_FILE, data.records)
        run_dir = distributed.broadcast_object(run_dir)

    content = {
        "model": args.model,
        "options": options,
        "classes": train_dataset.classes,
        "clip": asdict(config),
    }
    inherited_args = {
        name: value for name, value in vars(args).items() if name not in NOT_INHERITED
    }
    content |= {"head": head, "videos": data.fingerprint, "args": inherited_args}
    models, stem = run_dir / "models", f"{args.model}-{args.dataset}".replace("/", "_")
    best, last = models / f"{stem}_best.pth", models / f"{stem}_last.pth"
    ddp_model = distributed.wrap_ddp(model)
    writer = report.open_writer(
        run_dir, None if args.test_only else state.epoch + 1, distributed.is_main
    )
    print(f"{run_dir}: {args.model}, {len(train_dataset.classes)} classes, on {device}", end="; ")
    print(f"{state.epoch} of {args.epochs} epochs done")
    exit_status = 0
    with exit_on_user_error("train.py", status=1), lock, writer, StopSignal() as stop_signal:
        try:
            # Epochs
            if distributed.is_main and not checkpoint:
                report.log_run_start(
                    writer, inherited_args, model, train_dataset, next(iter(sampler))
                )
            loop_options = {
                "seed": args.seed,
                "stop_signal": stop_signal,
                "distributed": distributed,
            }
            loop_options |= {"label_smoothing": args.label_smoothing, "accumulate": args.accumulate}
            loop_options |= {"clip_grad": args.clip_grad, "class_weights": class_weights}
            for epoch in range(state.epoch + 1, 1 if args.test_only else args.epochs + 1):
                sampler.epoch, sampler.start, started_at = (
                    epoch,
                    state.num_samples,
                    time.perf_counter(),
                )
                title = f"epoch {epoch}/{args.epochs}"
                progress = tqdm(
                    loaders["train"],
                    title,
                    unit="batch",
                    leave=False,
                    disable=not distributed.is_main,
                )
                train_one_epoch(ddp_model, progress, *optimization, autocast, state, **loop_options)
                clips_per_second = (state.num_samples - sampler.start) / (
                    time.perf_counter() - started_at
                )
                distributed.broadcast_model(model)
                val = evaluate(model, loaders["val"], autocast, stop_signal, distributed).metrics
                train = {
                    "loss": state.loss_sum / state.num_samples,
                    "top1": state.num_correct / state.num_samples,
                }
                report.log_epoch(
                    writer, epoch, train, val, last_lr(scheduler), clips_per_second, device
                )
                print(
                    f"{title}  train loss {train['loss']:.3f} top-1 {train['top1']:.3f}", end="  "
                )
                print(
                    f"val loss {val['loss']:.3f} top-1 {val['clip_top1']:.3f}  {clips_per_second:.1f} clips/s"
                )

                # Save: `best` is the epoch with the best validation score; ties go to the lower loss
                state.epoch, state.num_samples, state.loss_sum, state.num_correct = epoch, 0, 0.0, 0
                score = {
                    "top1": val["clip_top1"],
                    "mean_class": val["mean_class"],
                    "loss": -val["loss"],
                }[args.best_by]
                files = []
                if not state.best_epoch or (score, -val["loss"]) > (
                    state.best_score,
                    -state.best_loss,
                ):
                    state.best_epoch, state.best_score, state.best_loss = epoch, score, val["loss"]
                    files.append(best)
                if args.snapshot and epoch % args.snapshot == 0:
                    files.append(models / f"{stem}_epoch-{epoch}.pth")
                if distributed.is_main:
                    save_checkpoint(
                        content | state_dicts(model, *optimization, state), *files, last
                    )
                distributed.raise_if_stopped(stop_signal)

            # Test
            if distributed.is_main:
                tested = checkpoint if args.test_only else load_checkpoint(best)
                model.load_state_dict(tested["state_dict"])
            distributed.broadcast_model(model)
            evaluation = evaluate(model, loaders["test"], autocast, stop_signal, distributed)
            if distributed.is_main:
                results = {
                    "model": args.model,
                    **options,
                    "input": model.normalize.statistics["input"],
                }
                results |= {"dataset": args.dataset, "split": args.split, "fold": args.fold}
                results |= {
                    "tested_on": loaders["test"].dataset.split,
                    "leaked_groups": data.num_leaked_groups,
                    "damaged_videos": data.num_damaged,
                    "seed": args.seed,
                }
                results |= {
                    "epoch": tested["train_state"]["epoch"],
                    "clips_per_video": args.clips_per_video,
                }
                report.write_test_report(
                    run_dir, writer, results, evaluation, loaders["test"].dataset
                )
        except Stopped as stopped:
            exit_status = 128 + stopped.signum
            if distributed.is_main and not args.test_only:
                if state.epoch < args.epochs:
                    save_checkpoint(content | state_dicts(model, *optimization, state), last)
                name = signal.Signals(stopped.signum).name
                torchrun = f"torchrun --nproc_per_node={distributed.local_world_size}"
                launcher = "python" if distributed.world_size == 1 else torchrun
                print(
                    f"{name}: {launcher} train.py --resume {run_dir} continues the run",
                    file=sys.stderr,
                )
            distributed.barrier()
        except NonFiniteLossError as error:
            exit_status, reason = 1, error.describe(sampler, train_dataset.sources, last)
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
        print(
            "\ninterrupted: the same command starts again with the frames that are there",
            file=sys.stderr,
        )
        sys.exit(130)
