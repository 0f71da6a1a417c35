"""What an earlier run of the same output directory has computed already."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from transformers.utils import logging

from search.scoring.processes import is_main_process, on_main_process

logger = logging.get_logger(__name__)

Result = TypeVar("Result")


def load_kept(
    path: Path, asked: dict[str, Any], load: Callable[[Path], tuple[Result, dict[str, Any]]]
) -> Result | None:
    """Load what an earlier run kept, where it was asked the same; of several processes all get what the main one finds.

    Args:
        path: File that it is kept in.
        asked: All that the result comes from: the model, the examples, the settings.
        load: Reads the file: the result, and what it was asked. Raises a ValueError where the file is damaged.

    Returns:
        The result; None where it has to be computed, which the log tells where the file is there.
    """

    def look() -> Result | None:
        if not path.is_file():
            return None
        try:
            kept, asked_before = load(path)
        except ValueError as error:
            logger.warning(f"{error} It is computed again.")
            return None
        if asked_before != json.loads(json.dumps(asked)):
            logger.info(f"'{path}' comes from another model, other examples or settings, and is computed again.")
            return None
        return kept

    return on_main_process(look)


def keep(save: Callable[[], None]) -> None:
    """Call what writes a result's file, in the main process only."""
    if is_main_process():
        save()
