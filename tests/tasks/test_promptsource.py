"""The whole PromptSource collection: every template renders, and its no-prompt counterpart does and says no words.

Rows are real where there are any; else a stand-in takes the place of each field, which is whatever the template uses it
as. That shows that a template is sound in itself, not that the data set has such fields.
"""

import random
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from jinja2 import nodes

from tasks.data import has_rows, load_rows
from tasks.errors import TemplateError
from tasks.jinja_sandbox import parse_jinja
from tasks.task import Task, load_tasks
from tasks.template import Template
from tools.no_prompt import NotConvertible, without_prompt
from tools.no_prompt.__main__ import main

pytestmark = pytest.mark.slow


class StandIn:
    """A text, number, list or mapping, as need be; what it is equal to is drawn."""

    def __init__(self, seed: int, text: str = "rain", length: int = 2):
        self._coin, self._text, self._length = random.Random(seed), text, length

    def __getattr__(self, name: str) -> "StandIn":
        if name.startswith("__") or name in ("unsafe_callable", "alters_data"):
            raise AttributeError(name)
        return self

    def __getitem__(self, key) -> "StandIn":
        return self

    def __call__(self, *arguments, **keywords) -> "StandIn":
        return self

    def __iter__(self) -> Iterator["StandIn"]:
        return iter([self] * self._length)

    def __eq__(self, other) -> bool:
        return other is self or self._coin.random() < 0.5

    __hash__ = object.__hash__

    def __contains__(self, item) -> bool:
        return self._coin.random() < 0.5

    __lt__ = __gt__ = __le__ = __ge__ = __contains__

    def __len__(self) -> int:
        return self._length

    def __str__(self) -> str:
        return self._text

    def __add__(self, other):
        return f"{self._text}{other}" if isinstance(other, (str, StandIn)) else 1 + other

    def __radd__(self, other):
        return f"{other}{self._text}" if isinstance(other, str) else other + 1

    def __int__(self) -> int:
        return 1

    __index__ = __abs__ = __neg__ = __int__

    def __float__(self) -> float:
        return 1.0

    def __round__(self, digits=None) -> int:
        return 1

    def __sub__(self, other):
        return 1 - int(other)

    __rsub__ = __sub__

    def __mul__(self, other):
        return other

    __rmul__ = __mul__

    def __truediv__(self, other):
        return 1 / float(other)

    def __rtruediv__(self, other):
        return float(other)


WORDS = ["rain", "sun", "wind", "snow", "fog"]


def rows_for(template: Template) -> Iterator[dict]:
    """Rows of stand-ins; in later ones they say words of the template, or a field has a value of a usual kind."""
    sources = [template.jinja, template.answer_choices or ""]
    trees = [parse_jinja(source) for source in sources]
    values = [constant.value for tree in trees for constant in tree.find_all(nodes.Const)]
    values += [word.strip() for word in sources[1].split("|||")]
    words = [word for value in values if isinstance(value, str) for word in (value, value.lower(), value.upper())]
    kinds = [
        *WORDS[:1],
        0,
        1,
        " ".join(WORDS),
        WORDS,
        WORDS[:3],
        *({"text": WORDS[:n], "label": list("ABCDE"[:n])} for n in (4, 5)),
        [WORDS] * 3,
    ]
    fields = sorted(template.fields)
    for length in (2, 6, 9):
        for text in dict.fromkeys(["rain", *words]):
            for seed in range(20):
                yield {name: StandIn(seed, text, length) for name in fields}
        for value in [*dict.fromkeys(filter(None, words)), *kinds]:
            for field in fields:
                for seed in range(3):
                    yield {name: StandIn(seed, length=length) for name in fields} | {field: value}
                # What else is asked about may be one of several words.
                for text in (WORDS[0], "A"):
                    yield dict.fromkeys(fields, text) | {field: value}


@pytest.fixture(scope="module")
def rows_of(shared):
    """`rows_of(data_set)`: a few real rows of both splits, or None."""
    known: dict[str, list | None] = {}

    def get(dataset: str) -> list[dict] | None:
        if dataset not in known:
            if has_rows(dataset, shared / "t0_data"):
                split = load_rows(dataset, data_dir=shared / "t0_data")
                rows = [*split.train.select(range(12)), *split.evaluation.select(range(12))]
                known[dataset] = rows
            else:
                known[dataset] = None
        return known[dataset]

    return get


@pytest.fixture(scope="module")
def tasks(shared):
    places = shared / "promptsource" / "templates"
    return [task for task in load_tasks("no_prompt", places).values() if task.place == places]


