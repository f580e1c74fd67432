"""Text files and tables: read whole, written whole or not at all."""

import contextlib
import csv
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dataloaders.errors import DataError


def read_lines(file: str | Path) -> list[str]:
    """Read the lines of a text that are not blank; OSError where there is no file, DataError where it is no text."""
    try:
        return [
            line.strip()
            for line in Path(file).read_text(encoding="utf-8-sig").splitlines()
            if line.strip()
        ]
    except UnicodeDecodeError:
        raise DataError(f"{file}: not a text in UTF-8") from None


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV file atomically."""
    with atomic_write(path) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(columns)
        table.writerows(rows)


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a path beside `path`, of the same ending, which replaces it, or is removed where the block fails."""
    partial = path.with_name(f"{path.stem}.partial{path.suffix}")
    partial.unlink(
        missing_ok=True
    )  # left by a killed start, it may be another name (hard link) of a good file
    try:
        yield partial
        with open(partial, "rb+") as file:
            os.fsync(file.fileno())  # or a power failure may leave an empty file of this name
        for seconds in (0.1, 0.4, 1.5):
            with contextlib.suppress(
                PermissionError
            ):  # of Windows, while another program reads the file
                return os.replace(partial, path)
            time.sleep(seconds)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def shorten(names: Sequence[str]) -> str:
    """Return the first five of `names` for a message."""
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
