import collections

import pytest

from tasks.errors import TemplateError
from tasks.task import load_tasks
from tasks.template import Template
from tasks.template_file import load_template_file


def test_renders_input_target_and_choices_of_the_row():
    template = Template("copa", "{{premise}} ||| {{answer_choices[label]}}", "{{choice1}} ||| {{choice2}} ")
    rendered = template.render({"premise": "It rained.", "choice1": "wet", "choice2": "dry", "label": 0})
    assert rendered == ("It rained.", "wet", ["wet", "dry"])


def test_free_form_template_has_no_choices():
    assert Template("sum", "{{document}} ||| {{summary}}").render({"document": "long", "summary": "short"}) == (
        "long",
        "short",
        None,
    )


def test_a_separator_inside_the_rows_text_does_not_split():
    row = {"text": "a ||| b", "first": "x|||y"}
    rendered = Template("pipes", "{{text}} ||| {{first}}", "{{first}} ||| no").render(row)
    assert rendered == ("a ||| b", "x|||y", ["x|||y", "no"])


def test_empty_target_means_no_label_and_empty_rendering_that_the_template_does_not_apply():
    template = Template("t", "{% if use %}{{text}} ||| {% if label != -1 %}{{label}}{% endif %}{% endif %}")
    assert template.render({"use": True, "text": "a", "label": -1}).target_text == ""
    assert template.render({"use": False, "text": "a", "label": 1}) is None


@pytest.mark.parametrize(
    ("jinja", "words"),
    [
        ("{{text}} {{headline}} ||| x", ["'short'", "headline"]),
        ("{{text}} ||| {{answer_choices[label]}}", ["'short'", "it has no answer_choices"]),
        ("{{text.nothing}} ||| x", ["'short'", "nothing"]),
        ("{{text ||| x", ["'short'", "not valid Jinja"]),
        ("{{text}}", ["'short'", "1 part"]),
        ("{{text}} ||| a ||| b", ["'short'", "3 part"]),
        ("{{text + 1}} ||| x", ["'short'", "fails"]),
        ("{{''.__class__.__mro__}} ||| x", ["'short'", "unsafe"]),
    ],
)
def test_a_failing_template_says_what_failed(jinja, words):
    with pytest.raises(TemplateError) as error:
        Template("short", jinja).render({"text": "a", "label": 0})
    for word in words:
        assert word in str(error.value)


def test_a_choice_outside_the_list_is_an_error_and_not_an_empty_target():
    template = Template("t", "{{text}} ||| {{answer_choices[label]}}", "a ||| b")
    for label in (7, "b", 0.5):
        with pytest.raises(
            TemplateError, match=rf"{label!r} is no position \(from 0\) in the answer choices \['a', 'b'\]"
        ):
            template.render({"text": "a", "label": label})
    with pytest.raises(TemplateError, match="the row has no field 'label'"):
        template.render({"text": "a"})


@pytest.mark.parametrize(("label", "target"), [(-1, ""), (None, ""), (-1.0, ""), (1.0, "b"), (True, "b"), (0, "a")])
def test_what_stands_for_a_missing_label_is_no_choice(label, target):
    template = Template("t", "{{text}} ||| {{answer_choices[label]}}", "a ||| b")
    assert template.render({"text": "a", "label": label}).target_text == target


def test_choices_may_be_counted_from_the_end():
    template = Template("t", "{{answer_choices[:-1] | join(', ')}} or {{answer_choices[-1]}}? ||| a", "a ||| b ||| c")
    assert template.render({}).input_text == "a, b or c?"


def test_a_field_without_value_is_empty():
    template = Template("t", "{{title}} {{text}} ||| {{summary}}")
    assert template.render({"title": None, "text": "a", "summary": None}) == ("a", "", None)


