"""The forms in which people have their videos: each is trained, resumed and tested like class folders."""

import contextlib
import csv
import json
import os
import shutil

import cv2
import numpy as np
import pytest
from conftest import data_settings, numbered_frame, shown, write_dataset, write_video
from test_train import QUICK

import mypath
from dataloaders import files, preprocess
from dataloaders.arguments import open_settings
from dataloaders.dataset import VideoDataset
from dataloaders.errors import DataError, FileError
from dataloaders.extract import ExtractionJob, extract_frames
from dataloaders.records import read_index
from dataloaders.sampling import ClipConfig
from dataloaders.sources import check_name_lengths, has_split, list_videos
from dataloaders.splits import assign_splits


def write_images(folder, numbers):
    folder.mkdir(parents=True)
    for i, number in enumerate(numbers, start=1):
        cv2.imwrite(str(folder / f"frame{i}.png"), numbered_frame(number))


def write_table(path, rows, header="path,label,split,group,start,end"):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header.split(",")] * bool(header) + [list(row) for row in rows])
    return path


def given_folders(root):
    for split, groups in (("train", range(1, 6)), ("valid", (6,)), ("Test", (7, 8))):
        for name in ("Jump", "Run"):
            for group in groups:
                write_video(root / split / name / f"v_{name}_g{group:02d}_c01.avi", 20)
    return root


def table(root):
    rows = []
    for number, name in enumerate(["jump rope", "run"] * 8):
        write_video(root / "all" / f"{number}.avi", 20)
        split = "train" if number < 10 else "val" if number < 12 else "test"
        rows.append((f"all/{number}.avi", name, split, f"person {number // 2}", "", ""))
    return write_table(root / "table.csv", rows)


def plain_list(root):
    names = [write_video(root / "my videos" / f"{i}.avi", 20).relative_to(root) for i in range(16)]
    (root / "list.txt").write_text("".join(f"{name} {i % 2}\n" for i, name in enumerate(names)))
    (root / "labels.txt").write_text("jump\nrun\n")
    return root / "list.txt"


def frames(root):
    for name in ("Jump", "Run"):
        for group in range(1, 7):
            write_images(root / name / f"v_{name}_g{group:02d}_c01", range(20))
    return root


def parts_of_recordings(root):
    rows = []
    for number in range(6):
        write_video(root / f"day{number}.avi", 100)
        rows += [(f"day{number}.avi", "jump", 0.4 * part, 0.4 * part + 0.8) for part in range(1, 3)]
        rows += [
            (f"day{number}.avi", "run", 2 + 0.4 * part, 2.8 + 0.4 * part) for part in range(1, 3)
        ]
    return write_table(root / "cuts.csv", rows, "path,label,start,end")


def prepare(root, output_dir, protocol="group", **flags):
    """Preprocess into a folder, and return the videos by a split."""
    frames = preprocess.preprocess(data_settings(root, output_dir, **flags))
    return preprocess.split_records(frames, protocol)


def frames_of(project, sampling="16x4_171x128"):
    """The folder of the frames of the data set `own` of a project."""
    return project.folder / "data" / "own_frames" / sampling


FORMS = {
    "split folders": (given_folders, "folders", 16),
    "table": (table, "folders", 16),
    "list": (plain_list, "group", 16),
    "frames": (frames, "group", 12),
    "parts": (parts_of_recordings, "group", 24),
}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_trained_resumed_and_tested(project, tmp_path, form):
    write, split, count = FORMS[form]
    (tmp_path / "videos").mkdir()
    project.set_path("own", write(tmp_path / "videos"))
    output = project.run(*QUICK, "--epochs", "1", "--batch-size", "2").stdout
    assert f"{count} videos of 2 classes" in output
    assert ("--split folders: " in output) == (split == "folders")
    results = json.loads((project.folder / "run/run_0/results.json").read_text())
    assert (results["split"], results["leaked_groups"]) == (split, 0)
    assert "epoch 2/2" in project.run("train.py", "--resume", "--epochs", "2").stdout
    frames = frames_of(project, "16x4_171x128")
    videos = read_index(frames / "index.csv")
    assert all(len(list(video.folder(frames).iterdir())) == 20 for video in videos)


