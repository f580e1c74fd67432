"""Files that are no videos, or cannot be read, are refused in one line."""

import errno
import os
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import edit_mp4
from http_server import PLAYLISTS, serve
from timed_videos import open_file, shown
from videos import (
    encode,
    overwrite,
    packet_places,
    silence,
)

from dataloaders.decoding import Decoder
from dataloaders.errors import DataError, FileError, TransientReadError
from dataloaders.ffmpeg import av


def refused(path, match="not a video"):
    with pytest.raises(DataError, match=match) as caught:
        open_file(path)
    assert str(caught.value).startswith(f"{path}: ")
    return caught.value


def write_pdf(path):
    text = b"BT /F1 24 Tf 100 700 Td (Hello) Tj ET"
    path.write_bytes(b"%%PDF-1.4\n1 0 obj<</Length %d>>stream\n%s\nendstream" % (len(text), text))


@pytest.mark.parametrize("suffix", [".txt", ".mp4", ".avi", ".bin", ""])
@pytest.mark.parametrize("kind", ["text", "pdf", "empty", "random", "png", "jpg", "bmp", "srt"])
def test_what_is_no_video_is_refused_whatever_its_name(tmp_path, suffix, kind):
    path = tmp_path / f"notes{suffix}"
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    if kind == "text":
        path.write_text("Buy milk, bread and butter.\n" * 100)
    elif kind == "pdf":
        write_pdf(path)
    elif kind == "empty":
        path.touch()
    elif kind == "random":
        path.write_bytes(np.random.default_rng(1).integers(0, 256, 100_000, np.uint8).tobytes())
    elif kind == "srt":
        path.write_text("1\n00:00:01,000 --> 00:00:02,000\nHello\n\n" * 9)
    else:
        path.write_bytes(cv2.imencode(f".{kind}", image)[1].tobytes())
    refused(path, "not a video|no frame can be decoded|there is no video")


@pytest.fixture
def server():
    with serve() as httpd:
        yield httpd


@pytest.mark.parametrize("name", ["v.mp4", "v.m3u8", "v.mpd", "v.sdp", "v.ffconcat"])
@pytest.mark.parametrize("kind", PLAYLISTS)
def test_a_list_of_videos_is_refused_and_leads_to_no_other_file(tmp_path, server, kind, name):
    target = encode(tmp_path / "other.ts", 30)
    server.pages["/other.ts"] = target.read_bytes()
    assert len(list(open_file(target).frames())) == 30
    for address in ("other.ts", target, f"file:{target}", f"{server.address}/other.ts"):
        path = tmp_path / name
        path.write_text(PLAYLISTS[kind].format(target=address))
        refused(path)
    assert server.asked == []


def test_an_external_reference_of_a_movie_leads_to_no_other_file(tmp_path):
    """The picture of a QuickTime file may lie in another one, which its reference names."""
    target = encode(tmp_path / "other.mov", 30, "mjpeg", pix_fmt="yuvj420p")
    record = bytearray(150)
    record[10:12] = b"\x01v"
    name = str(target).encode()
    record += struct.pack(">HH", 2, len(name)) + name + b"\0" * (len(name) % 2) + b"\xff\xff\0\0"
    entry = struct.pack(">I4sI", len(record) + 12, b"alis", 0) + bytes(record)

    def refer(kind, box):
        return struct.pack(">II", 0, 1) + entry if kind == b"dref" else box

    data = edit_boxes(target.read_bytes(), refer)
    data = data.replace(data[data.index(b"mdat") : data.index(b"moov") - 4], b"mdat")
    data = struct.pack(">I4s", 8, b"free") + data
    path = tmp_path / "v.mov"
    path.write_bytes(data)
    refused(path, "no frame can be decoded|there is no video|not a video")


def edit_boxes(data, edit):
    """Like `edit_mp4`, also in the box that tells where the data are."""

    def inner(kind, box):
        return edit_mp4(box, edit) if kind == b"dinf" else edit(kind, box)

    return edit_mp4(data, inner)


def test_sound_alone_is_no_video(tmp_path):
    path = tmp_path / "v.mp4"
    with av.open(str(path), "w") as file:
        for packet in silence(file, 1):
            file.mux(packet)
    refused(path, "there is no video in it$")


def with_cover(kind, box):
    """An edit of an MP4 file: a cover picture comes before its tracks."""
    if kind != b"mvhd":
        return box
    cover = cv2.imencode(".jpg", np.full((64, 64, 3), 200, np.uint8))[1].tobytes()

    def pack(name, content):
        return struct.pack(">I4s", len(content) + 8, name) + content

    items = pack(b"ilst", pack(b"covr", pack(b"data", struct.pack(">II", 13, 0) + cover)))
    handler = pack(b"hdlr", b"\0" * 8 + b"mdirappl" + b"\0" * 9)
    return box + pack(b"udta", pack(b"meta", b"\0" * 4 + handler + items))


def add_cover(path):
    data = bytearray(edit_mp4(path.read_bytes(), with_cover))
    struct.pack_into(">I", data, data.index(b"mvhd") - 4, 108)  # the cover is a box of its own
    path.write_bytes(data)


