"""Bad templates and bad rows: each ends in one sentence that names the file, says what is wrong, and no traceback."""

import pytest

from tasks import DataError, TemplateError, load_rows, load_tasks

GOOD_ROWS = "text,label\ngood film,1\nbad film,0\n"
TEMPLATES = "templates:\n  t: {answer_choices: bad ||| good, jinja: '{{text}} ||| {{answer_choices[label]}}'}\n"
HEAD = "dataset: d\ndata: {data_files: {train: rows.csv}}\n"


def template(jinja: str, choices: str = "bad ||| good") -> str:
    return f"{HEAD}templates:\n  t:\n    answer_choices: {choices}\n    jinja: {jinja}\n"


def rows_at(data: str) -> str:
    return f"dataset: d\ndata: {data}\n{TEMPLATES}"


# What is bad -> the template file, the other files, and what the message says.
BAD_TEMPLATES = {
    "empty file": ("", "needs the keys 'dataset' and 'templates'"),
    "a list": ("- a\n- b\n", "needs the keys 'dataset' and 'templates'"),
    "a text": ("hello", "needs the keys 'dataset' and 'templates'"),
    "broken YAML": ("dataset: [\n", "not readable YAML"),
    "a tab in YAML": ("dataset: d\ntemplates:\n\tt: {jinja: x}\n", "not readable YAML"),
    "an unknown tag": ("dataset: !!python/object/apply:os.system [ls]\ntemplates: {}\n", "not readable YAML"),
    "an unknown alias": ("dataset: *d\ntemplates: {}\n", "not readable YAML"),
    "a key twice": ("dataset: d\ndataset: e\ntemplates: {}\n", "'dataset' stands there twice"),
    "a key that is a list": ("dataset: d\n? [a]\n: b\ntemplates: {}\n", "t.yaml"),
    "two documents": ("dataset: d\ntemplates: {}\n---\ndataset: e\n", "not readable YAML"),
    "not UTF-8": (f"dataset: schön\n{TEMPLATES}".encode("cp1252"), "is not UTF-8 text.*save it as UTF-8"),
    "UTF-16": (f"dataset: d\n{TEMPLATES}".encode("utf-16"), "is not UTF-8.*save it as UTF-8"),
    "bytes of an image": (b"\x89PNG\r\n\x1a\n\x00\x00", "is not UTF-8"),
    "control characters": (b"dataset: d\x00\ntemplates: {}\n", "not readable YAML"),
    "nested deeply": ("dataset: " + "[" * 5000 + "]" * 5000 + "\ntemplates: {}\n", "'dataset' must be a text"),
    "aliases that multiply": (
        "a: &a [x, x, x, x, x, x, x, x]\n"
        + "".join(f"{new}: &{new} [{', '.join([f'*{old}'] * 8)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)),
        "t.yaml",
    ),
    "aliases that multiply as data": (
        "dataset: d\ntemplates: {}\ndata:\n  path: &a [x, x, x, x, x, x, x, x]\n"
        + "".join(f"  {new}: &{new} [{', '.join([f'*{old}'] * 8)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)),
        "t.yaml",
    ),
    "no templates": ("dataset: d\n", "needs the keys"),
    "empty templates": ("dataset: d\ntemplates: {}\n", "has no templates"),
    "templates as a list": ("dataset: d\ntemplates: [a]\n", "needs the keys"),
    "an unknown key": (f"datset: d\ndataset: d\n{TEMPLATES}", r"unknown keys \['datset'\]"),
    "a data set that is a list": (f"dataset: [d]\n{TEMPLATES}", "'dataset' must be a text"),
    "an empty data set": (f"dataset: ''\n{TEMPLATES}", "'dataset' must be a text"),
    "a subset that is a mapping": (f"dataset: d\nsubset: {{a: b}}\n{TEMPLATES}", "'subset' must be a text or a list"),
    "a template that is a text": ("dataset: d\ntemplates: {t: x}\n", "template 't' needs a 'jinja' text"),
    "jinja that is a number": ("dataset: d\ntemplates: {t: {jinja: 5}}\n", "template 't' needs a 'jinja' text"),
    "choices as a list": (template("'{{text}} ||| x'", "[a, b]"), "answer_choices of template 't' must be one text"),
    "an unknown key of a template": ("dataset: d\ntemplates: {t: {jinja: x, answer_choice: a}}\n", "unknown key"),
    "metadata that is a text": ("dataset: d\ntemplates: {t: {jinja: x, metadata: y}}\n", "metadata of template 't'"),
    "a blank name": ("dataset: d\ntemplates: {t: {jinja: x, name: ' '}}\n", "template 't' has a blank name"),
    "a name over lines": ('dataset: d\ntemplates: {"t\\nu": {jinja: x}}\n', "name.*one line"),
    "half of a character in YAML": ('dataset: d\ntemplates: {t: {jinja: "\\ud83d {{text}} ||| x"}}\n', "not readable YAML"),
    "half of a character in Jinja": (template("'{{ \"\\ud83d\" }} {{text}} ||| x'"), "half of a character"),
    "data as a text": (f"dataset: d\ndata: rows.csv\n{TEMPLATES}", "'data' must be a mapping"),
    "jinja that is not valid": (template("'{{text ||| x'"), "not valid Jinja"),
    "an unknown filter": (template("'{{text | nothing}} ||| x'"), "No filter named 'nothing'"),
    "an unclosed block": (template("'{% if text %}{{text}} ||| x'"), "not valid Jinja"),
    "no separator": (template("'{{text}} {{label}}'"), r"renders to 1 part\(s\)"),
    "two separators": (template("'{{text}} ||| {{label}} ||| x'"), r"renders to 3 part\(s\)"),
    "a field that is not there": (template("'{{body}} ||| x'"), r"no field 'body' \(the row's fields: text, label\)"),
    "a label beyond the choices": (template("'{{text}} ||| {{answer_choices[label]}}'", "only"), "1 is no position"),
    "a division by zero": (template("'{{text}} ||| {{1 / 0}}'"), "division by zero"),
    "an include": (template("\"{% include 'x' %}{{text}} ||| x\""), "template 't' fails"),
    "a secret of Python": (template("'{{text.__class__.__mro__}} ||| x'"), "template 't' fails"),
    "an endless loop": (template("'{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %} ||| x'"), "steps"),
}  # fmt: skip
BAD_DATA = {
    "an unknown key": (rows_at("{data_file: rows.csv}"), {}, "unknown key 'data_file' under 'data'; did you mean"),
    "a path that is a number": (rows_at("{path: 5}"), {}, "'path' under 'data' must be a text"),
    "files that are a number": (rows_at("{data_files: 5}"), {}, "'data_files' under 'data' must be a text, a list"),
    "no files": (rows_at("{data_files: []}"), {}, "'data_files' under 'data' must be a text, a list"),
    "a separator of two": (rows_at("{data_files: rows.csv, sep: '::'}"), {}, "must be one character, not '::'"),
    "an unknown encoding": (rows_at("{data_files: rows.csv, encoding: utf-9}"), {}, "no encoding 'utf-9'"),
    "a file that is not there": (rows_at("{data_files: none.csv}"), {}, r"there is no file .*none\.csv"),
    "a pattern without files": (rows_at("{data_files: 'none*.csv'}"), {}, r"there is no file .*none\*\.csv"),
    "an unknown ending": (rows_at("{data_files: rows.xlsx}"), {}, "cannot tell the format of data files ending in"),
    "different endings": (rows_at("{data_files: [rows.csv, a.json]}"), {}, "cannot tell the format"),
    "a split that is not there": (rows_at("{data_files: rows.csv, evaluation_split: dev}"), {}, "dev"),
    "a broken slice": (rows_at("{data_files: rows.csv, train_split: 'train[a]', evaluation_split: train}"), {}, "no part of a split"),
    "splits of unusual names": (rows_at("{data_files: {a: rows.csv, b: rows.csv}}"), {}, "none of the splits train"),
    "no rows": (rows_at("{data_files: rows.csv}"), {"rows.csv": "text,label\n"}, "has no rows"),
    "an empty file": (rows_at("{data_files: rows.csv}"), {"rows.csv": ""}, "has no rows"),
    "a workbook": (rows_at("{data_files: rows.csv}"), {"rows.csv": b"PK\x03\x04\x00"}, r"rows\.csv is no text file"),
    "another encoding": (rows_at("{data_files: rows.csv}"), {"rows.csv": "text,label\nschön,1\n".encode("cp1252")}, r"rows\.csv is not UTF-8"),
    "too many fields": (rows_at("{data_files: rows.csv}"), {"rows.csv": "text,label\na,b,1\n"}, r"rows\.csv, line 2: 3 fields"),
    "an open quote": (rows_at("{data_files: rows.csv}"), {"rows.csv": 'text,label\n"a,1\nb,0\n'}, r"rows\.csv, row that begins on line 2"),
    "columns of no label": (rows_at("{data_files: rows.csv}"), {"rows.csv": "text,stars\na,1\n"}, "no field 'label'"),
    "a label that is a word": (rows_at("{data_files: rows.csv}"), {"rows.csv": "text,label\na,good\n"}, "'good' is no position"),
    "broken JSON": (rows_at("{data_files: rows.json}"), {"rows.json": '{"text": "a"'}, r"rows\.json is not JSON"),
    "JSON of numbers": (rows_at("{data_files: rows.json}"), {"rows.json": "[1, 2]"}, r"rows\.json, entry 1 is no row"),
    "half of a character": (rows_at("{data_files: rows.json}"), {"rows.json": '[{"text": "\\ud83d"}]'}, r"rows\.json, entry 1 holds half"),
    "damaged Parquet": (rows_at("{data_files: rows.parquet}"), {"rows.parquet": b"PAR1 and no more"}, r"rows\.parquet is not readable"),
    "damaged gzip": (rows_at("{data_files: rows.csv.gz}"), {"rows.csv.gz": b"\x1f\x8b and no more"}, r"rows\.csv\.gz cannot be"),
    "a folder as a file": (rows_at("{data_files: more.csv}"), {"more.csv/x": ""}, r"there is no file .*more\.csv"),
}  # fmt: skip


def read_all(folder) -> None:
    """What every run does with a task before anything that costs time."""
    for task in load_tasks(folder / "t.yaml").values():
        rows = load_rows(task.dataset, task.source)
        for index, row in enumerate(rows.train):
            task.example(row, index)


def write(folder, content: str | bytes) -> None:
    folder.parent.mkdir(exist_ok=True)
    folder.write_bytes(content if isinstance(content, bytes) else content.encode())


def check_message(error: BaseException) -> None:
    text = str(error)
    assert len(text) < 700, "too long to read"
    assert text.count("\n") <= 4, "YAML's own messages show the line; nothing else needs several"


@pytest.mark.parametrize("name", BAD_TEMPLATES)
def test_a_bad_template_ends_in_a_sentence(tmp_path, monkeypatch, name):
    content, message = BAD_TEMPLATES[name]
    write(tmp_path / "t.yaml", content)
    write(tmp_path / "rows.csv", GOOD_ROWS)
    monkeypatch.setattr("tasks.jinja_limits.MAX_STEPS", 10_000)  # to save time
    with pytest.raises((TemplateError, DataError), match=message) as error:
        read_all(tmp_path)
    check_message(error.value)


@pytest.mark.parametrize("name", BAD_DATA)
def test_bad_rows_end_in_a_sentence(tmp_path, name):
    content, files, message = BAD_DATA[name]
    write(tmp_path / "t.yaml", content)
    for path, text in {"rows.csv": GOOD_ROWS, "a.json": "[]", **files}.items():
        write(tmp_path / path, text)
    with pytest.raises((TemplateError, DataError), match=message) as error:
        read_all(tmp_path)
    check_message(error.value)
