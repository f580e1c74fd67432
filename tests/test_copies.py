"""Videos that show the same are found, and nothing else is; they share a group, or count as a leak."""

import csv
import json
import os
import shutil
from argparse import Namespace

import cv2
import numpy as np
import pytest
from conftest import write_video

from dataloaders import copies, preprocess
from dataloaders.copies import find_copies, join_groups
from dataloaders.index import VideoRecord
from dataloaders.splits import assign_splits, group_of, leaked_groups
from engine.data import validate_data

LIMIT = copies.LIMIT


@pytest.fixture(autouse=True)
def no_copies():
    """Here they are looked for."""


def scene(seed, width=160, height=120):
    """A background and the frames of a disc that moves across it, BGR."""
    rng = np.random.default_rng(seed)
    background = cv2.resize(
        rng.integers(40, 200, (5, 7, 3), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC
    )
    return draw_disc(background, rng.uniform(0.2, 0.8, 2), rng.uniform(-0.02, 0.02, 2))


def draw_disc(background, place, speed, num_frames=20):
    frames = []
    for t in range(num_frames):
        frame, size = background.copy(), background.shape[1::-1]
        centre = np.round((place + t * speed) * size).astype(int).tolist()
        cv2.circle(
            frame,
            centre,
            size[1] // 6,
            (255, 255, 255) if background.mean() < 128 else (0, 0, 0),
            -1,
        )
        frames.append(frame)
    return frames


def mirrored(frames):
    return [frame[:, ::-1] for frame in frames]


def resized(frames, size):
    return [cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames]


@pytest.fixture
def root(tmp_path):
    """Two classes of six recordings each, no two of which show the same."""
    for number in range(12):
        name = ("Jump", "Run")[number % 2]
        write_video(tmp_path / "videos" / name / f"{number:02d}.avi", scene(number))
    return tmp_path / "videos"


def record(name, video):
    return VideoRecord("", name, video, group_of(name, video), 20, f"{name}/{video}.avi")


def groups_of(videos):
    return {video.source: video.group for video in videos}


def rows_of(frames):
    with open(frames / "copies.csv", newline="") as file:
        return {
            row["source"]: (row["shows the same as"], row["kind"]) for row in csv.DictReader(file)
        }


def test_each_kind_of_copy_shares_the_group_and_the_split_of_its_original(root, tmp_path, capsys):
    shutil.copy(root / "Jump" / "00.avi", root / "Jump" / "Copy of 00.avi")
    write_video(root / "Run" / "01 mirrored.avi", mirrored(scene(1)))
    write_video(root / "Run" / "03 again.mp4", scene(3), fourcc="mp4v")
    write_video(root / "Jump" / "02 small.avi", resized(scene(2), (100, 80)))
    write_video(
        root / "Jump" / "02 small and mirrored.mp4",
        mirrored(resized(scene(2), (100, 80))),
        fourcc="mp4v",
    )
    write_video(root / "Run" / "04 of another class.avi", scene(4))
    videos = preprocess.preprocess("own", root, tmp_path / "frames")
    rows = rows_of(tmp_path / "frames")
    assert rows == {
        "Jump/Copy of 00.avi": ("Jump/00.avi", "identical"),
        "Run/01 mirrored.avi": ("Run/01.avi", "mirrored"),
        "Run/03 again.mp4": ("Run/03.avi", "encoded again or resized"),
        "Jump/02 small.avi": ("Jump/02.avi", "encoded again or resized"),
        "Jump/02 small and mirrored.mp4": ("Jump/02.avi", "mirrored"),
        "Run/04 of another class.avi": ("Jump/04.avi", "identical"),
    }
    placed = {video.source: (video.group, video.split) for video in videos}
    assert all(placed[source] == placed[first] for source, (first, _) in rows.items())
    assert len(set(groups_of(videos).values())) == 12
    output = capsys.readouterr().out
    assert (
        "6 videos show the same as others, whose group they share (2 encoded again or resized, 2 mirrored, 2 identical)"
        in output
    )
    assert output.count(" = ") == 5


def test_look_alikes_are_no_copies(root, tmp_path):
    background = cv2.resize(
        np.uint8([[60, 90, 60], [90, 120, 90]]), (160, 120), interpolation=cv2.INTER_CUBIC
    )
    background = cv2.merge([background] * 3)
    to_the_right = draw_disc(background, (0.2, 0.5), np.array([0.03, 0]))
    alike = {
        "to the right": to_the_right,
        "backwards": to_the_right[::-1],
        "higher": draw_disc(background, (0.2, 0.25), np.array([0.03, 0])),
        "still": [background] * 20,
        "grey": [np.full((120, 160, 3), 120, np.uint8)] * 20,
        "black": [np.zeros((120, 160, 3), np.uint8)] * 20,
        "darker grey": [np.full((120, 160, 3), 110, np.uint8)] * 20,
        "left is lighter": [cv2.resize(np.uint8([[[200] * 3, [40] * 3]]), (160, 120))] * 20,
    }
    for name, frames in alike.items():
        write_video(root / "Jump" / f"{name}.avi", frames)
    videos = preprocess.preprocess("own", root, tmp_path / "frames")
    assert rows_of(tmp_path / "frames") == {}
    assert len(set(groups_of(videos).values())) == len(videos)


def test_copies_are_looked_for_where_videos_changed_and_remembered(root, tmp_path, monkeypatch):
    frames = tmp_path / "frames"
    write_video(root / "Jump" / "00 b.avi", mirrored(scene(0)))
    write_video(root / "Jump" / "00 c.avi", resized(scene(0), (100, 80)))
    videos = preprocess.preprocess("own", root, frames)
    assert len({groups_of(videos)[f"Jump/00{end}.avi"] for end in ("", " b", " c")}) == 1

    with monkeypatch.context() as patch:
        patch.setattr(preprocess, "find_copies", None)  # not called
        assert preprocess.preprocess("own", root, frames) == videos
    (root / "Jump" / "00.avi").unlink()  # the first of the three
    rest = groups_of(preprocess.preprocess("own", root, frames))
    assert rest["Jump/00 b.avi"] == rest["Jump/00 c.avi"] and len(set(rest.values())) == 12
    write_video(root / "Run" / "09.avi", scene(1))  # another video, of the same name
    os.utime(root / "Run" / "09.avi", (0, 0))
    rest = groups_of(preprocess.preprocess("own", root, frames))
    assert rest["Run/09.avi"] == rest["Run/01.avi"] and len(set(rest.values())) == 11


def test_a_split_that_tears_copies_apart_counts_them_as_a_leak(root, tmp_path, project):
    for number in range(0, 12, 2):
        write_video(root / "Jump" / f"{number:02d} b.avi", mirrored(scene(number)))
    parts = ("train", "train", "train", "val", "val", "test", "test")
    with open(tmp_path / "table.csv", "w") as file:
        file.write("path,label,split\n")
        for number, path in enumerate(sorted(root.glob("*/*.avi"))):
            file.write(
                f"videos/{path.parent.name}/{path.name},{path.parent.name},{parts[number % 7]}\n"
            )
    videos = preprocess.preprocess(
        "own", tmp_path / "table.csv", tmp_path / "frames", protocol="folders"
    )
    splits = {video.source: video.split for video in videos}
    torn = sum(
        splits[source] != splits[first]
        for source, (first, _) in rows_of(tmp_path / "frames").items()
    )
    assert leaked_groups(videos, "folders") == torn > 0


def test_copies_that_leave_no_split_are_named_and_random_goes_on(tmp_path, project):
    for number in range(3):
        for name in ("Jump", "Run"):
            write_video(
                tmp_path / "videos" / name / f"{number}.avi", scene(("Jump", "Run").index(name))
            )
    with pytest.raises(
        preprocess.DataError, match=r"needs groups.*; 4 videos stay with those.*copies.csv$"
    ):
        preprocess.preprocess("own", tmp_path / "videos", tmp_path / "frames")
    with pytest.raises(preprocess.DataError, match=r"4 videos stay with those"):  # at once
        preprocess.preprocess("own", tmp_path / "videos", tmp_path / "frames")
    for number in range(3, 8):
        write_video(tmp_path / "videos" / "Jump" / f"{number}.avi", scene(0))
        write_video(tmp_path / "videos" / "Run" / f"{number}.avi", scene(1))
    project.set_path("own", tmp_path / "videos")
    flags = (
        "--dataset",
        "own",
        "--model",
        "Tiny",
        "--crop-size",
        16,
        "--epochs",
        1,
        "--workers",
        0,
    )
    project.run("train.py", *flags, "--split", "random")
    results = json.loads((project.folder / "run" / "run_0" / "results.json").read_text())
    assert results["leaked_groups"] == 2
    assert results["warning"].startswith("2 groups in more than one of train, val and test")


def test_the_search_finds_what_a_comparison_of_all_pairs_finds(monkeypatch):
    rng = np.random.default_rng(0)
    scenes = rng.integers(0, 256, (40, 4, 8, 16))
    which = rng.integers(40, size=300)
    which[:40] = np.arange(40)
    blocks = np.clip(scenes[which] + rng.integers(-9, 10, (300, 4, 8, 16)), 0, 255).astype(np.uint8)
    blocks[150:] = blocks[150:, ..., ::-1]
    monkeypatch.setattr(copies, "read_blocks", lambda folder, num_frames: blocks[int(folder)])
    monkeypatch.setattr(copies, "CHUNK", 64)
    videos = [record("Run", f"{i}") for i in range(300)]
    found = find_copies(videos, map(str, range(300)))

    half = (blocks[..., :8].astype(float) + blocks[..., ::-1][..., :8]) / 2
    half -= half.mean((1, 2, 3), keepdims=True)
    agree = np.abs(half[:, None] - half).max((2, 3, 4)) <= LIMIT
    assert agree.sum() > 1000
    expected = {
        videos[i].source: videos[which[i]].source for i in range(40, 300) if agree[i, which[i]]
    }
    assert {source: first for source, first, _ in found} == expected
    kinds = {int(source.removeprefix("Run/")[:-4]): kind for source, _, kind in found}
    assert all((kind == "mirrored") == (i >= 150) for i, kind in kinds.items())


def test_groups_are_joined_over_classes_unless_little_would_be_left_apart():
    videos = [
        record(name, f"v_{name}_g{g:02d}_c01") for name in ("Jump", "Run") for g in range(1, 9)
    ]

    def pairs(*numbers):
        return [
            (f"Run/v_Run_g{g:02d}_c01.avi", f"Run/v_Run_g{h:02d}_c01.avi", "mirrored")
            for g, h in numbers
        ]

    joined = join_groups(videos, pairs((2, 1), (3, 2), (7, 6)), within_class=False)
    names = ["g01", "g01", "g01", "g04", "g05", "g06", "g06", "g08"]
    assert [video.group for video in joined] == names * 2
    assert [video._replace(group="") for video in joined] == [
        video._replace(group="") for video in videos
    ]
    within = (
        [f"g{g:02d}" for g in range(1, 9)],
        ["Run/g01", "Run/g01", *(f"g{g:02d}" for g in range(3, 9))],
    )
    assert [video.group for video in join_groups(videos, pairs((2, 1)), within_class=True)] == [
        *within[0],
        *within[1],
    ]
    many = join_groups(
        videos, pairs((2, 1), (3, 1), (4, 1), (5, 1)), within_class=False
    )  # 10 of 16
    assert [video.group for video in many[:8]] == within[0]
    assert [video.group for video in many[8:]] == ["Run/g01"] * 5 + ["g06", "g07", "g08"]
    assert (
        join_groups(videos, [("gone.avi", videos[0].source, "identical")], within_class=False)
        == videos
    )


def test_copies_across_official_lists_count_as_a_leak_and_stop_nothing(tmp_path):
    videos = [
        record(name, f"v_{name}_g{g:02d}_c01") for name in ("Jump", "Run") for g in range(1, 26)
    ]
    joined = join_groups(
        videos, [("Run/v_Run_g20_c01.avi", "Run/v_Run_g01_c01.avi", "mirrored")], within_class=True
    )
    rows = assign_splits(joined, "official1", split_dir=tmp_path)
    tested = {video.video for video in rows if video.split == "test"}
    assert tested == {f"v_{name}_g{g:02d}_c01" for name in ("Jump", "Run") for g in range(1, 8)}
    assert leaked_groups(rows, "official1") == 1
    args = Namespace(split="official1", batch_size=1, accumulate=1, test_only=False)
    assert validate_data(args, 1, rows) == sum(video.split == "train" for video in rows)


def test_an_emptied_list_of_copies_is_refused(root, tmp_path):
    frames = tmp_path / "frames"
    preprocess.preprocess("own", root, frames)
    (frames / "copies.csv").write_bytes(b"")
    with pytest.raises(preprocess.DataError, match="copies.csv is damaged: delete it"):
        preprocess.preprocess("own", root, frames)
    (frames / "copies.csv").unlink()
    assert len(preprocess.preprocess("own", root, frames)) == 12


def test_videos_that_have_changed_are_no_copies_any_more(tmp_path):
    root = tmp_path / "videos"
    for number in range(8):
        write_video(root / ("Jump", "Run")[number % 2] / f"{number}.avi", scene(number % 2))
    with pytest.raises(preprocess.DataError, match="6 videos stay with those"):
        preprocess.preprocess("own", root, tmp_path / "frames")
    for number, video in enumerate(sorted(root.glob("*/*"))):
        write_video(video, scene(10 + number))
        os.utime(video, (2e9, 2e9))
    assert len(preprocess.preprocess("own", root, tmp_path / "frames")) == 8
