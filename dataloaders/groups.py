"""Groups: which videos were cut from one recording, and must stay in one part of a split."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from dataloaders.copies import Copy
from dataloaders.errors import DataError
from dataloaders.files import plural, shorten
from dataloaders.records import VideoRecord

UCF101_NAME = re.compile(r"_(g\d+)_c\d+$")
HMDB51_NAME = re.compile(r"_[a-z]_[a-z]{2}_np\d+_[a-z]{2}_[a-z]{3}_\d+$")


def group_of(class_name: str, video: str) -> str:
    """Return the group of a video by its name.

    That is `g01` for UCF101's `v_Archery_g01_c02` and `Film` for HMDB51's
    `Film_golf_f_cm_np1_ri_goo_0`. Any other video is a group of its own.

    Args:
        class_name: Its class.
        video: Its name, without ending.
    """
    ucf101 = UCF101_NAME.search(video)
    if ucf101:
        return ucf101[1]
    hmdb51 = HMDB51_NAME.search(video)
    if hmdb51:
        film, action, _ = video[: hmdb51.start() + 1].rpartition(f"_{class_name}_")
        if action:
            return film
    return f"{class_name}/{video}"


def set_groups(videos: Sequence[VideoRecord], pattern: str) -> list[VideoRecord]:
    """Give each video the group that a pattern finds in its path.

    Args:
        videos: The records.
        pattern: A regular expression with one pair of brackets.

    Raises:
        DataError: It is none, or finds no group in some of the paths.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise DataError(f"mypath.py: {pattern!r} captures no group: {error}") from None
    if expression.groups != 1:
        raise DataError(
            f"mypath.py: {pattern!r} captures no group: it has not one pair of brackets"
        )
    grouped = []
    without = []
    for video in videos:
        match = expression.search(video.source)
        if match is None:
            without.append(video.source)
        else:
            grouped.append(video._replace(group=match[1], group_is_given=True))
    if without:
        raise DataError(
            f"mypath.py: {pattern!r} finds no group in {plural(len(without), 'video')}: "
            f"{shorten(without)}"
        )
    return grouped


def _joins_groups(copy: VideoRecord, original: VideoRecord) -> bool:
    """Whether two videos that show the same share a group: not where the user named a group."""
    return not (copy.group_is_given or original.group_is_given)


def copies_across_groups(
    videos: Sequence[VideoRecord], copies: Sequence[Copy], *, are_joined: bool
) -> list[Copy]:
    """Return the copies that have another group than their original, as the records have it.

    Args:
        videos: The records of a data set; copies of other videos are left out.
        copies: Which videos show the same.
        are_joined: Whether those are meant that then share a group, or those that do not.
    """
    by_source = {video.source: video for video in videos}
    found = []
    for copy in copies:
        video = by_source.get(copy.source)
        original = by_source.get(copy.original)
        if video is None or original is None or video.group == original.group:
            continue
        if _joins_groups(video, original) == are_joined:
            found.append(copy)
    return found


def join_groups(
    videos: Sequence[VideoRecord], copies: Sequence[Copy], *, within_class: bool
) -> list[VideoRecord]:
    """Give videos that show the same, and all others of their groups, one group.

    Args:
        videos: The records of a data set.
        copies: Which of them show the same; those of other videos are ignored.
        within_class: Whether a group ends where its class does, as UCF101 numbers the groups of
            each class from 1. This is also done where a joined group would hold more than half of
            the videos.

    Returns:
        The records, in the same order; a joined group has the first name of those in it.
    """
    first_names = _first_names(videos, copies, within_class=within_class)
    sizes = Counter()
    records = []
    for video in videos:
        name = first_names.get(_group_name(video, within_class=within_class))
        if name is not None:
            sizes[name] += 1
            video = video._replace(group=name)
        records.append(video)
    if not within_class and 2 * max(sizes.values(), default=0) > len(records):
        return join_groups(videos, copies, within_class=True)
    return records


def _first_names(
    videos: Sequence[VideoRecord], copies: Sequence[Copy], *, within_class: bool
) -> Mapping[str, str]:
    """Return for each group that is joined with others the first name of them."""
    from scipy.cluster.hierarchy import DisjointSet

    by_source = {video.source: video for video in videos}
    groups = DisjointSet()
    for copy in copies:
        video = by_source.get(copy.source)
        original = by_source.get(copy.original)
        if video is None or original is None or not _joins_groups(video, original):
            continue
        name = _group_name(video, within_class=within_class)
        other_name = _group_name(original, within_class=within_class)
        groups.add(name)
        groups.add(other_name)
        groups.merge(name, other_name)
    first_names = {}
    for names in groups.subsets():
        if len(names) > 1:
            first_names.update(dict.fromkeys(names, min(names)))
    return first_names


def _group_name(video: VideoRecord, *, within_class: bool) -> str:
    return f"{video.class_name}/{video.group}" if within_class else video.group
