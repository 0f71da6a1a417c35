from collections import Counter

import pytest
from datasets import Dataset

from tasks.data import DataError, SplitRows, load_rows
from tasks.few_shot import assert_disjoint, few_shot_split
from tasks.task import Task, load_tasks, select_tasks
from tasks.template import Template

KINDS = Task(
    "animals/kind", "animals", Template("kind", "{{text}} ||| {{answer_choices[label]}}", "cat ||| dog ||| bird")
)
FREE = Task("animals/free", "animals", Template("free", "{{text}} ||| {{text}}"))


def dataset(labels: list[int], prefix: str = "row") -> Dataset:
    return Dataset.from_list([{"text": f"{prefix} {i}", "label": label} for i, label in enumerate(labels)])


def split_rows(train: Dataset, evaluation: Dataset | None = None) -> SplitRows:
    if evaluation is None:
        return SplitRows("animals", train, train, "train", "train")
    return SplitRows("animals", train, evaluation, "train", "validation")


# Classes are unequal in the training rows, and one is missing from the evaluation rows.
ROWS = split_rows(dataset([0] * 60 + [1] * 30 + [2] * 12), dataset([0] * 9 + [2], "evaluation"))


@pytest.mark.parametrize(("exact", "sizes"), [(True, [10, 11, 11]), (False, [11, 11, 11])])
def test_classes_are_equal_whatever_the_splits_shares(exact, sizes):
    split = few_shot_split(KINDS, ROWS, num_shots=32, exact=exact)
    assert sorted(Counter(split.train["label"]).values()) == sizes
    assert len(split.evaluation) == 10


def test_a_draw_depends_on_its_seed_only():
    draws = [few_shot_split(KINDS, ROWS, num_shots=9, seed=seed).train["text"][:] for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]


def test_fewer_shots_than_classes(caplog):
    assert len(few_shot_split(KINDS, ROWS, num_shots=2).train) == 2
    assert "2 few-shot examples for 3 answers leave 1 of them without one; ask for 3 or more" in caplog.text


def test_too_few_rows_of_a_class():
    message = (
        "'animals/kind': 13 few-shot examples of answer 2 .* only 12 labelled .*; ask for fewer shots, 36 at most"
    )
    with pytest.raises(DataError, match=message):
        few_shot_split(KINDS, ROWS, num_shots=39)


def test_just_the_labelled_rows_that_there_are_are_all_taken():
    rows = split_rows(dataset([0] * 7 + [1] * 2 + [2] * 3))
    assert sorted(few_shot_split(KINDS, rows, num_shots=12).train["label"]) == rows.train["label"][:]
    with pytest.raises(DataError, match="6 at most; all 12 labelled rows are taken with num_shots 12"):
        few_shot_split(KINDS, rows, num_shots=11)


def test_unlabelled_rows_and_repeated_inputs_are_not_drawn():
    task = Task(
        "a/t", "a", Template("t", "{{text}} ||| {% if label >= 0 %}{{answer_choices[label]}}{% endif %}", "x ||| y")
    )
    rows = [{"text": "same", "label": 0}] * 5 + [{"text": f"{i}", "label": i % 3 - 1} for i in range(9)]
    split = few_shot_split(task, split_rows(Dataset.from_list(rows), dataset([0, 1], "evaluation")), num_shots=6)
    assert min(split.train["label"]) == 0
    assert len(set(split.train["text"])) == 6
    with pytest.raises(DataError, match="only 3 labelled"):
        few_shot_split(task, split_rows(Dataset.from_list(rows), dataset([0, 1], "evaluation")), num_shots=8)


def test_training_rows_that_are_evaluation_inputs_are_not_drawn():
    evaluation = ROWS.train.select([0, 61, 91, 92])
    split = few_shot_split(KINDS, split_rows(ROWS.train, evaluation), num_shots=30)
    assert not set(split.train["text"]) & set(evaluation["text"])
    with pytest.raises(DataError, match="11 few-shot examples of answer 2"):
        few_shot_split(KINDS, split_rows(ROWS.train, evaluation), num_shots=33, exact=False)


def test_one_split_only_loses_the_drawn_rows_and_their_like():
    rows = dataset([0] * 10 + [1] * 10 + [2] * 10).to_list()
    rows += rows[:3]  # the same inputs again
    one = split_rows(Dataset.from_list(rows))
    split = few_shot_split(KINDS, one, num_shots=24)
    drawn = set(split.train["text"])
    assert len(drawn) == 24
    assert not drawn & set(split.evaluation["text"])
    assert drawn | set(split.evaluation["text"]) == {row["text"] for row in rows}
    assert not len(few_shot_split(KINDS, one, num_shots=30).evaluation)


def test_what_is_missing_of_a_class_is_said():
    one_class = dataset([0] * 9).to_list()
    with pytest.raises(
        DataError, match=r"1 few-shot examples of answer [12] \('.+'\).* only 0 .*; label some, or leave it out"
    ):
        few_shot_split(KINDS, split_rows(Dataset.from_list(one_class)), num_shots=3)


def test_free_text_and_varying_choices_are_drawn_at_random():
    assert len(few_shot_split(FREE, ROWS, num_shots=5).train) == 5
    with pytest.raises(DataError, match="only 102 labelled"):
        few_shot_split(FREE, ROWS, num_shots=103)
    varying = Task("a/v", "a", Template("v", "{{text}} ||| {{choices[0]}}", "{{choices | join('|||')}}"))
    rows = Dataset.from_list([{"text": f"{i}", "choices": ["x", "y", "z"][: 2 + i % 2]} for i in range(8)])
    assert len(few_shot_split(varying, split_rows(rows), num_shots=5).train) == 5


def test_assert_disjoint_shows_a_common_input():
    assert_disjoint(KINDS, ROWS.train, ROWS.evaluation)
    with pytest.raises(DataError, match=r"1 few-shot input\(s\) .* 'row 3'"):
        assert_disjoint(KINDS, ROWS.train.select([1, 3]), ROWS.train.select([3, 4]))


@pytest.mark.parametrize(
    "name", ["super_glue/rte", "super_glue/cb", "super_glue/copa", "super_glue/wic", "winogrande/winogrande_xl"]
)
def test_real_held_out_sets(shared, name):
    rows = load_rows(name, data_dir=shared / "t0_data")
    task = select_tasks(load_tasks(), [name])[0]
    split = few_shot_split(task, rows)
    classes = Counter(task.example(row).answer for row in split.train)
    assert sum(classes.values()) == 32
    assert max(classes.values()) - min(classes.values()) <= 1
    assert_disjoint(task, split.train, split.evaluation)
