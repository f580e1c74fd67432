"""Data sets as tables: a CSV file of paths and labels, or a list of them without a header."""

import csv
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from dataloaders.errors import DataError
from dataloaders.files import read_text, shorten
from dataloaders.groups import group_of
from dataloaders.labels import read_labels
from dataloaders.records import SPLIT_NAMES, VideoRecord, is_folder_name
from dataloaders.video import VideoFile

TABLE_COLUMNS = ("path", "label", "split", "group", "start", "end")
LISTED_ROWS = 5  # that a message names
Row = TypeVar("Row")  # what a row of a table says
END_TOLERANCE = 0.5  # seconds by which a part may end after its recording


@dataclass(frozen=True)
class Cells:
    """The texts of a table.

    Attributes:
        columns: The names of the columns.
        rows: The number of each row in the file, and its cells.
    """

    columns: tuple[str, ...]
    rows: list[tuple[int, list[str]]]


def read_cells(table: Path) -> Cells:
    """Read a table, with or without a header.

    Raises:
        FileError: The file cannot be read.
        DataError: It is no such table.
    """
    lines = read_text(table).splitlines()
    first = lines[0] if lines else ""
    delimiter = next((mark for mark in ",;\t" if mark in first), ",")
    try:
        numbered = list(enumerate(csv.reader(lines, delimiter=delimiter), start=1))
    except csv.Error as error:
        raise DataError(f"{table}: not a table ({error})") from None
    rows = [(number, row) for number, row in numbered if row]
    if not rows:
        raise DataError(f"{table}: an empty table")
    columns = tuple(cell.strip().lower() for cell in rows[0][1])
    if "path" not in columns:
        plain = [(number, _split_plain_row(table, row)) for number, row in rows]
        return Cells(TABLE_COLUMNS[:2], plain)
    _validate_columns(table, columns)
    if len(rows) == 1:
        raise DataError(f"{table}: a table without rows")
    return Cells(columns, rows[1:])


def _validate_columns(table: Path, columns: Sequence[str]) -> None:
    unknown = [name for name in columns if name not in TABLE_COLUMNS]
    if unknown:
        known = ", ".join(TABLE_COLUMNS)
        raise DataError(f"{table}: unknown column {shorten(unknown)}; it may have {known}")
    if "label" not in columns:
        raise DataError(f"{table}: it has no column label")


def _split_plain_row(table: Path, row: list[str]) -> list[str]:
    """Return the path and the label of a row without a header, as SlowFast and mmaction2 write it.

    That is `path label`, or `path frames label` for a folder of images, by spaces or commas. The
    number of frames is not needed: the folder has it.
    """
    two_cells = row if len(row) > 1 else row[0].rsplit(maxsplit=1)
    cells = two_cells
    if len(cells) == 2 and not os.path.exists(table.parent / cells[0]):
        cells = [*cells[0].rsplit(maxsplit=1), cells[1]]
    if len(cells) == 3 and cells[1].strip().isdecimal():
        path = cells[0].strip()
        if os.path.isdir(table.parent / path):
            return [path, cells[2]]
    return two_cells


def list_table(table: Path) -> list[VideoRecord]:
    """Read the records of a table.

    Raises:
        FileError: The file cannot be read.
        DataError: It is no table, or some of its rows, which the message names, cannot be used.
    """
    cells = read_cells(table)
    videos = parse_rows(table, cells.rows, _RowReader(table, cells).read)
    labels = [video.class_name for video in videos]
    unusable = [label for label in labels if not is_folder_name(label)]
    if unusable:
        raise DataError(f"{table}: labels that cannot be names of folders: {shorten(unusable)}")
    return videos


