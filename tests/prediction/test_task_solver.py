import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, T5ForConditionalGeneration
from transformers.dynamic_module_utils import get_class_from_dynamic_module

from prediction import FitConfig, TaskSolver
from prediction.task_examples import make_examples
from search import BitwiseSearch, CodeScorer, PromptScorer, SearchConfig, search_until_solved, task_code_space

REPOSITORY = Path(__file__).resolve().parents[2]


def test_labels_come_back_as_they_were_given(fitted, reviews):
    texts, _ = reviews
    assert fitted.classes_("reviews") == ["w10", "w11"] and fitted.classes_("stars") == [1, 5]
    assert fitted.classes_("fields") == [False, True]
    assert set(fitted.predict(texts, "stars")) <= {1, 5}
    rows = [{"first": text, "second": "w3 w4"} for text in texts]
    assert {type(label) for label in fitted.predict(rows, "fields")} == {bool}


def test_probabilities_are_those_of_the_model_among_the_answers(fitted, reviews, tiny_tokenizer):
    texts, _ = reviews
    answers = [tiny_tokenizer(answer).input_ids for answer in ("w21 w22", "w20")]  # of 1 and 5
    examples = [{"input_ids": tiny_tokenizer(text).input_ids, "choice_ids": answers} for text in texts]
    vectors = fitted.model.get_task_vectors("stars")[None]
    expected = PromptScorer(fitted.model, examples).choice_log_likelihoods(vectors)[0].softmax(1)
    found = fitted.predict_proba(texts, "stars")
    assert found.shape == (24, 2) and found.dtype == np.float64
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)
    labels = np.array(fitted.classes_("stars"))[found.argmax(1)].tolist()
    assert fitted.predict(texts, "stars") == labels


def test_a_code_whose_answers_mean_the_opposite_is_found_and_used(solver, reviews, quick, tiny_tokenizer):
    texts, _ = reviews
    words = [f"w{number}" for number in range(10, 40)]
    choices = [tiny_tokenizer(word).input_ids for word in words]
    examples = [{"input_ids": tiny_tokenizer(text).input_ids, "choice_ids": choices} for text in texts]
    scores = CodeScorer(solver.model, examples).choice_log_likelihoods(solver.model.task_codes()[:1])[0]
    # Two words between which the first training code decides by the text; the labels are the opposite of its answers.
    leads = scores[:, :, None] - scores[:, None, :]
    one, other = divmod(int((leads.std(0) / (leads.mean(0).abs() + 0.01)).argmax()), len(words))
    labels = [words[other] if lead > 0 else words[one] for lead in leads[:, one, other]]
    with pytest.raises(ValueError, match="'training_code_calibrated' needs `calibrate=True`"):
        solver.fit(texts, labels, name="opposite", **quick | {"method": "training_code_calibrated"})
    plain = solver.fit(texts, labels, name="plain", **quick | {"method": "code_ensemble", "folds": 0})
    assert any("mean the opposite of the labels: with `calibrate=True`" in warning for warning in plain.warnings)
    asked = quick | {"method": "training_code_calibrated", "calibrate": True}
    result = solver.fit(texts, labels, name="opposite", **asked | {"folds": 0})
    assert not any("mean the opposite" in warning for warning in result.warnings)
    assert result.accuracy > 0.9 and result.loss < result.guessing_loss  # of what it answers now
    assert result.temperature < 0 and "exchanged" in str(result)
    assert np.mean(np.array(solver.predict(texts, "opposite")) == labels) > 0.9
    # The answers themselves are exchanged, so that whoever reads a word, as of an exported model, reads the right label.
    details = solver.model.task_details("opposite")
    assert details.temperature == -result.temperature and details.answers == details.labels[::-1]
    shown = {"template": "{{text}} {{answer_choices | join(' ')}}", "folds": 0}  # not where the input would change
    result = solver.fit(texts, labels, name="shown", **asked | shown)
    details = solver.model.task_details("shown")
    assert details.answers == details.labels and details.temperature == result.temperature
    auto = solver.fit(texts, labels, name="auto", **asked | {"method": "auto", "tuning_steps": 1})
    assert "training_code_calibrated" in [each.method for each in auto.tried]


