"""What a layer sees: its input and output, recorded while a network computes."""

from torch import Tensor, nn


class Recorder:
    """Records a layer in the forward pass within a `with` block.

    Attributes:
        input: The first tensor that the layer was given.
        output: What it computed.
    """

    input: Tensor
    output: Tensor

    def __init__(self, layer: nn.Module, with_gradient: bool = False):
        """Prepare to record.

        Args:
            layer: Part of the network.
            with_gradient: Whether the output must have a gradient, even if nothing before it has.
        """
        self._layer = layer
        self._with_gradient = with_gradient

    def __enter__(self) -> "Recorder":
        self._hook = self._layer.register_forward_hook(self._record)
        return self

    def __exit__(self, *_) -> None:
        self._hook.remove()

    def _record(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self.input = inputs[0]
        self.output = output.requires_grad_() if self._with_gradient else output
