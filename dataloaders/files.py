"""Text files and tables: read whole, written whole or not at all."""

import contextlib
import csv
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from dataloaders.errors import DataError, FileError

Row = TypeVar("Row")
# Seconds between attempts to replace a file that another program reads, which Windows refuses.
REPLACE_DELAYS = (0.1, 0.4, 1.5)


@contextlib.contextmanager
def named_errors(path: str | Path | None = None) -> Iterator[None]:
    """Turn an OSError of the block into a FileError.

    Args:
        path: The path of the user that it names, by default that of the OSError.
    """
    try:
        yield
    except FileError:
        raise
    except OSError as error:
        raise FileError(f"{path or error.filename}: {error.strerror or error}") from None


def read_text(file: str | Path) -> str:
    """Read a text that a user has written.

    Raises:
        FileError: The file is missing or cannot be read.
        DataError: It is no text in UTF-8.
    """
    try:
        with named_errors(file):
            return Path(file).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{file}: not a text in UTF-8") from None


def read_lines(file: str | Path) -> list[str]:
    """Read the lines of a text that are not blank; errors as of `read_text`."""
    lines = [line.strip() for line in read_text(file).splitlines()]
    return [line for line in lines if line]


def read_table(
    path: Path,
    columns: Sequence[str],
    parse: Callable[[dict[str, str]], Row],
    *,
    is_growing: bool = False,
) -> Iterator[Row]:
    """Read a CSV file that `write_table` or `append_row` wrote.

    Args:
        path: The file.
        columns: The header that it must have.
        parse: Makes a result of a row, {column: cell}; it raises ValueError for a wrong one.
        is_growing: Whether rows are being added, so that the last one may be incomplete.

    Yields:
        What `parse` returns for each row.

    Raises:
        FileError: The file cannot be read.
        DataError: It is damaged.
    """
    try:
        with named_errors(path), open(path, newline="", encoding="utf-8") as file:
            lines = (line for line in file if line.endswith("\n") or not is_growing)
            reader = csv.reader(lines)  # DictReader takes as long as all the rest
            header = next(reader, None)
            if header is None and is_growing:  # not even that was completed
                return
            if header != list(columns):
                raise ValueError("its first line is not " + ",".join(columns))
            for row in reader:
                if len(row) != len(columns):
                    raise ValueError(f"line {reader.line_num} has not {len(columns)} cells")
                yield parse(dict(zip(columns, row, strict=True)))
    except FileError:
        raise
    except (ValueError, csv.Error) as error:
        raise DataError(f"{path} is damaged ({error}): delete it and start again") from None


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV file atomically.

    Args:
        path: The file.
        columns: Its header.
        rows: Its rows, a cell a column.

    Raises:
        FileError: It cannot be written.
    """
    with atomic_write(path) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(columns)
        table.writerows(rows)


def append_row(path: Path, columns: Sequence[str], row: Sequence[Any]) -> None:
    """Add a row to a CSV file, which is made with its header where there is none.

    Args:
        path: The file.
        columns: Its header.
        row: The cells.

    Raises:
        FileError: It cannot be written.
    """
    with named_errors(path), open(path, "a", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        if file.tell() == 0:
            table.writerow(columns)
        table.writerow(row)


def cut_incomplete_row(path: Path) -> None:
    """Remove what a start has written of a last row when the disk was full."""
    if os.path.isfile(path):
        with named_errors(path):
            os.truncate(path, path.read_bytes().rfind(b"\n") + 1)


def delete_file(path: Path) -> None:
    """Delete a file, which need not be there; FileError where that fails."""
    with named_errors(path):
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Write a file whole or not at all.

    Yields:
        A path beside `path`, of the same ending. It replaces `path` after the block, or is removed
        where the block fails.

    Raises:
        FileError: The file cannot be written.
    """
    partial = path.with_name(f"{path.stem}.partial{path.suffix}")
    with named_errors(path):
        if path.exists() and not path.is_file():  # a device, which root would replace by a file
            raise FileError(f"{path}: not a file")
        # Left by a killed start, it may be another name (hard link) of a good file.
        partial.unlink(missing_ok=True)
        try:
            yield partial
            with open(partial, "rb+") as file:
                os.fsync(file.fileno())  # or a power failure may leave an empty file of this name
            _replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)


def _replace(partial: Path, path: Path) -> None:
    for seconds in REPLACE_DELAYS:
        try:
            os.replace(partial, path)
            return
        except PermissionError:
            time.sleep(seconds)
    os.replace(partial, path)


def shorten(names: Sequence[str]) -> str:
    """Return the first five of `names` for a message."""
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def plural(number: int, noun: str, nouns: str | None = None) -> str:
    """Return "1 video" or "2 videos".

    Args:
        number: How many.
        noun: Of one.
        nouns: Of many, by default the noun with an s.
    """
    return f"{number} {noun if number == 1 else nouns or noun + 's'}"