def test_until_solved_is_the_search_of_that_name(solver, reviews, quick):
    texts, labels = reviews
    asked = quick | {"method": "until_solved", "folds": 0, "max_evaluations": 40, "target_loss": 1e-6}
    result = solver.fit(texts, labels, name="searched", seed=3, **asked)
    encoded = [solver.tokenizer(text).input_ids for text in texts]
    choices = [solver.tokenizer(label).input_ids for label in sorted(set(labels))]
    answers = [sorted(set(labels)).index(label) for label in labels]
    examples = [
        {"input_ids": ids, "choice_ids": choices, "answer": answer}
        for ids, answer in zip(encoded, answers, strict=True)
    ]
    model = solver.model
    settings = {"search_epochs": 1, "max_evaluations": 40, "target_loss": 1e-6}
    scorer, space = CodeScorer(model, examples), task_code_space(model)
    found = search_until_solved(scorer, space, seed=3, progress=False, **settings)
    assert result.code == found.code and result.loss == pytest.approx(found.loss, abs=1e-6)
    assert found.evaluations > 20


def test_a_task_for_each_text(fitted, reviews):
    texts, _ = reviews
    tasks = ["reviews", "stars", "stars"] * 8
    alone = {name: fitted.predict(texts, name) for name in ("reviews", "stars")}
    assert fitted.predict(texts, tasks) == [alone[name][i] for i, name in enumerate(tasks)]
    with pytest.raises(ValueError, match="different classes"):
        fitted.predict_proba(texts, tasks)
    with pytest.raises(ValueError, match="24 texts, but 2 tasks"):
        fitted.predict(texts, ["reviews", "stars"])


def test_calls_are_as_those_of_pipelines(fitted, reviews):
    texts, _ = reviews
    (one,) = fitted(texts[0], task="stars")
    probabilities = fitted.predict_proba(texts[:1], "stars")[0]
    assert one == {"label": fitted.predict(texts[:1], "stars")[0], "score": pytest.approx(probabilities.max())}
    every = fitted(texts[:2], task="stars", top_k=None)
    assert [len(answers) for answers in every] == [2, 2] and every[0][0]["score"] >= every[0][1]["score"]
    assert [answer["label"] for answer in fitted(texts[0], task="stars", top_k=None)] == [a["label"] for a in every[0]]


CSV = (
    "\ufeffId;Review Text;Author's place;stars\n"
    + "".join(
        f'{i};"w{12 + i}\n w{40 - i}, ""w5""; w{20 + i % 7}";{"w3" if i % 3 else ""};{1 + 4 * (i % 2)}\n'
        for i in range(16)
    )
    + "16;w30 w31;w3;\n"  # nobody gave it a label
)
PROGRAM = """
import json, pandas
from task_codes import TaskSolver

frame = pandas.read_csv("new.csv")
solver = TaskSolver.from_pretrained("saved")
print(json.dumps([solver.predict(frame, "reviews"), solver.predict_proba(frame, "reviews").tolist()]))
"""


