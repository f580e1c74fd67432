"""Videos that show the same are found, and nothing else is; they share a group, or count as a leak."""

import csv
import json
import os
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
from conftest import ROOT, write_video

import mypath
from dataloaders import copies, preprocess
from dataloaders.copies import Copy, candidate_pairs, find_copies
from dataloaders.frames import DataSettings
from dataloaders.groups import copies_across_groups, group_of, join_groups
from dataloaders.records import VideoRecord, write_index
from dataloaders.splits import assign_splits, leaked_groups
from engine.data import SplitRule, validate_split


@pytest.fixture(autouse=True)
def no_copies():
    """Here they are looked for."""


SAMPLING = "16x4_171x128"


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
    return VideoRecord(
        split=None,
        class_name=name,
        video=video,
        group=group_of(name, video),
        source=f"{name}/{video}.avi",
        frames=20,
        modified=0.0,
        place="train",
    )


def prepare(root, output, protocol="group", **options):
    """Preprocess a data set and split it; return the records."""
    settings = DataSettings("own", root, output, **options)
    return preprocess.split_records(preprocess.preprocess(settings), protocol)


def groups_of(videos):
    return {video.source: video.group for video in videos}


def rows_of(frames):
    with open(frames / SAMPLING / "copies.csv", newline="") as file:
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
    videos = prepare(root, tmp_path / "frames")
    rows = rows_of(tmp_path / "frames")
    assert rows == {
        "Jump/Copy of 00.avi": ("Jump/00.avi", "identical"),
        "Run/01 mirrored.avi": ("Run/01.avi", "mirrored"),
        "Run/03 again.mp4": ("Run/03.avi", "re-encoded"),
        "Jump/02 small.avi": ("Jump/02.avi", "re-encoded"),
        "Jump/02 small and mirrored.mp4": ("Jump/02.avi", "mirrored"),
        "Run/04 of another class.avi": ("Jump/04.avi", "identical"),
    }
    placed = {video.source: (video.group, video.split) for video in videos}
    assert all(placed[source] == placed[first] for source, (first, _) in rows.items())
    assert len(set(groups_of(videos).values())) == 12
    output = capsys.readouterr().out
    assert (
        "videos that show the same as others, whose group they share: 6 (2 re-encoded, 2 mirrored, 2 identical)"
        in output
    )
    assert output.count(" = ") == 5


def test_look_alikes_are_no_copies(root, tmp_path):
    background = cv2.resize(
        np.uint8([[60, 90, 140], [90, 120, 90]]), (160, 120), interpolation=cv2.INTER_CUBIC
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
        "black again": [np.zeros((120, 160, 3), np.uint8)] * 20,
        "darker grey": [np.full((120, 160, 3), 110, np.uint8)] * 20,
        "left is lighter": [cv2.resize(np.uint8([[[200] * 3, [40] * 3]]), (160, 120))] * 20,
    }
    for name, frames in alike.items():
        write_video(root / "Jump" / f"{name}.avi", frames)
    videos = prepare(root, tmp_path / "frames")
    assert rows_of(tmp_path / "frames") == {}
    assert len(set(groups_of(videos).values())) == len(videos)


def test_copies_are_looked_for_where_videos_changed_and_remembered(root, tmp_path, monkeypatch):
    frames = tmp_path / "frames"
    write_video(root / "Jump" / "00 b.avi", mirrored(scene(0)))
    write_video(root / "Jump" / "00 c.avi", resized(scene(0), (100, 80)))
    videos = prepare(root, frames)
    assert len({groups_of(videos)[f"Jump/00{end}.avi"] for end in ("", " b", " c")}) == 1

    with monkeypatch.context() as patch:
        patch.setattr(preprocess, "find_copies", None)  # not called
        assert prepare(root, frames) == videos
    (root / "Jump" / "00.avi").unlink()  # the first of the three
    rest = groups_of(prepare(root, frames))
    assert rest["Jump/00 b.avi"] == rest["Jump/00 c.avi"] and len(set(rest.values())) == 12
    write_video(root / "Run" / "09.avi", scene(1))  # another video, of the same name
    os.utime(root / "Run" / "09.avi", (0, 0))
    rest = groups_of(prepare(root, frames))
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
    videos = prepare(tmp_path / "table.csv", tmp_path / "frames", protocol="folders")
    splits = {video.source: video.split for video in videos}
    torn = sum(
        splits[source] != splits[first]
        for source, (first, _) in rows_of(tmp_path / "frames").items()
    )
    assert leaked_groups(videos, "folders") == torn > 0