def test_choice_is_repeatable_per_row_and_differs_between_rows():
    template = Template("t", "{{items | choice}} {{items | choice}} {{items | random}} ||| {{n}}")
    rows = [{"items": list("abcdefgh"), "n": n} for n in range(20)]
    first = [template.render(row) for row in rows]
    assert first == [template.render(row) for row in rows]
    assert len({rendered.input_text for rendered in first}) > 10
    assert template.render(rows[0], seed=template.row_seed(rows[1])).input_text == first[1].input_text


def test_most_frequent_and_zip_and_tojson():
    template = Template(
        "t",
        "{{items | most_frequent | join(',')}} {% for a, b in zip(items, items) %}{{a + b}}{% endfor %} ||| {{items | tojson}}",
    )
    assert template.render({"items": ["b", "a", "b", "a", "c"]})[:2] == ("b,a bbaabbaacc", '["b", "a", "b", "a", "c"]')


def test_a_template_cannot_change_the_row():
    row = {"items": ["a"]}
    Template("t", "{{items.append('b') or items | join}} ||| x").render(row)
    assert row == {"items": ["a"]}


def test_context_fields_are_those_of_neither_target_nor_choices_nor_question():
    template = Template(
        "t",
        "{{context}} {{question}} {{option}} {{mark}} ||| {% if mark %}{{answer_choices[0]}}{% endif %}",
        "{{option}}",
    )
    assert template.fields == {"context", "question", "option", "mark"}
    assert template.context_fields == {"context"}
    assert Template("t", "{{question1}} ||| x").context_fields == {"question1"}
    assert Template("t", "{% for i in range(3) %}{{text[i]}}{% endfor %} ||| x").context_fields == {"text"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dataset: [", "not readable YAML"),
        ("templates: {}", "'dataset' and 'templates'"),
        ("- a", "'dataset' and 'templates'"),
        ("dataset: d\ndata: a.csv\ntemplates: {}", r"'data' must be a mapping, such as \{data_files: 'a.csv'\}"),
        ("dataset: d\ntemplate: {}\ntemplates: {}", "unknown keys"),
        ("dataset: d\ntemplates: {a: {name: a}}", "'a' needs a 'jinja'"),
        ("dataset: d\ntemplates: {a: {jinja: x, answer_choices: [a, b]}}", "must be one text"),
        (
            "dataset: d\ntemplates: {a: {name: n, jinja: x}, b: {name: n, jinja: y}}",
            "more than one template named 'n'",
        ),
        ("dataset: d\ntemplates:\n  a: {jinja: x}\n  a: {jinja: y}", r"'a' stands there twice\n.* line 4"),
        ("dataset: !!python/object/apply:os.system [ls]\ntemplates: {}", "python/object"),
        ("dataset: d\ntemplates: {a: !Other {jinja: x}}", "!Other"),
    ],
)
def test_a_bad_file_says_what_is_wrong(tmp_path, text, message):
    path = tmp_path / "t.yaml"
    path.write_text(text)
    with pytest.raises(TemplateError, match=message) as error:
        load_template_file(path)
    assert str(path) in str(error.value)


def test_a_short_file_without_tags_and_names(tmp_path):
    path = tmp_path / "t.yaml"
    path.write_text("dataset: d\nsubset: [x, 2016]\ntemplates:\n  plain: {jinja: '{{a}} ||| {{b}}'}\n")
    loaded = load_template_file(path)
    assert (loaded.dataset, loaded.subsets, loaded.data) == ("d", ("x", "2016"), {})
    assert loaded.templates == (Template("plain", "{{a}} ||| {{b}}", id="plain"),)


def test_the_whole_promptsource_collection_loads(shared):
    paths = sorted((shared / "promptsource" / "templates").rglob("templates.yaml"))
    files = [load_template_file(path) for path in paths]
    assert len(files) == 279
    assert sum(len(file.templates) for file in files) == 2085
    tasks = load_tasks(shared / "promptsource" / "templates")
    assert len(tasks) == 2085
    # Parsed as well as read: every template says which fields it needs, and some have none to shorten.
    assert collections.Counter(bool(task.template.fields) for task in tasks.values())[True] > 2070
