import pandas
import pytest

from modeling_ctr.task_details import TaskDetails
from prediction.task_texts import complete_template, listed_choices, listed_texts, make_rows, make_task


def rendered(details, texts, choices=None, **rows):
    task = make_task("t", details, choices is not None)
    return [task.example(row) for row in make_rows(task, texts, choices=choices, **rows)]


def test_a_text_is_its_own_input():
    details = TaskDetails(answers=["bad", "good"], template=complete_template(None, "a", True))
    first, second = rendered(details, ["nice ||| film", "awful"], targets=[1, 0])
    assert first == ("nice ||| film", "good", ["bad", "good"], 1)
    assert second == ("awful", "bad", ["bad", "good"], 0)
    (unlabeled,) = rendered(details, ["nice"])
    assert unlabeled == ("nice", "", ["bad", "good"], None)


def test_fields_stand_on_lines_of_their_own_and_labels_among_them_are_not_shown():
    text = {"premise": "it rains", "hypothesis": "it is wet", "label": 1, "choices": ["x"]}
    details = TaskDetails(answers=["yes", "no"], template=complete_template(None, text, True))
    assert rendered(details, [text], targets=[0])[0][:2] == ("it rains\nit is wet", "yes")


def test_fields_have_names_that_a_template_can_use():
    text = {"Review Text": "nice", "class": "book"}
    details = TaskDetails(answers=["yes", "no"], template=complete_template(None, text, True))
    assert rendered(details, [text])[0].input_text == "nice\nbook"


@pytest.mark.parametrize("answer", ["{{x}}", "{% if", "a 'b' \"c\"", "{# é \U0001f600", "50 %"])
def test_answers_are_taken_as_they_are(answer):
    details = TaskDetails(answers=[answer, "other"], template=complete_template(None, "a", True))
    assert rendered(details, ["text"], targets=[0])[0] == ("text", answer, [answer, "other"], 0)


def test_templates_of_ones_own():
    shown = complete_template("{{q}}?", {"q": "a"}, True)
    assert shown == "{{q}}? ||| {{answer_choices[label]}}"
    full = "{{s}} ||| {% if gold != -1 %}{{answer_choices[gold]}}{% endif %}"
    assert complete_template(full, "a", True) == full
    details = TaskDetails(answers=["a", "b"], template=full)
    assert rendered(details, ["one text"], targets=[1])[0].answer == 1  # a text stands for the only field
    assert rendered(details, [{"s": "x", "more": 1}])[0] == ("x", "", ["a", "b"], None)


def test_free_targets():
    details = TaskDetails(template=complete_template(None, "a", False))
    assert rendered(details, ["a"], targets=["b c"])[0] == ("a", "b c", None, None)


def test_choices_of_each_row():
    details = TaskDetails(template=complete_template(None, "a", True))
    choices = listed_choices([["x ||| y", "z"], ["u", "v", "w"]], 2)
    first, second = rendered(details, ["a", "b"], choices, targets=[0, 2])
    assert first == ("a", "x ||| y", ["x ||| y", "z"], 0) and second.target_text == "w"
    assert listed_choices(["x", "y"], 2) == [["x", "y"], ["x", "y"]]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: listed_texts("a text"), "must be a list of texts, but is one"),
        (lambda: listed_texts([]), "There are no texts"),
        (lambda: listed_texts(["a", " "]), r"texts\[1\] is empty"),
        (lambda: listed_texts(["a", 3]), r"texts\[1\] must be a text or a mapping"),
        (lambda: listed_texts(["a", {"b": 1}]), r"texts\[1\] is a dict, but texts\[0\] is not"),
        (lambda: complete_template(None, {"label": 1}, True), "The template is empty"),
        (lambda: complete_template("{{a", "a", True), "is not valid Jinja"),
        (lambda: listed_choices([["a", "b"]], 2), "2 texts, but 1 lists of choices"),
        (lambda: listed_choices([["a", "a "]], 1), r"choices\[0\] must hold two or more different texts"),
        (lambda: listed_choices([["a", ""]], 1), r"choices\[0\] must hold two or more"),
        (lambda: listed_choices([["a", "b"], "c"], 2), r"choices\[1\] must be a list of texts"),
    ],
)
def test_what_cannot_be_worked_with(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_fields_that_are_not_there():
    details = TaskDetails(answers=["a", "b"], template=complete_template("{{x}} {{y}}", {"x": 1, "y": 2}, True))
    with pytest.raises(ValueError, match="shows the fields x, y: give texts as mappings"):
        rendered(details, ["a"])
    with pytest.raises(ValueError, match=r"texts\[1\] has no field 'y'"):
        rendered(details, [{"x": "a", "y": "b"}, {"x": "a"}])
    none = TaskDetails(answers=["a", "b"], template="{{x}} ||| a")
    with pytest.raises(ValueError, match="must read one field, such as 'label', but reads none"):
        rendered(none, ["a"], targets=[0])


def test_data_frames_are_rows():
    assert listed_texts(pandas.DataFrame({"a": ["x"], "b": ["y"]})) == [{"a": "x", "b": "y"}]
    assert listed_texts(pandas.Series(["x", "y"])) == ["x", "y"]