def parse_rows(
    table: Path, rows: Sequence[tuple[int, list[str]]], parse: Callable[[list[str]], Row]
) -> list[Row]:
    """Return what the rows of a table say.

    Args:
        table: The file.
        rows: The number of each row in the file, and its cells.
        parse: Returns what a row says; ValueError where it cannot be used.

    Raises:
        DataError: Some rows, of which the message names the first, cannot be used.
    """
    parsed = []
    faults = []
    for number, cells in rows:
        try:
            parsed.append(parse(cells))
        except ValueError as error:
            faults.append(f"row {number}: {error}")
    if faults:
        raise DataError(
            f"{table}: {len(faults)} of {len(rows)} rows cannot be used; "
            + "; ".join(faults[:LISTED_ROWS])
        )
    return parsed


class _RowReader:
    """Makes records of the rows of one table."""

    def __init__(self, table: Path, cells: Cells):
        self.folder = table.parent
        self.columns = cells.columns
        self.labels_file = table.with_name("labels.txt")
        self.names = read_labels(self.labels_file) if os.path.isfile(self.labels_file) else []
        self.sources = set()  # those of the rows above
        self.durations = {}  # of recordings, several rows of which name parts
        place = self.columns.index("label")
        full_rows = [row for _, row in cells.rows if len(row) == len(self.columns)]
        self.counts = Counter(row[place].strip() for row in full_rows)

    def read(self, row: Sequence[str]) -> VideoRecord:
        """Return the record of a row; ValueError where it cannot be used."""
        values = dict(zip(self.columns, map(str.strip, row), strict=False))
        path = values.get("path", "").replace("\\", "/")  # as Windows writes it
        if len(row) != len(self.columns):
            raise DataError(f"{len(row)} cells, not {len(self.columns)}")
        if not path or not os.path.exists(self.folder / path):
            raise DataError(f"no such file {path!r}")
        split = self._split(values)
        class_name = self._class_name(values["label"])
        stem = re.sub(r"[/\\]+", "_", os.path.splitext(path)[0].strip("./\\"))
        span = self._span(path, values)
        source = f"{path}#t={','.join(span)}" if span else path
        if source in self.sources:
            raise DataError(f"{source} stands in a row above")
        self.sources.add(source)
        return VideoRecord(
            split=split,
            class_name=class_name,
            video=f"{stem}_{'-'.join(span)}" if span else stem,
            group=values.get("group") or (path if span else group_of(class_name, stem)),
            source=source,
            group_is_given=bool(values.get("group")),
        )

    def _split(self, values: Mapping[str, str]) -> str | None:
        if "split" not in self.columns:
            return None
        split = values["split"]
        if split.lower() not in SPLIT_NAMES:
            raise DataError(f"unknown split {split!r}")
        return SPLIT_NAMES[split.lower()]

    def _class_name(self, label: str) -> str:
        if not label or self.counts[label] == 1:
            raise DataError(f"the only video of the label {label!r}")
        if not self.names or not label.isdecimal():
            return sys.intern(label)
        if int(label) >= len(self.names):
            raise DataError(f"{self.labels_file} has no line for the label {label}")
        return sys.intern(self.names[int(label)])

    def _span(self, path: str, values: Mapping[str, str]) -> tuple[str, ...]:
        """Return when a part of a recording starts and ends, in seconds; empty for all of it."""
        given_start = values.get("start")
        given_end = values.get("end")
        if not given_start and not given_end:
            return ()
        duration = self._duration(path)
        if duration is None and not given_end:
            raise DataError(f"how long {path} is stands nowhere; give the end of the part")
        start = float(given_start or 0)
        end = float(given_end or duration)
        if not 0 <= start < end:
            raise DataError(f"{start:g} to {end:g} is no part of a recording")
        if duration is not None and end > duration + END_TOLERANCE:
            raise DataError(f"{start:g} to {end:g} is no part of its {duration:.1f} seconds")
        return f"{round(start, 3):.10g}", f"{round(end, 3):.10g}"

    def _duration(self, path: str) -> float | None:
        if path not in self.durations:
            self.durations[path] = VideoFile(self.folder / path).duration
        return self.durations[path]
