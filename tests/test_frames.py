"""Frames belong to a sampling and a split to a run: runs share frames, and none notices another."""

import csv
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from conftest import (
    ROOT,
    data_settings,
    decoded_names,
    make_newer,
    shown,
    some_slow,
    tree,
    write_dataset,
    write_video,
)
from test_train import QUICK

from dataloaders import frames as frame_tables
from dataloaders import preprocess
from dataloaders.dataset import EvalWindows, TrainClips
from dataloaders.errors import DataError, TransientReadError
from dataloaders.extract import Extraction
from dataloaders.records import PLACES, read_index
from dataloaders.sampling import ClipConfig
from dataloaders.video import Damage

SAMPLING = "16x4_171x128"
COMMAND = ("-m", "dataloaders.preprocess", "own")


@pytest.fixture
def root(tmp_path):
    root = write_dataset(tmp_path / "videos")
    for video in root.glob("*/*"):
        os.utime(video, (1e9, 1e9))
    return root


@pytest.fixture
def settings(root, tmp_path):
    return data_settings(root, tmp_path / "frames")


@pytest.fixture
def decoded(monkeypatch):
    return decoded_names(monkeypatch)


def states(folder):
    """Every file and folder below a folder, with the times of their last change and their bytes."""
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
        for path in sorted(folder.rglob("*"))
    }


