from itertools import pairwise

import cv2
import numpy as np
import pytest

from dataloaders import demo
from dataloaders.sampling import ClipConfig
from dataloaders.sources import list_videos

GROUPS = 3  # fewer than the demo's own, for speed


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("demo") / "videos"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "GROUPS", GROUPS)
        demo.write_videos(root)
    return root


def frames(path):
    video, images = cv2.VideoCapture(str(path)), []
    while (result := video.read())[0]:
        images.append(result[1])
    return np.stack(images)


def test_layout_and_groups_are_those_of_ucf101(root):
    videos = list_videos(root)
    names = [name for pair in demo.PAIRS for name in pair]
    assert [(v.class_name, v.video) for v in videos] == [
        (name, f"v_{name}_g{g:02d}_c{c:02d}")
        for name in sorted(names)
        for g in range(1, GROUPS + 1)
        for c in range(1, demo.CLIPS + 1)
    ]
    assert {v.group for v in videos} == {f"g{g:02d}" for g in range(1, GROUPS + 1)}


@pytest.mark.parametrize("pair", demo.PAIRS)
@pytest.mark.parametrize("group", [1, 3])
def test_each_class_is_its_partner_played_backwards(root, pair, group):
    forwards, backwards = (frames(root / name / f"v_{name}_g{group:02d}_c01.avi") for name in pair)
    assert np.array_equal(forwards, backwards[::-1])
    assert not np.array_equal(forwards, backwards)
    assert len(forwards) % ClipConfig.frame_interval == 1  # the frames kept are the same set


@pytest.mark.parametrize("pair", demo.PAIRS)
def test_mirrored_left_to_right_a_class_stays_what_it_is(root, pair):
    video = frames(root / pair[0] / f"v_{pair[0]}_g03_c02.avi").astype(int)
    changed = np.abs(np.diff(video, axis=0)).sum(-1) > 60  # (T-1, H, W)
    rows = [np.flatnonzero(frame.any(1)).mean() for frame in changed if frame.any()]
    spread = [np.flatnonzero(frame.any(0)).std() for frame in changed if frame.any()]
    if pair[0] == "Up":
        assert rows[-1] < rows[0] - 60
    else:
        assert spread[-1] > spread[0] + 15
    assert all(abs(one - other) < 30 for one, other in pairwise(rows))  # nothing jumps


def test_videos_are_the_same_every_time_and_written_once(root, tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "GROUPS", GROUPS)
    demo.write_videos(tmp_path / "again")
    files = sorted(path.relative_to(root) for path in root.rglob("*.avi"))
    assert all(
        (root / file).read_bytes() == (tmp_path / "again" / file).read_bytes() for file in files
    )
    before = (root / files[0]).stat().st_mtime_ns
    demo.write_videos(root)
    assert (root / files[0]).stat().st_mtime_ns == before


def test_an_interrupted_start_leaves_no_half_of_it(tmp_path, monkeypatch):
    draw = demo.draw_video

    def interrupted(name, *generators):
        if name == "Part":
            raise KeyboardInterrupt
        return draw(name, *generators)

    monkeypatch.setattr(demo, "GROUPS", 1)
    monkeypatch.setattr(demo, "draw_video", interrupted)
    with pytest.raises(KeyboardInterrupt):
        demo.write_videos(tmp_path / "videos")
    assert not (tmp_path / "videos").exists()
    monkeypatch.setattr(demo, "draw_video", draw)
    demo.write_videos(tmp_path / "videos")
    assert len(list((tmp_path / "videos").rglob("*.avi"))) == 6 * demo.CLIPS
