"""The shipped prompted templates: the same answers as without prompts, and words in the input."""

from collections import Counter

import pytest
from jinja2 import nodes

from tasks.data import load_rows
from tasks.jinja_sandbox import parse_jinja
from tasks.mixtures import T0_HELD_OUT, T0_TRAINING, expand_mixtures
from tasks.task import load_tasks, select_tasks


@pytest.fixture(scope="module")
def tasks():
    return load_tasks("prompted")


def test_every_set_of_t0_has_two_that_differ(tasks):
    counts = Counter(task.dataset for task in tasks.values())
    assert [name for name in T0_TRAINING + T0_HELD_OUT if counts[name] < 2] == []
    assert len({(task.dataset, task.template.jinja) for task in tasks.values()}) == len(tasks)


def test_they_go_above_the_shipped_ones_without_prompts(tasks):
    both = load_tasks("no_prompt", "prompted")
    assert set(select_tasks(both, ["t0"])) <= set(both.values())
    for name in T0_TRAINING + T0_HELD_OUT:
        assert {task.name for task in select_tasks(both, [name])} == {t.name for t in select_tasks(tasks, [name])}


def test_they_say_something_in_words_and_tell_whether_they_show_the_choices(tasks):
    for task in tasks.values():
        tree = parse_jinja(task.template.jinja)
        words = " ".join(text.data for text in tree.find_all(nodes.TemplateData)).partition("|||")[0]
        assert len(words.split()) > 1, task.name
        if not task.dataset.startswith("winogrande"):  # shows the two options by their own names
            shown = "answer_choices" in task.template.jinja.partition("|||")[0]
            assert shown or not task.template.metadata["choices_in_prompt"], task.name


@pytest.mark.slow
def test_on_real_rows(tasks, shared):
    no_prompt = load_tasks()
    names = expand_mixtures(["t0_data", "t0_data_held_out"], shared / "t0_data")
    assert len(names) == 32
    for name in names:
        rows = load_rows(name, data_dir=shared / "t0_data")
        prompted = select_tasks(tasks, [name])
        reference = select_tasks(no_prompt, [name])[0]
        for split in (rows.train, rows.evaluation):
            for row in split.select(range(min(60, len(split)))):
                expected = reference.example(row)
                for task in prompted:
                    example = task.example(row)
                    assert example.answer == expected.answer
                    assert task.has_choices or example.target_text == expected.target_text
                    assert len(example.input_text.split()) > 4
