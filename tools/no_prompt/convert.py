"""Templates and files of templates without their prompts."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import yaml
from jinja2 import nodes

from tasks.data_source import resolve_data
from tasks.errors import TemplateError
from tasks.jinja_sandbox import parse_jinja
from tasks.template import Template
from tasks.template_file import TemplateFile
from tasks.template_usage import SEPARATOR

from .jinja_source import UnsupportedSyntax, write_source
from .walk import PromptRemoval


class NotConvertible(ValueError):
    """A template that has no no-prompt counterpart; the message is the cause, in the form "its input shows no field"."""


def without_prompt(template: Template) -> Template:
    """The no-prompt counterpart of a prompted template, under the same name.

    Raises:
        NotConvertible: Nothing of its input would be left, or its syntax is beyond that of templates.
    """
    return _converted(template)[0]


def _converted(template: Template) -> tuple[Template, bool]:
    """The no-prompt counterpart, and whether a condition on a field is lost."""
    try:
        tree = parse_jinja(template.jinja)
        choices = None if template.answer_choices is None else parse_jinja(template.answer_choices)
        varying_choices = choices is not None and any(choices.find_all(nodes.Name))
        conversion = PromptRemoval(tree, varying_choices)
        jinja = write_source(conversion.body).strip()
        answer_choices = (
            None if choices is None else re.sub(r"\s*\|\|\|\s*", f" {SEPARATOR} ", write_source(choices)).strip()
        )
    except TemplateError as error:
        raise NotConvertible("it is not valid Jinja") from error
    except UnsupportedSyntax as error:
        raise NotConvertible(f"it has {str(error).partition(' (')[0]}") from error
    if not conversion.in_target:
        raise NotConvertible(f"its text has no {SEPARATOR}")
    if not conversion.shows_data:
        raise NotConvertible("its input shows no field")
    metadata = {**template.metadata, "choices_in_prompt": conversion.shows_choices}
    return Template(template.name, jinja, answer_choices, metadata=metadata), conversion.loses_condition


@dataclass(frozen=True)
class Conversion:
    """A template file's no-prompt templates.

    Args:
        templates: One of each kind; `reference` names the prompts that it comes from.
        folded: How many others have become the same as one of them.
        weakened: Names of those that lost words which a condition chose by a field that is shown no more.
        causes: Why the others could not be converted, by name.
    """

    templates: tuple[Template, ...]
    folded: int
    weakened: tuple[str, ...]
    causes: dict[str, str]


def convert(templates: Sequence[Template]) -> Conversion:
    """Converts the templates of one data set."""
    kinds: dict[tuple[str, str | None], list[Template]] = {}
    causes = {}
    weakened = []
    for template in templates:
        try:
            converted, loses_condition = _converted(template)
        except NotConvertible as error:
            causes[template.name] = str(error)
        else:
            weakened += [template.name] if loses_condition else []
            kinds.setdefault((converted.jinja, converted.answer_choices), []).append(converted)
    kept = tuple(
        replace(same[0], reference="Without the prompt of: " + "; ".join(template.name for template in same))
        for same in kinds.values()
    )
    return Conversion(kept, sum(map(len, kinds.values())) - len(kinds), tuple(weakened), causes)


def write_template_file(path: str | Path, source: TemplateFile, templates: Sequence[Template]) -> None:
    """Writes templates of the data set of another template file; paths of its rows become absolute."""
    content: dict = {"dataset": source.dataset}
    if source.subsets != (None,):
        content["subset"] = source.subsets[0] if len(source.subsets) == 1 else list(source.subsets)
    if source.data:
        content["data"] = resolve_data(source)
    content["templates"] = {
        template.name: {
            **({} if template.answer_choices is None else {"answer_choices": template.answer_choices}),
            "jinja": template.jinja,
            "metadata": dict(template.metadata),
            "reference": template.reference,
        }
        for template in templates
    }
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120), encoding="utf-8")
