import csv
import io
import os
import shutil
import subprocess
import sys
import threading
import time

import cv2
import numpy as np
import pytest
from conftest import ROOT, read_number, tree, write_dataset, write_video

from dataloaders import layouts, preprocess
from dataloaders.clips import ClipConfig
from dataloaders.errors import DataError
from dataloaders.extract import extract_frames
from dataloaders.index import SPLITS, read_index


@pytest.fixture
def root(tmp_path):
    root = write_dataset(tmp_path / "videos")
    for video in root.glob("*/*"):
        os.utime(video, (1e9, 1e9))
    return root


@pytest.fixture
def decoded(monkeypatch):
    """The names of the videos that are decoded from here on."""
    names, extract_all = [], preprocess.extract_all

    def spy(jobs, processes):
        def noted():
            for source, *rest in jobs:
                names.append(source.name)
                yield source, *rest

        return extract_all(noted(), processes)

    monkeypatch.setattr(preprocess, "extract_all", spy)
    return names


def interrupt_4th_move(monkeypatch):
    """Have Ctrl-C come where the fourth frame folder would be moved; later moves are done."""
    move, moved = os.renames, []

    def interrupted(*args):
        moved.append(args)
        if len(moved) == 4:
            raise KeyboardInterrupt
        return move(*args)

    monkeypatch.setattr(os, "renames", interrupted)


def test_frame_folders_and_index(root, tmp_path):
    frames = tmp_path / "frames"
    videos = preprocess.preprocess("own", root, frames)
    assert videos == read_index(frames / "index.csv")
    assert [(v.class_name, v.video, v.group, v.frames, v.source) for v in videos] == [
        (name, f"v_{name}_g0{g}_c01", f"g0{g}", 20, f"{name}/v_{name}_g0{g}_c01.avi")
        for name in ("Jump", "Run")
        for g in range(1, 6)
    ]
    expected = {
        f"{v.split}/{v.class_name}/{v.video}/{i:05d}.jpg" for v in videos for i in range(1, 21)
    }
    assert set(tree(frames)) == expected | {"index.csv", "copies.csv"}


def test_a_second_start_decodes_nothing(root, tmp_path, decoded):
    first = preprocess.preprocess("own", root, tmp_path / "frames")
    before = tree(tmp_path / "frames")
    assert len(decoded) == 10
    (tmp_path / "frames" / ".partial" / "0").mkdir(parents=True)  # a start killed at its very end
    (tmp_path / "frames" / ".partial" / "0" / "00001.jpg").touch()
    assert preprocess.preprocess("own", root, tmp_path / "frames") == first
    assert len(decoded) == 10
    assert tree(tmp_path / "frames") == before