def test_a_cover_picture_before_the_video_is_not_taken_for_it(tmp_path):
    path = encode(tmp_path / "v.mp4", 30)
    add_cover(path)
    with av.open(str(path)) as file:
        assert len(file.streams.video) == 2 and file.streams.video[0].frames <= 1
    video = open_file(path)
    assert [number for _, number in shown(video)] == pytest.approx(range(30), abs=0.6)
    assert video.num_frames == 30 and video.damage is None and video.duration == 1.2


def test_a_cover_picture_alone_is_no_video(tmp_path):
    path = encode(tmp_path / "v.mp4", 30)
    add_cover(path)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"trak", b"free"))
    refused(path, "only a cover picture$")


def test_a_video_whose_frames_are_all_damaged_names_its_codec(tmp_path):
    path = encode(tmp_path / "v.avi", 3, "mpeg4")
    for place, size in packet_places(path):
        overwrite(path, place, size, 0x55)
    refused(path, "no frame can be decoded, its codec is mpeg4$")


def test_a_codec_without_a_decoder_is_named(tmp_path):
    path = encode(tmp_path / "v.avi", 3, "mpeg4")
    path.write_bytes(path.read_bytes().replace(b"FMP4", b"XYZW").replace(b"mp4v", b"XYZW"))
    refused(path, "there is no decoder for its codec|there is no video in it")


def test_a_file_that_is_not_there_is_not_found(tmp_path):
    (tmp_path / "self.mp4").symlink_to("self.mp4")
    (tmp_path / "folder.mp4").mkdir()
    for name in ("none.mp4", "self.mp4", "folder.mp4", "no/such/folder.mp4", "%03d.mp4"):
        with pytest.raises(FileError, match="no such file"):
            open_file(tmp_path / name)


def fail_with(code):
    """A function of a library that raises an error of the system."""

    def fail(name, **_):
        raise OSError(code, os.strerror(code), name)

    return fail


def test_a_file_that_may_not_be_read_is_tried_again(tmp_path, monkeypatch):
    path = encode(tmp_path / "v.avi", 3, "mpeg4")
    monkeypatch.setattr(av, "open", fail_with(errno.EACCES))
    with pytest.raises(TransientReadError, match="v.avi: Permission denied$"):
        open_file(path)


def test_an_input_output_error_is_a_fault_of_the_file_only_if_the_disk_gives_its_bytes(
    tmp_path, monkeypatch
):
    path = encode(tmp_path / "v.avi", 3, "mpeg4")
    monkeypatch.setattr(av, "open", fail_with(errno.EIO))
    with pytest.raises(DataError, match="v.avi: not a video") as error:
        open_file(path)
    assert not isinstance(error.value, TransientReadError)
    monkeypatch.setattr(Path, "read_bytes", fail_with(errno.EIO))
    with pytest.raises(TransientReadError, match="v.avi: Input/output error$"):
        open_file(path)


def test_a_folder_that_cannot_be_searched_is_no_fault_of_the_file(tmp_path, monkeypatch):
    path = encode(tmp_path / "v.avi", 3, "mpeg4")

    def fail(self, **_):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "is_file", fail)
    with pytest.raises(TransientReadError, match="v.avi: Permission denied$"):
        open_file(path)


def test_a_disk_that_fails_on_the_way_is_no_fault_of_the_file(tmp_path, monkeypatch):
    video = open_file(encode(tmp_path / "v.avi", 30, "mpeg4"))
    packets = Decoder._packets

    def fail(self):
        for number, packet in enumerate(packets(self)):
            if number == 20:
                raise av.error.OSError(errno.EIO, "Input/output error")
            yield packet

    monkeypatch.setattr(Decoder, "_packets", fail)
    with pytest.raises(TransientReadError, match="v.avi: Input/output error$"):
        list(video.frames()), list(video.frames())


@pytest.mark.parametrize(
    "name",
    [
        "a b.avi",
        "300+_Yards!!!_(1)[2].avi",
        "100%d %03d.avi",
        "é.avi",
        "a:b.avi",
        "http:x.avi",
        "concat:a|b.avi",
        "-x.avi",
        'it\'s "n".avi',
        "a\nb.avi",
        os.fsdecode(b"not utf-8 \xff.avi"),
        "~.avi",
    ],
)
def test_a_file_may_have_any_name(tmp_path, monkeypatch, name):
    video = encode(tmp_path / "plain.avi", 3, "mpeg4").rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert len(list(open_file(video.relative_to(tmp_path)).frames())) == 3
    assert len(list(open_file(video).frames())) == 3
    video.write_text("no video")
    with pytest.raises(DataError) as caught:
        open_file(video)
    assert "\n" not in str(caught.value)


def test_texts_of_a_file_need_not_be_utf8(tmp_path):
    path = encode(tmp_path / "v.avi", 3, "mpeg4")
    data = path.read_bytes()
    text = b"ISFT" + struct.pack("<I", 14)
    place = data.index(b"ISFT") + 8
    path.write_bytes(data[:place] + b"\xe9\xff" + data[place + 2 :])
    assert text[:4] in data
    assert len(list(open_file(path).frames())) == 3
