"""What OpenCV does not tell about an MP4 or QuickTime file (ISO/IEC 14496-12)."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Track(NamedTuple):
    """The first video track."""

    matrix: tuple[float, float, float, float]  # (a, b, c, d): the point (x, y) is shown at (a x + c y, b x + d y)
    duration: float | None  # seconds that are left of it by its edit list; None where it has none


def read_video_track(path: Path) -> Track | None:
    """Read the header of a file; None where it is of another format, or damaged, OSError where it cannot be read."""
    with open(path, "rb") as file:
        try:
            while True:
                size, kind = struct.unpack(">I4s", file.read(8))
                header = 8
                if size == 1:
                    size, header = struct.unpack(">Q", file.read(8))[0], 16
                if not kind.isalnum() or size < header:
                    return None
                if kind == b"moov":
                    return _find_video_track(file.read(size - header))
                file.seek(size - header, 1)
        except (struct.error, OverflowError, LookupError):
            return None


def _find_video_track(moov: bytes) -> Track | None:
    timescale = None
    for kind, box in _boxes(moov):
        if kind == b"mvhd":
            timescale = struct.unpack_from(">I", box, 20 if box[0] else 12)[0]
        elif kind == b"trak":
            track = dict(_boxes(box))
            if dict(_boxes(track[b"mdia"]))[b"hdlr"][8:12] == b"vide":
                header, is_long = track[b"tkhd"], bool(track[b"tkhd"][0])
                duration = struct.unpack_from(">Q" if is_long else ">I", header, 28 if is_long else 20)[0]
                numbers = struct.unpack_from(">9i", header, 52 if is_long else 40)
                matrix = tuple(numbers[i] / 2**16 for i in (0, 1, 3, 4))
                return Track(matrix, duration / timescale if b"edts" in track and timescale else None)
    return None


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = 0
    while place + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, place)
        if size < 8:
            return
        yield kind, data[place + 8 : place + size]
        place += size
