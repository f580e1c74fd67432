from dataloaders.copies import IDENTICAL, MIRRORED, Copy
from dataloaders.headers import Header
from dataloaders.overview import list_groups, list_leaks, list_pairs, list_parts, make_charts
from dataloaders.records import VideoRecord
from dataloaders.splits import leaked_groups

RECORDS = [
    VideoRecord("train", "Jump", "a", "g1", "a", 16),
    VideoRecord("test", "Jump", "b", "g1", "b", 18),
    VideoRecord("train", "Run", "c", "g1", "c", 20),
    VideoRecord("test", "Run", "d", "g2", "d", 20),
    VideoRecord("unused", "Run", "e", "g2", "e", 20),
]


def test_groups_the_largest_first():
    rows = list_groups(RECORDS)
    assert [(row.name, row.num_videos, dict(row.counts), row.classes) for row in rows] == [
        ("g1", 3, {"train": 2, "test": 1}, ["Jump", "Run"]),
        ("g2", 2, {"test": 1, "unused": 1}, ["Run"]),
    ]


def test_leaks_are_those_that_training_counts():
    for protocol, expected in (("random", [("g1", 3, [])]), ("official1", [("g1", 2, ["Jump"])])):
        rows = list_leaks(RECORDS, protocol)
        assert [(row.name, row.num_videos, row.classes) for row in rows] == expected
        assert len(rows) == leaked_groups(RECORDS, protocol)


def test_copies_in_another_part_come_first():
    copies = [Copy("c", "a", IDENTICAL), Copy("b", "a", MIRRORED), Copy("e", "d", IDENTICAL)]
    pairs = list_pairs(RECORDS, [*copies, Copy("gone", "a", IDENTICAL)])
    assert [(pair.copy.source, pair.original.source, pair.is_leak) for pair in pairs] == [
        ("b", "a", True),
        ("c", "a", False),
        ("e", "d", False),  # what is unused teaches nothing
    ]


def test_parts_of_a_split():
    assert list_parts(RECORDS) == ["train", "val", "test", "unused"]
    assert list_parts(RECORDS[:2]) == ["train", "val", "test"]


def test_charts_count_what_is_known():
    headers = [Header(2.0, 25.0, (320, 240)), Header(2.4, 30.0), Header(), Header(), Header()]
    charts = make_charts(headers, RECORDS, list_groups(RECORDS))
    assert sum(bar.count for bar in charts.seconds.bars) == 2
    assert [(bar.label, bar.count) for bar in charts.rates] == [("25", 1), ("30", 1)]
    assert [(bar.label, bar.count) for bar in charts.sizes] == [("320x240", 1)]
    assert [(bar.label, bar.count) for bar in charts.groups.bars] == [("2", 1), ("3", 1)]
    assert [bar.count for bar in charts.frames.bars] == [1, 0, 1, 0, 3]
    assert charts.num_without_header == 3
    assert make_charts([Header()] * 5, RECORDS, []).seconds is None
