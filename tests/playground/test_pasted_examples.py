import pytest

from playground import pasted_examples
from playground.pasted_examples import check_length, parse_choices, parse_examples


def test_choices_one_per_line():
    assert parse_choices(" yes \n\n no,  never \n") == ["yes", "no,  never"]
    assert parse_choices(" \n") == []


@pytest.mark.parametrize(
    ("text", "message"),
    [("yes", "'yes' is the only answer choice: give at least two"), ("a\nb\na", "choice 'a' is there twice")],
)
def test_wrong_choices(text, message):
    with pytest.raises(ValueError, match=message):
        parse_choices(text)


def test_labeled_examples():
    text = "one two\tyes\n\n three\tfour \tno\n"
    assert parse_examples(text, "no\nyes", True) == (["one two", "three\tfour"], ["no", "yes"], ["yes", "no"])
    assert parse_examples(text, "", True)[1] == ["yes", "no"]


def test_unlabeled_examples():
    text = "one two\n three\n"
    assert parse_examples(text, "no\nyes", False) == (["one two", "three"], ["no", "yes"], None)


def test_answers_are_dropped_where_none_are_needed():
    assert parse_examples("one\tyes\ntwo\tno", "no\nyes", False) == (["one", "two"], ["no", "yes"], None)


@pytest.mark.parametrize(
    ("text", "choices", "labeled", "message"),
    [
        (" \n", "a\nb", True, "There are no examples"),
        ("x\ta\n\ny b", "a\nb", True, "Line 3 must be an input, a tab and its answer"),
        ("x\ta\n\tb", "a\nb", True, "Line 2 must be an input, a tab and its answer"),
        ("x\ta\ny\tc", "a\nb", True, "Line 2: the answer 'c' is not among the choices a, b"),
        ("x\ta\ny\ta", "", True, "All answers are 'a': give examples of at least two"),
        ("x\ta\ny\tb", "a", True, "'a' is the only answer choice"),
        ("x\ny", "", False, "Code Ensemble votes between answer choices"),
    ],
)
def test_wrong_examples(text, choices, labeled, message):
    with pytest.raises(ValueError, match=message):
        parse_examples(text, choices, labeled)


def test_more_than_people_paste_is_refused():
    most = pasted_examples.MAX_EXAMPLES
    lines = [f"x{i}\t{'ab'[i % 2]}" for i in range(most + 1)]
    assert len(parse_examples("\n".join(lines[:most]), "", True)[0]) == most
    with pytest.raises(ValueError, match=f"There are {most + 1} examples: paste at most {most}"):
        parse_examples("\n".join(lines), "", True)
    with pytest.raises(ValueError, match="There are 101 answer choices: give at most 100"):
        parse_choices("\n".join(map(str, range(101))))
    with pytest.raises(ValueError, match="There are 101 different answers: give at most 100"):
        parse_examples("\n".join(f"x\t{i}" for i in range(101)), "", True)
    check_length("x" * pasted_examples.MAX_CHARACTERS)
    for parse in (check_length, parse_choices, lambda text: parse_examples(text, "", True)):
        with pytest.raises(ValueError, match="has 200,001 characters: give at most 200,000"):
            parse("x" * (pasted_examples.MAX_CHARACTERS + 1))
