"""The colours of training clips, against Pillow and Python's colorsys."""

import colorsys

import numpy as np
import pytest
from conftest import numbered_frame
from PIL import Image, ImageEnhance

from dataloaders.color_jitter import (
    ADJUSTMENTS,
    ColorJitter,
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
)
from dataloaders.sampling import ClipConfig
from dataloaders.transforms import Augmentation, Crop, Transform, make_clip


@pytest.fixture(scope="module")
def clip():
    """Three frames of all colours, reddish, of which the first is dark and the last bright."""
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (3, 20, 30, 3))
    tint = np.array([1, 0.8, 0.5])
    return (colours * tint * [[[[0.4]]], [[[0.7]]], [[[1.0]]]]).astype(np.uint8)


@pytest.mark.parametrize("factor", [0, 0.6, 1, 1.4])
@pytest.mark.parametrize(
    ("adjust", "enhance"),
    [
        (adjust_brightness, ImageEnhance.Brightness),
        (adjust_contrast, ImageEnhance.Contrast),
        (adjust_saturation, ImageEnhance.Color),
    ],
)
def test_brightness_contrast_and_saturation_are_those_of_pillow(clip, adjust, enhance, factor):
    expected = [np.array(enhance(Image.fromarray(frame)).enhance(factor)) for frame in clip]
    difference = np.int64(adjust(clip, factor)) - np.array(expected)
    assert np.abs(difference).max() <= 1  # Pillow rounds down


@pytest.mark.parametrize("turn", [-0.5, -0.2, 0, 1 / 3])
def test_the_hue_is_that_of_colorsys(clip, turn):
    expected = []
    for pixel in clip.reshape(-1, 3) / 255:
        hue, saturation, value = colorsys.rgb_to_hsv(*pixel)
        expected.append(colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value))
    difference = adjust_hue(clip, turn) - 255 * np.array(expected).reshape(clip.shape)
    assert np.abs(difference).max() < 10  # the turn, hue, saturation and value have 8 bits
    assert np.abs(difference).mean() < 2


def test_a_third_of_a_turn_makes_red_green():
    red = np.full((2, 4, 4, 3), [255, 0, 0], np.uint8)
    assert adjust_hue(red, 1 / 3)[0, 0, 0] == pytest.approx([0, 255, 0], abs=3)


def test_factors_turns_and_orders_are_drawn_evenly():
    drawn = [ColorJitter.draw(np.random.default_rng(key), 0.4) for key in range(2000)]
    for name in ("brightness", "contrast", "saturation"):
        factors = [getattr(jitter, name) for jitter in drawn]
        assert 0.6 <= min(factors) < 0.61 and 1.39 < max(factors) <= 1.4
    turns = [jitter.hue for jitter in drawn]
    assert -0.2 <= min(turns) < -0.19 and 0.19 < max(turns) <= 0.2
    orders = {jitter.order for jitter in drawn}
    assert len(orders) == 24 and all(set(order) == set(ADJUSTMENTS) for order in orders)


def test_the_order_counts(clip):
    jitter = ColorJitter(1.4, 0.2, 1, 0, ("brightness", "contrast", "saturation", "hue"))
    other = ColorJitter(1.4, 0.2, 1, 0, ("contrast", "brightness", "saturation", "hue"))
    expected = adjust_contrast(adjust_brightness(clip, 1.4), 0.2)
    assert np.abs(np.int64(jitter.apply(clip)) - expected).max() <= 3  # by the round trip of hue
    assert np.abs(np.int64(other.apply(clip)) - jitter.apply(clip)).max() > 20


def test_a_clip_has_one_draw_and_the_crops_of_a_seed_stay():
    config = ClipConfig.from_flags(16)
    plain = Augmentation().draw(np.random.default_rng(5), config)
    drawn = Augmentation(color_jitter=0.4).draw(np.random.default_rng(5), config)
    assert plain.color_jitter is None
    assert (drawn.crop, drawn.flip) == (plain.crop, plain.flip)
    frames = [numbered_frame(7)] * 16
    before = make_clip(frames, config, plain)
    after = make_clip(frames, config, drawn)
    assert (after == after[:1]).all() and after.dtype == np.uint8
    assert np.array_equal(after, drawn.color_jitter.apply(before))
    assert not np.array_equal(after, before)


def test_colours_are_changed_as_rgb():
    red = np.full((24, 24, 3), [0, 0, 255], np.uint8)  # BGR
    jitter = ColorJitter(1, 1, 1, 1 / 3)
    clip = make_clip(
        [red] * 16, ClipConfig.from_flags(16), Transform(Crop(0, 0, 16, 16), False, jitter)
    )
    assert clip[0, 0, 0] == pytest.approx([0, 255, 0], abs=3)
