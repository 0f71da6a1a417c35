import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForSeq2SeqLM

from evaluation.protocol import Draws, Judge, held_out_examples, with_common_rows
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
        (examples,) = held_out_examples([task], split, builder, draws, seed=0)
        assert len(examples.evaluation) == size
    many = Dataset.from_dict({"text": [f"w{i % 60 + 3} w{i // 60 + 3}" for i in range(1100)], "label": ["no"] * 1100})
    for dataset, size in (("anli/r1", 1000), ("hellaswag", 1100)):
        task = Task(f"{dataset}/x", dataset, Template("x", "{{text}} ||| {{label}}", "no ||| yes"))
        split = SplitRows(dataset, many, many, "train", "validation")
        (examples,) = held_out_examples(
            [task], split, builder, Draws(num_shots=0, num_unlabelled=0, protocol="original"), seed=0
        )
        assert len(examples.evaluation) == size


def test_the_original_protocol_rounds_shots_up(builder, tasks, rows):
    for protocol, shots in (("clean", 7), ("original", 8)):
        (examples,) = held_out_examples(tasks[:1], rows, builder, Draws(7, 0, protocol=protocol), seed=0)
        assert len(examples.few_shot) == shots


def test_nothing_is_drawn_that_no_method_asks_for(builder, tasks, rows):
    (examples,) = held_out_examples(tasks[:1], rows, builder, Draws(0, 0, judged=False), seed=0)
    assert (examples.few_shot, examples.unlabelled, examples.evaluation) == (None, None, None)


def test_choices_are_ranked_by_sum_or_per_token(tiny_ctr_model, builder, tasks, rows):
    model = tiny_ctr_model()
    (examples,) = held_out_examples(tasks[1:2], rows, builder, Draws(0, 0), seed=0)
    by_sum = Judge(model, examples, builder)
    by_mean = Judge(model, examples, builder, length_normalization=True)
    scores = by_sum.codes.choice_log_likelihoods(model.task_codes())  # choices of three and two tokens, end included
    assert (by_sum.of_codes(model.task_codes()) == scores.argmax(2).numpy()).all()
    expected = (scores / torch.tensor([3.0, 2.0])).argmax(2).numpy()
    assert (by_mean.of_codes(model.task_codes()) == expected).all()
    assert (expected != scores.argmax(2).numpy()).any()


def test_a_plain_language_model_is_judged_as_a_ctr_models_own(tiny_ctr_model, builder, tasks, rows, tmp_path):
    model = tiny_ctr_model()
    model.backbone.save_pretrained(tmp_path)
    (examples,) = held_out_examples(tasks[:1], rows, builder, Draws(0, 0), seed=0)
    of_ctr = Judge(model, examples, builder).raw_lm(seed=3)
    of_plain = Judge(AutoModelForSeq2SeqLM.from_pretrained(tmp_path), examples, builder).raw_lm(seed=3)
    assert of_ctr == of_plain
    assert of_ctr.num_examples == 20
    assert sum(of_ctr.predicted_shares) == pytest.approx(1)


def test_texts_are_scored_by_what_is_generated(tiny_ctr_model, builder, tasks, rows):
    model = tiny_ctr_model()
    (examples,) = held_out_examples(tasks[2:], rows, builder, Draws(0, 0), seed=0)
    judge = Judge(model, examples, builder)
    assert not judge.ranks
    texts = judge.of_codes(model.task_codes()[:1])[0]
    ids = judge.codes.generate(model.task_codes()[:1], max_new_tokens=4)[0]
    assert texts == [builder.tokenizer.decode(row, skip_special_tokens=True).strip() for row in ids]
    score = judge.scored("x", ["w12 w14"] * 20, seed=0)
    share = np.mean([title == "w12 w14" for title in rows.evaluation["title"]])
    assert score.generation["exact_match"] == pytest.approx(share)
    assert score.accuracy is None
    assert judge.raw_lm(0).generation.keys() == score.generation.keys()


def test_templates_without_a_common_row_cannot_vote(builder, tasks, rows):
    one = builder.evaluation(tasks[0], rows.train.select([0, 1]))
    other = one.map(lambda row: {"row": row["row"] + 5})
    with pytest.raises(DataError, match="No row is there under all templates"):
        with_common_rows([one, other])


def test_rows_that_are_all_drawn_are_enough_without_an_evaluation(builder, tasks, rows):
    labels = rows.train["label"]
    four = rows.train.select(
        [number for answer in (0, 1) for number in [i for i in range(60) if labels[i] == answer][:2]]
    )
    one = SplitRows("sizes", four, four, "train", "train")
    (examples,) = held_out_examples(tasks[:1], one, builder, Draws(4, 0, judged=False), seed=0)
    assert len(examples.few_shot) == 4
    with pytest.raises(DataError, match="'sizes' has no evaluation rows left after 4 few-shot rows: ask for fewer"):
        held_out_examples(tasks[:1], one, builder, Draws(4, 0), seed=0)


def test_references_are_the_rows_own_texts(tiny_ctr_model, builder, tasks, rows):
    long = [f"w12 ~{{{i}}} " + "w14 " * 20 for i in range(20)]  # longer than the model's targets, and not in its words
    evaluation = rows.evaluation.remove_columns("title").add_column("title", long)
    split = SplitRows("sizes", rows.train, evaluation, "train", "validation")
    (examples,) = held_out_examples(tasks[2:], split, builder, Draws(0, 0), seed=0)
    judge = Judge(tiny_ctr_model(), examples, builder)
    assert judge.scored("x", long, seed=0).generation["exact_match"] == 1
    assert judge.scored("x", [text[:40] for text in long], seed=0).generation["f1"] < 1


def test_rows_without_a_known_answer_are_neither_drawn_nor_judged(builder, tasks, rows):
    outside = Task("sizes/outside", "sizes", Template("outside", "{{text}} ||| {{label}}", "w10 ||| w11"))
    labels = [-1 if i % 3 == 0 else i % 2 for i in range(60)]
    partly = rows.train.remove_columns("label").add_column("label", labels)
    split = SplitRows("sizes", partly, partly, "train", "train")
    found = held_out_examples([outside, tasks[0]], split, builder, Draws(8, 8, max_eval_samples=20), seed=0)
    assert [each.task for each in found] == [tasks[0]]
    assert (len(found[0].few_shot), len(found[0].unlabelled), len(found[0].evaluation)) == (8, 8, 20)
    assert min(found[0].evaluation["answer"]) >= 0
    with pytest.raises(DataError, match="'sizes/outside': none of the 60 rows of split 'train' has a known answer"):
        held_out_examples([outside], split, builder, Draws(0, 0), seed=0)
