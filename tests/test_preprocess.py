import csv
import errno
import io
import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import (
    ROOT,
    data_settings,
    decoded_names,
    make_newer,
    tree,
    write_dataset,
    write_video,
)

from dataloaders import class_folders, preprocess
from dataloaders.comparison import list_sources
from dataloaders.errors import DataError, FileError
from dataloaders.extract import ExtractionJob, extract_frames
from dataloaders.records import SPLITS, read_index


@pytest.fixture
def root(tmp_path):
    root = write_dataset(tmp_path / "videos")
    for video in root.glob("*/*"):
        os.utime(video, (1e9, 1e9))
    return root


@pytest.fixture
def decoded(monkeypatch):
    return decoded_names(monkeypatch)


def prepare(root, output_dir, **options):
    """Preprocess into a folder, and return the records of the videos."""
    return preprocess.preprocess(data_settings(root, output_dir), **options).records


def frames_in(output_dir):
    """The folder of the frames that clips need by default."""
    return output_dir / "16x4_171x128"


def tree_in(output_dir):
    """The files of these frames but those of videos that are gone or have changed."""
    files = tree(frames_in(output_dir))
    return {name: data for name, data in files.items() if not name.startswith("removed/")}


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
    videos = prepare(root, tmp_path / "frames")
    frames = frames_in(tmp_path / "frames")
    assert read_index(frames / "index.csv") == [v._replace(split=v.place) for v in videos]
    assert [(v.class_name, v.video, v.group, v.frames, v.source) for v in videos] == [
        (name, f"v_{name}_g0{g}_c01", f"g0{g}", 20, f"{name}/v_{name}_g0{g}_c01.avi")
        for name in ("Jump", "Run")
        for g in range(1, 6)
    ]
    assert {(v.split, v.modified) for v in videos} == {(None, 1e9)}
    expected = {
        f"{v.place}/{v.class_name}/{v.video}/{i:05d}.jpg" for v in videos for i in range(1, 21)
    }
    assert set(tree(frames)) == expected | {"index.csv", "copies.csv"}
    assert (frames / "index.csv").read_text().splitlines()[:2] == [
        "split,class,video,group,frames,source,modified,group from",
        "test,Jump,v_Jump_g01_c01,g01,20,Jump/v_Jump_g01_c01.avi,1000000000.0,name",
    ]


def test_a_second_start_decodes_nothing(root, tmp_path, decoded):
    first = prepare(root, tmp_path / "frames")
    before = tree(tmp_path)
    assert len(decoded) == 10
    assert prepare(root, tmp_path / "frames") == first
    assert len(decoded) == 10
    assert tree(tmp_path) == before


def test_an_interrupted_start_continues_where_it_was(root, tmp_path, monkeypatch, decoded):
    prepare(root, tmp_path / "undisturbed")
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        interrupt_4th_move(patched)
        prepare(root, tmp_path / "frames", processes=1)
    assert not (frames_in(tmp_path / "frames") / "index.csv").exists()
    decoded.clear()
    prepare(root, tmp_path / "frames")
    assert tree_in(tmp_path / "frames") == tree_in(tmp_path / "undisturbed")
    assert len(decoded) == 10 - 3


@pytest.mark.parametrize("processes", [1, 2, 7])
def test_the_number_of_processes_changes_no_byte(root, tmp_path, processes):
    write_video(root / "Run" / "v_Run_g06_c01.avi", 130)
    settings = data_settings(root, tmp_path / "frames")
    for video in preprocess.preprocess(settings, processes=processes).records:
        job = ExtractionJob(root / video.source, tmp_path / "plain", settings.config)
        extract_frames(job)
        assert tree(tmp_path / "plain") == tree(video.folder(settings.frames_dir))


def test_folders_of_unknown_origin_are_not_trusted(root, tmp_path):
    prepare(root, tmp_path / "right")
    for split in SPLITS:
        leftover = frames_in(tmp_path / "frames") / split / "Jump" / "v_Jump_g01_c01"
        leftover.mkdir(parents=True)
        (leftover / "0000.jpg").write_text("left by another script")
    prepare(root, tmp_path / "frames")
    assert tree_in(tmp_path / "frames") == tree_in(tmp_path / "right")


