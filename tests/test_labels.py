import pytest
from test_dataset import record

from dataloaders.errors import DataError
from dataloaders.labels import class_names, read_labels
from dataloaders.records import SPLITS


def rows(*names):
    return [record(split, name, "v") for name in names for split in SPLITS]


def test_labels_are_those_of_the_whole_data_set():
    some = [
        record(split, name, "v") for split, name in (("train", "b"), ("test", "a"), ("val", "c"))
    ]
    assert class_names("own", some) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("dataset", "count", "name", "label"),
    [("ucf101", 101, "YoYo", 100), ("ucf101", 101, "Archery", 2), ("hmdb51", 51, "wave", 50)],
)
def test_a_missing_class_shifts_no_label(dataset, count, name, label):
    classes = class_names(dataset, rows(name))
    assert len(classes) == len(set(classes)) == count
    assert classes.index(name) == label


def test_other_classes_under_a_known_name_are_taken_and_told(capsys):
    assert class_names("ucf101", rows("Archery", "Fight")) == ["Archery", "Fight"]
    assert "Fight is not a class of ucf101" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["1 a\n2 b c\n\n", "a\nb c", "\ufeffa\r\nb c\r\n"])
def test_labels_are_read_with_or_without_numbers(tmp_path, text):
    (tmp_path / "labels.txt").write_text(text, encoding="utf-8", newline="")
    assert read_labels(tmp_path / "labels.txt") == ["a", "b c"]
    (tmp_path / "labels.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="labels.txt: not a text in UTF-8"):
        read_labels(tmp_path / "labels.txt")
