"""Text files and tables: read whole, written whole or not at all, and named where that fails."""

import contextlib
import errno
import os

import pytest

from dataloaders import files
from dataloaders.errors import DataError, FileError


def refuse(*args, **options):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_file_that_cannot_be_written_is_named_and_stays_as_it_was(tmp_path, monkeypatch, call):
    path = tmp_path / "a.csv"
    path.write_text("before")
    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(FileError, match="a.csv: No space left on device"):
        files.write_table(path, ("a",), [(1,)])
    assert [file.name for file in tmp_path.iterdir()] == ["a.csv"]
    assert path.read_text() == "before"


def test_an_error_that_is_no_fault_of_the_file_is_passed_on(tmp_path):
    with pytest.raises(ZeroDivisionError), files.atomic_write(tmp_path / "a.csv"):
        1 / 0  # noqa: B018  the error is what is tested
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_what_is_no_file_is_not_replaced_by_one(tmp_path):
    os.mkfifo(tmp_path / "pipe")  # stands for /dev/null, which root may replace
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder"):
        path = tmp_path / name
        with pytest.raises(FileError, match=f"{name}: not a file"):
            files.write_table(path, ("a",), [(1,)])
        assert path.exists() and not path.is_file()
    assert len(list(tmp_path.iterdir())) == 2


def test_files_that_are_missing_or_folders_are_named(tmp_path):
    for read in (files.read_lines, lambda path: list(files.read_table(path, ("a",), dict))):
        with pytest.raises(FileError, match="none.txt: No such file or directory"):
            read(tmp_path / "none.txt")
    with pytest.raises(FileError, match=f"{tmp_path.name}: "):
        files.append_row(tmp_path, ("a",), (1,))
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="a.txt: not a text in UTF-8"):
        files.read_text(tmp_path / "a.txt")


@pytest.mark.parametrize(
    "left", ["", "a", "a,b\r\n", "a,b\r\n1", "a,b\r\n1,2\r\n", "a,b\r\n1,2\r\n3,"]
)
def test_a_table_that_a_full_disk_has_cut_off_is_continued(tmp_path, left):
    path = tmp_path / "a.csv"
    path.write_bytes(left.encode())
    known = [row for row in ("1,2\r\n",) if row in left]

    def read():
        return [
            ",".join(row.values()) for row in files.read_table(path, "ab", dict, is_growing=True)
        ]

    assert read() == ["1,2"] * len(known)
    files.cut_incomplete_row(path)
    files.append_row(path, ("a", "b"), (5, 6))
    assert read() == ["1,2"] * len(known) + ["5,6"]
    assert path.read_bytes().startswith(b"a,b\r\n")


def test_numbers_of_things():
    words = [files.plural(n, "class", "classes") for n in (0, 1, 2)]
    assert words == ["0 classes", "1 class", "2 classes"]
    assert files.plural(3, "video") == "3 videos"


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
