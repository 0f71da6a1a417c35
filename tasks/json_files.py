"""Rows in JSON files: JSON lines, a list of objects, or one object that holds such a list or whole columns.

Types of columns follow from all rows, not from the first ones. A column whose values are of several kinds (numbers and
texts) keeps each as it is.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Features, Json

from .errors import DataError
from .table_files import ROWS_PER_CHUNK
from .text_files import open_text


@dataclass(frozen=True)
class JsonReader:
    """Reads files of rows.

    Args:
        types: Type of each column, None where its values are of several kinds.
        encoding: As for `open_text`.
    """

    types: Mapping[str, pa.DataType | None]
    encoding: str | None

    @property
    def features(self) -> Features:
        """Names and types of the columns."""
        return Features(
            {
                name: Json() if kind is None else Features.from_arrow_schema(pa.schema([(name, kind)]))[name]
                for name, kind in self.types.items()
            }
        )

    def read(self, path: Path) -> Iterator[pa.Table]:
        """The rows of one of the files, in chunks."""
        schema = self.features.arrow_schema
        for rows in _chunks(path, self.encoding):
            columns = {
                name: _array([row.get(name) for row in rows], kind, schema.field(name).type)
                for name, kind in self.types.items()
            }
            yield pa.table(columns, schema=schema)


def get_json_reader(paths: Sequence[Path], encoding: str | None = None) -> JsonReader:
    """Finds the types of the columns, by reading all rows once.

    Raises:
        DataError: A file is not JSON, or not rows.
    """
    types: dict[str, pa.DataType | None] = {}
    for path in paths:
        for rows in _chunks(path, encoding):
            for name in dict.fromkeys(name for row in rows for name in row):
                found = _type_of([row.get(name) for row in rows])
                types[name] = found if name not in types else _common(types[name], found)
    return JsonReader(types, encoding)


def _type_of(values: list[Any]) -> pa.DataType | None:
    try:
        return pa.array(values).type
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError):
        return None


def _common(first: pa.DataType | None, second: pa.DataType | None) -> pa.DataType | None:
    if first is None or second is None:
        return None
    try:
        schemas = [pa.schema([("x", kind)]) for kind in (first, second)]
        return pa.unify_schemas(schemas, promote_options="permissive").field("x").type
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return None


def _array(values: list[Any], kind: pa.DataType | None, storage: pa.DataType) -> pa.Array:
    if kind is None:
        texts = [None if value is None else json.dumps(value) for value in values]
        return pa.ExtensionArray.from_storage(storage, pa.array(texts, pa.string()))
    return pa.array(values, storage)


def _chunks(path: Path, encoding: str | None) -> Iterator[list[dict[str, Any]]]:
    rows = _rows(path, encoding)
    while chunk := list(islice(rows, ROWS_PER_CHUNK)):
        yield chunk


def _rows(path: Path, encoding: str | None) -> Iterator[dict[str, Any]]:
    with open_text(path, encoding) as file:
        lines = (line for line in file if line.strip())
        first, second = next(lines, ""), next(lines, "")
        file.seek(0)
        if not first.strip():
            return
        by_line = not first.lstrip().startswith("[") and _is_json(first)
        if by_line and (second or _get_wrapped_rows(json.loads(first)) is None):
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield _checked(_parse(line, path, number), line, f"{path}, line {number}")
        else:
            text = file.read()
            for number, row in enumerate(_listed(_parse(text, path)), 1):
                yield _checked(row, text, f"{path}, entry {number}")


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _parse(text: str, path: Path, line: int | None = None) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        where = "" if line is None else f", line {line}"
        raise DataError(f"{path}{where} is not JSON: {error or 'it is nested too deeply'}.") from error
    return value


def _listed(content: Any) -> list[Any]:
    """The rows of a file that is one value."""
    if not isinstance(content, dict):
        return content if isinstance(content, list) else [content]
    if (rows := _get_wrapped_rows(content)) is not None:
        return rows
    values = list(content.values())
    if values and all(isinstance(value, list) and len(value) == len(values[0]) for value in values):
        return [dict(zip(content, row, strict=True)) for row in zip(*values, strict=True)]
    return [content]


def _get_wrapped_rows(content: Any) -> list[Any] | None:
    """The rows in `{"data": [{...}, {...}]}`."""
    values = list(content.values()) if isinstance(content, dict) else []
    if len(values) != 1 or not isinstance(values[0], list) or not values[0]:
        return None
    return values[0] if all(isinstance(row, dict) for row in values[0]) else None


def _checked(row: Any, source: str, where: str) -> dict[str, Any]:
    if isinstance(row, str):  # as `datasets` reads a list of texts
        row = {"text": row}
    if not isinstance(row, dict):
        raise DataError(f'{where} is no row: it must be an object, such as {{"text": "..."}}, not {row!r:.100}.')
    if "\\u" not in source:  # without an escape there is no half of a character
        return row
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{where} holds half of a character (a lone surrogate, {error.object[error.start]!r}), which is no text; "
            "remove it."
        ) from error
    return row
