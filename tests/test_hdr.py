"""HDR pictures on an ordinary screen, against the formulas of the standards, written again here."""

import numpy as np
import pytest
from videos import encode, planar_frame

from dataloaders.hdr import HLG, PQ, tone_map
from dataloaders.video import VideoFile

WHITE = 203  # cd/m2 of white paper (BT.2408)
TRANSFERS = {"PQ": PQ, "HLG": HLG}
# RGB of BT.709 in the primaries of BT.2020 (BT.2087, Annex 2: the inverse of what the code uses).
BT709_IN_BT2020 = np.array(
    [[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]]
)


def pq_code(nits):
    """The inverse EOTF of SMPTE ST 2084, with its constants as fractions."""
    m1, m2 = 2610 / 16384, 2523 / 4096 * 128
    c1, c2, c3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    power = (np.asarray(nits) / 10000) ** m1
    return ((c1 + c2 * power) / (1 + c3 * power)) ** m2


def hlg_code(nits):
    """The inverse OOTF of a display of 1000 cd/m2, and the OETF of BT.2100, of RGB in BT.2020."""
    display = np.asarray(nits, float) / 1000
    luminance = display @ [0.2627, 0.6780, 0.0593]
    scene = display * np.maximum(luminance, 1e-9)[..., None] ** (1 / 1.2 - 1)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    logarithmic = a * np.log(np.maximum(12 * scene - b, 1e-9)) + c
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), logarithmic)


def bt709_code(light):
    """The OETF of BT.709, in 8 bits."""
    light = np.asarray(light, float)
    return 255 * np.where(light < 0.018, 4.5 * light, 1.099 * light**0.45 - 0.099)


def hdr_code(transfer, light):
    """Code values 0..1 of light, RGB in BT.709 relative to white paper."""
    nits = np.asarray(light, float) @ BT709_IN_BT2020.T * WHITE
    return pq_code(nits) if transfer == "PQ" else hlg_code(nits)


def shown(transfer, light):
    """RGB, 0..255, that comes out for light, RGB in BT.709 relative to white paper."""
    codes = np.rint(65535 * hdr_code(transfer, [[light]])).astype(np.uint16)
    return tone_map(np.ascontiguousarray(codes[..., ::-1]), TRANSFERS[transfer])[0, 0, ::-1]


def test_the_formulas_of_this_file_give_the_values_of_the_standards():
    assert pq_code([0, 10000]) == pytest.approx([0, 1], abs=1e-6)
    assert pq_code([100, WHITE]) == pytest.approx([0.508, 0.58], abs=0.001)  # BT.2408, table 1
    greys = np.repeat([[1000.0], [WHITE], [26.0]], 3, axis=1)
    assert hlg_code(greys)[:, 0] == pytest.approx([1, 0.75, 0.38], abs=0.003)  # the same table


@pytest.mark.parametrize("transfer", TRANSFERS)
@pytest.mark.parametrize("grey", [0, 0.005, 0.02, 0.05, 0.18, 0.4, 0.79])
def test_greys_up_to_white_paper_are_as_bright_as_in_an_ordinary_video(transfer, grey):
    assert shown(transfer, [grey] * 3) == pytest.approx([bt709_code(grey)] * 3, abs=1.5)


@pytest.mark.parametrize("transfer", TRANSFERS)
def test_white_is_nearly_white_and_what_is_brighter_is_brighter(transfer):
    levels = [shown(transfer, [light] * 3) for light in (0.8, 1.0, 1.5, 2.5, 4.9)]
    assert [np.ptp(level) for level in levels] == [0] * 5
    brightness = [int(level[0]) for level in levels]
    assert 235 <= brightness[1] <= 250
    assert np.all(np.diff(brightness) > 0) and brightness[-1] <= 255


@pytest.mark.parametrize("transfer", TRANSFERS)
@pytest.mark.parametrize(
    "light",
    [
        (0.6, 0, 0),
        (0, 0.6, 0),
        (0, 0, 0.6),
        (0.6, 0.6, 0),
        (0.5, 0.2, 0.1),  # skin
        (0.05, 0.3, 0.7),
    ],
)
def test_colours_are_those_of_an_ordinary_video(transfer, light):
    assert shown(transfer, light) == pytest.approx(bt709_code(light), abs=4)


@pytest.mark.parametrize("transfer", TRANSFERS)
def test_a_highlight_keeps_its_hue(transfer):
    red, green, blue = shown(transfer, (4.0, 2.0, 1.0)) / 255
    light = [(code + 0.099) / 1.099 for code in (red, green, blue)]
    light = [value ** (1 / 0.45) for value in light]
    assert light[0] / light[1] == pytest.approx(2, rel=0.05)
    assert light[1] / light[2] == pytest.approx(2, rel=0.05)


@pytest.mark.parametrize("transfer", TRANSFERS)
def test_colours_beyond_an_ordinary_screen_are_cut_off_at_its_edge(transfer):
    green = np.zeros((1, 1, 3), np.uint16)
    green[..., 1] = 65535 * {"PQ": pq_code(100), "HLG": 0.6}[transfer]
    blue, green, red = tone_map(green, TRANSFERS[transfer])[0, 0]
    assert (blue, red) == (0, 0) and green > 150


@pytest.mark.parametrize("transfer", TRANSFERS)
@pytest.mark.parametrize(
    ("codec", "suffix", "pix_fmt"),
    [
        ("ffv1", "mkv", "yuv420p10le"),
        ("libx265", "mp4", "yuv420p10le"),
        ("ffv1", "mkv", "yuv444p12le"),
    ],
)
def test_a_file_that_names_its_transfer_gives_the_colours_of_an_ordinary_video(
    tmp_path, transfer, codec, suffix, pix_fmt
):
    patches = [(0.18, 0.18, 0.18), (0, 0, 0), (0.7, 0.7, 0.7), (0.5, 0.2, 0.1), (0.05, 0.3, 0.7)]
    rgb = np.tile(np.repeat(hdr_code(transfer, patches), 32, axis=0), (64, 1, 1))
    luma = rgb @ [0.2627, 0.6780, 0.0593]  # BT.2020, in the limited range
    chroma = [(rgb[..., 2] - luma) / 1.8814, (rgb[..., 0] - luma) / 1.4746]
    step = 2 if "420" in pix_fmt else 1
    unit = 4 if "10le" in pix_fmt else 16
    planes = [(16 + 219 * luma) * unit]
    planes += [(128 + 224 * plane[::step, ::step]) * unit for plane in chroma]
    frame = planar_frame([np.rint(plane) for plane in planes], pix_fmt)
    tags = {
        "colorspace": 9,
        "color_primaries": 9,
        "color_trc": TRANSFERS[transfer],
        "color_range": 1,
    }
    path = encode(tmp_path / f"v.{suffix}", [frame] * 2, codec, pix_fmt=pix_fmt, tags=tags)
    frames = [frame.to_image() for frame in VideoFile(path, threads=1).frames()]
    assert len(frames) == 2
    for image in frames:
        assert image[32, 16::32, ::-1].astype(float) == pytest.approx(bt709_code(patches), abs=4)