@pytest.mark.slow
def test_copies_that_leave_no_split_are_named_and_random_goes_on(tmp_path, project):
    for number in range(3):
        for name in ("Jump", "Run"):
            write_video(
                tmp_path / "videos" / name / f"{number}.avi", scene(("Jump", "Run").index(name))
            )
    with pytest.raises(
        preprocess.DataError,
        match=r"needs groups.*; 4 copies must stay with the original, see copies.csv$",
    ):
        prepare(tmp_path / "videos", tmp_path / "frames")
    with pytest.raises(preprocess.DataError, match=r"4 copies must stay with"):  # at once
        prepare(tmp_path / "videos", tmp_path / "frames")
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


def test_the_search_finds_what_a_comparison_of_all_pairs_finds():
    rng = np.random.default_rng(0)
    scenes = rng.normal(0, 0.5, (40, 80)).astype(np.float32)
    vectors = scenes[rng.integers(40, size=300)] + rng.normal(0, 0.08, (300, 80))
    fingerprints = {2 * i: vector.astype(np.float32) for i, vector in enumerate(vectors)}
    distances = np.linalg.norm(vectors[:, None] - vectors, axis=2)
    expected = [
        (2 * i, 2 * j) for j in range(300) for i in range(j) if distances[i, j] <= copies.RADIUS
    ]
    assert 100 < len(expected) < 0.9 * (distances < 2).sum() / 2
    assert list(candidate_pairs(fingerprints)) == expected
    assert list(candidate_pairs({7: vectors[0]})) == list(candidate_pairs({})) == []


def film(seed, fps=25, seconds=2, background=None):
    """A disc of its own colour that moves to and fro by the clock, shot at any frame rate."""
    rng = np.random.default_rng(seed)
    if background is None:
        background = scene(seed)[0]
    height, width = background.shape[:2]
    colour = rng.integers(0, 256, 3).tolist()
    radius = rng.uniform(0.08, 0.15) * height
    start, end = rng.uniform(0.1, 0.9, (2, 2))
    end[0] = start[0] + (0.4 if start[0] < 0.5 else -0.4)
    bounce = rng.uniform(0.3, 2)
    frames = []
    for number in range(round(fps * seconds)):
        share = 0.5 - 0.5 * np.cos(np.pi * bounce * number / fps)
        centre = (start + share * (end - start)) * (width, height)
        frame = background.copy()
        cv2.circle(frame, np.round(centre).astype(int).tolist(), round(radius), colour, -1)
        frames.append(frame)
    return frames


def faded(frames, level, num_frames=12):
    """Frames that come out of black (0) or white (255)."""
    shares = [min(1, number / num_frames) for number in range(len(frames))]
    return [
        np.uint8(share * frame + (1 - share) * level)
        for share, frame in zip(shares, frames, strict=True)
    ]


def cropped(frames, pixels):
    size = frames[0].shape[1::-1]
    return [cv2.resize(frame[pixels:-pixels, pixels:-pixels], size) for frame in frames]


def found(root, tmp_path):
    """The copies that are found among the videos below `root`, in folders of one class."""
    prepare(root, tmp_path / "frames", protocol="random")
    return rows_of(tmp_path / "frames")


def test_copies_of_videos_that_fade_in_are_found(tmp_path):
    root = tmp_path / "videos"
    for number in range(10):
        path = root / ("Jump", "Run")[number % 2] / f"{number}.avi"
        write_video(path, faded(film(number), 255 * (number > 4)))
        shutil.copy(path, path.with_name(f"{number} again.avi"))
    assert found(root, tmp_path) == {
        f"{name}/{number} again.avi": (f"{name}/{number}.avi", "identical")
        for name, number in zip(("Jump", "Run") * 5, range(10), strict=True)
    }


