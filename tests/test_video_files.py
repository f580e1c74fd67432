"""Which videos the names on a command line stand for."""

from pathlib import Path

import pytest

from dataloaders.errors import FileError
from dataloaders.video_files import find_videos

OUTPUT = Path("output")


def test_files_folders_and_patterns_are_found_each_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (
        "v [1].avi",
        "v 2.avi",
        "in/b.MP4",
        "in/deep/a.mkv",
        "in/notes.txt",
        "in/deep.avi/x.txt",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = find_videos(["v [1].avi", "in", "v*.avi", "in/b.MP4"], OUTPUT)
    assert [(str(path), str(folder)) for path, folder in found] == [
        ("v [1].avi", "."),
        ("in/b.MP4", "."),
        ("in/deep/a.mkv", "deep"),
        ("v 2.avi", "."),
    ]
    for pattern, below in (
        ("**/*.mkv", "in/deep"),
        ("in/*/*.mkv", "deep"),
        ("in/deep/[a-c].mkv", "."),
    ):
        assert [tuple(map(str, pair)) for pair in find_videos([pattern], OUTPUT)] == [
            ("in/deep/a.mkv", below)
        ]
    inside = find_videos(["in", "in/deep"], Path("in/deep"))
    assert [str(path) for path, _ in inside] == ["in/b.MP4", "in/deep/a.mkv"]
    assert [str(path) for path, _ in find_videos(["in", "in/**/*.[mM]*"], Path("in/deep"))] == [
        "in/b.MP4"
    ]
    for name in ("none.avi", "*.webm", "in/deep.avi", ""):
        with pytest.raises(FileError, match="no such file, nor a folder or pattern with videos"):
            find_videos([name], OUTPUT)


def test_folders_are_searched_through_links_and_without_what_is_hidden(tmp_path, capsys):
    for name in (
        "in/a.avi",
        "in/B.MTS",
        "in/._a.avi",
        "in/__MACOSX/a.avi",
        "in/.cache/b.avi",
        "in/c.txt",
        "else/d.m2ts",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "in" / "linked").symlink_to(tmp_path / "else")
    (tmp_path / "else" / "up").symlink_to(tmp_path / "in")  # a loop
    (tmp_path / "in" / "self.avi").symlink_to("self.avi")
    found = find_videos([str(tmp_path / "in")], OUTPUT)
    assert [(path.name, str(folder)) for path, folder in found] == [
        ("B.MTS", "."),
        ("a.avi", "."),
        ("d.m2ts", "linked"),
    ]
    said = capsys.readouterr().out
    reasons = "1 hidden (._a.avi); 1 that are no files (self.avi); 1 without the ending of a video (c.txt)"
    assert said == f"ignored in {tmp_path / 'in'}: {reasons}\n"


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    def fail(folder):
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr("os.scandir", fail)
    with pytest.raises(FileError, match=f"^{tmp_path}: cannot be read: Permission denied$"):
        find_videos([str(tmp_path)], OUTPUT)


def test_an_address_among_files_is_told_to_go_behind_source():
    with pytest.raises(
        FileError, match="^rtsp://host/1: an address of a stream goes behind --source$"
    ):
        find_videos(["rtsp://user:secret@host/1"], OUTPUT)
