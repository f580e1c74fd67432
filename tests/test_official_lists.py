from collections import Counter

import pytest
from test_splits import own_videos, record, ucf101

from dataloaders.errors import FileError
from dataloaders.groups import group_of
from dataloaders.official_lists import find_official_split
from dataloaders.splits import assign_splits, leaked_groups


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


def test_a_name_of_several_classes_may_be_listed_in_one_of_them_or_in_none(tmp_path):
    (tmp_path / "testlist01.txt").write_text("Jump/clip0.avi\n")
    (tmp_path / "trainlist01.txt").write_text("Run/clip1.avi 2\n")
    names = [f"{label}/clip{number}" for number in range(3) for label in ("Jump", "Run")]
    found = find_official_split(own_videos(*names), 1, tmp_path)
    assert found.splits == ["test", "unused", "unused", "train", "unused", "unused"]
    assert found.unlisted == ["Run/clip0", "Jump/clip1", "Jump/clip2", "Run/clip2"]
    assert found.missing == []
