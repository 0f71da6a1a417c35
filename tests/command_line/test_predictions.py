"""The quick start by the command line: a CSV file with messy rows, a search, and answers to new rows."""

import csv
import dataclasses
import json

import pytest
from huggingface_hub import ModelCard

import run_ctr
from command_line import predictions
from modeling_ctr import CTRForConditionalGeneration
from prediction import TaskSolver

# A semicolon for a comma, an umlaut in cp1252, a quote over two lines, rows without text or label, spaces.
MESSY = 'id;review;stars\n0;"w20 w5\nw9";up\n1; w30 w6 ;down\n2;;up\n3;w20 w7;\n4;"w30 ""ö""";down \n'


@pytest.fixture
def folder(tmp_path, tiny_ctr_model, tiny_tokenizer, monkeypatch):
    """With a model and files of rows."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    tiny_ctr_model().save_pretrained("ctr")
    tiny_tokenizer.save_pretrained("ctr")
    more = "".join(f"{i};w{20 + 10 * (i % 2)} w{i};{('up', 'down')[i % 2]}\n" for i in range(5, 25))
    (tmp_path / "train.csv").write_text(MESSY + more, encoding="cp1252")
    (tmp_path / "new.csv").write_text("id,review\n100,w20 w8\n101,\n102,w30\n", encoding="cp1252")
    return tmp_path


def run(**flags) -> None:
    given = {"use_cpu": True, "report_to": "none", "output_dir": "out", "test_file": "new.csv", "do_predict": True}
    words = []
    for name, value in (given | flags).items():
        words += [f"--{name}", *(map(str, value) if isinstance(value, list) else [str(value)])]
    run_ctr.main(words)


SEARCH = {
    "model_name_or_path": "ctr", "train_file": "train.csv", "text_column": "review", "label_column": "stars",
    "answers": ["up=w14", "down=w16"], "task_name": "reviews", "do_bitwise_search": True, "num_shots": 8,
    "max_evaluations": 10, "encoding": "cp1252",
}  # fmt: skip


def read(folder="out") -> tuple[list[dict], list[dict]]:
    with open(f"{folder}/predictions.csv", encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    with open(f"{folder}/predictions.jsonl", encoding="utf-8") as file:
        return table, [json.loads(line) for line in file]


def test_a_messy_file_is_searched_and_new_rows_are_answered(folder, caplog):
    tuning = {"do_prompt_tuning": True, "do_lora": True, "tuning_steps": 2}
    run(**SEARCH, do_code_ensemble=True, num_unlabelled=8, do_eval=True, **tuning)
    assert "`--do_predict` leaves out `--do_lora`, whose weights are not kept" in caplog.text
    table, lines = read()
    assert list(table[0]) == ["id", "task", "method", "label", "probability", "p(down)", "p(up)"]
    methods = ["Bitwise Search", "Code Ensemble", "prompt tuning"]
    assert [(row["method"], row["id"]) for row in table] == [(m, i) for m in methods for i in ("100", "101", "102")]
    for row, line in zip(table, lines, strict=True):
        assert row["label"] == (line["label"] or "")
        if line["id"] == 101:  # without text
            assert line["label"] is None and row["probability"] == row["p(up)"] == ""
        else:
            assert line["probabilities"].keys() == {"up", "down"} and line["label"] in ("up", "down")
            assert sum(line["probabilities"].values()) == pytest.approx(1)
            assert line["probability"] == max(line["probabilities"].values())
            assert float(row[f"p({row['label']})"]) == pytest.approx(line["probability"], abs=1e-6)
    assert "1 of 3 rows have no text and get no label" in caplog.text

    # The finished run's folder is a checkpoint that knows how the task is asked: the same answers, in any other run.
    run(model_name_or_path="out", output_dir="again")
    table_again, lines_again = read("again")
    assert [row["label"] for row in table_again] == [row["label"] for row in table[:3]]
    for line, before in zip(lines_again, lines[:3], strict=True):
        assert line["probabilities"] == pytest.approx(before["probabilities"])
    model = CTRForConditionalGeneration.from_pretrained("out")
    assert model.task_details("reviews/review").labels == ["down", "up"]
    # Its card names the split that was judged, here the only one with labels, and asks the task that was found.
    assert {result.dataset_split for result in ModelCard.load("out/README.md").data.eval_results} == {"train"}
    snippet = "print(solver.predict(['one text', 'another, longer text'], task='reviews/review'))"
    assert snippet in (folder / "out" / "README.md").read_text()


@pytest.mark.parametrize("kind", ["encoder-decoder", "decoder-only"])
def test_the_answers_are_those_of_a_solver_in_python(folder, kind, tiny_causal_model, tiny_causal_tokenizer):
    if kind == "decoder-only":  # neither it nor its tokenizer has a padding token
        tiny_causal_model(text_fields={"pad_token_id": None}).save_pretrained("ctr")
        tiny_causal_tokenizer.save_pretrained("ctr")
    run(**SEARCH)
    solver = TaskSolver.from_pretrained("out")
    assert solver.classes_("reviews/review") == ["down", "up"]
    found = solver.predict_proba(["w20 w8", "w30"], task="reviews/review", progress=False)
    first, _, last = read()[1]
    for row, line in zip(found.tolist(), (first, last), strict=True):
        assert list(line["probabilities"].values()) == pytest.approx(row, abs=1e-6)


@pytest.mark.parametrize("values", [("down", "up"), (1, 5), (0.5, 1.5), (False, True)])
def test_a_solver_answers_with_the_label_values_of_the_file(folder, values):
    rows = [{"review": f"w{20 + 10 * (i % 2)} w{i}", "stars": values[i % 2]} for i in range(24)]
    (folder / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    words = [f"{value}=w{14 + 2 * number}" for number, value in enumerate(values)]
    run(**SEARCH | {"train_file": "train.jsonl", "answers": words, "max_evaluations": 2, "encoding": "utf-8"})
    solver = TaskSolver.from_pretrained("out")
    # A prior turns the answers of a random model, so that each of the values is one once.
    found = []
    for prior in ([0.0001, 0.9999], [0.9999, 0.0001]):
        details = dataclasses.replace(solver.model.task_details("reviews/review"), prior=prior)
        solver.model.set_task_details("reviews/review", details)
        found += solver.predict(["w20 w8", "w30"], progress=False)
    assert found == [values[0]] * 2 + [values[1]] * 2 and {type(label) for label in found} == {type(values[0])}
    assert [type(line["label"]) for line in read()[1]][::2] == [type(values[0])] * 2


def test_a_stopped_prediction_goes_on_where_it_was(folder, monkeypatch):
    (folder / "new.csv").write_text("id,review\n" + "".join(f"{i},w{20 + i}\n" for i in range(20)))
    run(**SEARCH)
    whole = read()
    monkeypatch.setattr(predictions, "CHUNK", 6)
    answer, calls = predictions._answer_chunk, []

    def stop(*args):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(args)
        return answer(*args)

    monkeypatch.setattr(predictions, "_answer_chunk", stop)
    with pytest.raises(KeyboardInterrupt):
        run(model_name_or_path="out", output_dir="other")
    (part,) = (folder / "other" / "predictions").iterdir()
    part.write_bytes(part.read_bytes()[:-5])  # killed while it wrote
    calls.clear()
    monkeypatch.setattr(predictions, "_answer_chunk", lambda *args: calls.append(args) or answer(*args))
    run(model_name_or_path="out", output_dir="other")
    assert sum(len(args[-1]) for args in calls) == 20 - 11
    assert [row["label"] for row in read("other")[0]] == [row["label"] for row in whole[0]]
    calls.clear()
    run(model_name_or_path="out", output_dir="other")  # finished
    (folder / "new.csv").write_text("id,review\n1,w21\n")
    assert not calls
    run(model_name_or_path="out", output_dir="other")  # other rows are other answers
    assert len(calls) == 1 and [row["id"] for row in read("other")[0]] == ["1"]


def test_tasks_of_template_files_with_choices_by_row_and_free_texts(folder):
    (folder / "t").mkdir()
    (folder / "t" / "t.yaml").write_text("""
