import csv
import json
import shutil
import time
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import numpy as np
import pytest
from browser import console_errors, open_page, set_screen
from conftest import data_settings, make_checkpoint, write_video
from tiny import Tiny

from dataloaders import preprocess
from dataloaders.tables import list_table
from dataloaders.video_writer import VideoWriter
from engine.checkpoint import save_checkpoint
from recognition.curve import Curve
from recognition.jobs import Job
from recognition.page import Page
from recognition.results import Labels

HOSTILE = "</script><script>document.title = 'harmed'</script>"
CLASSES = ["=1+1", HOSTILE, 'a "quoted", name', "{{ 7 * 7 }}<!--"]
NAMES = ["50% #1?.mp4", 'a, "b"<i>.mp4', "é漢 %41&amp;.mp4"]
SECONDS = 12


class Texts(HTMLParser):
    """The text of each element with an id, and of the scripts, as a browser reads a page."""

    def __init__(self, file):
        super().__init__()
        self.by_id, self.tags, self._id = {}, [], None
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self._id = dict(attributes).get("id")

    def handle_data(self, data):
        if self._id is not None:
            self.by_id[self._id] = self.by_id.get(self._id, "") + data

    def handle_endtag(self, tag):
        self._id = None


def contents(file):
    """What a page knows of its start and of each video."""
    texts = Texts(file)
    facts = json.loads(texts.by_id["facts"])
    return facts, [json.loads(line) for line in texts.by_id["data"].split("\n") if line]


def event(start, end, label, probability=0.5):
    return {"start": start, "end": end, "label": label, "probability": probability}


def report(classes=CLASSES):
    """Four events of the first two classes in turn, the second of which is the least probable."""
    ends = np.linspace(0, SECONDS, 5).tolist()
    events = [
        event(start, end, classes[number % 2], (number + 1) / 5)
        for number, (start, end) in enumerate(zip(ends, ends[1:], strict=False))
    ]
    top = [{"label": name, "probability": 0.4 - i / 10} for i, name in enumerate(classes[:3])]
    return {"top_k": top, "events": events, "frames": 100}


def curve(num_classes):
    found = Curve()
    for start in range(SECONDS):
        probabilities = np.full(num_classes, 0.1, np.float32)
        probabilities[start % 2] = 0.7
        found.add(start, start + 1, probabilities)
    return found


def write(folder, jobs, classes=CLASSES, *, problems=None, threshold=0.0, with_videos=True):
    """Write the page of jobs in each of which the same is found, but where a job has a problem."""
    labels = Labels(classes, 5, threshold)
    folder.mkdir(parents=True, exist_ok=True)
    with Page(folder, jobs, labels, with_videos=with_videos, model=f"Tiny, {classes[1]}") as page:
        for job in jobs:
            problem = (problems or {}).get(job.source)
            found = (report(classes), curve(len(classes)))
            page.add(job, *(found if problem is None else (None, None)), problem=problem)
    return page.file


def jobs_of(folder, names=NAMES):
    return [Job(folder / "videos" / name, folder / "output" / Path(name).stem) for name in names]


def test_links_are_relative_and_lead_to_the_files_whatever_their_names(tmp_path):
    facts, videos = contents(write(tmp_path / "output", jobs_of(tmp_path)))
    assert facts["folder"] == str(tmp_path / "videos")
    assert [video["path"] for video in videos] == NAMES
    stems = [Path(name).stem for name in NAMES]
    assert [unquote(video["src"]) for video in videos] == [f"{s}_annotated.mp4" for s in stems]
    assert [unquote(video["json"]) for video in videos] == [f"{stem}.json" for stem in stems]
    assert not set("".join(video["src"] for video in videos)) & set('#? "<>&:\n')
    assert len({video["group"] for video in videos}) == 3

    _, videos = contents(write(tmp_path / "output", jobs_of(tmp_path), with_videos=False))
    assert [unquote(video["src"]) for video in videos] == [f"../videos/{name}" for name in NAMES]
    assert {video["json"] for video in videos} == {None}


def test_names_of_classes_and_files_cannot_leave_the_script(tmp_path):
    jobs = jobs_of(tmp_path)
    file = write(tmp_path / "output", jobs, problems={jobs[0].source: HOSTILE})
    facts, videos = contents(file)
    assert facts["classes"] == CLASSES
    assert videos[0]["problem"] == HOSTILE
    assert videos[1]["name"].endswith('a, "b"<i>.mp4')
    harmless = write(tmp_path / "other", jobs_of(tmp_path, ["a.mp4"]), ["a", "b", "c"])
    assert Counter(Texts(file).tags) == Counter(Texts(harmless).tags)


