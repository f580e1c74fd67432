"""Models for other programs: ONNX and `torch.export`."""

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from network.errors import ModelError


def export_model(
    model: nn.Module, clip_shape: tuple[int, int, int], metadata: dict
) -> dict[str, Callable]:
    """Export a model in evaluation mode, on the CPU: RGB `clips`, `uint8` (N, 3, T, H, W) -> `logits` (N, num_classes).
    The metadata travel along as JSON: in ONNX as metadata properties, in the program as extra files of the same names.
    Returns the functions that write it to a path, by the ending of the file; ModelError where a package is missing."""
    try:
        import onnxscript  # noqa: F401
    except ImportError:
        raise ModelError("--export needs one more package: pip install onnxscript") from None
    example = torch.zeros(2, 3, *clip_shape, dtype=torch.uint8)
    texts = {name: json.dumps(value, ensure_ascii=False) for name, value in metadata.items()}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(
            logging.ERROR
        )  # it misses torchvision, which is not needed
        program = torch.export.export(
            model, (example,), dynamic_shapes=({0: torch.export.Dim("batch")},)
        )
        onnx = torch.onnx.export(
            program, dynamo=True, input_names=["clips"], output_names=["logits"]
        )
    onnx.model.metadata_props.update(texts)
    save_program = partial(torch.export.save, program, extra_files=texts)
    return {".onnx": partial(onnx.save, external_data=False), ".pt2": save_program}
