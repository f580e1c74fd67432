"""Folders of images that stand for a video: which of them, in which order, and their pixels."""

import io
import math
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageChops

from dataloaders.errors import DataError, FileError, TransientReadError
from dataloaders.frame_source import Frame

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")

DECIMAL = re.compile(r"(\d+(?:\.\d+)?)")
COUNTER = re.compile(r"(\d+)")

JPEG_START = b"\xff\xd8"
JPEG_SCAN = 0xDA  # the marker of the header before the compressed pixels
# What ends a run of compressed pixels: the next table, scan or restart, or the end of the picture.
JPEG_END_OF_RUN = re.compile(rb"\xff[\xc4\xd0-\xd7\xd9\xda]")
FILLER = bytes(range(1, 91)) * 12  # neither a marker nor a backslash, which `re` would replace

PNG_START = b"\x89PNG\r\n\x1a\n"
PNG_CHUNKS_OF_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"IDAT", b"IEND")


def has_image_suffix(name: str) -> bool:
    """Whether a file of such a name is an image."""
    return name.lower().endswith(IMAGE_SUFFIXES)


def is_image_name(name: str) -> bool:
    """Whether a file of such a name is an image of a frame folder: `._1.jpg` of macOS is none."""
    return has_image_suffix(name) and not name.startswith(".")


class ImageFolder:
    """A folder of images as a source of frames, in the order of the numbers in their names.

    Attributes:
        name: The folder, for messages.
        fps: Images a second.
        num_frames: How many images there are.
        duration: Seconds that they last.
        files: The images, in order.
    """

    is_live = False
    pixel_aspect = 1.0
    has_timestamps = True  # by their numbers and the rate that the user gives
    damage = None  # an image that is damaged raises an error

    def __init__(self, folder: Path, fps: float, prefix: str | None = None):
        """List the images; nothing is decoded.

        Args:
            folder: The folder.
            fps: Images a second.
            prefix: The images to take, where there are several kinds: what stands before the last
                number of their names, or the start of that.

        Raises:
            TransientReadError: The folder cannot be listed. Or there is no image with this prefix,
                or there are several kinds of images, or two with the same number: another prefix
                mends it, not another file.
            DataError: There are no images.
        """
        try:
            names = sorted(filter(is_image_name, os.listdir(folder)))
        except OSError as error:
            raise TransientReadError(f"{folder}: {error.strerror}") from None
        if not names:
            raise DataError(f"{folder}: no images in it")
        self.name = str(folder)
        self.fps = fps
        self.files = [folder / name for name in sort_names(folder, names, prefix)]
        self.num_frames = len(self.files)
        self.duration = self.num_frames / fps

    def frames(self, start: float = 0.0, end: float = math.inf) -> Iterator[Frame]:
        """Yield the frames of a part.

        Args:
            start: Time of the first frame to yield, in seconds.
            end: Time from which no frame is yielded, in seconds.
        """
        for number, file in enumerate(self.files):
            time = number / self.fps
            if start <= time < end:
                yield Frame(time, partial(read_image, file))

    def close(self) -> None:
        """Do nothing: no file stays open."""


@dataclass(frozen=True)
class _Name:
    """The name of an image, taken apart."""

    text: str
    parts: tuple  # texts and numbers by turns, without the ending: the key of the order
    prefix: str | None  # what stands before the last number; None where there is no number
    number: Decimal | None

    @classmethod
    def split(cls, text: str, pattern: re.Pattern) -> "_Name":
        pieces = pattern.split(os.path.splitext(text)[0])
        parts = list(pieces)
        parts[1::2] = [Decimal(number) for number in pieces[1::2]]
        if len(parts) == 1:
            return cls(text, tuple(parts), None, None)
        return cls(text, tuple(parts), "".join(pieces[:-2]), parts[-2])


Kinds = dict[str | None, list[_Name]]  # the names of images, by their prefix
TITLES = {None: "without a number", "": "a number alone"}  # of prefixes that say nothing


def sort_names(folder: Path, texts: Sequence[str], prefix: str | None) -> list[str]:
    """Choose the names of one kind and sort them by their numbers.

    A dot between digits is a decimal point (`t1.25` before `t1.5`), unless two numbers are then
    equal: `v1.1` and `v1.10` are counted.

    Args:
        folder: Where they are, for messages.
        texts: Names of images.
        prefix: As `ImageFolder` has it.

    Returns:
        The names, those of other prefixes left out.

    Raises:
        TransientReadError: As `ImageFolder` has it.
    """
    for pattern in (DECIMAL, COUNTER):
        names = _with_prefix(folder, [_Name.split(text, pattern) for text in texts], prefix)
        twin = _find_same_number(names)
        if twin is None:
            return [name.text for name in sorted(names, key=lambda name: name.parts)]
    raise TransientReadError(
        f"{folder}: {twin[0]} and {twin[1]} have the same number; remove one kind"
    )


