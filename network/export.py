"""Networks for other programs: ONNX and `torch.export`."""

import contextlib
import io
import json
import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from network.errors import ModelError


@dataclass(frozen=True)
class ExportedModel:
    """A network in two forms: `uint8` clips (N, C, T, H, W) -> `logits` (N, num_classes).

    Attributes:
        onnx: Has the metadata as metadata properties.
        program: Of `torch.export`; gets them as extra files of the same names.
        metadata: JSON by name.
    """

    onnx: torch.onnx.ONNXProgram
    program: torch.export.ExportedProgram
    metadata: dict[str, str]

    def save(self, path: Path) -> None:
        """Write the form that the ending of the path names, ".onnx" or ".pt2"."""
        if path.suffix == ".onnx":
            self.onnx.save(path, external_data=False)
        else:
            torch.export.save(self.program, path, extra_files=self.metadata)


def export_model(
    model: nn.Module, clip_shape: tuple[int, int, int, int], metadata: dict[str, Any]
) -> ExportedModel:
    """Export a network.

    Args:
        model: The network, in evaluation mode, on the CPU.
        clip_shape: (C, T, H, W).
        metadata: What JSON can hold, by name.

    Raises:
        ModelError: A package is missing.
    """
    try:
        import onnxscript  # noqa: F401
    except ImportError:
        raise ModelError("--export needs one more package: pip install onnxscript") from None
    example = torch.zeros(2, *clip_shape, dtype=torch.uint8)
    texts = {name: json.dumps(value, ensure_ascii=False) for name, value in metadata.items()}
    batch = torch.export.Dim("batch")
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        # It reports that torchvision is missing, which is not needed.
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.export.export(model, (example,), dynamic_shapes=({0: batch},))
        onnx = torch.onnx.export(
            program, dynamo=True, input_names=["clips"], output_names=["logits"]
        )
    onnx.model.metadata_props.update(texts)
    return ExportedModel(onnx, program, texts)