def test_a_lost_frame_folder_is_extracted_again_under_its_name(root, tmp_path, decoded):
    settings = data_settings(root, tmp_path / "frames")
    make_newer(root / "Jump" / "v_Jump_g04_c01.avi")
    videos = preprocess.preprocess(settings).records
    before = tree_in(tmp_path / "frames")
    shutil.rmtree(videos[3].folder(settings.frames_dir))
    decoded.clear()
    assert preprocess.preprocess(settings).records == videos
    assert decoded == ["v_Jump_g04_c01.avi"]
    assert tree_in(tmp_path / "frames") == before


def test_new_videos_change_the_places_by_moving_folders(root, tmp_path, decoded):
    prepare(root, tmp_path / "frames")
    decoded.clear()
    for name in ("Jump", "Run"):
        for g in range(6, 11):
            write_video(root / name / f"v_{name}_g{g:02d}_c01.avi", 20)
    prepare(root, tmp_path / "frames")
    assert len(decoded) == 10
    prepare(root, tmp_path / "fresh")
    assert tree_in(tmp_path / "frames") == tree_in(tmp_path / "fresh")


@pytest.mark.parametrize("place", ["train", "val", "test"])
def test_a_frame_folder_that_lies_in_two_places_is_used_where_the_index_has_it(
    root, tmp_path, decoded, place
):
    """As after `rsync` from a machine on which the places have changed."""
    settings = data_settings(root, tmp_path / "frames")
    videos = preprocess.preprocess(settings).records
    video = next(video for video in videos if video.place != place)
    shutil.copytree(
        video.folder(settings.frames_dir), video._replace(place=place).folder(settings.frames_dir)
    )
    decoded.clear()
    assert preprocess.preprocess(settings).records == videos
    assert decoded == []
    for g in range(6, 16):  # the places change
        for name in ("Jump", "Run"):
            write_video(root / name / f"v_{name}_g{g:02d}_c01.avi", 3)
    prepare(root, tmp_path / "frames")
    prepare(root, tmp_path / "fresh")
    rows, fresh = (
        read_index(frames_in(tmp_path / name) / "index.csv") for name in ("frames", "fresh")
    )
    assert rows == fresh
    for row in rows:
        assert len(list(row.folder(settings.frames_dir).iterdir())) == row.frames


def test_stray_files_are_ignored(root, tmp_path, capsys):
    plain = prepare(root, tmp_path / "plain")
    (root / ".DS_Store").write_text("")
    (root / "readme.txt").write_text("")
    (root / "Jump" / ".DS_Store").write_text("")
    (root / "Jump" / "._v_Jump_g01_c01.avi").write_text("")
    (root / "Jump" / "notes.txt").write_text("")
    (root / "Jump" / "folder.avi").mkdir()
    (root / ".cache").mkdir()
    (root / "empty").mkdir()
    assert prepare(root, tmp_path / "frames") == plain
    said = capsys.readouterr()
    assert (
        f"ignored in {root}: 1 folders without images (Jump/folder.avi); "
        "1 hidden (Jump/._v_Jump_g01_c01.avi); "
        "2 without the ending of a video (Jump/notes.txt, readme.txt)\n"
    ) in said.out
    assert "skipped" not in said.err


def test_what_is_ignored_is_printed_once(root, tmp_path, capsys):
    (root / "readme.txt").write_text("")
    prepare(root, tmp_path / "frames")
    assert capsys.readouterr().out.count("ignored in") == 1


@pytest.mark.parametrize(("name", "place"), [("scandir", "Run"), ("stat", "v_Run_g03_c01.avi")])
def test_videos_that_are_out_of_reach_are_named(root, tmp_path, monkeypatch, name, place):
    original = getattr(os, name)

    def refuse(path, *args, **options):
        if not isinstance(path, int) and os.fspath(path).endswith(place):
            raise PermissionError(errno.EACCES, "Permission denied", os.fspath(path))
        return original(path, *args, **options)

    monkeypatch.setattr(os, name, refuse)
    with pytest.raises(FileError, match=f"^{root}/Run.*: Permission denied$"):
        list_sources(data_settings(root, tmp_path / "frames"))


def test_frames_that_cannot_be_moved_are_named(root, tmp_path, monkeypatch):
    def refuse(*args):
        raise PermissionError(errno.EACCES, "Permission denied", "a", None, "b")

    monkeypatch.setattr(os, "renames", refuse)
    with pytest.raises(FileError, match="v_Jump_g01_c01: Permission denied$"):
        prepare(root, tmp_path / "frames")


def test_the_order_of_the_folder_listing_does_not_matter(root, tmp_path, monkeypatch):
    plain = prepare(root, tmp_path / "plain")
    listing = class_folders._scan
    monkeypatch.setattr(
        class_folders, "_scan", lambda *folder: sorted(listing(*folder), reverse=True)
    )
    assert prepare(root, tmp_path / "frames") == plain