def test_the_split_of_folders_and_tables_is_kept(tmp_path):
    videos = prepare(given_folders(tmp_path / "a"), tmp_path / "a_frames", "folders")
    folder = {"train": "train", "val": "valid", "test": "Test"}
    assert len(videos) == 16 and all(
        video.source.startswith(f"{folder[video.split]}/") for video in videos
    )
    assert all(video.place == video.split for video in videos)
    (tmp_path / "b").mkdir()
    videos = prepare(table(tmp_path / "b"), tmp_path / "b_frames", "folders")
    assert all(video.place == video.split for video in videos)
    assert [
        sum(video.split == split for video in videos) for split in ("train", "val", "test")
    ] == [10, 2, 4]
    assert {video.group for video in videos if video.split == "test"} == {"person 6", "person 7"}
    assert {video.class_name for video in videos} == {"jump rope", "run"}


def test_without_val_it_is_carved_by_groups_and_without_test_val_is_tested(project, tmp_path):
    root = given_folders(tmp_path / "videos")
    shutil.rmtree(root / "valid")
    shutil.rmtree(root / "Test")
    project.set_path("own", root)
    output = project.run(*QUICK, "--epochs", "1", "--batch-size", "2").stdout
    assert "there is no test: val is what is tested" in output
    videos = read_index(frames_of(project) / "index.csv")
    of_val = {video.group for video in videos if video.split == "val"}
    assert len(of_val) == 1 and not of_val & {
        video.group for video in videos if video.split == "train"
    }
    tested = (project.folder / "run/run_0/predictions.csv").read_text().splitlines()[1:]
    assert len(tested) == 2


def test_groups_that_cross_a_given_split_are_counted_and_stop_nothing(project, tmp_path):
    root = given_folders(tmp_path / "videos")
    shutil.copy(root / "train/Run/v_Run_g01_c01.avi", root / "Test/Run/v_Run_g01_c02.avi")
    project.set_path("own", root)
    done = project.run(*QUICK, "--epochs", "1", "--batch-size", "2")
    assert "split folders: 1 groups in more than one of train, val and test" in done.stdout
    assert (
        "1 groups in more than one of train, val and test: the accuracy is too high" in done.stderr
    )
    assert json.loads((project.folder / "run/run_0/results.json").read_text())["leaked_groups"] == 1
    done = project.run(*QUICK, "--epochs", "1", "--batch-size", "2", "--split", "group")
    assert "split group: 0 groups" in done.stdout


def test_images_are_taken_in_the_order_of_their_numbers_at_the_rate_of_the_entry(project, tmp_path):
    project.set_path("own", frames(tmp_path / "videos"))
    project.run("-m", "dataloaders.preprocess", "own")
    folder = next(frames_of(project).glob("*/Run/*"))
    assert shown(folder) == list(range(20))  # frame2 before frame10
    project.run(
        "-m",
        "dataloaders.preprocess",
        "own",
        "--frame-rate",
        "15",
        "--source-fps",
        "30",
        "--clip-len",
        "8",
    )
    folder = next(frames_of(project, "8x15fps_171x128_from30fps").glob("*/Run/*"))
    assert shown(folder) == list(range(0, 20, 2))
    (tmp_path / "videos/Run/v_Run_g01_c01/frame3.png").write_bytes(b"damaged")
    done = project.run("-m", "dataloaders.preprocess", "own", "--force")
    assert "v_Run_g01_c01/frame3.png: damaged, or not an image" in done.stderr


def test_a_table_may_name_folders_of_images(tmp_path):
    root = frames(tmp_path / "videos")
    rows = [(f"videos/{video.source}", video.class_name) for video in list_videos(root)]
    table = write_table(tmp_path / "table.csv", rows, "path,label")
    videos = prepare(table, tmp_path / "frames")
    assert [video.frames for video in videos] == [20] * len(videos) and len(videos) > 5


