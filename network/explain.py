"""Where a network looks."""

import torch
from torch.nn import functional as F


def explain(network, clips):
    """What each pixel of some clips has to do with their likeliest classes.

    3-D Grad-CAM over the last convolutional stage (Selvaraju et al. 2017, arXiv:1610.02391, section 3) says which of
    its few cells matter. Within them it is sharpened, as the paper's Guided Grad-CAM is, by a map of pixels: the
    gradient at the network's normalised input, times how far that is from a frame of one colour.

    Args:
        network: in evaluation mode; it names in `last_pool` what follows its last convolutional stage.
        clips: (N, 3, T, H, W) as the network takes them.

    Returns:
        (logits, heat): (N, num_classes), and (N, T, H, W) from 0 to 1, the most that is in a clip but for outliers.
    """
    kept = {}
    hooks = (
        network.normalize.register_forward_hook(lambda *of: kept.update(pixels=of[2].requires_grad_())),
        network.get_submodule(network.last_pool).register_forward_pre_hook(lambda _, of: kept.update(features=of[0])),
    )
    with torch.enable_grad():
        logits = network(clips)
    for hook in hooks:
        hook.remove()
    features, pixels = kept["features"], kept["pixels"]
    by_feature, by_pixel = torch.autograd.grad(logits.amax(1).sum(), (features, pixels))
    features, pixels = features.detach(), pixels.detach()

    cam = (by_feature.mean((2, 3, 4), keepdim=True) * features).sum(1, keepdim=True).relu()
    heat = (by_pixel * (pixels - pixels.mean((3, 4), keepdim=True))).abs().sum(1, keepdim=True)  # (N, 1, T, H, W)
    side = max(3, pixels.shape[-1] // 16 | 1)
    for _ in range(2):  # two boxes are nearly a bell
        heat = F.avg_pool3d(heat, (1, side, side), 1, (0, side // 2, side // 2), count_include_pad=False)
    heat = (heat * F.interpolate(cam, heat.shape[2:], mode="trilinear"))[:, 0]
    most = heat.flatten(1).quantile(0.995, dim=1).clamp_min(torch.finfo(heat.dtype).tiny)
    return logits.detach(), (heat / most.view(-1, 1, 1, 1)).clamp_max(1)