@pytest.mark.parametrize("fps", [10, 15, 30, 60])
def test_copies_at_another_frame_rate_are_found(tmp_path, fps):
    root = tmp_path / "videos"
    for number in range(10):
        name = ("Jump", "Run")[number % 2]
        write_video(root / name / f"{number}.avi", film(number))
        write_video(root / name / f"{number} b.mp4", film(number, fps), fps, fourcc="mp4v")
    assert found(root, tmp_path) == {
        f"{name}/{number} b.mp4": (f"{name}/{number}.avi", "re-encoded")
        for name, number in zip(("Jump", "Run") * 5, range(10), strict=True)
    }


def test_copies_without_a_border_of_few_pixels_are_found(tmp_path):
    root = tmp_path / "videos"
    for number in range(10):
        name = ("Jump", "Run")[number % 2]
        write_video(root / name / f"{number}.avi", film(number))
        write_video(root / name / f"{number} b.avi", cropped(film(number), 2))
    assert found(root, tmp_path) == {
        f"{name}/{number} b.avi": (f"{name}/{number}.avi", "re-encoded")
        for name, number in zip(("Jump", "Run") * 5, range(10), strict=True)
    }


def test_a_frame_is_compared_with_the_line_between_frames_around_its_time():
    frames = np.float32([[0.7], [2.4], [9], [0.2]])
    others = np.float32([[0], [1], [2], [3]])
    # Both videos have frames at 1/8, 3/8, 5/8 and 7/8; of the others those within 1/4 are near.
    nearest = [[0.7], [2.4], [3], [1]]
    assert np.allclose(copies._nearest(frames, others), nearest)
    # At 1/4 and 3/4 lie the middles of the first and the last part.
    assert np.allclose(copies._nearest(np.float32([[0.5], [2.5]]), others), [[0.5], [2.5]])


def test_recordings_of_one_fixed_camera_are_no_copies(tmp_path):
    root = tmp_path / "videos"
    room = scene(0)[0]
    noise = np.random.default_rng(0).integers(-4, 5, (500, *room.shape), np.int8)
    for number in range(45):
        frames = film(number, background=room, seconds=1.2)
        start = 10 * number  # no two have the same noise at the same time
        noisy = [
            np.uint8(np.clip(f + n, 0, 255)) for f, n in zip(frames, noise[start:], strict=False)
        ]
        write_video(root / ("Jump", "Run")[number % 2] / f"{number}.avi", noisy)
    assert found(root, tmp_path) == {}


@pytest.mark.parametrize("opening", ["title", "black", "white", "grey"])
def test_one_opening_makes_no_copies(tmp_path, opening):
    root = tmp_path / "videos"
    title = np.full((120, 160, 3), 30, np.uint8)
    cv2.putText(title, "A TITLE", (20, 70), cv2.FONT_HERSHEY_DUPLEX, 1, (240, 240, 240), 2)
    grey = np.full((120, 160, 3), 120, np.uint8)
    room = scene(0)[0]
    for number in range(12):
        frames = film(number, background=room)
        if opening in ("title", "grey"):
            frames = [title if opening == "title" else grey] * 50 + frames
        else:
            frames = faded(frames, 255 * (opening == "white"), 25)
        write_video(root / ("Jump", "Run")[number % 2] / f"{number}.avi", frames)
    assert found(root, tmp_path) == {}


def test_still_pictures_are_copies_where_their_frames_are_the_same_files(root, tmp_path):
    picture = np.minimum(scene(50)[0], 250)
    brighter = picture.copy()
    brighter[40:80, 60:100] += 3
    for name, still in (("a", picture), ("b", picture), ("c", brighter)):
        write_video(root / "Jump" / f"still {name}.avi", [still] * 20)
    assert found(root, tmp_path) == {"Jump/still b.avi": ("Jump/still a.avi", "identical")}


def test_a_video_whose_frames_are_damaged_is_no_copy(tmp_path):
    videos = []
    for name in "abc":
        folder = tmp_path / f"train/Run/{name}"
        folder.mkdir(parents=True)
        for number, frame in enumerate(film(0)[:20], start=1):
            cv2.imwrite(str(folder / f"{number:05d}.jpg"), frame)
        videos.append(record("Run", name))
    (tmp_path / "train/Run/b/00003.jpg").write_bytes(b"nothing")  # between those of the fingerprint
    (tmp_path / "train/Run/a/00013.jpg").unlink()  # the third of the fingerprint
    folders = [video.folder(tmp_path) for video in videos]
    assert find_copies(videos, folders) == []
    shutil.copy(tmp_path / "train/Run/c/00003.jpg", tmp_path / "train/Run/b/00003.jpg")
    assert find_copies(videos, folders) == [Copy("Run/c.avi", "Run/b.avi", "identical")]


