import json

import pytest
from datasets import Dataset

from tasks.errors import DataError
from tasks.local_files import load_files


@pytest.fixture
def load(tmp_path):
    def load(content: str | list, **options) -> list[dict]:
        path = tmp_path / "rows.jsonl"
        lines = content if isinstance(content, str) else "".join(json.dumps(row) + "\n" for row in content)
        path.write_text(lines, encoding=options.get("encoding") or "utf-8")
        stored, stream = (load_files("json", [path], streaming=streaming, **options) for streaming in (False, True))
        assert isinstance(stored, Dataset)
        assert list(stored) == list(stream)
        return list(stored)

    return load


@pytest.mark.parametrize(
    "content",
    [
        '{"a": 1, "b": "x"}\n{"a": 2, "b": "y"}\n',
        '{"a": 1, "b": "x"}\n\n{"a": 2, "b": "y"}',
        '[{"a": 1, "b": "x"},\n {"a": 2, "b": "y"}]',
        '{"data": [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]}',
        '{"a": [1, 2],\n "b": ["x", "y"]}',
    ],
)
def test_rows_in_all_forms(load, content):
    assert load(content) == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]


def test_values_stay_what_they_are(load):
    rows = [{"day": "2020-01-01", "code": "007", "list": [{"x": 1}], "flag": True, "price": 1.5}]
    assert load(rows) == rows
    assert load('["a text", "another"]') == [{"text": "a text"}, {"text": "another"}]
    assert load('{"text": "schön"}\n', encoding="cp1252") == [{"text": "schön"}]


def test_all_rows_decide_about_a_column(load, monkeypatch):
    monkeypatch.setattr("tasks.json_files.ROWS_PER_CHUNK", 4)
    rows = [{"n": None, "x": i} for i in range(9)] + [{"n": "late", "x": 0.5, "new": [1]}]
    loaded = load(rows)
    assert loaded[0] == {"n": None, "x": 0, "new": None}
    assert loaded[-1] == {"n": "late", "x": 0.5, "new": [1]}


def test_values_of_several_kinds_keep_theirs(load, monkeypatch):
    rows = [{"y": value} for value in (1, "1", "one", {"a": [1, "b"]}, None, True, 2**70)]
    assert load(rows[:-1]) == rows[:-1]
    rows = [{"y": i} for i in range(10)] + [{"y": "late"}]
    monkeypatch.setattr("tasks.json_files.ROWS_PER_CHUNK", 4)
    assert load(rows) == rows


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"a": 1}\n{"a": \n', r"rows\.jsonl, line 2 is not JSON: Expecting value"),
        ('{"a": 1}\n[1]\n', r"rows\.jsonl, line 2 is no row: it must be an object"),
        ("[1, 2]", r"rows\.jsonl, entry 1 is no row"),
        ('{"a": "\\ud83d"}\n', r"rows\.jsonl, line 1 holds half of a character"),
        ("[" * 100_000, r"rows\.jsonl is not JSON"),
    ],
)
def test_what_is_wrong_is_said_with_the_files_name_and_line(load, content, message):
    with pytest.raises(DataError, match=message):
        load(content)
