import gzip

import pytest

from tasks.errors import DataError
from tasks.table_files import ROWS_PER_CHUNK, get_table_reader, open_table


def read(path, *others, **options):
    reader = get_table_reader([open_table(each, **options) for each in (path, *others)])
    return [row for each in (path, *others) for table in reader.read(each) for row in table.to_pylist()]


@pytest.fixture
def write(tmp_path):
    def write(content: str | bytes, name: str = "rows.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.mark.parametrize(
    ("column", "values"),
    [
        (["007", "010"], ["007", "010"]),
        (["1.50", "2.00"], ["1.50", "2.00"]),
        (["true", "false"], ["true", "false"]),
        (["1e3", "2e3"], ["1e3", "2e3"]),
        (["NA", "None", "null", "nan", "N/A"], ["NA", "None", "null", "nan", "N/A"]),
        (["1", "-3", "0"], [1, -3, 0]),
        (["1", '""', "0"], [1, None, 0]),
        (["0.5", "-1.25"], [0.5, -1.25]),
        (["1", "0.5"], ["1", "0.5"]),
        (["True", "False"], [True, False]),
        (["1", "2", "word"], ["1", "2", "word"]),
        (["nan", "0.5"], ["nan", "0.5"]),
        (["99999999999999999999"], ["99999999999999999999"]),
        (['""', '""'], ["", ""]),
    ],
)
def test_a_column_is_of_numbers_where_all_are_written_so(write, column, values):
    assert [row["x"] for row in read(write("x,y\n" + "".join(f"{x},a\n" for x in column)))] == values


def test_all_rows_decide_about_a_column(write):
    lines = [f"{i},\n" for i in range(ROWS_PER_CHUNK + 1)] + ["word,a title\n"]
    rows = read(write("text,title\n" + "".join(lines)))
    assert (rows[7], rows[-1]) == ({"text": "7", "title": ""}, {"text": "word", "title": "a title"})
    assert len(rows) == ROWS_PER_CHUNK + 2


def test_all_files_decide_about_a_column(write):
    rows = read(write("x,y\n1,2\n", "a.csv"), write("y,x\n3,word\n", "b.csv"))
    assert rows == [{"x": "1", "y": 2}, {"x": "word", "y": 3}]
    with pytest.raises(DataError, match=r"b\.csv has the columns y, z, but .*a\.csv has x, y"):
        read(write("x,y\n1,2\n", "a.csv"), write("y,z\n3,4\n", "b.csv"))


@pytest.mark.parametrize(
    ("content", "options"),
    [
        ("text;label\nschön, ja;1\n", {}),
        ("text\tlabel\nschön, ja\t1\n", {}),
        ('text|label\n"schön, ja"|1\n', {"separator": "|"}),
        ("text;label\nschön, ja;1\n".encode("cp1252"), {"encoding": "cp1252"}),
        ("text;label\nschön, ja;1\n".encode("utf-16"), {}),
        ("text;label\nschön, ja;1\n".encode("utf-8-sig"), {}),
        ('text;label\r\n"schön, ja";1\r\n\r\n', {}),
        ('"text","label"\n"schön, ja","1"\n', {}),
        (' text , label\n"schön, ja",1,,\n', {}),
    ],
)
def test_separators_and_encodings(write, content, options):
    assert read(write(content), **options) == [{"text": "schön, ja", "label": 1}]


def test_a_packed_file(tmp_path):
    with gzip.open(tmp_path / "rows.csv.gz", "wt") as file:
        file.write("text,label\nfine,1\n")
    assert read(tmp_path / "rows.csv.gz") == [{"text": "fine", "label": 1}]


def test_quotes_over_lines_and_doubled_quotes(write):
    rows = read(write('text,label\n"two\nlines",1\n"he said ""no""",0\n'))
    assert [row["text"] for row in rows] == ["two\nlines", 'he said "no"']


def test_quotes_in_tab_separated_files_are_characters(write):
    texts = ['"Hello" he said', 'a 5" nail', '"', '"all of it"']
    rows = read(write("text\tlabel\n" + "".join(f"{text}\t1\n" for text in texts), "rows.tsv"))
    assert [row["text"] for row in rows] == texts
    # Unless a program has put them around a field that needs them, or around all.
    rows = read(write('text\tlabel\n"poor, really"\t1\n"he said ""no"""\t0\n', "rows.tsv"))
    assert [row["text"] for row in rows] == ["poor, really", 'he said "no"']
    rows = read(write('"text"\t"label"\n"all of it"\t"1"\n', "rows.tsv"))
    assert rows == [{"text": "all of it", "label": 1}]
    rows = read(write('text\tlabel\n"two\nlines"\t1\n', "rows.tsv"))
    assert rows == [{"text": "two\nlines", "label": 1}]


def test_columns_without_a_name_or_with_the_same_have_names_of_their_own(write):
    assert read(write(",text,text\n0,a,b\n")) == [{"Unnamed: 0": 0, "text": "a", "text.1": "b"}]


def test_short_rows_are_filled_up(write):
    assert read(write("text,label,note\nfine,1\n")) == [{"text": "fine", "label": 1, "note": ""}]


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("text,label\nfine, really,1\n", {}, r"rows\.csv, line 2: 3 fields, where the first line has 2"),
        ('text,label\nfine,1\n"open,0\nmore,1\n', {}, r"rows\.csv, row that begins on line 3: .*every opened quote"),
        ('text,label\n"a" b,1\n', {}, r"rows\.csv, row that begins on line 2: .*written twice"),
        ("text,label\nschön,1\n".encode("cp1252"), {}, r"rows\.csv is not UTF-8 text \(byte 0xf6\): save it as UTF-8"),
        (b"PK\x03\x04...", {}, r"rows\.csv is no text file but a ZIP archive or a workbook"),
        ("a,b\n1,2\n", {"separator": ";;"}, r"rows\.csv: the separator must be one character, not ';;'"),
        ("a,b\n1,2\n", {"encoding": "utf-9"}, r"rows\.csv: there is no encoding 'utf-9'"),
    ],
)
def test_what_is_wrong_is_said_with_the_files_name_and_line(write, content, options, message):
    with pytest.raises(DataError, match=message):
        read(write(content), **options)
