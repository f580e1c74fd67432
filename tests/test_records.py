import os

import numpy as np
import pytest
from test_splits import record

from dataloaders.errors import DataError
from dataloaders.records import (
    SPLITS,
    VideoRecord,
    read_index,
    read_split,
    write_index,
    write_split,
)


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