@pytest.mark.parametrize("fourcc", ["MJPG", "XVID"])
def test_parts_of_a_recording_are_its_frames_between_two_times(tmp_path, fourcc):
    write_video(tmp_path / "day.avi", 200, fourcc=fourcc)
    spans = [(0, 0.8), (1, 2), (1.03, 2), (3.48, 5.2), (7.2, 8)]
    rows = [("day.avi", "a", *span) for span in spans]
    path = write_table(tmp_path / "table.csv", rows, "path,label,start,end")
    videos = list_videos(path)
    assert {video.group for video in videos} == {"day.avi"}
    settings = data_settings(path, tmp_path / "frames", frame_interval=1)
    videos = preprocess.preprocess(settings).records
    for video, (start, end) in zip(
        videos, sorted(spans, key=lambda span: f"{span[0]:g}-{span[1]:g}"), strict=True
    ):
        first = int(start * 25 + 0.5)
        assert shown(video.folder(settings.frames_dir)) == list(
            range(first, first + round((end - start) * 25))
        )


def test_rows_that_cannot_be_used_are_told_by_number_before_anything_is_decoded(project, tmp_path):
    path = table(tmp_path)
    lines = path.read_text().splitlines()
    lines[1] = "all/none.avi,run,train,p,,"
    lines[2] += ",more"
    lines[3] = lines[3].replace("train", "learn")
    lines[4] = "all/3.avi,run,train,p,0.5,0.2"
    lines[5] = "all/4.avi,jump rope,train,p,0,99"
    lines[6] = "all/5.avi,swim,train,p,,"
    lines[7] = "all/6.avi,run,train,p,x,1"
    path.write_text("\n".join(lines) + "\n")
    project.set_path("own", path)
    (line,) = project.run(*QUICK, ok=False).stderr.splitlines()
    assert line == (
        f"train.py: {path}: 7 of 16 rows cannot be used; row 2: no such file 'all/none.avi'; row 3: 7 cells, not 6; "
        "row 4: unknown split 'learn'; row 5: 0.5 to 0.2 is no part of a recording; "
        "row 6: 0 to 99 is no part of its 0.8 seconds"
    )
    assert not list((project.folder / "data").rglob("*.jpg"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "an empty table"),
        (b"\xff\xfe\x00", "not a text in UTF-8"),
        (
            b"path,label,colour\na.avi,b,c\n",
            "unknown column colour; it may have path, label, split, group, start, end",
        ),
        (b"path,split\na.avi,train\n", "it has no column label"),
        (b"a.avi\n", "1 of 1 rows cannot be used; row 1: 1 cells, not 2"),
        (b"a.avi a/b\nb.avi a/b\n", "labels that cannot be names of folders: a/b"),
        (b"a.avi ..\nb.avi ..\n", "labels that cannot be names of folders: .., .."),
        (b"a.avi only\n", "row 1: the only video of the label 'only'"),
    ],
)
def test_an_unusable_table_is_one_line(tmp_path, content, message):
    for name in ("a.avi", "b.avi"):
        (tmp_path / name).touch()
    (tmp_path / "table.csv").write_bytes(content)
    with pytest.raises(DataError, match=f"table.csv: .*{message}"):
        list_videos(tmp_path / "table.csv")


def test_labels_that_are_numbers_are_names_where_no_file_names_them(tmp_path):
    path = plain_list(tmp_path)
    assert {video.class_name for video in list_videos(path)} == {"jump", "run"}
    (tmp_path / "labels.txt").unlink()
    assert {video.class_name for video in list_videos(path)} == {"0", "1"}