def test_an_interrupted_start_goes_on_where_it_was(root, tmp_path, monkeypatch, decoded):
    preprocess.preprocess("own", root, tmp_path / "undisturbed")
    del decoded[:]
    interrupt_4th_move(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        preprocess.preprocess("own", root, tmp_path / "frames", processes=1)
    assert not (tmp_path / "frames" / "index.csv").exists()
    del decoded[:]
    preprocess.preprocess("own", root, tmp_path / "frames")
    assert tree(tmp_path / "frames") == tree(tmp_path / "undisturbed")
    assert len(decoded) == 10 - 3


@pytest.mark.parametrize("processes", [1, 2, 7])
def test_the_number_of_processes_changes_no_byte(root, tmp_path, processes):
    write_video(root / "Run" / "v_Run_g06_c01.avi", 130)
    preprocess.preprocess("own", root, tmp_path / "frames", processes=processes)
    videos = read_index(tmp_path / "frames" / "index.csv")
    for video in videos:
        extract_frames(root / video.source, tmp_path / "plain")
        assert tree(tmp_path / "plain") == tree(video.folder(tmp_path / "frames"))


def test_folders_of_unknown_origin_are_not_trusted(root, tmp_path):
    preprocess.preprocess("own", root, tmp_path / "right")
    for split in SPLITS:
        leftover = tmp_path / "frames" / split / "Jump" / "v_Jump_g01_c01"
        leftover.mkdir(parents=True)
        (leftover / "0000.jpg").write_text("left by another script")
    preprocess.preprocess("own", root, tmp_path / "frames")
    assert tree(tmp_path / "frames") == tree(tmp_path / "right")


def test_a_lost_frame_folder_is_made_again(root, tmp_path, decoded):
    videos = preprocess.preprocess("own", root, tmp_path / "frames")
    before = tree(tmp_path / "frames")
    shutil.rmtree(videos[3].folder(tmp_path / "frames"))
    del decoded[:]
    preprocess.preprocess("own", root, tmp_path / "frames")
    assert decoded == ["v_Jump_g04_c01.avi"]
    assert tree(tmp_path / "frames") == before


def test_new_videos_change_the_split_by_moving_folders(root, tmp_path, decoded):
    preprocess.preprocess("own", root, tmp_path / "frames")
    del decoded[:]
    for name in ("Jump", "Run"):
        for g in range(6, 11):
            write_video(root / name / f"v_{name}_g{g:02d}_c01.avi", 20)
    preprocess.preprocess("own", root, tmp_path / "frames")
    assert len(decoded) == 10
    preprocess.preprocess("own", root, tmp_path / "fresh")
    assert tree(tmp_path / "frames") == tree(tmp_path / "fresh")


def test_moving_between_splits_and_back_restores_the_tree(root, tmp_path, decoded):
    for name in ("Jump", "Run"):
        for g in range(6, 26):
            write_video(root / name / f"v_{name}_g{g:02d}_c01.avi", 3)
    frames = tmp_path / "frames"
    preprocess.preprocess("own", root, frames)
    folders = sorted(frames.rglob("*"))
    before = tree(frames)
    for split, groups in (
        ("train", range(11, 25)),
        ("test", range(1, 11)),
    ):  # and group 25 in neither
        names = [f"{name}/v_{name}_g{g:02d}_c01.avi\n" for name in ("Jump", "Run") for g in groups]
        (tmp_path / f"{split}list03.txt").write_text("".join(names))
    del decoded[:]
    for protocol in ("random", "official2", "official3", "official1", "group"):
        preprocess.preprocess("own", root, frames, protocol=protocol, split_dir=tmp_path)
        assert (tree(frames) == before) == (protocol == "group")
        assert (frames / "unused").exists() == (protocol == "official3")
    assert sorted(frames.rglob("*")) == folders
    assert decoded == []
    shutil.rmtree(root)
    preprocess.preprocess("own", root, frames, protocol="official1", split_dir=tmp_path)
    preprocess.preprocess("own", root, frames)
    assert tree(frames) == before


def test_stray_files_are_ignored(root, tmp_path, capsys):
    plain = preprocess.preprocess("own", root, tmp_path / "plain")
    (root / ".DS_Store").write_text("")
    (root / "readme.txt").write_text("")
    (root / "Jump" / ".DS_Store").write_text("")
    (root / "Jump" / "._v_Jump_g01_c01.avi").write_text("")
    (root / "Jump" / "notes.txt").write_text("")
    (root / "Jump" / "folder.avi").mkdir()
    (root / ".cache").mkdir()
    (root / "empty").mkdir()
    assert preprocess.preprocess("own", root, tmp_path / "frames") == plain
    said = capsys.readouterr()
    assert (
        f"ignored in {root}: 1 folders without images (Jump/folder.avi); "
        "1 hidden (Jump/._v_Jump_g01_c01.avi); "
        "2 without the ending of a video (Jump/notes.txt, readme.txt)\n"
    ) in said.out
    assert "skipped" not in said.err


def test_the_order_of_the_folder_listing_does_not_matter(root, tmp_path, monkeypatch):
    plain = preprocess.preprocess("own", root, tmp_path / "plain")
    listing = layouts._scan
    monkeypatch.setattr(layouts, "_scan", lambda *folder: reversed(sorted(listing(*folder))))
    assert preprocess.preprocess("own", root, tmp_path / "frames") == plain


def test_a_broken_video_is_named_and_left_out_until_it_changes(root, tmp_path, capsys, decoded):
    for g in (6, 7):
        write_video(root / "Jump" / f"v_Jump_g{g:02d}_c01.avi", 20)
    plain = preprocess.preprocess("own", root, tmp_path / "plain")
    (root / "Jump" / "v_Jump_g08_c01.avi").write_bytes(b"no video")
    (root / "Run" / "v_Run_g08_c01.mp4").write_bytes(b"")
    assert preprocess.preprocess("own", root, tmp_path / "frames") == plain
    skipped = tmp_path / "frames" / "skipped.csv"
    assert set(tree(tmp_path / "frames")) == {*tree(tmp_path / "plain"), "skipped.csv"}
    with open(skipped, newline="") as file:
        rows = {row["source"]: row["reason"] for row in csv.DictReader(file)}
    assert "not a video" in rows["Jump/v_Jump_g08_c01.avi"]
    assert "not a video" in rows["Run/v_Run_g08_c01.mp4"]
    assert "v_Jump_g08_c01.avi" in capsys.readouterr().err

    del decoded[:]
    assert preprocess.preprocess("own", root, tmp_path / "frames") == plain
    assert decoded == []
    assert "2 skipped, see" in capsys.readouterr().out

    shutil.copy(root / "Jump" / "v_Jump_g07_c01.avi", root / "Jump" / "v_Jump_g08_c01.avi")
    make_newer(root / "Jump" / "v_Jump_g08_c01.avi")
    (root / "Run" / "v_Run_g08_c01.mp4").unlink()
    preprocess.preprocess("own", root, tmp_path / "frames")
    assert decoded == ["v_Jump_g08_c01.avi"]
    preprocess.preprocess("own", root, tmp_path / "fresh")
    assert tree(tmp_path / "frames") == tree(tmp_path / "fresh")


def make_newer(path):
    os.utime(path, (path.stat().st_mtime + 10,) * 2)


@pytest.mark.parametrize("kind", ["changed", "broken", "removed", "another ending"])
def test_changes_of_the_videos_are_noticed(root, tmp_path, decoded, capsys, kind):
    preprocess.preprocess("own", root, tmp_path / "frames")
    del decoded[:]
    video = root / "Run" / "v_Run_g02_c01.avi"
    if kind == "changed":
        write_video(video, 40)
    elif kind == "broken":
        video.write_bytes(b"no video")
    elif kind == "removed":
        video.unlink()
    else:
        video = video.rename(video.with_suffix(".mkv"))
    if kind != "removed":
        make_newer(video)
    preprocess.preprocess("own", root, tmp_path / "frames")
    assert decoded == ([] if kind == "removed" else [video.name])
    assert ("no longer in" in capsys.readouterr().out) == (kind == "removed")
    preprocess.preprocess("own", root, tmp_path / "fresh")
    assert tree(tmp_path / "frames") == tree(tmp_path / "fresh")


def test_frames_alone_keep_what_was_skipped(root, tmp_path):
    (root / "Run" / "v_Run_g06_c01.avi").write_bytes(b"no video")
    preprocess.preprocess("own", root, tmp_path / "frames")
    before = tree(tmp_path / "frames")
    shutil.rmtree(root)
    preprocess.preprocess("own", root, tmp_path / "frames")
    assert tree(tmp_path / "frames") == before


def test_a_change_that_is_interrupted_is_done_again(root, tmp_path, monkeypatch):
    preprocess.preprocess("own", root, tmp_path / "frames")
    video = root / "Run" / "v_Run_g02_c01.avi"
    make_newer(write_video(video, 30))
    move = os.renames

    def interrupted(*args):
        move(*args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(os, "renames", interrupted)
        preprocess.preprocess("own", root, tmp_path / "frames")
    preprocess.preprocess("own", root, tmp_path / "frames")
    preprocess.preprocess("own", root, tmp_path / "fresh")
    assert tree(tmp_path / "frames") == tree(tmp_path / "fresh")


def test_a_journal_with_a_torn_row_will_do(root, tmp_path, decoded):
    preprocess.preprocess("own", root, tmp_path / "frames")
    before = tree(tmp_path / "frames")
    journal = (tmp_path / "frames" / "index.csv").rename(tmp_path / "frames" / "index.journal")
    journal.write_bytes(journal.read_bytes()[:-35])
    del decoded[:]
    preprocess.preprocess("own", root, tmp_path / "frames")
    assert len(decoded) == 1
    assert tree(tmp_path / "frames") == before


def test_killed_at_any_instant_it_ends_in_the_same_tree(root, tmp_path):
    for g in range(1, 6):
        write_video(root / "Run" / f"v_Run_g{g:02d}_c02.avi", 200)
    preprocess.preprocess("own", root, tmp_path / "undisturbed")
    code = "import sys; from dataloaders.preprocess import preprocess; print('go', flush=True)\n"
    code += "preprocess('own', sys.argv[1], sys.argv[2], processes=1)"
    command = [sys.executable, "-c", code, str(root), str(tmp_path / "frames")]
    for delay in np.random.default_rng(0).permutation(np.linspace(0, 0.8, 9)):
        with subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process:
            process.stdout.readline()
            time.sleep(delay)
            process.kill()
    preprocess.preprocess("own", root, tmp_path / "frames")
    assert tree(tmp_path / "frames") == tree(tmp_path / "undisturbed")


SMALL = """
import subprocess, sys
from pathlib import Path
from dataloaders.preprocess import preprocess
root, place = sys.argv[1:]
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "none", place], check=True)
try:
    preprocess("own", root, place + "/frames")
except OSError as error:
    print(error)
left = sorted(Path(place).glob("frames/*/*/*/*"))
subprocess.run(["mount", "-o", "remount,size=20m", place], check=True)
preprocess("own", root, place + "/frames")
preprocess("own", root, sys.argv[1] + "_frames")
subprocess.run(["diff", "-r", place + "/frames", sys.argv[1] + "_frames"], check=True)
print(len(left), "frames were there")
"""


@pytest.mark.skipif(
    not shutil.which("unshare") or subprocess.run(["unshare", "-rm", "true"]).returncode != 0,
    reason="needs a mount of its own",
)
def test_a_disk_that_fills_up_is_told_and_the_next_start_goes_on(root, tmp_path):
    (tmp_path / "small").mkdir()
    command = ["unshare", "-rm", sys.executable, "-c", SMALL, str(root), str(tmp_path / "small")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (
        "cannot be written; is the disk full?" in done.stdout
        or "No space left on device" in done.stdout
    )
    assert "\n0 frames were there" not in done.stdout


def test_a_class_that_broken_videos_leave_too_small_is_named(root, tmp_path):
    for video in sorted((root / "Run").iterdir())[:3]:
        video.write_bytes(b"no video")
    with pytest.raises(
        ValueError, match=r"every class needs groups .* fewest groups: Run \(2\), Jump \(5\)"
    ):
        preprocess.preprocess("own", root, tmp_path / "frames")


def test_what_speaks_against_a_split_is_asked_before_anything_is_decoded(root, tmp_path, decoded):
    def validate(videos):
        assert {video.split for video in videos} == set(SPLITS)
        asked.append(len(videos))
        if len(asked) == 1:
            raise ValueError("no")

    asked = []
    with pytest.raises(ValueError, match="no"):
        preprocess.preprocess("own", root, tmp_path / "frames", validate=validate)
    assert (asked, decoded) == ([10], [])
    (root / "Run" / "v_Run_g05_c01.avi").write_bytes(b"no video")
    preprocess.preprocess("own", root, tmp_path / "frames", validate=validate)
    assert asked == [10, 10, 9]


@pytest.mark.parametrize("name", ["a\nb.avi", os.fsdecode(b"a\xffb.avi")])
def test_a_name_that_no_table_can_hold_is_refused(root, tmp_path, name):
    (root / "Run" / name).write_bytes(b"")
    with pytest.raises(
        ValueError, match=r"Run/a.*b.avi.*: a table cannot hold this name; rename the file"
    ):
        preprocess.preprocess("own", root, tmp_path / "frames")


def test_of_two_starts_one_waits(root, tmp_path, capsys):
    frames = tmp_path / "frames"
    with preprocess.preprocessing_lock(frames):
        other = threading.Thread(target=preprocess.preprocess, args=("own", root, frames))
        other.start()
        time.sleep(0.5)
        assert "waiting" in capsys.readouterr().out
        assert not frames.exists()
    other.join()
    assert (frames / "index.csv").is_file()


def test_frames_in_a_place_that_cannot_be_written_will_do(root, tmp_path, monkeypatch):
    videos = preprocess.preprocess("own", root, tmp_path / "frames")

    def refuse(*args, **kwargs):
        raise PermissionError("read-only")

    monkeypatch.setattr(preprocess.FileLock, "acquire", refuse)
    assert preprocess.preprocess("own", root, tmp_path / "frames") == videos


def test_a_folder_without_a_single_good_video_is_an_error(tmp_path):
    for name in ("Jump", "Run"):
        (tmp_path / "videos" / name).mkdir(parents=True)
        for g in range(3):
            (tmp_path / "videos" / name / f"v_{name}_g{g:02d}_c01.avi").write_bytes(b"no video")
    with pytest.raises(
        ValueError, match="videos: none of its videos can be read, see .*skipped.csv; the first: "
    ):
        preprocess.preprocess("own", tmp_path / "videos", tmp_path / "frames")


def test_names_of_hmdb51_and_other_odd_ones(tmp_path):
    nasty = "$(touch hacked) `touch hacked`; touch hacked & | > < * ? -rf"
    for i in range(4):
        write_video(tmp_path / "videos" / "é" / f"{nasty} {i}.avi", 17)
        for path in (
            f"shoot bow/film {i}!!!_300+_(x)[y]_shoot bow_f_nm_np1_fr_med_{i}.avi",
            f"é/100%d, {i}.avi",
        ):
            write_video(tmp_path / "videos" / path, 17)
    videos = preprocess.preprocess("own", tmp_path / "videos", tmp_path / "frames")
    assert {v.frames for v in videos} == {17}
    assert {v.group for v in videos if v.class_name == "shoot bow"} == {
        f"film {i}!!!_300+_(x)[y]" for i in range(4)
    }
    assert all(len(list(v.folder(tmp_path / "frames").iterdir())) == 17 for v in videos)


def test_frames_alone_will_do(root, tmp_path):
    videos = preprocess.preprocess("own", root, tmp_path / "frames")
    shutil.rmtree(root)
    assert preprocess.preprocess("own", root, tmp_path / "frames") == videos


def test_wrong_folders_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere: no such folder.*mypath\.py"):
        preprocess.preprocess("own", tmp_path / "nowhere", tmp_path / "frames")
    (tmp_path / "empty" / "class").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="empty: no class folders"):
        preprocess.preprocess("own", tmp_path / "empty", tmp_path / "frames")
    assert not (tmp_path / "frames").exists()


def test_runspreprocessing_lock(project, root):
    project.set_path("own", root)
    assert "10 videos of 2 classes" in project.run("-m", "dataloaders.preprocess", "own").stdout
    assert (project.folder / "data" / "own_frames" / "index.csv").is_file()
    unknown = project.run("-m", "dataloaders.preprocess", "nothing", ok=False)
    assert unknown.returncode == 2
    assert (
        unknown.stderr == "unknown data set 'nothing': mypath.py knows ucf101, hmdb51, demo, own\n"
    )


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["UCF-101/Jump/a.avi", "UCF-101/Run/b.avi"], "deeper; name .*UCF-101 in mypath.py"),
        (
            ["a/b/UCF-101/Jump/a.avi"],
            "the class folders lie deeper; name .*a.b.UCF-101 in mypath.py",
        ),
        (["Jump/1.jpg"], "images, but no folder for those of each video, <class>/<video>/1.jpg"),
        (
            ["a.avi", "b.mp4"],
            "videos in no class folder; put those of each class into a folder of its name",
        ),
        (
            ["Jump/notes.txt"],
            "no class folders with videos in it. mypath.py says where the videos lie",
        ),
    ],
)
def test_a_layout_that_is_not_read_is_named(tmp_path, files, message):
    for file in files:
        (tmp_path / "videos" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "videos" / file).write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=f"videos: .*{message}"):
        preprocess.preprocess("own", tmp_path / "videos", tmp_path / "frames")