def read_table(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def add_videos(root, groups):
    for name in ("Jump", "Run"):
        for group in groups:
            write_video(root / name / f"v_{name}_g{group:02d}_c01.avi", 20)


# Splits


def test_another_split_or_fold_moves_nothing(project, root):
    project.set_path("own", root)
    project.run(*COMMAND)
    frames = project.folder / "data" / "own_frames"
    before = states(frames)
    tested = []
    for number, flags in enumerate([(), ("--fold", 2), ("--fold", 5), ("--split", "random")]):
        project.run(*QUICK, "--epochs", 1, "--clips-per-video", 1, *flags)
        run = project.folder / "run" / f"run_{number}"
        rows = read_table(run / "split.csv")
        assert list(rows[0]) == ["split", "class", "video", "group", "source"]
        assert len({row["source"] for row in rows}) == 10
        tested.append({row["source"] for row in rows if row["split"] == "test"})
        predicted = {row["source"] for row in read_table(run / "predictions.csv")}
        assert predicted == tested[-1]
    assert states(frames) == before
    assert tested[0].isdisjoint(tested[1]) and len(tested[0]) == 2
    # The folders show the first fold of the split by groups.
    rows = read_table(frames / SAMPLING / "index.csv")
    assert {row["source"] for row in rows if row["split"] == "test"} == tested[0]


def test_a_run_is_resumed_and_tested_with_the_split_that_it_stores(project, root):
    project.set_path("own", root)
    project.run(*QUICK, "--epochs", 1, "--fold", 2)
    run = project.folder / "run" / "run_0"
    split = (run / "split.csv").read_bytes()
    predictions = (run / "predictions.csv").read_bytes()
    index = project.folder / "data" / "own_frames" / SAMPLING / "index.csv"
    places = {row["source"]: row["split"] for row in read_table(index)}
    add_videos(root, range(6, 16))  # other videos are in test then
    project.run(*COMMAND)
    moved = [row for row in read_table(index) if places.get(row["source"], "") != row["split"]]
    assert len(moved) > 20

    project.run("train.py", "--test-only", "--workers", 0)
    assert (run / "predictions.csv").read_bytes() == predictions
    project.run("train.py", "--resume", "--epochs", 2)
    tested = {row["source"] for row in read_table(run / "predictions.csv")}
    assert tested == {
        row["source"] for row in read_table(run / "split.csv") if row["split"] == "test"
    }
    assert (run / "split.csv").read_bytes() == split
    project.run(*QUICK, "--epochs", 1, "--fold", 2)
    assert len(read_table(project.folder / "run" / "run_1" / "split.csv")) == 30


def test_the_split_of_flags_is_printed_and_written_where_output_says(project, root):
    project.set_path("own", root)
    output = project.run(*COMMAND, "--fold", 3).stdout
    sizes = "10 videos of 2 classes (train 6, val 2, test 2)"
    assert f"the split of these flags: {sizes}\n" in output
    project.run(*COMMAND, "--fold", 3, "--output", "fold3.csv")
    project.run(*QUICK, "--epochs", 1, "--fold", 3, "--clips-per-video", 1)
    run = project.folder / "run" / "run_0"
    assert (project.folder / "fold3.csv").read_text() == (run / "split.csv").read_text()
    assert "the split of" not in project.run(*COMMAND).stdout
    refused = project.run(*COMMAND, "--split", "official1", ok=False)
    assert "no official lists of 'own'" in refused.stderr


# Samplings


def test_another_sampling_is_another_folder_and_the_first_one_stays(root, tmp_path, decoded):
    write_video(root / "Run" / "v_Run_g06_c01.avi", 100, fps=30)
    write_video(root / "Run" / "v_Run_g07_c01.avi", 50, fps=10)
    settings = data_settings(root, tmp_path / "frames")
    preprocess.preprocess(settings)
    before = states(settings.frames_dir)
    for flags, sampling, of_30, of_10 in (
        (
            {"frame_rate": 15.0},
            "16x15fps_171x128",
            list(range(0, 100, 2)),
            [int(i / 1.5 + 0.5) for i in range(75)],
        ),
        ({"frame_interval": 1, "clip_len": 32}, "32x1_171x128", list(range(100)), list(range(50))),
        ({"crop_size": 160}, "16x4_244x183", list(range(0, 100, 4)), list(range(0, 50, 3))),
    ):
        decoded.clear()
        other = data_settings(root, tmp_path / "frames", **flags)
        assert other.frames_dir == tmp_path / "frames" / sampling
        videos = {video.video: video for video in preprocess.preprocess(other).records}
        assert len(decoded) == len(videos) == 12
        for name, numbers in (("v_Run_g06_c01", of_30), ("v_Run_g07_c01", of_10)):
            assert shown(videos[name].folder(other.frames_dir)) == numbers
            assert videos[name].frames == len(numbers)
        decoded.clear()
        preprocess.preprocess(other)
        preprocess.preprocess(settings)
        assert decoded == []
    assert states(settings.frames_dir) == before


def test_the_samplings_that_are_there_are_listed_with_their_sizes(project, root):
    project.set_path("own", root)
    project.run(*COMMAND)
    lines = project.run(*COMMAND, "--crop-size", 160).stdout.splitlines()
    frames = project.folder / "data" / "own_frames"
    for sampling, mark in ((SAMPLING, ""), ("16x4_244x183", " (this one)")):
        size = sum(path.stat().st_size for path in (frames / sampling).rglob("*.*"))
        megabytes = f"{size / 1e6:,.1f}"
        assert f"data/own_frames/{sampling}: 10 videos, {megabytes} MB{mark}" in lines
    shutil.rmtree(frames / SAMPLING)
    lines = project.run(*COMMAND, "--crop-size", 160).stdout.splitlines()
    assert len([line for line in lines if "10 videos, " in line]) == 1


def test_frames_of_an_earlier_layout_are_named_and_left_alone(project, root):
    project.set_path("own", root)
    frames = project.folder / "data" / "own_frames"
    (frames / "train" / "Run" / "v_Run_g01_c01").mkdir(parents=True)
    (frames / "train" / "Run" / "v_Run_g01_c01" / "0000.jpg").write_text("of an earlier version")
    (frames / "index.csv").write_text("split,class,video,group,frames,source,sampling\n")
    before = states(frames)
    output = project.run(*COMMAND).stdout
    line = "data/own_frames: index.csv, train, val and test are of an earlier version and not used"
    assert output.count(line) == 1
    after = states(frames)
    assert {path: after[path] for path in before} == before
    assert len(read_index(frames / SAMPLING / "index.csv")) == 10


# Several starts


def prepare_in_thread(settings):
    thread = threading.Thread(target=preprocess.preprocess, args=(settings,))
    thread.start()
    return thread


def test_of_two_starts_of_one_sampling_one_waits_and_then_continues(settings, capsys, decoded):
    with frame_tables.lock_frames(settings.frames_dir, settings.frames_dir):
        other = prepare_in_thread(settings)
        time.sleep(0.5)
        message = f"another process is preparing {settings.frames_dir}: waiting for it"
        assert message in capsys.readouterr().out
        assert not settings.frames_dir.exists()
    other.join()
    assert len(read_index(settings.frames_dir / "index.csv")) == len(decoded) == 10


def test_a_start_that_has_waited_extracts_nothing_again(settings, monkeypatch, decoded):
    second = []
    acquire = frame_tables.FileLock.acquire

    def first_another(lock, *args, **options):
        """Another process does all the work before this one gets the lock."""
        monkeypatch.setattr(frame_tables.FileLock, "acquire", acquire)
        second.append(preprocess.preprocess(settings))
        return acquire(lock, *args, **options)

    monkeypatch.setattr(frame_tables.FileLock, "acquire", first_another)
    assert preprocess.preprocess(settings) == second[0]
    assert len(decoded) == 10


def test_starts_of_two_samplings_do_not_wait_for_each_other(settings, root, tmp_path, capsys):
    other = data_settings(root, tmp_path / "frames", crop_size=160)
    with frame_tables.lock_frames(settings.frames_dir, settings.frames_dir):
        thread = prepare_in_thread(other)
        thread.join(60)
        assert not thread.is_alive()
    assert "waiting" not in capsys.readouterr().out
    assert len(read_index(other.frames_dir / "index.csv")) == 10


START = """
import sys
from pathlib import Path
from dataloaders.sampling import ClipConfig
from dataloaders.frames import DataSettings
from dataloaders import preprocess
preprocess.find_copies = lambda records, folders: []
root, output_dir, crop_size = sys.argv[1:]
config = ClipConfig.from_flags(int(crop_size))
print("ready", flush=True)
sys.stdin.readline()
preprocess.preprocess(DataSettings("own", Path(root), Path(output_dir), config), processes=1)
"""


@pytest.mark.slow
def test_many_starts_at_once_leave_what_each_leaves_alone(root, tmp_path):
    expected = {}
    for crop_size in (112, 160):
        settings = data_settings(root, tmp_path / "alone", crop_size=crop_size)
        preprocess.preprocess(settings)
        expected[settings.frames_dir.name] = tree(settings.frames_dir)
    command = [sys.executable, "-c", START, str(root), str(tmp_path / "frames")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    starts = [
        subprocess.Popen([*command, str(size)], cwd=ROOT, **pipes) for size in (112, 160, 112)
    ]
    for start in starts:
        start.stdout.readline()
    for start in starts:  # all are ready
        start.stdin.write(b"\n")
        start.stdin.flush()
    for start in starts:
        start.communicate(timeout=120)
    assert [start.returncode for start in starts] == [0, 0, 0]
    for name, files in expected.items():
        assert tree(tmp_path / "frames" / name) == files


@pytest.mark.parametrize("has_videos", [True, False])
def test_where_nothing_is_due_nothing_is_written_and_no_lock_is_taken(
    settings, root, tmp_path, monkeypatch, has_videos
):
    frames = preprocess.preprocess(settings)
    (settings.output_dir / f".{SAMPLING}.lock").unlink()
    if not has_videos:
        shutil.rmtree(root)
    before = states(tmp_path)
    for folder in [tmp_path / "frames", *(tmp_path / "frames").rglob("*")]:
        folder.chmod(0o555 if folder.is_dir() else 0o444)

    def refuse(*args, **options):
        raise AssertionError("written")

    for name in ("mkdir", "rename", "replace", "unlink", "rmdir", "fsync"):
        monkeypatch.setattr(os, name, refuse)
    monkeypatch.setattr(frame_tables.FileLock, "acquire", refuse)
    try:
        assert preprocess.preprocess(settings) == frames
    finally:
        monkeypatch.undo()
        for folder in [tmp_path / "frames", *(tmp_path / "frames").rglob("*")]:
            folder.chmod(0o755 if folder.is_dir() else 0o644)
    assert states(tmp_path) == before


def test_a_file_system_without_locks_will_do(settings, monkeypatch):
    def refuse(*args, **options):
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr(frame_tables.FileLock, "acquire", refuse)
    assert len(preprocess.preprocess(settings).records) == 10


# Data that change while runs read them


@pytest.fixture
def running(settings):
    """The data sets of a run that has started, and the clips that they give."""
    frames = preprocess.preprocess(settings)
    records = preprocess.split_records(frames, "group", 2)
    parts = [open_part(frames, records, part) for part in ("train", "val", "test")]
    return parts, read_clips(parts)


def open_part(frames, records, name):
    """The windows and the training clips of one part."""
    part = [record for record in records if record.split == name]
    classes = ["Jump", "Run"]
    windows = EvalWindows(frames.frames_dir, part, classes, ClipConfig(), windows=2)
    return windows, TrainClips(frames.frames_dir, part, classes, ClipConfig())


def read_clips(parts):
    """All clips of evaluation, and some of training."""
    clips = []
    for windows, train in parts:
        clips += [windows[i][0] for i in range(len(windows))]
        clips += [train[i, (0, 1, i)][0] for i in range(len(train))]
    return clips


def is_same(clips, others):
    return len(clips) == len(others) and all(map(torch.equal, clips, others))


def change_video(path):
    make_newer(write_video(path, np.full((20, 120, 160, 3), 99, np.uint8)))


CHANGES = {
    "added": lambda root: add_videos(root, range(6, 16)),
    "replaced": lambda root: [change_video(video) for video in sorted(root.glob("*/*"))[::2]],
    "of another class": lambda root: (root / "Run" / "v_Run_g01_c01.avi").rename(
        root / "Jump" / "v_Run_g01_c01.avi"
    ),
    "removed": lambda root: [video.unlink() for video in sorted(root.glob("*/*"))[::5]],
    "all of that": lambda root: [CHANGES[name](root) for name in list(CHANGES)[:4]],
}


@pytest.mark.parametrize("change", some_slow(CHANGES, "all of that"))
def test_a_running_run_reads_what_it_read_whatever_happens_to_the_data(
    settings, root, tmp_path, running, change
):
    parts, clips = running
    assert is_same(read_clips(parts), clips)
    CHANGES[change](root)
    frames = preprocess.preprocess(settings)
    assert is_same(read_clips(parts), clips)
    # A run that starts now reads what is there now, and so does one of frames made at once.
    fresh = preprocess.preprocess(data_settings(root, tmp_path / "fresh"))
    now = []
    for prepared in (frames, fresh):
        records = preprocess.split_records(prepared, "group")
        part = open_part(prepared, records, "train")
        now.append(read_clips([part]))
    assert is_same(*now)
    CHANGES["replaced"](root)
    preprocess.preprocess(settings)
    preprocess.preprocess(settings, force=True)
    assert is_same(read_clips(parts), clips)


def test_clips_are_read_while_folders_move(settings, running):
    """Wherever a folder moves between two looks of the loader."""
    parts, clips = running
    rng = random.Random(0)
    places = {folder.name: folder for folder in settings.frames_dir.glob("*/*/*")}

    def move_one():
        name, folder = rng.choice(sorted(places.items()))
        place = rng.choice([place for place in PLACES if place != folder.parent.parent.name])
        target = settings.frames_dir / place / folder.parent.name / name
        os.renames(folder, target)
        places[name] = target

    for _ in range(3):
        for windows, _ in parts:
            for i in range(len(windows)):
                move_one()
                windows[i]
    assert is_same(read_clips(parts), clips)


def test_a_folder_that_moves_while_it_is_looked_for_is_found(settings, running, monkeypatch):
    """From a place not yet looked into to one already looked into."""
    part, _ = running[0][2]
    expected = part[0][0]
    folder = next(settings.frames_dir.glob(f"*/{part.sources[0].removesuffix('.avi')}"))
    far = settings.frames_dir / "removed" / folder.parent.name / folder.name
    os.renames(folder, far)
    fromfile, looks = np.fromfile, []

    def look(file, dtype):
        looks.append(file)
        if len(looks) == 3:  # train is passed; it comes to lie there
            os.renames(far, settings.frames_dir / "train" / folder.parent.name / folder.name)
        return fromfile(file, dtype)

    monkeypatch.setattr(np, "fromfile", look)
    assert torch.equal(part[0][0], expected)
    assert len(looks) > 16


def test_prune_deletes_the_frames_of_what_is_gone_or_changed(project, root):
    project.set_path("own", root)
    project.run(*COMMAND)
    frames = project.folder / "data" / "own_frames" / SAMPLING
    before = tree(frames)
    change_video(root / "Jump" / "v_Jump_g02_c01.avi")
    (root / "Run" / "v_Run_g03_c01.avi").unlink()
    project.run(*COMMAND)
    assert {path.name for path in (frames / "removed").glob("*/*")} == {
        "v_Jump_g02_c01",
        "v_Run_g03_c01",
    }
    rows = read_table(frames / "index.csv")
    (changed,) = [row for row in rows if row["source"] == "Jump/v_Jump_g02_c01.avi"]
    assert changed["video"] == "v_Jump_g02_c01.2"
    project.run(*COMMAND, "--prune")
    assert not (frames / "removed").exists()
    assert read_table(frames / "index.csv") == rows
    assert len(tree(frames)) == len(before) - 20


def test_a_run_whose_videos_changed_is_not_resumed_and_others_are(project, root):
    project.set_path("own", root)
    project.run(*QUICK, "--epochs", 1)
    change_video(root / "Jump" / "v_Jump_g02_c01.avi")
    refused = project.run("train.py", "--resume", "--epochs", 2, ok=False)
    assert refused.stderr.splitlines(keepends=True)[-1] == (
        "train.py: not the data that the run was started with: removed or changed "
        "Jump/v_Jump_g02_c01.avi; start a new run\n"
    )
    project.run(*QUICK, "--epochs", 1)
    assert "epoch 2/2" in project.run("train.py", "--resume", "--epochs", 2).stdout


def test_a_video_whose_label_in_a_table_changes_is_extracted_for_its_new_class(tmp_path, settings):
    for number in range(12):
        write_video(tmp_path / "clips" / f"{number}.avi", 20)
    lines = ["path,label", *(f"clips/{i}.avi,{('a', 'b')[i % 2]}" for i in range(12))]
    table = tmp_path / "table.csv"
    table.write_text("\n".join(lines))
    settings = data_settings(table, tmp_path / "out")
    preprocess.preprocess(settings)
    table.write_text("\n".join(lines).replace("clips/3.avi,b", "clips/3.avi,a"))
    for _ in range(2):
        records = preprocess.preprocess(settings).records
        classes = {record.source: record.class_name for record in records}
        assert classes["clips/3.avi"] == "a"
        for record in records:
            assert shown(record.folder(settings.frames_dir)) == list(range(20))
    assert len(read_index(settings.frames_dir / "index.csv")) == 12


def test_a_split_that_changes_in_a_table_moves_the_frames(tmp_path, decoded):
    for number in range(8):
        write_video(tmp_path / "clips" / f"{number}.avi", 20)
    parts = ["train", "train", "train", "train", "val", "val", "test", "test"]
    rows = [f"clips/{i}.avi,{'ab'[i % 2]},{part}" for i, part in enumerate(parts)]
    table = tmp_path / "table.csv"
    table.write_text("\n".join(["path,label,split", *rows]))
    settings = data_settings(table, tmp_path / "out")
    preprocess.preprocess(settings)
    table.write_text(
        "\n".join(["path,label,split", *rows]).replace("0.avi,a,train", "0.avi,a,test")
    )
    decoded.clear()
    places = {record.source: record.place for record in preprocess.preprocess(settings).records}
    assert places["clips/0.avi"] == "test" and places["clips/1.avi"] == "train"
    assert decoded == []
    before = states(settings.output_dir)
    preprocess.preprocess(settings)
    assert states(settings.output_dir) == before


# Damaged and skipped videos


@pytest.fixture
def damaged(monkeypatch):
    """Have videos of group 2 seem damaged, of group 4 broken, and of group 5 unreadable now."""
    extract_all = preprocess.extract_all

    def extract(jobs, processes):
        jobs = list(jobs)
        for number, result in extract_all(iter(jobs), processes):
            name = jobs[number].source.stem
            if "_g02_" in name:
                damage = Damage(num_lost=3, num_frames=20, first_time=0.25)
                result = Extraction(result.num_frames, False, True, damage)
            if "_g04_" in name:
                result = DataError(f"{name}: broken")
            if "Run_g05_" in name:
                result = TransientReadError(f"{name}: locked")
            yield number, result

    monkeypatch.setattr(preprocess, "extract_all", extract)


def test_damaged_and_skipped_videos_are_listed_and_counted(project, root, damaged):
    add_videos(root, range(6, 9))
    project.set_path("own", root)
    done = project.run(*QUICK, "--epochs", 1)
    frames = project.folder / "data" / "own_frames" / SAMPLING
    assert read_table(frames / "damaged.csv") == [
        {
            "source": f"{name}/v_{name}_g02_c01.avi",
            "frames lost": "3",
            "of": "20",
            "first time": "0.25",
        }
        for name in ("Jump", "Run")
    ]
    skipped = read_table(frames / "skipped.csv")
    assert [row["source"] for row in skipped] == [
        f"{name}/v_{name}_g04_c01.avi" for name in ("Jump", "Run")
    ]
    assert skipped[0]["reason"] == "v_Jump_g04_c01: broken"
    for text in (
        "13 videos of 2 classes",
        f"; 2 skipped, see data/own_frames/{SAMPLING}/skipped.csv",
        f"; 2 damaged, see data/own_frames/{SAMPLING}/damaged.csv",
        "; 1 cannot be read now, the next start tries them again",
    ):
        assert text in done.stdout
    results = json.loads((project.folder / "run" / "run_0" / "results.json").read_text())
    assert results["damaged_videos"] == 2

    # Where nothing has to be done they are counted as well; what is locked is tried again.
    write_video(root / "Run" / "v_Run_g05_c01.avi", 20)
    (root / "Run" / "v_Run_g05_c01.avi").rename(root / "Run" / "v_Run_g09_c01.avi")
    project.run(*COMMAND)
    output = project.run(*COMMAND).stdout
    assert "2 skipped, see" in output and "2 damaged, see" in output
    (root / "Run" / "v_Run_g02_c01.avi").unlink()
    (root / "Run" / "v_Run_g04_c01.avi").unlink()
    project.run(*COMMAND)
    assert [row["source"] for row in read_table(frames / "damaged.csv")] == [
        "Jump/v_Jump_g02_c01.avi"
    ]
    assert [row["source"] for row in read_table(frames / "skipped.csv")] == [
        "Jump/v_Jump_g04_c01.avi"
    ]
    (root / "Jump" / "v_Jump_g02_c01.avi").unlink()
    (root / "Jump" / "v_Jump_g04_c01.avi").unlink()
    project.run(*COMMAND)
    assert not (frames / "damaged.csv").exists() and not (frames / "skipped.csv").exists()


@pytest.mark.parametrize("number", some_slow(range(1, 14), 2, 9, 12))
def test_an_interrupted_start_keeps_the_lists_of_damaged_and_skipped_videos(
    settings, root, tmp_path, damaged, monkeypatch, number
):
    """Wherever Ctrl-C comes, before the move of any folder or the writing of any table."""
    add_videos(root, range(6, 9))
    undisturbed = data_settings(root, tmp_path / "undisturbed")
    preprocess.preprocess(undisturbed)
    done = []

    def interrupt_before(function):
        def interrupted(*args, **options):
            done.append(function)
            if len(done) == number:
                raise KeyboardInterrupt
            return function(*args, **options)

        return interrupted

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "renames", interrupt_before(os.renames))
        for module in (preprocess, frame_tables):
            patch.setattr(module, "write_table", interrupt_before(module.write_table))
        patch.setattr(preprocess, "write_index", interrupt_before(preprocess.write_index))
        preprocess.preprocess(settings)
        raise KeyboardInterrupt  # all was done
    preprocess.preprocess(settings)
    assert tree(settings.frames_dir) == tree(undisturbed.frames_dir)


@pytest.mark.parametrize("name", ["skipped.csv", "damaged.csv", "copies.csv", "index.csv"])
@pytest.mark.parametrize("text", ["", "\0\n", "a,b\n1,2\n", "{}a\n"])
def test_a_damaged_table_is_one_line(settings, name, text):
    preprocess.preprocess(settings)
    if text == "" and name in ("skipped.csv", "damaged.csv"):  # as a full disk leaves them
        (settings.frames_dir / name).touch()
        assert len(preprocess.preprocess(settings).records) == 10
        return
    columns = {
        "skipped.csv": "source,modified,reason\n",
        "damaged.csv": "source,frames lost,of,first time\n",
        "copies.csv": "source,shows the same as,kind\n",
        "index.csv": "split,class,video,group,frames,source,modified,group from\n",
    }
    (settings.frames_dir / name).write_text(text.format(columns[name]))
    with pytest.raises(DataError, match=f"{name} is damaged.*: delete it and start again"):
        preprocess.preprocess(settings)
