import pytest
from conftest import data_settings, shown, write_video
from test_sources import frames, plain_list, prepare, table, write_images, write_table
from test_train import QUICK

from dataloaders import preprocess
from dataloaders.errors import DataError
from dataloaders.sources import list_videos


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


def test_parts_may_number_their_videos_alike(tmp_path):
    for split, count in (("train", 4), ("val", 2), ("test", 2)):
        for name in ("Jump", "Run"):
            for number in range(count):
                write_video(tmp_path / "videos" / split / name / f"{number}.avi", 20 + number)
    videos = prepare(tmp_path / "videos", tmp_path / "frames", "folders")
    assert len(videos) == 16 == len({(video.class_name, video.video) for video in videos})
    assert len({video.group for video in videos}) == 16
    assert all(video.source.startswith(f"{video.split}/") for video in videos)


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


def test_a_label_without_a_name_is_refused(tmp_path):
    path = plain_list(tmp_path)
    (tmp_path / "labels.txt").write_text("jump\n")
    with pytest.raises(DataError, match="row 2: .*labels.txt has no line for the label 1"):
        list_videos(path)


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


def test_paths_may_be_absolute(tmp_path):
    for name in ("a", "b"):
        write_video(tmp_path / "videos" / f"{name}.avi", 20)
    rows = [(tmp_path / "videos" / f"{name}.avi", "run", 0, 0.5) for name in ("a", "b")]
    (tmp_path / "tables").mkdir()
    path = write_table(tmp_path / "tables" / "table.csv", rows, "path,label,start,end")
    videos = preprocess.preprocess(data_settings(path, tmp_path / "frames")).records
    assert [video.source for video in videos] == [f"{row[0]}#t=0,0.5" for row in rows]
    assert all(video.frames for video in videos)
