import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from browser import console_errors, open_page, set_screen
from conftest import data_settings, write_dataset, write_video

from dataloaders import preprocess
from dataloaders.copies import IDENTICAL, Copy
from dataloaders.frames import PreparedFrames, SkippedVideo, append_damaged, write_skipped
from dataloaders.page import choose_recordings, divide_pictures, write_data_page
from dataloaders.records import VideoRecord, frame_name
from dataloaders.video import Damage

HOSTILE = {
    "class": "\"><img src=x onerror=document.title='class'>",
    "video": "'><svg onload=document.title='video'>{{ 7 * 7 }}",
    "group": "</bdi><script>document.title='group'<!-- &lt;",
    "source": "a/</script><script>document.title='source'</script>\u202e\u05d0\u05d1.avi",
    "data set": "</title><style>*{display:none}",
    "reason": "<iframe src=javascript:alert(1)>",
}


class Elements(HTMLParser):
    """The elements and the text of a page."""

    def __init__(self, path):
        super().__init__()
        self.found = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data

    def of(self, tag):
        return [attributes for found, attributes in self.found if found == tag]


def write_frames(folder, count, seed):
    """Frames in which a light square moves."""
    folder.mkdir(parents=True)
    background = np.random.default_rng(seed).integers(60, 120, 3)
    for number in range(1, count + 1):
        frame = np.full((128, 171, 3), background, np.uint8)
        frame[40:70, 6 * number : 6 * number + 30] = 240
        cv2.imwrite(str(folder / frame_name(number)), frame)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """The page of a data set with names that would harm a page without escaping."""
    folder = tmp_path_factory.mktemp("hostile")
    settings = replace(data_settings(folder / "gone", folder), name=HOSTILE["data set"])
    records = []
    for number in range(14):
        class_name = (HOSTILE["class"], "Tanz ダンス رقص", "Solo")[number // 6]
        video = f"{HOSTILE['video']}{number}"
        group = f"{HOSTILE['group']}{number % 5 if number < 12 else 2}"
        split = ("train", "train", "val", "test")[number % 4]
        source = f"{number}{HOSTILE['source']}"
        record = VideoRecord(split, class_name, video, group, source, 16, 1.0, split)
        write_frames(record.folder(settings.frames_dir), 16, number)
        records.append(record)
    copies = [Copy(records[1].source, records[0].source, IDENTICAL)]
    write_skipped(settings.frames_dir, [SkippedVideo(HOSTILE["source"], 1.0, HOSTILE["reason"])])
    append_damaged(settings.frames_dir, records[2].source, Damage(3, 20, 1.5))
    frames = PreparedFrames(settings.frames_dir, records, copies)
    return write_data_page(settings, frames, records, protocol="random")


def test_names_do_no_harm(hostile):
    page = Elements(hostile)
    tags = {tag for tag, _ in page.found}
    assert tags == {
        *("html", "head", "meta", "title", "link", "style", "body", "header", "main", "section"),
        *("nav", "a", "h1", "h2", "h3", "p", "br", "b", "code", "bdi", "span", "ul", "li", "img"),
        *("dl", "div", "dt", "dd", "table", "caption", "thead", "tbody", "tr", "th", "td"),
        *("details", "summary", "label", "input", "output", "button", "script"),
        *("figure", "figcaption", "svg", "g", "path", "rect", "text"),
    }
    assert len(page.of("script")) == len(page.of("style")) == 1
    names = {name for _, attributes in page.found for name in attributes}
    assert [name for name in names if name.startswith("on")] == []
    assert {image["src"].partition(",")[0] for image in page.of("img")} == {
        "data:image/jpeg;base64"
    }
    assert {link["href"][0] for link in page.of("a")} == {"#"}
    assert [link["href"] for link in page.of("link")] == ["data:,"]
    for name in HOSTILE.values():
        assert name in page.text
    assert f"2 of group {HOSTILE['group']}2" in page.text


def test_what_the_page_says(hostile):
    text = " ".join(Elements(hostile).text.split())
    assert "The split is --split random." in text
    assert "of which 14 are not there now" in text
    assert "1 video shows the same as another one (1 identical)." in text
    assert "Skipped videos (1), which cannot be decoded" in text
    assert "Damaged videos (1), which are used as far as they can be decoded" in text
    assert f"2{HOSTILE['source']}3201.50" in text  # 3 of 20 frames, the first at 1.5 s


def videos_of(groups):
    """Videos whose groups have such sizes."""
    records = []
    for name, size in groups.items():
        for number in range(size):
            records.append(VideoRecord("train", "Run", f"{name}{number}", name, "", 16))
    return records


@pytest.mark.parametrize(
    ("groups", "count", "expected"),
    [
        ({"a": 3, "b": 1, "c": 2}, 3, ["a0", "b0", "c0"]),
        ({"a": 3, "b": 1, "c": 2}, 5, ["a0", "b0", "c0", "a1", "c1"]),
        ({"a": 2}, 6, ["a0", "a1"]),
        (dict.fromkeys("abcdefgh", 2), 2, ["c0", "g0"]),
    ],
)
def test_the_videos_of_a_strip_are_of_several_recordings(groups, count, expected):
    chosen = choose_recordings(videos_of(groups), count)
    assert [record.video for record in chosen] == expected


@pytest.mark.parametrize(
    ("num_classes", "expected"),
    [(1, (6, 3)), (101, (6, 3)), (200, (4, 3)), (400, (6, 1)), (1000, (2, 1)), (9999, (1, 1))],
)
def test_the_more_classes_the_fewer_pictures_of_each(num_classes, expected):
    assert divide_pictures(num_classes) == expected


def page_of(output):
    """The page that a start names, in one line."""
    (line,) = [line for line in output.splitlines() if "data.html" in line]
    return Path(line.partition("file://")[2])


def test_a_page_of_frames_that_are_there_extracts_nothing(project, tmp_path, monkeypatch):
    project.set_path("own", write_dataset(tmp_path / "videos", ("Jump", "Run"), 5))
    first = project.run("-m", "dataloaders.preprocess", "own", "--page").stdout
    page = page_of(first)
    assert page.parent == project.folder / "data" / "own_frames" / "16x4_171x128"
    elements = Elements(page)
    assert "Data set own" in " ".join(elements.text.split())
    assert len(elements.of("img")) == 2 * 5 * 3
    page.unlink()
    monkeypatch.setattr(preprocess, "extract_all", None)
    again = project.run("-m", "dataloaders.preprocess", "own", "--page", "--split", "random")
    assert page_of(again.stdout) == page
    assert "--split random" in Elements(page).text


def test_a_data_set_without_a_split_has_a_page(project, tmp_path):
    root = tmp_path / "videos"
    write_video(root / "Jump" / "a.avi", 20)
    (root / "Jump" / "b.avi").write_bytes(b"no video")
    project.set_path("own", root)
    output = project.run("-m", "dataloaders.preprocess", "own", "--page").stdout
    text = " ".join(Elements(page_of(output)).text.split())
    assert "There is no split yet" in text
    assert "b.avi: not a video" in text


def test_a_dry_run_makes_no_page(mistake):
    line = mistake(preprocess, "demo", "--dry-run", "--page")
    assert line.startswith("--dry-run writes nothing, so it makes no page")


def test_a_folder_that_cannot_be_written_is_named(project, tmp_path):
    project.set_path("own", write_dataset(tmp_path / "videos", ("Jump", "Run"), 3))
    frames_dir = project.folder / "data" / "own_frames" / "16x4_171x128"
    (frames_dir / "data.html").mkdir(parents=True)
    refused = project.run("-m", "dataloaders.preprocess", "own", "--page", ok=False)
    (line,) = [line for line in refused.stderr.splitlines() if "data.html" in line]
    assert "data.html: " in line


@pytest.mark.slow
def test_a_person_looks_at_the_data(hostile):
    with open_page(hostile) as page:
        assert page.title == f"Data set {HOSTILE['data set']}"
        rows = page.find_elements("css selector", "#class-table tbody tr")
        cards = page.find_elements("css selector", "details.class")
        assert len(rows) == len(cards) == 3

        # A filter leaves one class.
        page.find_element("id", "filter").send_keys("ダンス")
        assert [row.is_displayed() for row in rows] == [False, False, True]
        assert [card.is_displayed() for card in cards] == [False, False, True]
        assert page.find_element("id", "filtered").text == "1 of 3 classes"

        # The pictures are folded, and a link to the class opens them again.
        page.find_element("id", "fold").click()
        picture = cards[2].find_element("tag name", "img")
        assert not picture.is_displayed()
        rows[2].find_element("tag name", "a").click()
        wait_for(picture.is_displayed)
        wait_for(lambda: picture.get_property("naturalWidth") == 128)

        # By the keyboard alone the table sorts.
        page.find_element("id", "filter").clear()
        page.find_element("id", "filter").send_keys("a")
        header = page.find_element("css selector", "#class-table th button")
        header.send_keys("\ue007")
        header.send_keys("\ue007")
        names = page.find_elements("css selector", "#class-table tbody th")
        shown = [name.text for name in names if name.is_displayed()]
        assert shown == ["Tanz ダンス رقص", HOSTILE["class"]]

        # Nothing is wider than a phone, and the colours follow the person's.
        light = page.execute_script("return getComputedStyle(document.body).backgroundColor")
        for width in (400, 1000, 1900):
            set_screen(page, width, 900, is_dark=True)
            assert page.execute_script("return document.documentElement.scrollWidth") <= width
        dark = page.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert sum(map(int, dark[4:-1].split(","))) < sum(map(int, light[4:-1].split(","))) / 4

        # What is folded is printed too.
        page.execute_cdp_cmd("Page.printToPDF", {})
        folded = page.find_elements("css selector", "details:not([open])")
        assert folded == []
        assert console_errors(page) == []


@pytest.mark.slow
def test_ten_thousand_videos_open_in_a_second(tmp_path):
    settings = data_settings(tmp_path / "gone", tmp_path)
    write_frames(tmp_path / "frames", 16, 0)
    records = []
    for number in range(10_000):
        name = f"v{number}"
        records.append(VideoRecord("train", f"c{number % 600}", "a", name, name, 16, 1.0, "train"))
    for record in records[:600]:  # the videos of a class share their frames
        folder = record.folder(settings.frames_dir)
        folder.parent.mkdir(parents=True)
        folder.symlink_to(tmp_path / "frames")
    copies = [Copy(f"v{number}", f"v{number + 1}", IDENTICAL) for number in range(0, 9000, 3)]
    frames = PreparedFrames(settings.frames_dir, records, copies)
    path = write_data_page(settings, frames, records, protocol="group")
    assert path.stat().st_size < 20e6
    loaded = "return performance.getEntriesByType('navigation')[0].loadEventEnd"
    with open_page(path) as page:
        times = [page.execute_script(loaded)]
        for _ in range(2):  # other programs may take the time of one
            page.refresh()
            times.append(page.execute_script(loaded))
        assert 0 < min(times) < 1000  # milliseconds
        row = page.find_element("css selector", "#class-table tbody tr:last-child")
        assert not row.is_displayed()  # the table of many classes is folded
        page.find_element("id", "filter").send_keys(
            row.find_element("tag name", "th").get_property("textContent")
        )
        assert row.is_displayed()
        row.find_element("tag name", "a").click()
        picture = page.find_element("css selector", "details.class:not([hidden]) img")
        wait_for(picture.is_displayed)


def wait_for(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
