"""The usual names of splits: which one is for training, which for evaluation, and which file is of which."""

import re
from collections.abc import Collection, Mapping
from pathlib import Path

from datasets import Dataset, ReadInstruction, concatenate_datasets

from .errors import DataError
from .local_files import KINDS
from .text_files import COMPRESSED

TRAIN = ("train", "training")
VALIDATION = ("validation", "valid", "val", "dev", "development", "validation_matched", "dev_matched")
TEST = ("test", "testing", "eval", "evaluation", "test_matched")
# What a file is named after may go on, as in `dev_2024.csv`, `validation_matched.jsonl` or `train-00000-of-00002.parquet`.
_SPLIT_FILE = re.compile(rf"({'|'.join((*TRAIN, *VALIDATION, *TEST))})(?![a-z])[^.]*", re.IGNORECASE)
_SHARD = re.compile(r"[-_]\d+(-of-\d+)?$")


def pick_splits(
    names: Collection[str], dataset: str, train: str | None = None, evaluation: str | None = None
) -> tuple[str, str]:
    """Picks the splits for training and for evaluation by their usual names, in any case of letters.

    Evaluation takes a validation split, else a test split. Where there is one split only, it serves both.

    Args:
        names: Names of all splits.
        dataset: Name of the data set, for messages.
        train: The split for training, where it is named already.
        evaluation: The split for evaluation, likewise.

    Raises:
        DataError: None has a usual name; or there is more than the training split, but none is known to be for
            evaluation: training rows are none to evaluate on.
    """
    by_name = {name.lower(): name for name in names}
    train = train or next((by_name[name] for name in TRAIN if name in by_name), None)
    evaluation = evaluation or next((by_name[name] for name in (*VALIDATION, *TEST) if name in by_name), None)
    advice = "name train_split and evaluation_split under 'data' in its template file."
    if train is None and evaluation is None:
        raise DataError(
            f"Data set {dataset!r} has none of the splits train, validation and test, but {', '.join(names)}; {advice}"
        )
    if evaluation is None and set(names) != {train}:
        raise DataError(
            f"Data set {dataset!r} has the splits {', '.join(names)}, of which none is known to be for evaluation; {advice}"
        )
    return train or evaluation, evaluation or train


def find_split_files(folder: Path) -> dict[str, list[Path]]:
    """Finds data files that are named after their split, or in folders named so; hidden ones do not count.

    Where a split has files of several kinds, those of the last kind in `KINDS` are taken: beside Arrow files there may
    be JSON with facts about them.

    Returns:
        Paths by the split's name as it stands there, the usual training names first.
    """
    found: dict[str, dict[str, list[Path]]] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith((".", "_")) or not (match := _SPLIT_FILE.match(path.name)):
            continue
        if path.is_dir():
            files = sorted(each for each in path.iterdir() if each.is_file() and not each.name.startswith((".", "_")))
            split = path.name
        else:
            files, split = [path], _SHARD.sub("", match[0])
        for file in files:
            if (kind := get_kind(file)) is not None:
                found.setdefault(split, {}).setdefault(kind, []).append(file)
    chosen = {}
    for split, by_kind in found.items():
        chosen[split] = by_kind[max(by_kind, key=list(KINDS.values()).index)]
    return dict(sorted(chosen.items(), key=lambda item: item[0].lower() not in TRAIN))


def get_kind(file: str | Path) -> str | None:
    """The kind of a data file by its ending (`reviews.csv.gz` is `csv`), None for an unknown one."""
    suffixes = [suffix.lower() for suffix in Path(file).suffixes]
    if suffixes and suffixes[-1] in COMPRESSED:
        suffixes.pop()
    return KINDS.get(suffixes[-1]) if suffixes else None


def list_split_names(split: str) -> list[str]:
    """Names of the splits that an expression such as `train[:80%]+extra` is made of."""
    return [part.partition("[")[0].strip() for part in split.split("+")]


def select_split(split: str, by_name: Mapping[str, Dataset]) -> Dataset:
    """Rows of a split, a slice of it (`train[:80%]`), or a sum of such.

    Raises:
        DataError: It is no such expression.
    """
    if split in by_name:
        return by_name[split]
    try:
        parts = ReadInstruction.from_spec(split).to_absolute({name: len(rows) for name, rows in by_name.items()})
    except (ValueError, AssertionError) as error:
        raise DataError(f"{split!r} is no part of a split, such as train[:80%]: {error}") from error
    selected = [by_name[part.splitname].select(range(part.from_ or 0, part.to)) for part in parts]
    return selected[0] if len(selected) == 1 else concatenate_datasets(selected)