def test_windows_and_curves_have_the_labels_of_the_video(tmp_path):
    (job,) = jobs_of(tmp_path, ["a.mp4"])
    facts, (video,) = contents(write(tmp_path / "output", [job]))
    assert facts["colours"][:2] == ["#1e78c8", "#f08228"]  # as the video has them, blue and orange
    assert video["duration"] == SECONDS
    assert video["labels"] == [0, 1] * 6
    assert video["top"] == [[0, 0.4], [1, 0.3], [2, 0.2]]
    assert video["curves"] == [[0.7, 0.1] * 6, [0.1, 0.7] * 6, [0.1] * 12]
    assert video["events"][1] == [3, 6, 1, 0.4]

    _, (video,) = contents(write(tmp_path / "output", [job], threshold=0.8))
    assert video["labels"] == [None] * 12


def test_a_video_that_failed_is_listed_with_its_reason(tmp_path):
    jobs = jobs_of(tmp_path, ["a.mp4", "b.mp4"])
    _, videos = contents(write(tmp_path / "output", jobs, problems={jobs[0].source: "no video"}))
    assert [video["problem"] for video in videos] == ["no video", None]
    assert "top" not in videos[0] and "top" in videos[1]


def test_of_a_stream_the_page_shows_the_recording_and_no_password(tmp_path):
    job = Job("rtsp://me:secret@camera/1", tmp_path / "stream_camera_1")
    file = write(tmp_path, [job])
    _, (video,) = contents(file)
    assert video["name"] == video["path"] == "rtsp://camera/1"
    assert video["src"] == "stream_camera_1_annotated.mp4"
    assert "secret" not in file.read_text()
    _, (video,) = contents(write(tmp_path, [job], with_videos=False))
    assert video["src"] is None


def test_stopped_in_the_first_video_it_leaves_the_page_of_the_start_before(tmp_path):
    jobs = jobs_of(tmp_path, ["a.mp4"])
    before = write(tmp_path, jobs).read_bytes()
    with (
        pytest.raises(KeyboardInterrupt),
        Page(tmp_path, jobs, Labels(CLASSES, 5, 0.0), with_videos=True, model="") as page,
    ):
        raise KeyboardInterrupt
    assert page.file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]


def test_a_broken_network_breaks_no_page(tmp_path):
    (job,) = jobs_of(tmp_path, ["a.mp4"])
    broken = Curve()
    broken.add(0, 1, np.full(4, np.nan, np.float32))
    with Page(tmp_path, [job], Labels(CLASSES, 5, 0.0), with_videos=True, model="") as page:
        page.add(
            job, report() | {"events": [event(0, 1, CLASSES[0], np.nan)]}, broken, problem=None
        )
    assert "NaN" not in Texts(page.file).by_id["data"]


def test_of_many_videos_a_page_has_fewer_points_each(tmp_path):
    jobs = jobs_of(tmp_path, [f"{number}.mp4" for number in range(10_000)])
    long = Curve()
    for start in range(3000):
        long.add(start, start + 1, np.full(4, 0.25, np.float32))
    with Page(tmp_path, jobs, Labels(CLASSES, 5, 0.0), with_videos=True, model="") as page:
        page.add(jobs[0], report(), long, problem=None)
    _, (video,) = contents(page.file)
    assert len(video["starts"]) == len(video["ends"]) == len(video["curves"][0]) <= 40
    assert video["ends"][-1] == video["duration"] == 3000


@pytest.fixture
def checkpoint(tmp_path):
    file = tmp_path / "tiny.pth"
    classes = ["jump", "run", "walk"]
    model = Tiny(3)
    content = make_checkpoint(model="Tiny", classes=classes, state_dict=model.state_dict())
    save_checkpoint(content, file)
    return file


def test_a_start_writes_the_page_of_its_videos(project, checkpoint):
    for name in "ab":
        write_video(project.folder / "videos" / f"{name}.avi", 200)
    (project.folder / "videos" / "c.mp4").write_text("no video")
    flags = ("videos", "--no-video", "--checkpoint", checkpoint)
    done = project.run("inference.py", *flags, ok=False)
    output = project.folder / "output"
    assert done.stdout.splitlines()[-1] == "all videos: output/index.html"
    assert not list(output.glob("tmp*"))
    facts, videos = contents(output / "index.html")
    assert [(video["name"], video["problem"] is None) for video in videos] == [
        ("videos/a.avi", True),
        ("videos/b.avi", True),
        ("videos/c.mp4", False),
    ]
    with open(output / "events.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    found = [
        (video["name"], str(start), str(end), facts["classes"][label])
        for video in videos
        for start, end, label, _ in video.get("events", [])
    ]
    assert found == [(row["video"], row["start"], row["end"], row["label"]) for row in rows]
    assert len(found) >= 2


