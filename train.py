"""Train C3D, R3D or R(2+1)D to recognise actions in videos.

    python train.py --dataset demo
    python train.py --dataset ucf101 --model R2Plus1D
    python train.py --resume
"""

import argparse
import math
import os
import signal
import sys
import time
from pathlib import Path

import torch
from tensorboardX import SummaryWriter
from torch.utils.data import DataLoader
from tqdm import tqdm

import mypath
from dataloaders.clips import CROP_SIZE, recipe
from dataloaders.dataset import TrainingSampler, VideoDataset, class_names, init_worker
from dataloaders.preprocess import prepare
from dataloaders.splits import PROTOCOLS, SPLITS, digest, leaked_groups
from network import MODELS, find_device, half_precision, report, runs, weights
from network.engine import Signals, evaluate, train_epoch
from network.normalize import INPUTS
from network.resnet import LAYERS

# Flags that a resumed run reads anew, and those that it may change.
NOT_INHERITED = ("workers", "device", "compile", "run_dir", "resume", "test_only", "checkpoint")
CHANGEABLE = ("epochs", "snapshot", "clips")
LEAST = {"epochs": 1, "batch_size": 1, "clips": 1, "workers": 0, "snapshot": 0, "seed": 0, "lr": 0}


def parse_args():
    """Read the flags, and for a resumed run its last checkpoint, whose flags hold unless given anew.

    Returns:
        (args, run, checkpoint): run folder and checkpoint are None for a new run.
    """
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    flag = parser.add_argument
    # data
    flag("--dataset", default="ucf101", help="a data set named in mypath.py (%(default)s)")
    flag("--split", choices=PROTOCOLS, default="group", help="who is in train, val and test (%(default)s)")
    flag("--fold", type=int, choices=range(1, 6), default=1, help="the fifth that --split group tests on (%(default)s)")
    flag("--crop-size", type=int, default=CROP_SIZE, help="side of the square that the network sees (%(default)s)")
    flag("--workers", type=int, default=min(8, os.cpu_count()), help="processes that read clips (%(default)s)")
    # network
    flag("--model", choices=MODELS, default="R2Plus1D", help="the network (%(default)s)")
    flag("--depth", type=int, choices=LAYERS, default=18, help="layers of R3D and R2Plus1D (%(default)s)")
    flag("--input", choices=INPUTS, help="frames, or their changes (residual; with weights, what they were trained on)")
    flag("--weights", metavar="FILE", help="start from these weights, the last layer anew if its classes differ")
    flag("--pretrained", action="store_true", help="start from the weights that mypath.py names")
    # optimiser
    flag("--epochs", type=int, default=50, help="passes over the training videos (%(default)s)")
    flag("--batch-size", type=int, default=16, help="clips in a batch (%(default)s)")
    flag("--lr", type=float, default=0.01, help="highest learning rate (%(default)s; C3D 0.003)")
    flag("--schedule", choices=("cosine", "step"), default="cosine", help="cosine after a rise, or /10 each 10 epochs")
    flag("--momentum", type=float, default=0.9, help="momentum of SGD (%(default)s)")
    flag("--weight-decay", type=float, default=5e-4, help="weight decay of SGD (%(default)s)")
    # test
    flag("--clips", type=int, default=10, help="windows of each test video (%(default)s)")
    flag("--test-only", action="store_true", help="test a checkpoint once more, without training")
    flag("--checkpoint", type=Path, metavar="FILE", help="what to test (the newest best)")
    # run
    flag("--seed", type=int, default=0, help="seed of all that is random (%(default)s)")
    flag("--snapshot", type=int, default=0, metavar="E", help="keep a checkpoint every E epochs, 0: none (%(default)s)")
    flag("--resume", nargs="?", const="latest", metavar="RUN", help="go on with a run, by default the latest")
    flag("--run-dir", type=Path, default="./run", help="folder of the runs (%(default)s)")
    flag("--compile", action="store_true", help="compile the network before the first step")
    flag("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="where to compute (%(default)s)")
    args = parser.parse_args()

    for name, least in LEAST.items():
        if getattr(args, name) < least:
            raise ValueError(f"--{name.replace('_', '-')} {getattr(args, name)}: must be {least} or more")
    if args.checkpoint and not args.test_only:
        raise ValueError("--checkpoint goes with --test-only; --weights FILE starts a run from one")
    if args.resume and args.test_only:
        raise ValueError("--resume or --test-only, not both; --test-only --checkpoint FILE names what to test")
    if args.weights and args.pretrained:
        raise ValueError("--weights or --pretrained, not both")
    if args.fold != 1 and args.split != "group":
        raise ValueError(f"--fold {args.fold}: only --split group has folds")
    if args.depth != 18 and args.model == "C3D":
        raise ValueError(f"--depth {args.depth}: C3D has one depth")

    if args.dataset == "demo":  # five minutes on two CPU cores
        parser.set_defaults(epochs=14, batch_size=8, lr=0.006, crop_size=24)
    if args.model == "C3D":
        parser.set_defaults(lr=0.003, crop_size=CROP_SIZE)
    if args.test_only:
        file = args.checkpoint or runs.newest_best(args.run_dir)
        run = file.parent.parent if file.parent.name == "models" else file.parent
    elif args.resume:
        run = runs.find(args.run_dir, args.resume)
        file = runs.last(run)
    else:
        return parser.parse_args(), None, None

    checkpoint = weights.load(file)
    parser.set_defaults(**checkpoint["args"])
    args = parser.parse_args()
    for name, was in checkpoint["args"].items():
        free = name in CHANGEABLE or args.test_only and name == "batch_size"
        if not free and getattr(args, name) != was:
            raise ValueError(f"--{name.replace('_', '-')} {getattr(args, name)}: {run} was started with {was}")
    return args, run, checkpoint


def learning_rate(schedule, step, epochs, batches):
    """The share of --lr at a step, in a run of `epochs` of `batches` steps each.

    cosine: a linear rise over the first tenth of the steps, then half a cosine down to 0.
    step: a tenth of what it was after every tenth epoch.
    """
    if schedule == "step":
        return 0.1 ** (step // (10 * batches))
    steps = epochs * batches
    rise = max(1, steps // 10)
    if step < rise:
        return (step + 1) / rise
    return (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise))) / 2


def main():
    try:
        args, run, checkpoint = parse_args()
        device = find_device(args.device)
        clip = recipe(args.crop_size)
        options = {} if args.depth == 18 else {"depth": args.depth}
        with torch.device("meta"):  # a network that cannot take such clips says so here, before any work
            MODELS[args.model](1, **options)(torch.empty(1, 3, clip["clip_len"], args.crop_size, args.crop_size))
        pretrained = mypath.Path.model_dir() if args.pretrained else args.weights
        if pretrained and not checkpoint and not os.path.isfile(pretrained):
            raise FileNotFoundError(f"{pretrained}: no such file of weights; --pretrained takes what mypath.py names")
        root_dir, output_dir = mypath.Path.db_dir(args.dataset)
        split_dir = mypath.Path.split_dir(args.dataset) if args.split.startswith("official") else None
        split = {"protocol": args.split, "fold": args.fold, "split_dir": split_dir}
        videos = prepare(args.dataset, root_dir, output_dir, **split)
        leaked = leaked_groups(videos, args.split)
        print(f"split {args.split}: {leaked} groups in more than one of train, val and test")
        if shared := leaked_groups(videos, "group") - leaked:
            print(f"{shared} more stand apart within each class but not across classes, as the official lists have it")
        if leaked and args.split != "random":
            raise ValueError(f"{output_dir}: groups leak between train, val and test")
        classes = class_names(args.dataset, videos)
        if len(classes) < 2:
            raise ValueError(f"{root_dir}: one class, {classes[0]}, leaves nothing to tell apart")
        split_digest = digest(videos)
        if checkpoint and (classes, split_digest) != (checkpoint["classes"], checkpoint["videos"]):
            raise ValueError(f"the videos of {args.dataset} or their split are no longer those of {run}; start anew")
        if checkpoint:
            network, head = weights.build(checkpoint), checkpoint["head"]
        else:
            torch.manual_seed(args.seed)
            network = MODELS[args.model](num_classes=len(classes), **options)
            network.normalize.set(**network.normalize.statistics | {"input": args.input or "residual"})
            head = weights.load_pretrained(network, pretrained, classes) if pretrained else None
            trained = network.normalize.statistics["input"]
            if args.input not in (None, trained):
                raise ValueError(f"--input {args.input}: {pretrained} was trained with {trained}; leave the flag out")
            args.input = trained
    except (OSError, ValueError) as error:
        print(f"train.py: {error}", file=sys.stderr)
        sys.exit(2)

    # Data
    datasets = {
        split: VideoDataset(output_dir, videos, split, classes, clip, windows=args.clips if split == "test" else 1)
        for split in SPLITS
    }
    sampler = TrainingSampler(len(datasets["train"]), args.seed)
    loaders = {
        split: DataLoader(
            dataset,
            args.batch_size,
            sampler=sampler if split == "train" else None,
            drop_last=split == "train" and len(dataset) > args.batch_size,  # other videos every epoch
            num_workers=args.workers,
            persistent_workers=args.workers > 0,
            worker_init_fn=init_worker,
            pin_memory=device.type == "cuda",
        )
        for split, dataset in datasets.items()
    }

    # Network
    network.to(device, memory_format=torch.channels_last_3d)
    if args.compile:
        network.compile()
    torch.backends.cudnn.benchmark = True  # every training batch has the same shape
    half = half_precision(device)
    autocast = torch.autocast(device.type, half, enabled=half is not None)

    # Optimiser
    anew = list(network.get_submodule(head).parameters()) if head else []  # on top of weights that need less
    rest = [parameter for parameter in network.parameters() if not any(parameter is other for other in anew)]
    groups = [{"params": rest}] + [{"params": anew, "lr": 10 * args.lr}] * bool(head)
    fused = half is not torch.float16  # with GradScaler it would not be safe
    optimizer = torch.optim.SGD(groups, args.lr, args.momentum, weight_decay=args.weight_decay, fused=fused)
    batches = len(loaders["train"])
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: learning_rate(args.schedule, step, args.epochs, batches)
    )
    scaler = torch.amp.GradScaler(device.type, enabled=half is torch.float16)

    # Resume
    done, best, sums = 0, None, (0, 0, 0)  # sums: of an epoch that was begun
    if checkpoint:
        optimizer.load_state_dict(checkpoint["optimizer"])
        for group in optimizer.param_groups:
            group["fused"] = fused  # of this machine
        scheduler.load_state_dict(checkpoint["scheduler"])
        if checkpoint["scaler"]:  # empty where it was not needed
            scaler.load_state_dict(checkpoint["scaler"])
        done, best, sums = checkpoint["epoch"], checkpoint["best"], checkpoint["sums"]
    run = run or runs.new(args.run_dir)
    models = run / "models"
    name = f"{args.model}-{args.dataset}"
    writer = SummaryWriter(str(run), purge_step=None if args.test_only else done + 1)
    interrupted = Signals()
    print(f"{run}: {args.model}, {len(classes)} classes, on {device}; {done} of {args.epochs} epochs done")

    def story(epoch):
        return {
            "model": args.model,
            "options": options,
            "classes": classes,
            "clip": clip,
            "state_dict": network.state_dict(),
            "normalization": network.normalize.statistics,
            "head": head,
            "videos": split_digest,
            "optimizer": optimizer.state_dict(),
            "scheduler": scheduler.state_dict(),
            "scaler": scaler.state_dict(),
            "epoch": epoch,
            "sums": sums,
            "best": best,
            "args": {flag: value for flag, value in vars(args).items() if flag not in NOT_INHERITED},
        }

    def leave_if_interrupted():
        if came := interrupted():
            writer.close()
            if not args.test_only:
                print(f"{signal.Signals(came).name}: python train.py --resume {run} goes on from here", file=sys.stderr)
            sys.exit(128 + came)

    # Train
    for epoch in () if args.test_only else range(done + 1, args.epochs + 1):
        sampler.epoch, sampler.start = epoch, sums[2]
        start = time.perf_counter()
        left = tqdm(
            loaders["train"], f"epoch {epoch}/{args.epochs}", batches, leave=False, unit="batch",
            initial=batches - len(loaders["train"]),
        )
        sums = train_epoch(network, left, optimizer, scheduler, scaler, autocast, args.seed, sums, interrupted)
        speed = (sums[2] - sampler.start) / (time.perf_counter() - start)
        val = None if interrupted() else evaluate(network, loaders["val"], autocast, interrupted)
        if val is None:
            weights.save(story(epoch - 1), models / f"{name}_last.pth")
            leave_if_interrupted()
        loss, accuracy, sums = sums[0] / sums[2], sums[1] / sums[2], (0, 0, 0)

        # Log
        for tag, value in {
            "train_loss_epoch": loss,
            "train_acc_epoch": accuracy,
            "val_loss_epoch": val["loss"],
            "val_acc_epoch": val["clip_top1"],
            "lr": scheduler.get_last_lr()[0],
            "clips_per_second": speed,
        }.items():
            writer.add_scalar(f"data/{tag}", value, epoch)
        writer.flush()
        print(
            f"epoch {epoch}/{args.epochs}  train loss {loss:.3f} top-1 {accuracy:.3f}  "
            f"val loss {val['loss']:.3f} top-1 {val['clip_top1']:.3f}  {speed:.1f} clips/s"
        )

        # Save
        score = [val["clip_top1"], -val["loss"]]  # the loss decides between equal accuracies
        improved = best is None or score > best["score"]
        if improved:
            best = {"score": score, "epoch": epoch}
        snapshot = args.snapshot and epoch % args.snapshot == 0
        files = ["best"] * improved + [f"epoch-{epoch}"] * bool(snapshot) + ["last"]
        weights.save(story(epoch), *(models / f"{name}_{file}.pth" for file in files))
        leave_if_interrupted()

    # Test
    if not args.test_only:
        checkpoint = weights.load(models / f"{name}_best.pth")
        network.load_state_dict(checkpoint["state_dict"])
    epoch = checkpoint["epoch"]
    test = evaluate(network, loaders["test"], autocast, interrupted)
    leave_if_interrupted()
    labels, probabilities = test.pop("labels"), test.pop("probabilities")
    writer.add_scalar("data/test_loss_epoch", test["loss"], epoch)
    writer.add_scalar("data/test_acc_epoch", test["clip_top1"], epoch)
    report.draw(writer, epoch, datasets["test"], probabilities, labels, classes)
    writer.close()
    results = {
        "model": args.model,
        **options,
        "input": network.normalize.statistics["input"],
        "dataset": args.dataset,
        "split": args.split,
        "fold": args.fold,
        "leaked_groups": leaked,
        "seed": args.seed,
        "epoch": epoch,
        "clips": args.clips,
        "test": test,
    }
    if leaked:
        results["warning"] = f"{leaked} groups stand in more than one of train, val and test: the accuracy is too high"
        print(results["warning"], file=sys.stderr)
    report.write(run, results, [video for video in videos if video.split == "test"], probabilities, classes)
    print(
        f"test of epoch {epoch}, split {args.split}: clip top-1 {test['clip_top1']:.3f}, "
        f"video top-1 {test['video_top1']:.3f}, top-5 {test['video_top5']:.3f}; see {run / 'results.json'}"
    )


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("\ninterrupted; if there is a checkpoint, python train.py --resume goes on from it", file=sys.stderr)
        sys.exit(130)
