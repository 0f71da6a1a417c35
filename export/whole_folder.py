"""A folder that is there with all its files, or not at all."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp


def check_new(folder: str | os.PathLike) -> Path:
    """Return the path of a folder to make; raises a ValueError where there is something already."""
    folder = Path(folder)
    if folder.exists() or folder.is_symlink():
        raise ValueError(f"'{folder}' exists already: choose another folder, or delete that one.")
    return folder


def write_whole(folder: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a folder beside, which then gets its name; where it fails, nothing is left."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(mkdtemp(prefix=f".{folder.name[:80]}.", dir=folder.parent))
    try:
        write(aside)
        aside.chmod(0o755)  # as mkdir has it; mkdtemp's is the owner's alone
        os.rename(aside, folder)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
