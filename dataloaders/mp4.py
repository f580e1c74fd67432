"""What OpenCV does not tell about an MP4 or QuickTime file (ISO/IEC 14496-12)."""

import contextlib
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Track(NamedTuple):
    """The first video track."""

    is_mirrored: bool  # by its display matrix, which OpenCV obeys only in so far as it turns images
    duration: (
        float | None
    )  # seconds that are left of it by its edit list, 0 if unknown; None where it has no list


def read_video_track(path: Path) -> Track | None:
    """Read the header of a file; None where it is of another format, or damaged, OSError where it cannot be read."""
    with open(path, "rb") as file, contextlib.suppress(struct.error, OverflowError, LookupError):
        while True:
            size, kind = struct.unpack(">I4s", file.read(8))
            size = struct.unpack(">Q", file.read(8))[0] - 16 if size == 1 else size - 8
            if size < 0 or not kind.isalnum():
                break
            if kind == b"moov":
                return _find_video_track(file.read(size))
            file.seek(size, 1)
    return None


def _find_video_track(moov: bytes) -> Track | None:
    movie = dict(_boxes(moov))[b"mvhd"]
    timescale = struct.unpack_from(">I", movie, 20 if movie[0] else 12)[0]
    for kind, box in _boxes(moov):
        track = dict(_boxes(box)) if kind == b"trak" else {}
        if track and dict(_boxes(track[b"mdia"]))[b"hdlr"][8:12] == b"vide":
            # Images are shown by the matrix of the track, and then by that of the movie.
            is_mirrored = _determinant(track[b"tkhd"], 40, 52) * _determinant(movie, 36, 48) < 0
            edits, duration = dict(_boxes(track.get(b"edts", b""))).get(b"elst"), None
            if edits:
                entry, count = ">Qq4x" if edits[0] else ">Ii4x", int.from_bytes(edits[4:8], "big")
                entries = struct.iter_unpack(entry, edits[8:][: count * struct.calcsize(entry)])
                duration = sum(length for length, start in entries if start >= 0) / max(
                    1, timescale
                )
            return Track(is_mirrored, duration)
    return None


def _determinant(header: bytes, place: int, long_place: int) -> int:
    a, b, _, c, d = struct.unpack_from(">5i", header, long_place if header[0] else place)
    return a * d - b * c


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    while len(data) >= 8 and (size := int.from_bytes(data[:4], "big")) >= 8:
        yield data[4:8], data[8:size]
        data = data[size:]
