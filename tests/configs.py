"""The configuration of a run, for tests and the benchmark."""

from dataclasses import fields

from engine.args import get_args_parser
from engine.config import TrainConfig


def train_config(**changes):
    """The configuration of a run by the defaults of the flags, with changes."""
    flags = vars(get_args_parser().parse_args([]))
    values = {field.name: flags[field.name] for field in fields(TrainConfig)}
    chosen = {"split": "group", "clip_len": 16, "frame_interval": 4, "batch_size": 2}
    return TrainConfig(**{**values, **chosen, **changes})
