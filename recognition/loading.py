"""Models for recognition: from a checkpoint of train.py, or from public weights."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from dataloaders.labels import KINETICS_LABELS, read_labels
from dataloaders.sampling import ClipConfig
from engine.build import load_weights
from engine.checkpoint import load_checkpoint, restore_model
from engine.errors import UsageError
from engine.runs import newest_best_checkpoint


@dataclass(frozen=True)
class TrainedModel:
    """A model, how its clips are cut, and the names of its classes.

    Attributes:
        file: the checkpoint, or the file or the name of the weights.
    """

    file: str | Path
    model: nn.Module
    config: ClipConfig
    classes: list[str]


def load_trained(file: str | Path | None = None) -> TrainedModel:
    """Load a checkpoint of train.py.

    Args:
        file: the checkpoint; None for the newest best one under ./run.

    Raises:
        FileError: there is none, or it cannot be opened.
        CheckpointError: it is damaged.
    """
    file = file or newest_best_checkpoint(Path("run"))
    content = load_checkpoint(Path(file))
    config = ClipConfig.from_dict(content["clip"])
    return TrainedModel(file, restore_model(content, file), config, content["classes"])


def load_public(weights: str, labels: str | None = None) -> TrainedModel:
    """Load weights that were trained elsewhere.

    Args:
        weights: a file, or a name out of `--weights help`.
        labels: a file with the names of the classes, one a line, in order; by default the names
            that the weights come with, or Kinetics-400's for 400 classes.

    Raises:
        FileError: a file cannot be opened or downloaded.
        ModelError: the weights fit no network.
        UsageError: they have no last layer, or their classes no names.
    """
    model = load_weights(weights)
    if not model.num_classes:
        raise UsageError(f"--weights {weights}: has no last layer; train.py --weights trains one")
    classes = _class_names(model, weights, labels)
    if len(classes) != model.num_classes:
        raise UsageError(
            f"--labels {labels}: {len(classes)} names, and {weights} has"
            f" {model.num_classes} classes"
        )
    is_ours = "height" in model.clip  # a checkpoint of train.py
    config = ClipConfig.from_dict(model.clip) if is_ours else ClipConfig.from_flags(**model.clip)
    return TrainedModel(weights, model, config, classes)


def _class_names(model: nn.Module, weights: str, labels: str | None) -> list[str]:
    if labels:
        return read_labels(labels)
    if model.classes:
        return model.classes
    if model.num_classes == 400:
        return read_labels(KINETICS_LABELS)
    raise UsageError(
        f"--weights {weights}: its {model.num_classes} classes have no names;"
        " --labels FILE has a line for each"
    )