@pytest.mark.slow
def test_from_a_messy_file_to_predictions_in_another_process(solver, quick, tmp_path):
    (tmp_path / "reviews.csv").write_text(CSV, encoding="utf-8")
    frame = pandas.read_csv(tmp_path / "reviews.csv", sep=";")
    columns = ["Review Text", "Author's place"]
    with pytest.raises(ValueError, match=r"labels\[16\] is missing"):
        solver.fit(frame[columns], frame["stars"], name="reviews", **quick)
    frame = frame.dropna(subset=["stars"])
    answers = {1: "w10", 5: "w11"}
    result = solver.fit(
        frame[columns], frame["stars"].astype(int), answers=answers, name="reviews", calibrate=True, **quick
    )
    assert result.classes == [1, 5] and result.num_examples == 16
    assert (
        solver.model.task_details("reviews").template
        == "{{Review_Text}}\n{{Author_s_place}} ||| {{answer_choices[label]}}"
    )

    new = frame[columns].sample(frac=1, random_state=0)
    new.to_csv(tmp_path / "new.csv", index=False)
    solver.save_pretrained(tmp_path / "saved")
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    labels, probabilities = json.loads(done.stdout)
    assert labels == solver.predict(new, "reviews") and set(labels) <= {1, 5}
    # What was calibrated is so there, too.
    np.testing.assert_allclose(probabilities, solver.predict_proba(new, "reviews"), atol=1e-6)
    assert solver.model.task_details("reviews").temperature is not None


def test_without_labels(solver, reviews):
    texts, _ = reviews
    result = solver.fit(texts, answers=["w10", "w11"], name="voted", progress=False)
    assert (result.method, result.loss, result.estimate) == ("code_ensemble", None, None)
    assert result.code in solver.model.task_codes().tolist()
    assert "without labels nothing tells" in result.warnings[-1]
    assert set(solver.predict(texts)) <= {"w10", "w11"}


def test_free_form_tasks_write(solver, reviews, quick):
    texts, labels = reviews
    result = solver.fit(texts, targets=[f"{label} w5" for label in labels], name="titles", **quick)
    assert result.accuracy is None and result.tried[0].loss > 0 and "loss" in str(result)
    written = solver.generate(texts, "titles", no_repeat_ngram_size=1, max_new_tokens=5, progress=False)
    vectors = solver.model.get_task_vectors("titles")
    ids = solver.model.generate(
        torch.tensor([solver.tokenizer(texts[3]).input_ids]),
        prompt_embeds=vectors, no_repeat_ngram_size=1, max_new_tokens=5,
    )  # fmt: skip
    assert written[3] == solver.tokenizer.decode(ids[0], skip_special_tokens=True).strip()
    with pytest.raises(ValueError, match="'titles' has no answers to choose from: give `choices`"):
        solver.predict(texts)
    with pytest.raises(ValueError, match="'titles' has no classes"):
        solver.classes_("titles")


def test_choices_that_differ_by_row(solver, reviews, quick):
    texts, _ = reviews
    choices = [["w20 w21", "w22"], ["w23", "w24", "w25 w26"]] * 12
    right = [of_text[i % len(of_text)] for i, of_text in enumerate(choices)]
    by_text = solver.fit(texts, right, choices=choices, name="copa", **quick)
    places = [of_text.index(answer) for of_text, answer in zip(choices, right, strict=True)]
    by_place = solver.fit(texts, places, choices=choices, name="again", **quick)
    assert by_text.code == by_place.code and by_text.classes is None
    found = solver.predict(texts, "copa", choices=choices)
    assert all(answer in of_text for answer, of_text in zip(found, choices, strict=True))
    table = solver.predict_proba(texts, "copa", choices=choices)
    assert table.shape == (24, 3) and (table[::2, 2] == 0).all() and np.allclose(table.sum(1), 1)


def test_training_tasks_answer_with_choices(solver, reviews):
    texts, _ = reviews
    found = solver.predict(texts, "glue_mrpc", choices=["w10", "w11"])
    vectors = solver.model.get_task_vectors("glue_mrpc")
    solver.model.add_tuned_task("same", vectors)
    assert found == solver.predict(texts, "same", choices=["w10", "w11"])


def test_a_task_that_is_learned_again_is_replaced(solver, reviews, quick):
    texts, labels = reviews
    solver.fit(texts, labels, name="a", **quick)
    solver.fit(texts, [label == "w10" for label in labels], answers={True: "w5", False: "w6"}, name="a", **quick)
    assert solver.classes_("a") == [False, True] and solver.model.task_names.count("a") == 1


