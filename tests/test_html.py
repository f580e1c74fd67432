import json
import re

import pytest

from dataloaders.errors import FileError
from dataloaders.html import write_page

TEMPLATE = """{% extends "base.html" %}
{% block main %}<p title="{{ text }}">{{ text }}</p>{% endblock %}
{% block script %}const inserted = {{ text | tojson }};{% endblock %}
"""
HOSTILE = "</script><img src=x onerror=\"alert('1')\">&amp; \u202e\u05d0 \U0001f600"


@pytest.fixture
def template(tmp_path):
    (tmp_path / "page.html").write_text(TEMPLATE)
    return tmp_path / "page.html"


def test_values_are_escaped_in_text_attributes_and_scripts(template, tmp_path):
    page = tmp_path / "out.html"
    write_page(page, template, title=HOSTILE, text=HOSTILE)
    html = page.read_text(encoding="utf-8")
    assert html.startswith("<!doctype html>")
    assert "<img" not in html
    assert html.count("</script>") == 1
    value = re.search(r"const inserted = (.*);", html)[1]
    assert json.loads(value) == HOSTILE


def test_what_is_no_text_is_written_all_the_same(template, tmp_path):
    write_page(tmp_path / "out.html", template, title="a", text="\udcff.avi")
    assert '<p title="\\udcff.avi">' in (tmp_path / "out.html").read_text(encoding="utf-8")


def test_a_page_is_written_whole_or_not_at_all(template, tmp_path):
    page = tmp_path / "out.html"
    write_page(page, template, title="a", text="first")
    before = page.read_bytes()
    with pytest.raises(Exception, match="title"):
        write_page(page, template, text="second")
    assert page.read_bytes() == before
    assert {file.name for file in tmp_path.iterdir()} == {"page.html", "out.html"}
    (tmp_path / "taken.html").mkdir()
    with pytest.raises(FileError, match="taken.html"):
        write_page(tmp_path / "taken.html", template, title="a", text="b")
