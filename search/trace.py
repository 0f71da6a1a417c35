"""A search's evaluations on disk, appended durably, so that a killed search goes on where it stopped."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from transformers.utils import logging

from .results import Evaluation

logger = logging.get_logger(__name__)


class EvaluationTrace:
    """A JSON-lines file: what the evaluations depend on, then one evaluation per line.

    Args:
        path: The file; it is made if it is not there.
        header: What the evaluations depend on: model, data and arguments. Plain JSON values.

    Attributes:
        finished (`list[Evaluation]`): What the file held already.

    Raises:
        ValueError: The file was written for another model, data or arguments, or is damaged before its last line.
    """

    def __init__(self, path: str | os.PathLike, header: dict[str, Any]):
        self.path = Path(path)
        self.finished: list[Evaluation] = []
        self.path.parent.mkdir(parents=True, exist_ok=True)
        header = json.loads(json.dumps(header))  # as it will be read back
        content = self.path.read_bytes() if self.path.exists() else b""
        complete = content[: content.rfind(b"\n") + 1]  # a killed run may leave half a line
        if len(complete) < len(content):
            logger.warning(
                f"The last line of '{path}' is incomplete, as a killed run leaves it; it is evaluated again."
            )
        lines = complete.splitlines()
        if lines:
            self._check_header(lines[0], header)
            self.finished = [self._evaluation(line, number) for number, line in enumerate(lines[1:], start=2)]
        self._file = open(self.path, "r+b" if self.path.exists() else "w+b")  # noqa: SIM115 - closed by `close`
        self._file.truncate(len(complete))
        self._file.seek(0, os.SEEK_END)
        if not lines:
            self._write([header])

    def append(self, evaluations: list[Evaluation]) -> None:
        """Write finished evaluations; they are on disk when this returns."""
        self._write([asdict(evaluation) for evaluation in evaluations])

    def close(self) -> None:
        self._file.close()

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
        different = sorted(key for key in header.keys() | found.keys() if header.get(key) != found.get(key))
        if different:
            reasons = "; ".join(
                f"{key}: {_short(found.get(key))} there, {_short(header.get(key))} here" for key in different
            )
            raise ValueError(
                f"The trace '{self.path}' was written by another search ({reasons}). Repeat that search with the same "
                "model, data and arguments, or choose another file."
            )

    def _evaluation(self, line: bytes, number: int) -> Evaluation:
        try:
            return Evaluation(**json.loads(line))
        except Exception as error:
            raise ValueError(
                f"Line {number} of the trace '{self.path}' is damaged: delete it and all that follow, and run again."
            ) from error


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
