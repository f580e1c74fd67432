"""Which flags of train.py go together."""

from argparse import Namespace

from engine.errors import UsageError

GAMMA = 0.1  # default of --gamma


def validate_args(args: Namespace) -> None:
    """Raise UsageError where flags do not go together."""
    if args.checkpoint and not args.test_only:
        raise UsageError("--checkpoint goes with --test-only; --weights FILE starts a run from one")
    if args.resume and args.test_only:
        raise UsageError(
            "--resume or --test-only, not both; --test-only --checkpoint FILE names what to test"
        )
    if args.depth != 18 and args.model == "C3D":
        raise UsageError(f"--depth {args.depth}: C3D has one depth")
    if args.momentum is not None and args.optimizer != "sgd":
        raise UsageError(f"--momentum {args.momentum}: of --optimizer sgd, not {args.optimizer}")
    validate_weights_flags(args)


def validate_schedule(args: Namespace) -> None:
    """Raise UsageError where the flags of the learning rate do not go together.

    It prints which milestones come too late to act.

    Args:
        args: The flags, with those that the run of `--resume` keeps.
    """
    if args.lr_scheduler != "step" and args.milestones is not None:
        raise UsageError("--milestones goes with --lr-scheduler step")
    if args.lr_scheduler != "step" and args.gamma != GAMMA:
        raise UsageError("--gamma goes with --lr-scheduler step")
    if args.warmup_epochs is not None and args.warmup_epochs >= args.epochs:
        raise UsageError(
            f"--warmup-epochs {args.warmup_epochs:g}: must be less than --epochs {args.epochs}"
        )
    late = [epoch for epoch in args.milestones or () if epoch >= args.epochs]
    if late:
        epochs = ", ".join(map(str, late))
        print(f"--milestones: {epochs}: never reached with --epochs {args.epochs}")


def validate_weights_flags(args: Namespace) -> None:
    """Raise UsageError where the flags of pretrained weights do not go together."""
    has_weights = args.weights is not None or args.pretrained
    if args.weights is not None and args.pretrained:
        raise UsageError("--weights or --pretrained, not both")
    if args.freeze != "none" and not has_weights:
        raise UsageError(
            f"--freeze {args.freeze}: only --weights or --pretrained give layers worth keeping"
        )