def test_a_copy_learns_for_itself(solver, reviews, quick):
    texts, labels = reviews
    copied = solver.copy()
    copied.fit(texts, labels, name="a", **(quick | {"method": "prompt_tuning", "folds": 0, "tuning_steps": 2}))
    assert copied.model.get_input_embeddings().weight is solver.model.get_input_embeddings().weight
    assert "a" in copied.model.task_names and "a" not in solver.model.task_names
    assert solver.model.tuned_prompts is None and len(copied.model.tuned_prompts) == 1


def test_a_model_that_its_own_code_loaded(fitted, reviews, tmp_path, own_remote_code):
    texts, _ = reviews
    fitted.save_pretrained(tmp_path)
    remote = get_class_from_dynamic_module("modeling_ctr.CTRForConditionalGeneration", tmp_path)
    model = remote.from_pretrained(tmp_path)
    assert type(model) is not type(fitted.model)
    solver = TaskSolver(model, fitted.tokenizer)
    assert solver.predict(texts, "stars") == fitted.predict(texts, "stars")
    auto = TaskSolver(AutoModelForSeq2SeqLM.from_pretrained(tmp_path), fitted.tokenizer)
    assert auto.predict(texts, "stars") == fitted.predict(texts, "stars")


@pytest.mark.parametrize("count", [2, 3, 5])
def test_hardly_any_examples(make_solver, reviews, count):
    solver = make_solver()
    texts, labels = reviews
    result = solver.fit(texts[:count], labels[:count], name="few", progress=False)
    assert result.num_examples == count and result.estimate.num_rows == count
    assert [each.method for each in result.tried] == ["code_ensemble", "training_code"]


def test_as_many_classes_as_examples(solver, reviews, quick):
    texts, _ = reviews
    result = solver.fit(texts, [f"w{30 + i}" for i in range(24)], name="many", **quick)
    assert len(result.classes) == 24 and result.majority[1] == 1 / 24
    assert result.estimate.accuracy <= 0.5  # a class with one example is not seen by what answers it


def test_settings_are_those_of_the_searches(solver, reviews):
    texts, labels = reviews
    config = SearchConfig(search_epochs=1, objective="loss")
    asked = {"name": "a", "config": config, "method": "bitwise_search", "folds": 0, "progress": False}
    found = solver.fit(texts, labels, **asked)
    features = make_examples(solver.tokenizer, "a", texts, labels, None, None, None, None, FitConfig()).features
    space = task_code_space(solver.model)
    search = BitwiseSearch(CodeScorer(solver.model, features), space, config, seed=42, progress=False)
    assert found.code == search.run().code
    with pytest.raises(TypeError, match="no argument or setting 'epochs'"):
        solver.fit(texts, labels, **asked, epochs=1)


def test_ctrl_c_ends_the_fit(solver, reviews, quick, monkeypatch):
    def interrupt(self, *args, **kwargs):
        raise KeyboardInterrupt

    texts, labels = reviews
    monkeypatch.setattr("search.bitwise_search.BitwiseSearch._improve", interrupt)
    with pytest.raises(KeyboardInterrupt):
        solver.fit(texts, labels, name="a", **quick)
    assert "a" not in solver.model.task_names


def test_decoder_only_models(tiny_causal_model, tiny_causal_tokenizer, reviews, quick, tmp_path):
    texts, labels = reviews
    solver = TaskSolver(tiny_causal_model(text_fields={"pad_token_id": None}), tiny_causal_tokenizer)
    solver.fit(texts, labels, name="reviews", **quick)
    solver.save_pretrained(tmp_path)
    again = TaskSolver.from_pretrained(tmp_path)
    assert type(again.model) is type(solver.model)
    np.testing.assert_allclose(
        again.predict_proba(texts, "reviews"), solver.predict_proba(texts, "reviews"), atol=1e-6
    )
    # Texts of a batch are filled up without a padding token, and each is answered as if alone.
    together = solver.generate(texts[:4], max_new_tokens=3)
    assert together == [solver.generate([text], max_new_tokens=3)[0] for text in texts[:4]] and any(together)
    assert len({len(text.split()) for text in texts[:4]}) > 1


