"""Writes networks for other programs: ONNX and `torch.export`."""

import contextlib
import io
import json
import logging
import os
import warnings

import torch


def export(network, checkpoint, path):
    """Write a network, with the normalisation of its input, as `<path>.onnx` and `<path>.pt2`.

    Both take `clips`, `uint8` (N, 3, T, H, W), RGB, of any N, and give `logits` (N, num_classes). The model's name, its
    classes (a list) and the recipe of its clips travel along as JSON: in ONNX as the metadata `model`, `classes` and
    `clip`, in the program as extra files of these names, which `torch.export.load` reads into its `extra_files`.

    Args:
        network: in evaluation mode, on the CPU.
        checkpoint: what it was built from.
        path: where they go; an ending `.onnx` or `.pt2` is not taken for a part of the name.

    Returns:
        The paths of the two files.

    Raises:
        ValueError: a package is missing.
        OSError: a file cannot be written.
    """
    try:
        import onnxscript  # noqa: F401
    except ImportError:
        raise ValueError("--export needs one more package: pip install onnxscript") from None
    clip = checkpoint["clip"]
    stem = path.with_suffix("") if path.suffix in (".onnx", ".pt2") else path
    example = torch.zeros(2, 3, clip["clip_len"], clip["crop_size"], clip["crop_size"], dtype=torch.uint8)
    shapes = ({0: torch.export.Dim("batch")},)
    described = {key: json.dumps(checkpoint[key], ensure_ascii=False) for key in ("model", "classes", "clip")}
    onnx_file, program_file = stem.with_name(f"{stem.name}.onnx"), stem.with_name(f"{stem.name}.pt2")
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it misses torchvision, which is not needed
        program = torch.export.export(network, (example,), dynamic_shapes=shapes)
        onnx = torch.onnx.export(program, dynamo=True, input_names=["clips"], output_names=["logits"])
        onnx.model.metadata_props.update(described)
        stem.parent.mkdir(parents=True, exist_ok=True)
        save_whole(lambda file: onnx.save(file, external_data=False), onnx_file)
        save_whole(lambda file: torch.export.save(program, file, extra_files=described), program_file)
    return onnx_file, program_file


def save_whole(save, file):
    """Let `save(path)` write a file, whole or not at all; OSError where it cannot."""
    partial = file.with_suffix(f".partial{file.suffix}")
    try:
        save(partial)
        os.replace(partial, file)
    except (OSError, RuntimeError) as error:  # PyTorch's when the disk is full
        raise OSError(f"{file}: cannot be written: {error}") from error
    finally:
        partial.unlink(missing_ok=True)
