"""Tables in text files (CSV and TSV), whose texts stay what they are in the file.

A column is a number's only where every text in it is written as Python writes that number, so that a template shows it
as it stands in the file: `1` and `-3` are whole numbers, `0.5` is a decimal one, but `007`, `1.50`, `1e3` and `true` are
texts, as are words that other readers take for missing (`NA`, `None`, `null`). A whole column decides, not its first
rows. An empty cell is an empty text, and None in a column of numbers.
"""

import csv
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa
from datasets import Features

from .errors import DataError
from .text_files import open_text

ROWS_PER_CHUNK = 10_000
# Longer than any text of a row, shorter than what an open quote would swallow unnoticed.
_LONGEST_FIELD = 1 << 27
_QUOTED = re.compile(r'"(?:[^"]|"")*"')


@dataclass(frozen=True)
class Table:
    """A file of a table, and how its lines are split into fields.

    Args:
        path: The file.
        encoding: As for `open_text`.
        separator: What stands between two fields.
        names: Names of its columns.
        by_line: Whether every line is a row and quotes are ordinary characters, as in many TSV files, save around whole
            fields.
    """

    path: Path
    encoding: str | None
    separator: str
    names: tuple[str, ...]
    by_line: bool = False

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """The rows with the number of the line that each ends on, filled up with empty fields.

        Raises:
            DataError: A row has more fields than there are columns, or a quote is out of place.
        """
        with open_text(self.path, self.encoding) as file:
            for number, (line, fields) in enumerate(_records(self, file)):
                if number == 0 or not fields:
                    continue
                if len(fields) > len(self.names):
                    if any(fields[len(self.names) :]):
                        raise DataError(
                            f"{self.path}, line {line}: {len(fields)} fields, where the first line has "
                            f"{len(self.names)}; put texts with {self.separator!r} in quotes, or name the separator."
                        )
                    fields = fields[: len(self.names)]
                yield line, fields + [""] * (len(self.names) - len(fields))


def open_table(path: str | Path, separator: str | None = None, encoding: str | None = None) -> Table:
    """Reads the first line of a table, and finds out its separator and how it uses quotes.

    Args:
        path: The file, whose first line names the columns.
        separator: What stands between two fields; None takes the tab for `.tsv`, else the comma, or where the first
            line has none, the semicolon or tab that it has.
        encoding: As for `open_text`.

    Returns:
        The table; one without columns for an empty file.

    Raises:
        DataError: It cannot be read.
    """
    path = Path(path)
    if separator is not None and len(separator) != 1:
        raise DataError(f"{path}: the separator must be one character, not {separator!r}.")
    with open_text(path, encoding) as file:
        first = file.readline()
    if separator is None:
        plain = _QUOTED.sub("", first)
        known = ["\t"] if ".tsv" in path.name.lower() else [",", ";", "\t"]
        separator = next((each for each in known if each in plain), known[0])
    table = Table(path, encoding, separator, (), False)
    with open_text(path, encoding) as file:
        _, names = next(_records(table, file), (1, []))
    names = _distinct([name.strip() for name in names])
    by_line = separator == "\t" and _is_by_line(path, encoding, len(names))
    return Table(path, encoding, separator, tuple(names), by_line)


@dataclass(frozen=True)
class TableReader:
    """Reads tables of the same columns, whose types were found by reading all their rows once.

    Args:
        tables: The tables by path.
        kinds: Kind of each column: a key of `_KINDS`, or `text`.
    """

    tables: Mapping[Path, Table]
    kinds: Mapping[str, str]

    @property
    def features(self) -> Features:
        """Names and types of the columns."""
        types = {name: pa.string() if kind == "text" else _KINDS[kind][0] for name, kind in self.kinds.items()}
        return Features.from_arrow_schema(pa.schema(types))

    def read(self, path: Path) -> Iterator[pa.Table]:
        """The rows of one of the tables, in chunks."""
        table = self.tables[path]
        rows = (fields for _, fields in table.rows())
        while chunk := list(islice(rows, ROWS_PER_CHUNK)):
            columns = dict(zip(table.names, zip(*chunk, strict=True), strict=True))
            arrays = {name: _convert(columns[name], kind) for name, kind in self.kinds.items()}
            yield pa.table(arrays, schema=self.features.arrow_schema)


