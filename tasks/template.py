"""Templates in the PromptSource format: what turns one row of a data set into input, target and answer choices.

``jinja`` renders to ``input ||| target``; ``answer_choices`` (optional) renders per row to choices separated by
``|||``. An empty target means that the row has no label, an empty input that the template does not apply to the row.
Data sets mark a missing label by -1 or by nothing: of these ``answer_choices[label]`` gives an empty text, and not the
last choice or an error as in PromptSource. A field without a value renders to an empty text, and not to "None".

Templates are rendered in Jinja's sandbox, and what they refer to must exist: a missing field is an error, not an empty
string.
"""

import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

import jinja2
from jinja2 import meta, nodes, pass_context
from jinja2.runtime import StrictUndefined
from jinja2.sandbox import SandboxedEnvironment
from jinja2.utils import missing

from .errors import TemplateError

SEPARATOR = "|||"
# Stands for "|||" inside a row's own text while it is rendered. PromptSource's constant: some of its templates
# (multi_news) split documents by it.
PROTECTED_SEPARATOR = "3ed2dface8203c4c9dfb1a5dc58e41e0"
ANSWER_CHOICES = "answer_choices"
# In the names of fields that hold what is asked, and not the text that it is asked about.
_ASKED = ("question", "hypothesis")
# Key of the random generator in a rendering context; the leading space keeps it apart from every field name.
_RANDOM = " random"


class _Choices(list):
    """Answer choices, by a row's label."""

    def __getitem__(self, label: Any) -> Any:
        if isinstance(label, str):
            label = _number_in(label)
        if _is_missing(label) or (isinstance(label, (int, float)) and label == -1):
            return ""
        # As a column of integers is read from a table in which some are missing.
        return super().__getitem__(int(label) if isinstance(label, float) and label.is_integer() else label)


def _number_in(label: str) -> Any:
    """A label as the texts of a table have it: a number, None where there is none, or else the text itself."""
    label = label.strip()
    if not label or label.lower() == "nan":
        return None
    try:
        return float(label)
    except ValueError:
        return label


class _MissingField(StrictUndefined):
    @property
    def _undefined_message(self) -> str:
        if self._undefined_obj is missing and self._undefined_name == ANSWER_CHOICES:
            return f"it has no {ANSWER_CHOICES}"
        if self._undefined_obj is missing:
            return f"the row has no field {self._undefined_name!r}"
        if isinstance(self._undefined_name, StrictUndefined):  # what is undefined by a name or label that is undefined
            return self._undefined_name._undefined_message
        if isinstance(self._undefined_obj, _Choices):
            return f"{self._undefined_name!r} is no position (from 0) in the answer choices {self._undefined_obj}"
        return super()._undefined_message


@pass_context
def _choice(context: jinja2.runtime.Context, items: Sequence) -> Any:
    """PromptSource's `choice`, and Jinja's `random`, made repeatable: drawn from a generator seeded by the row."""
    return context[_RANDOM].choice(list(items))


def _most_frequent(items: Sequence) -> list:
    """All items that occur most often, in order of first occurrence."""
    counts = Counter(items)
    top = max(counts.values(), default=0)
    return [item for item, count in counts.items() if count == top]


_environment = SandboxedEnvironment(
    undefined=_MissingField, finalize=lambda value: "" if _is_missing(value) else value
)
_environment.filters.update(choice=_choice, random=_choice, most_frequent=_most_frequent)
_environment.globals.update(zip=zip)


def parse_jinja(source: str) -> nodes.Template:
    """The syntax tree of a template's source.

    Raises:
        jinja2.TemplateSyntaxError: It is not valid Jinja.
    """
    return _environment.parse(source)


@cache
def _compiled(source: str) -> jinja2.Template:
    return _environment.from_string(source)


class _Usage(NamedTuple):
    """Which fields of a row a Jinja source reads, by where; whether it draws, and counts answer choices from the end."""

    fields: frozenset[str]
    target_fields: frozenset[str]
    draws: bool
    counts_from_end: bool


@cache
def _usage(source: str) -> _Usage:
    tree = _environment.parse(source)
    # First, since what follows folds constants in the tree.
    counts_from_end = any(isinstance(node.arg, nodes.Neg) for node in tree.find_all(nodes.Getitem))
    fields = meta.find_undeclared_variables(tree) - set(_environment.globals)
    draws = any(node.name in ("choice", "random") for node in tree.find_all(nodes.Filter))
    return _Usage(frozenset(fields), frozenset(names_in_target(tree) & fields), draws, counts_from_end)


def names_in_target(tree: nodes.Template) -> set[str]:
    """Names that are read after some separator."""
    names: set[str] = set()
    in_target = False

    def walk(node: nodes.Node) -> None:
        nonlocal in_target
        for child in node.iter_child_nodes():
            if isinstance(child, nodes.TemplateData) and SEPARATOR in child.data:
                in_target = True
            elif isinstance(child, nodes.Name) and in_target:
                names.add(child.name)
            walk(child)

    walk(tree)
    return names


def _is_missing(value: Any) -> bool:
    """Whether a field has no value: None, or the NaN that tables have for it."""
    return value is None or (isinstance(value, float) and value != value)


