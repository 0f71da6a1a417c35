"""Tasks: a data set and a template. Their names, how they are loaded and how they are chosen."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from .data_source import DataSource, get_data_source
from .errors import TemplateError
from .mixtures import expand_mixtures, mixture_names
from .p3 import PREFIX as P3
from .p3 import get_p3_source, get_p3_template
from .template import Template
from .template_file import load_template_file

SHIPPED_TEMPLATES = Path(__file__).parent / "templates"
PROMPTED_TEMPLATES = Path(__file__).parent / "prompted_templates"
# What `load_tasks` takes for the folders above.
SHIPPED_COLLECTIONS = {"no_prompt": SHIPPED_TEMPLATES, "prompted": PROMPTED_TEMPLATES}


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
        place: The folder or file of templates that it was found in, as given to `load_tasks`.
        labels: Label values of the data set, in the order of the answer choices, where they are known.
        answers: The answer choices, where they are the same for every row and known without one.
    """

    name: str
    dataset: str
    template: Template
    source: DataSource | None = None
    place: Path | None = None
    labels: tuple[Any, ...] | None = None
    answers: tuple[str, ...] | None = None

    @property
    def has_choices(self) -> bool:
        """Whether the answer is one of given choices (else it is free text)."""
        return self.template.answer_choices is not None

    def example(
        self,
        row: Mapping[str, Any],
        index: int | None = None,
        seed: str | None = None,
        check_answer: bool = True,
    ) -> Example | None:
        """Renders a row.

        Args:
            row: Field names and values.
            index: Position of the row, for error messages.
            seed: Seed of the filters that draw, in place of the row's own (see `Template.render`).
            check_answer: Whether a target that is not among the answer choices is an error. For training it need not
                be: some of PromptSource's templates have such targets.

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
            if rendered.target_text in rendered.choices:
                answer = rendered.choices.index(rendered.target_text)
            elif check_answer:
                raise TemplateError(
                    f"{where}: the target {rendered.target_text!r} is not among the answer choices {rendered.choices}."
                )
        return Example(*rendered, answer)


def load_tasks(*places: str | Path) -> dict[str, Task]:
    """Loads the tasks of template files.

    Several places are layers, the later above the earlier: a task of a later place takes the place of an earlier one of
    the same name, and `select_tasks` gives the uppermost layer's tasks of a data set. Rows come from where a lower
    layer found them if a file has no `data` of its own, and a file without subset serves all subsets that a lower layer
    names (PromptSource has one file for the three rounds of ANLI).

    Args:
        places: YAML files, folders that are searched for them (`*.yaml`, subfolders included), and the words `no_prompt`
            and `prompted` for the shipped templates without and with prompts. None given: `no_prompt`.

    Returns:
        Tasks by name, in the order of the places, the paths and the files' entries.

    Raises:
        TemplateError: A file is not a template file, no file is found, or two tasks of one place have the same name.
    """
    tasks: dict[str, Task] = {}
    for place in places or ("no_prompt",):
        place = SHIPPED_COLLECTIONS.get(str(place), Path(place))
        below = {task.dataset: task.source for task in tasks.values()}
        layer: dict[str, Task] = {}
        origin: dict[str, Path] = {}
        paths = _find_template_files(place) if place.is_dir() else [place]
        if not paths or not paths[0].is_file():
            raise TemplateError(f"There are no template files (*.yaml) at {place}.")
        for path in paths:
            template_file = load_template_file(path)
            subsets = template_file.subsets
            if subsets == (None,):
                prefix = f"{template_file.dataset}/"
                subsets = (None, *(name.removeprefix(prefix) for name in below if name.startswith(prefix)))
            for subset in subsets:
                dataset = template_file.dataset if subset is None else f"{template_file.dataset}/{subset}"
                if dataset in below and not template_file.data:
                    source = below[dataset]
                else:
                    source = get_data_source(template_file, subset)
                for template in template_file.templates:
                    name = f"{dataset}/{template.name}"
                    if name in layer:
                        raise TemplateError(f"Task {name!r} stands in {origin[name]} and again in {path}; rename one.")
                    layer[name] = Task(name, dataset, template, source, place)
                    origin[name] = path
        tasks = {name: task for name, task in tasks.items() if name not in layer} | layer
    return tasks


def _find_template_files(folder: Path) -> list[Path]:
    """YAML files at any depth, without the hidden files and folders that editors leave beside them."""
    found = (path.relative_to(folder) for path in folder.rglob("*.yaml"))
    return sorted(folder / path for path in found if not any(part.startswith(".") for part in path.parts))


def select_tasks(
    tasks: Mapping[str, Task], names: Sequence[str], data_dir: str | Path | None = None, held_out: bool = False
) -> list[Task]:
    """Picks tasks by full name, all of a data set by its name, those of a mixture (`tasks.mixtures`), or P3's
    (`P3/<subset>`, see `tasks.p3`).

    The name of a data set stands for its tasks of the place that was given last to `load_tasks` and has some; those of
    other places are to be had by full name. The order is that of `names`, so that task ids (positions) stay what they
    are when a name is added at the end.

    Args:
        tasks: What `load_tasks` gives.
        names: Names of tasks, data sets and mixtures.
        data_dir: Folder of rows that the mixture `t0_data` and P3's tasks look into.
        held_out: Of data sets, only those tasks that an evaluation is about: they ask the question of the data set
            (`original_task`) and not, as some of PromptSource do, another about it; and where some have answer
            choices, they have.

    Raises:
        ValueError: An unknown name, for which near ones are suggested; or a mixture, or rows of P3, that cannot be had.
    """
    datasets: dict[str, list[Task]] = {}
    for task in tasks.values():
        found = datasets.setdefault(task.dataset, [])
        if found and found[-1].place != task.place:
            found.clear()
        found.append(task)
    chosen: dict[str, Task] = {}
    for name in expand_mixtures(names, data_dir):
        if name in tasks:
            found = [tasks[name]]
        elif name in datasets:
            found = _asking(datasets[name]) if held_out else datasets[name]
        elif name.startswith(P3):
            found = [Task(name, name, get_p3_template(name, data_dir), get_p3_source(name))]
        else:
            near = [each for each in datasets if name in each.split("/")]
            near = near or difflib.get_close_matches(name, [*mixture_names(), *datasets, *tasks], n=3)
            known = f"Known mixtures: {', '.join(mixture_names())}; known data sets: {', '.join(datasets)}"
            hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else known
            raise ValueError(f"There is no task, data set or mixture {name!r}. {hint}")
        chosen.update((task.name, task) for task in found)
    return list(chosen.values())


def _asking(tasks: list[Task]) -> list[Task]:
    found = [task for task in tasks if task.template.metadata.get("original_task") is not False]
    return [task for task in found if task.has_choices] or found
