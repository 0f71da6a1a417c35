"""The embedded benchmark with a decoder-only model: the parts that know it, not the whole run, which takes minutes."""

import importlib
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from evaluation.examples import TemplateExamples
from tasks import FeatureBuilder, load_tasks
from tasks.scenes import ALL_TASKS, TRAINING_TASKS, prompted_rows, scene_rows, write_scenes

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def load(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


def test_prompts_stand_in_front_or_behind():
    front, behind = (prompted_rows(TRAINING_TASKS, 5, 3, prompt_behind=value)["input"] for value in (False, True))
    for one, other in zip(front, behind, strict=True):
        words = one.split()
        assert other.split() == [*words[3:], *words[:3]] and words[:3] != other.split()[:3]


@pytest.mark.parametrize("position", [None, "prefix", "suffix"])
def test_the_language_model_is_trained_and_asked_in_words(position, load, tmp_path):
    load("scenes_language_model").train_language_model(tmp_path / "lm", 0, steps=2, code_position=position)
    kind = AutoModelForSeq2SeqLM if position is None else AutoModelForCausalLM
    model, tokenizer = kind.from_pretrained(tmp_path / "lm"), AutoTokenizer.from_pretrained(tmp_path / "lm")
    write_scenes(tmp_path / "tasks", 0, num_train=20, num_validation=5)
    task = next(iter(load_tasks(tmp_path / "tasks" / "templates").values()))
    builder = FeatureBuilder(tokenizer, 32, 4, decoder_only=position is not None)
    examples = TemplateExamples(task, None, None, builder.evaluation(task, scene_rows(6, 1)))
    prompts = next(each for each in ALL_TASKS if each.name == task.name).prompts()
    score = load("scenes").score_words(model, tokenizer, examples, prompts, 0, behind=position == "suffix")
    assert 0 <= score.accuracy <= 1 and score.num_examples == 6
