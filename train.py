"""Train C3D, R3D or R(2+1)D to recognise actions in videos.

python train.py --dataset demo
python train.py --dataset ucf101 --model R2Plus1D
python train.py --resume
torchrun --nproc_per_node=8 train.py --dataset ucf101
"""

import atexit
import os
import re
import signal
import sys
import time
from pathlib import Path

import torch
from tqdm import tqdm

import mypath
from dataloaders.clips import CROP_SIZE, recipe
from dataloaders.dataset import ClipLoader, TrainingBatches, VideoDataset, class_names, share
from dataloaders.preprocess import prepare
from dataloaders.splits import INDEX, PROTOCOLS, SPLITS, audit, digest, leaked_groups, read_index, same_data
from dataloaders.workers import end_workers, init_worker
from network import MODELS, flags, half_precision, report, runs, weights
from network.distributed import World
from network.engine import NotFinite, evaluate, learning_rate, train_epoch
from network.normalize import INPUTS
from network.resnet import LAYERS
from network.signals import Signals

BATCH_SIZE = 16
LEAST = {"epochs": 1, "batch_size": 1, "clips": 1} | dict.fromkeys(
    ("workers", "snapshot", "seed", "lr", "momentum", "weight_decay"), 0
)
MOST = {"momentum": 1, "seed": 2**63 - 1}


def parse_args(argv):
    """Read the flags, and for a resumed run its last checkpoint, whose flags hold unless given anew.

    Returns:
        (args, run, checkpoint): run folder and checkpoint are None for a new run.
    """
    parser = flags.Parser(description=__doc__.split("\n")[0])
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
    flag("--batch-size", type=int, help=f"clips in a batch of each process ({BATCH_SIZE}, or as many as there are)")
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
    args = check(parser.parse_args(argv))

    if args.dataset == "demo":
        parser.set_defaults(epochs=8, batch_size=12, crop_size=16)
    if args.model == "C3D":
        parser.set_defaults(lr=0.003, crop_size=CROP_SIZE)
    if args.test_only:
        file = args.checkpoint or runs.newest_best(args.run_dir)
        run = file.parent.parent if file.parent.name == "models" else file.parent
    elif args.resume:
        run = runs.find(args.run_dir, args.resume)
        file = runs.last(run)
    else:
        return parser.parse_args(argv), None, None

    checkpoint = weights.load(file)
    if unknown := checkpoint["args"].keys() - flags.travelling(args).keys():
        raise ValueError(f"{file}: damaged, or of another version: unknown flags {', '.join(map(str, unknown))}")
    args = check(parser.parse_args([*flags.command_line(checkpoint["args"]), *argv]))
    for name, was in checkpoint["args"].items():
        free = name in flags.CHANGEABLE or args.test_only and name == "batch_size"
        if not free and getattr(args, name) != was:
            raise ValueError(f"--{name.replace('_', '-')} {getattr(args, name)}: {run} was started with {was}")
    return args, run, checkpoint


def check(args):
    """Return flags that go together; ValueError where they do not."""
    flags.check(args, LEAST, MOST)
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
    return args


def load_data(args, world, checkpoint):
    """Preprocess where that is due, and settle the size of a batch.

    Returns:
        (videos, classes, found, leaked): rows of the index, names, digest, and how many groups the split tears apart.
    """
    root_dir, output_dir = mypath.Path.db_dir(args.dataset)
    split_dir = mypath.Path.split_dir(args.dataset) if args.split.startswith("official") else None

    def check(videos):
        audit(videos, args.split)
        most = sum(video.split == "train" for video in videos) // world.size
        if (args.batch_size or 1) > most and not args.test_only:
            raise ValueError(f"--batch-size {args.batch_size or 1}: there are training videos for {most} at most")
        return most

    if world.local_rank == 0:
        split = {"protocol": args.split, "fold": args.fold, "split_dir": split_dir}
        videos = prepare(args.dataset, root_dir, output_dir, **split, check=lambda videos: checkpoint or check(videos))
    world.wait()
    if world.local_rank > 0:
        videos = read_index(Path(output_dir) / INDEX)
    classes = class_names(args.dataset, videos)
    found = classes, digest(videos)
    if world.tell(found) != found:
        raise ValueError(f"{output_dir}: other videos than the first process has; what was skipped on either?")
    if checkpoint:
        same_data(checkpoint, *found)
    most = check(videos)
    if args.batch_size is None:
        args.batch_size = min(BATCH_SIZE, most)
        if most < BATCH_SIZE:
            print(f"batches of {most} clips: there are no more training videos")
    leaked = leaked_groups(videos, args.split)
    print(f"split {args.split}: {leaked} groups in more than one of train, val and test")
    if shared := leaked_groups(videos, "group") - leaked:
        print(f"{shared} more stand apart within each class but not across classes, as the official lists have it")
    return videos, *found, leaked