def test_the_card_asks_the_task_learned_last(solver, reviews, quick, tmp_path):
    solver.model.add_tuned_task("old", solver.model.get_task_vectors(solver.model.task_names[0]).detach())
    solver.fit(*reviews, name="new", **quick)
    solver.save_pretrained(tmp_path)
    assert "another, longer text'], task='new'))" in (tmp_path / "README.md").read_text()
    solver.model.remove_task("new")
    solver.save_pretrained(tmp_path)
    assert "default_task = 'old'" in (tmp_path / "README.md").read_text()


def test_half_precision(fitted, reviews, tmp_path):
    texts, _ = reviews
    fitted.save_pretrained(tmp_path)
    solver = TaskSolver.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert solver.model.backbone.dtype == torch.bfloat16
    difference = np.abs(solver.predict_proba(texts, "stars") - fitted.predict_proba(texts, "stars"))
    assert difference.mean() < 0.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": ["w10"]}, "24 texts, but 1 labels"),
        ({"labels": ["w10"] * 24}, "only one class, 'w10'"),
        ({"labels": [0] * 24, "answers": {0: "w10", 1: "w11"}}, "All examples have the label 0"),
        ({"labels": [0, 1, 2] * 8, "answers": {0: "w10", 1: "w11"}}, r"labels\[2\] is 2, which is not among"),
        (
            {"labels": [0, 1] * 12, "answers": {0: "good", 1: "bad"}},
            "Answers 1 and 2 .*'good' and 'bad'.* same tokens",
        ),
        ({"labels": ["w10", float("nan")] * 12}, r"labels\[1\] is missing"),
        ({"texts": ["w3", ""] * 12, "labels": ["w10", "w11"] * 12}, r"texts\[1\] is empty"),
        ({"name": "ag_news", "labels": ["w10", "w11"] * 12}, "'ag_news' is a training task"),
        ({"name": " ", "labels": ["w10", "w11"] * 12}, "`name` must be a text"),
        ({"labels": ["w10", "w11"] * 12, "method": "magic"}, "no method 'magic': choose one of 'auto'"),
        ({"answers": ["w10", "w11"], "method": "bitwise_search"}, "'bitwise_search' needs `labels`"),
        ({"targets": ["w3"] * 24, "method": "code_ensemble"}, "needs answers to choose between"),
        ({"targets": ["w3"] * 24, "method": "until_solved"}, "needs answers to choose between"),
        ({"labels": ["w10", "w11"] * 12, "folds": 1}, "`folds` must be 0"),
        ({"labels": ["w10", "w11"] * 12, "folds": 2.0}, "`folds` must be at least 0, a whole number"),
        ({"labels": ["w10", "w11"] * 12, "calibrate": 1}, "`calibrate` must be true or false"),
        ({"answers": ["w10", "w11"], "method": "auto", "calibrate": True}, "`calibrate` needs examples with labels"),
        ({"labels": ["w10", "w11"] * 12, "method": "auto", "folds": 0}, "'auto' compares methods by the estimate"),
        ({"labels": ["w10", "w11"] * 12, "targets": ["a"] * 24}, "not both"),
        ({"targets": ["w3", ""] * 12}, r"targets\[1\] must be a text that is not empty"),
        ({"targets": ["w3"]}, "24 texts, but 1 targets"),
        ({"labels": ["w9"] * 24, "choices": ["w10", "w11"]}, r"labels\[0\] is 'w9', which is not among its choices"),
        ({"labels": [0] * 24, "choices": ["w10", "w11"], "answers": ["a", "b"]}, "not both"),
        ({"method": "auto"}, "Give `labels`, or `answers`"),
        ({"labels": ["w10", "w11"] * 12, "max_evaluations": 0}, "`max_evaluations` must be at least 1"),
        ({"labels": ["w10", "w11"] * 12, "template": "{{other}} {{text}}"}, "shows the fields other, text"),
    ],
)
def test_what_cannot_be_learned(make_solver, reviews, quick, arguments, message):
    solver = make_solver()
    texts = arguments.pop("texts", reviews[0])
    with pytest.raises(ValueError, match=message):
        solver.fit(texts, **({"name": "new"} | quick | arguments))
    assert solver.model.task_names == solver.model.config.task_names


