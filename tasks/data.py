"""Rows of a data set: from the Hub, from local files, or from a folder that holds one folder per data set.

A template file may say where its rows come from, under the key ``data``; everything in it is optional::

    data:
      path: json                       # as for datasets.load_dataset: a Hub name, a builder, a folder
      name: default                    # configuration (subset) of a Hub data set
      data_files: {train: train.jsonl, validation: dev.jsonl}    # relative to the template file
      revision: refs/convert/parquet
      train_split: train               # slices such as train[:80%] are allowed
      evaluation_split: validation

Without ``path`` it follows from the ending of the data files (.json, .jsonl, .csv, .tsv, .parquet, also .gz, .arrow),
without ``data`` the rows are those of the Hub's data set of that name. ``path`` may be a folder that `datasets` made by
`save_to_disk`. ``{subset}`` in any text stands for the subset's name.
So a task of one's own is one YAML file beside its rows::

    dataset: my_reviews
    data: {data_files: {train: train.csv, validation: dev.csv}}
    templates:
      text: {answer_choices: bad ||| good, jinja: "{{text}} ||| {{answer_choices[label]}}"}
"""

import difflib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict, IterableDataset, IterableDatasetDict, load_dataset
from transformers.utils import logging

from .template import TemplateFile

logger = logging.get_logger(__name__)

# Of several files of one split in a folder the last kind counts: beside .arrow there may be .json with facts about it.
_BUILDERS = {
    ".json": "json",
    ".jsonl": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".arrow": "arrow",
}


class DataError(ValueError):
    """Rows that cannot be had: no such data set, split or file, or no rows in it."""


@dataclass(frozen=True)
class DataSource:
    """Where rows come from: arguments of `datasets.load_dataset`, and which split is used for what.

    Args:
        path: Hub name, builder (`json`, `csv`, `parquet`) or folder.
        name: Configuration of a Hub data set.
        data_dir: Folder of data files.
        data_files: A file (or pattern), a list of them, or one of these for each split.
        revision: Version of a Hub data set.
        train_split: Split for training and few-shot draws; None takes `train`.
        evaluation_split: Split for evaluation; None takes `validation`, else `test`.
    """

    path: str
    name: str | None = None
    data_dir: str | None = None
    data_files: Any = None
    revision: str | None = None
    train_split: str | None = None
    evaluation_split: str | None = None


@dataclass(frozen=True)
class SplitRows:
    """The rows of one data set. Where it has one split only, `train` and `evaluation` are that split."""

    dataset: str
    train: Dataset | IterableDataset
    evaluation: Dataset | IterableDataset
    train_split: str
    evaluation_split: str


def data_source(template_file: TemplateFile, subset: str | None) -> DataSource:
    """The source that a template file names for one of its subsets, with local paths made absolute.

    Raises:
        DataError: Unknown key, or data files whose format cannot be told.
    """
    data = _fill_subset(resolved_data(template_file), subset)
    if "path" not in data:
        if "data_files" in data:
            data["path"] = _builder_of(data["data_files"], template_file.path)
        else:
            data = {"path": template_file.dataset, "name": subset, **data}
    elif (folder := template_file.path.parent / data["path"]).is_dir():  # again, now that the subset is filled in
        data["path"] = str(folder)
        if (folder / "state.json").is_file():  # of `Dataset.save_to_disk`; those of `DatasetDict` load as they are
            data |= {"path": "arrow", "data_files": {"train": str(folder / "*.arrow")}}
    return DataSource(**data)


def resolved_data(template_file: TemplateFile) -> dict[str, Any]:
    """The file's `data`, with local paths made absolute.

    Raises:
        DataError: Unknown key.
    """
    folder = template_file.path.parent.absolute()
    data = dict(template_file.data)
    known = [field.name for field in fields(DataSource)]
    for key in data:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}."
            raise DataError(f"{template_file.path}: unknown key {key!r} under 'data'; {hint}")
    for key in ("data_files", "data_dir"):
        if key in data:
            data[key] = _resolve(data[key], folder)
    if "path" in data and (folder / data["path"]).is_dir():
        data["path"] = str(folder / data["path"])
    return data