def test_groups_are_found_by_the_expression_in_mypath(project, tmp_path):
    for name in ("Jump", "Run"):
        for person in range(5):
            for take in range(2):
                write_video(tmp_path / "videos" / name / f"take{take}_person{person}.avi", 20)
    project.set_path("own", tmp_path / "videos")
    output = project.run("-m", "dataloaders.preprocess", "own").stdout
    assert "each video is a group of its own" in output
    project.add_entry("own", group_pattern=r"_(person\d+)")
    output = project.run("-m", "dataloaders.preprocess", "own").stdout
    assert "each video is a group of its own" not in output
    videos = read_index(frames_of(project) / "index.csv")
    assert {video.group for video in videos} == {f"person{i}" for i in range(5)}
    assert all(video.group_is_given for video in videos)
    assert len({(video.group, video.split) for video in videos}) == 5
    for pattern, message in (
        (r"take1_(.*)\.", "finds no group in 10 videos: Jump/take0_"),
        ("person", "one pair of"),
    ):
        project.add_entry("own", group_pattern=pattern)
        assert message in project.run("-m", "dataloaders.preprocess", "own", ok=False).stderr


def test_a_class_named_like_a_split_is_a_class(tmp_path):
    write_dataset(tmp_path / "a", ("train", "bus"))
    assert not has_split(tmp_path / "a")
    assert {video.class_name for video in list_videos(tmp_path / "a")} == {"train", "bus"}


def test_a_dry_run_says_what_there_is_and_writes_nothing(project, tmp_path):
    root = write_dataset(tmp_path / "videos", ("Jump", "Run", "Sit"))
    write_video(root / "Sit" / "v_Sit_g06_c01.avi", [numbered_frame(0, 320, 240)] * 90, fps=30)
    (root / "Sit" / "broken.avi").write_bytes(b"no video")
    project.set_path("own", root)
    output = project.run("-m", "dataloaders.preprocess", "own", "--dry-run").stdout
    *lines, last = output.splitlines()
    assert last.startswith(f"cannot be read: {root}/Sit/broken.avi: not a video")
    assert lines == [
        "17 videos, 7 groups",
        "classes: Sit (7), Jump (5), Run (5)",
        "split: train (11), test (3), val (3)",
        "rates: 25 frames/s (15), 30 frames/s (1)",
        "sizes: 160x120 (15), 320x240 (1)",
        "lengths: 0.8 to 3.0 s, median 0.8",
    ]
    assert not (project.folder / "data").exists()
    shutil.rmtree(root / "Run")
    shutil.rmtree(root / "Jump")
    for video in list((root / "Sit").iterdir())[2:]:
        video.unlink()
    output = project.run("-m", "dataloaders.preprocess", "own", "--dry-run").stdout
    assert output.startswith(
        "no split: fold 1: every class needs groups in each of train, val and test; "
    )
    assert "split: none (2)" in output


@pytest.mark.parametrize("frames", ["videos", "videos/frames", "."])
def test_frames_among_the_videos_are_refused(tmp_path, frames):
    root = write_dataset(tmp_path / "videos")
    with pytest.raises(
        DataError,
        match=r"the folder for the frames must lie outside .*videos; mypath.py names both",
    ):
        prepare(root, tmp_path / frames)
    assert sorted(root.iterdir()) == [root / "Jump", root / "Run"]


def test_force_extracts_all_frames_anew(project, tmp_path, monkeypatch):
    project.set_path("own", write_dataset(tmp_path / "videos"))
    names, extract_all = [], preprocess.extract_all

    def spy(jobs, processes):
        jobs = list(jobs)
        names.append(len(jobs))
        return extract_all(jobs, processes)

    monkeypatch.setattr(preprocess, "extract_all", spy)
    for flags in ([], [], ["--force"]):
        project.run("-m", "dataloaders.preprocess", "own", *flags)
    assert names == [10, 10]
    next((tmp_path / "videos").glob("*/*")).unlink()
    output = project.run("-m", "dataloaders.preprocess", "own", "--force").stdout
    assert names == [10, 10, 9] and "gone or changed, their frames are in " in output
    rows = read_index(frames_of(project) / "index.csv")
    assert len(rows) == 9
    assert all(len(list(row.folder(frames_of(project)).iterdir())) == 20 for row in rows)
    assert len(list((frames_of(project) / "removed").glob("*/*"))) == 10 + 10


