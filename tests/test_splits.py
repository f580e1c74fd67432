import os
import random
from collections import Counter, defaultdict

import numpy as np
import pytest

from dataloaders import splits
from dataloaders.errors import DataError, FileError
from dataloaders.groups import group_of
from dataloaders.official_lists import find_official_split
from dataloaders.records import (
    SPLITS,
    VideoRecord,
    read_index,
    read_split,
    write_index,
    write_split,
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


def indexed(place, class_name, video, group, frames, modified=1e9):
    """A video whose frames lie in such a place, as the index has it."""
    source = f"{class_name}/{video}.avi"
    return VideoRecord(place, class_name, video, group, source, frames, modified, place)


def test_index_round_trip(tmp_path):
    videos = [
        indexed("train", "Jump, high", 'a "b"', "g,1", 17),
        indexed("test", "é", "b", "g2", 3, 1.7e9 + 0.123456),
        indexed("unused", "é", "c", "g3", 1)._replace(group_is_given=True),
    ]
    write_index(tmp_path / "index.csv", videos)
    assert read_index(tmp_path / "index.csv") == videos
    assert [path.name for path in tmp_path.iterdir()] == ["index.csv"]
    lines = (tmp_path / "index.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "split,class,video,group,frames,source,modified,group from"
    assert lines[2] == "test,é,b,g2,3,é/b.avi,1700000000.123456,name"
    with pytest.raises(ValueError, match="a/b.avi has no frames"):
        write_index(tmp_path / "index.csv", [record("a", "b", "g")])
    assert read_index(tmp_path / "index.csv") == videos


def test_the_split_of_a_run_round_trips_and_takes_the_frames_of_the_index(tmp_path):
    videos = [indexed(place, "Jump", f"v{i}", f"g{i}", i + 1) for i, place in enumerate(SPLITS)]
    file = tmp_path / "split.csv"
    parts = ("unused", "train", "val")
    rows = zip(videos, parts, strict=True)
    split = [video._replace(split=part, group="joined") for video, part in rows]
    write_split(file, split)
    assert file.read_text().splitlines() == [
        "split,class,video,group,source",
        "unused,Jump,v0,joined,Jump/v0.avi",
        "train,Jump,v1,joined,Jump/v1.avi",
        "val,Jump,v2,joined,Jump/v2.avi",
    ]
    more = indexed("train", "Jump", "new", "g9", 5)
    moved = [video._replace(place="train") for video in videos]
    read = read_split(file, [more, *reversed(moved)])
    assert read == [video._replace(place="train") for video in split]
    with pytest.raises(DataError, match="removed or changed Jump/v0.avi, Jump/v2.avi; start a new"):
        read_split(file, videos[1:2])
    for text in ("", "split,class\n", file.read_text().replace("val", "valid")):
        file.write_text(text)
        with pytest.raises(DataError, match="split.csv is damaged"):
            read_split(file, videos)


HEAD = "split,class,video,group,frames,source,modified,group from\n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense\n",
        HEAD + "train,a\n",
        HEAD + "train,Jump,v,g,3,v.avi,name\n",
        HEAD + "train,Jump,v,g,3,v.avi,today,name\n",
        HEAD + "train,Jump,v,g,,v.avi,1,name\n",
        HEAD + "removed,Jump,v,g,3,v.avi,1,name\n",
        HEAD + "train,..,v,g,3,v.avi,1,name\n",
        HEAD + "train,Jump,../../v,g,3,v.avi,1,name\n",
        HEAD + "train,Jump,..\\v,g,3,v.avi,1,name\n",
        HEAD + "../train,Jump,v,g,3,v.avi,1,name\n",
        HEAD + "train,,v,g,3,v.avi,1,name\n",
    ],
)
def test_a_damaged_index_and_one_that_leads_elsewhere_are_refused(tmp_path, text):
    (tmp_path / "index.csv").write_text(text)
    with pytest.raises(ValueError, match="index.csv is damaged"):
        read_index(tmp_path / "index.csv")


def test_no_change_of_a_byte_leads_out_of_the_frames(tmp_path):
    file, rng = tmp_path / "index.csv", np.random.default_rng(0)
    write_index(file, [indexed(split, "Jump", f"v.{split}", "g", 16) for split in SPLITS])
    content, refused = bytearray(file.read_bytes()), 0
    for place in rng.integers(len(content), size=400):
        was, content[place] = content[place], rng.choice([*b'./\\",\n\r\0-9', *range(128, 256)])
        file.write_bytes(content)
        content[place] = was
        try:
            videos = read_index(file)
        except ValueError as error:
            refused += "index.csv is damaged" in str(error)
        else:
            assert all(
                len(os.path.relpath(v.folder(tmp_path), tmp_path).split("/")) == 3 for v in videos
            )
            assert all(
                ".." not in os.path.relpath(v.folder(tmp_path), tmp_path).split("/") for v in videos
            )
    assert refused > 100


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


def write_ucf101_lists(folder, videos, number, tested):
    """Lists as the authors' own are: CRLF, labels in train only, the odd spelling of one class's files."""
    folder.mkdir(exist_ok=True)
    lines = {"train": [], "test": []}
    for v in videos:
        split = "test" if int(v.group[1:]) in tested else "train"
        label = f" {int(v.class_name[5:]) + 1} " if split == "train" else ""
        lines[split].append(
            f"{v.class_name}/{v.video.replace('Class002', 'CLASS002')}.avi{label}\r\n"
        )
    for split, text in lines.items():
        (folder / f"{split}list{number:02d}.txt").write_bytes("".join([*text, "\r\n"]).encode())