def _is_blank(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_blank, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(_is_blank, value))
    return _is_missing(value) or (isinstance(value, str) and not value.strip())


def _protect(value: Any) -> Any:
    """A copy of the value (templates may change lists in place) whose strings hold no separator."""
    if isinstance(value, str):
        return value.replace(SEPARATOR, PROTECTED_SEPARATOR)
    if isinstance(value, Mapping):
        return {key: _protect(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_protect(item) for item in value]
    return value


def _split(rendered: str) -> list[str]:
    return [part.replace(PROTECTED_SEPARATOR, SEPARATOR).strip() for part in rendered.split(SEPARATOR)]


class Rendered(NamedTuple):
    """One row as a template renders it. `target_text` is empty where the row has no label."""

    input_text: str
    target_text: str
    choices: list[str] | None


@dataclass(frozen=True)
class Template:
    """One template of a data set.

    Args:
        name: Unique within its data set.
        jinja: Source that renders to `input ||| target`.
        answer_choices: Source that renders to choices separated by `|||`; None for free-form tasks.
        id: PromptSource's identifier.
        reference: Where the template comes from.
        metadata: `original_task`, `choices_in_prompt`, `metrics`, `languages` as PromptSource has them.
    """

    name: str
    jinja: str
    answer_choices: str | None = None
    id: str = ""
    reference: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def fields(self) -> frozenset[str]:
        """Names of the row fields that the template reads, those that it only tests for included."""
        # In `jinja` the answer choices are the rendered ones; `answer_choices` may read a field of that name.
        return (self._used(self.jinja).fields - {ANSWER_CHOICES}) | self._used(self.answer_choices or "").fields

    @property
    def context_fields(self) -> frozenset[str]:
        """Fields that may be shortened where the input is too long: those of the input that are, where others are left,
        not what is asked about them (named like a question or a hypothesis)."""
        asked = frozenset(name for name in self.input_fields if any(word in name.lower() for word in _ASKED))
        return self.input_fields - asked or self.input_fields

    @property
    def input_fields(self) -> frozenset[str]:
        """Fields that the input reads, and neither the target nor the answer choices."""
        jinja = self._used(self.jinja)
        return jinja.fields - jinja.target_fields - self._used(self.answer_choices or "").fields - {ANSWER_CHOICES}

    def row_seed(self, row: Mapping[str, Any]) -> str:
        """What the filters `choice` and `random` are seeded with: the template's name and the fields it reads."""
        return self.name + json.dumps({name: row.get(name) for name in sorted(self.fields)}, default=str)

    def render(self, row: Mapping[str, Any], seed: str | None = None) -> Rendered | None:
        """Renders one row.

        Args:
            row: Field names and values.
            seed: Replaces `row_seed(row)`, for a row of which some field has been shortened.

        Returns:
            None if the template does not apply to the row: its input is blank, or all fields are that the input alone
            reads, or it has no answer choice.

        Raises:
            TemplateError: The template is not valid Jinja, reads a field that the row lacks, fails in another way, or
                does not render to one input and one target.
        """
        context = {name: _protect(row[name]) for name in self.fields if name in row}
        if self._used(self.jinja).draws or self._used(self.answer_choices or "").draws:
            context[_RANDOM] = random.Random(self.row_seed(row) if seed is None else seed)
        choices = None
        if self.answer_choices is not None:
            rendered_choices = self._rendered(self.answer_choices, context, row)
            # An option that the row lacks is no choice: scored as an end token alone it would beat every text.
            choices = [choice for choice in _split(rendered_choices) if choice]
            by_label = list if self._used(self.jinja).counts_from_end else _Choices
            positions = [choice.strip() for choice in rendered_choices.split(SEPARATOR)]
            while positions and not positions[-1]:
                positions.pop()
            context[ANSWER_CHOICES] = by_label(positions)
        parts = _split(self._rendered(self.jinja, context, row))
        if choices == [] or not parts[0] or self._lacks_input(row):
            return None
        if len(parts) != 2:
            raise TemplateError(
                f"template {self.name!r} renders to {len(parts)} part(s) separated by {SEPARATOR!r}; "
                "it must be one input and one target"
            )
        return Rendered(parts[0], parts[1], choices)

    def _lacks_input(self, row: Mapping[str, Any]) -> bool:
        """Whether all fields that are read by the input, and by nothing else, are missing or blank."""
        names = self.input_fields
        return bool(names) and all(_is_blank(row.get(name)) for name in names)

    def _used(self, source: str) -> _Usage:
        try:
            return _usage(source)
        except jinja2.TemplateSyntaxError as error:
            raise TemplateError(f"template {self.name!r} is not valid Jinja: {error} (line {error.lineno})") from error

    def _rendered(self, source: str, context: dict[str, Any], row: Mapping[str, Any]) -> str:
        try:
            return _compiled(source).render(context)
        # A template is code of its author: whatever it raises, the reader needs to know which one it was.
        except Exception as error:
            fields = ", ".join(row)
            raise TemplateError(f"template {self.name!r} fails: {error} (the row's fields: {fields}).") from error
