"""Where the rows of a data set come from, as a template file says it.

A template file may say where its rows come from, under the key ``data``; everything in it is optional::

    data:
      path: json                       # as for datasets.load_dataset: a Hub name, a builder, a folder
      name: default                    # configuration (subset) of a Hub data set
      data_files: {train: train.jsonl, validation: dev.jsonl}    # relative to the template file
      revision: refs/convert/parquet
      sep: ";"                         # of a CSV file; found out by itself where the first line tells
      encoding: cp1252                 # of text files; UTF-8, or what a byte order mark tells
      train_split: train               # slices such as train[:80%] are allowed
      evaluation_split: validation

Without ``path`` it follows from the ending of the data files (.json, .jsonl, .csv, .tsv, .parquet, also .gz, .arrow),
without ``data`` the rows are those of the Hub's data set of that name. ``path`` may be a folder that `datasets` made by
`save_to_disk`, or one with files named after their splits (`train.csv`, `dev.csv`). ``{subset}`` in any text stands for
the subset's name. Texts of local files stay what they are (see `tasks.table_files` and `tasks.json_files`).
So a task of one's own is one YAML file beside its rows::

    dataset: my_reviews
    data: {data_files: {train: train.csv, validation: dev.csv}}
    templates:
      text: {answer_choices: bad ||| good, jinja: "{{text}} ||| {{answer_choices[label]}}"}
"""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from .errors import DataError
from .local_files import KINDS
from .splits import get_kind
from .template_file import TemplateFile


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
        evaluation_split: Split for evaluation; None takes `validation` (or `dev`, `valid`, `val`), else `test`.
        sep: Separator of the fields of CSV files.
        encoding: Encoding of text files.
    """

    path: str
    name: str | None = None
    data_dir: str | None = None
    data_files: Any = None
    revision: str | None = None
    train_split: str | None = None
    evaluation_split: str | None = None
    sep: str | None = None
    encoding: str | None = None


def get_data_source(template_file: TemplateFile, subset: str | None) -> DataSource:
    """Reads the source that a template file names for one of its subsets, with local paths made absolute.

    Raises:
        DataError: Unknown key, a value that is no text, or data files whose format cannot be told.
    """
    data = _map_texts(resolve_data(template_file), lambda text: text.replace("{subset}", subset or ""))
    if "path" not in data:
        if "data_files" in data:
            data["path"] = get_files_kind(data["data_files"], template_file.path)
        else:
            data = {"path": template_file.dataset, "name": subset, **data}
    elif (folder := template_file.path.parent / data["path"]).is_dir():  # again, now that the subset is filled in
        data["path"] = str(folder)
    return DataSource(**data)


def resolve_data(template_file: TemplateFile) -> dict[str, Any]:
    """Returns the file's `data`, with local paths made absolute.

    Raises:
        DataError: Unknown key, or a value that is no text.
    """
    folder = template_file.path.parent.absolute()
    data = {key: value for key, value in template_file.data.items() if value is not None}
    known = [field.name for field in fields(DataSource)]
    for key, value in data.items():
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}."
            raise DataError(f"{template_file.path}: unknown key {key!r} under 'data'; {hint}")
        if not isinstance(value, str) and (key != "data_files" or not _are_files(value)):
            expected = "a text, a list of texts, or one of these for each split" if key == "data_files" else "a text"
            raise DataError(f"{template_file.path}: '{key}' under 'data' must be {expected}, not {value!r:.100}.")
    if "path" in data and (folder / data["path"]).is_dir():
        data["path"] = str(folder / data["path"])
    elif "revision" in data or "/" in data.get("path", ""):
        return data  # of the Hub, where files and folders are the repository's
    for key in ("data_files", "data_dir"):
        if key in data:
            data[key] = _map_texts(data[key], lambda text: text if "://" in text else str(folder / text))
    return data


def get_files_kind(files: Any, where: Path) -> str:
    """Tells the kind of data files by their endings.

    Raises:
        DataError: They have different ones, or an unknown one; `where` says in which file they are named.
    """
    paths = flatten_files(files)
    kinds = {get_kind(path) for path in paths}
    if len(kinds) != 1 or None in kinds:
        endings = sorted({"".join(Path(path).suffixes[-1:]) for path in paths})
        raise DataError(
            f"{where}: cannot tell the format of data files ending in {endings}; use one of {', '.join(KINDS)}, or name "
            "'path'."
        )
    return str(kinds.pop())


def flatten_files(files: Any) -> list[str]:
    """Lists the files of all splits."""
    if files is None:
        return []
    if isinstance(files, Mapping):
        return [file for value in files.values() for file in flatten_files(value)]
    return [str(files)] if isinstance(files, (str, Path)) else [str(file) for file in files]


def _are_files(value: Any) -> bool:
    if isinstance(value, Mapping):
        return bool(value) and all(isinstance(key, str) and _are_files(item) for key, item in value.items())
    return isinstance(value, str) or (isinstance(value, list) and bool(value) and all(map(_is_text, value)))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _map_texts(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, Mapping):
        return {key: _map_texts(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [_map_texts(item, change) for item in value]
    return change(value) if isinstance(value, str) else value
