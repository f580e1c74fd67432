"""Folders of images: which of them make a video, in which order, and their pixels."""

import io
import struct
import threading
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import data_settings
from PIL import Image, ImageCms

from dataloaders import preprocess
from dataloaders.errors import DataError, TransientReadError
from dataloaders.extract import ExtractionJob, extract_frames
from dataloaders.images import ImageFolder, has_image_suffix, read_image
from dataloaders.records import read_index
from dataloaders.sampling import ClipConfig


def touch(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def names_of(folder, prefix=None):
    return [file.name for file in ImageFolder(folder, 25, prefix).files]


def picture(height=90, width=120):
    """Smooth colours with some noise, as photographs have them."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (6, 8, 3), np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(int)
    return np.clip(smooth + rng.integers(-9, 9, smooth.shape), 0, 255).astype(np.uint8)


def encode(ending, image, *flags):
    return cv2.imencode(ending, image, flags)[1].tobytes()


def png_chunk(name, content, *, is_damaged=False):
    checksum = zlib.crc32(name + content) ^ is_damaged
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


# Names


@pytest.mark.parametrize(
    "names",
    [
        ["a1.jpg", "a2.jpg", "a10.jpg"],
        ["t1.25.png", "t1.5.png", "t2.png"],
        ["1305031102.175304.png", "1305031102.2.png", "1305031103.1.png"],
        ["v1.1.jpg", "v1.2.jpg", "v1.9.jpg", "v1.10.jpg"],  # no decimals, or two would be equal
        ["frame_1_0.04.jpg", "frame_2_0.08.jpg", "frame_10_0.4.jpg"],
        [f"12-{t}.png" for t in ("00-57", "00-58", "00-59", "01-00", "01-01", "01-02")],
        ["00_00_01_000.jpg", "00_00_02_000.jpg", "00_00_10_000.jpg"],
        ["alpha.tif", "beta.tiff", "gamma.TIF"],
        ["9007199254740992.png", "9007199254740993.png"],  # beyond the exact floats
    ],
)
def test_images_are_in_the_order_of_their_numbers(tmp_path, names):
    folder = touch(tmp_path, *reversed(names))
    touch(tmp_path, "._x1.jpg", ".hidden5.jpg", "notes.txt")
    assert names_of(folder) == names


def test_a_frame_comes_at_its_number_divided_by_the_rate(tmp_path):
    folder = ImageFolder(touch(tmp_path, *(f"{n}.png" for n in range(8))), fps=4)
    assert (folder.num_frames, folder.duration) == (8, 2)
    assert [frame.time for frame in folder.frames()] == [0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75]
    part = list(folder.frames(0.5, 1.25))
    assert [frame.time for frame in part] == [0.5, 0.75, 1]
    assert [frame.path.name for frame in part] == ["2.png", "3.png", "4.png"]
    with pytest.raises(DataError, match="2.png: damaged, or not an image"):
        part[0].to_image()


KINDS = [f"{kind}{n:05d}.jpg" for kind in ("img_", "flow_x_", "flow_y_") for n in (1, 2, 3)]


def test_images_of_several_kinds_are_refused_with_their_prefixes(tmp_path):
    folder = touch(tmp_path, *KINDS, "poster.png")
    with pytest.raises(TransientReadError) as error:
        ImageFolder(folder, 25)
    assert str(error.value) == (
        f"{folder}: several kinds of images: 'flow_x_' (3), 'flow_y_' (3), 'img_' (3), "
        "without a number (1); image_prefix in mypath.py names the one to take"
    )


@pytest.mark.parametrize(
    ("names", "prefix", "taken"),
    [
        (KINDS, "img_", KINDS[:3]),
        ([*KINDS, "poster.png"], "i", KINDS[:3]),
        (["1.jpg", "2.jpg", "flow_1.jpg"], "", ["1.jpg", "2.jpg"]),
        (["a1.jpg", "a2.jpg", "a_flow1.jpg"], "a", ["a1.jpg", "a2.jpg"]),
        (["v_1_0001.jpg", "v_1_0002.jpg"], "v_", ["v_1_0001.jpg", "v_1_0002.jpg"]),
    ],
)
def test_the_prefix_chooses_a_kind(tmp_path, names, prefix, taken):
    assert names_of(touch(tmp_path, *names), prefix) == taken


@pytest.mark.parametrize(
    ("names", "prefix", "message"),
    [
        (KINDS, "flow_", "several kinds of images: 'flow_x_'"),
        (KINDS, "depth_", r"no images named 'depth_' and a number, but 'flow_x_' \(3\)"),
        (["1.jpg", "1.png", "2.jpg"], None, "1.jpg and 1.png have the same number"),
        (["1.jpg", "01.jpg", "2.jpg"], None, "01.jpg and 1.jpg have the same number"),
        (["1_l.jpg", "1_r.jpg"], None, "1_l.jpg and 1_r.jpg have the same number"),
        (["a.jpg", "a.png"], None, "a.jpg and a.png have the same number"),
        ([f"cam{c}_{n}.jpg" for c in "12" for n in range(9)], None, r"'cam1_' \(9\), 'cam2_' \(9"),
    ],
)
def test_what_is_not_one_sequence_is_refused(tmp_path, names, prefix, message):
    with pytest.raises(TransientReadError, match=message):
        ImageFolder(touch(tmp_path, *names), 25, prefix)


def test_the_data_set_names_the_kind_and_another_one_is_extracted_anew(
    project, tmp_path, monkeypatch
):
    for name in ("Jump", "Run"):
        for group in range(1, 6):
            folder = tmp_path / "videos" / name / f"v_{name}_g{group:02d}_c01"
            folder.mkdir(parents=True)
            for number in range(1, 4):
                for kind, grey in (("img_", 50), ("depth_", 200)):
                    image = np.full((128, 171, 3), grey, np.uint8)
                    cv2.imwrite(str(folder / f"{kind}{number:05d}.png"), image)
    project.set_path("own", tmp_path / "videos")
    command = "-m", "dataloaders.preprocess", "own"
    errors = project.run(*command, ok=False).stderr
    assert "several kinds of images: 'depth_' (3), 'img_' (3)" in errors
    for prefix, grey in (("img_", 50), ("depth_", 200)):
        project.add_entry("own", image_prefix=prefix)
        project.run(*command)
        sampling = project.folder / "data/own_frames" / f"16x4_171x128_{prefix}"
        videos = read_index(sampling / "index.csv")
        assert [video.frames for video in videos] == [3] * 10
        frames = list(sampling.rglob("*.jpg"))
        assert {round(cv2.imread(str(file)).mean()) for file in frames} == {grey}
    output = project.run(*command, "--dry-run").stdout
    assert "rates: 25 frames/s (10)" in output and "cannot be read" not in output


# Pixels


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


def write_by_pillow(path, mode, **options):
    """Write an image of a mode of Pillow, of the same colours as `picture`."""
    Image.fromarray(picture()[..., ::-1].copy()).convert(mode).save(path, **options)


def write_deep(path, channels):
    image = picture().astype(np.uint16) * 257 + 3
    cv2.imwrite(str(path), image if channels == 3 else image[..., 0])


WAYS = {
    "a.jpg": lambda path: write_by_pillow(path, "RGB"),
    "progressive.jpg": lambda path: write_by_pillow(path, "RGB", progressive=True),
    "grey.jpg": lambda path: write_by_pillow(path, "L"),
    "cmyk.jpg": lambda path: write_by_pillow(path, "CMYK"),
    **{
        f"turned{n}.jpg": lambda path, n=n: write_by_pillow(path, "RGB", exif=exif(n))
        for n in range(1, 9)
    },
    "a.png": lambda path: write_by_pillow(path, "RGB"),
    "turned.png": lambda path: write_by_pillow(path, "RGB", exif=exif(6)),
    "grey.png": lambda path: write_by_pillow(path, "L"),
    "bits.png": lambda path: write_by_pillow(path, "1"),
    "alpha.png": lambda path: write_by_pillow(path, "RGBA"),
    "greyalpha.png": lambda path: write_by_pillow(path, "LA"),
    "palette.png": lambda path: write_by_pillow(path, "P"),
    "clear.png": lambda path: write_by_pillow(path, "P", transparency=0),
    "deep.png": lambda path: write_deep(path, 3),
    "deepgrey.png": lambda path: write_deep(path, 1),
    "a.bmp": lambda path: write_by_pillow(path, "RGB"),
    "a.webp": lambda path: write_by_pillow(path, "RGB"),
    "alpha.webp": lambda path: write_by_pillow(path, "RGBA"),
    "a.tif": lambda path: write_by_pillow(path, "RGB"),
    "packed.tiff": lambda path: write_by_pillow(path, "RGB", compression="tiff_lzw"),
    "deep.tiff": lambda path: write_deep(path, 3),
}


@pytest.mark.parametrize("name", WAYS)
def test_the_pixels_are_those_of_opencv(tmp_path, name):
    assert has_image_suffix(name)
    WAYS[name](tmp_path / name)
    expected = cv2.imread(str(tmp_path / name), cv2.IMREAD_COLOR)
    image = read_image(tmp_path / name)
    assert image.dtype == np.uint8 and np.array_equal(image, expected)


HARMLESS = {
    "zeros before the end marker": (".jpg", lambda data: data[:-2] + b"\0\0" + data[-2:]),
    "bytes behind the picture": (".jpg", lambda data: data + b"more\xff\xd9\xff\xda and more"),
    "zeros behind the picture": (".png", lambda data: data + bytes(50)),
    "an odd profile": (
        ".png",
        lambda data: data[:33] + png_chunk(b"iCCP", b"x\0\0nonsense") + data[33:],
    ),
    "a bad text": (
        ".png",
        lambda data: data[:33] + png_chunk(b"tEXt", b"a\0b", is_damaged=True) + data[33:],
    ),
    "a text that does not unpack": (
        ".png",
        lambda data: data[:-12] + png_chunk(b"zTXt", b"a\0\0none") + data[-12:],
    ),
}


@pytest.mark.parametrize("reason", HARMLESS)
def test_what_lacks_no_data_is_read_without_a_word(tmp_path, reason, capfd):
    ending, change = HARMLESS[reason]
    whole = encode(ending, picture())
    expected = cv2.imdecode(np.frombuffer(whole, np.uint8), cv2.IMREAD_COLOR)
    (tmp_path / "1").write_bytes(change(whole))
    assert np.array_equal(read_image(tmp_path / "1"), expected)
    assert capfd.readouterr() == ("", "")  # a line for each frame would hide all others


def test_a_colour_profile_and_a_thumbnail_are_no_damage(tmp_path):
    thumbnail = io.BytesIO()
    Image.fromarray(picture(30, 40)).save(thumbnail, "JPEG")
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    file = tmp_path / "1.jpg"
    write_by_pillow(file, "RGB", icc_profile=profile, comment=thumbnail.getvalue())
    assert np.array_equal(read_image(file), cv2.imread(str(file)))


def hole(data, start, length):
    start = round(len(data) * start)
    return data[:start] + data[start + length :]


DAMAGED = {
    "cut.jpg": lambda: encode(".jpg", picture())[:-500],
    "end.jpg": lambda: encode(".jpg", picture())[:-40],
    "hole.jpg": lambda: hole(encode(".jpg", picture()), 0.5, 400),
    "late hole.jpg": lambda: hole(encode(".jpg", picture()), 0.9, 200),
    "progressive.jpg": lambda: hole(
        encode(".jpg", picture(), cv2.IMWRITE_JPEG_PROGRESSIVE, 1), 0.6, 200
    ),
    "restarts.jpg": lambda: hole(
        encode(".jpg", picture(), cv2.IMWRITE_JPEG_RST_INTERVAL, 12), 0.7, 200
    ),
    "cut.png": lambda: encode(".png", picture())[:-500],
    "hole.png": lambda: hole(encode(".png", picture()), 0.5, 400),
    "cut.bmp": lambda: encode(".bmp", picture())[:-500],
    "cut.webp": lambda: encode(".webp", picture())[:-500],
    "cut.tif": lambda: encode(".tif", picture())[:-500],
    "empty.jpg": lambda: b"",
    "text.png": lambda: b"no image at all",
}


@pytest.mark.parametrize("name", DAMAGED)
def test_an_image_that_lacks_data_is_refused_in_any_thread(tmp_path, name):
    (tmp_path / name).write_bytes(DAMAGED[name]())
    refused = []

    def read():
        with pytest.raises(DataError, match=f"{name}: damaged, or not an image"):
            read_image(tmp_path / name)
        refused.append(name)

    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    assert refused == [name]


def test_a_missing_image_is_no_damage(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_image(Path(tmp_path / "1.jpg"))


def test_a_lack_of_file_descriptors_is_no_damage(tmp_path, monkeypatch):
    (tmp_path / "1.png").write_bytes(encode(".png", picture()))

    def fail(path):
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", fail)
        with pytest.raises(OSError, match="Too many open files"):
            read_image(tmp_path / "1.png")
    assert read_image(tmp_path / "1.png").shape == (90, 120, 3)


def test_frames_of_tiff_images_are_extracted(tmp_path):
    for number in range(1, 4):
        image = np.full((128, 171, 3), 50 * number, np.uint8)
        cv2.imwrite(str(tmp_path / f"{number}.tif"), image)
    extract_frames(ExtractionJob(tmp_path, tmp_path / "frames", ClipConfig()))
    stored = [cv2.imread(str(tmp_path / f"frames/{number:05d}.jpg")) for number in (1, 2, 3)]
    assert [round(image.mean()) for image in stored] == [50, 100, 150]


def test_a_video_of_several_kinds_is_tried_again_at_the_next_start(project, tmp_path):
    root = tmp_path / "videos"
    for name in ("Jump", "Run"):
        for group in range(1, 7):
            folder = root / name / f"v_{name}_g{group:02d}_c01"
            folder.mkdir(parents=True)
            for number in range(1, 3):
                image = np.full((128, 171, 3), 99, np.uint8)
                cv2.imwrite(str(folder / f"img_{number}.png"), image)
    extra = folder / "flow_1.png"
    extra.write_bytes((folder / "img_1.png").read_bytes())
    settings = data_settings(root, tmp_path / "frames")
    assert len(preprocess.preprocess(settings).records) == 11
    assert not (settings.frames_dir / "skipped.csv").exists()
