"""Batch norm folded into the convolutions before it, for networks that only predict."""

import copy

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def fold_batch_norm(model: nn.Module) -> nn.Module:
    """Return a copy of a network in which convolutions do what batch norm did after them.

    In evaluation mode batch norm multiplies each channel by a factor and adds a term. Both go into
    the weights and the bias of the convolution (Jacob et al. 2018, arXiv:1712.05877, section 3.2),
    so that the logits are the same up to rounding. Only batch norm that follows a convolution
    within an `nn.Sequential` is folded.

    Args:
        model: In evaluation mode; it is left as it is.
    """
    folded = copy.deepcopy(model)
    for module in folded.modules():
        if isinstance(module, nn.Sequential):
            _fold_sequential(module)
    return folded


def _fold_sequential(layers: nn.Sequential) -> None:
    """Fold each batch norm of a sequence whose input comes from a convolution."""
    for position in range(1, len(layers)):
        if not isinstance(layers[position], BATCH_NORMS):
            continue
        parent, name = _last_layer(layers, position - 1)
        convolution = getattr(parent, name)
        if isinstance(convolution, CONVOLUTIONS) and layers[position].track_running_stats:
            setattr(parent, name, fuse_conv_bn_eval(convolution, layers[position]))
            layers[position] = nn.Identity()


def _last_layer(layers: nn.Sequential, position: int) -> tuple[nn.Sequential, str]:
    """Return where the layer stands whose output leaves a place of a sequence, and its name."""
    name = str(position)
    while isinstance(layers[int(name)], nn.Sequential):
        layers = layers[int(name)]
        name = str(len(layers) - 1)
    return layers, name