def test_a_data_set_is_opened_in_one_line_from_anywhere(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(mypath, "__file__", str(tmp_path / "repository" / "mypath.py"))
    monkeypatch.setitem(mypath.Path.DATASETS, "own", ("data/own", "data/own_frames"))
    write_dataset(tmp_path / "repository" / "data" / "own")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="8x4_171x128: frames are missing.*; extract=True extracts"):
        VideoDataset.open("own", "train", clip_len=8)
    dataset = VideoDataset.open("own", "train", extract=True, clip_len=8, crop_size=56)
    clip, label = dataset[0]
    assert clip.shape == (8, 56, 56, 3) and dataset.classes[label] == "Jump"
    frames = tmp_path / "repository/data/own_frames"
    assert (frames / "8x4_171x128/index.csv").is_file() and not (tmp_path / "data").exists()
    capsys.readouterr()
    assert len(VideoDataset.open("own", "test", windows=3, clip_len=8)) == 6
    assert not capsys.readouterr().out  # it is as it was
    config = ClipConfig.from_flags(clip_len=8)
    assert len(VideoDataset.open("own", "test", windows=3, config=config)) == 6
    assert len(VideoDataset.open("own", "val", extract=True)) == 2
    assert {path.name for path in frames.iterdir() if path.is_dir()} == {
        "8x4_171x128",
        "16x4_171x128",
    }


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_tables_as_other_programs_write_them(tmp_path, delimiter):
    for i in range(4):
        write_video(tmp_path / "my videos" / f"{i}.avi", 5)
    rows = ["path,label", *(f'"my videos\\{i}.avi",class {i % 2}' for i in range(4))]
    (tmp_path / "table.csv").write_text(
        "\r\n".join(rows).replace(",", delimiter), encoding="utf-8-sig"
    )
    videos = list_videos(tmp_path / "table.csv")
    assert [(video.source, video.class_name, video.video) for video in videos] == [
        (f"my videos/{i}.avi", f"class {i % 2}", f"my videos_{i}") for i in range(4)
    ]


def test_a_file_that_another_program_has_open_is_replaced_when_it_is_closed(tmp_path, monkeypatch):
    replace, refusals = os.replace, []

    def refuse(*paths):
        if len(refusals) < limit:
            refusals.append(paths)
            raise PermissionError("the process cannot access the file")
        return replace(*paths)

    monkeypatch.setattr(os, "replace", refuse)
    monkeypatch.setattr(files.time, "sleep", lambda seconds: None)
    for limit, is_written in ((2, True), (9, False)):
        refusals.clear()
        with (
            contextlib.suppress(FileError),
            files.atomic_write(tmp_path / f"{limit}.txt") as partial,
        ):
            partial.write_text("new")
        assert (tmp_path / f"{limit}.txt").exists() == is_written
        assert not list(tmp_path.glob("*partial*"))


@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_an_image_that_is_cut_off_is_refused(tmp_path, ending):
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.{ending}"), noise)
    data = (tmp_path / f"1.{ending}").read_bytes()
    (tmp_path / f"1.{ending}").write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=f"1.{ending}: damaged, or not an image"):
        extract_frames(ExtractionJob(tmp_path, tmp_path / "frames", ClipConfig()))


def test_what_a_given_split_lacks_or_has_beside_it_is_said(tmp_path, capsys):
    root = given_folders(tmp_path / "videos")
    (root / "Test" / "Run").rename(root / "Test" / "Rnu")
    write_video(root / "Extra" / "a.avi", 5)
    videos = prepare(root, tmp_path / "frames", "folders")
    output = capsys.readouterr().out
    assert len(videos) == 16 and has_split(root)
    assert f"ignored in {root}: 1 beside train, val and test (Extra/)" in output
    assert "train has no videos of Rnu, which the network cannot learn" in output


def test_a_row_that_is_there_twice_and_a_table_of_a_header_alone(tmp_path):
    path = table(tmp_path)
    with open(path, "a") as file:
        file.write("all/0.avi,run,train,p,,\n")
    with pytest.raises(
        DataError, match="1 of 17 rows cannot be used; row 18: all/0.avi stands in a row above"
    ):
        list_videos(path)
    path.write_text("path,label\n")
    with pytest.raises(DataError, match="table.csv: a table without rows"):
        list_videos(path)