dataset: d
data: {data_files: {train: rows.jsonl}}
templates:
  by row: {answer_choices: "{{a}} ||| {{b}}", jinja: "{{text}} ||| {{answer_choices[label]}}"}
  free: {jinja: "{{text}} ||| {{[a, b][label]}}"}
""")
    rows = [{"text": f"w{20 + i}", "a": f"w{40 + i}", "b": "w63", "label": i % 2} for i in range(12)]
    (folder / "t" / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "new.jsonl").write_text(json.dumps({"text": "w20", "a": "w50", "b": "w51", "label": "unknown"}))
    flags = {"templates_dir": "t", "tasks": ["d/by row", "d/free"], "test_file": "new.jsonl"}
    run(model_name_or_path="ctr", do_bitwise_search=True, num_shots=4, max_evaluations=5, **flags)
    by_row, free = read()[1]
    assert by_row["probabilities"].keys() == {"w50", "w51"} and by_row["label"] in ("w50", "w51")
    assert free["probabilities"] == {} and isinstance(free["label"], str)
    assert by_row["given_label"] == free["given_label"] == "unknown"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"method": "t0"}, "which `--method t0` does not have"),
        ({"do_eval": True}, "`--do_eval` judges what a search finds"),
        ({"train_file": "train.csv"}, "`--train_file` is to learn a task from: give a search"),
        ({"text_column": "review"}, "`--text_column` is about the rows of a task"),
        ({"answers": ["a"], "free_form": True, "train_file": "train.csv"}, "`--free_form` has no answers"),
        ({}, "No task was added to the model"),
        ({"tasks": ["zz"]}, "has no task 'zz'"),
        ({"tasks": ["ag_news"]}, "How 'ag_news' is asked is not kept in the model"),
        ({**SEARCH, "text_column": "text"}, r"train.csv has no column 'text' for the texts"),
        ({**SEARCH, "answers": ["up=w14"]}, "no text for the label 'down'"),
        ({**SEARCH, "test_file": "absent.csv"}, "There is no file absent.csv"),
    ],
)
def test_what_cannot_be_predicted_is_said(folder, flags, message):
    with pytest.raises(ValueError, match=message):
        run(**{"model_name_or_path": "ctr"} | flags)
