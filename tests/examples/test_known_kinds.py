"""The experiment on held-out data sets of known kinds: its rows, its tasks and its rivals. It takes hours, and is not run."""

import importlib.util
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import T5Config, T5ForConditionalGeneration

from run_arguments import parse_arguments
from tasks import load_tasks, select_tasks

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "known_kinds"


def load_script(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def test_yes_no_rows_are_balanced_and_rightly_labeled():
    rows = Dataset.from_dict(
        {"text": [f"{i} of kind {i % 4}" for i in range(40)], "label": [i % 4 for i in range(40)]}
    )
    made = load_script("prepare").make_yes_no(rows, "label", 1, at_most=16, seed=0)
    assert sorted(made["label"]) == [0] * 8 + [1] * 8
    assert all(
        (text.endswith("kind 1")) == bool(label) for text, label in zip(made["text"], made["label"], strict=True)
    )


def test_the_tasks_are_known_and_no_held_out_data_set_is_trained():
    tasks = load_tasks("no_prompt", FOLDER / "templates")
    training, held_out = (
        select_tasks(tasks, [str(FOLDER / f"{kind}_tasks.yaml")]) for kind in ("training", "held_out")
    )
    assert len(training) == 25 and len(held_out) == 7
    assert not {task.dataset for task in training} & {task.dataset for task in held_out}
    prepare = load_script("prepare")
    assert {task.dataset for task in [*training, *held_out]} <= {*prepare.DATASETS, *prepare.YES_NO}


@pytest.fixture
def arrays():
    """Answers of a code that says the opposite, and of two that say nothing; the language model says the truth."""
    generator = np.random.default_rng(0)

    def make_part(number: int, name: str) -> dict[str, np.ndarray]:
        answers = generator.integers(2, size=number)
        right = 2.0 * np.eye(2)[answers] + generator.normal(size=(number, 2))
        scores = np.stack([-right, *generator.normal(size=(2, number, 2))])
        return {name: scores, f"{name}_raw": right, f"{name}_answers": answers}

    parts = make_part(400, "evaluation") | make_part(32, "unlabelled")
    for seed in range(1, 6):
        parts |= make_part(32, f"few_{seed}")
    return parts


def test_ways_to_use_training_codes_on_answers_that_are_known(arrays):
    script = load_script("training_codes")
    ways = script.compare_ways(arrays)
    means = {way: np.mean(values) for way, values in ways.items()}
    assert means["no code"] > 0.85 and means["training code, oracle (best on these rows)"] < 0.65
    assert means["training code by calibrated loss"] > 0.85 > 0.65 > means["training code by loss"]
    assert means["LR on the answers under all training codes"] > 0.8
    assert len(ways["training code by loss"]) == 5 and len(ways["no code"]) == 1


def test_ways_with_more_and_more_labels(arrays, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    script = load_script("labels")
    gold = np.array([0] * 20 + [1])
    assert set(gold[script.draw_labels(gold, 2, draw=0)]) == {0, 1}
    assert script.draw_labels(gold, 8, 1).tolist() == script.draw_labels(gold, 8, 1).tolist()

    kept = range(0, 160)
    results = defaultdict(lambda: defaultdict(list))
    script.answer_by_codes(arrays, kept, results)
    gold = script.get_few_shot(arrays, kept, "_answers")
    sees_answers = [values[:, None] + 0.0 for values in (gold, arrays["evaluation_answers"])]
    script.answer_by_embeddings({"encoder states + LR": (script.StandardScaler, *sees_answers)}, arrays, kept, results)
    calibrated = results["training code by calibrated loss"]
    assert list(calibrated) == list(script.LABELS) and all(len(draws) == script.DRAWS for draws in calibrated.values())
    assert np.mean(calibrated[128], axis=0)[0] > 0.85 > np.mean(calibrated[4], axis=0)[0]
    assert all(accuracy == 1 for accuracy, _ in results["encoder states + LR"][32])
    script.draw_curves({"a task": results}, tmp_path / "labels.png")
    assert (tmp_path / "labels.png").stat().st_size > 5000
    report = script.make_report({"a task": results})
    assert report[0].split(" | ")[1] == "4 labels" and "| encoder states + LR | 100.0 |" in "\n".join(report)


@pytest.mark.parametrize("name", ["stage1", "stage2", "held_out"])
def test_its_settings_are_flags(name, tmp_path, monkeypatch):
    monkeypatch.chdir(FOLDER.parents[1])
    parse_arguments([str(FOLDER / f"{name}.yaml"), "--model_name_or_path", "m", "--output_dir", str(tmp_path)])


def test_tfew_loss_is_its_definition_and_ia3_leaves_the_model_as_it_was():
    rivals = load_script("rivals")
    torch.manual_seed(0)
    config = T5Config(vocab_size=30, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, decoder_start_token_id=0)
    model = T5ForConditionalGeneration(config).eval()
    rows = [
        {"input_ids": [3, 4, 5, 1], "choice_ids": [[6, 1], [7, 8, 1]], "answer": 1},
        {"input_ids": [9, 1], "choice_ids": [[6, 1], [7, 8, 1], [10, 1]], "answer": 0},
    ]
    expected = []
    for row in rows:
        log_p = []
        for choice in row["choice_ids"]:
            logits = model(input_ids=torch.tensor([row["input_ids"]]), labels=torch.tensor([choice])).logits[0]
            log_p.append(logits.log_softmax(-1)[range(len(choice)), choice])
        wrong = torch.cat([tokens for i, tokens in enumerate(log_p) if i != row["answer"]])
        means = torch.stack([tokens.mean() for tokens in log_p])
        likelihood, choice_loss = -means[row["answer"]], -means.log_softmax(0)[row["answer"]]
        expected.append(likelihood - (1 - wrong.exp()).log().mean() + choice_loss)
    loss = rivals.compute_tfew_loss(model, rows)
    torch.testing.assert_close(loss, torch.stack(expected).mean())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with rivals.tuned_by_ia3(model, Dataset.from_list(rows), steps=3, seed=0):
        assert rivals.compute_tfew_loss(model, rows) < loss
    assert before.keys() == model.state_dict().keys()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
