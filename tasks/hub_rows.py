"""Rows that `datasets.load_dataset` gets: of the Hub, from addresses, and by builders for other than plain data files."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from datasets import load_dataset
from transformers.utils import logging

from .data_source import DataSource, flatten_files
from .errors import DataError

logger = logging.get_logger(__name__)

# Where the Hub keeps its conversion of a data set to Parquet, in a folder for each configuration.
PARQUET_CONVERSION = "refs/convert/parquet"
_SCRIPTS_ARE_REFUSED = "scripts are no longer supported"


def load_hub_rows(what: str, source: DataSource, split: str | None, streaming: bool) -> Any:
    """Loads one split, or all of them.

    A data set that is a loading script, which `datasets` does not run, is loaded from the Hub's conversion of it.

    Args:
        what: Names the rows in messages.
        source: Where they are.
        split: The split; None for a mapping of all.
        streaming: Rows are read when they are asked for, and nothing is stored.

    Raises:
        DataError: They cannot be loaded.
    """
    arguments: dict[str, Any] = {
        key: getattr(source, key)
        for key in ("name", "data_dir", "data_files", "revision", "sep", "encoding")
        if getattr(source, key) is not None
    }
    if source.path == "csv" and all(".tsv" in Path(file).name for file in flatten_files(source.data_files)):
        arguments.setdefault("sep", "\t")
    try:
        return load_dataset(source.path, split=split, streaming=streaming, **arguments)
    # load_dataset raises a dozen types for what is one matter to the reader: these rows are not to be had.
    except Exception as error:
        root = _get_root(error)
        if _SCRIPTS_ARE_REFUSED in str(root) and source.revision is None:
            logger.warning(
                f"{what}: '{source.path}' on the Hub is a loading script, which `datasets` does not run; its conversion "
                f"to Parquet by the Hub is taken instead (revision {PARQUET_CONVERSION})."
            )
            converted = replace(source, name=None, data_dir=source.name, revision=PARQUET_CONVERSION)
            return load_hub_rows(what, converted, split, streaming)
        if isinstance(root, StopIteration) or "corresponds to no data" in str(root):
            raise DataError(f"{what} has no rows.") from error
        at = "" if source.revision is None else f", revision={source.revision!r}"
        raise DataError(
            f"{what} cannot be loaded: load_dataset({source.path!r}{at}) says: {_to_line(root)}"
        ) from error


def _to_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _get_root(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error