def test_a_console_that_cannot_show_a_name_ends_nothing(root, tmp_path, monkeypatch):
    (root / "Jump" / "跳.txt").write_text("")
    monkeypatch.setattr("mypath.Path.DATASETS", {"own": (str(root), str(tmp_path / "frames"))})
    console = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr(sys, "stdout", console)
    preprocess.main(["own"])
    console.flush()
    assert b"(Jump/\\u8df3.txt)" in console.buffer.getvalue()


def test_a_file_that_cannot_be_read_keeps_the_rest(root, tmp_path):
    """Links to nowhere, of class folders and of videos."""
    (root / "Run" / "gone.avi").symlink_to(tmp_path / "nowhere.avi")
    (root / "Sit").symlink_to(tmp_path / "nowhere")
    (root / "self").symlink_to("self")
    assert len(preprocess.preprocess("own", root, tmp_path / "frames")) == 10


def shown(folder):
    """The numbers of the frames in a frame folder."""
    return [read_number(cv2.imread(str(path))[..., ::-1]) for path in sorted(folder.iterdir())]


def test_frames_remember_how_they_were_sampled(root, tmp_path, decoded, capsys):
    write_video(root / "Run" / "v_Run_g06_c01.avi", 100, fps=30)
    write_video(root / "Run" / "v_Run_g07_c01.avi", 50, fps=10)
    frames = tmp_path / "frames"
    preprocess.preprocess("own", root, frames)
    assert {video.sampling for video in read_index(frames / "index.csv")} == {"16x4 171x128"}
    for settings, sampling, of_30, of_10 in (
        (
            {"frame_rate": 15.0},
            "16x15fps 171x128",
            list(range(0, 100, 2)),
            [int(i / 1.5 + 0.5) for i in range(75)],
        ),
        ({"frame_interval": 1, "clip_len": 32}, "32x1 171x128", list(range(100)), list(range(50))),
        ({"crop_size": 160}, "16x4 244x183", list(range(0, 100, 4)), list(range(0, 50, 3))),
    ):
        decoded.clear()
        capsys.readouterr()
        config = ClipConfig.from_flags(**settings)
        videos = {
            video.video: video
            for video in preprocess.preprocess("own", root, frames, config=config)
        }
        output = capsys.readouterr().out
        assert len(decoded) == len(videos) == 12
        assert (
            f"this run needs {sampling} (clip length x interval, size): they are extracted anew"
            in output
        )
        assert ("; 1 have fewer than 15 frames a second: frames repeat" in output) == (
            "frame_rate" in settings
        )
        for name, numbers in (("v_Run_g06_c01", of_30), ("v_Run_g07_c01", of_10)):
            assert shown(videos[name].folder(frames)) == numbers
            assert (videos[name].frames, videos[name].sampling) == (len(numbers), sampling)
        height, width = config.stored_size
        assert cv2.imread(str(next(frames.rglob("*.jpg")))).shape == (height, width, 3)
    preprocess.preprocess("own", root, frames, config=ClipConfig.from_flags(crop_size=160))
    assert len(decoded) == 12
    root.rename(tmp_path / "elsewhere")
    with pytest.raises(
        DataError, match="are 16x4 244x183, this run needs 16x4 171x128, and .* is not there"
    ):
        preprocess.preprocess("own", root, frames)
    preprocess.preprocess("own", root, frames, config=ClipConfig.from_flags(crop_size=160))


