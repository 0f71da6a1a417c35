"""Rows of a data set: from the Hub, from local files, or from a folder that holds one folder per data set."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from datasets import Dataset, IterableDataset, load_from_disk
from transformers.utils import logging

from .data_source import DataSource, get_files_kind
from .errors import DataError
from .hub_rows import load_hub_rows
from .local_files import KINDS, find_files, load_files
from .splits import find_split_files, list_split_names, pick_splits, select_split

__all__ = ["DataError", "DataSource", "SplitRows", "has_rows", "load_rows"]

logger = logging.get_logger(__name__)

Rows: TypeAlias = Dataset | IterableDataset


@dataclass(frozen=True)
class SplitRows:
    """The rows of one data set. Where it has one split only, `train` and `evaluation` are that split."""

    dataset: str
    train: Rows
    evaluation: Rows
    train_split: str
    evaluation_split: str


def load_rows(
    dataset: str, source: DataSource | None = None, data_dir: str | Path | None = None, streaming: bool = False
) -> SplitRows:
    """Loads the rows of a data set.

    Args:
        dataset: Its name, with the subset after a slash (`super_glue/rte`).
        source: Where to load it from; None takes the Hub's data set of that name.
        data_dir: A folder with one folder per data set, named like it with `_` for `/` (or a folder in a folder),
            holding files named after their splits (`train.jsonl`, `dev.csv`, see `tasks.splits`), perhaps gzipped, or
            folders of these names with such files in them. Where it has the data set, this goes before `source`. Its
            `index.json`, if there is one, may name other folders: entries of `datasets` with `folder` and `hf_name`.
        streaming: Rows are read when they are asked for, and nothing is stored.

    Raises:
        DataError: The data set, or a split that is asked for, cannot be loaded, or has no rows.
    """
    folder = None if data_dir is None else _find_folder(dataset, Path(data_dir))
    if folder is not None:
        files = find_split_files(folder)
        if not files:
            raise DataError(f"{folder} has no data files named after their split, such as train.jsonl.")
        source = DataSource(path=get_files_kind(files, folder), data_files=files)
    else:
        if data_dir is not None:
            logger.info(f"{data_dir} has no folder for data set {dataset!r}; loading it from where it says it is.")
        if source is None:
            path, _, name = dataset.partition("/")
            source = DataSource(path=path, name=name or None)
    splits = _Splits(dataset, _with_split_files(source), streaming)
    train_split, evaluation_split = source.train_split, source.evaluation_split
    if train_split is None or evaluation_split is None:
        train_split, evaluation_split = pick_splits(splits.names, dataset, train_split, evaluation_split)
    if train_split == evaluation_split:
        logger.warning(f"Data set {dataset!r} has one split only ({train_split}), for training and for evaluation.")
    train = splits.load(train_split)
    evaluation = train if evaluation_split == train_split else splits.load(evaluation_split)
    return SplitRows(dataset, train, evaluation, train_split, evaluation_split)


def has_rows(dataset: str, data_dir: str | Path) -> bool:
    """Tells whether `load_rows` finds the data set in this folder.

    Raises:
        DataError: There is no such folder.
    """
    folder = _find_folder(dataset, Path(data_dir))
    return folder is not None and bool(find_split_files(folder))


class _Splits:
    """The splits of a data set, each loaded when it is asked for: what is wrong with another one does not matter."""

    def __init__(self, dataset: str, source: DataSource, streaming: bool):
        self.dataset = dataset
        self.source = source
        self.streaming = streaming
        self.files = source.data_files if isinstance(source.data_files, Mapping) else None
        self._all: Mapping[str, Rows] | None = None
        self._loaded: dict[str, Rows] = {}

    @property
    def names(self) -> list[str]:
        """Names of all splits, which must be loaded to be known where no file is named for each."""
        return list(self.files or self.all)

    @property
    def all(self) -> Mapping[str, Rows]:
        if self._all is None:
            self._all = self._load_source(f"Data set {self.dataset!r}", self.source, None)
        return self._all

    def load(self, split: str) -> Rows:
        """Loads a split, or a slice of one."""
        if self.files is None and self._all is None and self._is_remote:
            return self._checked(split, self._load_source(self._about(split), self.source, split))
        for name in list_split_names(split):
            if name in self._loaded:
                continue
            if self.files is not None:
                if name not in self.files:
                    raise DataError(f"Data set {self.dataset!r} has no split {name!r}, but {', '.join(self.files)}.")
                source = replace(self.source, data_files={name: self.files[name]})
                self._loaded[name] = self._load_source(self._about(split), source, name)
            elif name in self.all:
                self._loaded[name] = self.all[name]
            else:
                raise DataError(f"{self._about(split)} is not there; it has {', '.join(self.all)}.")
        if self.streaming and split not in self._loaded:
            raise DataError(f"{self._about(split)}: parts of splits cannot be streamed; name whole ones.")
        return self._checked(split, select_split(split, self._loaded))

    @property
    def _is_remote(self) -> bool:
        return not Path(self.source.path).is_dir() and not _is_local(self.source)

    def _load_source(self, what: str, source: DataSource, split: str | None) -> Any:
        """The rows of a split, or, without one, those of all by name."""
        try:
            if (folder := Path(source.path)).is_dir() and _is_saved(folder):
                return _load_saved(folder, self.streaming)
            if _is_local(source):
                name, files = next(iter(_by_split(source.data_files).items()))
                rows = load_files(source.path, _find_all(files), source.sep, source.encoding, self.streaming)
                return rows if split is not None else {name: rows}
        except DataError as error:
            raise DataError(f"{what} cannot be loaded: {error}") from error
        return load_hub_rows(what, source, split, self.streaming)

    def _about(self, split: str) -> str:
        return f"Split {split!r} of data set {self.dataset!r}"

    def _checked(self, split: str, rows: Rows) -> Rows:
        if isinstance(rows, Dataset) and not len(rows):
            raise DataError(f"{self._about(split)} has no rows.")
        return rows


def _find_folder(dataset: str, data_dir: Path) -> Path | None:
    if not data_dir.is_dir():
        raise DataError(f"There is no data folder {data_dir}.")
    folder = data_dir / dataset.replace("/", "_")
    if not folder.is_dir():
        folder = data_dir / dataset
    index = data_dir / "index.json"
    if not folder.is_dir() and index.is_file():
        entries = json.loads(index.read_text(encoding="utf-8")).get("datasets", [])
        named = [entry["folder"] for entry in entries if entry.get("hf_name") == dataset]
        if named:
            folder = data_dir / named[0]
    return folder if folder.is_dir() else None


def _with_split_files(source: DataSource) -> DataSource:
    """A folder of files named after their splits as those files."""
    folder = Path(source.path)
    if source.data_files is not None or source.name is not None or not folder.is_dir() or _is_saved(folder):
        return source
    if (folder / "README.md").is_file():  # which may say what belongs to which split
        return source
    files = find_split_files(folder if source.data_dir is None else folder / source.data_dir)
    if not files:
        return source
    return replace(source, path=get_files_kind(files, folder), data_dir=None, data_files=files)


def _is_saved(folder: Path) -> bool:
    """Whether `datasets` wrote the folder by `save_to_disk`."""
    return (folder / "state.json").is_file() or (folder / "dataset_dict.json").is_file()


def _load_saved(folder: Path, streaming: bool) -> Mapping[str, Rows]:
    loaded = load_from_disk(str(folder))
    by_split = {"train": loaded} if isinstance(loaded, Dataset) else loaded
    return {name: rows.to_iterable_dataset() if streaming else rows for name, rows in by_split.items()}


def _is_local(source: DataSource) -> bool:
    if source.path not in KINDS.values() or source.data_files is None:
        return False
    return not any("://" in file for files in _by_split(source.data_files).values() for file in files)


def _by_split(data_files: Any) -> dict[str, list[str]]:
    by_split = data_files if isinstance(data_files, Mapping) else {"train": data_files}
    return {
        name: [str(files)] if isinstance(files, (str, Path)) else list(map(str, files))
        for name, files in by_split.items()
    }


def _find_all(patterns: list[str]) -> list[Path]:
    found = []
    for pattern in patterns:
        files = find_files(pattern)
        if not files:
            raise DataError(f"there is no file {pattern}.")
        found += files
    return list(dict.fromkeys(found))