@pytest.mark.parametrize(
    ("number", "tested"), [(1, range(1, 8)), (2, range(8, 15)), (3, range(15, 22))]
)
def test_official_split_of_ucf101_with_and_without_its_lists(tmp_path, number, tested):
    videos = ucf101(4, 25, 2)
    write_ucf101_lists(tmp_path / "lists", videos, number, tested)
    rows = assign_splits(videos, f"official{number}", split_dir=tmp_path / "lists")
    assert rows == assign_splits(videos, f"official{number}", split_dir=tmp_path / "nowhere")
    assert {v.group for v in rows if v.split == "test"} == {f"g{g:02d}" for g in tested}
    assert Counter(v.split for v in rows)["val"] == pytest.approx(18 / 5 * 8, abs=8)
    assert leaked_groups(rows, f"official{number}") == 0


def test_lists_and_disk_may_differ(tmp_path, capsys):
    videos = ucf101(4, 25, 2)
    write_ucf101_lists(tmp_path, videos[1:], 1, range(1, 8))
    rows = assign_splits(videos[:-1], "official1", split_dir=tmp_path)
    assert [v.video for v in rows if v.split == "unused"] == [videos[0].video]
    assert capsys.readouterr().out == ""  # it may be asked several times
    find_official_split(videos[:-1], 1, tmp_path).report()
    said = capsys.readouterr().out
    assert f"1 in the lists but not on disk: class003/{videos[-1].video.lower()}" in said
    assert f"1 on disk but not in the lists: {videos[0].class_name}/{videos[0].video}" in said
    with pytest.raises(ValueError, match="leaves no test videos of Class003"):
        assign_splits(
            [v for v in videos if v.class_name != "Class003" or v.group > "g07"],
            "official1",
            split_dir=tmp_path,
        )


def test_official_split_of_hmdb51(tmp_path):
    videos = []
    for name in ("golf", "kick_ball"):
        lines = []
        for i in range(20):
            video = f"film {i}!!!_(x)_{name}_f_cm_np1_ri_goo_{i % 3}"
            videos.append(record(name, video, group_of(name, video)))
            # Film 5 is in train in one class and in test in the other, as the authors' lists have it.
            part = 2 if i < 6 - (name == "golf") else 1 if i < 17 else 0
            lines.append(f"{video}.avi {part} \n")
        (tmp_path / f"{name}_test_split2.txt").write_text("".join(lines))
    rows = assign_splits(videos, "official2", split_dir=tmp_path)
    assert Counter(v.split for v in rows if v.split in ("test", "unused")) == {
        "test": 11,
        "unused": 6,
    }
    assert leaked_groups(rows, "official2") == 0
    assert leaked_groups(rows, "group") == 1
    with pytest.raises(FileError, match="no lists of official split 1"):
        assign_splits(videos, "official1", split_dir=tmp_path)


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


def own_videos(*names):
    return [
        VideoRecord(None, *name.split("/"), f"g{number}", f"{name}.avi")
        for number, name in enumerate(names)
    ]


def test_own_lists_are_read_by_class_and_name(tmp_path):
    """Also where classes have videos of the same name, and names have spaces."""
    names = [f"{label}/high clip {number}" for label in ("Jump", "Run") for number in range(8)]
    test = {"Jump/high clip 0", "Jump/high clip 1", "Run/high clip 6", "Run/high clip 7"}
    (tmp_path / "testlist01.txt").write_text(
        "".join(f"{name}.avi\n" for name in sorted(test)), encoding="utf-8-sig"
    )
    (tmp_path / "trainlist01.txt").write_text(
        "".join(f"{name}.avi 1\r\n" for name in names if name not in test)
    )
    rows = assign_splits(own_videos(*names), "official1", split_dir=tmp_path)
    assert {f"{v.class_name}/{v.video}" for v in rows if v.split == "test"} == test
    assert {v.split for v in rows} == {"train", "val", "test"}


def test_a_name_of_several_classes_may_be_listed_in_one_of_them_or_in_none(tmp_path):
    (tmp_path / "testlist01.txt").write_text("Jump/clip0.avi\n")
    (tmp_path / "trainlist01.txt").write_text("Run/clip1.avi 2\n")
    names = [f"{label}/clip{number}" for number in range(3) for label in ("Jump", "Run")]
    found = find_official_split(own_videos(*names), 1, tmp_path)
    assert found.splits == ["test", "unused", "unused", "train", "unused", "unused"]
    assert found.unlisted == ["Run/clip0", "Jump/clip1", "Jump/clip2", "Run/clip2"]
    assert found.missing == []


def test_names_that_lists_leave_ambiguous_are_refused(tmp_path):
    videos = own_videos(
        *(f"{label}/clip{number}" for label in ("Jump", "Run") for number in range(8))
    )
    (tmp_path / "testlist01.txt").write_text("clip0.avi\nclip1.avi\n")
    (tmp_path / "trainlist01.txt").write_text(
        "".join(f"Jump/clip{n}.avi 1\nRun/clip{n}.avi 2\n" for n in range(2, 8))
    )
    with pytest.raises(
        ValueError, match="clip0 is listed without its class and is a video of several classes"
    ):
        assign_splits(videos, "official1", split_dir=tmp_path)
    (tmp_path / "testlist01.txt").write_text("Jump/clip2.avi\n")
    with pytest.raises(
        ValueError, match="Jump/clip2.avi is listed in train and in test|in test and in train"
    ):
        assign_splits(videos, "official1", split_dir=tmp_path)
    (tmp_path / "testlist01.txt").write_bytes(b"\xff\xfe\n")
    with pytest.raises(ValueError, match="testlist01.txt: not a text in UTF-8"):
        assign_splits(videos, "official1", split_dir=tmp_path)


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