def load_rows(
    dataset: str, source: DataSource | None = None, data_dir: str | Path | None = None, streaming: bool = False
) -> SplitRows:
    """Loads the rows of a data set.

    Args:
        dataset: Its name, with the subset after a slash (`super_glue/rte`).
        source: Where to load it from; None takes the Hub's data set of that name.
        data_dir: A folder with one folder per data set, named like it with `_` for `/` (or a folder in a folder),
            holding `{train,validation,test}.{jsonl,json,csv,parquet}`, perhaps gzipped, or folders of these names with
            such files in them. Where it has the data set, this goes before `source`. Its `index.json`, if there is one,
            may name other folders: entries of `datasets` with `folder` and `hf_name`.
        streaming: Rows are read when they are asked for, and nothing is stored.

    Raises:
        DataError: The data set, or a split that is asked for, cannot be loaded, or has no rows.
    """
    folder = None if data_dir is None else _folder_of(dataset, Path(data_dir))
    if folder is not None:
        files = _split_files(folder)
        if not files:
            raise DataError(f"{folder} has no data files named after their split, such as train.jsonl.")
        source = DataSource(path=_builder_of(files, folder), data_files=files)
    else:
        if data_dir is not None:
            logger.info(f"{data_dir} has no folder for data set {dataset!r}; loading it from where it says it is.")
        if source is None:
            path, _, name = dataset.partition("/")
            source = DataSource(path=path, name=name or None)

    # Data files by split are loaded one split at a time: what is wrong with one that is not asked for does not matter.
    loaded: DatasetDict | IterableDatasetDict | None = None
    by_split = source.data_files if isinstance(source.data_files, Mapping) else None
    if by_split is None and (source.train_split is None or source.evaluation_split is None):
        loaded = _load(dataset, source, None, streaming)
    names = by_split or loaded or ()
    train_split = source.train_split or _pick(names, ("train",))
    evaluation_split = source.evaluation_split or _pick(names, ("validation", "test"))
    if train_split is None and evaluation_split is None:
        raise DataError(
            f"Data set {dataset!r} has none of the splits train, validation and test, but {', '.join(names)}; name "
            "train_split and evaluation_split under 'data' in its template file."
        )
    if train_split is None or evaluation_split is None or train_split == evaluation_split:
        train_split = evaluation_split = train_split or evaluation_split
        logger.warning(f"Data set {dataset!r} has one split only ({train_split}), for training and for evaluation.")

    def split_rows(split: str) -> Dataset:
        if loaded is not None and split in loaded:
            return loaded[split]
        if by_split is not None:
            name = split.partition("[")[0]
            if name not in by_split:
                raise DataError(f"Data set {dataset!r} has no split {name!r}, but {', '.join(by_split)}.")
            return _load(dataset, replace(source, data_files={name: by_split[name]}), split, streaming)
        return _load(dataset, source, split, streaming)

    train = split_rows(train_split)
    evaluation = train if evaluation_split == train_split else split_rows(evaluation_split)
    return SplitRows(dataset, train, evaluation, train_split, evaluation_split)


def has_rows(dataset: str, data_dir: str | Path) -> bool:
    """Whether `load_rows` finds the data set in this folder.

    Raises:
        DataError: There is no such folder.
    """
    folder = _folder_of(dataset, Path(data_dir))
    return folder is not None and bool(_split_files(folder))


def _load(dataset: str, source: DataSource, split: str | None, streaming: bool) -> Any:
    arguments = {key: getattr(source, key) for key in ("name", "data_dir", "data_files", "revision")}
    arguments = {key: value for key, value in arguments.items() if value is not None}
    if source.path == "csv" and all(".tsv" in Path(file).name for file in _flat(source.data_files)):
        arguments["sep"] = "\t"
    what = f"Data set {dataset!r}" if split is None else f"Split {split!r} of data set {dataset!r}"
    try:
        rows = load_dataset(source.path, split=split, streaming=streaming, **arguments)
    # load_dataset raises a dozen types for what is one matter to the reader: these rows are not to be had.
    except Exception as error:
        root: BaseException = error
        while root.__cause__ is not None:
            root = root.__cause__
        # How the builders of JSON, CSV and all formats take a file without rows.
        if (
            isinstance(root, StopIteration)
            or "No columns to parse" in str(root)
            or "corresponds to no data" in str(root)
        ):
            raise DataError(f"{what} has no rows.") from error
        raise DataError(f"{what} cannot be loaded: load_dataset({source.path!r}) says: {root}") from error
    if split is not None and not streaming and not len(rows):
        raise DataError(f"{what} has no rows.")
    return rows


def _pick(names: Collection[str], preferred: tuple[str, ...]) -> str | None:
    return next((split for split in preferred if split in names), None)


def _folder_of(dataset: str, data_dir: Path) -> Path | None:
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


def _split_files(folder: Path) -> dict[str, str | list[str]]:
    files: dict[str, str | list[str]] = {}
    for split in ("train", "validation", "test"):
        for ending in _BUILDERS:
            for packed in (ending, f"{ending}.gz"):
                file = folder / f"{split}{packed}"
                if file.is_file():
                    files[split] = str(file)
                elif parts := sorted(map(str, (folder / split).glob(f"*{packed}"))):
                    files[split] = parts
    return files


def _flat(files: Any) -> list[str]:
    if files is None:
        return []
    if isinstance(files, Mapping):
        return [file for value in files.values() for file in _flat(value)]
    return [str(files)] if isinstance(files, (str, Path)) else [str(file) for file in files]


def _builder_of(files: Any, where: Path) -> str:
    endings = {next((e for e in reversed(Path(file).suffixes) if e != ".gz"), "") for file in _flat(files)}
    builders = {_BUILDERS.get(ending.lower()) for ending in endings}
    if len(builders) != 1 or None in builders:
        raise DataError(
            f"{where}: cannot tell the format of data files ending in {sorted(endings)}; use one of "
            f"{', '.join(_BUILDERS)}, or name 'path'."
        )
    return builders.pop()


def _resolve(value: Any, folder: Path) -> Any:
    """Local paths relative to the folder; patterns and addresses (hf://, https://) as they are."""
    if isinstance(value, Mapping):
        return {key: _resolve(item, folder) for key, item in value.items()}
    if isinstance(value, list):
        return [_resolve(item, folder) for item in value]
    return value if "://" in value else str(folder / value)


def _fill_subset(value: Any, subset: str | None) -> Any:
    if isinstance(value, Mapping):
        return {key: _fill_subset(item, subset) for key, item in value.items()}
    if isinstance(value, list):
        return [_fill_subset(item, subset) for item in value]
    return value.replace("{subset}", subset or "") if isinstance(value, str) else value
