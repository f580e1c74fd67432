"""What the protocol of frame sources shares."""

from pathlib import Path

import pytest

from dataloaders.frame_source import display_name


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("rtsp://user:secret@host/live", "rtsp://host/live"),
        ("rtsp://user:se/cr@et@host:554/live", "rtsp://host:554/live"),
        ("rtsp://secret@host", "rtsp://host"),
        ("rtsp://u@d.com:SECRET@host:554/x", "rtsp://host:554/x"),
        ("rtsp://u:SEC@RET@h/x", "rtsp://h/x"),
        ("rtsp://u:SEC?RET@h/x", "rtsp://h/x"),
        ("rtsp://u:SEC#RET@h/x", "rtsp://h/x"),
        ("rtsp://u:SEC://RET@h/x", "rtsp://h/x"),
        ("rtsp://user:1/SECRET@127.0.0.1:1/x", "rtsp://127.0.0.1:1/x"),
        ("http:/u:SECRET@h/x", "h/x"),
        ("user:SECRET@127.0.0.1/x", "127.0.0.1/x"),
        ("http://h/v?user=me&password=SECRET&x=1", "http://h/v?user=me&password=...&x=1"),
        ("http://h/v?PWD=SE@CRET&x=1", "http://h/v?PWD=...&x=1"),
        ("http://u:p@h/v?access_token=SECRET#t", "http://h/v?access_token=...#t"),
        ("http://h/v?api_key=SECRET", "http://h/v?api_key=..."),
        ("rtsp://host:554/live", "rtsp://host:554/live"),
        ("0", "0"),
        (Path("a:b@c.avi"), "a:b@c.avi"),
        (Path("a\nb.avi"), "a\\nb.avi"),
        ("http://h/\x1b[31mred", "http://h/\\x1b[31mred"),
    ],
)
def test_no_address_is_shown_with_its_password(source, name):
    assert display_name(source) == name
