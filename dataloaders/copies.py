"""Videos that show the same: copies, also mirrored, encoded again or resized."""

from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import cv2
import numpy as np

from dataloaders.index import VideoRecord

LIMIT = 18  # grey levels; among real clips copies differ by 16 at most, other clips of one recording by 19 at least
COARSE_LIMIT = 8  # of 16 means of a video, by which copies differ by 3 at most
CHUNK = 4096  # videos


def find_copies(
    videos: Sequence[VideoRecord], folders: Iterable[Path]
) -> list[tuple[str, str, str]]:
    """Find videos that show the same, by their frame folders: (source, that of the first of them, in what they differ).
    Compared are four frames, in grey means of 8x16 blocks, each added to its mirror image, up to a constant. Two videos
    agree where no block differs by more than `LIMIT`; a grey area agrees with none. Candidates have 16 means alike."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from sklearn.neighbors import KDTree

    with ThreadPoolExecutor() as executor:
        blocks = np.stack(
            list(executor.map(read_blocks, folders, (video.frames for video in videos)))
        )
    starts = range(0, len(videos), CHUNK)
    coarse = [
        _add_mirror(blocks[start : start + CHUNK]).reshape(-1, 4, 2, 4, 2, 4).mean((3, 5))
        for start in starts
    ]
    coarse = np.concatenate(coarse).reshape(-1, 16)
    tree, pairs = KDTree(coarse, metric="chebyshev"), []
    for start in starts:
        for i, near in enumerate(
            tree.query_radius(coarse[start : start + CHUNK], COARSE_LIMIT), start
        ):
            near = np.append(near[near < i], i)
            symmetric = _add_mirror(blocks[near])
            agrees = np.abs(symmetric - symmetric[-1]).max((1, 2, 3)) <= LIMIT
            is_grey = np.abs(symmetric).max((1, 2, 3)) <= LIMIT
            pairs += [(i, j) for j in near[agrees & ~is_grey & ~is_grey[-1]]]
    graph = coo_array(
        (np.ones(len(pairs)), np.reshape(pairs, (-1, 2)).T), (len(videos), len(videos))
    )
    labels = connected_components(graph, directed=False)[1]
    firsts, copies = np.unique(labels, return_index=True)[1][labels], []
    for i in np.flatnonzero(firsts < np.arange(len(videos))):
        copy, original = blocks[i].astype(int), blocks[firsts[i]]
        difference, mirrored = (
            np.abs(copy - other).sum() for other in (original, original[..., ::-1])
        )
        kind = (
            "identical"
            if not difference
            else "mirrored"
            if mirrored < difference
            else "encoded again or resized"
        )
        copies.append((videos[i].source, videos[firsts[i]].source, kind))
    return copies


def read_blocks(folder: Path, num_frames: int) -> np.ndarray:
    """Read four frames, evenly spaced, as grey means of blocks, `uint8` (4, 8, 16); all 0 where one is damaged."""
    numbers = ((2 * i + 1) * num_frames // 8 + 1 for i in range(4))
    frames = [
        cv2.imread(f"{folder}/{number:05d}.jpg", cv2.IMREAD_REDUCED_GRAYSCALE_4)
        for number in numbers
    ]
    if any(frame is None for frame in frames):  # training names it
        return np.zeros((4, 8, 16), np.uint8)
    return np.stack([cv2.resize(frame, (16, 8), interpolation=cv2.INTER_AREA) for frame in frames])


def _add_mirror(blocks: np.ndarray) -> np.ndarray:
    """Return (N, 4, 8, 8), the same for a video and its mirror image, whatever its brightness."""
    mean = (blocks[..., :8].astype(np.float32) + blocks[..., :7:-1]) / 2
    return mean - mean.mean((1, 2, 3), keepdims=True)


def join_groups(
    videos: Sequence[VideoRecord], copies: Sequence[tuple], within_class: bool
) -> list[VideoRecord]:
    """Return the rows with one group for the groups of videos that show the same, which is the first of them by name.
    With `within_class`, and where such a group would hold more than half of the videos, a group ends where its class
    does: UCF101 numbers the groups of each class from 1."""
    from scipy.cluster.hierarchy import DisjointSet

    names = {v.source: f"{v.class_name}/{v.group}" if within_class else v.group for v in videos}
    pairs = [
        (names[copy], names[original])
        for copy, original, _ in copies
        if names.keys() >= {copy, original}
    ]
    groups = DisjointSet(chain.from_iterable(pairs))
    for pair in pairs:
        groups.merge(*pair)
    first_of = {
        name: min(joined) for joined in groups.subsets() if len(joined) > 1 for name in joined
    }
    rows = [
        v._replace(group=first_of[names[v.source]]) if names[v.source] in first_of else v
        for v in videos
    ]
    sizes = Counter(first_of[name] for name in names.values() if name in first_of)
    if not within_class and 2 * max(sizes.values(), default=0) > len(rows):
        return join_groups(videos, copies, within_class=True)
    return rows
