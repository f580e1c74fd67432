"""Finds videos that show the same: mirrored, re-encoded, resized or slightly cropped copies.

A fingerprint of four frames names the pairs that may be copies; then up to 32 frames of both are
compared. Frames are compared at the same relative position of the two videos, so their frame rates
may differ. What counts is what moves: the difference between two videos is measured against how
much each of them changes by itself, after the difference that stays the same throughout (as the
border of a crop) is subtracted. So recordings of one fixed camera in which different people walk
stay apart, and so do videos behind one title or one fade.

Measured with the limits below, on stored frames of 171x128 pixels:

* Genuine clips: no pair of 272 clips, cut from 44 recordings, is joined. No two fingerprints lie
  within `RADIUS`, and two clips of one recording differ by 1.05 or more.
* Copies: 448 of 464 are found (29 clips of 2 to 10 seconds, each copied in 16 ways). All 29 are
  found with another brightness, at crf 30, 34 and 38, and at half the size or square; 28 mirrored,
  cropped by 4 pixels a side, at 15, 30 and 60 frames a second; 27 at 10 frames a second or
  cropped by 10 pixels on one side; 26 cropped by 4 % or mirrored at half the size and crf 35.
  Of copies trimmed by half a second 9 of 58 are found.
* Drawn people, two sizes, before two fixed cameras, and empty scenes, 45 recordings each: none is
  joined, also behind one title; behind a fade from black one is. Where all people look alike and
  walk along one line, 9 and 12 are.
* 46 genuine clips behind one title of 2 or 4 seconds, a fade from black or white, or 2 seconds of
  grey: none is joined.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from dataloaders.records import VideoRecord, frame_name, spread_numbers

GRID = 16  # a frame is reduced to the means of 16x16 blocks
NUM_PROBES = 4  # frames of a fingerprint
MAX_FRAMES = 32  # of a video that are compared with those of another
CACHE_SIZE = 1024  # videos whose compared frames stay in memory, about 100 kB each

LIMIT = 0.55  # largest difference of copies, as a share of the video's own motion
OFFSET_LIMIT = 0.4  # and of their mean pictures, as a share of the contrast
STILL = 0.005  # rms change below which a video is still; camera noise reaches 0.003
FLAT = 2  # grey levels; a frame whose blocks vary less shows nothing
NOISE = 4  # grey levels, added to a frame's contrast so that a black frame's noise is not amplified

RADIUS = 1.0  # largest distance between the fingerprints of copies, in units of the two scales
STATIC_SCALE = 0.45
MOTION_SCALE = 0.55
TREE_DIMENSIONS = 8  # principal components by which candidates are looked up

IDENTICAL = "identical"
MIRRORED = "mirrored"
REENCODED = "re-encoded"


class Copy(NamedTuple):
    """One row of copies.csv."""

    source: str
    original: str  # source of the first video that shows the same
    kind: str  # IDENTICAL, MIRRORED or REENCODED (also resized, cropped or at another rate)


@dataclass(frozen=True)
class Content:
    """What is compared of a video: up to `MAX_FRAMES` frames, evenly spaced."""

    blocks: np.ndarray  # uint8 (n, GRID, GRID, 3), BGR
    frames: np.ndarray  # float32 (n, GRID * GRID * 3), normalized
    motion: float  # mean over the frames of their `_self_distances`


def find_copies(videos: Sequence[VideoRecord], folders: Sequence[Path]) -> list[Copy]:
    """Find the videos that show the same as an earlier one.

    Args:
        videos: Rows whose frames are on disk.
        folders: The frame folder of each.

    Returns:
        One row for each video that shows the same as one before it, in the order of `videos`.

    Raises:
        ValueError: A video has no frames yet.
    """
    from scipy.cluster.hierarchy import DisjointSet

    without = [video.source for video in videos if video.frames is None]
    if without:
        raise ValueError(f"{without[0]}: it has no frames to compare")
    counts = [video.frames for video in videos]
    reader = _ContentReader(folders, counts)
    same = DisjointSet(range(len(videos)))
    for first, second in candidate_pairs(_read_fingerprints(folders, counts)):
        if not same.connected(first, second) and min(reader.differences(first, second)) <= LIMIT:
            same.merge(first, second)
    copies = []
    for subset in sorted(map(sorted, same.subsets())):
        for number in subset[1:]:
            kind = reader.kind(number, subset[0])
            copies.append((number, Copy(videos[number].source, videos[subset[0]].source, kind)))
    return [copy for _, copy in sorted(copies)]


def _read_fingerprints(folders: Sequence[Path], counts: Sequence[int]) -> dict[int, np.ndarray]:
    """Read the fingerprints, by number; videos that show nothing or are damaged have none."""
    with ThreadPoolExecutor() as executor:
        fingerprints = enumerate(executor.map(_read_fingerprint, folders, counts))
        return {number: value for number, value in fingerprints if value is not None}


def _read_fingerprint(folder: Path, num_frames: int) -> np.ndarray | None:
    blocks = _read_blocks(folder, spread_numbers(num_frames, NUM_PROBES))
    return None if blocks is None else _fingerprint(blocks)


def _fingerprint(blocks: np.ndarray) -> np.ndarray | None:
    """Reduce four frames to a vector that is the same for a video and its mirror image.

    Args:
        blocks: Mean colours (NUM_PROBES, GRID, GRID, 3).

    Returns:
        float32 (80,): the mean picture in 4x4 parts, and how each frame differs from it in 4x4
        parts, the latter scaled to the length 1 where something moves. None where no frame shows
        anything.
    """
    if blocks.std((1, 2)).max() < FLAT:
        return None
    frames = _normalize(blocks).mean(3)
    symmetric = (frames + frames[..., ::-1])[..., : GRID // 2] / 2
    parts = symmetric.reshape(NUM_PROBES, 4, GRID // 4, 4, GRID // 8).mean((2, 4))
    static = parts.mean(0)
    moving = parts - static
    # A still video has no direction: its noise says nothing.
    moving /= np.linalg.norm(moving) + 0.025
    return np.concatenate((static.ravel() / STATIC_SCALE, moving.ravel() / MOTION_SCALE))


def candidate_pairs(fingerprints: dict[int, np.ndarray]) -> Iterator[tuple[int, int]]:
    """Yield the pairs of numbers whose fingerprints (D,) lie within `RADIUS`, sorted."""
    from scipy.spatial import KDTree

    if len(fingerprints) < 2:
        return
    numbers = np.array(list(fingerprints))
    vectors = np.stack(list(fingerprints.values()))
    # Distances in principal components are at most those of the vectors: no pair is lost.
    _, components = np.linalg.eigh(np.cov(vectors.T))  # the largest last
    reduced = vectors @ components[:, -TREE_DIMENSIONS:]
    near = KDTree(reduced, balanced_tree=False).query_pairs(RADIUS, output_type="ndarray")
    near = near[np.lexsort((near[:, 0], near[:, 1]))]
    for first, second in near:
        if np.linalg.norm(vectors[first] - vectors[second]) <= RADIUS:
            yield int(numbers[first]), int(numbers[second])


def _read_blocks(folder: Path, numbers: Sequence[int]) -> np.ndarray | None:
    """Read frames as mean colours of blocks (n, GRID, GRID, 3); None where one is damaged."""
    frames = []
    for number in numbers:
        frame = cv2.imread(f"{folder}/{frame_name(number)}", cv2.IMREAD_REDUCED_COLOR_2)
        if frame is None:
            return None
        frames.append(cv2.resize(frame, (GRID, GRID), interpolation=cv2.INTER_AREA))
    return np.stack(frames)


def _normalize(blocks: np.ndarray) -> np.ndarray:
    """Bring frames (n, GRID, GRID, 3) to the mean 0 and a common contrast: a fade is no motion."""
    frames = blocks - blocks.mean((1, 2), keepdims=True, dtype=np.float32)
    return frames / (frames.std((1, 2, 3), keepdims=True) + NOISE)


class _ContentReader:
    """Reads and compares the contents of videos; those that were compared last stay in memory."""

    def __init__(self, folders: Sequence[Path], counts: Sequence[int]):
        self.folders = folders
        self.counts = counts
        self.read = lru_cache(CACHE_SIZE)(self._read)

    def _read(self, number: int) -> Content | None:
        num_frames = self.counts[number]
        numbers = spread_numbers(num_frames, min(num_frames, MAX_FRAMES))
        blocks = _read_blocks(self.folders[number], numbers)
        if blocks is None:
            return None
        frames = _normalize(blocks).reshape(len(blocks), -1)
        return Content(blocks, frames, float(_self_distances(frames).mean()))

    def differences(self, first: int, second: int) -> tuple[float, float]:
        """Return the `_difference` of two videos, and that of a mirror image to the other video.

        Args:
            first: The number of one video.
            second: The number of the other.
        """
        one, other = self.read(first), self.read(second)
        if one is None or other is None:
            return np.inf, np.inf
        if min(one.motion, other.motion) < STILL:
            # Nothing moves that could tell a copy from another recording of the same scene.
            return (0.0 if self._have_same_files(first, second) else np.inf), np.inf
        return _difference(one.frames, other.frames), _difference(_mirror(one.frames), other.frames)

    def kind(self, copy: int, original: int) -> str:
        """Return in what a copy differs from its original.

        Args:
            copy: Its number.
            original: The number of the other video.
        """
        if np.array_equal(self.read(copy).blocks, self.read(original).blocks):
            return IDENTICAL
        as_it_is, mirrored = self.differences(copy, original)
        return MIRRORED if mirrored < as_it_is else REENCODED

    def _have_same_files(self, first: int, second: int) -> bool:
        if self.counts[first] != self.counts[second]:
            return False
        files = [frame_name(number) for number in range(1, self.counts[first] + 1)]
        folders = Path(self.folders[first]), Path(self.folders[second])
        return all(
            (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes() for name in files
        )


def _difference(one: np.ndarray, other: np.ndarray) -> float:
    """Return how far two videos are from each other, as a share of each one's own motion.

    Args:
        one: Normalized frames (n, D), evenly spaced over the video, n > 1.
        other: Those of the other video (m, D), m > 1.

    Returns:
        0 for the same frames, about 1 for other motion before one background, infinite for other
        backgrounds.
    """
    return max(_difference_from(one, other), _difference_from(other, one))


def _difference_from(frames: np.ndarray, others: np.ndarray) -> float:
    offset = (frames - _nearest(frames, others)).mean(0)
    if np.sqrt((offset**2).mean()) > OFFSET_LIMIT:
        return np.inf
    errors = frames - _nearest(frames, others + offset)
    return float(np.sqrt((errors**2).mean(1)).sum() / _self_distances(frames).sum())


def _nearest(frames: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return for each frame the nearest point (n, D) between two frames of the other video.

    The two lie around its time: a copy at another rate has frames between those of the original.
    """
    times = (np.arange(len(frames)) + 0.5)[:, None] / len(frames)
    other_times = (np.arange(len(others)) + 0.5) / len(others)
    tolerance = 1 / len(others)
    is_near = (other_times[1:] >= times - tolerance) & (other_times[:-1] <= times + tolerance)

    starts = others[:-1]
    steps = np.diff(others, axis=0)
    squares = np.maximum((steps**2).sum(1), 1e-9)
    along = frames @ steps.T - (starts * steps).sum(1)  # (n, m - 1)
    shares = np.clip(along / squares, 0, 1)
    # |frame - start - share * step|^2, less |frame|^2, which is the same for all parts of the line
    distances = (starts**2).sum(1) - 2 * frames @ starts.T + shares * (shares * squares - 2 * along)
    parts = np.where(is_near, distances, np.inf).argmin(1)
    share = shares[np.arange(len(frames)), parts]
    return starts[parts] + share[:, None] * steps[parts]


def _self_distances(frames: np.ndarray) -> np.ndarray:
    """Return the rms distance of each frame (n, D) to the nearest quarter of its own video (n,).

    The nearest quarter leaves a title and what follows it apart: their difference is no motion.
    """
    squares = (frames**2).mean(1)
    distances = squares[:, None] + squares - 2 * frames @ frames.T / frames.shape[1]
    return np.sqrt(np.maximum(np.quantile(distances, 0.25, axis=1), 0))


def _mirror(frames: np.ndarray) -> np.ndarray:
    return frames.reshape(-1, GRID, GRID, 3)[:, :, ::-1].reshape(frames.shape)