def test_a_broken_video_is_named_and_left_out_until_it_changes(root, tmp_path, capsys, decoded):
    for g in (6, 7):
        write_video(root / "Jump" / f"v_Jump_g{g:02d}_c01.avi", 20)
    plain = prepare(root, tmp_path / "plain")
    (root / "Jump" / "v_Jump_g08_c01.avi").write_bytes(b"no video")
    (root / "Run" / "v_Run_g08_c01.mp4").write_bytes(b"")
    assert prepare(root, tmp_path / "frames") == plain
    skipped = frames_in(tmp_path / "frames") / "skipped.csv"
    assert set(tree_in(tmp_path / "frames")) == {*tree_in(tmp_path / "plain"), "skipped.csv"}
    with open(skipped, newline="") as file:
        rows = {row["source"]: row["reason"] for row in csv.DictReader(file)}
    assert "not a video" in rows["Jump/v_Jump_g08_c01.avi"]
    assert "not a video" in rows["Run/v_Run_g08_c01.mp4"]
    assert "v_Jump_g08_c01.avi" in capsys.readouterr().err

    decoded.clear()
    assert prepare(root, tmp_path / "frames") == plain
    assert decoded == []
    assert "2 skipped, see" in capsys.readouterr().out

    shutil.copy(root / "Jump" / "v_Jump_g07_c01.avi", root / "Jump" / "v_Jump_g08_c01.avi")
    make_newer(root / "Jump" / "v_Jump_g08_c01.avi")
    (root / "Run" / "v_Run_g08_c01.mp4").unlink()
    prepare(root, tmp_path / "frames")
    assert decoded == ["v_Jump_g08_c01.avi"]
    prepare(root, tmp_path / "fresh")
    assert tree_in(tmp_path / "frames") == tree_in(tmp_path / "fresh")


@pytest.mark.parametrize("kind", ["changed", "older", "broken", "removed", "another ending"])
def test_changes_of_the_videos_are_noticed(root, tmp_path, decoded, capsys, kind):
    prepare(root, tmp_path / "frames")
    before = tree_in(tmp_path / "frames")
    decoded.clear()
    video = root / "Run" / "v_Run_g02_c01.avi"
    modified = video.stat().st_mtime
    if kind in ("changed", "older"):
        write_video(video, 40)
    elif kind == "broken":
        video.write_bytes(b"no video")
    elif kind == "removed":
        video.unlink()
    else:
        video = video.rename(video.with_suffix(".mkv"))
    if kind == "older":  # a copy that was kept takes its place
        os.utime(video, (modified - 10, modified - 10))
    elif kind != "removed":
        make_newer(video)
    prepare(root, tmp_path / "frames")
    assert decoded == ([] if kind == "removed" else [video.name])
    message = "gone or changed, their frames are in {}: Run/v_Run_g02_c01.avi\n"
    removed = frames_in(tmp_path / "frames") / "removed"
    assert message.format(removed) in capsys.readouterr().out
    assert [path.name for path in removed.glob("*/*")] == ["v_Run_g02_c01"]
    (frames,) = removed.glob("*/*")
    assert tree(frames) == {
        name.rpartition("/")[2]: data
        for name, data in before.items()
        if "/Run/v_Run_g02_c01/" in name
    }
    # But for the name of the new folder, all is as if the video had always been so.
    prepare(root, tmp_path / "fresh")
    files = tree_in(tmp_path / "frames")
    files = {name.replace("c01.2/", "c01/"): data for name, data in files.items()}
    files["index.csv"] = files["index.csv"].replace(b"c01.2", b"c01")
    assert files == tree_in(tmp_path / "fresh")


def test_frames_alone_keep_what_was_skipped(root, tmp_path):
    (root / "Run" / "v_Run_g06_c01.avi").write_bytes(b"no video")
    prepare(root, tmp_path / "frames")
    before = tree_in(tmp_path / "frames")
    shutil.rmtree(root)
    prepare(root, tmp_path / "frames")
    assert tree_in(tmp_path / "frames") == before


