"""Texts, as a user has them, to the rows and the task that features are made of: the command line's own way."""

from collections.abc import Mapping, Sequence
from typing import Any

from modeling_ctr.task_details import TaskDetails
from tasks import Task, Template
from tasks.file_task import to_field_name
from tasks.template import ANSWER_CHOICES, SEPARATOR

from .labels import is_missing

# Fields that are put into a row beside the user's own.
LABEL, CHOICES, TARGET = "label", "choices", "target"
RESERVED = (LABEL, CHOICES, TARGET, ANSWER_CHOICES)
TEXT = "text"
ROW_CHOICES = f"{{{{{CHOICES} | join(' {SEPARATOR} ')}}}}"

Text = str | Mapping[str, Any]


def listed_texts(texts: Any, what: str = "texts") -> list[Text]:
    """Texts as a list, checked: strings or rows (mappings of fields), none of them empty.

    Args:
        texts: A list, a column, a data frame, a data set of rows.
        what: Name of the argument, for messages.

    Raises:
        ValueError: It is a single text, holds nothing, or one of the texts is empty or no text.
    """
    if isinstance(texts, (str, Mapping)):
        raise ValueError(f"`{what}` must be a list of texts, but is one: put it into a list.")
    if hasattr(texts, "to_dict") and hasattr(texts, "columns"):  # a pandas data frame
        texts = texts.to_dict("records")
    listed = list(texts)
    if not listed:
        raise ValueError(f"There are no {what}.")
    kind = Mapping if isinstance(listed[0], Mapping) else str
    for number, text in enumerate(listed):
        if not isinstance(text, (str, Mapping)):
            raise ValueError(f"{what}[{number}] must be a text or a mapping of fields, but is {text!r:.80}.")
        if not isinstance(text, kind):
            raise ValueError(
                f"{what}[{number}] is a {type(text).__name__}, but {what}[0] is not: make all of one kind."
            )
        if kind is str and not text.strip():
            raise ValueError(f"{what}[{number}] is empty: leave it out.")
    return listed


def complete_template(template: str | None, text: Text, classified: bool) -> str:
    """Source of "input ||| target" for texts like this one.

    Args:
        template: Source of the input alone, or of both. By default the text, or its fields, each on a line, under names
            that a template can use (see `tasks.file_task.to_field_name`).
        text: The first of the texts.
        classified: Whether there are answers to choose from, or the target is free.

    Raises:
        ValueError: The template is empty or not valid.
    """
    if template is None:
        names = [TEXT] if isinstance(text, str) else [name for name in text if name not in RESERVED]
        template = "\n".join(f"{{{{{to_field_name(str(name))}}}}}" for name in names)
    if not template.strip():
        raise ValueError("The template is empty: it must show some field of the text, such as '{{text}}'.")
    if SEPARATOR not in template:
        template = f"{template} {SEPARATOR} " + (
            f"{{{{{ANSWER_CHOICES}[{LABEL}]}}}}" if classified else f"{{{{{TARGET}}}}}"
        )
    _ = Template("template", template).fields  # an error here, with its reason, where it is not valid
    return template


def make_task(name: str, details: TaskDetails, choices_by_row: bool = False) -> Task:
    """The task, as the command line would read it from a template file."""
    answers = ROW_CHOICES if choices_by_row else None
    if details.answers is not None and not choices_by_row:
        answers = f" {SEPARATOR} ".join(_literal(answer) for answer in details.answers)
    template = details.template
    if template is None:
        template = complete_template(None, "", answers is not None)
    return Task(name, name, Template(name, template, answers))


def make_rows(
    task: Task,
    texts: Sequence[Text],
    targets: Sequence[Any] | None = None,
    choices: Sequence[Sequence[str]] | None = None,
    numbers: Sequence[int] | None = None,
) -> list[dict[str, Any]]:
    """Rows for the task's template.

    Args:
        task: Renders them.
        texts: What `listed_texts` gives.
        targets: Class of each text (its position among the answers), or free text; None where unknown.
        choices: Answers to choose from, for each text, where they differ.
        numbers: What the texts are called in messages; by default their positions.

    Raises:
        ValueError: The template asks for other fields than the texts have.
    """
    inputs = sorted(task.template.input_fields)
    if isinstance(texts[0], str):
        if len(inputs) != 1:
            raise ValueError(
                f"The template of task {task.name!r} shows the fields {', '.join(inputs) or '(none)'}: give texts as "
                "mappings with these fields."
            )
        texts = [{inputs[0]: text} for text in texts]
    unknown = sorted(task.template.fields - set(inputs) - {CHOICES})
    if targets is not None and len(unknown) != 1:
        raise ValueError(
            f"The target of the template of task {task.name!r} must read one field, such as '{LABEL}', but reads "
            f"{', '.join(unknown) or 'none'}."
        )
    rows = []
    for position, text in enumerate(texts):
        text = {to_field_name(str(name)): value for name, value in text.items()}
        missing = [name for name in inputs if name not in text]
        if missing:
            raise ValueError(
                f"texts[{numbers[position] if numbers else position}] has no field {missing[0]!r}, which the template of task {task.name!r} shows; it has "
                f"{', '.join(map(str, text)) or 'none'}."
            )
        row = {name: None if is_missing(text[name]) else text[name] for name in inputs} | dict.fromkeys(unknown)
        if targets is not None:
            row[unknown[0]] = targets[position]
        if choices is not None:
            row[CHOICES] = list(choices[position])
        rows.append(row)
    return rows


def listed_choices(choices: Sequence[Any], num_texts: int) -> list[list[str]]:
    """Answers to choose from, for each text, checked.

    Args:
        choices: A list of answers for each text, or one list for all of them.
        num_texts: Number of texts.

    Raises:
        ValueError: There is not one list for each text, or one holds fewer than two answers, or an empty one, or one
            twice.
    """
    choices = list(choices)
    if choices and all(isinstance(choice, str) for choice in choices):
        choices = [choices] * num_texts
    if len(choices) != num_texts:
        raise ValueError(f"There are {num_texts} texts, but {len(choices)} lists of choices: give one for each text.")
    checked = []
    for number, of_text in enumerate(choices):
        if isinstance(of_text, str) or not all(isinstance(choice, str) for choice in of_text):
            raise ValueError(f"choices[{number}] must be a list of texts, but is {of_text!r:.80}.")
        stripped = [choice.strip() for choice in of_text]
        if len(stripped) < 2 or not all(stripped) or len(set(stripped)) < len(stripped):
            raise ValueError(
                f"choices[{number}] must hold two or more different texts, but is {list(of_text)!r:.120}."
            )
        checked.append(stripped)
    return checked


def _literal(answer: str) -> str:
    """An answer in a template: as it is, or as a string of Jinja's where it would be read as a part of it."""
    return f"{{{{ {answer!r} }}}}" if any(mark in answer for mark in ("{{", "{%", "{#")) else answer
