"""Write files that a later run reads: complete, or as they were before, wherever the program is stopped."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write a text file in UTF-8, making its folder where there is none.

    The text goes into a file beside it, which then takes its place: a kill, a full disk or an error leaves the file
    that was there. What cannot be UTF-8 (half of a surrogate pair) is written as its escape, `\\udc80`.

    Args:
        path: File to write; where it is a link, the file it leads to is replaced.
        text: All of its content.

    Raises:
        OSError: The file cannot be written; what was there is untouched.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    # One name, so that what a killed run left is written over by the next; short, as names may be at their limit.
    aside = path.with_name(f".{path.name[:80]}.tmp")
    try:
        with open(aside, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())  # or a power cut may leave the new name with no content
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def write_json(path: str | os.PathLike, value: Any, *, default: Callable[[Any], Any] | None = None) -> None:
    """Write a value as JSON, as [`write_text`] does.

    Args:
        path: File to write.
        value: What `json.dumps` takes.
        default: Turns what JSON has no form for into what it has, as in `json.dumps`.

    Raises:
        OSError: The file cannot be written; what was there is untouched.
        TypeError: JSON has no form for the value; what was there is untouched.
    """
    write_text(path, json.dumps(value, indent=1, default=default) + "\n")
