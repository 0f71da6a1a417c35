"""Limits for what a template may do, so that one of a stranger's can neither fill the memory nor run for ever.

Time and steps are counted in a render at every turn of a loop and every call, in whichever thread or process it runs.
Sizes are checked before something is made where it can be far larger than what it is made of (`"x" * 10**9`,
`"x".center(10**9)`), and afterwards where not. A text may be ten million characters long.
"""

import re
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import wraps
from types import GeneratorType
from typing import Any

MAX_LENGTH = 10_000_000
MAX_SECONDS = 10.0
MAX_STEPS = 300_000
_MAX_DEPTH = 50
# An entry of a list counts as much as a text of as many characters.
_ENTRY = 8
# Bits of a whole number, far more than a number that means something has.
_MAX_BITS = 10_000

# Functions, methods and filters that make as much as a number among their arguments says.
_SIZED = {"center", "ljust", "rjust", "zfill", "expandtabs", "indent", "batch", "slice", "wordwrap", "round"}
_FORMATS = {"format", "format_map"}
# A width in a format, and one that an argument gives.
_LARGE_WIDTH = re.compile(r"%[-+ #0]*(?:\d{6,}|\*)|%[^%\s]*\.(?:\d{6,}|\*)|\{[^{}]*:[^{}]*(?:\d{6,}|\{)")


class LimitExceeded(ValueError):
    """A template does too much."""


class _Budget:
    __slots__ = ("steps", "deadline")

    def __init__(self) -> None:
        self.steps = MAX_STEPS
        self.deadline = time.monotonic() + MAX_SECONDS


_budget: ContextVar[_Budget | None] = ContextVar("budget", default=None)


class limited:
    """A context in which steps and time are counted, from none."""

    def __enter__(self) -> None:
        self._token = _budget.set(_Budget())

    def __exit__(self, *_: object) -> None:
        _budget.reset(self._token)


def count_step() -> None:
    """Counts a turn of a loop or a call.

    Raises:
        LimitExceeded: There were too many, or they took too long.
    """
    budget = _budget.get()
    if budget is None:
        return
    budget.steps -= 1
    if budget.steps < 0:
        raise LimitExceeded(f"it takes more than {MAX_STEPS:,} steps; is there a loop within a loop?")
    if time.monotonic() > budget.deadline:
        raise LimitExceeded(f"it takes more than {MAX_SECONDS:g} seconds")


def check_size(value: Any) -> Any:
    """Returns the value, if the texts in it are not too long together.

    Raises:
        LimitExceeded: They are, or it is nested too deeply.
    """
    if isinstance(value, str):
        if len(value) > MAX_LENGTH:
            _refuse()
    elif isinstance(value, (list, tuple, dict, set)):
        _measure(value, MAX_LENGTH, 0)
    return value


def _refuse() -> None:
    raise LimitExceeded(f"it makes a text or list of more than {MAX_LENGTH:,} characters")


def _measure(value: Any, left: int, depth: int) -> int:
    """What is left of a length after the value's; the same value counts again at each place where it stands."""
    if depth > _MAX_DEPTH:
        raise LimitExceeded("it makes lists that are nested too deeply")
    if isinstance(value, str):
        left -= len(value)
    elif isinstance(value, (list, tuple, set)):
        for item in value:
            left = _measure(item, left - _ENTRY, depth + 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            left = _measure(item, _measure(key, left - _ENTRY, depth + 1), depth + 1)
    if left < 0:
        _refuse()
    return left


def check_operation(operator: str, left: Any, right: Any) -> None:
    """Refuses an arithmetic operation whose result would be too large.

    Raises:
        LimitExceeded: It would be.
    """
    if isinstance(left, int) and isinstance(right, int):
        bits = left.bit_length() * max(right, 1) if operator == "**" else left.bit_length() + right.bit_length()
        if operator in ("*", "**") and bits > _MAX_BITS:
            raise LimitExceeded("it makes a number of thousands of digits")
    elif operator == "*":
        for items, times in ((left, right), (right, left)):
            if isinstance(items, (str, list, tuple)) and isinstance(times, int) and len(items) * times > MAX_LENGTH:
                _refuse()
    elif operator == "+" and isinstance(left, (str, list, tuple)) and isinstance(right, (str, list, tuple)):
        if len(left) + len(right) > MAX_LENGTH:
            _refuse()
    elif operator == "%" and isinstance(left, str) and _LARGE_WIDTH.search(left):
        _refuse()


def check_call(name: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
    """Refuses a call of a function or filter whose result could be far larger than its arguments.

    Args:
        name: Its name.
        arguments: Its arguments; of a method or filter the first one is what it is called on.
        keywords: Its arguments by name.

    Raises:
        LimitExceeded: It could be, or the arguments are too large themselves.
    """
    values = (*arguments, *keywords.values())
    for value in values:
        check_size(value)
    first = arguments[0] if arguments else None
    text = first if isinstance(first, str) else ""
    if name in _SIZED:
        places = 1 + text.count("\n") + text.count("\t")
        if any(isinstance(value, int) and value * places > MAX_LENGTH for value in values):
            _refuse()
    elif name in _FORMATS and _LARGE_WIDTH.search(text):
        _refuse()
    elif name == "replace" and len(values) >= 3 and all(isinstance(value, str) for value in values[:3]):
        if len(text) + text.count(values[1]) * len(values[2]) > MAX_LENGTH:
            _refuse()
    elif name == "join":
        # The filter joins its first argument by its second, the method the other way round.
        separators = [value for value in values if isinstance(value, str)]
        items = [value for value in values if isinstance(value, (list, tuple, dict, set))]
        if any(len(separator) * len(item) > MAX_LENGTH for separator in separators for item in items):
            _refuse()


def limit_filter(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps a filter of Jinja so that it keeps the limits, whatever Jinja passes before its arguments."""
    passes = 1 if hasattr(function, "jinja_pass_arg") else 0

    @wraps(function)  # keeps the mark that says what Jinja passes
    def limited_filter(*arguments: Any, **keywords: Any) -> Any:
        count_step()
        check_call(name, arguments[passes:], keywords)
        result = function(*arguments, **keywords)
        return _limit_items(result) if isinstance(result, GeneratorType) else check_size(result)

    return limited_filter


def _limit_items(items: Iterator[Any]) -> Iterator[Any]:
    left = MAX_LENGTH
    for item in items:
        count_step()
        left = _measure(item, left - _ENTRY, 0)
        yield item
