import gzip
import json

import pytest

from tasks.data import load_rows
from tasks.data_source import DataSource
from tasks.errors import DataError
from tasks.task import load_tasks

ROWS = [{"text": f"row {i}", "label": i % 2} for i in range(6)]
TEMPLATES = "templates:\n  text: {answer_choices: bad ||| good, jinja: '{{text}} ||| {{answer_choices[label]}}'}\n"


def user_rows(tmp_path, data: str):
    (tmp_path / "mine.yaml").write_text(f"dataset: mine\n{data}\n{TEMPLATES}")
    task = load_tasks(tmp_path / "mine.yaml")["mine/text"]
    return task, load_rows(task.dataset, task.source)


def test_one_yaml_file_beside_json_lines_is_a_task(tmp_path, write_json_lines):
    write_json_lines(tmp_path / "rows" / "a.jsonl", ROWS)
    write_json_lines(tmp_path / "rows" / "b.jsonl", ROWS[:2])
    task, rows = user_rows(tmp_path, "data: {data_files: {train: rows/a.jsonl, validation: rows/b.jsonl}}")
    assert (len(rows.train), len(rows.evaluation)) == (6, 2)
    assert (rows.train_split, rows.evaluation_split) == ("train", "validation")
    assert task.example(rows.evaluation[1]).target_text == "good"


@pytest.mark.parametrize(("name", "separator"), [("rows.csv", ","), ("rows.tsv", "\t")])
def test_rows_from_a_table(tmp_path, name, separator):
    (tmp_path / name).write_text(
        f"text{separator}label\nfine{separator}1\npoor, really{separator}0\n".replace("poor, really", '"poor, really"')
    )
    task, rows = user_rows(tmp_path, f"data: {{data_files: {name}}}")
    assert task.example(rows.train[1])[:2] == ("poor, really", "bad")


def test_rows_from_parquet(tmp_path):
    from datasets import Dataset

    Dataset.from_list(ROWS).to_parquet(tmp_path / "rows.parquet")
    _, rows = user_rows(tmp_path, "data: {data_files: rows.parquet}")
    assert rows.train[:]["text"] == [row["text"] for row in ROWS]


def test_what_save_to_disk_wrote(tmp_path):
    from datasets import Dataset, DatasetDict

    rows = Dataset.from_list(ROWS)
    rows.save_to_disk(tmp_path / "one")
    DatasetDict(train=rows, validation=rows.select(range(2))).save_to_disk(tmp_path / "mine")
    for source, sizes in (
        ("{path: one}", (6, 6)),
        ("{path: mine}", (6, 2)),
        ("{data_files: {train: one/*.arrow, validation: mine/validation/*.arrow}}", (6, 2)),
    ):
        _, found = user_rows(tmp_path, f"data: {source}")
        assert found.train.to_list() == ROWS
        assert (len(found.train), len(found.evaluation)) == sizes
    assert len(load_rows("mine", data_dir=tmp_path).evaluation) == 2


def test_slices_of_one_file_as_splits(tmp_path, write_json_lines):
    write_json_lines(tmp_path / "a.jsonl", ROWS)
    _, rows = user_rows(
        tmp_path, "data: {data_files: a.jsonl, train_split: 'train[:4]', evaluation_split: 'train[4:]'}"
    )
    assert rows.train["text"][:] == [f"row {i}" for i in range(4)]
    assert rows.evaluation["text"][:] == ["row 4", "row 5"]


def test_evaluation_takes_validation_then_test(tmp_path, write_json_lines):
    for split in ("train", "validation", "test"):
        write_json_lines(tmp_path / "three" / f"{split}.jsonl", ROWS)
    for split in ("train", "test"):
        write_json_lines(tmp_path / "two_sub" / f"{split}.jsonl", ROWS)
    assert load_rows("three", data_dir=tmp_path).evaluation_split == "validation"
    assert load_rows("two/sub", data_dir=tmp_path).evaluation_split == "test"


def test_one_split_serves_both(tmp_path, write_json_lines):
    write_json_lines(tmp_path / "one" / "validation.jsonl", ROWS)
    rows = load_rows("one", data_dir=tmp_path)
    assert rows.train is rows.evaluation
    assert rows.train_split == rows.evaluation_split == "validation"


