"""Tasks: a data set and a template. Their names, how they are loaded and how they are chosen."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from .data import DataSource, data_source
from .template import Template, TemplateError, load_template_file

SHIPPED_TEMPLATES = Path(__file__).parent / "templates"


class Example(NamedTuple):
    """One row as a task asks it.

    `target_text` is empty and `answer` None where the row has no label; `choices` is None for free-form tasks.
    """

    input_text: str
    target_text: str
    choices: list[str] | None
    answer: int | None


@dataclass(frozen=True)
class Task:
    """A (data set, template) pair.

    Args:
        name: `"<data set>/<template name>"`, unique.
        dataset: Name of the data set, with its subset after a slash.
        template: Renders the rows.
        source: Where the rows come from; None for the Hub's data set of that name.
    """

    name: str
    dataset: str
    template: Template
    source: DataSource | None = None

    @property
    def has_choices(self) -> bool:
        """Whether the answer is one of given choices (else it is free text)."""
        return self.template.answer_choices is not None

    def example(self, row: Mapping[str, Any], index: int | None = None, seed: str | None = None) -> Example | None:
        """Renders a row.

        Args:
            row: Field names and values.
            index: Position of the row, for error messages.
            seed: See `Template.render`.

        Returns:
            None if the task does not apply to the row.

        Raises:
            TemplateError: The template fails on the row, or its target is not among the answer choices.
        """
        where = f"Task {self.name!r}" if index is None else f"Task {self.name!r}, row {index}"
        try:
            rendered = self.template.render(row, seed)
        except TemplateError as error:
            raise TemplateError(f"{where}: {error}") from error.__cause__
        if rendered is None:
            return None
        answer = None
        if rendered.choices is not None and rendered.target_text:
            if rendered.target_text not in rendered.choices:
                raise TemplateError(
                    f"{where}: the target {rendered.target_text!r} is not among the answer choices {rendered.choices}."
                )
            answer = rendered.choices.index(rendered.target_text)
        return Example(*rendered, answer)


def load_tasks(*places: str | Path) -> dict[str, Task]:
    """Loads the tasks of template files.

    Args:
        places: YAML files, and folders that are searched for them (`*.yaml`, subfolders included). None given: the
            shipped no-prompt templates (`SHIPPED_TEMPLATES`).

    Returns:
        Tasks by name, in the order of the places, the paths and the files' entries.

    Raises:
        TemplateError: A file is not a template file, no file is found, or two tasks have the same name.
    """
    tasks: dict[str, Task] = {}
    origin: dict[str, Path] = {}
    for place in map(Path, places or (SHIPPED_TEMPLATES,)):
        paths = sorted(place.rglob("*.yaml")) if place.is_dir() else [place]
        if not paths or not paths[0].is_file():
            raise TemplateError(f"There are no template files (*.yaml) at {place}.")
        for path in paths:
            template_file = load_template_file(path)
            for subset in template_file.subsets:
                dataset = template_file.dataset if subset is None else f"{template_file.dataset}/{subset}"
                source = data_source(template_file, subset)
                for template in template_file.templates:
                    name = f"{dataset}/{template.name}"
                    if name in tasks:
                        raise TemplateError(f"Task {name!r} stands in {origin[name]} and again in {path}; rename one.")
                    tasks[name] = Task(name, dataset, template, source)
                    origin[name] = path
    return tasks


def select_tasks(tasks: Mapping[str, Task], names: Sequence[str]) -> list[Task]:
    """Picks tasks by full name, or all of a data set by its name.

    The order is that of `names`, so that task ids (positions) stay what they are when a name is added at the end.

    Raises:
        ValueError: An unknown name; near ones are suggested.
    """
    datasets: dict[str, list[Task]] = {}
    for task in tasks.values():
        datasets.setdefault(task.dataset, []).append(task)
    chosen: dict[str, Task] = {}
    for name in names:
        if name in tasks:
            found = [tasks[name]]
        elif name in datasets:
            found = datasets[name]
        else:
            near = difflib.get_close_matches(name, [*datasets, *tasks], n=3)
            hint = (
                f"Did you mean {' or '.join(map(repr, near))}?" if near else "Known data sets: " + ", ".join(datasets)
            )
            raise ValueError(f"There is no task or data set {name!r}. {hint}")
        chosen.update((task.name, task) for task in found)
    return list(chosen.values())
