"""Save a model over one that is there, such that whichever moment a kill comes at, one of the two can be loaded."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transformers.utils import CONFIG_NAME, SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME

# Pushes leave out what begins with "_".
UNFINISHED, COMPLETE = "_saving", "_saved"


@contextmanager
def saved_aside(output_dir: str | Path) -> Iterator[Path]:
    """Give a folder to save into, whose files take their places in `output_dir` once the block has ended well.

    Until all are saved, what `output_dir` holds stays as it is. Then they are moved: weights first, the config, which
    says what the weights must hold, last. [`finish_moving`] ends what a kill interrupts there.
    """
    output_dir = Path(output_dir)
    folder = output_dir / UNFINISHED
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    finish_moving(output_dir)
    os.replace(folder, output_dir / COMPLETE)
    finish_moving(output_dir)


def finish_moving(output_dir: str | Path) -> None:
    """Move what is saved completely to its place, if a kill has left any."""
    output_dir = Path(output_dir)
    folder = output_dir / COMPLETE
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir(), key=_place_in_order):
        os.replace(path, output_dir / path.name)
    _remove_other_weights(output_dir)
    folder.rmdir()


def _place_in_order(path: Path) -> int:
    kinds = (path.suffix == ".safetensors", path.name == SAFE_WEIGHTS_INDEX_NAME, path.name != CONFIG_NAME)
    return kinds.index(True) if any(kinds) else len(kinds)


def _remove_other_weights(output_dir: Path) -> None:
    """Remove weights of another number of files, which are read in place of the new ones, or by nobody."""
    index, whole = output_dir / SAFE_WEIGHTS_INDEX_NAME, output_dir / SAFE_WEIGHTS_NAME
    if index.is_file() and whole.is_file():  # the newer of them is what was moved here last
        older = min(index, whole, key=lambda path: path.stat().st_mtime_ns)
        older.unlink()
    named = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()) if index.is_file() else set()
    for path in output_dir.glob("model-*-of-*.safetensors"):
        if path.name not in named:
            path.unlink()