def test_index_names_the_folder(tmp_path):
    (tmp_path / "folder").mkdir()
    with gzip.open(tmp_path / "folder" / "train.jsonl.gz", "wt") as file:
        file.write(json.dumps(ROWS[0]) + "\n")
    (tmp_path / "index.json").write_text(json.dumps({"datasets": [{"folder": "folder", "hf_name": "set/sub"}]}))
    assert len(load_rows("set/sub", data_dir=tmp_path).train) == 1


def test_subset_fills_in_the_source(tmp_path):
    (tmp_path / "t.yaml").write_text(
        "dataset: anli\nsubset: [r1, r2]\ndata: {path: anli, train_split: 'train_{subset}'}\n" + TEMPLATES
    )
    assert load_tasks(tmp_path)["anli/r2/text"].source == DataSource("anli", train_split="train_r2")


def test_files_and_folders_of_a_repository_on_the_hub_are_no_local_ones(tmp_path):
    data = "{path: me/quiz, data_dir: '{subset}', data_files: {train: easy/*.csv}}"
    (tmp_path / "t.yaml").write_text(f"dataset: quiz\nsubset: easy\ndata: {data}\n{TEMPLATES}")
    source = load_tasks(tmp_path)["quiz/easy/text"].source
    assert source == DataSource("me/quiz", data_dir="easy", data_files={"train": "easy/*.csv"})


def test_without_data_the_source_is_the_hub(tmp_path):
    (tmp_path / "t.yaml").write_text("dataset: super_glue\nsubset: rte\n" + TEMPLATES)
    assert load_tasks(tmp_path)["super_glue/rte/text"].source == DataSource("super_glue", name="rte")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("data: {data_file: a.jsonl}", "unknown key 'data_file' under 'data'; did you mean 'data_files'"),
        ("data: {data_files: a.txt}", "cannot tell the format"),
        ("data: {data_files: nothing.jsonl}", "'mine' cannot be loaded: .*nothing.jsonl"),
        (
            "data: {data_files: a.jsonl, train_split: training, evaluation_split: train}",
            "Split 'training' of data set 'mine'",
        ),
        ("data: {data_files: {one: a.jsonl}}", "none of the splits train, validation and test, but one"),
        ("data: {data_files: {train: a.jsonl}, evaluation_split: dev}", "'mine' has no split 'dev', but train"),
        ("data: {data_files: bad.jsonl}", "'mine' cannot be loaded: .*value"),
    ],
)
def test_errors_say_what_is_missing(tmp_path, write_json_lines, data, message):
    write_json_lines(tmp_path / "a.jsonl", ROWS)
    (tmp_path / "bad.jsonl").write_text('{"text":')
    with pytest.raises(DataError, match=message):
        user_rows(tmp_path, data)


@pytest.mark.parametrize(
    ("name", "text"), [("a.jsonl", ""), ("a.csv", ""), ("a.csv", "text,label\n"), ("a.json", "[]")]
)
@pytest.mark.parametrize("form", ["{name}", "{{train: {name}}}"])
def test_empty_data_is_an_error(tmp_path, name, text, form):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match="'mine' has no rows"):
        user_rows(tmp_path, f"data: {{data_files: {form.format(name=name)}}}")


def test_a_broken_split_that_is_not_asked_for_does_no_harm(tmp_path, write_json_lines):
    write_json_lines(tmp_path / "a.jsonl", ROWS)
    (tmp_path / "test.jsonl").write_text("")
    _, rows = user_rows(tmp_path, "data: {data_files: {train: a.jsonl, validation: a.jsonl, test: test.jsonl}}")
    assert len(rows.evaluation) == 6


def test_a_data_set_that_is_nowhere(tmp_path):
    with pytest.raises(DataError, match="'nothing/here' cannot be loaded: .*nothing"):
        load_rows("nothing/here", data_dir=tmp_path)
    with pytest.raises(DataError, match="no data folder"):
        load_rows("nothing", data_dir=tmp_path / "absent")
    (tmp_path / "bare").mkdir()
    with pytest.raises(DataError, match="no data files named after their split"):
        load_rows("bare", data_dir=tmp_path)
