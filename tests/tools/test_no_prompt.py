import pytest

from tasks.task import load_tasks
from tasks.template import Template
from tools.no_prompt import NotConvertible, convert, without_prompt
from tools.no_prompt.__main__ import main

KEPT = " ||| {{target}}"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Read: {{a}} Then say: {{ b|lower }}?", "{{a}}\n{{b | lower}}"),
        # Fields side by side stay so.
        ("Text: {{a}}{{b}}", "{{a}}{{b}}"),
        # Constants are words as well.
        ("{{'Which'}} {{ ['one', 'two'] | choice }} is {{a}}, {{'x' if loop}}?", "{{a}}"),
        ('{% set q = ["What", "Who"] | random %}{{q}} is {{a}}?', "{{a}}"),
        # Words chosen by a field's number are lost; those chosen by its text give way to the field.
        ("{{a}} {% if b == 1 %}good{% else %}bad{% endif %}", "{{a}}"),
        ('{{a}} {% if b == "cause" %}because{% else %}so{% endif %}', "{{a}}\n{{b}}"),
        ('{{a}} {{"because" if b == "cause" else "so"}}', "{{a}}\n{{b}}"),
        # ... unless the target reads it.
        ('{{a}} {% if target == "yes" %}surely{% endif %}', "{{a}}"),
        ("{{ 'Look: ' + a if b else 'Nothing.' }}", '{{a if b else ""}}'),
        ("See {% if b %}first {{a}}{% else %}then {{c}}{% endif %} now", "{% if b %}{{a}}{% else %}{{c}}{% endif %}"),
        ("All: {% for x in a %}\n- {{x}}{% endfor %}\nSo?", "{% for x in a %}\n{{x}}{% endfor %}"),
        ("All: {% for x in a %}{{x}}, {% endfor %}So?", "{% for x in a %}\n{{x}}{% endfor %}"),
        ("{% for x in a %}{{x}}{% endfor %}", "{% for x in a %}{{x}}{% endfor %}"),
        ("{% for x in a %}{{ loop.index }}) {{x}} {% endfor %}", "{% for x in a %} {{x}}{% endfor %}"),
        ("{% for x in a %}word{% endfor %}{{b}}", "{{b}}"),
        ("{{ answer_choices | join(' or ') }}? {{a}}", '{{answer_choices | join(", ")}}\n{{a}}'),
        ("{{ 'Q: ' ~ a ~ ' A: ' ~ b ~ '.' }}", '{{a ~ ", " ~ b}}'),
        ("{{ 'Is {} or {}?'.format(a, b) }}", '{{a ~ " " ~ b}}'),
        ("{% set n = a | length %}{% set m = a[0] %}In {{n}} words: {{m}}", "{% set m = a[0] %}{{m}}"),
        (
            "{% set seen = [] %}{% set other = [] %}{% for x in a %}{{ seen.append(x) or '' }}{{ other.append(x) }}"
            "{% endfor %}We saw {{ seen | join(' and ') }}",
            '{% set seen = [] %}{% for x in a %}{{seen.append(x) or ""}}{% endfor %}{{seen | join(", ")}}',
        ),
        ("{% set a = a.split() %}Words: {{ a[0] }}", "{% set a = a.split() %}{{a[0]}}"),
        # Text in braces of its own is data of nothing.
        ("{% raw %}{{words}}{% endraw %} {{a}}", "{{a}}"),
    ],
)
def test_words_go_and_fields_stay(before, after):
    assert without_prompt(Template("t", before + KEPT, "yes ||| no")).jinja == after + KEPT


def test_target_and_answer_choices_stay():
    template = Template("t", "Say: {{a}} |||\n It is {{ 'not ' if b }}so. \n", "It is so.|||It is not so.")
    converted = without_prompt(template)
    assert converted.jinja == '{{a}} ||| It is {{"not " if b}}so.'
    assert converted.answer_choices == "It is so. ||| It is not so."
    rows = [{"a": "rain", "b": 0}, {"a": "sun", "b": 1}]
    for row in rows:
        assert converted.render(row)[1:] == template.render(row)[1:]


def test_a_separator_in_each_branch():
    jinja = "{% if b %}Up: {{a}} ||| up it is{% else %}Down: {{c}} ||| down{% endif %}"
    converted = without_prompt(Template("t", jinja))
    assert converted.jinja == "{% if b %}{{a}} ||| up it is{% else %}{{c}} ||| down{% endif %}"


def test_metadata_tells_whether_choices_are_shown():
    for jinja, shown in (("{{a}} {{answer_choices[0]}}?", True), ("{{a}} yes or no?", False)):
        converted = without_prompt(Template("t", jinja + KEPT, "yes ||| no", metadata={"choices_in_prompt": True}))
        assert converted.metadata == {"choices_in_prompt": shown}


@pytest.mark.parametrize(
    ("template", "cause"),
    [
        (Template("t", "Write something. ||| {{a}}"), "its input shows no field"),
        (Template("t", "Yes or no: {{answer_choices | join}} ||| {{a}}", "yes ||| no"), "its input shows no field"),
        (Template("t", "Read {{a}}."), r"its text has no \|\|\|"),
        (Template("t", "{% if %} ||| "), "not valid Jinja"),
        (Template("t", "{% macro x() %}{% endmacro %}{{a}} ||| b"), "it has a Macro statement"),
    ],
)
def test_what_does_not_convert(template, cause):
    with pytest.raises(NotConvertible, match=cause):
        without_prompt(template)


def test_templates_that_differ_in_words_only_are_one():
    texts = ["Read: {{a}}", "{{a}}\n\nWell?", "{{ a }} {% if b == 2 %}so{% endif %}", "{{b}} {{a}}", "No field."]
    conversion = convert([Template(f"t{index}", text + KEPT) for index, text in enumerate(texts)])
    assert [template.name for template in conversion.templates] == ["t0", "t3"]
    assert conversion.templates[0].reference == "Without the prompt of: t0; t1; t2"
    assert conversion.folded == 2
    assert conversion.weakened == ("t2",)
    assert conversion.causes == {"t4": "its input shows no field"}


def test_a_folder_of_templates_becomes_another(tmp_path, capsys):
    source = tmp_path / "in" / "sub"
    source.mkdir(parents=True)
    (source / "mine.yaml").write_text(
        "dataset: mine\nsubset: [a, b]\ndata: {data_files: {train: rows.csv}}\ntemplates:\n"
        "  one: {answer_choices: 'no ||| yes', jinja: 'Is {{text}} good? ||| {{answer_choices[label]}}'}\n"
        "  two: {answer_choices: 'no ||| yes', jinja: 'Well: {{text}} ||| {{answer_choices[label]}}'}\n"
    )
    (source / "none.yaml").write_text("dataset: none\ntemplates:\n  one: {jinja: 'Write. ||| {{text}}'}\n")
    main([str(tmp_path / "in"), str(tmp_path / "out")])
    assert capsys.readouterr().out == (
        "3 templates in 2 files: 2 convert, to 1 different ones.\n"
        "0 of them lose words that a condition chose by a field which is not shown otherwise.\n"
        "1 do not convert: its input shows no field.\n"
    )
    tasks = load_tasks(tmp_path / "out")
    assert list(tasks) == ["mine/a/one", "mine/b/one"]
    assert tasks["mine/a/one"].source.data_files == {"train": str(source / "rows.csv")}
    assert tasks["mine/b/one"].example({"text": "rain", "label": 1})[:2] == ("rain", "yes")


def test_a_folder_without_templates_is_an_error(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main([str(tmp_path), str(tmp_path / "out")])
    assert "no template files" in capsys.readouterr().err
