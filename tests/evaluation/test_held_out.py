from dataclasses import replace

import pytest
import torch
from datasets import Dataset

from evaluation.ctr_methods import SearchSettings
from evaluation.held_out import HeldOutSettings, evaluate_held_out
from evaluation.protocol import Draws
from evaluation.tuning_methods import TuningSettings
from search import load_prompt_adapter


@pytest.fixture
def run(tasks, rows, builder, tmp_path):
    """`run(model, folder, bitwise_search, rows, tuning)`: scores of one held-out task, without their seconds."""

    def run(model, folder, bitwise_search=False, rows=rows, tuning="lora"):
        settings = HeldOutSettings(
            draws=Draws(16, 20),
            search=SearchSettings(bitwise_search=bitwise_search, max_evaluations=10),
            tuning=TuningSettings((tuning,), steps=2),
        )
        scores = evaluate_held_out(model, tasks[:1], lambda task: rows, builder, settings, tmp_path / folder)
        return [replace(score, seconds=0.0) for score in scores]

    return run


def times(folder):
    return {path: path.stat().st_mtime_ns for path in folder.glob("held_out/**/*.json")}


def test_what_is_finished_is_taken_up_again(tiny_ctr_model, run, tmp_path):
    scores = run(tiny_ctr_model(), "a")
    before = times(tmp_path / "a")
    assert {path.name for path in before} == {
        "found_codes.json",
        "code_ensemble.json",
        "scores.json",
        "lora_plain.json",
    }
    assert run(tiny_ctr_model(), "a") == scores
    assert times(tmp_path / "a") == before


def test_what_another_model_or_other_examples_left_is_not(tiny_ctr_model, run, rows, tmp_path):
    run(tiny_ctr_model(seed=0), "a")
    of_other_model = run(tiny_ctr_model(seed=1), "b")
    assert run(tiny_ctr_model(seed=1), "a") == of_other_model
    texts = [f"{text} w63" for text in rows.evaluation["text"]]
    changed = replace(rows, evaluation=Dataset.from_dict({**rows.evaluation.to_dict(), "text": texts}))
    before = times(tmp_path / "b")
    assert run(tiny_ctr_model(seed=1), "b", rows=changed) == run(tiny_ctr_model(seed=1), "c", rows=changed)
    assert all(time > before[path] for path, time in times(tmp_path / "b").items())


def test_a_search_of_another_model_is_not_continued(tiny_ctr_model, run):
    run(tiny_ctr_model(seed=0), "a", bitwise_search=True)
    with pytest.raises(ValueError, match="model"):
        run(tiny_ctr_model(seed=1), "a", bitwise_search=True)


def test_a_prompt_tuned_from_a_code_becomes_part_of_the_model(tiny_ctr_model, run, tmp_path):
    model = tiny_ctr_model()
    scores = run(model, "a", bitwise_search=True, tuning="code_tuning")
    assert model.task_names[3:] == ["sizes/plain", "sizes/plain/tuned"]
    tuned = model.task_vectors_of("sizes/plain/tuned")
    assert torch.equal(load_prompt_adapter(tmp_path / "a/held_out/sizes/seed_42/code_tuning_plain"), tuned)
    # Taken up again by a new model, and put in the place of an earlier run's.
    for each in (tiny_ctr_model(), model):
        assert run(each, "a", bitwise_search=True, tuning="code_tuning") == scores
        assert each.task_names[3:] == ["sizes/plain", "sizes/plain/tuned"]
        assert torch.equal(each.task_vectors_of("sizes/plain/tuned"), tuned)