def _with_prefix(folder: Path, names: list[_Name], prefix: str | None) -> list[_Name]:
    """Return the names with a prefix, by default all, which must be of one kind."""
    kinds = defaultdict(list)
    for name in names:
        kinds[name.prefix].append(name)
    chosen = kinds if prefix is None else _choose(kinds, prefix)
    if not chosen:
        raise TransientReadError(
            f"{folder}: no images named {prefix!r} and a number, but {_describe(kinds)}"
        )
    if not _is_one_sequence(chosen):
        raise TransientReadError(
            f"{folder}: several kinds of images: {_describe(chosen)}; "
            "image_prefix in mypath.py names the one to take"
        )
    return [name for name in names if name.prefix in chosen]


def _choose(kinds: Kinds, prefix: str) -> Kinds:
    """Return the kind of a prefix or, where there is none, those whose prefix begins with it."""
    if prefix in kinds:
        return {prefix: kinds[prefix]}
    matching = {}
    for kind, names in kinds.items():
        if kind is not None and kind.startswith(prefix):
            matching[kind] = names
    return matching


def _describe(kinds: Kinds) -> str:
    """Return the prefixes and how many images have each, for a message."""
    parts = []
    for kind, names in kinds.items():
        title = TITLES.get(kind) or repr(kind)
        parts.append(f"{title} ({len(names)})")
    return ", ".join(parts)


def _is_one_sequence(kinds: Kinds) -> bool:
    """Whether the images of several prefixes follow each other in one video.

    They do where only a number changes in the prefix, as in times (`12-00-59`, `12-01-00`). Where
    each such prefix has the same numbers, and many of them, they are views side by side
    (`cam1_0001`, `cam2_0001`).
    """
    if len(kinds) == 1:
        return True
    if None in kinds:
        return False
    texts = {COUNTER.sub("0", kind) for kind in kinds}
    if len(texts) > 1:
        return False
    numbers = []
    for names in kinds.values():
        numbers.append(sorted(name.number for name in names))
    have_same_numbers = all(column == numbers[0] for column in numbers)
    return not (have_same_numbers and len(numbers[0]) > len(kinds))


def _find_same_number(names: Sequence[_Name]) -> tuple[str, str] | None:
    """Return two names whose prefix and number are the same, None where there are none."""
    seen = {}
    for name in names:
        key = name.parts if name.number is None else (name.prefix, name.number)
        if key in seen:
            return seen[key], name.text
        seen[key] = name.text
    return None


def read_image(path: Path) -> np.ndarray:
    """Read an image as `cv2.imread` does, but refuse one of which a part is missing.

    What libraries only warn of, such as an odd colour profile, a bad text or bytes behind the
    picture, is no damage, and nothing is printed about it.

    Args:
        path: The file.

    Returns:
        BGR, `uint8` (H, W, 3), turned upright as the file says.

    Raises:
        DataError: The file is damaged, or not an image.
        FileError: It cannot be opened.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror or error}") from None
    try:
        if data.startswith(JPEG_START):
            return _decode_jpeg(data)
        if data.startswith(PNG_START):
            data = _drop_png_texts(data)
        return _decode(data)
    except (OSError, SyntaxError, ValueError, IndexError, cv2.error):
        raise DataError(f"{path}: damaged, or not an image") from None


def _decode(data: bytes) -> np.ndarray:
    """Decode an image by OpenCV; ValueError where it cannot."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError("not an image")
    return image


def _decode_jpeg(data: bytes) -> np.ndarray:
    """Decode a JPEG by Pillow, which has OpenCV's decoder without its prints; ValueError if cut."""
    with Image.open(io.BytesIO(data)) as image:
        image.load()  # OSError where the file ends too early
    # libjpeg makes up what is missing behind a hole. More data in the place where the pixels end
    # change the picture only where the decoder still lacks some; a whole picture never changes.
    with Image.open(io.BytesIO(_lengthen_jpeg(data))) as longer:
        if ImageChops.difference(image, longer).getbbox():
            raise ValueError("a part of the picture is missing")
    if image.mode != "RGB" or "exif" in image.info:  # OpenCV converts it, and turns it upright
        return _decode(data)
    return cv2.cvtColor(np.asarray(image), cv2.COLOR_RGB2BGR)


def _lengthen_jpeg(data: bytes) -> bytes:
    """Return a JPEG with more compressed data than it had wherever a run of them ends."""
    start = len(JPEG_START)
    while data[start + 1] != JPEG_SCAN:  # over the segments before, which may hold a thumbnail
        is_padding = data[start + 1] == 0xFF
        start += 1 if is_padding else 2 + int.from_bytes(data[start + 2 : start + 4], "big")
    return data[:start] + JPEG_END_OF_RUN.sub(FILLER + rb"\g<0>", data[start:])


def _drop_png_texts(data: bytes) -> bytes:
    """Return a PNG without texts, colour profile and the like, of which libpng prints warnings."""
    kept = [PNG_START]
    start = len(PNG_START)
    while start < len(data):
        end = start + 12 + int.from_bytes(data[start : start + 4], "big")
        if data[start + 4 : start + 8] in PNG_CHUNKS_OF_PIXELS:
            kept.append(data[start:end])
        start = end
    return b"".join(kept)