def test_a_record_without_frames_is_refused_where_frames_are_needed(tmp_path):
    video = record("Run", "a")._replace(frames=None)
    with pytest.raises(ValueError, match="Run/a.avi: it has no frames to compare"):
        find_copies([record("Run", "b"), video], [tmp_path, tmp_path])
    with pytest.raises(ValueError, match="Run/a.avi has no frames"):
        write_index(tmp_path / "index.csv", [video])
    assert not (tmp_path / "index.csv").exists()


def test_groups_that_the_user_names_are_not_joined(root, tmp_path, capsys):
    shutil.copy(root / "Jump" / "00.avi", root / "Jump" / "00 again.avi")
    paths = sorted(root.glob("*/*.avi"))
    with open(tmp_path / "table.csv", "w") as file:
        file.write("path,label,group\n")
        for number, path in enumerate(paths):
            name = path.parent.name
            file.write(f"videos/{name}/{path.name},{name},person {number % 7}\n")
    frames = tmp_path / "frames"
    videos = prepare(tmp_path / "table.csv", frames)
    assert rows_of(frames) == {"videos/Jump/00 again.avi": ("videos/Jump/00.avi", "identical")}
    groups = {source.rpartition("/")[2]: group for source, group in groups_of(videos).items()}
    assert groups == {path.name: f"person {number % 7}" for number, path in enumerate(paths)}
    message = "videos that show the same as others, of other groups, which stay apart as you named them: 1 "
    assert message in capsys.readouterr().out
    shutil.rmtree(root)
    (tmp_path / "table.csv").unlink()
    assert prepare(tmp_path / "table.csv", frames) == videos


def test_groups_by_a_pattern_are_not_joined(root, tmp_path, capsys):
    shutil.copy(root / "Jump" / "00.avi", root / "Jump" / "99.avi")
    videos = prepare(root, tmp_path / "frames", group_pattern=r"/(\d+)")
    assert groups_of(videos)["Jump/00.avi"] == "00"
    assert groups_of(videos)["Jump/99.avi"] == "99"
    assert "of other groups, which stay apart" in capsys.readouterr().out


def test_the_search_is_switched_off_in_mypath(root, tmp_path, monkeypatch, mistake, capsys):
    shutil.copy(root / "Jump" / "00.avi", root / "Jump" / "00 again.avi")
    frames = tmp_path / "frames"
    entry = {"videos": str(root), "frames": str(frames), "finds_copies": False}
    monkeypatch.setitem(mypath.Path.DATASETS, "own", entry)
    preprocess.main(["own"])
    assert "show the same" not in capsys.readouterr().out
    assert not (frames / SAMPLING / "copies.csv").exists()
    videos = prepare(root, frames, finds_copies=False)
    assert len(set(groups_of(videos).values())) == 13

    entry["finds_copies"] = True
    preprocess.main(["own"])
    assert list(rows_of(frames)) == ["Jump/00 again.avi"]
    prepare(root, frames, finds_copies=False)  # nothing changed: its rows stay right
    shutil.copy(root / "Jump" / "02.avi", root / "Jump" / "02 again.avi")
    prepare(root, frames, finds_copies=False)
    preprocess.main(["own"])
    assert list(rows_of(frames)) == ["Jump/00 again.avi", "Jump/02 again.avi"]

    entry["finds_copies"] = "no"
    capsys.readouterr()
    assert mistake(preprocess, "own") == (
        "mypath.py: finds_copies of 'own' is 'no'; it must be True or False"
    )


READ_ONLY = """
import subprocess, sys
from pathlib import Path
from dataloaders.frames import DataSettings
from dataloaders.preprocess import preprocess
root, frames = sys.argv[1:]
subprocess.run(["mount", "--bind", frames, frames], check=True)
subprocess.run(["mount", "-o", "remount,bind,ro", frames], check=True)
try:
    open(frames + "/a", "w")
except OSError:
    print(len(preprocess(DataSettings("own", Path(root), Path(frames))).records), "videos")
"""