def test_no_other_split_is_opened_and_an_entry_is_a_pair(project, tmp_path):
    with pytest.raises(DataError, match="no split 'valid': there are train, val, test"):
        VideoDataset.open("demo", "valid")
    project.datasets["own"] = str(tmp_path)  # without its comma
    (line,) = project.run("train.py", "--dataset", "own", ok=False).stderr.splitlines()
    assert (
        line
        == f"train.py: mypath.py: the entry 'own' is not a pair of folders, but {str(tmp_path)!r}"
    )


def test_without_its_videos_a_data_set_keeps_its_split_and_its_index(project, tmp_path):
    root = given_folders(tmp_path / "videos")
    project.set_path("own", root)
    project.run("-m", "dataloaders.preprocess", "own")
    index = frames_of(project) / "index.csv"
    before = index.read_text()
    root.rename(tmp_path / "away")
    command = ("-m", "dataloaders.preprocess", "own", "--output", "split.csv")
    assert "--split folders: " in project.run(*command).stdout
    assert (
        "no such folder"
        in project.run("-m", "dataloaders.preprocess", "own", "--force", ok=False).stderr
    )
    assert index.read_text() == before
    write_dataset(root)
    project.run(*command)
    shutil.rmtree(root)
    assert "--split folders: " not in project.run(*command).stdout


def test_a_split_of_its_own_has_no_folds(project, tmp_path):
    project.set_path("own", given_folders(tmp_path / "videos"))
    for command in (QUICK, ("-m", "dataloaders.preprocess", "own")):
        done = project.run(*command, "--fold", "2", ok=False)
        assert "--fold 2: only --split group has folds, not folders" in done.stderr


def test_parts_may_number_their_videos_alike(tmp_path):
    for split, count in (("train", 4), ("val", 2), ("test", 2)):
        for name in ("Jump", "Run"):
            for number in range(count):
                write_video(tmp_path / "videos" / split / name / f"{number}.avi", 20 + number)
    videos = prepare(tmp_path / "videos", tmp_path / "frames", "folders")
    assert len(videos) == 16 == len({(video.class_name, video.video) for video in videos})
    assert len({video.group for video in videos}) == 16
    assert all(video.source.startswith(f"{video.split}/") for video in videos)


def test_images_at_another_rate_are_another_sampling(project, tmp_path):
    project.set_path("own", frames(tmp_path / "videos"))
    command = ("-m", "dataloaders.preprocess", "own", "--frame-rate", 5, "--clip-len", 4)
    for fps, sampling, count in (
        (25, "4x5fps_171x128", 4),
        (10, "4x5fps_171x128_from10fps", 10),
    ):
        project.run(*command, "--source-fps", fps)
        index = frames_of(project, sampling) / "index.csv"
        assert {video.frames for video in read_index(index)} == {count}
    for fps in (0, -5, "nan"):
        refused = project.run(*command, "--source-fps", fps, ok=False)
        assert "must be 0.01 to 1000" in refused.stderr
        project.add_entry("own", source_fps=float(fps))
        assert "must be 0.01 to 1000" in project.run(*command, ok=False).stderr


def test_a_part_may_lack_its_start_or_its_end(tmp_path):
    write_video(tmp_path / "day.avi", 200)
    rows = [
        ("day.avi", "a", *span)
        for span in [("", 5), (3, ""), (0.0001, 2), (1.0004, 2), (1.0014, 2)]
    ]
    path = write_table(tmp_path / "table.csv", rows, "path,label,start,end")
    videos = list_videos(path)
    assert [video.source for video in videos] == [
        f"day.avi#t={t}" for t in ("0,5", "3,8", "0,2", "1,2", "1.001,2")
    ]
    for span in ((0, 0), ("", 0), (8, ""), ("nan", 2)):
        write_table(path, [*rows, ("day.avi", "a", *span)], "path,label,start,end")
        with pytest.raises(DataError, match="row 7: .* is no part of a recording"):
            list_videos(path)


