import random
from collections import Counter, defaultdict

import pytest

from dataloaders import splits
from dataloaders.errors import DataError
from dataloaders.groups import group_of
from dataloaders.records import (
    SPLITS,
    VideoRecord,
)
from dataloaders.splits import assign_splits, leaked_groups


def record(class_name, video, group):
    """A video of which there are no frames yet."""
    return VideoRecord(None, class_name, video, group, f"{class_name}/{video}.avi")


def ucf101(classes=101, groups=25, clips=4):
    return [
        record(f"Class{c:03d}", f"v_Class{c:03d}_g{g:02d}_c{k:02d}", f"g{g:02d}")
        for c in range(classes)
        for g in range(1, groups + 1)
        for k in range(1, clips + 1)
    ]


def own_videos(*names):
    return [
        VideoRecord(None, *name.split("/"), f"g{number}", f"{name}.avi")
        for number, name in enumerate(names)
    ]


@pytest.mark.parametrize(
    ("class_name", "video", "group"),
    [
        ("Archery", "v_Archery_g07_c02", "g07"),
        ("HandstandPushups", "v_HandStandPushups_g01_c04", "g01"),
        (
            "golf",
            "Hit_The_Driver_300+_Yards!!!_golf_f_nm_np1_fr_med_0",
            "Hit_The_Driver_300+_Yards!!!",
        ),
        ("golf", "golf_golf_golf_u_cm_np2_ri_goo_12", "golf_golf"),
        ("wave", "RATRACE_wave_f_nm_np1_fr_goo_37", "RATRACE"),
        ("wave", "wave_1", "wave/wave_1"),
        ("Walk", "v_Walk_01", "Walk/v_Walk_01"),
    ],
)
def test_group_of(class_name, video, group):
    assert group_of(class_name, video) == group


def test_videos_without_a_group_are_groups_of_their_own_even_with_equal_names():
    assert group_of("walk", "1") != group_of("run", "1")


def test_no_group_crosses_and_every_class_is_everywhere_in_64_16_20():
    videos = assign_splits(ucf101())
    splits_of = defaultdict(set)
    for video in videos:
        splits_of[video.group].add(video.split)
    assert all(len(splits) == 1 for splits in splits_of.values())
    for split in SPLITS:
        assert len({v.class_name for v in videos if v.split == split}) == 101
    shares = Counter(v.split for v in videos)
    assert {split: shares[split] / len(videos) for split in SPLITS} == {
        "train": 0.64,
        "val": 0.16,
        "test": 0.2,
    }


def test_uneven_groups_across_classes_stay_near_64_16_20():
    rng = random.Random(0)
    films = [f"film {int(rng.paretovariate(0.6)) % 200}" for _ in range(4000)]
    videos = assign_splits([record(f"c{i % 8}", f"v{i}", film) for i, film in enumerate(films)])
    assert max(Counter(group for group, _ in {(v.group, v.split) for v in videos}).values()) == 1
    shares = Counter(v.split for v in videos)
    assert shares["test"] / len(videos) == pytest.approx(0.2, abs=0.06)
    assert shares["val"] / len(videos) == pytest.approx(0.16, abs=0.06)


def test_the_order_of_the_files_does_not_matter():
    videos = ucf101(5, 10, 2)
    shuffled = random.Random(0).sample(videos, len(videos))
    assert assign_splits(videos) == assign_splits(shuffled)


@pytest.mark.parametrize("groups", [3, 4, 5, 7])
def test_few_groups_are_enough(groups):
    videos = assign_splits(ucf101(3, groups, 1))
    assert {(v.class_name, v.split) for v in videos} == {
        (f"Class{c:03d}", split) for c in range(3) for split in SPLITS
    }


def test_one_poor_class_does_not_change_the_shares():
    poor = [record("Rare", f"r{i}", f"g{i:02d}") for i in (1, 8, 15)]
    videos = assign_splits(ucf101(5) + poor)
    assert {v.split for v in videos if v.class_name == "Rare"} == set(SPLITS)
    assert Counter(v.split for v in videos)["test"] / len(videos) == pytest.approx(0.2, abs=0.02)


