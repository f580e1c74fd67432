"""Tables of events and of truth are read, and what is wrong in them is said in one line."""

import pytest
from conftest import write_video

from dataloaders.errors import DataError, FileError
from recognition.event_tables import Event, read_events, read_truth


@pytest.fixture
def table(tmp_path):
    """Write a table; gives its path."""

    def write(text, encoding="utf-8"):
        (tmp_path / "table.csv").write_text(text, encoding=encoding)
        return tmp_path / "table.csv"

    return write


def test_events_are_read_as_inference_writes_them(table):
    file = table('video,start,end,label,probability\n"a, b.mp4",0.0,1.44,Up,0.8045\nc,1,1,Up,1\n')
    assert read_events(file) == [
        Event("a, b.mp4", 0, 1.44, "Up", 0.8045),
        Event("c", 1, 1, "Up", 1),  # of a window to which no frame is nearest
    ]


@pytest.mark.parametrize(
    "text",
    [
        "video,start,end,label\na.mp4,0.5,2,run\na.mp4,1,3,jump rope\n",
        "Label,End,Start,Video\nrun,2,0.5,a.mp4\njump rope,3,1,a.mp4\n",
        "video;start;end;label\na.mp4;0.5;2;run\n\na.mp4; 1 ;3;jump rope\n",
        "video\tstart\tend\tlabel\na.mp4\t0.5\t2\trun\na.mp4\t1\t3\tjump rope\n",
        "video,start,end,label,note\r\na.mp4,0.5,2,run,\r\na.mp4,1,3,jump rope,why?\r\n",
        "path,label,group,start,end\na.mp4,run,g,0.5,2\na.mp4,jump rope,g,1,3\n",
        "path,label,split,start,end\na.mp4,run,train,0.5,2\na.mp4,jump rope,val,1,3\n",
        'path,label\n"a.mp4#t=0.5,2",run\n"a.mp4#t=1,3",jump rope\n',
    ],
)
def test_truth_is_read_in_each_form(table, text):
    expected = [Event("a.mp4", 0.5, 2, "run"), Event("a.mp4", 1, 3, "jump rope")]
    assert read_truth(table(text)) == read_truth(table(text, "utf-8-sig")) == expected


def test_without_a_start_or_an_end_a_truth_begins_or_ends_with_its_video(table, tmp_path):
    write_video(tmp_path / "sub" / "a.avi", 50)
    file = table("path,label,start,end\nsub/a.avi,run,,1\nsub\\a.avi,run,1,\nsub/a.avi,7,,\n")
    assert [(row.start, row.end) for row in read_truth(file)] == [(0, 1), (1, 2), (0, 2)]
    (tmp_path / "labels.txt").write_text("jump\nrun\n")
    file = table("path,label,start,end\na,1,0,1\na,0,1,2\na,swim,2,3\n")
    assert [row.label for row in read_truth(file)] == ["run", "jump", "swim"]
    with pytest.raises(DataError, match=r"row 2: .*labels.txt has no line for the label 2$"):
        read_truth(table("path,label,start,end\na,2,0,1\n"))


HEADER = "video,start,end,label\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "an empty table"),
        ("\n \n", "an empty table"),
        (HEADER, "a table without rows"),
        ("video,start,end\na,0,1\n", "it has no column label"),
        ("name,from,to,label\na,0,1,x\n", "it has no column video, start, end"),
        ("path,start,end\na,0,1\n", "it has no column label"),
        (HEADER + "a,x,1,run\n", "1 of 1 rows cannot be used; row 2: start 'x' is not a number"),
        (HEADER + "a,0,nan,run\n", "1 of 1 rows cannot be used; row 2: end 'nan' is not a number"),
        (HEADER + "a,0,,run\n", "1 of 1 rows cannot be used; row 2: end '' is not a number"),
        (HEADER + "a,-1,1,run\n", "1 of 1 rows cannot be used; row 2: start -1 is less than 0"),
        (
            HEADER + "a,0,1,run\n\na,2,1,run\na,3,3,run\n",
            "2 of 3 rows cannot be used; row 4: it ends at 1, not after it starts at 2;"
            " row 5: it ends at 3, not after it starts at 3",
        ),
        (HEADER + "a,0,1\n", "1 of 1 rows cannot be used; row 2: 3 cells, not 4"),
        (HEADER + ",0,1,run\n", "1 of 1 rows cannot be used; row 2: no video"),
        (HEADER + "a,0,1,\n", "1 of 1 rows cannot be used; row 2: no label"),
        (
            "path,label\na.avi,run\n",
            "1 of 1 rows cannot be used; row 2: no end, and the video 'a.avi', which has one,"
            " is not there",
        ),
        (HEADER + "a,0,1," + "x" * 200_000, "not a table (field larger than field limit (131072))"),
    ],
)
def test_a_wrong_truth_is_one_line(table, text, message):
    file = table(text)
    with pytest.raises(DataError) as error:
        read_truth(file)
    assert str(error.value) == f"{file}: {message}"


EVENTS = "video,start,end,label,probability\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADER + "a,0,1,x\n", "it has no column probability"),
        (EVENTS, "no events; a lower --threshold of inference.py gives some"),
        (EVENTS + "a,2,1,x,0.5\n", "1 of 1 rows cannot be used; row 2: it ends at 1, before it starts at 2"),
        (EVENTS + "a,0,1,x,high\n", "1 of 1 rows cannot be used; row 2: probability 'high' is not a number"),
    ],
)  # fmt: skip
def test_wrong_events_are_one_line(table, text, message):
    file = table(text)
    with pytest.raises(DataError) as error:
        read_events(file)
    assert str(error.value) == f"{file}: {message}"


def test_a_missing_table_and_one_that_is_no_text_are_named(tmp_path):
    with pytest.raises(FileError, match=r"none.csv: No such file"):
        read_truth(tmp_path / "none.csv")
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="a.csv: not a text in UTF-8"):
        read_events(tmp_path / "a.csv")
