
import pytest

from dataloaders import videos


def test_files_folders_and_patterns_are_found_each_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("v [1].avi", "v 2.avi", "in/b.MP4", "in/deep/a.mkv", "in/notes.txt", "in/deep.avi/x.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = videos.find_videos(["v [1].avi", "in", "v*.avi", "in/b.MP4"])
    assert [(str(path), str(folder)) for path, folder in found] == [
        ("v [1].avi", "."), ("in/b.MP4", "."), ("in/deep/a.mkv", "deep"), ("v 2.avi", "."),
    ]
    for pattern, below in (("**/*.mkv", "in/deep"), ("in/*/*.mkv", "deep"), ("in/deep/[a-c].mkv", ".")):
        assert [tuple(map(str, pair)) for pair in videos.find_videos([pattern])] == [("in/deep/a.mkv", below)]
    for name in ("none.avi", "*.webm", "in/deep.avi"):
        with pytest.raises(FileNotFoundError, match="no such file, nor a folder or pattern with videos"):
            videos.find_videos([name])


