"""lm-evaluation-harness finds on an exported model what our protocol finds on the CTR model."""

import json
import logging

import pytest
import torch
from datasets import Dataset

from evaluation.protocol import Judge, TemplateExamples
from export.__main__ import main
from export.lm_eval_export import export_to_lm_eval
from modeling_ctr import TaskDetails
from search import CodeScorer
from tasks import FeatureBuilder, Task, Template

LETTERS = "abcdefghij"
ROWS = Dataset.from_list(
    [
        {"text": f"{LETTERS[i % 7 :]}, {LETTERS[: i % 5]} w", "label": i % 2, "choices": ["no, never", f"yes {i}"]}
        for i in range(12)
    ]
)
QUESTION = Task(
    "mood", "mood", Template("t", "Is it so? {{text}} ||| {{answer_choices[label]}}", "{{choices | join('|||')}}")
)


@pytest.fixture
def ask(monkeypatch, capsys):
    """`ask(export)`: the harness's accuracy and log-likelihoods, by its Python API, offline."""
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    lm_eval = pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed")
    from lm_eval.tasks import TaskManager

    def run(export):
        (name,) = export.task_names.values()
        results = lm_eval.simple_evaluate(
            model="hf",
            model_args=export.model_args,
            tasks=[name],
            task_manager=TaskManager(include_path=str(export.folder / "lm_eval"), include_defaults=False),
            device="cpu",
            batch_size=5,
            bootstrap_iters=0,
        )
        samples = sorted(results["samples"][name], key=lambda sample: sample["doc_id"])
        scores = [[score for score, _ in sample["filtered_resps"]] for sample in samples]
        return results["results"][name]["acc,none"], torch.tensor(scores)

    level = logging.getLogger().level
    yield run
    logging.getLogger().setLevel(level)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", ["t5", "t5-v1.1", "bart", "llama", "llama suffix"])
def test_the_harness_finds_the_same(family, ctr_model, causal_model, ask, tmp_path):
    if family.startswith("llama"):
        model, tokenizer = causal_model("llama", family.partition(" ")[2] or "prefix")
    else:
        model, tokenizer = ctr_model(family)
    export = export_to_lm_eval(model, tmp_path / "plain", {"mood": (QUESTION, ROWS)}, tokenizer=tokenizer)
    accuracy, scores = ask(export)
    builder = FeatureBuilder(tokenizer, decoder_only=not model.config.is_encoder_decoder)
    features = builder.evaluation(QUESTION, ROWS, labeled_only=True)
    codes = [model.get_task_code("mood").tolist()]
    expected = CodeScorer(model, features).choice_log_likelihoods(codes)[0].float()
    torch.testing.assert_close(scores, expected, rtol=1e-5, atol=1e-4)
    judge = Judge(model, TemplateExamples(QUESTION, None, None, features), builder)
    assert accuracy == pytest.approx(judge.scored("a code", judge.answer_with_codes(codes)[0], 0).accuracy)


@pytest.fixture(scope="module")
def folder(ctr_model, tmp_path_factory):
    """A CTR model whose tasks are known to different degrees, and a file of rows."""
    model, tokenizer = ctr_model("t5")
    fitted = {"template": "{{text}} ||| {{answer_choices[label]}}", "answers": ["bad", "good"], "labels": [1, 5]}
    model.add_task("reviews", [1, 2, 3, 4], TaskDetails(**fitted, max_source_length=30))
    model.add_task("free", [1, 2, 3, 4], TaskDetails(template="{{text}} ||| {{target}}"))
    folder = tmp_path_factory.mktemp("fitted")
    for part in (model, tokenizer):
        part.save_pretrained(folder / "ctr")
    (folder / "rows.csv").write_text("text,stars,target\nwas fun,5,x\n" + "so long " * 9 + ",1,y\n")
    return folder


def test_rows_of_a_file_are_written_as_the_protocol_reads_them(folder, tmp_path, capsys):
    arguments = [str(folder / "ctr"), str(tmp_path / "plain"), "--format", "lm_eval", "--tasks", "reviews"]
    assert main([*arguments, "--test_file", str(folder / "rows.csv"), "--label_column", "stars"]) == 0
    plain = tmp_path / "plain"
    assert capsys.readouterr().out.splitlines()[-1] == (
        f"lm_eval --model hf --model_args pretrained={plain},peft={plain}/lm_eval/code_token_mask,tie_word_embeddings=False "
        f"--include_path {plain}/lm_eval --tasks ctr_reviews"
    )
    rows = [json.loads(line) for line in (plain / "lm_eval" / "ctr_reviews.jsonl").read_text().splitlines()]
    assert rows[0] == {
        "row": 0,
        "context": "<c1><c2><c3><c4>was fun",
        "choices": ["bad</s>", "good</s>"],
        "answer": 1,
    }
    assert (
        rows[1]["answer"] == 0 and rows[1]["context"] == "<c1><c2><c3><c4>" + ("so long " * 9)[:28]
    )  # and "▁", "</s>"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--tasks", "nws"], "This model has no task 'nws': did you mean 'news'"),
        (["--tasks", "news"], "How 'news' is asked is not kept in the model, nor known from template files"),
        (["--tasks", "reviews"], "There are no rows to ask 'reviews' of: name them with `--test_file`"),
        (["--tasks", "reviews", "free", "--test_file", "{rows}"], "There is one file of rows for 2 tasks"),
        (
            ["--tasks", "free", "--test_file", "{rows}"],
            "The task 'free' has no answer choices, which the harness is to",
        ),
        (["--tasks", "reviews", "--test_file", "{rows}"], "The rows have no column 'label', which the template of"),
        (["--tasks", "reviews", "--test_file", "{rows}x"], "rows.csvx"),
    ],
)
def test_what_cannot_be_asked_is_said_in_a_line(flags, message, folder, tmp_path, capsys):
    flags = [flag.format(rows=folder / "rows.csv") for flag in flags]
    assert main([str(folder / "ctr"), str(tmp_path / "plain"), "--format", "lm_eval", *flags]) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("python -m export: ")]
    assert len(errors) == 1 and message in errors[0]
    assert list(tmp_path.iterdir()) == []


def test_a_row_that_the_harness_would_cut_is_refused(ctr_model, tmp_path):
    model, tokenizer = ctr_model("bart")  # of 64 positions
    rows = Dataset.from_list([{"text": "w" * 48, "label": 0, "choices": ["no", "yes, because"]}])
    with pytest.raises(ValueError, match="Row 0 of 'mood' has .* tokens, but the harness cuts off the beginning"):
        export_to_lm_eval(model, tmp_path / "plain", {"mood": (QUESTION, rows)}, tokenizer=tokenizer)
    assert list(tmp_path.iterdir()) == []


def test_flags_of_one_format_are_not_taken_for_another(tmp_path, capsys):
    for flags, message in (
        (["--format", "lm_eval"], "--format lm_eval needs --tasks"),
        (["--format", "onnx", "--push_to_hub", "me/onnx"], "--push_to_hub is for plain checkpoints"),
    ):
        with pytest.raises(SystemExit):
            main(["ctr", str(tmp_path / "new"), *flags])
        assert message in capsys.readouterr().err
