import numpy as np
import pandas
import pytest

from prediction.labels import make_classes, plain_labels


@pytest.mark.parametrize(
    ("labels", "answers", "expected"),
    [
        (["good", "bad", "good"], None, (("bad", "good"), ("bad", "good"))),
        ([1, 0, 1], None, ((0, 1), ("0", "1"))),
        ([True, False], None, ((False, True), ("False", "True"))),
        ([2.0, 1.0], None, ((1.0, 2.0), ("1", "2"))),
        ([0.5, 1.0], None, ((0.5, 1.0), ("0.5", "1"))),
        ([1, 0], {1: "good", 0: "bad"}, ((0, 1), ("bad", "good"))),
        ([1, 0], ["bad", "good"], ((0, 1), ("bad", "good"))),
        (["good", "bad"], ["good", "bad", "unclear"], (("good", "bad", "unclear"),) * 2),
        (None, ["good", " bad "], (("good", "bad"),) * 2),
        (None, {"b": "bad", "a": "good"}, (("a", "b"), ("good", "bad"))),
        ([" good", "bad"], ["bad", "good"], (("bad", " good"), ("bad", "good"))),
    ],
)
def test_classes(labels, answers, expected):
    classes = make_classes(labels, answers)
    assert (classes.labels, classes.answers) == expected
    assert [type(label) for label in classes.labels] == [type(label) for label in expected[0]]


@pytest.mark.parametrize(
    ("labels", "answers", "message"),
    [
        (None, None, "Give `labels`, or `answers`"),
        (["a", "a"], None, "only one class, 'a'"),
        (["a", 1], None, r"several types \(int, str\)"),
        ([True, 1], None, r"several types \(bool, int\)"),
        ([0, 1, 2], ["bad", "good"], "3 labels .* but 2 answers"),
        ([0, 1], {0: "bad", 1: " "}, "An answer is empty"),
        ([0, 1], {0: "bad", 1: "bad "}, "'bad' stands for two labels"),
        ([0, 1], {0: "bad", 1: 3}, "must be a text, but one is 3"),
        ([0, 1], {0: "a ||| b", 1: "c"}, r"holds '\|\|\|'"),
        ([0, 1], "bad", "must be a list of texts"),
        (["", "a"], None, "An answer is empty"),
        ([0, 1], {0: "bad", float("nan"): "good"}, "A label in `answers` is missing"),
    ],
)
def test_what_cannot_be_classes(labels, answers, message):
    with pytest.raises(ValueError, match=message):
        make_classes(labels, answers)


def test_indices_tell_where_a_label_is_unknown():
    classes = make_classes([0, 1], {0: "bad", 1: "good"})
    assert classes.get_indices([1, 0, 1]) == [1, 0, 1]
    with pytest.raises(ValueError, match=r"labels\[1\] is 2, which is not among .* 0, 1"):
        classes.get_indices([0, 2])
    with pytest.raises(ValueError, match=r"labels\[0\] is True"):
        classes.get_indices([True])


def test_plain_labels_are_python_values():
    labels = plain_labels(np.array([1, 0]), 2) + plain_labels(np.array([True]), 1) + plain_labels([np.str_("a")], 1)
    assert labels == [1, 0, True, "a"]
    assert [type(label) for label in labels] == [int, int, bool, str]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a"], "2 texts, but 1 labels"),
        ("ab", "must be a list"),
        (["a", None], r"labels\[1\] is missing \(None\)"),
        ([1.0, float("nan")], r"labels\[1\] is missing \(nan\)"),
        (["a", ["b"]], r"labels\[1\] must be a text, a number or a boolean"),
    ],
)
def test_what_cannot_be_labels(labels, message):
    with pytest.raises(ValueError, match=message):
        plain_labels(labels, 2)


def test_missing_values_of_pandas_are_found():
    with pytest.raises(ValueError, match=r"labels\[1\] is missing"):
        plain_labels(pandas.Series(["a", pandas.NA]), 2)