def first_rendered(task: Task) -> tuple[dict, object] | str:
    """A row of stand-ins and its example, or the last error."""
    cause = None
    for row in rows_for(task.template):
        try:
            example = task.example(row)
        except TemplateError as error:
            cause = cause or str(error)
            continue
        if example is not None and example.input_text and example.target_text:
            return row, example
    return cause or "it applies to no row"


# Templates whose target is none of their own answer choices, for a full stop, a word or a quotation mark too many. They
# serve for training, where the target alone counts.
NOT_AMONG_CHOICES = {
    "aqua_rat/raw/generate_rational_and_correct_choice",
    "blended_skill_talk/guess-correct-order",
    "ecthr_cases/alleged-violation-prediction/implicit_judgment_paragraph",
    "emotion/select_emotion_label_from_list",
    "imdb/Negation template for positive and negative",
    "movie_rationales/Generate evidences and sentiment",
}


def test_every_template_renders(tasks, rows_of):
    failures, real = {}, 0
    for task in tasks:
        rows = rows_of(task.dataset)
        if rows is None:
            found = first_rendered(task)
            if isinstance(found, str):
                failures[task.name] = found
        else:
            real += 1
            try:
                if not any(example and example.target_text for example in map(task.example, rows)):
                    failures[task.name] = "it applies to none of the real rows"
            except TemplateError as error:
                failures[task.name] = str(error)
    assert len(tasks) == 2085 + 3 * 15  # those of ANLI serve its three rounds as well
    assert real > 300
    assert failures.keys() == NOT_AMONG_CHOICES, failures
    assert all("is not among the answer choices" in failure for failure in failures.values())


def test_nearly_every_template_converts(shared, tmp_path, capsys):
    main([str(shared / "promptsource" / "templates"), str(tmp_path)])
    print(report := capsys.readouterr().out)
    assert "2085 templates in 279 files: 2084 convert, to 1142 different ones." in report
    assert "1 do not convert: its input shows no field." in report
    assert len(load_tasks(tmp_path)) == 1142


def constants_of(template: Template) -> set[str]:
    """Words in expressions. Those that conversion leaves are keys that fields are compared with, formats and the like."""
    constants = parse_jinja(template.jinja).find_all(nodes.Const)
    return words(" ".join(str(constant.value) for constant in constants))


def words(text: str) -> set[str]:
    return set(re.findall(r"[^\W_]+", text.lower()))


def test_converted_templates_say_nothing_but_what_is_in_the_row(tasks, rows_of):
    tried = 0
    for task in tasks:
        rows = rows_of(task.dataset)
        try:
            without = replace(task, template=without_prompt(task.template))
        except NotConvertible:
            continue
        texts = " ".join(text.data for text in input_nodes(without.template, nodes.TemplateData))
        assert not words(texts), task.name
        if rows is None:
            if task.name not in NOT_AMONG_CHOICES:
                assert not isinstance(first_rendered(without), str), task.name
            continue
        tried += 1
        own = constants_of(without.template)
        texts = input_nodes(task.template, nodes.TemplateData)
        words_of_prompt = words(" ".join(text.data for text in texts)) | (constants_of(task.template) - own)
        draws = re.search(r"\| (choice|random)", without.template.jinja)
        for row in rows:
            before, after = task.example(row, check_answer=False), without.example(row, check_answer=False)
            assert (before is None) == (after is None), task.name
            if before is None:
                continue
            said = words(after.input_text) - words(str(row)) - words(" ".join(before.choices or ())) - own
            # What the row writes in escapes or in other pieces; not so the words that are to go.
            said -= words(before.input_text) - words_of_prompt
            assert {word for word in said if word not in str(row).lower()} == set(), task.name
            assert after.input_text or not before.input_text, task.name
            if not draws:  # draws differ with the fields that are read
                assert after.target_text == before.target_text, task.name
                assert after.choices == before.choices, task.name
    assert tried > 300


def input_nodes(template: Template, kind: type[nodes.Node]) -> list[nodes.Node]:
    """Nodes before the first separator of their branch; a branch after it starts with the target anew."""
    found: list[nodes.Node] = []

    def walk(node: nodes.Node, in_target: bool) -> bool:
        entry = in_target
        for child in node.iter_child_nodes():
            if isinstance(child, nodes.TemplateData) and "|||" in child.data:
                in_target = True
                child = nodes.TemplateData(child.data.partition("|||")[0])
                found.extend([child] if isinstance(child, kind) else [])
            elif isinstance(child, kind) and not in_target:
                found.append(child)
            elif isinstance(node, nodes.If) and child in node.elif_:
                in_target |= walk(child, entry)
            else:
                in_target |= walk(child, in_target)
        return in_target

    walk(parse_jinja(template.jinja), False)
    return found
