"""How a run is set up: its data, its configuration and its folder."""

import contextlib
from argparse import Namespace
from pathlib import Path
from typing import Any

from dataloaders.arguments import open_settings
from dataloaders.records import SPLIT_FILE, write_split
from engine import runs
from engine.config import TrainConfig, resolve_clip, resolve_config, resolve_options
from engine.data import RunData, choose_split, prepare_data
from engine.distributed import Distributed
from engine.loaders import choose_batch_size
from engine.model import validate_batch_norm, validate_clips
from engine.resume import PreviousRun
from network.weights import PretrainedModel


def prepare_run(
    args: Namespace,
    paths: Any,
    previous: PreviousRun | None,
    pretrained: PretrainedModel | None,
    distributed: Distributed,
) -> tuple[RunData, TrainConfig]:
    """Prepare the data of a run, and decide what its flags leave open.

    Args:
        args: The flags.
        paths: `mypath.Path`, which knows where the data set lies.
        previous: The run that is resumed or tested; None for a new one.
        pretrained: The weights that a new run starts from; None without.
        distributed: The processes that train together.

    Raises:
        UserError: The data cannot be used, or does not go with the flags.
    """
    clip = resolve_clip(args, pretrained)
    options = resolve_options(args, previous, pretrained)
    validate_clips(args.model, clip, options)
    settings = open_settings(paths, args.dataset, clip, args.source_fps)
    rule = choose_split(args, settings, paths, previous)
    data = prepare_data(args, settings, rule, distributed, previous)
    batch_size = choose_batch_size(args, data, distributed)
    config = resolve_config(args, clip, pretrained, split=rule.protocol, batch_size=batch_size)
    validate_batch_norm(config, options, clip)
    return data, config


def open_run_folder(
    stack: contextlib.ExitStack,
    args: Namespace,
    previous: PreviousRun | None,
    data: RunData,
    distributed: Distributed,
) -> Path:
    """Return the folder of a run, which no other process works on until the stack is closed.

    Args:
        stack: Releases the folder.
        args: The flags.
        previous: The run that is resumed or tested; None for a new one, which gets a folder.
        data: Its videos.
        distributed: The processes that train together.
    """
    folder = None
    if distributed.is_main:
        folder = previous.folder if previous else runs.create_run(args.run_dir)
        stack.enter_context(runs.lock_run(folder))
        if previous is not None:
            previous.validate_current()
        else:
            write_split(folder / SPLIT_FILE, data.records)
    return distributed.broadcast_object(folder)