@pytest.mark.parametrize(
    ("texts", "task", "message"),
    [
        (["w3"], "review", "no task 'review'.*did you mean 'reviews'"),
        ("w3", "reviews", "must be a list of texts, but is one"),
        (["w3", " "], "reviews", r"texts\[1\] is empty"),
        ([], "reviews", "There are no texts"),
        (["w3"], "ag_news", "'ag_news' has no answers to choose from"),
        (["w3"], "fields", "shows the fields first, second"),
        ([{"first": "w3 w4", "second": "w5"}, {"first": "w3"}], "fields", r"texts\[1\] has no field 'second'"),
        ([{"first": "w3 w4", "second": 5}, {"first": None, "second": float("nan")}], "fields", "row 1 is empty"),
    ],
)
def test_what_cannot_be_answered(fitted, texts, task, message):
    with pytest.raises(ValueError, match=message):
        fitted.predict(texts, task)


def test_a_task_must_be_named_where_there_is_doubt(make_solver, fitted, tmp_path):
    with pytest.raises(ValueError, match="No task was learned yet: call `fit`"):
        make_solver().predict(["w3"])
    fitted.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="Name the task: the model knows 'fields', 'reviews', 'stars'"):
        TaskSolver.from_pretrained(tmp_path).predict(["w3"])


def test_texts_that_the_tokenizer_does_not_know(solver, reviews, quick):
    texts, labels = reviews
    result = solver.fit([f"these words are all unknown {text}" for text in texts], labels, name="a", **quick)
    assert "the tokenizer does not know" in result.warnings[0]


def test_no_other_models(tiny_t5_config, tiny_tokenizer):
    with pytest.raises(ValueError, match="A T5ForConditionalGeneration is no CTR model"):
        TaskSolver(T5ForConditionalGeneration(tiny_t5_config()), tiny_tokenizer)


@pytest.mark.parametrize("code_position", ["prefix", "suffix"])
def test_decoder_only_models_go_on_with_the_text(
    code_position, tiny_causal_model, tiny_tokenizer, reviews, quick, tmp_path, own_remote_code
):
    solver = TaskSolver(tiny_causal_model(code_position=code_position), tiny_tokenizer)
    texts, labels = reviews
    solver.fit(texts, labels, name="reviews", **quick)
    found = solver.predict_proba(texts, "reviews")
    # A text is gone on with, so that neither an end nor a beginning stands between it and its answer.
    answers = torch.tensor([[[10, 1], [11, 1]]])
    for text, probabilities in zip(texts[:6], found, strict=False):
        ids = torch.tensor([[int(word[1:]) for word in text.split()]])
        scores = solver.model.choice_log_likelihoods(ids, answers, task="reviews")[0]
        np.testing.assert_allclose(probabilities, scores.softmax(0).detach().numpy(), atol=1e-4)
    (written,) = solver.generate(texts[:1], "reviews", max_new_tokens=3, min_new_tokens=3)
    assert len(written.split()) <= 3 and texts[0] not in written
    solver.save_pretrained(tmp_path)
    assert TaskSolver.from_pretrained(tmp_path).predict(texts, "reviews") == solver.predict(texts, "reviews")
    own = get_class_from_dynamic_module("modeling_ctr_causal.CTRForCausalLM", tmp_path)  # remote code
    remote = TaskSolver(
        own.from_pretrained(tmp_path, config=own.config_class.from_pretrained(tmp_path)), tiny_tokenizer
    )
    assert remote.predict(texts, "reviews") == solver.predict(texts, "reviews")
