"""Models for recognition: from a checkpoint of train.py, or from public weights."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from dataloaders.labels import KINETICS_LABELS, read_labels
from dataloaders.sampling import ClipConfig
from engine.checkpoint import load_checkpoint, restore_model
from engine.errors import UsageError
from engine.runs import newest_best_checkpoint
from network.weights import PretrainedModel, load_weights


@dataclass(frozen=True)
class TrainedModel:
    """A model, how its clips are cut, and the names of its classes.

    Attributes:
        file: The checkpoint, or the file or the name of the weights.
        name: Of the network, in `network.MODELS`.
        model: The network.
        config: How its clips are cut.
        classes: Their names.
    """

    file: str | Path
    name: str
    model: nn.Module
    config: ClipConfig
    classes: list[str]


def load_trained(file: str | Path | None = None) -> TrainedModel:
    """Load a checkpoint of train.py.

    Args:
        file: The checkpoint; None for the newest best one under ./run.

    Raises:
        FileError: There is none.
        CheckpointError: It cannot be read, or is damaged.
    """
    file = file or newest_best_checkpoint(Path("run"))
    content = load_checkpoint(Path(file))
    config = ClipConfig.from_dict(content["clip"])
    return TrainedModel(
        file=file,
        name=content["model"],
        model=restore_model(content, file),
        config=config,
        classes=content["classes"],
    )


def load_public(weights: str, labels: str | None = None) -> TrainedModel:
    """Load weights that were trained elsewhere.

    Args:
        weights: A file, or a name out of `--weights help`.
        labels: A file with the names of the classes, one a line, in order; by default the names
            that the weights come with, or Kinetics-400's for 400 classes.

    Raises:
        ModelError: The weights cannot be read or downloaded, or fit no network.
        FileError: The file of the names cannot be read.
        UsageError: They have no last layer, or their classes no names.
    """
    model = load_weights(weights)
    if model.num_classes is None:
        raise UsageError(f"--weights {weights}: has no last layer; train.py --weights trains one")
    classes = _class_names(model, weights, labels)
    if len(classes) != model.num_classes:
        raise UsageError(
            f"--labels {labels}: {len(classes)} names, and {weights} has"
            f" {model.num_classes} classes"
        )
    is_ours = "height" in model.clip  # a checkpoint of train.py
    config = ClipConfig.from_dict(model.clip) if is_ours else ClipConfig.from_flags(**model.clip)
    return TrainedModel(
        file=weights, name=model.name, model=model.model, config=config, classes=classes
    )


def _class_names(model: PretrainedModel, weights: str, labels: str | None) -> list[str]:
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
