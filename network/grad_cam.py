"""3-D Grad-CAM: where a model looks."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def grad_cam(model: nn.Module, clips: Tensor) -> tuple[Tensor, Tensor]:
    """Compute a heat map of what each pixel contributes to the likeliest class of each clip, in evaluation mode.
    3-D Grad-CAM over the last convolutional stage (Selvaraju et al. 2017, arXiv:1610.02391, section 3) has few cells.
    As in the paper's Guided Grad-CAM it is multiplied by a map at the resolution of the input: the gradient at the
    normalised input times the distance of that input from the mean of its frame.
    Returns (logits, heatmaps): (N, num_classes); (N, T, H, W), 0 to 1, where 1 is the 99.5th percentile of the clip."""
    last_pool, captured = model.get_submodule(model.last_pool), {}
    with (
        model.normalize.register_forward_hook(
            lambda *call: captured.update(pixels=call[2].requires_grad_())
        ),
        last_pool.register_forward_pre_hook(lambda _, inputs: captured.update(features=inputs[0])),
        torch.enable_grad(),
    ):
        logits = model(clips)
    features, pixels = captured["features"], captured["pixels"]
    feature_grad, pixel_grad = torch.autograd.grad(logits.amax(1).sum(), (features, pixels))
    features, pixels = features.detach(), pixels.detach()
    cam = (feature_grad.mean((2, 3, 4), keepdim=True) * features).sum(1, keepdim=True).relu()
    heat = (
        (pixel_grad * (pixels - pixels.mean((3, 4), keepdim=True))).abs().sum(1, keepdim=True)
    )  # (N, 1, T, H, W)
    side = max(3, pixels.shape[-1] // 16 | 1)
    for _ in range(2):  # two box filters approximate a Gaussian
        heat = F.avg_pool3d(
            heat, (1, side, side), 1, (0, side // 2, side // 2), count_include_pad=False
        )
    heat = (heat * F.interpolate(cam, heat.shape[2:], mode="trilinear"))[:, 0]
    scale = heat.flatten(1).quantile(0.995, dim=1).clamp_min(torch.finfo(heat.dtype).tiny)
    return logits.detach(), (heat / scale.view(-1, 1, 1, 1)).clamp_max(1)
