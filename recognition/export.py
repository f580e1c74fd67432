"""Models for other programs."""

from dataclasses import asdict
from pathlib import Path

from dataloaders.errors import FileError
from dataloaders.files import atomic_write
from network.export import export_model
from recognition.outputs import make_folder
from recognition.recognizer import Recognizer


def export(recognizer: Recognizer, file: Path) -> None:
    """Write a model, and how its clips are cut, as ONNX and as a program of `torch.export`.

    Args:
        recognizer: Has the model.
        file: The path of both without their endings, which may be named with one.

    Raises:
        FileError: A file cannot be written.
        ModelError: A package is missing.
    """
    config = recognizer.config
    metadata = {
        "model": recognizer.name,
        "classes": recognizer.labels.classes,
        "clip": asdict(config),
    }
    stem = file.with_suffix("") if file.suffix in (".onnx", ".pt2") else file
    make_folder(stem.parent)
    exported = export_model(recognizer.model, (config.channels, *config.shape), metadata)
    for ending in (".onnx", ".pt2"):
        target = stem.with_name(f"{stem.name}{ending}")
        with atomic_write(target) as partial:
            try:
                exported.save(partial)
            except (OSError, RuntimeError) as error:  # PyTorch's, where the disk is full
                reason = str(error).partition("\n")[0]
                raise FileError(f"{target}: cannot be written: {reason}") from error
        print(f"  in {target}")