@pytest.mark.parametrize("number", [1, 2])
def test_a_change_that_is_interrupted_is_done_again(root, tmp_path, monkeypatch, number):
    """After the old frames have gone to `removed`, and after the new ones have come."""
    for output_dir in ("frames", "undisturbed"):
        prepare(root, tmp_path / output_dir)
    make_newer(write_video(root / "Run" / "v_Run_g02_c01.avi", 30))
    prepare(root, tmp_path / "undisturbed")
    move, moved = os.renames, []

    def interrupted(*args):
        move(*args)
        moved.append(args)
        if len(moved) == number:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(os, "renames", interrupted)
        prepare(root, tmp_path / "frames")
    prepare(root, tmp_path / "frames")
    assert tree(frames_in(tmp_path / "frames")) == tree(frames_in(tmp_path / "undisturbed"))


def test_a_journal_whose_last_row_is_cut_off_will_do(root, tmp_path, decoded):
    prepare(root, tmp_path / "frames")
    before = tree_in(tmp_path / "frames")
    frames = frames_in(tmp_path / "frames")
    journal = (frames / "index.csv").rename(frames / "index.journal")
    journal.write_bytes(journal.read_bytes()[:-35])
    decoded.clear()
    prepare(root, tmp_path / "frames")
    assert len(decoded) == 1
    assert tree_in(tmp_path / "frames") == before


@pytest.mark.parametrize("damage", ["an empty frame", "a frame fewer", "no frames"])
def test_frames_that_a_power_failure_has_emptied_are_extracted_again(
    root, tmp_path, decoded, damage
):
    settings = data_settings(root, tmp_path / "frames")
    videos = preprocess.preprocess(settings).records
    before = tree_in(tmp_path / "frames")
    (settings.frames_dir / "index.csv").rename(settings.frames_dir / "index.journal")
    frames = sorted(videos[3].folder(settings.frames_dir).iterdir())
    if damage == "an empty frame":
        frames[7].write_bytes(b"")
    for frame in frames[19:] if damage == "a frame fewer" else frames:
        if damage != "an empty frame":
            frame.unlink()
    decoded.clear()
    preprocess.preprocess(settings)
    assert decoded == ["v_Jump_g04_c01.avi"]
    assert tree_in(tmp_path / "frames") == before


START = """
import sys
from pathlib import Path
from dataloaders.frames import DataSettings
from dataloaders.preprocess import preprocess
settings = DataSettings("own", Path(sys.argv[1]), Path(sys.argv[2]))
print("go", flush=True)
preprocess(settings, processes=1)
"""


@pytest.mark.slow
def test_killed_at_any_instant_it_ends_in_the_same_tree(root, tmp_path):
    for g in range(1, 6):
        write_video(root / "Run" / f"v_Run_g{g:02d}_c02.avi", 200)
    prepare(root, tmp_path / "undisturbed")
    command = [sys.executable, "-c", START, str(root), str(tmp_path / "frames")]
    for delay in np.random.default_rng(0).permutation(np.linspace(0, 0.8, 9)):
        with subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process:
            process.stdout.readline()
            time.sleep(delay)
            process.kill()
    prepare(root, tmp_path / "frames")
    assert tree_in(tmp_path / "frames") == tree_in(tmp_path / "undisturbed")


SMALL = """
import subprocess, sys
from pathlib import Path
from dataloaders.frames import DataSettings
from dataloaders.preprocess import preprocess
root, place = sys.argv[1:]
small, large = (DataSettings("own", Path(root), Path(p + "/frames")) for p in (place, root + "_"))
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "none", place], check=True)
try:
    preprocess(small)
except OSError as error:
    print(error)
left = sorted(Path(place).glob("frames/*/*/*/*/*"))
subprocess.run(["mount", "-o", "remount,size=20m", place], check=True)
preprocess(small)
preprocess(large)
subprocess.run(["diff", "-r", str(small.frames_dir), str(large.frames_dir)], check=True)
print(len(left), "frames were there")
"""


@pytest.mark.slow
@pytest.mark.skipif(
    not shutil.which("unshare") or subprocess.run(["unshare", "-rm", "true"]).returncode != 0,
    reason="needs a mount of its own",
)
def test_a_full_disk_is_reported_and_the_next_start_continues(root, tmp_path):
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
    frames = preprocess.preprocess(data_settings(root, tmp_path / "frames"))
    assert {video.place for video in frames.records} == {"unused"}
    with pytest.raises(
        DataError, match=r"every class needs groups .* fewest groups: Run \(2\), Jump \(5\)"
    ):
        preprocess.split_records(frames, "group")


