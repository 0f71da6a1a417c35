import itertools
from dataclasses import replace

import pytest
import torch
from datasets import Dataset

from evaluation.held_out import evaluate_held_out
from evaluation.score import load_scores
from evaluation.settings import HeldOutSettings, TuningSettings
from modeling_ctr import TaskDetails
from search import CodeScorer, Objective, SearchConfig, load_prompt_adapter


@pytest.fixture
def run(tasks, rows, builder, tmp_path):
    """`run(model, folder, bitwise_search, rows, tuning, tasks)`: scores of a held-out data set, without their seconds."""

    def run(model, folder, bitwise_search=False, rows=rows, tuning="lora", tasks=tasks[:1]):
        settings = HeldOutSettings(
            do_code_ensemble=True,
            do_bitwise_search=bitwise_search,
            num_shots=16,
            num_unlabelled=20,
            mean_training_code=True,
        )
        methods = {
            "search": SearchConfig(max_evaluations=10),
            "tuning": TuningSettings(**{f"do_{tuning}": True}, tuning_steps=2),
        }
        scores = evaluate_held_out(model, tasks, lambda task: rows, builder, settings, tmp_path / folder, **methods)
        return [replace(score, seconds=0.0) for score in scores]

    return run


def times(folder):
    return {path: path.stat().st_mtime_ns for path in folder.glob("held_out/**/*.json")}


def test_what_is_finished_is_taken_up_again(tiny_ctr_model, run, tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr("evaluation.added_tasks.logger.info", told.append)
    model = tiny_ctr_model()
    scores = run(model, "a")
    code = model.get_task_code("sizes/plain").tolist()
    assert f"sizes/plain is now a task of the model, with the code of Code Ensemble: {code}" in told
    before = times(tmp_path / "a")
    assert model.task_details("sizes/plain") == TaskDetails(
        answers=["w10", "w11"],
        template="{{text}} ||| {{answer_choices[label]}}",
        max_source_length=32,
        max_target_length=4,
    )
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


def test_results_in_another_precision_are_not_taken_up_again(tiny_ctr_model, run, tmp_path):
    run(tiny_ctr_model(), "a")
    before = times(tmp_path / "a")
    with torch.autocast("cpu", torch.bfloat16):
        of_half = run(tiny_ctr_model(), "a")
        assert all(time > before[path] for path, time in times(tmp_path / "a").items())
        before = times(tmp_path / "a")
        assert run(tiny_ctr_model(), "a") == of_half and times(tmp_path / "a") == before
    assert load_scores(tmp_path / "a" / "report.json")[1]["autocast"] == "torch.bfloat16"


@pytest.mark.parametrize(
    ("owner", "name", "at_call", "tuning"),
    [  # when the search has a best code, and the tuning a best prompt
        (CodeScorer, "choice_log_likelihoods", 6, "lora"),
        (Objective, "gradients", 2, "prompt_tuning"),
    ],
)
def test_an_interrupted_search_or_tuning_ends_the_run_and_is_gone_on_with(
    tiny_ctr_model, run, tmp_path, monkeypatch, owner, name, at_call, tuning
):
    whole = run(tiny_ctr_model(), "whole", bitwise_search=True, tuning=tuning)
    calls, real = itertools.count(1), getattr(owner, name)

    def interrupted(*args, **kwargs):
        if next(calls) == at_call:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(owner, name, interrupted)
        run(tiny_ctr_model(), "a", bitwise_search=True, tuning=tuning)
    assert run(tiny_ctr_model(), "a", bitwise_search=True, tuning=tuning) == whole


def test_what_is_damaged_is_computed_again(tiny_ctr_model, run, tmp_path, monkeypatch):
    scores = run(tiny_ctr_model(), "a", bitwise_search=True, tuning="code_tuning")
    folder = tmp_path / "a/held_out/sizes/seed_42"
    adapter = folder / "code_tuning_plain"
    whole = load_prompt_adapter(adapter).clone()
    told = []
    monkeypatch.setattr("evaluation.kept_results.logger.warning", told.append)
    monkeypatch.setattr("evaluation.tuning_methods.logger.warning", told.append)

    def run_again(damage, path) -> list[str]:
        damage(path)
        told.clear()
        model = tiny_ctr_model()
        assert run(model, "a", bitwise_search=True, tuning="code_tuning") == scores
        assert torch.equal(model.get_task_vectors("sizes/plain/tuned"), whole)
        return told

    def cut_all(folder):
        for name in ("found_codes.json", "scores.json", "code_tuning_plain.json"):
            (folder / name).write_text((folder / name).read_text()[:-20])

    said = run_again(cut_all, folder)
    assert [text.endswith("It is computed again.") for text in said] == [True] * 3
    assert "found_codes.json' is damaged" in said[0] and "scores.json" in said[1]
    said = run_again(lambda path: path.write_bytes(b"x"), adapter / "adapter_model.safetensors")
    assert "cannot be read" in said[0] and "tuned again" in said[0]
    run_again(lambda path: path.unlink(), adapter / "adapter_model.safetensors")
    assert not run_again(lambda path: None, folder)


def test_templates_whose_files_would_have_the_same_name_are_refused(tiny_ctr_model, run, tasks):
    template = replace(tasks[0].template, name="plain?")
    alike = [replace(tasks[0], name="sizes/plain?", template=template)]
    alike.append(replace(alike[0], name="sizes/plain!", template=replace(template, name="plain!")))
    with pytest.raises(ValueError, match=r"files of 'sizes/plain\?' and 'sizes/plain!' would have the same names"):
        run(tiny_ctr_model(), "a", tasks=alike)


def test_a_prompt_tuned_from_a_code_becomes_part_of_the_model(tiny_ctr_model, run, tmp_path):
    model = tiny_ctr_model()
    scores = run(model, "a", bitwise_search=True, tuning="code_tuning")
    assert model.task_names[3:] == ["sizes/plain", "sizes/plain/tuned"]
    tuned = model.get_task_vectors("sizes/plain/tuned")
    assert torch.equal(load_prompt_adapter(tmp_path / "a/held_out/sizes/seed_42/code_tuning_plain"), tuned)
    # Taken up again by a new model, and put in the place of an earlier run's.
    for each in (tiny_ctr_model(), model):
        assert run(each, "a", bitwise_search=True, tuning="code_tuning") == scores
        assert each.task_names[3:] == ["sizes/plain", "sizes/plain/tuned"]
        assert torch.equal(each.get_task_vectors("sizes/plain/tuned"), tuned)
