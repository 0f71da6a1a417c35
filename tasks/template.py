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
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

from .errors import TemplateError
from .field_values import AnswerChoices, is_blank
from .jinja_sandbox import ANSWER_CHOICES, render_jinja
from .template_usage import SEPARATOR, Usage, get_usage

# Stands for "|||" inside a row's own text while it is rendered. PromptSource's constant: some of its templates
# (multi_news) split documents by it.
PROTECTED_SEPARATOR = "3ed2dface8203c4c9dfb1a5dc58e41e0"
# In the names of fields that hold what is asked, and not the text that it is asked about.
_ASKED = ("question", "hypothesis")


@cache
def _find_input_fields(jinja: Usage, answer_choices: Usage) -> frozenset[str]:
    return jinja.fields - jinja.target_fields - answer_choices.fields - {ANSWER_CHOICES}


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
        return _find_input_fields(self._used(self.jinja), self._used(self.answer_choices or ""))

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
        if self._lacks_input(row):
            return None
        context = {name: _protect(row[name]) for name in self.fields if name in row}
        generator = None
        if self._used(self.jinja).draws or self._used(self.answer_choices or "").draws:
            generator = random.Random(self.row_seed(row) if seed is None else seed)
        choices = None
        if self.answer_choices is not None:
            rendered_choices = self._render(self.answer_choices, context, generator, row)
            # An option that the row lacks is no choice: scored as an end token alone it would beat every text.
            choices = [choice for choice in _split(rendered_choices) if choice]
            if not choices:
                return None
            by_label = list if self._used(self.jinja).counts_from_end else AnswerChoices
            context[ANSWER_CHOICES] = by_label(choice.strip() for choice in rendered_choices.split(SEPARATOR))
        parts = _split(self._render(self.jinja, context, generator, row))
        if not parts[0]:
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
        return bool(names) and all(name in row and is_blank(row[name]) for name in names)

    def _used(self, source: str) -> Usage:
        try:
            return get_usage(source)
        except TemplateError as error:
            raise TemplateError(f"template {self.name!r} {error}") from error.__cause__

    def _render(
        self, source: str, context: dict[str, Any], generator: random.Random | None, row: Mapping[str, Any]
    ) -> str:
        fields = self._used(source).fields
        try:
            return render_jinja(source, context, fields, generator)
        except TemplateError as error:
            raise TemplateError(
                f"template {self.name!r} fails: {error} (the row's fields: {', '.join(map(str, row))})."
            ) from error.__cause__
