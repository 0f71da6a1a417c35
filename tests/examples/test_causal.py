"""The experiment on a decoder-only model: its settings, its rival and its report. It takes hours, and is not run."""

import importlib
import sys
from pathlib import Path

import pytest
import torch
from datasets import Dataset

from evaluation.score import Score, save_scores
from run_arguments import parse_arguments
from tasks import load_tasks, select_tasks
from tasks.scenes import scene_tokenizer

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "causal"


@pytest.fixture
def load(monkeypatch):
    """Import a script of the example's folder, as Python does when it runs one."""
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.delitem(sys.modules, "run", raising=False)
    yield importlib.import_module
    for name in ("run", "in_context"):
        sys.modules.pop(name, None)


def test_the_tasks_are_known_and_no_held_out_data_set_is_trained():
    tasks = load_tasks("no_prompt", FOLDER.parent / "known_kinds" / "templates")
    training, held_out = (
        select_tasks(tasks, [str(FOLDER / f"{kind}_tasks.yaml")]) for kind in ("training", "held_out")
    )
    assert (len(training), len(held_out)) == (10, 3)
    assert not {task.dataset for task in training} & {task.dataset for task in held_out}


@pytest.mark.parametrize("name", ["stage1", "stage2", "held_out"])
def test_its_settings_are_flags(name, tmp_path, monkeypatch):
    monkeypatch.chdir(FOLDER.parents[1])
    flags = ["--model_name_or_path", "m", "--output_dir", str(tmp_path), "--code_position", "suffix"]
    parse_arguments([str(FOLDER / f"{name}.yaml"), *flags, "--tasks", "trec_number/text_yes_no"])


@torch.no_grad()
@pytest.mark.parametrize("positions, used", [(64, 3), (20, 2)])
def test_in_context_answers_are_those_of_whole_sequences(positions, used, load, tiny_causal_model):
    model = tiny_causal_model("llama").backbone
    model.config.max_position_embeddings = positions
    shots = Dataset.from_list(
        [{"input_ids": [3 + i, 4, 5], "choice_ids": [[6, 1], [7, 8, 1]], "answer": i % 2} for i in range(3)]
    )
    rows = Dataset.from_list(
        [
            {"input_ids": list(range(9, 12 + i % 3)), "choice_ids": [[6 + i, 1], [20 - i, 1], [7, 8, 1]], "answer": 0}
            for i in range(10)
        ]
    )
    answers, fitted = load("in_context").answer_in_context(model, scene_tokenizer(), shots, rows)
    context = [3, 4, 5, 6, 4, 4, 5, 7, 8, 5, 4, 5, 6][: [0, 4, 9, 13][used]]
    expected = []
    for row in rows:
        scores = []
        for choice in row["choice_ids"]:
            ids = torch.tensor([*context, *row["input_ids"], *choice[:-1]])
            logits = model(ids[None]).logits[0].log_softmax(-1)
            places = range(len(ids) - len(choice) + 1, len(ids))
            scores.append(sum(logits[place - 1, ids[place]] for place in places))
        expected.append(int(torch.stack(scores).argmax()))
    assert (answers, fitted) == (expected, used)
    assert len(set(expected)) > 1  # or any two would agree


def test_the_report_has_what_is_finished(load, tmp_path):
    run = load("run")
    assert run.make_report(tmp_path) == ""
    common = {
        "task": "trec",
        "template": "a",
        "num_examples": 4,
        "seed": 1,
        "macro_f1": 0.5,
        "predicted_shares": [1.0],
    }
    (tmp_path / "suffix" / "training_tasks").mkdir(parents=True)
    save_scores(
        [Score(method="raw LM", accuracy=0.25, **common), Score(method="its code", accuracy=0.75, **common)],
        tmp_path / "suffix" / "training_tasks" / "trec.json",
        {},
    )
    report = run.make_report(tmp_path)
    assert "## Training tasks, suffix" in report and "prefix" not in report and "Held-out" not in report
    cells = [cell.strip() for cell in report.splitlines()[-1].split("|")[1:-1]]
    assert cells == ["trec, a", "4", "25.0", "75.0"]