def test_a_start_that_samples_anew_and_is_killed_mixes_nothing(
    root, tmp_path, monkeypatch, decoded
):
    frames, config = tmp_path / "frames", ClipConfig.from_flags(frame_interval=2)
    preprocess.preprocess("own", root, frames)
    preprocess.preprocess("own", root, tmp_path / "undisturbed", config=config)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        interrupt_4th_move(patched)
        preprocess.preprocess("own", root, frames, config=config)
    before = tree(tmp_path / "undisturbed")
    decoded.clear()
    preprocess.preprocess("own", root, frames, config=config)
    assert (len(decoded), tree(frames)) == (7, before)
    preprocess.preprocess("own", root, frames)
    assert len(decoded) == 7 + 10


def test_an_index_from_before_sampling_was_noted_is_read(root, tmp_path, decoded):
    frames = tmp_path / "frames"
    videos = preprocess.preprocess("own", root, frames)
    lines = (frames / "index.csv").read_text().splitlines()
    assert lines[0] == "split,class,video,group,frames,source,sampling"
    (frames / "index.csv").write_text("".join(line.rpartition(",")[0] + "\n" for line in lines))
    decoded.clear()
    assert preprocess.preprocess("own", root, frames) == videos
    assert not decoded


def test_a_video_without_a_frame_rate_is_told_where_one_is_needed(root, tmp_path, capfd):
    for name in ("Jump", "Run"):
        write_video(
            root / name / f"v_{name}_g01_c01.avi", 20, fps=1000
        )  # as a header says that knows none
    config = ClipConfig.from_flags(frame_rate=15)
    assert len(preprocess.preprocess("own", root, tmp_path / "frames", config=config)) == 8
    assert (
        "v_Jump_g01_c01.avi: no frame rate in its header; --frame-interval takes it"
        in capfd.readouterr().err
    )
    assert len(preprocess.preprocess("own", root, tmp_path / "frames")) == 10


def test_the_command_line_takes_the_clips_of_a_run(project, root):
    project.set_path("own", root)
    project.run(
        "-m",
        "dataloaders.preprocess",
        "own",
        "--clip-len",
        "8",
        "--frame-rate",
        "12.5",
        "--crop-size",
        "160",
    )
    videos = read_index(project.folder / "data/own_frames/index.csv")
    assert {(video.frames, video.sampling) for video in videos} == {(10, "8x12.5fps 244x183")}
    for flags, message in (
        (["--frame-rate", "0"], "--frame-rate 0.0: must be"),
        (["--clip-len", "1"], "--clip-len 1"),
    ):
        assert (
            message in project.run("-m", "dataloaders.preprocess", "own", *flags, ok=False).stderr
        )
