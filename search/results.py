"""What the searches return: plain data that saves as JSON and loads back."""

import json
import os
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, TypeVar, get_args, get_type_hints

from huggingface_hub.dataclasses import strict
from huggingface_hub.errors import StrictDataclassError

from safe_files import write_text

from .scoring.processes import is_main_process

Result = TypeVar("Result", bound="SearchResult")


class SearchResult:
    """Saving and loading, for the dataclasses that searches return."""

    RETIRED: ClassVar[frozenset[str]] = frozenset()  # fields of earlier versions, not read any more

    def save(self, path: str | os.PathLike) -> None:
        """Write as JSON; the file is there complete or not at all. Of several processes only the main one writes."""
        if not is_main_process():
            return
        text = json.dumps({"kind": type(self).__name__, **asdict(self)}, indent=1, allow_nan=False)
        write_text(path, text + "\n")

    @classmethod
    def load(cls: type[Result], path: str | os.PathLike) -> Result:
        """Read what `save` wrote; a base class reads the results of all its searches.

        Raises:
            ValueError: The file is no such result, or damaged; the message says where.
        """
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"'{path}' is not JSON ({error}): it is damaged or no saved result.") from error
        kind = data.pop("kind", None) if isinstance(data, dict) else None
        kinds = {each.__name__: each for each in (cls, *cls.__subclasses__())}
        if kind not in kinds:
            raise ValueError(f"'{path}' holds {f'a {kind}' if kind else 'no saved result'}, not a {cls.__name__}.")
        try:
            return from_dict(kinds[kind], data)
        except (StrictDataclassError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"'{path}' is not a valid {kind}: {reason}") from error


def from_dict(cls: type, data: Any) -> Any:
    """Make a dataclass from a dict; dataclasses within, and lists of them, are made as well.

    Raises:
        ValueError: Fields are missing, or there are others than the class and its earlier versions have.
    """
    if not isinstance(data, dict):
        raise ValueError(f"expected the fields of a {cls.__name__}, got {data!r}")
    data = {name: value for name, value in data.items() if name not in getattr(cls, "RETIRED", ())}
    names = {f.name for f in fields(cls)}
    required = {f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING}
    missing, unknown = sorted(required - set(data)), sorted(set(data) - names)
    if missing or unknown:
        raise ValueError(f"missing fields {missing}, unknown fields {unknown} of {cls.__name__}")
    hints = get_type_hints(cls)
    values = {}
    for name, value in data.items():
        item = (get_args(hints[name]) or (None,))[0]
        if isinstance(value, list) and hasattr(item, "__dataclass_fields__"):
            value = [from_dict(item, entry) for entry in value]
        elif isinstance(value, dict) and hasattr(hints[name], "__dataclass_fields__"):
            value = from_dict(hints[name], value)
        values[name] = value
    return cls(**values)


@strict
@dataclass
class ScoredCode:
    """A code and its objective value (lower is better)."""

    code: list[int]
    loss: float
