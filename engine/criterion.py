"""The loss. Another one is a class here with a `name` of its own; the loop asks for no more."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.config import TrainConfig


class CrossEntropy(nn.Module):
    """Cross-entropy of each clip.

    Class weights and label smoothing act in training mode alone, so that validation measures the
    same for every run.

    Attributes:
        name: By which the curves are named, so that runs with another loss share no chart.
    """

    name = "loss"

    def __init__(self, class_weights: Tensor | None = None, label_smoothing: float = 0.0):
        """Choose what acts in training.

        Args:
            class_weights: (classes,) `float32`, the weight of a clip by its class.
            label_smoothing: The share of the target that all classes get alike.
        """
        super().__init__()
        self.register_buffer("class_weights", class_weights)
        self.label_smoothing = label_smoothing

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of each clip, (N,).

        Args:
            logits: (N, classes) `float32`.
            targets: (N,) `int64`, the labels, or (N, classes), the probabilities of soft targets.
        """
        if not self.training:
            return F.cross_entropy(logits, targets, reduction="none")
        return F.cross_entropy(
            logits,
            targets,
            weight=self.class_weights,
            label_smoothing=self.label_smoothing,
            reduction="none",
        )


def build_criterion(config: TrainConfig, class_weights: np.ndarray) -> nn.Module:
    """Build the loss of a run.

    Args:
        config: Of the run.
        class_weights: (classes,) `float32`, inverse to the size of the classes.
    """
    weights = torch.from_numpy(class_weights) if config.balance == "loss" else None
    return CrossEntropy(weights, config.label_smoothing)