def main(argv=None):
    world = World.of_torchrun()
    if world.rank:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # one speaks for all
    world.join()
    with flags.in_a_line("train.py", 2, OSError, ValueError):
        args, run, checkpoint = parse_args(sys.argv[1:] if argv is None else argv)
        device = world.device(args.device)
        clip = recipe(args.crop_size)
        options = {} if args.depth == 18 else {"depth": args.depth}
        with torch.device("meta"):  # a network that cannot take such clips says so here, before any work
            MODELS[args.model](1, **options)(torch.empty(1, 3, clip["clip_len"], args.crop_size, args.crop_size))
        pretrained = mypath.Path.model_dir() if args.pretrained else args.weights
        if pretrained and not checkpoint and not os.path.isfile(pretrained):
            raise FileNotFoundError(f"{pretrained}: no such file of weights; --pretrained takes what mypath.py names")
        runs.check(run or args.run_dir)
        videos, classes, found, leaked = load_data(args, world, checkpoint)
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
        run = world.tell(run or (runs.new(args.run_dir) if world.rank == 0 else None))

    # Data
    output_dir = mypath.Path.db_dir(args.dataset)[1]
    datasets = {
        split: VideoDataset(output_dir, videos, split, classes, clip, windows=args.clips if split == "test" else 1)
        for split in SPLITS
    }
    sources = {split: [video.source for video in videos if video.split == split] for split in SPLITS}
    batches = TrainingBatches(len(datasets["train"]), args.batch_size, args.seed, world.rank, world.size)
    loaders = {
        split: ClipLoader(
            dataset,
            **{"batch_sampler": batches}
            if split == "train"
            else {"batch_size": args.batch_size, "sampler": share(dataset, world.rank, world.size)},
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
    scaler = torch.amp.GradScaler(device.type, enabled=half is torch.float16)

    # Resume
    done, best, sums = 0, None, (0, 0, 0)  # sums: of an epoch that was begun
    steps = max(1, len(batches))  # in an epoch; none where a test alone needs none
    if checkpoint:
        with flags.in_a_line("train.py", 2, ValueError):
            done, best, sums = weights.restore(checkpoint, optimizer, scaler)
            if not 0 <= sums[2] <= len(datasets["train"]):
                raise ValueError(f"the checkpoint is damaged: {sums[2]} clips of an epoch are done")
    batches.epoch, batches.start = done + 1, sums[2]
    step = (done + 1) * steps - len(batches)  # whatever the number of processes that came so far
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: learning_rate(args.schedule, step, args.epochs, steps), last_epoch=step - 1
    )
    steering = optimizer, scheduler, scaler, autocast
    parallel = world.parallel(network)
    models, name = run / "models", f"{args.model}-{args.dataset}"
    last = models / f"{name}_last.pth"
    launcher = "python" if world.size == 1 else f"torchrun --nproc_per_node={world.local_size}"
    goes_on = f"{launcher} train.py --resume {run} goes on from here"
    purged = None if args.test_only else done + 1  # points of an epoch that did not end
    from tensorboardX import SummaryWriter  # here, as --help needs none

    suffix = f".{time.time_ns()}"  # the name itself has seconds only, and a start in the same one would write over it
    writer = SummaryWriter(str(run), purge_step=purged, write_to_disk=world.rank == 0, filename_suffix=suffix)
    interrupted = Signals()
    atexit.register(end_workers)
    print(f"{run}: {args.model}, {len(classes)} classes, on {device}; {done} of {args.epochs} epochs done")

    def stop():
        return world.most(interrupted())  # the same answer everywhere, after the same step

    def save(epoch, *files):
        story = {
            "model": args.model,
            "options": options,
            "classes": classes,
            "clip": clip,
            "state_dict": network.state_dict(),
            "normalization": network.normalize.statistics,
            "head": head,
            "videos": found,
            "optimizer": optimizer.state_dict(),
            "scheduler": {"last_epoch": scheduler.last_epoch},
            "scaler": scaler.state_dict(),
            "epoch": epoch,
            "sums": sums,
            "best": best,
            "args": flags.travelling(args),
        }
        if world.rank == 0:
            weights.save(story, *(models / f"{name}_{file}.pth" for file in files))

    def leave():
        nonlocal parallel
        parallel = None  # or PyTorch may abort at the exit
        world.leave()

    def leave_if_interrupted():
        if came := stop():
            writer.close()
            world.wait()
            if world.rank == 0 and not args.test_only:
                print(f"{signal.Signals(came).name}: {goes_on}", file=sys.stderr)
            leave()
            sys.exit(128 + came)

    def not_finite(position):
        batches.start = position
        step = batches.epoch * steps - len(batches) + 1
        batch = batches.order()[position:][: args.batch_size * world.size]
        return (
            f"the loss is not finite in step {step} (epoch {batches.epoch}), of "
            + ", ".join(sources["train"][index] for index in batch)
            + ". Look at these, or try a smaller --lr; "
            + (f"{last} is good: --weights takes it" if last.exists() else "there is no checkpoint yet")
        )

    decoded = f"{args.dataset} --split {args.split} --fold {args.fold}"  # completes the advice about a damaged frame
    with flags.in_a_line("train.py", 1, OSError, ArithmeticError, dataset=decoded):
        # Train
        if world.rank == 0 and not checkpoint:
            report.introduce(writer, flags.travelling(args), network, datasets["train"], next(iter(batches)))
        for epoch in () if args.test_only else range(done + 1, args.epochs + 1):
            batches.epoch, batches.start = epoch, sums[2]
            start = time.perf_counter()
            progress = tqdm(
                loaders["train"],
                f"epoch {epoch}/{args.epochs}",
                steps,
                leave=False,
                unit="batch",
                initial=steps - len(batches),
                disable=world.rank > 0,
            )
            try:
                sums = train_epoch(parallel, progress, *steering, args.seed, sums, stop, world)
            except NotFinite as error:
                if world.rank:
                    sys.exit(1)
                raise ArithmeticError(not_finite(error.position)) from None
            speed = (sums[2] - batches.start) / (time.perf_counter() - start)
            world.agree(network)
            val = None if stop() else evaluate(network, loaders["val"], autocast, stop, world)
            if val is None:
                save(epoch - 1, "last")
                leave_if_interrupted()
            loss, accuracy, sums = sums[0] / sums[2], sums[1] / sums[2], (0, 0, 0)

            # Log
            for tag, value in {
                "curves/loss_train": loss,  # what TensorBoard shows first, as it goes by the alphabet
                "curves/loss_val": val["loss"],
                "curves/top1_train": accuracy,
                "curves/top1_val": val["clip_top1"],
                "curves/top5_val": val["video_top5"],
                "data/train_loss_epoch": loss,  # the classic names
                "data/train_acc_epoch": accuracy,
                "data/val_loss_epoch": val["loss"],
                "data/val_acc_epoch": val["clip_top1"],
                "data/lr": scheduler.get_last_lr()[0],
                "data/clips_per_second": speed,
            }.items():
                writer.add_scalar(tag, value, epoch)
            if device.type == "cuda":
                writer.add_scalar("data/gpu_memory_gb", torch.cuda.max_memory_allocated(device) / 2**30, epoch)
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
            save(epoch, *["best"] * improved, *[f"epoch-{epoch}"] * bool(snapshot), "last")
            leave_if_interrupted()

        # Test
        if not args.test_only:
            if world.rank == 0:
                with flags.in_a_line("train.py", 1, ValueError):
                    checkpoint = weights.load(models / f"{name}_best.pth")
                network.load_state_dict(checkpoint["state_dict"])
            world.agree(network)
        epoch = checkpoint["epoch"] if world.rank == 0 else None
        test = evaluate(network, loaders["test"], autocast, stop, world)
        leave_if_interrupted()
        if world.rank == 0:
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
            }
            report.conclude(run, writer, results, test, datasets["test"], sources["test"])
            writer.close()
    leave()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("\ninterrupted; if there is a checkpoint, python train.py --resume goes on from it", file=sys.stderr)
        sys.exit(130)
    except RuntimeError as error:
        if not re.search("(closed|reset) by peer|Broken pipe|remote process exited", str(error)):
            raise
        sys.exit(1)  # another process has failed, and says why