@pytest.mark.parametrize("skips", [False, True])
def test_where_nothing_changed_nothing_is_written(root, tmp_path, skips):
    if skips:
        (root / "Jump" / "broken.avi").write_bytes(b"no video")
    frames = tmp_path / "frames"
    prepare(root, frames)
    assert (frames / SAMPLING / "skipped.csv").exists() == skips

    def states():
        paths = [frames, *frames.rglob("*")]
        return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}

    before = states()
    prepare(root, frames)
    assert states() == before
    if not shutil.which("unshare") or subprocess.run(["unshare", "-rm", "true"]).returncode:
        pytest.skip("needs a mount of its own")
    command = ["unshare", "-rm", sys.executable, "-c", READ_ONLY, str(root), str(frames)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.endswith("12 videos\n"), done.stdout + done.stderr


def test_groups_are_joined_over_classes_unless_little_would_be_left_apart():
    videos = [
        record(name, f"v_{name}_g{g:02d}_c01") for name in ("Jump", "Run") for g in range(1, 9)
    ]

    def pairs(*numbers):
        return [
            Copy(f"Run/v_Run_g{g:02d}_c01.avi", f"Run/v_Run_g{h:02d}_c01.avi", "mirrored")
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
        join_groups(videos, [Copy("gone.avi", videos[0].source, "identical")], within_class=False)
        == videos
    )


@pytest.mark.parametrize(
    ("given", "is_joined"), [("", True), ("a", False), ("b", False), ("ab", False)]
)
def test_a_group_that_the_user_has_named_joins_no_other(given, is_joined):
    videos = [
        VideoRecord(None, "Run", name, f"g{name}", f"{name}.avi", group_is_given=name in given)
        for name in "abcde"
    ]
    copy = Copy("b.avi", "a.avi", "identical")
    joined = join_groups(videos, [copy], within_class=False)
    assert [video.group for video in joined] == [
        "ga", "ga" if is_joined else "gb", "gc", "gd", "ge"
    ]  # fmt: skip
    for are_joined in (True, False):
        across = copies_across_groups(videos, [copy], are_joined=are_joined)
        assert across == ([copy] if is_joined == are_joined else [])


def test_copies_across_official_lists_count_as_a_leak_and_stop_nothing(tmp_path):
    videos = [
        record(name, f"v_{name}_g{g:02d}_c01") for name in ("Jump", "Run") for g in range(1, 26)
    ]
    joined = join_groups(
        videos,
        [Copy("Run/v_Run_g20_c01.avi", "Run/v_Run_g01_c01.avi", "mirrored")],
        within_class=True,
    )
    rows = assign_splits(joined, "official1", split_dir=tmp_path)
    tested = {video.video for video in rows if video.split == "test"}
    assert tested == {f"v_{name}_g{g:02d}_c01" for name in ("Jump", "Run") for g in range(1, 8)}
    assert leaked_groups(rows, "official1") == 1
    validate_split(rows, SplitRule("official1", 1))


def test_an_emptied_list_of_copies_is_refused(root, tmp_path):
    frames = tmp_path / "frames"
    prepare(root, frames)
    (frames / SAMPLING / "copies.csv").write_bytes(b"")
    with pytest.raises(
        preprocess.DataError, match="copies.csv is damaged .*: delete it and start again"
    ):
        prepare(root, frames)
    (frames / SAMPLING / "copies.csv").unlink()
    assert len(prepare(root, frames)) == 12


def test_videos_that_have_changed_are_no_copies_any_more(tmp_path):
    root = tmp_path / "videos"
    for number in range(8):
        write_video(root / ("Jump", "Run")[number % 2] / f"{number}.avi", scene(number % 2))
    with pytest.raises(preprocess.DataError, match="6 copies must stay with"):
        prepare(root, tmp_path / "frames")
    for number, video in enumerate(sorted(root.glob("*/*"))):
        write_video(video, scene(10 + number))
        os.utime(video, (2e9, 2e9))
    assert len(prepare(root, tmp_path / "frames")) == 8
