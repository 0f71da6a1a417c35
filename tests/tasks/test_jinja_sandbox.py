import pytest

from tasks.errors import TemplateError
from tasks.template import Template


def render(source: str, row: dict) -> str:
    return Template("t", f"{source} ||| x").render(row).input_text


@pytest.mark.parametrize("name", ["zip", "range", "dict", "lipsum", "cycler", "joiner", "namespace"])
def test_fields_called_like_functions_of_jinja_are_fields(name):
    template = Template("t", f"{{{{{name}}}}} ||| x")
    assert template.fields == {name}
    assert template.render({name: "10-20 km"}).input_text == "10-20 km"
    with pytest.raises(TemplateError, match=f"the row has no field '{name}'"):
        template.render({"text": "a"})


@pytest.mark.parametrize("name", ["items", "values", "keys", "get", "copy", "pop", "update"])
def test_fields_of_a_field_called_like_methods_are_fields(name):
    assert render(f"{{{{order.{name}}}}}", {"order": {name: "pen"}}) == "pen"
    with pytest.raises(TemplateError, match=f"it shows the function '{name}'"):
        render(f"{{{{order.{name}}}}}", {"order": {"other": "pen"}})


def test_functions_and_methods_that_are_called_are_functions():
    row = {"order": {"a": 1}, "left": ["x"], "right": ["y"]}
    source = (
        "{% for k, v in order.items() %}{{k}}{{v}}{% endfor %}{% for l, r in zip(left, right) %}{{l}}{{r}}{% endfor %}"
    )
    assert render(source + "{{range(3) | list}}", row) == "a1xy[0, 1, 2]"
    assert Template("t", source + " ||| {{range(3)}}").fields == {"order", "left", "right"}


def test_a_value_that_is_missing_shows_nothing():
    assert render("a{{x}}{{y}}{{z}}", {"x": None, "y": float("nan"), "z": "b"}) == "ab"


@pytest.mark.parametrize("label", [None, float("nan"), -1, "-1", "", " nan "])
def test_a_label_that_is_missing_is_no_answer(label):
    template = Template("t", "{{text}} ||| {{answer_choices[label]}}", "bad ||| good")
    assert template.render({"text": "a", "label": label}).target_text == ""


@pytest.mark.parametrize("label", [1, 1.0, "1", " 1.0", True])
def test_a_label_may_be_a_number_in_a_text(label):
    template = Template("t", "{{text}} ||| {{answer_choices[label]}}", "bad ||| good")
    assert template.render({"text": "a", "label": label}).target_text == "good"


def test_choices_that_a_row_lacks_are_left_out():
    template = Template("t", "{{q}} ||| {{answer_choices[label]}}", "{{A}} ||| {{B}} ||| {{C}}")
    assert template.render({"q": "?", "A": "x", "B": None, "C": "z", "label": 2}) == ("?", "z", ["x", "z"])
    assert template.render({"q": "?", "A": "x", "B": None, "C": "z", "label": 1}).target_text == ""
    assert template.render({"q": "?", "A": "x", "B": "y", "C": "", "label": 2}) == ("?", "", ["x", "y"])
    assert template.render({"q": "?", "A": "", "B": " ", "C": None, "label": 0}) is None
    assert (
        Template("t", "{{q}} {{answer_choices | join('/')}} ||| x", "a ||| b |||").render({"q": "?"}).input_text
        == "? a/b"
    )


@pytest.mark.parametrize("row", [{"text": None}, {"text": ""}, {"text": " \n"}, {"text": float("nan")}])
def test_a_row_without_input_is_no_example(row):
    assert Template("t", "Review: {{text}} ||| {{label}}").render(row | {"label": "good"}) is None
    assert Template("t", "{{title}} {{text}} ||| {{label}}").render(row | {"title": "A", "label": "good"}) is not None
    assert Template("t", "{{label}} ||| {{label}}").render(row | {"label": "good"}) is not None
