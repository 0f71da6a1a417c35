import threading

import pytest
import torch

from evaluation.playground import (
    HELD_OUT_DEMO_TASKS,
    Checkpoint,
    answer,
    bitwise_steps,
    demo_example,
    demo_examples,
    ensemble_steps,
    found_code_file,
    nearest_task,
    parse_choices,
    parse_examples,
)
from modeling_ctr import load_task_code
from search import CodeScorer

CHOICES = ["w7 w8", "w9"]


@pytest.fixture(scope="module")
def checkpoint(tiny_ctr_model, tiny_tokenizer):
    return Checkpoint(tiny_ctr_model(), tiny_tokenizer, "tiny")


@pytest.fixture
def scorer(checkpoint):
    inputs = [f"w{i} w{i + 5} w20" for i in range(10, 18)]
    return CodeScorer(checkpoint.model, checkpoint.features(inputs, CHOICES, [CHOICES[i % 2] for i in range(8)]))


# ------------------------------------------------------------------------------------------------- what is typed


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


def test_labelled_examples():
    text = "one two\tyes\n\n three\tfour \tno\n"
    assert parse_examples(text, "no\nyes", True) == (["one two", "three\tfour"], ["no", "yes"], ["yes", "no"])
    assert parse_examples(text, "", True)[1] == ["yes", "no"]


def test_unlabelled_examples():
    text = "one two\n three\n"
    assert parse_examples(text, "no\nyes", False) == (["one two", "three"], ["no", "yes"], None)


def test_answers_are_dropped_where_none_are_needed():
    assert parse_examples("one\tyes\ntwo\tno", "no\nyes", False) == (["one", "two"], ["no", "yes"], None)


@pytest.mark.parametrize(
    ("text", "choices", "labelled", "message"),
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
def test_wrong_examples(text, choices, labelled, message):
    with pytest.raises(ValueError, match=message):
        parse_examples(text, choices, labelled)


def test_examples_of_the_demos_tasks_can_be_searched_with():
    for task in HELD_OUT_DEMO_TASKS:
        choices = demo_example(task)[1]
        inputs, parsed, answers = parse_examples(demo_examples(task), choices, True)
        assert len(inputs) == len(answers) == 32
        assert set(answers) <= set(parsed) == set(choices.splitlines())


def test_examples_are_right():
    task = "scenes/ann_size_word/no_prompt"
    for line in demo_examples(task).splitlines():
        scene, answer = line.split("\t")
        assert scene.split()[:2] == ["ann", answer]
    assert demo_example(task)[1].split() == ["tiny", "small", "large", "huge"]


def test_other_tasks_have_no_examples():
    assert demo_example("ag_news/topic") == ("", "")


# ------------------------------------------------------------------------------------------------- the checkpoint


def test_texts_end_in_one_end_token_and_are_cut(checkpoint):
    assert checkpoint.ids("w5 w6") == [5, 6, 1]
    long = checkpoint.ids("w5 " * 500)
    assert (len(long), long[-1], long.count(1)) == (384, 1, 1)


def test_loading(tmp_path, checkpoint):
    checkpoint.model.save_pretrained(tmp_path / "here")
    with pytest.raises(ValueError, match="has no tokenizer that can be read"):
        Checkpoint.load(str(tmp_path / "here"))
    checkpoint.tokenizer.save_pretrained(tmp_path / "here")
    loaded = Checkpoint.load(str(tmp_path / "here"))
    assert loaded.name == "here"
    assert not loaded.model.training
    assert loaded.ids("w5 w6") == [5, 6, 1]


def test_answers_are_those_of_the_model(checkpoint):
    model, code = checkpoint.model, [1, 2, 3, 4]
    written, probabilities = answer(checkpoint, code, "w5 w6", CHOICES)
    scores = model.choice_log_likelihoods(
        torch.tensor([[5, 6, 1]]), torch.tensor([[[7, 8, 1], [9, 1, -100]]]), task_code=torch.tensor(code)
    )
    assert list(probabilities) == CHOICES
    assert list(probabilities.values()) == pytest.approx(scores.softmax(1)[0].tolist(), abs=1e-5)
    ids = model.generate(torch.tensor([[5, 6, 1]]), task_code=code, max_new_tokens=32)
    assert written == checkpoint.tokenizer.decode(ids[0], skip_special_tokens=True)


def test_another_code_gives_another_answer(checkpoint):
    choices = [f"w{i}" for i in range(3, 64)]
    _, first = answer(checkpoint, [1, 2, 3, 4], "w5 w6", choices)
    _, second = answer(checkpoint, [1, 2, 3, 5], "w5 w6", choices)
    assert max(abs(first[choice] - second[choice]) for choice in choices) > 1e-3


def test_without_choices_there_are_no_probabilities(checkpoint):
    assert answer(checkpoint, [1, 2, 3, 4], "w5 w6", [])[1] is None


def test_nearest_task(checkpoint):
    code = checkpoint.model.get_task_code("glue_qqp").tolist()
    assert nearest_task(checkpoint.model, code) == "This is the code of **glue_qqp**."
    others = checkpoint.model.task_codes()[:, 0].tolist()
    code[0] = next(value for value in range(8) if value not in others)
    assert nearest_task(checkpoint.model, code) == "3 of 4 positions as in **glue_qqp**."


# ------------------------------------------------------------------------------------------------------ searching


def test_bitwise_search_ends_with_the_best_code(scorer):
    courses = list(bitwise_steps(scorer, 200, threading.Event()))
    last = courses[-1]
    assert last.num_codes() <= 200
    assert last.loss == min(e.value for e in last.trace) <= last.start_loss()
    assert last.objective == "normalized_loss"


def test_a_stopped_search_returns_the_best_so_far(scorer):
    stop = threading.Event()
    pass_through, calls = scorer.choice_log_likelihoods, []

    def after_three_calls(*args):
        calls.append(1)
        if len(calls) == 3:
            stop.set()
        return pass_through(*args)

    scorer.choice_log_likelihoods = after_three_calls
    last = list(bitwise_steps(scorer, 200, stop))[-1]
    assert len(calls) == 3
    assert last.loss == min(e.value for e in last.trace)


def test_a_search_that_is_stopped_at_once(scorer):
    stop = threading.Event()
    stop.set()
    with pytest.raises(ValueError, match="stopped before it had evaluated any code"):
        list(bitwise_steps(scorer, 200, stop))


def test_leaving_ends_the_search(scorer):
    stop = threading.Event()
    steps = bitwise_steps(scorer, 200, stop)
    next(steps)
    steps.close()
    assert stop.is_set()


def test_ensemble_scores_every_code_and_tells(scorer):
    assert list(ensemble_steps(scorer, threading.Event())) == [(0, 3)]
    assert scorer.evaluations == 3


def test_a_stopped_ensemble(scorer):
    stop = threading.Event()
    stop.set()
    with pytest.raises(ValueError, match="there is no vote yet"):
        list(ensemble_steps(scorer, stop))


def test_the_file_of_a_found_code(checkpoint, tmp_path):
    path = found_code_file(checkpoint, "new", [1, 2, 3, 4], tmp_path, {"few_shot_accuracy": 0.5})
    saved = load_task_code(path)
    assert (saved.name, saved.code, saved.checkpoint) == ("new", [1, 2, 3, 4], "tiny")
    assert saved.scores == {"few_shot_accuracy": 0.5}
    assert "new" not in checkpoint.model.task_names
