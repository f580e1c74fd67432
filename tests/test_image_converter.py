"""Images have the colours that the file names and stand upright."""

from itertools import product

import numpy as np
import pytest
from conftest import edit_mp4, numbered_frame, with_matrix
from videos import encode, planar_frame

from dataloaders.video import VideoFile


def images(path):
    return [frame.to_image() for frame in VideoFile(path, threads=1).frames()]


PATCHES = [(0, 0, 0), (255, 255, 255), (128, 128, 128), (200, 30, 30), (30, 200, 30), (30, 30, 200)]
PATCHES += [(240, 220, 20), (180, 120, 90)]  # RGB
MATRICES = {"bt601": (5, 0.299, 0.114), "bt709": (1, 0.2126, 0.0722), "bt2020": (9, 0.2627, 0.0593)}


def encode_colours(matrix, is_full_range, bits=8):
    """A planar frame of vertical stripes, one a patch, by the formulas of ITU-T H.273."""
    _, red_weight, blue_weight = MATRICES[matrix]
    rgb = np.repeat(np.array(PATCHES) / 255, 16, axis=0)
    luma = rgb @ [red_weight, 1 - red_weight - blue_weight, blue_weight]
    blue = (rgb[:, 2] - luma) / (2 * (1 - blue_weight))
    red = (rgb[:, 0] - luma) / (2 * (1 - red_weight))
    unit = 1 << bits - 8
    if is_full_range:
        planes = [luma * (256 * unit - 1)]
        planes += [chroma * (256 * unit - 1) + 128 * unit for chroma in (blue, red)]
    else:
        planes = [(219 * luma + 16) * unit]
        planes += [(224 * chroma + 128) * unit for chroma in (blue, red)]
    rows = [np.tile(np.rint(plane).clip(0, 256 * unit - 1), (32, 1)) for plane in planes]
    return planar_frame(rows, "yuv444p" if bits == 8 else f"yuv444p{bits}le")


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize(("matrix", "is_full_range"), list(product(MATRICES, (False, True))))
def test_colours_are_those_of_the_matrix_and_range_that_the_file_names(
    tmp_path, matrix, is_full_range, bits
):
    frame = encode_colours(matrix, is_full_range, bits)
    tags = {"colorspace": MATRICES[matrix][0], "color_range": 1 + is_full_range}
    path = encode(tmp_path / "v.mkv", [frame] * 2, "ffv1", pix_fmt=frame.format.name, tags=tags)
    for image in images(path):
        stripes = image[16, 8::16, ::-1].astype(int)
        assert np.abs(stripes - PATCHES).max() <= 2


def test_colours_that_a_file_does_not_name_are_those_of_bt601_in_limited_range(tmp_path):
    frame = encode_colours("bt601", False)
    path = encode(tmp_path / "v.mkv", [frame] * 2, "ffv1", pix_fmt="yuv444p")
    assert np.abs(images(path)[0][16, 8::16, ::-1].astype(int) - PATCHES).max() <= 2


def test_motion_jpeg_has_the_full_range(tmp_path):
    frames = [np.full((48, 64, 3), value, np.uint8) for value in (0, 60, 128, 255)]
    path = encode(tmp_path / "v.avi", frames, "mjpeg", pix_fmt="yuvj420p")
    assert [image.mean() for image in images(path)] == pytest.approx([0, 60, 128, 255], abs=2)


MATRICES_OF_DISPLAY = [(a, 0, 0, d) for a, d in product((1, -1), repeat=2)]
MATRICES_OF_DISPLAY += [(0, b, c, 0) for b, c in product((1, -1), repeat=2)]


@pytest.mark.parametrize("of_movie", [False, True])
@pytest.mark.parametrize("matrix", MATRICES_OF_DISPLAY)
def test_a_display_matrix_turns_and_mirrors_as_players_do(tmp_path, matrix, of_movie):
    picture = numbered_frame(100)
    picture[:40] = 255
    path = encode(tmp_path / "v.mp4", [picture] * 3, "mpeg4")
    (stored, *_) = images(path)
    path.write_bytes(edit_mp4(path.read_bytes(), with_matrix(*matrix, of_movie=of_movie)))
    # By the standard a pixel at (x, y) is shown at (ax + cy, bx + dy).
    y, x = np.indices(stored.shape[:2])
    a, b, c, d = matrix
    shown_x = a * x + c * y
    shown_y = b * x + d * y
    shown_x -= shown_x.min()
    shown_y -= shown_y.min()
    expected = np.empty((shown_y.max() + 1, shown_x.max() + 1, 3), np.uint8)
    expected[shown_y, shown_x] = stored
    assert np.array_equal(images(path)[0], expected)


def test_a_picture_that_is_shown_askew_is_turned_by_the_nearest_right_angle(tmp_path):
    path = encode(tmp_path / "v.mp4", [numbered_frame(100)] * 3, "mpeg4")
    stored = images(path)[0]
    plain = path.read_bytes()
    for matrix, expected in (
        ((0.9, 0.4, -0.4, 0.9), stored),
        ((-0.9, 0.4, -0.4, -0.9), stored[::-1, ::-1]),
        ((0.4, 0.9, -0.9, 0.4), stored.transpose(1, 0, 2)[:, ::-1]),
    ):
        path.write_bytes(edit_mp4(plain, with_matrix(*matrix)))
        assert np.array_equal(images(path)[0], expected)