def test_a_part_may_end_half_a_second_after_its_recording(tmp_path):
    write_video(tmp_path / "day.avi", 200)  # 8 seconds
    spans = [(0, 5), (1, 8.4)]
    path = write_table(
        tmp_path / "table.csv", [("day.avi", "a", *span) for span in spans], "path,label,start,end"
    )
    assert [video.source for video in list_videos(path)] == ["day.avi#t=0,5", "day.avi#t=1,8.4"]
    path.write_text(path.read_text().replace("8.4", "8.6"))
    with pytest.raises(DataError, match="row 3: 1 to 8.6 is no part of its 8.0 seconds"):
        list_videos(path)


def test_a_label_without_a_name_is_refused(tmp_path):
    path = plain_list(tmp_path)
    (tmp_path / "labels.txt").write_text("jump\n")
    with pytest.raises(DataError, match="row 2: .*labels.txt has no line for the label 1"):
        list_videos(path)


def test_a_name_that_no_frame_folder_can_have_is_told(tmp_path):
    root = write_dataset(tmp_path / "videos")
    (root / "Run" / "v_Run_g01_c01.avi").rename(root / "Run" / "a\\b.avi")
    with pytest.raises(DataError, match="a table cannot hold this name; rename the file"):
        list_videos(root)


def test_images_at_a_rate_of_their_own_are_opened_as_they_are(tmp_path, monkeypatch, capsys):
    entry = {"videos": frames(tmp_path / "videos"), "frames": tmp_path / "frames", "source_fps": 10}
    monkeypatch.setitem(mypath.Path.DATASETS, "own", entry)
    settings = open_settings(mypath.Path, "own", ClipConfig.from_flags(frame_rate=5))
    assert settings.source_fps == 10
    before = preprocess.split_records(preprocess.preprocess(settings), "group")
    capsys.readouterr()
    dataset = VideoDataset.open("own", "test", extract=True, frame_rate=5)
    assert dataset.sources == [video.source for video in before if video.split == "test"]
    assert not capsys.readouterr().out


def test_an_expression_that_is_none_is_one_line(tmp_path):
    with pytest.raises(DataError, match=r"mypath.py: '\(' captures no group: missing \)"):
        list_videos(write_dataset(tmp_path / "videos"), "(")


def test_files_that_differ_in_their_ending_alone_are_both_used(tmp_path):
    root = write_dataset(tmp_path / "videos")
    write_video(root / "Run" / "v_Run_g01_c01.mp4", 20, fourcc="mp4v")
    write_video(root / "Run" / "V_run_G02_c01.mkv", 20)
    videos = prepare(root, tmp_path / "frames")
    run = {video.source: video for video in videos if video.class_name == "Run"}
    assert {source: video.video for source, video in run.items()} == {
        "Run/V_run_G02_c01.mkv": "V_run_G02_c01.mkv",  # one name, where a disk ignores the case
        "Run/v_Run_g01_c01.avi": "v_Run_g01_c01.avi",
        "Run/v_Run_g01_c01.mp4": "v_Run_g01_c01.mp4",
        "Run/v_Run_g02_c01.avi": "v_Run_g02_c01.avi",
        **{f"Run/v_Run_g0{n}_c01.avi": f"v_Run_g0{n}_c01" for n in (3, 4, 5)},
    }
    assert run["Run/v_Run_g01_c01.avi"].group == run["Run/v_Run_g01_c01.mp4"].group == "g01"
    folders = [video.folder(tmp_path / "frames" / "16x4_171x128") for video in videos]
    assert all(shown(folder) == list(range(20)) for folder in folders)
    before = {video.source: video.video for video in videos}
    write_video(root / "Run" / "v_Run_g01_c01.mov", 20, fourcc="mp4v")
    after = {video.source: video.video for video in list_videos(root)}
    assert after == before | {"Run/v_Run_g01_c01.mov": "v_Run_g01_c01.mov"}


