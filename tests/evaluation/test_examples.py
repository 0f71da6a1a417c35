import pytest
from datasets import Dataset

from evaluation.examples import Draws, draw_examples, select_common_rows
from tasks import DataError, SplitRows, Task, Template


def wsc(rows: Dataset) -> tuple[Task, SplitRows]:
    task = Task(
        "super_glue/wsc.fixed/x", "super_glue/wsc.fixed", Template("x", "{{text}} ||| {{label}}", "no ||| yes")
    )
    return task, SplitRows(task.dataset, rows, rows, "train", "validation")


def test_the_original_protocol_takes_each_input_of_wsc_once_and_a_thousand_rows(builder):
    rows = Dataset.from_dict({"text": [f"w{i % 3 + 3}" for i in range(9)], "label": ["no"] * 9})
    task, split = wsc(rows)
    for protocol, size in (("clean", 9), ("original", 3)):
        draws = Draws(num_shots=0, num_unlabelled=0, protocol=protocol)
        (examples,) = draw_examples([task], split, builder, draws, seed=0)
        assert len(examples.evaluation) == size
    many = Dataset.from_dict({"text": [f"w{i % 60 + 3} w{i // 60 + 3}" for i in range(1100)], "label": ["no"] * 1100})
    for dataset, size in (("anli/r1", 1000), ("hellaswag", 1100)):
        task = Task(f"{dataset}/x", dataset, Template("x", "{{text}} ||| {{label}}", "no ||| yes"))
        split = SplitRows(dataset, many, many, "train", "validation")
        (examples,) = draw_examples(
            [task], split, builder, Draws(num_shots=0, num_unlabelled=0, protocol="original"), seed=0
        )
        assert len(examples.evaluation) == size


def test_the_original_protocol_rounds_shots_up(builder, tasks, rows):
    for protocol, shots in (("clean", 7), ("original", 8)):
        (examples,) = draw_examples(tasks[:1], rows, builder, Draws(7, 0, protocol=protocol), seed=0)
        assert len(examples.few_shot) == shots


def test_nothing_is_drawn_that_no_method_asks_for(builder, tasks, rows):
    (examples,) = draw_examples(tasks[:1], rows, builder, Draws(0, 0, judged=False), seed=0)
    assert (examples.few_shot, examples.unlabelled, examples.evaluation) == (None, None, None)


def test_templates_without_a_common_row_cannot_vote(builder, tasks, rows):
    one = builder.evaluation(tasks[0], rows.train.select([0, 1]))
    other = one.map(lambda row: {"row": row["row"] + 5})
    with pytest.raises(DataError, match="No row is there under all templates"):
        select_common_rows([one, other])


def test_rows_that_are_all_drawn_are_enough_without_an_evaluation(builder, tasks, rows):
    labels = rows.train["label"]
    four = rows.train.select(
        [number for answer in (0, 1) for number in [i for i in range(60) if labels[i] == answer][:2]]
    )
    one = SplitRows("sizes", four, four, "train", "train")
    (examples,) = draw_examples(tasks[:1], one, builder, Draws(4, 0, judged=False), seed=0)
    assert len(examples.few_shot) == 4
    with pytest.raises(DataError, match="'sizes' has no evaluation rows left after 4 few-shot rows: ask for fewer"):
        draw_examples(tasks[:1], one, builder, Draws(4, 0), seed=0)


def test_rows_without_a_known_answer_are_neither_drawn_nor_judged(builder, tasks, rows):
    outside = Task("sizes/outside", "sizes", Template("outside", "{{text}} ||| {{label}}", "w10 ||| w11"))
    labels = [-1 if i % 3 == 0 else i % 2 for i in range(60)]
    partly = rows.train.remove_columns("label").add_column("label", labels)
    split = SplitRows("sizes", partly, partly, "train", "train")
    found = draw_examples([outside, tasks[0]], split, builder, Draws(8, 8, max_eval_samples=20), seed=0)
    assert [each.task for each in found] == [tasks[0]]
    assert (len(found[0].few_shot), len(found[0].unlabelled), len(found[0].evaluation)) == (8, 8, 20)
    assert min(found[0].evaluation["answer"]) >= 0
    with pytest.raises(DataError, match="'sizes/outside': none of the 60 rows of split 'train' has a known answer"):
        draw_examples([outside], split, builder, Draws(0, 0), seed=0)
