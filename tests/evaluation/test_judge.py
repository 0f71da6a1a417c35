import numpy as np
import pytest
import torch
from transformers import AutoModelForSeq2SeqLM

from evaluation.examples import Draws, draw_examples
from evaluation.judge import Judge
from search import CodeScorer
from tasks import SplitRows, Task, Template


def test_choices_are_ranked_by_sum_or_per_token(tiny_ctr_model, builder, tasks, rows):
    model = tiny_ctr_model()
    (examples,) = draw_examples(tasks[1:2], rows, builder, Draws(0, 0), seed=0)
    by_sum = Judge(model, examples, builder)
    by_mean = Judge(model, examples, builder, length_normalization=True)
    scores = CodeScorer(model, examples.evaluation).choice_log_likelihoods(
        model.task_codes()
    )  # choices of three and two tokens, end included
    assert (by_sum.answer_with_codes(model.task_codes()) == scores.argmax(2).numpy()).all()
    expected = (scores / torch.tensor([3.0, 2.0])).argmax(2).numpy()
    assert (by_mean.answer_with_codes(model.task_codes()) == expected).all()
    assert (expected != scores.argmax(2).numpy()).any()


def test_a_plain_language_model_is_judged_as_a_ctr_models_own(tiny_ctr_model, builder, tasks, rows, tmp_path):
    model = tiny_ctr_model()
    model.backbone.save_pretrained(tmp_path)
    (examples,) = draw_examples(tasks[:1], rows, builder, Draws(0, 0), seed=0)
    of_ctr = Judge(model, examples, builder).score_raw_lm(seed=3)
    of_plain = Judge(AutoModelForSeq2SeqLM.from_pretrained(tmp_path), examples, builder).score_raw_lm(seed=3)
    assert of_ctr == of_plain
    assert of_ctr.num_examples == 20
    assert sum(of_ctr.predicted_shares) == pytest.approx(1)


def test_texts_are_scored_by_what_is_generated(tiny_ctr_model, builder, tasks, rows):
    model = tiny_ctr_model()
    (examples,) = draw_examples(tasks[2:], rows, builder, Draws(0, 0), seed=0)
    judge = Judge(model, examples, builder)
    assert not judge.ranks
    texts = judge.answer_with_codes(model.task_codes()[:1])[0]
    ids = CodeScorer(model, examples.evaluation).generate(model.task_codes()[:1], max_new_tokens=4)[0]
    assert texts == [builder.tokenizer.decode(row, skip_special_tokens=True).strip() for row in ids]
    score = judge.scored("x", ["w12 w14"] * 20, seed=0)
    share = np.mean([title == "w12 w14" for title in rows.evaluation["title"]])
    assert score.generation["exact_match"] == pytest.approx(share)
    assert score.accuracy is None
    assert judge.score_raw_lm(0).generation.keys() == score.generation.keys()


def test_references_are_the_rows_own_texts(tiny_ctr_model, builder, tasks, rows):
    long = [f"w12 ~{{{i}}} " + "w14 " * 20 for i in range(20)]  # longer than the model's targets, and not in its words
    evaluation = rows.evaluation.remove_columns("title").add_column("title", long)
    split = SplitRows("sizes", rows.train, evaluation, "train", "validation")
    (examples,) = draw_examples(tasks[2:], split, builder, Draws(0, 0), seed=0)
    judge = Judge(tiny_ctr_model(), examples, builder)
    assert judge.scored("x", long, seed=0).generation["exact_match"] == 1
    assert judge.scored("x", [text[:40] for text in long], seed=0).generation["f1"] < 1


@pytest.mark.parametrize("number", [1, 2])
def test_rows_in_blocks_are_judged_as_all_at_once(tiny_ctr_model, builder, tasks, rows, number, monkeypatch):
    if number == 1:  # choices whose number differs between the blocks
        template = Template("few", "{{text}} ||| w10", "w10 ||| w20 w21 ||| {% if label %}w22{% endif %}")
        by_label = rows.evaluation.sort("label")
        tasks = [tasks[0], Task("sizes/few", "sizes", template)]
        rows = SplitRows("sizes", rows.train, by_label, "train", "validation")
    model = tiny_ctr_model()
    (examples,) = draw_examples(tasks[number : number + 1], rows, builder, Draws(0, 0), seed=0)
    codes = model.task_codes()
    sizes = []
    monkeypatch.setattr(
        Judge, "_make_scorer", lambda self, rows, progress: sizes.append(len(rows)) or CodeScorer(model, rows)
    )
    whole = Judge(model, examples, builder, length_normalization=number == 1)
    blocks = Judge(model, examples, builder, length_normalization=number == 1, block_rows=6)
    assert list(whole.answer_with_prompt(None)) == list(blocks.answer_with_prompt(None))
    assert sizes == [20, 6, 6, 6, 2]
    vectors = model.prompt_vectors(codes[:1])[0].detach()
    assert list(whole.answer_with_prompt(vectors)) == list(blocks.answer_with_prompt(vectors))
    for calibrated in (False, True):
        assert np.array_equal(whole.answer_with_codes(codes, calibrated), blocks.answer_with_codes(codes, calibrated))
    assert whole.key == blocks.key


def test_scores_stand_beside_the_baselines_row_by_row(tiny_ctr_model, builder, tasks, rows):
    model = tiny_ctr_model()
    (examples,) = draw_examples(tasks[:1], rows, builder, Draws(0, 0), seed=0)
    judge = Judge(model, examples, builder)
    labels = np.array(rows.evaluation["label"])
    most = np.bincount(labels).argmax()
    right = judge.scored("x", labels, seed=0)
    assert right.accuracy == 1
    assert right.beside == {"majority class": [float((labels != most).sum()), 0.0]}  # the raw LM is not known yet
    assert judge.score_majority(0).beside is None
    raw = judge.score_raw_lm(0)
    assert raw.beside.keys() == {"majority class"}
    beside = judge.scored("x", labels, seed=0).beside["raw LM"]
    assert beside == [round(20 * (1 - raw.accuracy)), 0]
    mean = judge.score_mean_training_code(0)
    assert mean.beside["raw LM"][0] - mean.beside["raw LM"][1] == pytest.approx(20 * (mean.accuracy - raw.accuracy))
