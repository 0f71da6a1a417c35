"""Jinja as templates may use it: in its sandbox, within limits, and with an error for what a row lacks.

Differences to plain Jinja: a missing field is an error and not an empty text; a value that is missing shows nothing and
not "None"; `choice` and `random` draw from a generator seeded by the row; a field called like one of Jinja's functions
(`zip`, `range`) or like a method of a mapping (`items`, `values`) is the field.
"""

import inspect
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import jinja2
from jinja2 import nodes, pass_context
from jinja2.runtime import StrictUndefined
from jinja2.sandbox import SandboxedEnvironment
from jinja2.utils import missing

from .errors import TemplateError
from .field_values import AnswerChoices, is_missing
from .jinja_limits import (
    MAX_LENGTH,
    LimitExceeded,
    check_call,
    check_operation,
    check_size,
    count_step,
    limit_filter,
    limited,
)

ANSWER_CHOICES = "answer_choices"
# Key of the random generator in a rendering context; the leading space keeps it apart from every field name.
_RANDOM = " random"


class MissingField(StrictUndefined):
    """A field that the row lacks: any use of it is an error that says so."""

    @property
    def _undefined_message(self) -> str:
        if self._undefined_obj is missing and self._undefined_name == ANSWER_CHOICES:
            return f"it has no {ANSWER_CHOICES}"
        if self._undefined_obj is missing:
            return f"the row has no field {self._undefined_name!r}"
        if isinstance(self._undefined_name, StrictUndefined):  # what is undefined by a name or label that is undefined
            return self._undefined_name._undefined_message
        if isinstance(self._undefined_obj, AnswerChoices):
            return f"{self._undefined_name!r} is no position (from 0) in the answer choices {self._undefined_obj}"
        return super()._undefined_message


class _Environment(SandboxedEnvironment):
    intercepted_binops = frozenset(["+", "*", "**", "%"])

    def call_binop(self, context: jinja2.runtime.Context, operator: str, left: Any, right: Any) -> Any:
        check_operation(operator, left, right)
        return check_size(super().call_binop(context, operator, left, right))

    def call(self, context: jinja2.runtime.Context, function: Any, *arguments: Any, **keywords: Any) -> Any:
        count_step()
        method = getattr(function, "__wrapped__", function)  # of `format`, which the sandbox wraps
        owner = getattr(method, "__self__", None)
        called_on = (owner,) if isinstance(owner, (str, list, tuple, dict)) else ()
        check_call(getattr(function, "__name__", ""), (*called_on, *arguments), keywords)
        return check_size(super().call(context, function, *arguments, **keywords))

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, Mapping) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)

    @staticmethod
    def take_turn() -> None:
        """Stands in every loop; being called is what counts."""

    @staticmethod
    def concatenate(*parts: Any) -> str:
        """What `~` does."""
        return "".join([str(check_size(part)) for part in parts])


def _finalize(value: Any) -> Any:
    if is_missing(value):
        return ""
    if inspect.isroutine(value) or isinstance(value, type):
        raise TemplateError(f"it shows the function {getattr(value, '__name__', value)!r}; has the row such a field?")
    return check_size(value)


@pass_context
def _choice(context: jinja2.runtime.Context, items: Sequence) -> Any:
    """PromptSource's `choice`, and Jinja's `random`, made repeatable: drawn from a generator seeded by the row."""
    return context[_RANDOM].choice(list(items))


def _most_frequent(items: Sequence) -> list:
    """All items that occur most often, in order of first occurrence."""
    counts = Counter(items)
    top = max(counts.values(), default=0)
    return [item for item, count in counts.items() if count == top]


_environment = _Environment(undefined=MissingField, finalize=_finalize)
_environment.filters.update(choice=_choice, random=_choice, most_frequent=_most_frequent)
_environment.filters.update({name: limit_filter(name, each) for name, each in _environment.filters.items()})
_environment.globals.update(zip=zip)
del _environment.globals["lipsum"]  # nonsense of any length, which no task needs
GLOBALS = frozenset(_environment.globals)


def parse_jinja(source: str) -> nodes.Template:
    """Reads the syntax tree of a template's source.

    Raises:
        TemplateError: It is not valid Jinja, or nested too deeply.
    """
    try:
        return _environment.parse(source)
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(f"is not valid Jinja: {error} (line {error.lineno})") from error
    except (RecursionError, MemoryError) as error:
        raise TemplateError("is nested too deeply") from error


def render_jinja(
    source: str, values: Mapping[str, Any], fields: frozenset[str], generator: random.Random | None
) -> str:
    """Renders a source.

    Args:
        source: Jinja source.
        values: The fields' values.
        fields: Names of the fields that the source reads; one that is not among the values is missing, even if Jinja has
            a function of that name.
        generator: For the filters that draw.

    Raises:
        TemplateError: It is not valid, or fails; the message is the cause.
    """
    context = dict(values)
    context.update({name: MissingField(name=name) for name in fields & GLOBALS if name not in values})
    if generator is not None:
        context[_RANDOM] = generator
    length = 0
    pieces = []
    try:
        with limited():
            for piece in _compile(source).generate(context):
                length += len(piece)
                if length > MAX_LENGTH:
                    raise LimitExceeded(f"it renders to more than {MAX_LENGTH:,} characters")
                pieces.append(piece)
    except RecursionError as error:
        raise TemplateError("it is nested too deeply, or calls itself") from error
    # A template is code of its author: whatever it raises, the reader needs to know which one it was.
    except Exception as error:
        raise TemplateError(str(error)) from error
    text = "".join(pieces)
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = error.object[error.start]
        raise TemplateError(
            f"it renders to half of a character (a lone surrogate, {half!r}), which is no text"
        ) from error
    return text


@cache
def _compile(source: str) -> jinja2.Template:
    tree = parse_jinja(source)
    for loop in tree.find_all(nodes.For):
        turn = nodes.Call(nodes.EnvironmentAttribute("take_turn"), [], [], None, None)
        loop.body.insert(0, nodes.ExprStmt(turn).set_lineno(loop.lineno))
    return _environment.from_string(_replace_concatenations(tree))


def _replace_concatenations(node: nodes.Node) -> Any:
    """The tree with calls in the place of `~`, since only calls can be watched."""
    for name, value in node.iter_fields():
        if isinstance(value, list):
            setattr(
                node, name, [_replace_concatenations(each) if isinstance(each, nodes.Node) else each for each in value]
            )
        elif isinstance(value, nodes.Node):
            setattr(node, name, _replace_concatenations(value))
    if isinstance(node, nodes.Concat):
        call = nodes.Call(nodes.EnvironmentAttribute("concatenate"), node.nodes, [], None, None)
        return call.set_lineno(node.lineno)
    return node
