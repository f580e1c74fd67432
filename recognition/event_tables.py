"""Tables of events: those that inference.py writes, and those in which people say what is true."""

import csv
import io
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dataloaders.errors import DataError
from dataloaders.files import read_text
from dataloaders.labels import read_labels
from dataloaders.tables import parse_rows
from dataloaders.video import VideoFile
from recognition.outputs import EVENT_COLUMNS


@dataclass(frozen=True)
class Event:
    """Something that happens in a video.

    Attributes:
        video: Its name in the table.
        start: In seconds.
        end: In seconds.
        label: The name of the class.
        probability: As inference.py gives it; None of what a person says.
    """

    video: str
    start: float
    end: float
    label: str
    probability: float | None = None


class _Table:
    """The cells of a table with a header.

    Attributes:
        file: The path.
        columns: The names in the header, in small letters.
        rows: The line of each row in the file, and its cells.
    """

    def __init__(self, file: Path):
        """Read a table; FileError or DataError where it is none."""
        self.file = file
        text = read_text(file)
        header = text.partition("\n")[0]
        delimiter = next((mark for mark in ",;\t" if mark in header), ",")
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        rows = []
        try:
            for row in reader:
                cells = [cell.strip() for cell in row]
                if any(cells):
                    rows.append((reader.line_num, cells))
        except csv.Error as error:
            raise DataError(f"{file}: not a table ({error})") from None
        if not rows:
            raise DataError(f"{file}: an empty table")
        self.columns = [name.lower() for name in rows[0][1]]
        self.rows = rows[1:]

    def require(self, *columns: str) -> None:
        """Raise DataError where a column is missing."""
        missing = [name for name in columns if name not in self.columns]
        if missing:
            raise DataError(f"{self.file}: it has no column {', '.join(missing)}")

    def parse(self, parse_row: Callable[[Mapping[str, str]], Event]) -> list[Event]:
        """Return the events of all rows; DataError, which names the rows, where some are wrong."""

        def parse_cells(cells: list[str]) -> Event:
            if len(cells) != len(self.columns):
                raise DataError(f"{len(cells)} cells, not {len(self.columns)}")
            return parse_row(dict(zip(self.columns, cells, strict=True)))

        return parse_rows(self.file, self.rows, parse_cells)


def read_events(file: Path) -> list[Event]:
    """Read `events.csv` of inference.py.

    Raises:
        FileError: The file cannot be read.
        DataError: It is no such table, or some of its rows, which the message names, are wrong.
    """
    table = _Table(file)
    table.require(*EVENT_COLUMNS)
    if not table.rows:
        raise DataError(f"{file}: no events; a lower --threshold of inference.py gives some")
    return table.parse(_parse_event)


def read_truth(file: Path) -> list[Event]:
    """Read what happens in videos: `video,start,end,label`, or the table that people train from.

    The second kind has the column `path` in place of `video`. Where it has no start or no end, the
    event begins or ends with its video. Other columns mean nothing here.

    Raises:
        FileError: The file cannot be read.
        DataError: It is no such table, or some of its rows, which the message names, are wrong.
    """
    table = _Table(file)
    if "path" in table.columns:
        table.require("label")
        parse_row = _PathReader(file).read
    else:
        table.require("video", "start", "end", "label")
        parse_row = _parse_truth
    if not table.rows:
        raise DataError(f"{file}: a table without rows")
    return table.parse(parse_row)


def _parse_event(row: Mapping[str, str]) -> Event:
    start = _seconds(row, "start")
    end = _seconds(row, "end")
    if end < start:  # an event of no length may come from a video of a single frame
        raise DataError(f"it ends at {end:g}, before it starts at {start:g}")
    probability = _number(row, "probability")
    return Event(_text(row, "video"), start, end, _text(row, "label"), probability)


def _parse_truth(row: Mapping[str, str]) -> Event:
    start = _seconds(row, "start")
    end = _seconds(row, "end")
    return _with_length(Event(_text(row, "video"), start, end, _text(row, "label")))


class _PathReader:
    """Makes events of the rows of a table that people train from."""

    def __init__(self, table: Path):
        self._folder = table.parent
        self._labels_file = table.with_name("labels.txt")
        self._names = read_labels(self._labels_file) if self._labels_file.is_file() else []
        self._durations: dict[str, float | None] = {}

    def read(self, row: Mapping[str, str]) -> Event:
        """Return the event of a row; ValueError where it is wrong."""
        path, _, span = _text(row, "path").partition("#t=")
        first, _, last = span.partition(",")
        times = {"start": row.get("start") or first, "end": row.get("end") or last}
        start = _seconds(times, "start") if times["start"] else 0.0
        end = _seconds(times, "end") if times["end"] else self._duration(path)
        return _with_length(Event(path, start, end, self._label(row)))

    def _label(self, row: Mapping[str, str]) -> str:
        label = _text(row, "label")
        if not self._names or not label.isdecimal():
            return label
        if int(label) >= len(self._names):
            raise DataError(f"{self._labels_file} has no line for the label {label}")
        return self._names[int(label)]

    def _duration(self, path: str) -> float:
        """Return the duration of a video; DataError where nobody knows it."""
        if path not in self._durations:
            file = self._folder / path.replace("\\", "/")
            self._durations[path] = VideoFile(file).duration if os.path.exists(file) else None
        duration = self._durations[path]
        if duration is None:
            raise DataError(f"no end, and the video {path!r}, which has one, is not there")
        return duration


def _with_length(event: Event) -> Event:
    if event.end <= event.start:
        raise DataError(f"it ends at {event.end:g}, not after it starts at {event.start:g}")
    return event


def _text(row: Mapping[str, str], column: str) -> str:
    if not row[column]:
        raise DataError(f"no {column}")
    return row[column]


def _number(row: Mapping[str, str], column: str) -> float:
    try:
        value = float(row[column])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{column} {row[column]!r} is not a number")
    return value


def _seconds(row: Mapping[str, str], column: str) -> float:
    value = _number(row, column)
    if value < 0:
        raise DataError(f"{column} {value:g} is less than 0")
    return value
