"""Rows of data files on this machine, as a memory-mapped data set.

What is read of text files is kept as Arrow in the cache of `datasets`, and read again where a file has changed.
"""

import glob
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import datasets
import pyarrow as pa
import pyarrow.parquet
from datasets import Dataset, Features, IterableDataset, concatenate_datasets
from datasets.table import table_cast

from .errors import DataError
from .json_files import get_json_reader
from .table_files import get_table_reader, open_table

# Kinds of files by their endings, before one that tells of compression.
KINDS = {
    ".json": "json",
    ".jsonl": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".arrow": "arrow",
}
# Part of the cache's names: raise it when other rows are made of the same files.
_VERSION = 1


def find_files(pattern: str) -> list[Path]:
    """Files of this machine by path or pattern (`*`, `?`, `[ab]`, `**`), sorted, without hidden ones.

    A file or folder whose name is all of it, brackets included, goes before a pattern.
    """
    path = Path(pattern)
    if path.is_file():
        return [path]
    folder, rest = Path(path.anchor), path.parts[bool(path.anchor) :]
    while rest and (folder / rest[0]).is_dir():
        folder, rest = folder / rest[0], rest[1:]
    if not rest or not glob.has_magic(str(Path(*rest))):
        return []
    found = (each for each in folder.glob(str(Path(*rest))) if each.is_file())
    return sorted(each for each in found if not any(part.startswith(".") for part in each.relative_to(folder).parts))


def load_files(
    kind: str,
    files: Sequence[Path],
    separator: str | None = None,
    encoding: str | None = None,
    streaming: bool = False,
) -> Dataset | IterableDataset:
    """Loads the rows of files that have the same columns, in the order of the files.

    Args:
        kind: `csv` (TSV included), `json` (JSON lines included), `parquet` or `arrow`.
        files: The files.
        separator: What stands between two fields of a table; None finds it out.
        encoding: Encoding of text files; None finds it out by a byte order mark, or takes UTF-8.
        streaming: Rows are read when they are asked for, and nothing is stored.

    Raises:
        DataError: A file cannot be read or is malformed, or there are no rows; the message names it.
    """
    if kind == "arrow":
        rows = concatenate_datasets([_from_arrow(file) for file in files])
        return rows.to_iterable_dataset(num_shards=len(files)) if streaming else rows
    if streaming:
        reader = _get_reader(kind, files, separator, encoding)
        return IterableDataset.from_generator(_stream, reader.features, {"files": list(files), "reader": reader})
    facts = [(str(file.absolute()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    key = json.dumps([_VERSION, kind, separator, encoding, facts])
    digest = hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
    path = Path(datasets.config.HF_DATASETS_CACHE) / "local_files" / digest / "rows.arrow"
    if not path.is_file():
        reader = _get_reader(kind, files, separator, encoding)
        _write_arrow(path, reader.features, (table for file in files for table in reader.read(file)))
    return Dataset.from_file(str(path))


class _Reader(Protocol):
    """Reads files of one kind; can be sent to another process."""

    @property
    def features(self) -> Features: ...

    def read(self, path: Path) -> Iterator[pa.Table]: ...


def _get_reader(kind: str, files: Sequence[Path], separator: str | None, encoding: str | None) -> _Reader:
    if kind == "json":
        return get_json_reader(files, encoding)
    if kind == "csv":
        return get_table_reader([open_table(file, separator, encoding) for file in files])
    return _ParquetReader(Features.from_arrow_schema(_parquet_file(files[0]).schema_arrow))


@dataclass(frozen=True)
class _ParquetReader:
    features: Features

    def read(self, path: Path) -> Iterator[pa.Table]:
        for batch in _parquet_file(path).iter_batches():
            try:
                yield table_cast(pa.Table.from_batches([batch]), self.features.arrow_schema)
            except (ValueError, pa.ArrowInvalid) as error:
                raise DataError(f"{path} has other columns than the first file of its split: {error}.") from error


def _parquet_file(file: Path) -> pyarrow.parquet.ParquetFile:
    try:
        return pyarrow.parquet.ParquetFile(file)
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"{file} is not readable Parquet: {error}") from error


def _from_arrow(file: Path) -> Dataset:
    try:
        return Dataset.from_file(str(file))
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"{file} is not a readable Arrow file: {error}") from error


def _stream(files: Sequence[Path], reader: _Reader) -> Iterator[dict]:
    for file in files:
        for table in reader.read(file):
            yield from table.to_pylist()


def _write_arrow(path: Path, features: Features, tables: Iterator[pa.Table]) -> None:
    """Writes aside first: other processes may look for the file meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        try:
            with pa.ipc.new_stream(file, features.arrow_schema) as writer:
                for table in tables:
                    writer.write_table(table)
        except BaseException:
            os.unlink(file.name)
            raise
    os.replace(file.name, path)
