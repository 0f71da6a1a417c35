"""The whole road with real files: a language model, templates and rows on disk, both stages, searches, report."""

import json
import os
import random
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from transformers import LlamaForCausalLM, T5ForConditionalGeneration

import run_ctr
from evaluation.score import load_scores
from modeling_ctr import CTRForCausalLM, CTRForConditionalGeneration, load_model

TEMPLATE = """
dataset: {name}
data: {{data_files: {{train: {name}_train.jsonl, validation: {name}_validation.jsonl}}}}
templates:
  {first}: {{answer_choices: "{choices}", jinja: "{{{{text}}}} ||| {{{{answer_choices[label]}}}}"}}
  {second}: {{answer_choices: "{choices}", jinja: "{{{{text}}}} w5 ||| {{{{answer_choices[label]}}}}"}}
"""


@pytest.fixture
def project(tmp_path, tiny_t5_config, tiny_tokenizer, monkeypatch):
    """A folder with a language model, three data sets and their templates; the label shows in a word of the text."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    torch.manual_seed(0)
    T5ForConditionalGeneration(tiny_t5_config()).save_pretrained(tmp_path / "lm")
    tiny_tokenizer.save_pretrained(tmp_path / "lm")
    draw = random.Random(0)
    for name, choices in (("colours", "w10 ||| w11"), ("shapes", "w12 ||| w13"), ("sizes", "w14 w15 ||| w16")):
        (tmp_path / "templates").mkdir(exist_ok=True)
        for split, count in (("train", 60), ("validation", 20)):
            lines = []
            for _ in range(count):
                label = draw.randrange(2)
                words = [f"w{30 + label}", *(f"w{draw.randrange(40, 64)}" for _ in range(draw.randrange(3, 9)))]
                lines.append(json.dumps({"text": " ".join(words), "label": label}))
            (tmp_path / "templates" / f"{name}_{split}.jsonl").write_text("\n".join(lines))
        text = TEMPLATE.format(name=name, choices=choices, first="plain", second="marked / twice")
        (tmp_path / "templates" / f"{name}.yaml").write_text(text)
    return tmp_path


def flags(project, **settings) -> list[str]:
    defaults = {
        "model_name_or_path": project / "lm",
        "templates_dir": project / "templates",
        "output_dir": project / "out",
        "report_to": "none",
        "use_cpu": True,
        "code_length": 4,
        "codebook_size": 16,
        "num_shots": 8,
        "num_unlabelled": 10,
        "save_steps": 5,
        "logging_steps": 5,
    }
    words = []
    for name, value in (defaults | settings).items():
        words += [f"--{name}", *(map(str, value) if isinstance(value, list) else [str(value)])]
    return words


TRAINING = {"train_tasks": ["colours", "shapes"], "do_train": True, "max_steps": 10}
SEARCHES = {"tasks": ["sizes"], "do_code_ensemble": True, "do_bitwise_search": True}


def test_training_and_searching_in_one_run(project, capsys):
    run_ctr.main(
        flags(project, **TRAINING, **SEARCHES, do_eval=True, few_shot_seeds=[1, 2], stage=2, mean_training_code=True)
    )
    out = project / "out"
    model = CTRForConditionalGeneration.from_pretrained(out)
    assert model.config.task_names == [
        "colours/plain", "colours/marked / twice", "shapes/plain", "shapes/marked / twice",
    ]  # fmt: skip
    codes = json.loads((out / "task_codes.json").read_text())
    for name in ("sizes/plain", "sizes/marked / twice"):  # the found codes are part of the checkpoint
        assert codes[name] == model.get_task_code(name).tolist()
    scores, about = load_scores(out / "report.json")
    assert about["few-shot seeds"] == [1, 2]
    assert {s.num_examples for s in scores} == {20}
    assert {(s.method, s.labelled, s.unlabelled) for s in scores} == {
        ("majority class", 0, 0),
        ("raw LM", 0, 0),
        ("mean training code", 0, 0),
        ("training code by loss", 8, 0),
        ("training code by accuracy", 8, 0),
        ("Bitwise Search", 8, 0),
        ("Code Ensemble", 0, 10),
    }
    assert "Bitwise Search" in capsys.readouterr().out
    assert {"report.md", "report.png", "_arguments.json", "train_results.json"} <= {p.name for p in out.iterdir()}
    assert "Bitwise Search" in (out / "README.md").read_text()  # the model card


def test_two_stages_then_searches_without_any_evaluation(project):
    run_ctr.main(flags(project, **TRAINING, stage=1))
    run_ctr.main(flags(project, **TRAINING, stage=2, model_name_or_path=project / "out", output_dir=project / "two"))
    for file in project.glob("templates/sizes_validation.jsonl"):  # labels for nothing but eight rows
        file.write_text(json.dumps({"text": "w30", "label": 0}))
    run_ctr.main(flags(project, **SEARCHES, model_name_or_path=project / "two", output_dir=project / "three"))
    assert not (project / "three" / "report.json").exists()
    assert "sizes/plain" in CTRForConditionalGeneration.from_pretrained(project / "three").task_names


def test_an_interrupted_run_goes_on(project, monkeypatch):
    settings = {**TRAINING, **SEARCHES, "do_eval": True}
    run_ctr.main(flags(project, **settings, output_dir=project / "whole"))

    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("evaluation.ctr_methods.search_by_vote", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run_ctr.main(flags(project, **settings))
    trained = (project / "out" / "model.safetensors").stat().st_mtime_ns
    trace = project / "out" / "held_out" / "sizes" / "seed_42" / "bitwise_search_plain.jsonl"
    lines = trace.read_text()
    run_ctr.main(flags(project, **settings))
    assert trace.read_text() == lines  # nothing evaluated again
    assert trained < (project / "out" / "model.safetensors").stat().st_mtime_ns  # saved again, with the found codes

    def without_seconds(folder):
        return [{**vars(s), "seconds": None} for s in load_scores(project / folder / "report.json")[0]]

    assert without_seconds("out") == without_seconds("whole")
    run_ctr.main(flags(project, **settings))  # a finished run once more: found codes take their own place again
    assert without_seconds("out") == without_seconds("whole")


def test_a_file_of_settings_and_flags_that_override_it(project):
    settings = {"max_steps": 3, "learning_rate": "1e-2", "model_name_or_path": "from/file", "tasks": "sizes"}
    for name, text in (
        ("run.json", json.dumps(settings)),
        ("run.yaml", "\n".join(f"{k}: {v}" for k, v in settings.items())),
    ):
        (project / name).write_text(text)
        words = [str(project / name), "--do_eval", "--max_steps", "7", "--output_dir", str(project / "out")]
        model_args, task_args, *_, training_args = run_ctr.parse_arguments(words)
        assert task_args.tasks == ["sizes"]  # one of a list need not be written as a list
        assert (model_args.model_name_or_path, training_args.learning_rate, training_args.max_steps) == (
            "from/file",
            0.01,
            7,
        )


def test_templates_are_chosen_by_the_variety_of_the_raw_answers(project):
    run_ctr.main(flags(project, **TRAINING | SEARCHES, do_eval=True, templates_per_dataset=1))
    scores, _ = load_scores(project / "out" / "report.json")
    assert len({s.template for s in scores}) == 1


def test_training_rows_can_be_streamed(project):
    settings = {**TRAINING, "streaming": True, "eval_strategy": "steps", "eval_steps": 5, "max_eval_samples": 7}
    run_ctr.main(flags(project, **settings))
    assert {path.name for path in (project / "cache").rglob("*.arrow")} == set()
    state = json.loads((project / "out" / "trainer_state.json").read_text())
    assert state["global_step"] == 10 and "eval_accuracy_shapes/plain" in state["log_history"][1]
    assert (project / "out" / "checkpoint-5" / "stream_0_of_1.json").is_file()
    weights = (project / "out" / "model.safetensors").read_bytes()
    # As if it had been killed after the first checkpoint.
    shutil.rmtree(project / "out" / "checkpoint-10")
    (project / "out" / "train_results.json").unlink()
    run_ctr.main(flags(project, **settings))
    assert (project / "out" / "model.safetensors").read_bytes() == weights


def test_a_run_goes_on_with_its_steps_split_otherwise(project):
    run_ctr.main(flags(project, **TRAINING))
    whole = CTRForConditionalGeneration.from_pretrained(project / "out").state_dict()
    shutil.rmtree(project / "out" / "checkpoint-10")
    (project / "out" / "train_results.json").unlink()
    run_ctr.main(flags(project, **TRAINING, per_device_train_batch_size=4, gradient_accumulation_steps=2))
    split = CTRForConditionalGeneration.from_pretrained(project / "out").state_dict()
    assert all(torch.allclose(whole[name], split[name], atol=1e-4) for name in whole)


def test_searches_in_mixed_precision(project):
    run_ctr.main(flags(project, **TRAINING))
    settings = {**SEARCHES, "do_eval": True, "bf16": True, "model_name_or_path": project / "out"}
    run_ctr.main(flags(project, **settings, output_dir=project / "half"))
    trace = project / "half" / "held_out" / "sizes" / "seed_42" / "bitwise_search_plain.jsonl"
    assert json.loads(trace.read_text().splitlines()[0])["autocast"] == "torch.bfloat16"
    *_, training_args = run_ctr.parse_arguments(flags(project, **settings))
    layer, inputs = torch.nn.Linear(4, 4), torch.ones(1, 4)
    with run_ctr.mixed_precision(training_args):
        before = layer(inputs)
        with torch.no_grad():
            layer.weight += 1  # as tuning does
        assert before.dtype == torch.bfloat16 and not torch.equal(layer(inputs), before)


def test_the_language_model_in_half_precision(project):
    half = {"dtype": "bfloat16"}
    run_ctr.main(flags(project, **TRAINING | SEARCHES, **half, stage=1))
    model = CTRForConditionalGeneration.from_pretrained(project / "out")
    assert {p.dtype for p in model.backbone.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in model.task_codebook.parameters()} == {torch.float32}
    settings = flags(
        project, **TRAINING, stage=2, bf16=True, model_name_or_path=project / "out", output_dir=project / "2"
    )
    run_ctr.main(settings)  # trains weights in float32 again
    trained = CTRForConditionalGeneration.from_pretrained(project / "2")
    assert {p.dtype for p in trained.parameters()} == {torch.float32}
    for before, after in ((model.backbone, trained.backbone), (model.task_codebook, trained.task_codebook)):
        assert not all(torch.equal(a.float(), b) for a, b in zip(before.parameters(), after.parameters(), strict=True))
    with pytest.raises(
        ValueError, match="Weights in bfloat16 lose the small updates of `--stage 2`: give `--bf16 True`"
    ):
        run_ctr.main(settings + ["--dtype", "bfloat16"])


@pytest.mark.parametrize(("tuning", "dtype"), [("full_tuning", torch.float32), ("prompt_tuning", torch.bfloat16)])
def test_full_tuning_updates_weights_in_float32(project, monkeypatch, tuning, dtype):
    T5ForConditionalGeneration.from_pretrained(project / "lm").to(torch.bfloat16).save_pretrained(project / "lm")
    models = []
    monkeypatch.setattr("run_ctr.evaluate_held_out", lambda model, *args, **kwargs: models.append(model) or [])
    run_ctr.main(flags(project, method="t0", tasks=["sizes"], do_eval=True, tuning=[tuning]))
    assert models[0].dtype == dtype


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tasks": ["sizes"], "do_eval": True}, "is a plain language model without task codes: name `--train_tasks`"),
        (  # not searched with codes that were never trained
            {**SEARCHES, "train_tasks": ["colours"]},
            "is a plain language model without task codes: name `--train_tasks` and `--do_train`",
        ),
        (
            {"method": "t0", "train_tasks": ["colours"], "tasks": ["sizes"], "do_eval": True},
            "`--train_tasks` are named, but nothing was trained here: give `--do_train`",
        ),
        ({**TRAINING, "train_tasks": ["colour"]}, "no task, data set or mixture 'colour'. Did you mean 'colours'"),
        ({**TRAINING, "tasks": ["colours/plain"], "do_bitwise_search": True}, "'colours/plain' is a training task"),
        ({**TRAINING, **SEARCHES, "num_shots": 100, "max_steps": 1}, "shots"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(project, settings, message):
    with pytest.raises(ValueError, match=message):
        run_ctr.main(flags(project, **settings))


def test_a_model_that_is_not_there_is_said(project):
    with pytest.raises(OSError, match="There is no folder '.*stag2', and nothing on the Hub can have that name"):
        run_ctr.main(flags(project, **SEARCHES, model_name_or_path=project / "stag2"))


def test_an_output_dir_of_another_run_is_refused(project):
    run_ctr.main(flags(project, **TRAINING))
    with pytest.raises(
        ValueError, match="holds a run with `learning_rate` 0.01, not 0.1: choose another `output_dir`"
    ):
        run_ctr.main(flags(project, **TRAINING | {"learning_rate": 0.1}))


def test_a_finished_training_goes_on_in_a_folder_that_was_moved(project):
    run_ctr.main(flags(project, **TRAINING))
    moved = project / "moved"
    (project / "out").rename(moved)
    longer = TRAINING | {"max_steps": 12, "output_dir": f"{moved}/"}
    run_ctr.main(flags(project, **longer))
    state = json.loads((moved / "trainer_state.json").read_text())
    assert state["global_step"] == 12 and [e["step"] for e in state["log_history"] if "loss" in e] == [5, 10]
    weights = (moved / "model.safetensors").read_bytes()
    run_ctr.main(flags(project, **longer))  # finished, and asked for again
    assert (moved / "model.safetensors").read_bytes() == weights
    with pytest.raises(ValueError, match="finished training of 12 steps, which cannot become one of 10 steps"):
        run_ctr.main(flags(project, **longer | {"max_steps": 10}))
    for checkpoint in moved.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    with pytest.raises(ValueError, match="kept no checkpoint to go on from: start a new run from its weights"):
        run_ctr.main(flags(project, **longer | {"max_steps": 14}))


def test_a_finished_training_notices_that_its_data_changed(project):
    run_ctr.main(flags(project, **TRAINING))
    rows = project / "templates" / "colours_train.jsonl"
    rows.write_text(rows.read_text().replace("w40", "w41"))
    with pytest.raises(ValueError, match="training data is not that of the training in '.*out' any more"):
        run_ctr.main(flags(project, **TRAINING))


def test_held_out_tasks_may_come_after_a_finished_training(project):
    run_ctr.main(flags(project, **TRAINING, tasks=["sizes"]))
    trained = CTRForConditionalGeneration.from_pretrained(project / "out")
    run_ctr.main(flags(project, **TRAINING | SEARCHES | {"do_train": False}))
    searched = CTRForConditionalGeneration.from_pretrained(project / "out")  # saved again, with the found codes
    assert "sizes/plain" in searched.task_names
    for name, weights in trained.state_dict().items():
        assert torch.equal(weights, searched.state_dict()[name])


def test_damaged_arguments_are_made_anew_and_the_finished_work_is_kept(project, caplog):
    run_ctr.main(flags(project, **TRAINING | {"max_steps": 2}))
    path, model = project / "out" / "_arguments.json", project / "out" / "model.safetensors"
    arguments, trained = path.read_text(), model.stat().st_mtime_ns
    path.write_text(arguments[:100])
    run_ctr.main(flags(project, **TRAINING | {"max_steps": 2}))
    assert "_arguments.json' is damaged and made anew" in caplog.text
    assert path.read_text() == arguments and model.stat().st_mtime_ns == trained


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"leaning_rate": 1}', r"run\.json has the unknown key\(s\) leaning_rate"),
        ('{"protocol": "orignal"}', r"run\.json: `protocol` is 'orignal'; choose from clean, original"),
        ('{"tuning": ["lora", "lroa"]}', r"run\.json: `tuning` is 'lroa'; choose from prompt_tuning"),
        ("[1]", r"run\.json holds no flags: it must be a mapping"),
        ("", r"run\.json holds no flags"),
        ('{"tasks": [', r"run\.json is not readable YAML"),
    ],
)
def test_what_is_wrong_with_a_file_of_settings_is_said(project, content, message):
    (project / "run.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        run_ctr.parse_arguments([str(project / "run.json")])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"do_train": True}, "`--do_train` needs tasks to train on: name them with `--train_tasks`"),
        ({"do_bitwise_search": True}, "Searches and tuning are about held-out tasks: name them with `--tasks`"),
        ({"tasks": ["sizes"]}, "There is nothing to do: give `--do_train`"),
        ({"do_eval": True}, "There is nothing to do"),
        ({**SEARCHES, "tuning": ["lora"]}, "`--do_lora` is there to be compared with: give `--do_eval`"),
        ({**SEARCHES, "num_shots": 0}, "`--num_shots` must be at least 1, but is 0"),
        ({**SEARCHES, "num_unlabelled": -1}, "`--num_unlabelled` must be at least 1, but is -1"),
        ({**SEARCHES, "templates_per_dataset": 0}, "`--templates_per_dataset` must be at least 1, but is 0"),
        ({**SEARCHES, "max_eval_samples": 0}, "`--max_eval_samples` must be at least 1, but is 0"),
    ],
)
def test_flags_that_leave_nothing_to_do_are_refused_before_anything_is_loaded(project, settings, message):
    with pytest.raises(ValueError, match=message):
        run_ctr.parse_arguments(flags(project, **settings))


def test_no_labels_are_needed_without_a_method_that_looks_at_them(project):
    run_ctr.parse_arguments(flags(project, tasks=["sizes"], do_code_ensemble=True, num_shots=0))


def test_other_training_tasks_than_the_models_are_refused(project):
    run_ctr.main(flags(project, **TRAINING))
    with pytest.raises(ValueError, match="trained on 4 tasks, which are not the 2 given"):
        run_ctr.main(
            flags(
                project,
                **TRAINING | {"train_tasks": ["colours"]},
                model_name_or_path=project / "out",
                output_dir=project / "b",
            )
        )


def test_searches_beyond_the_papers(project):
    settings = {
        "do_code_ensemble": True,
        "do_population_search": True,
        "batch_calibration": True,
        "tasks": ["sizes"],
    }
    settings |= {"max_evaluations": 20, "search_order": "gradient", "do_eval": True}
    run_ctr.main(flags(project, **TRAINING, **settings))
    scores, _ = load_scores(project / "out" / "report.json")
    labelled = {"training code by loss", "training code by accuracy", "Population Search"}
    unlabelled = {"Code Ensemble"}
    found = labelled | unlabelled
    assert {s.method for s in scores} == {"majority class", "raw LM"} | found | {
        f"{method}, calibrated" for method in found
    }
    for score in scores:
        method = score.method.removesuffix(", calibrated")
        assert (score.labelled > 0, score.unlabelled > 0) == (method in labelled, method in unlabelled)
    folder = project / "out" / "held_out" / "sizes" / "seed_42"
    assert {"code_ensemble.json", "population_search_plain.json"} <= {path.name for path in folder.iterdir()}
    assert "sizes/plain" in CTRForConditionalGeneration.from_pretrained(project / "out").task_names


T0 = {"method": "t0", "stage": 2, "tasks": ["sizes"], "do_eval": True}


def test_the_prompted_baseline(project):
    settings = {**TRAINING, **T0, "do_prompt_selection": True, "tuning": ["prompt_tuning", "lora"], "tuning_steps": 2}
    run_ctr.main(flags(project, **settings, few_shot_seeds=[1, 2]))
    before, after = (
        T5ForConditionalGeneration.from_pretrained(project / folder).state_dict() for folder in ("lm", "out")
    )
    assert not any(torch.equal(before[name], after[name]) for name in before if "relative" not in name)
    scores, _ = load_scores(project / "out" / "report.json")
    assert {(s.method, s.labelled, s.unlabelled) for s in scores} == {
        ("majority class", 0, 0),
        ("T0", 0, 0),
        ("T0, prompt by loss", 8, 0),
        ("T0, prompt by vote (ZPS)", 0, 10),
        ("T0 + prompt tuning", 8, 0),
        ("T0 + LoRA", 8, 0),
    }
    assert {s.template for s in scores if s.method == "T0"} == {"plain", "marked / twice"}
    assert "## Over templates (%)" in (project / "out" / "report.md").read_text()
    kept = {path: path.stat().st_mtime_ns for path in (project / "out" / "held_out").rglob("scores.json")}
    run_ctr.main(flags(project, **settings, few_shot_seeds=[1, 2, 3]))  # what is finished is not computed again
    assert len(kept) == 2 and all(path.stat().st_mtime_ns == before for path, before in kept.items())
    more, about = load_scores(project / "out" / "report.json")
    assert more[: len(scores)] == scores and {s.seed for s in more[len(scores) :]} == {3}
    assert about["few-shot seeds"] == [1, 2, 3]


def test_rivals_of_the_searches_and_a_joined_report(project, capsys):
    run_ctr.main(
        flags(project, **TRAINING, **SEARCHES, do_eval=True, tuning=["code_tuning", "full_tuning"], tuning_steps=2)
    )
    run_ctr.main(flags(project, **TRAINING, **T0, output_dir=project / "t0"))
    run_ctr.main(["--do_report", str(project / "out"), str(project / "t0"), "--output_dir", str(project / "both")])
    scores, about = load_scores(project / "both" / "report.json")
    assert list(about) == ["out", "t0"]
    methods = [s.method for s in scores]
    assert {"Code Ensemble", "prompt tuning from the training code", "full tuning", "T0"} <= set(methods)
    assert methods.count("majority class") == 1
    assert "T0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({**TRAINING, "method": "t0"}, "give `--stage 2`"),
        ({**T0, "do_bitwise_search": True}, "its counterpart is `--do_prompt_selection`"),
        ({**T0, "do_eval": False}, "nothing to do on held-out tasks without `--do_eval`"),
        ({**SEARCHES, "do_prompt_selection": True}, "which only `--method t0` has"),
        (
            {"tasks": ["sizes"], "tuning": ["code_tuning"]},
            "starts from the best training code, which `--do_bitwise_search`",
        ),
        ({**SEARCHES, "do_eval": True, "tuning": ["lora"], "fp16": True}, "`--fp16` loses the small gradients"),
        (
            {**SEARCHES, "do_eval": True, "tuning": ["full_tuning"], "dtype": "bfloat16"},
            "Weights in bfloat16 lose the small updates of `--do_full_tuning`",
        ),
    ],
)
def test_methods_that_do_not_go_together_are_refused(project, settings, message):
    with pytest.raises(ValueError, match=message):
        run_ctr.main(flags(project, **settings))


def test_what_a_model_was_trained_for_is_not_held_out(project):
    run_ctr.main(flags(project, **TRAINING | {"max_steps": 1}))
    settings = {**SEARCHES, "tasks": ["shapes"], "model_name_or_path": project / "out", "output_dir": project / "b"}
    with pytest.raises(ValueError, match="'shapes/marked / twice' is a training task and cannot be a held-out task"):
        run_ctr.main(flags(project, **settings))


def test_the_prompted_baseline_is_no_ctr_model(project):
    run_ctr.main(flags(project, **TRAINING))
    with pytest.raises(ValueError, match="is a CTR model; `--method t0` takes the plain language model"):
        run_ctr.main(flags(project, **T0, model_name_or_path=project / "out", output_dir=project / "t0"))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["ctr", "t0"])
def test_two_processes_find_and_report_what_one_does(project, method):
    run_ctr.main(flags(project, **TRAINING | {"max_steps": 3}, stage=2, method=method))
    settings = {"do_eval": True, "tuning": ["lora", "prompt_tuning"], "tuning_steps": 2, "few_shot_seeds": [1, 2]}
    settings |= (
        SEARCHES | {"do_predict": True} if method == "ctr" else {"tasks": ["sizes"], "do_prompt_selection": True}
    )
    settings |= {"method": method, "model_name_or_path": project / "out"}
    run_ctr.main(flags(project, **settings, output_dir=project / "one"))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", run_ctr.__file__]
    for _ in range(2):  # the second takes up what the first finished
        subprocess.run(
            [*launch, *flags(project, **settings, output_dir=project / "two")],
            check=True,
            capture_output=True,
            env={**os.environ, "HF_DATASETS_CACHE": str(project / "cache"), "ACCELERATE_USE_CPU": "true"},
        )
        one, two = (load_scores(project / folder / "report.json")[0] for folder in ("one", "two"))
        assert [replace(score, seconds=0) for score in one] == [replace(score, seconds=0) for score in two]
        if method == "ctr":
            one, two = (
                [json.loads(line) for line in (project / folder / "predictions.jsonl").read_text().splitlines()]
                for folder in ("one", "two")
            )
            assert [(line["method"], line["label"]) for line in one] == [
                (line["method"], line["label"]) for line in two
            ]
            assert len(one) == 20 * 2 * 2 + 20  # Bitwise Search and prompt tuning by template, Code Ensemble once


@pytest.mark.slow
def test_decoder_only_models(project, tiny_causal_config):
    """Both stages, all searches and tunings of a model whose codes stand behind the text; its pad token is an end."""
    torch.manual_seed(0)
    LlamaForCausalLM(tiny_causal_config(pad_token_id=None)).save_pretrained(project / "lm")
    run_ctr.main(flags(project, **TRAINING, code_position="suffix", stage=1, output_dir=project / "stage1"))
    start = {"model_name_or_path": project / "stage1", **TRAINING, "stage": 2}
    settings = SEARCHES | {"tuning_steps": 4, "do_eval": True, "do_prompt_tuning": True, "do_code_tuning": True}
    run_ctr.main(flags(project, **start, **settings))
    methods = {score.method for score in load_scores(project / "out" / "report.json")[0]}
    assert {"raw LM", "Bitwise Search", "Code Ensemble"} < methods and len(methods) > 5, methods
    model = load_model(project / "out")
    assert type(model) is CTRForCausalLM and model.config.code_position == "suffix"
    assert model.task_names[:2] == ["colours/plain", "colours/marked / twice"] and len(model.task_names) > 4
    tuning = {"tuning_steps": 4, "do_prompt_tuning": True, "do_lora": True, "do_full_tuning": True}
    run_ctr.main(flags(project, method="t0", tasks=["sizes"], do_eval=True, output_dir=project / "t0", **tuning))
    assert len({score.method for score in load_scores(project / "t0" / "report.json")[0]}) > 3