def test_what_speaks_against_a_run_is_asked_before_anything_is_decoded(root, tmp_path, decoded):
    def check(videos):
        asked.append([video.frames for video in videos])
        if len(asked) == 1:
            raise ValueError("no")

    asked = []
    with pytest.raises(ValueError, match="no"):
        prepare(root, tmp_path / "frames", check=check)
    assert decoded == []
    assert not (tmp_path / "frames").exists()
    prepare(root, tmp_path / "frames", check=check)
    prepare(root, tmp_path / "frames", check=check)  # nothing is left to decode
    assert asked == 2 * [10 * [None]]


@pytest.mark.parametrize("name", ["a\nb.avi", os.fsdecode(b"a\xffb.avi")])
def test_a_name_that_no_table_can_hold_is_refused(root, tmp_path, name):
    (root / "Run" / name).write_bytes(b"")
    with pytest.raises(
        ValueError, match=r"Run/a.*b.avi.*: a table cannot hold this name; rename the file"
    ):
        prepare(root, tmp_path / "frames")


def test_a_folder_without_a_single_good_video_is_an_error(tmp_path):
    for name in ("Jump", "Run"):
        (tmp_path / "videos" / name).mkdir(parents=True)
        for g in range(3):
            (tmp_path / "videos" / name / f"v_{name}_g{g:02d}_c01.avi").write_bytes(b"no video")
    with pytest.raises(
        ValueError, match="videos: none of its videos can be read, see .*skipped.csv; the first: "
    ):
        prepare(tmp_path / "videos", tmp_path / "frames")


def test_names_of_hmdb51_and_other_odd_ones(tmp_path):
    nasty = "$(touch hacked) `touch hacked`; touch hacked & | > < * ? -rf"
    for i in range(4):
        write_video(tmp_path / "videos" / "é" / f"{nasty} {i}.avi", 17)
        for path in (
            f"shoot bow/film {i}!!!_300+_(x)[y]_shoot bow_f_nm_np1_fr_med_{i}.avi",
            f"é/100%d, {i}.avi",
        ):
            write_video(tmp_path / "videos" / path, 17)
    videos = prepare(tmp_path / "videos", tmp_path / "frames")
    assert {v.frames for v in videos} == {17}
    assert {v.group for v in videos if v.class_name == "shoot bow"} == {
        f"film {i}!!!_300+_(x)[y]" for i in range(4)
    }
    frames = frames_in(tmp_path / "frames")
    assert all(len(list(v.folder(frames).iterdir())) == 17 for v in videos)


def test_frames_alone_will_do(root, tmp_path):
    videos = prepare(root, tmp_path / "frames")
    shutil.rmtree(root)
    assert prepare(root, tmp_path / "frames") == videos
    shutil.rmtree(videos[3].folder(frames_in(tmp_path / "frames")))
    before = tree(tmp_path / "frames")
    with pytest.raises(FileError, match="videos: no such folder, and 1 video without frames in "):
        prepare(root, tmp_path / "frames")
    assert tree(tmp_path / "frames") == before


def test_wrong_folders_are_refused(tmp_path):
    with pytest.raises(FileError, match=r"nowhere: no such folder.*mypath\.py"):
        prepare(tmp_path / "nowhere", tmp_path / "frames")
    (tmp_path / "empty" / "class").mkdir(parents=True)
    with pytest.raises(FileError, match="empty: no class folders"):
        prepare(tmp_path / "empty", tmp_path / "frames")
    assert not (tmp_path / "frames").exists()


def test_the_command_line_prints_what_there_is(project, root):
    project.set_path("own", root)
    assert "10 videos of 2 classes" in project.run("-m", "dataloaders.preprocess", "own").stdout
    assert (frames_in(project.folder / "data" / "own_frames") / "index.csv").is_file()
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
    with pytest.raises(FileError, match=f"videos: .*{message}"):
        prepare(tmp_path / "videos", tmp_path / "frames")


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
    assert len(prepare(root, tmp_path / "frames")) == 10


def test_the_command_line_takes_the_clips_of_a_run(project, root):
    project.set_path("own", root)
    command = ("-m", "dataloaders.preprocess", "own")
    project.run(*command, "--clip-len", 8, "--frame-rate", 12.5, "--crop-size", 160)
    videos = read_index(project.folder / "data/own_frames/8x12.5fps_244x183/index.csv")
    assert {video.frames for video in videos} == {10}
    for flags, message in (
        (["--frame-rate", "0"], "--frame-rate 0.0: must be"),
        (["--clip-len", "1"], "--clip-len 1"),
    ):
        assert message in project.run(*command, *flags, ok=False).stderr
