import re

from conftest import ROOT


def test_each_promise_names_a_test_that_there_is():
    named = re.findall(r"`(test_\w+)`", (ROOT / "README.md").read_text(encoding="utf-8"))
    tests = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "tests").glob("test_*.py"))
    assert len(named) > 20
    assert [name for name in named if f"\ndef {name}(" not in tests] == []