def test_a_class_without_enough_groups_is_named():
    with pytest.raises(ValueError, match=r"Rare \(2\)"):
        assign_splits(ucf101(3, 10, 1) + [record("Rare", f"r{i}", f"g{i:02d}") for i in (1, 2)])


def test_folds_of_the_groups_test_every_video_once():
    videos = ucf101(4, 25, 2)
    tested = Counter(
        v.video
        for fold in range(1, 6)
        for v in assign_splits(videos, fold=fold)
        if v.split == "test"
    )
    assert tested == Counter(v.video for v in videos)


def test_random_tears_groups_apart_and_the_audit_counts_them():
    videos = ucf101(5, 10, 4)
    leaky = assign_splits(videos, "random")
    assert leaky == assign_splits(videos[::-1], "random")
    shares = Counter(v.split for v in leaky)
    assert shares == {"train": 128, "val": 32, "test": 40}
    splits_of = defaultdict(set)
    for v in leaky:
        splits_of[v.group].add(v.split)
    assert (
        leaked_groups(leaky, "random") == sum(len(splits) > 1 for splits in splits_of.values()) > 5
    )
    assert leaked_groups(assign_splits(videos), "group") == 0


def test_videos_without_groups_are_split_class_by_class():
    videos = [record(name, f"{name}{i:02d}", f"{name}/{i}") for name in "ab" for i in range(50)]
    parts = [
        {(v.class_name, v.video) for v in assign_splits(videos, fold=fold) if v.split == "test"}
        for fold in range(1, 6)
    ]
    assert all(Counter(name for name, _ in part) == {"a": 10, "b": 10} for part in parts)
    assert len(set.union(*parts)) == 100
    assert Counter((v.class_name, v.split) for v in assign_splits(videos))["a", "val"] == 8


def test_no_two_folds_test_the_same_videos_where_val_cannot_be_carved_for_one(monkeypatch):
    original, refused = splits._carve_val, []

    def carve_val(remaining):
        if not refused:
            refused.append(remaining)
        return None if remaining == refused[0] else original(remaining)

    monkeypatch.setattr(splits, "_carve_val", carve_val)
    tested = []
    for fold in range(1, 5):
        videos = assign_splits(ucf101(classes=3, groups=10), fold=fold)
        tested.append({video.group for video in videos if video.split == "test"})
    assert sum(map(len, tested)) == len(set.union(*tested)) == 8
    with pytest.raises(DataError, match="fold 5"):
        assign_splits(ucf101(classes=3, groups=10), fold=5)


@pytest.mark.parametrize("sizes", [(3, 3, 3, 3), (6, 2), (1, 1)])
def test_too_few_videos_for_a_random_split_are_named_with_their_classes(sizes):
    videos = own_videos(
        *(f"c{label}/v{number}" for label, size in enumerate(sizes) for number in range(size))
    )
    with pytest.raises(
        ValueError, match=r"--split random: every class needs videos in each of .* c\d \(\d\)"
    ):
        assign_splits(videos, "random")
    videos = own_videos(*(f"c{label}/v{number}" for label in range(4) for number in range(9)))
    assert {v.split for v in assign_splits(videos, "random")} == {"train", "val", "test"}


def test_so_many_groups_that_each_counts_as_one_stay_whole(monkeypatch):
    videos = [
        record(f"class {i % 3}", f"v{i}_{k}", f"g{i}") for i in range(60) for k in range(1 + i % 4)
    ]
    exact = assign_splits(videos)
    monkeypatch.setattr(splits, "MANY_GROUPS", 10)
    fast = assign_splits(videos)
    for rows in (exact, fast):
        assert len({(video.group, video.split) for video in rows}) == 60
        shares = {
            split: sum(video.split == split for video in rows) / len(rows) for split in SPLITS
        }
        assert shares == pytest.approx({"train": 0.64, "val": 0.16, "test": 0.2}, abs=0.05)
        assert all(len({v.class_name for v in rows if v.split == split}) == 3 for split in SPLITS)
    assert fast != exact
    tested = [
        {v.group for v in assign_splits(videos, fold=fold) if v.split == "test"}
        for fold in range(1, 6)
    ]
    assert set.union(*tested) == {f"g{i}" for i in range(60)} and sum(map(len, tested)) == 60
