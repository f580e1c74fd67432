"""3-D Grad-CAM: where a network looks."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from network import part_of
from network.recorder import Recorder


def grad_cam(model: nn.Module, clips: Tensor) -> tuple[Tensor, Tensor]:
    """Compute what each pixel contributes to the likeliest class of each clip.

    3-D Grad-CAM over the last convolutional stage (Selvaraju et al. 2017, arXiv:1610.02391,
    section 3) has few cells. As in the paper's Guided Grad-CAM it is multiplied by a map at the
    resolution of the input: the gradient at the normalised input times the distance of that input
    from the mean of its frame.

    Args:
        model: A network in evaluation mode.
        clips: (N, C, T, H, W).

    Returns:
        (logits, heatmaps): (N, num_classes), and (N, T, H, W) from 0 to 1, where 1 is the 99.5th
        percentile of the clip.

    Raises:
        ModelError: The network defines no `normalize` or no `last_pool`.
    """
    normalize = Recorder(part_of(model, "normalize"), with_gradient=True)
    last_pool = Recorder(model.get_submodule(part_of(model, "last_pool")))
    with normalize, last_pool, torch.enable_grad():
        logits = model(clips)
    recorded = (last_pool.input, normalize.output)
    feature_grad, pixel_grad = torch.autograd.grad(logits.amax(1).sum(), recorded)
    features = last_pool.input.detach()  # (N, planes, t, h, w)
    pixels = normalize.output.detach()  # (N, C, T, H, W)
    weights = feature_grad.mean((2, 3, 4), keepdim=True)
    cam = (weights * features).sum(1, keepdim=True).relu()  # (N, 1, t, h, w)
    distance = pixels - pixels.mean((3, 4), keepdim=True)
    detail = _blur((pixel_grad * distance).abs().sum(1, keepdim=True))  # (N, 1, T, H, W)
    heat = (detail * F.interpolate(cam, detail.shape[2:], mode="trilinear"))[:, 0]
    scale = heat.flatten(1).quantile(0.995, dim=1).clamp_min(torch.finfo(heat.dtype).tiny)
    return logits.detach(), (heat / scale.view(-1, 1, 1, 1)).clamp_max(1)


def _blur(maps: Tensor) -> Tensor:
    """Blur maps (N, 1, T, H, W) in space by two box filters, which approximate a Gaussian."""
    side = max(3, maps.shape[-1] // 16 | 1)
    for _ in range(2):
        maps = F.avg_pool3d(
            maps, (1, side, side), 1, (0, side // 2, side // 2), count_include_pad=False
        )
    return maps