@pytest.mark.parametrize("with_lists", [True, False])
def test_files_that_differ_in_their_ending_alone_are_found_in_official_lists(tmp_path, with_lists):
    root = tmp_path / "videos"
    for name in ("Jump", "Run"):
        for group in range(1, 26):
            (root / name).mkdir(parents=True, exist_ok=True)
            (root / name / f"v_{name}_g{group:02d}_c01.avi").touch()
            (root / name / f"v_{name}_g{group:02d}_c01.mp4").touch()
    lists = tmp_path / "lists"
    lists.mkdir()
    for part, groups in (("test", range(1, 8)), ("train", range(8, 26))) if with_lists else ():
        names = [f"{c}/v_{c}_g{g:02d}_c01.avi" for c in ("Jump", "Run") for g in groups]
        (lists / f"{part}list01.txt").write_text("\n".join(names))
    videos = assign_splits(list_videos(root), "official1", split_dir=lists)
    tested = {video.group for video in videos if video.split == "test"}
    assert tested == {f"g{group:02d}" for group in range(1, 8)} and len(videos) == 100
    assert sum(video.split == "test" for video in videos) == 28


def test_rows_whose_frame_folders_would_be_one_are_all_named(tmp_path):
    rows = []
    for name in ("a/1.avi", "a_1.avi", "a/2.avi", "a_2.avi"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
        rows.append((name, "run"))
    path = write_table(tmp_path / "table.csv", rows, "path,label")
    message = "a/1.avi and a_1.avi, a/2.avi and a_2.avi would share a frame folder; rename one of"
    with pytest.raises(DataError, match=message):
        list_videos(path)


@pytest.mark.parametrize("mark", [" ", ","])
def test_a_list_of_folders_with_their_number_of_frames_is_read(tmp_path, mark):
    lines = []
    for number in range(4):
        write_images(tmp_path / "raw frames" / f"clip {number}", range(3))
        lines.append(f"raw frames/clip {number}{mark}3{mark}{number % 2}\n")
    (tmp_path / "list.txt").write_text("".join(lines))
    videos = list_videos(tmp_path / "list.txt")
    assert [(video.source, video.class_name) for video in videos] == [
        (f"raw frames/clip {number}", str(number % 2)) for number in range(4)
    ]


def test_videos_that_lie_too_deep_are_named_with_what_to_do(tmp_path, capsys):
    for name in ("Jump", "Run"):
        for camera in ("cam1", "cam2"):
            write_video(tmp_path / "videos" / name / camera / "1.avi", 3)
    advice = (
        "videos lie deeper than <class>/<video>, as Jump/cam1/1.avi: move them there, or list them "
        "in a table with the columns path and label"
    )
    with pytest.raises(FileError, match=advice):
        list_videos(tmp_path / "videos")
    assert "4 folders of videos, one deeper than <class>/<video> (Jump/cam1, " in (
        capsys.readouterr().out
    )
    write_dataset(tmp_path / "more" / "videos")
    with pytest.raises(FileError, match="deeper; name .*more/videos in mypath.py"):
        list_videos(tmp_path / "more")


def test_a_name_too_long_for_the_frames_is_named_with_the_limit(project, tmp_path):
    root = tmp_path / "videos"
    for number in range(6):
        write_video(root / f"{number}.avi", 3)
    limit = os.pathconf(tmp_path, "PC_NAME_MAX")
    label = "ä" * (limit // 2 + 1)  # two bytes each
    rows = [(f"{number}.avi", ("run", label)[number % 2]) for number in range(6)]
    project.set_path("own", write_table(root / "table.csv", rows, "path,label"))
    (line,) = project.run("-m", "dataloaders.preprocess", "own", ok=False).stderr.splitlines()
    assert line == (
        f"1.avi: its frames need a folder named {label[:40]!r}... of {2 * len(label)} bytes, and "
        f"a folder takes {limit} at most; use a shorter name"
    )
    fitting = [video._replace(class_name="a" * limit) for video in list_videos(root / "table.csv")]
    check_name_lengths(fitting)
