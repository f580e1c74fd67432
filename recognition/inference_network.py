"""A trained network as recognition computes it: faster, and checked against plain `float32`."""

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from engine.precision import has_fast_bfloat16
from network import head_of, move_to_device
from network.folding import fold_batch_norm
from network.grad_cam import grad_cam
from network.recorder import Recorder

NUM_CHECKED_CLIPS = 4  # the first ones, which are computed in both precisions
MAX_DIFFERENCE = 0.02  # of the norm of the logits of a clip
MIN_LEAD = 0.05  # of a likeliest class that must stay the likeliest


@dataclass(frozen=True)
class Outputs:
    """What a network gives for a batch, on its device.

    Attributes:
        logits: (N, num_classes).
        precision: The type in which they were computed: "bfloat16", "tf32" or "float32".
        features: (N, 512) or (N, 4096), what the last layer sees; None where not asked for.
        heatmaps: (N, T, H, W), see `network.grad_cam.grad_cam`; None where not asked for.
    """

    logits: Tensor
    precision: str
    features: Tensor | None = None
    heatmaps: Tensor | None = None


class InferenceNetwork:
    """Computes a network with batch norm folded, on some CPUs in bfloat16.

    bfloat16 is used where the CPU has instructions for it and where it computes right: the first
    clips are computed in `float32` too, and `float32` is used from then on if the two differ.
    One thread at a time may use it.

    Attributes:
        device: Where it computes.
    """

    def __init__(self, model: nn.Module, *, with_amp: bool = True):
        """Prepare to compute.

        Args:
            model: In evaluation mode, on its device; it is left as it is.
            with_amp: Whether less precise types than `float32` are allowed.
        """
        self.device = next(model.parameters()).device
        self._model = model
        self._with_amp = with_amp
        self._bfloat16: nn.Module | None = None
        self._num_unchecked = NUM_CHECKED_CLIPS
        if with_amp and self.device.type == "cpu" and has_fast_bfloat16():
            self._bfloat16 = self._fold()
            _cast_layers(self._bfloat16)

    @cached_property
    def _float32(self) -> nn.Module:
        return self._fold()

    def _fold(self) -> nn.Module:
        return move_to_device(fold_batch_norm(self._model), self.device)

    def compute(
        self, clips: Tensor, *, with_features: bool = False, with_heatmaps: bool = False
    ) -> Outputs:
        """Compute the logits of clips.

        Args:
            clips: `uint8` (N, C, T, H, W), on the device of the network.
            with_features: Whether to record what the last layer sees.
            with_heatmaps: Whether to compute heat maps, for which all is `float32`.

        Raises:
            ModelError: The network defines nothing of what is asked for.
        """
        if with_heatmaps or self._bfloat16 is None:
            return self._forward_float32(clips, with_features, with_heatmaps)
        if self._num_unchecked > 0:
            return self._compute_both(clips, with_features)
        return self._forward_bfloat16(clips, with_features)

    def _compute_both(self, clips: Tensor, with_features: bool) -> Outputs:
        """Compute in both types; from the first difference on only `float32` is used."""
        exact = _forward(self._model, clips, "float32", with_features)
        try:
            outputs = self._forward_bfloat16(clips, with_features)
        except RuntimeError:  # a network with layers that take one type only
            problem = "this network cannot be computed in bfloat16"
        else:
            problem = describe_difference(outputs.logits, exact.logits)
        if problem is None:
            self._num_unchecked -= len(clips)
            return outputs
        print(f"{problem}: float32 is used", file=sys.stderr)
        self._bfloat16 = None
        return exact

    def _forward_bfloat16(self, clips: Tensor, with_features: bool) -> Outputs:
        with torch.autocast("cpu", torch.bfloat16):
            return _forward(self._bfloat16, clips, "bfloat16", with_features)

    def _forward_float32(
        self, clips: Tensor, with_features: bool, with_heatmaps: bool = False
    ) -> Outputs:
        if self.device.type != "cuda":
            return _forward(self._float32, clips, "float32", with_features, with_heatmaps)
        with self._tf32() as has_tf32:
            precision = "tf32" if has_tf32 else "float32"
            return _forward(self._float32, clips, precision, with_features, with_heatmaps)

    @contextlib.contextmanager
    def _tf32(self) -> Iterator[bool]:
        """Allow TF32 in convolutions or not; gives whether they use it."""
        allowed = torch.backends.cudnn.allow_tf32
        torch.backends.cudnn.allow_tf32 = allowed and self._with_amp
        try:
            has_tf32 = torch.cuda.get_device_capability(self.device) >= (8, 0)
            yield has_tf32 and torch.backends.cudnn.allow_tf32
        finally:
            torch.backends.cudnn.allow_tf32 = allowed


def describe_difference(logits: Tensor, exact: Tensor) -> str | None:
    """Return how logits differ from exact ones as text; None where they are close enough.

    Args:
        logits: (N, num_classes), of any type.
        exact: (N, num_classes), `float32`.
    """
    difference = (logits.float() - exact).norm(dim=1) / exact.norm(dim=1)
    largest = difference.max().item()
    if not largest <= MAX_DIFFERENCE:  # NaN is not
        return f"bfloat16 changes the logits of this network by {largest:.1%}"
    two_likeliest = exact.softmax(1).topk(min(2, exact.shape[1])).values
    leads = two_likeliest[:, 0] - two_likeliest[:, -1]
    is_changed = logits.argmax(1) != exact.argmax(1)
    if (is_changed & (leads > MIN_LEAD)).any():
        return "bfloat16 changes the likeliest class"
    return None


def _cast_layers(model: nn.Module) -> None:
    """Cast the weights of convolutions and linear layers to bfloat16.

    Autocast would cast them anew in each call, which for C3D takes a third of the time.
    """
    for module in model.modules():
        if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)):
            module.to(torch.bfloat16)


def _forward(
    model: nn.Module,
    clips: Tensor,
    precision: str,
    with_features: bool,
    with_heatmaps: bool = False,
) -> Outputs:
    if not with_features:
        return _compute(model, clips, precision, with_heatmaps)
    with Recorder(model.get_submodule(head_of(model))) as head:
        outputs = _compute(model, clips, precision, with_heatmaps)
    return replace(outputs, features=head.input.detach())


def _compute(model: nn.Module, clips: Tensor, precision: str, with_heatmaps: bool) -> Outputs:
    if with_heatmaps:
        logits, heatmaps = grad_cam(model, clips)
        return Outputs(logits, precision, heatmaps=heatmaps)
    with torch.inference_mode():
        return Outputs(model(clips), precision)
