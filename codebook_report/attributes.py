"""What is known of tasks beside their codes: attributes read off their names, or from a file."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from tasks.scenes import task_attributes

TaskAttributes = dict[str, dict[str, str]]  # task name -> attribute -> value


def get_known_attributes(names: Sequence[str]) -> TaskAttributes:
    """Return what the names tell: the factors of the embedded benchmark's tasks; of others the data set, up to the last "/"."""
    scenes = task_attributes()
    return {name: scenes.get(name) or {"data set": name.rpartition("/")[0]} for name in names if "/" in name}


def load_attributes(path: str | os.PathLike) -> TaskAttributes:
    """Read a JSON file `{task name: {attribute: value}}`; values become text.

    Raises:
        ValueError: There is no such file, or it does not look like that.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        return {str(name): {str(k): str(v) for k, v in values.items()} for name, values in content.items()}
    except OSError as error:
        raise ValueError(f"The file of task attributes '{path}' cannot be read: {error.strerror}.") from error
    except (ValueError, AttributeError) as error:
        raise ValueError(
            f"'{path}' is not a file of task attributes: it must be JSON like "
            '{"task name": {"attribute": "value"}}.'
        ) from error
