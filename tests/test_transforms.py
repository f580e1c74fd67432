import numpy as np
import pytest
from conftest import is_flipped, numbered_frame, read_number

from dataloaders import transforms
from dataloaders.sampling import ClipConfig
from dataloaders.transforms import Augmentation, Crop, Transform


def test_cut_gives_rgb_in_order_cropped_and_mirrored():
    frames = [transforms.resize_frame(numbered_frame(number)) for number in range(16)]
    clip = transforms.make_clip(frames, ClipConfig())
    assert clip.shape == (16, 112, 112, 3)
    assert clip.dtype == np.uint8
    assert [read_number(frame) for frame in clip] == list(range(16))
    assert not is_flipped(clip[0])
    assert np.array_equal(
        transforms.make_clip(frames, ClipConfig(), Transform(Crop(8, 29, 112, 112), flip=True)),
        clip[:, :, ::-1],
    )
    assert np.array_equal(clip[0], frames[0][8:120, 29:141, ::-1])


def test_smaller_crops_show_the_same_view():
    image = (
        np.random.default_rng(0)
        .integers(0, 256, (4, 6, 3), np.uint8)
        .repeat(32, 0)
        .repeat(29, 1)[:, :171]
    )
    large, small = (
        transforms.make_clip([image] * 16, ClipConfig.from_flags(size))[0] for size in (112, 56)
    )
    assert small.shape == (56, 56, 3)
    assert np.abs(transforms.resize_frame(large, 56, 56).astype(int) - small).mean() < 6


@pytest.mark.parametrize("size", [(960, 1280), (1080, 1920), (1920, 1080), (1024, 160), (96, 1368)])
def test_resize_averages_where_it_shrinks(size):
    dots = np.zeros((*size, 3), np.uint8)
    dots[:: max(1, size[0] // 128), :: max(1, size[1] // 171)] = 255
    small = transforms.resize_frame(dots)
    assert small.shape == (128, 171, 3)
    assert small.mean() == pytest.approx(dots.mean(), rel=0.1)
    assert small.std() < 6


def test_random_resized_crops_have_a_share_of_the_frame_and_reach_its_borders():
    config = ClipConfig.from_flags(8)
    augmentation = Augmentation(min_scale=0.3)
    crops = [augmentation.draw(np.random.default_rng(key), config).crop for key in range(4000)]
    top, left, height, width = np.array(crops).T
    assert top.min() == left.min() == 0
    assert (top + height).max() == config.height and (left + width).max() == config.width
    shares = height * width / (config.height * config.width)
    assert 0.2 < shares.min() < 0.35 and shares.max() > 0.9 and abs(shares.mean() - 0.65) < 0.05
    assert 0.6 < (width / height).min() < 0.8 and 1.25 < (width / height).max() < 1.6
    clip = transforms.make_clip([numbered_frame(3)] * 16, config, Transform(Crop(*crops[0])))
    assert clip.shape == (16, 8, 8, 3)
