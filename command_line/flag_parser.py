"""Flags made of the fields of dataclasses, checked, with every complaint in one sentence."""

import difflib
from dataclasses import fields
from typing import Any, get_type_hints

from transformers import HfArgumentParser

from command_line.errors import FlagError, one_line
from command_line.settings_file import ENDINGS, check_settings, read_settings

# Flags of earlier versions, and why they went.
REMOVED = {
    "race": "racing saved 12% of a search, and not exactly; exact pruning is always on",
    "do_refined_ensemble": "it gained too little for a second search; give `--do_code_ensemble`",
}


class FlagParser(HfArgumentParser):
    """Takes the fields of dataclasses as flags, or a JSON or YAML file of them followed by flags that override it."""

    def __init__(self, *kinds: type):
        super().__init__(kinds, allow_abbrev=False)
        self.types = {name: kind for each in kinds for name, kind in get_type_hints(each).items()}

    def parse(self, argv: list[str]) -> tuple[Any, ...]:
        """Fill the dataclasses, which check themselves.

        Raises:
            FlagError: The file is no such file, a flag is unknown or was removed, or has a wrong value.
        """
        if argv and argv[0].endswith(ENDINGS):
            path, *argv = argv
            settings = read_settings(path)
            for name in settings:
                _refuse_removed(str(name))
            self.set_defaults(**check_settings(path, settings, self, self.types))
        given, unknown = self.parse_known_args(argv)
        for word in unknown:
            name = word.lstrip("-").partition("=")[0].replace("-", "_")
            _refuse_removed(name)
            if word.startswith("--") and (near := difflib.get_close_matches(name, self.types, n=1, cutoff=0.75)):
                raise FlagError(f"There is no flag `--{name}`; did you mean `--{near[0]}`?")
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        try:
            return tuple(
                kind(**{each.name: getattr(given, each.name) for each in fields(kind) if each.init})
                for kind in self.dataclass_types
            )
        except (ValueError, ImportError) as error:
            raise FlagError(one_line(error)) from error

    def error(self, message: str) -> None:
        """Raise what argparse has to say, without its page of usage."""
        raise FlagError(f"{message}; see `run_ctr.py --help`.")


def require_at_least(least: int, settings: Any, *names: str) -> None:
    """Raise a FlagError where one of these settings is less; None means a default."""
    for name in names:
        value = getattr(settings, name)
        if value is not None and value < least:
            raise FlagError(f"`--{name}` must be at least {least}, but is {value}.")


def require_text(settings: Any, *names: str) -> None:
    """Raise a FlagError where one of these settings is an empty text, or has one among several."""
    for name in names:
        value = getattr(settings, name)
        if any(not each.strip() for each in (value if isinstance(value, list) else [value]) if each is not None):
            raise FlagError(f"`--{name}` is empty: name something, or leave it out.")


def _refuse_removed(name: str) -> None:
    if name in REMOVED:
        raise FlagError(f"`--{name}` is no longer there: {REMOVED[name]}.")
