"""Settings files: JSON or YAML whose keys are flags, each checked by the flag's own type before anything is loaded."""

import difflib
import json
import re
from argparse import Action, ArgumentError, ArgumentParser
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import yaml

from command_line.errors import FlagError, one_line

ENDINGS = (".json", ".yaml", ".yml")
MERGE = "tag:yaml.org,2002:merge"


class _Loader(yaml.SafeLoader):
    """YAML as people write it today (1.2): `no` is a word, 1e-5 a number, 12:30 and 2024-01-01 are texts.

    A key given twice is an error.
    """

    yaml_implicit_resolvers: dict = {}

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.tag != MERGE]
        if isinstance(node, yaml.MappingNode) and (twice := [name for name in names if names.count(name) > 1]):
            raise yaml.constructor.ConstructorError(
                None, None, f"the key `{twice[0]}` is given twice", node.start_mark
            )
        return super().construct_mapping(node, deep)


for _tag, _pattern, _first in (
    ("null", r"^(?:~|null|Null|NULL|)$", "~nN\0"),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("int", r"^[-+]?(?:0|[1-9][0-9]*)$", "-+0123456789"),
    (
        "float",
        r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan|\.NaN)$",
        "-+.0123456789",
    ),
    ("merge", r"^<<$", "<"),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), [c if c != "\0" else "" for c in _first]
    )


def read_settings(path: str | Path) -> dict[str, Any]:
    """Read a JSON or YAML file of flags.

    Raises:
        FlagError: There is no such file, it is not text in UTF-8, not JSON or YAML, no mapping, or gives a key twice.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise FlagError(f"{path} is not text in UTF-8: save it so.") from error
    except OSError as error:
        raise FlagError(f"The settings file {path} cannot be read: {error.strerror}.") from error
    try:
        # JSON is YAML, but for tabs.
        settings = json.loads(text, object_pairs_hook=_without_twice) if str(path).endswith(".json") else None
    except json.JSONDecodeError:
        settings = None  # with comments or commas that JSON does not know, it may be YAML still
    except _Twice as error:
        raise FlagError(f"{path}: the key `{error}` is given twice.") from error
    if settings is None:
        try:
            settings = yaml.load(text, _Loader)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise FlagError(f"{path} is not readable YAML: {one_line(error)}") from error
    if not isinstance(settings, dict):
        raise FlagError(f"{path} holds no flags: it must be a mapping such as `num_shots: 32`.")
    return settings


class _Twice(Exception):
    pass


def _without_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if twice := [name for name in names if names.count(name) > 1]:
        raise _Twice(twice[0])
    return dict(pairs)


def check_settings(
    path: str | Path, settings: Mapping[str, Any], parser: ArgumentParser, types: Mapping[str, Any]
) -> dict[str, Any]:
    """Check what a file says as the words of flags are checked, and by the types of the dataclasses' fields.

    Args:
        path: Name of the file, for messages.
        settings: Values by name of flag. A text is taken as the flag's word is (`"1e-2"` is a number), one value for a
            list as a list of one.
        parser: Knows the flags.
        types: Type of each flag's field.

    Returns:
        The values to set as the parser's defaults.

    Raises:
        FlagError: A name is no flag, or a value is of another type than the flag's or not one of its choices.
    """
    actions = {action.dest: action for action in parser._actions if action.dest in types}
    checked = {}
    for name, value in settings.items():
        if name not in actions:
            near = difflib.get_close_matches(str(name), actions, n=1)
            hint = f"did you mean `{near[0]}`?" if near else "see `run_ctr.py --help`."
            raise FlagError(f"{path} has the unknown key(s) {name}; {hint}")
        action, of_list = actions[name], actions[name].nargs == "+"
        if of_list and not isinstance(value, list):
            value = [] if value is None else [value]
        try:
            value = [_word(parser, action, each) for each in value] if of_list else _word(parser, action, value)
            if isinstance(value, float) and value.is_integer() and not _fits(value, types[name]):
                value = int(value)  # 2.0, as programs write whole numbers
        except ArgumentError as error:
            raise FlagError(f"{path}: `{name}`: {error.message}.") from error
        if not (_fits(value, types[name]) or (value is None and action.default is None)):
            raise FlagError(f"{path}: `{name}` is {value!r}, but must be {_describe(types[name])}.")
        for each in value if of_list else [value]:
            if action.choices and each is not None and each not in action.choices:
                raise FlagError(f"{path}: `{name}` is {each!r}; choose from {', '.join(map(str, action.choices))}.")
        checked[name] = value
    return checked


def _word(parser: ArgumentParser, action: Action, value: Any) -> Any:
    """Convert a text as the flag does; leave anything else as it is."""
    return parser._get_value(action, value) if isinstance(value, str) else value


def _fits(value: Any, kind: Any) -> bool:
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return any(_fits(value, part) for part in parts)
    if origin is Literal:
        return value in parts
    if origin is list:
        return isinstance(value, list) and all(_fits(each, parts[0]) for each in value)
    if origin is dict or kind is dict:
        return isinstance(value, dict)
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind in (bool, NoneType, str):
        return isinstance(value, kind)
    return isinstance(kind, type) and issubclass(kind, Enum) and (isinstance(value, (str, kind)))


def _describe(kind: Any) -> str:
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(_describe(part) for part in parts if part is not NoneType))
    if origin is list:
        return f"a list of which each is {_describe(parts[0])}"
    if origin is dict or kind is dict:
        return "a mapping"
    if kind is str or (isinstance(kind, type) and issubclass(kind, Enum)):
        return "a text (in quotes where it looks like something else)"
    return {bool: "true or false", int: "a whole number", float: "a number"}.get(kind, str(kind))
