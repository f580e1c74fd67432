"""A model that knows how bright a clip is, so that a video tells what must be found in it."""

import numpy as np
import torch
from conftest import read_number
from torch import nn


class BrightnessModel(nn.Module):
    """Knows three classes: a below 85, b below 170, else c, each with four fifths."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))
        self.clips = []

    def forward(self, x):
        self.clips += list(x.permute(0, 2, 3, 4, 1).numpy())
        labels = (x.double().mean((1, 2, 3, 4)) // 85).long().clamp(0, 2)
        return (0.7 * torch.eye(3)[labels] + 0.1).log()

    def clip_numbers(self):
        """The numbers of the frames in each clip that was seen."""
        return [[read_number(image) for image in clip] for clip in self.clips]


def grey(*levels_and_counts):
    """Images of such grey levels, so many of each."""
    images = []
    for level, count in levels_and_counts:
        images += [np.full((48, 64, 3), level, np.uint8)] * count
    return images
