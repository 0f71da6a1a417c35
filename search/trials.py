"""One evaluated code of a search, and the file that keeps them, so that a killed search goes on where it stopped."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers.utils import logging

from .results import from_dict

logger = logging.get_logger(__name__)

# Stands in the first line. Traces without it are of versions whose digests told less.
FORMAT = 2


@strict
@dataclass
class Trial:
    """A code that a search decided to evaluate, and what came of it.

    Args:
        start: Which of the search's starts it belongs to.
        step: Step within the start, or generation; -1 for codes that the search may start from.
        position: The position that was varied; None where it was not one alone.
        code: The code.
        value: The objective's value; None before the evaluation, and where it was stopped early ("pruned").
        at_least: A lower bound of the value, for pruned codes.
        examples_left: On how many examples a pruned code was not evaluated.
        terms: The value's terms by example, in searches that prune.
    """

    RETIRED: ClassVar[frozenset[str]] = frozenset({"raced"})

    start: int
    step: int
    position: int | None
    code: list[int]
    value: float | None = None
    at_least: float | None = None
    examples_left: int = 0
    terms: list[float] | None = None


class TraceFile:
    """A JSON-lines file: what the trials depend on, then one trial per line.

    Args:
        path: The file; it is made if it is not there.
        header: What the trials and their order depend on: model, data and settings. Plain JSON values.

    Attributes:
        finished (`list[Trial]`): What the file held already. Where a line is damaged, it and all that follow are cut off
            and evaluated again.

    Raises:
        ValueError: The file is no trace, or was written for another model, data or settings, or by an older version.
    """

    def __init__(self, path: str | os.PathLike, header: dict[str, Any]):
        self.path = Path(path)
        if self.path.is_dir():
            raise ValueError(f"The trace '{path}' is a folder: name a file.")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        header = json.loads(json.dumps({"format": FORMAT, **header}))  # as it will be read back
        content = self.path.read_bytes() if self.path.exists() else b""
        lines = content[: content.rfind(b"\n") + 1].splitlines(keepends=True)  # a killed run may leave half a line
        self._ends: list[int] = []  # where in the file each line ends, the header first
        self.finished: list[Trial] = []
        if lines:
            self._check_header(lines[0], header)
            self._read(lines)
        kept = self._ends[-1] if lines else 0
        if kept < len(content):
            logger.warning(
                f"The trace '{path}' is damaged or incomplete from line {len(self._ends) + 1} on, as a killed run may leave "
                "it: that line and all that follow are evaluated again."
            )
        self._file = open(self.path, "r+b" if self.path.exists() else "w+b")  # noqa: SIM115 - closed by `close`
        self._cut(kept)
        if not lines:
            self._write([header])

    def append(self, trials: list[Trial]) -> None:
        """Write finished trials; they are on disk when this returns."""
        self._write([asdict(trial) for trial in trials])

    def keep(self, count: int) -> None:
        """Cut off all but the first `count` trials that the file held."""
        self._cut(self._ends[count])

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _cut(self, size: int) -> None:
        self._file.truncate(size)
        self._file.seek(0, os.SEEK_END)

    def _write(self, rows: list[dict[str, Any]]) -> None:
        self._file.write("".join(json.dumps(row, allow_nan=False) + "\n" for row in rows).encode())
        self._file.flush()
        os.fsync(self._file.fileno())

    def _check_header(self, line: bytes, header: dict[str, Any]) -> None:
        try:
            found = json.loads(line)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise ValueError(f"'{self.path}' is no search trace: its first line is not a JSON object.")
        if "format" not in found and {"model", "data", "objective"} <= found.keys():
            raise ValueError(
                f"The trace '{self.path}' was written by an older version, which noted less of the model: delete it to "
                "search anew, or choose another file."
            )
        different = sorted(key for key in header.keys() | found.keys() if header.get(key) != found.get(key))
        if different:
            reasons = "; ".join(
                f"{key}: {_shorten(found.get(key))} there, {_shorten(header.get(key))} here" for key in different
            )
            raise ValueError(
                f"The trace '{self.path}' was written by another search ({reasons}). Repeat that search with the same "
                "model, data and arguments, or choose another file."
            )

    def _read(self, lines: list[bytes]) -> None:
        self._ends.append(len(lines[0]))
        for line in lines[1:]:
            try:
                self.finished.append(from_dict(Trial, json.loads(line, parse_constant=_refuse)))
            except Exception:  # of JSON, of UTF-8, or of the types of the fields
                return
            self._ends.append(self._ends[-1] + len(line))


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is never written")


def _shorten(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