# What a person does, in headless Chromium


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A start over three videos with hostile names, whose annotated copies can be played."""
    folder = tmp_path_factory.mktemp("start")
    jobs = jobs_of(folder)
    file = write(folder / "output", jobs)
    (folder / "videos").mkdir()
    with VideoWriter(folder / "a.mp4", size=(160, 120), fps=25) as writer:
        for number in range(SECONDS * 25):
            writer.write(np.full((120, 160, 3), number % 256, np.uint8), number / 25)
    for job in jobs:
        shutil.copy(folder / "a.mp4", job.source)
        shutil.copy(folder / "a.mp4", job.annotated)
        job.json.write_text("{}")
    return SimpleNamespace(folder=folder, page=file)


class Person:
    """Does in a page what a person does."""

    def __init__(self, page):
        self.page = page

    def all(self, selector):
        return self.page.find_elements("css selector", selector)

    def one(self, selector):
        return self.page.find_element("css selector", selector)

    def run(self, script, *arguments):
        return self.page.execute_script(script, *arguments)

    def wait(self, script):
        """Wait until an expression is true."""
        until = time.monotonic() + 10
        while not self.run(f"return {script}"):
            assert time.monotonic() < until, script
            time.sleep(0.05)

    def write(self, field, text):
        field.clear()
        field.send_keys(text + "\n")

    def drag(self, element, pixels):
        from selenium.webdriver import ActionChains

        hand = ActionChains(self.page).click_and_hold(element)
        for _ in range(3):
            hand.move_by_offset(pixels // 3, 0)
        hand.release().perform()

    def labels(self):
        return [field.get_attribute("value") for field in self.all("#events .label")]

    def probabilities(self):
        return [cell.text for cell in self.all("#events tbody td.number")]


@pytest.fixture
def person(start, tmp_path):
    (tmp_path / "downloads").mkdir()
    with open_page(start.page, downloads=tmp_path / "downloads") as page:
        person = Person(page)
        person.wait("document.querySelector('video').readyState > 0")
        yield person
        assert console_errors(page) == []
        assert page.title == "Recognised actions"
        page.execute_script("window.onbeforeunload = null; numSaved = past.length; numRestored = 0")


@pytest.mark.slow
def test_a_click_moves_the_player_and_a_row_plays_its_event(person):
    player = "document.querySelector('video')"
    person.all("#drawing .event")[2].click()
    person.wait(f"{player}.currentTime > 7 && {player}.currentTime < 8")  # 6 to 9: its middle
    assert person.all("#events tbody tr")[2].get_attribute("aria-current") == "true"
    person.all("#events .play")[3].click()
    person.wait(f"!{player}.paused")
    person.run(f"{player}.currentTime = 11.9")
    person.wait(f"{player}.paused")
    person.all("#events .play")[1].click()
    person.run(f"{player}.playbackRate = 4")
    person.wait(f"{player}.currentTime > 3.1")
    person.wait(f"{player}.paused")
    assert person.run(f"return {player}.currentTime") == pytest.approx(6)

    person.one("#next-video").click()
    assert person.one("#name").text.endswith('a, "b"<i>.mp4')
    person.wait(f"{player}.readyState > 0 && {player}.duration > 11")


@pytest.mark.slow
def test_the_table_filters_and_sorts(person):
    assert person.labels() == [CLASSES[0], CLASSES[1]] * 2
    person.one("th[data-key=probability] button").click()
    person.one("th[data-key=probability] button").click()
    assert person.probabilities() == ["80 %", "60 %", "40 %", "20 %"]
    person.write(person.one("#filter-low"), "50")
    assert person.probabilities() == ["80 %", "60 %"]
    for option in person.all("#filter-label option"):
        if option.text == f"{CLASSES[0]} (2)":
            option.click()
    assert person.labels() == [CLASSES[0]] and person.probabilities() == ["60 %"]
    person.all("#scope option")[1].click()
    assert person.labels() == [CLASSES[0]] * 3
    person.all("#events .play")[2].click()
    assert person.one("#name").text.endswith("é漢 %41&amp;.mp4")


@pytest.mark.slow
def test_corrections_come_back_as_a_table_that_preprocesses(person, start, tmp_path):
    person.write(person.all("#events .label")[0], CLASSES[2])
    person.write(person.all("#events .time")[0], "0:01.5")
    last = person.run("return eventsOf(chosen)[3].id")
    person.drag(person.one(f"#drawing [data-event='{last}'] [data-side=end]"), -60)
    person.run("seek(2)")
    person.one("#add").click()
    person.write(person.run("return document.activeElement"), "new, label")
    person.one("#next-video").click()
    person.write(person.all("#events .label")[0], CLASSES[2])
    person.write(person.all("#events .label")[1], "bad/label")
    person.all("#events .remove")[3].click()
    person.write(person.all("#events .label")[2], "new, label")
    assert "8 corrections are not saved" in person.run(
        "showState(); return document.getElementById('unsaved').textContent"
    )
    width = person.run("return fullWidth()")
    person.one("#save").click()
    file = tmp_path / "downloads" / "corrections.csv"
    until = time.monotonic() + 10
    while not file.is_file():
        assert time.monotonic() < until
        time.sleep(0.05)

    with open(file, newline="", encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
    assert list(rows[0]) == ["path", "label", "group", "start", "end"]
    assert {row["path"] for row in rows} == {str(start.folder / "videos" / n) for n in NAMES}
    found = [(row["label"], float(row["start"]), float(row["end"])) for row in rows]
    dragged = found[4][2]
    assert dragged == pytest.approx(12 - 60 * SECONDS / width, abs=0.1)
    assert found == [
        (CLASSES[2], 1.5, 3),
        ("new, label", 2, 4),
        (CLASSES[1], 3, 6),
        (f" {CLASSES[0]}", 6, 9),  # a space keeps spreadsheets from computing it
        (CLASSES[1], 9, dragged),
        (CLASSES[2], 0, 3),
        (CLASSES[1], 3, 6),
        ("new, label", 6, 9),
        *[(f" {CLASSES[0]}", 0, 3), (CLASSES[1], 3, 6)],
        *[(f" {CLASSES[0]}", 6, 9), (CLASSES[1], 9, 12)],
    ]

    text = file.read_text(encoding="utf-8").replace(HOSTILE, "script")  # it names no folder
    file.write_text(text, encoding="utf-8")
    videos = list_table(file)
    assert len(videos) == 12 and len({video.group for video in videos}) == 3
    assert Counter(video.class_name for video in videos)["=1+1"] == 3
    records = preprocess.preprocess(data_settings(file, tmp_path / "frames")).records
    assert len(records) == 12 and all(record.frames for record in records)


@pytest.mark.slow
def test_corrections_survive_a_reload_and_can_be_undone(person):
    person.all("#events .remove")[0].click()
    person.write(person.all("#events .label")[0], CLASSES[3])
    person.one("#checked").click()
    assert person.run(
        "const e = new Event('beforeunload', {cancelable: true}); dispatchEvent(e); return e.defaultPrevented"
    )
    person.run("numSaved = past.length")  # Chromium would ask
    person.page.refresh()
    assert person.labels() == [CLASSES[3], CLASSES[0], CLASSES[1]]
    assert person.one("#checked").is_selected()
    assert "2 corrections are not saved yet." in person.one("#unsaved").text
    person.all("#events .remove")[0].click()
    person.one("#undo").click()
    assert person.labels() == [CLASSES[3], CLASSES[0], CLASSES[1]]
    person.one("#reset").click()
    assert person.labels() == [CLASSES[0], CLASSES[1]] * 2
    person.one("#checked").click()


@pytest.mark.slow
def test_corrections_that_no_table_has_count_as_not_saved(person):
    person.all("#events .remove")[0].click()
    person.all("#events .remove")[0].click()
    person.all("#save-scope option")[1].click()
    person.one("#save").click()
    assert person.one("#unsaved").text == "2 corrections are not saved yet."
    left_out = "Not in it, because not checked: 1 corrected video."
    assert person.one("#saved").text == f"corrections.csv has 0 events of 0 videos. {left_out}"

    person.one("#checked").click()
    person.one("#save").click()
    assert person.one("#unsaved").text == "No corrections to save."
    assert person.one("#saved").text.startswith("corrections.csv has 2 events of 1 video.")
    person.one("#undo").click()
    person.all("#events .remove")[0].click()
    assert person.one("#unsaved").text == "2 corrections are not saved yet."
    person.one("#undo").click()
    person.one("#undo").click()
    assert len(person.labels()) == 4 and person.one("#unsaved").text.startswith("2 corrections")
    person.one("#checked").click()


@pytest.mark.slow
def test_a_video_that_loses_all_events_needs_background_to_be_scored(person):
    for _ in range(4):
        person.all("#events .remove")[0].click()
    person.one("#save").click()
    note = (
        'No row names 1 corrected video without an event: write an event "background" to score it.'
    )
    assert note in person.one("#saved").text
    person.one("#add").click()
    person.write(person.run("return document.activeElement"), "background")
    person.one("#save").click()
    assert "No row names" not in person.one("#saved").text


@pytest.mark.slow
def test_the_list_names_files_with_odd_letters(tmp_path):
    names = ["a/b.mp4", "a/one\ntwo.mp4", "back\\slash.mp4"]
    with open_page(write(tmp_path / "output", jobs_of(tmp_path, names))) as page:
        found = [node.text for node in Person(page).all("#list .file")]
    assert found == ["b.mp4", "one two.mp4", "back\\slash.mp4"]


@pytest.mark.slow
def test_the_list_tells_files_of_one_name_apart(tmp_path):
    names = ["Up/1.mp4", "Down/1.mp4", "Down/2.mp4"]
    with open_page(write(tmp_path / "output", jobs_of(tmp_path, names))) as page:
        found = [node.text for node in Person(page).all("#list .file")]
    assert found == ["Up/1.mp4", "Down/1.mp4", "2.mp4"]


@pytest.mark.slow
def test_the_timeline_is_used_by_keys(person):
    timeline = person.one("#timeline")
    timeline.send_keys("\ue015\ue015")  # down
    assert person.run("return position") == 3
    timeline.send_keys("\ue014\ue014]")  # right
    assert person.run("return eventsOf(chosen)[1].end") == pytest.approx(3.2)
    timeline.send_keys("++")
    assert person.run("return zoom") == 4
    assert timeline.get_attribute("aria-valuetext").startswith("3.20 seconds")
    timeline.send_keys("\ue017")  # delete
    assert len(person.labels()) == 3


@pytest.mark.slow
def test_nothing_is_cut_off_on_a_phone_or_a_wide_screen(person):
    for width in (400, 1000, 1900):
        for is_dark in (False, True):
            set_screen(person.page, width, 900, is_dark)
            assert person.run("return document.documentElement.scrollWidth") == width
            cut_off = (
                "[...document.querySelectorAll('main *')].filter((node) =>"
                " !node.closest('.table, #timeline')"
                " && node.getBoundingClientRect().right > innerWidth + 1)"
                ".map((node) => node.outerHTML)"
            )
            assert person.run(f"return {cut_off}") == []
    nameless = person.run(
        "return [...document.querySelectorAll('button, input, select, video')].filter("
        "(node) => !(node.ariaLabel || node.textContent.trim() || node.labels?.length)).map((node) => node.outerHTML)"
    )
    assert nameless == []


@pytest.mark.slow
def test_a_video_that_browsers_cannot_play_says_why(tmp_path):
    write_video(tmp_path / "videos" / "a.avi", 50)
    jobs = jobs_of(tmp_path, ["a.avi", "gone.mp4", "failed.mp4"])
    problems = {jobs[2].source: HOSTILE}
    file = write(tmp_path / "output", jobs, problems=problems, with_videos=False)
    with open_page(file) as page:
        person = Person(page)
        person.wait("!document.getElementById('no-player').hidden")
        assert "a.avi cannot be played" in person.one("#no-player").text
        person.all("#events .play")[1].click()
        assert person.run("return position") == 3
        person.one("#next-video").click()
        person.wait("document.getElementById('no-player').textContent.startsWith('gone.mp4')")
        person.one("#next-video").click()
        assert person.one("#problem").text == HOSTILE
        assert not person.one("#result").is_displayed()
        assert page.title == "Recognised actions"


@pytest.mark.slow
def test_ten_thousand_videos_open_at_once(tmp_path):
    jobs = jobs_of(tmp_path, [f"v{number}.mp4" for number in range(10_000)])
    file = write(tmp_path / "output", jobs)
    with open_page(file) as page:
        person = Person(page)
        milliseconds = person.run("return performance.getEntriesByType('navigation')[0].duration")
        assert milliseconds < 5000  # a second where nothing else runs
        assert person.one("#list-count").text == "10000 of 10000 videos"
        assert len(person.all("*")) < 2000
        person.one("#list-text").send_keys("v9999")
        person.one("#list button").click()
        assert person.one("#name").text.endswith("v9999.mp4")