def get_table_reader(tables: Sequence[Table]) -> TableReader:
    """Finds the types of the columns.

    Raises:
        DataError: The tables have different columns, or one is malformed.
    """
    names = next((table.names for table in tables if table.names), ())
    for table in tables:
        if table.names and set(table.names) != set(names):
            raise DataError(
                f"{table.path} has the columns {', '.join(table.names)}, but {tables[0].path} has {', '.join(names)}."
            )
    candidates = {name: list(_KINDS) for name in names}
    filled: set[str] = set()
    for table in tables:
        for _, fields in table.rows():
            for name, field in zip(table.names, fields, strict=True):
                if field and candidates[name]:
                    filled.add(name)
                    candidates[name] = [kind for kind in candidates[name] if _KINDS[kind][1](field)]
    kinds = {name: candidates[name][0] if candidates[name] and name in filled else "text" for name in names}
    return TableReader({table.path: table for table in tables}, kinds)


def _convert(fields: Sequence[str], kind: str) -> list[Any]:
    if kind == "text":
        return list(fields)
    convert = _KINDS[kind][2]
    return [convert(field) if field else None for field in fields]


def _is_whole(text: str) -> bool:
    try:
        number = int(text)
    except ValueError:
        return False
    return str(number) == text and -(2**63) <= number < 2**63


def _is_decimal(text: str) -> bool:
    try:
        number = float(text)
    except ValueError:
        return False
    return repr(number) == text and math.isfinite(number)


# Type of the column, whether a text is one, and how it is read.
_KINDS: dict[str, tuple[pa.DataType, Callable[[str], bool], Callable[[str], Any]]] = {
    "whole number": (pa.int64(), _is_whole, int),
    "decimal number": (pa.float64(), _is_decimal, float),
    "truth value": (pa.bool_(), ("True", "False").__contains__, "True".__eq__),
}


def _records(table: Table, file: TextIO) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and fields of all records, that of the first line included."""
    if table.by_line:
        for number, line in enumerate(file, 1):
            line = line.rstrip("\r\n")
            yield number, [_unquoted(field) for field in line.split("\t")] if line else []
        return
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_FIELD))
    reader = csv.reader(file, delimiter=table.separator, strict=True)
    last_line = 0
    try:
        for fields in reader:
            last_line = reader.line_num
            yield reader.line_num, fields
    except csv.Error as error:
        raise DataError(
            f"{table.path}, row that begins on line {last_line + 1}: {error}. A quote within a quoted text is written "
            'twice (""), and every opened quote is closed.'
        ) from error


def _is_by_line(path: Path, encoding: str | None, num_columns: int) -> bool:
    """Whether every line of a tab-separated file is one row."""
    with open_text(path, encoding) as file:
        first = next(file, "").rstrip("\r\n").split("\t")
        if all(_QUOTED.fullmatch(name) for name in first):  # written by a program that quotes every text
            return False
        file.seek(0)
        return all(line.count("\t") == num_columns - 1 or not line.rstrip("\r\n") for line in file)


def _unquoted(field: str) -> str:
    """A field without quotes that a program put around it, which it does around what holds a separator or a quote."""
    if not _QUOTED.fullmatch(field):
        return field
    inner = field[1:-1]
    return inner.replace('""', '"') if "," in inner or '""' in inner else field


def _distinct(names: list[str]) -> list[str]:
    """Column names, each once: as pandas has them, `Unnamed: 0` for none and `text.1` for the second `text`."""
    distinct: list[str] = []
    for position, name in enumerate(names):
        name = name or (f"Unnamed: {position}" if any(names) else "")
        count, unique = 1, name
        while unique in distinct:
            unique, count = f"{name}.{count}", count + 1
        distinct.append(unique)
    return distinct
