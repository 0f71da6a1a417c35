import pytest
from datasets import Dataset

from tasks.data import load_rows
from tasks.data_source import DataSource
from tasks.errors import DataError
from tasks.splits import find_split_files, get_kind, pick_splits, select_split


@pytest.mark.parametrize(
    ("names", "picked"),
    [
        (["train", "test", "dev"], ("train", "dev")),
        (["Train", "VALID"], ("Train", "VALID")),
        (["training", "test"], ("training", "test")),
        (["train", "validation_matched", "validation_mismatched"], ("train", "validation_matched")),
        (["train"], ("train", "train")),
        (["val"], ("val", "val")),
    ],
)
def test_usual_names(names, picked):
    assert pick_splits(names, "d") == picked


def test_training_rows_are_never_taken_for_evaluation_where_there_are_others():
    with pytest.raises(DataError, match="has the splits train, extra, of which none is known to be for evaluation"):
        pick_splits(["train", "extra"], "d")
    with pytest.raises(DataError, match="name train_split and evaluation_split"):
        pick_splits(["train"], "d", train="train[:80%]")
    assert pick_splits(["train", "extra"], "d", evaluation="extra") == ("train", "extra")
    assert pick_splits(["a", "test"], "d", train="a") == ("a", "test")
    with pytest.raises(DataError, match="none of the splits train, validation and test, but a, b"):
        pick_splits(["a", "b"], "d")


def test_files_named_after_their_splits(tmp_path):
    names = ["dev.csv", "train-00000-of-00002.csv", "train-00001-of-00002.csv", "training_notes.txt", "trainer.csv"]
    names += [".train.csv", "_val.csv", "test/b.jsonl", "test/a.jsonl", "test/.c.jsonl", "test/facts.txt"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = {split: [path.name for path in files] for split, files in find_split_files(tmp_path).items()}
    assert found == {
        "train": ["train-00000-of-00002.csv", "train-00001-of-00002.csv"],
        "dev": ["dev.csv"],
        "test": ["a.jsonl", "b.jsonl"],
    }
    assert [get_kind(name) for name in ("a.CSV", "a.json.gz", "a.tsv.xz", "a.csv.bak", "a")] == [
        "csv",
        "json",
        "csv",
        None,
        None,
    ]


@pytest.mark.parametrize("split", ["dev", "valid", "val", "validation_matched"])
@pytest.mark.parametrize("form", ["data_dir", "data_files", "path"])
def test_evaluation_rows_are_those_of_the_second_split(tmp_path, split, form):
    folder = tmp_path / "my [rows]"
    folder.mkdir()
    (folder / "train.csv").write_text("text,label\ngood,1\n")
    (folder / f"{split}.csv").write_text("text,label\nnice,1\n")
    files = {name: str(folder / f"{name}.csv") for name in ("train", split)}
    source = {"data_dir": None, "data_files": DataSource("csv", data_files=files), "path": DataSource(str(folder))}
    rows = load_rows(folder.name, source[form], tmp_path if form == "data_dir" else None)
    assert (rows.train["text"][:], rows.evaluation["text"][:]) == (["good"], ["nice"])
    assert rows.evaluation_split == split


def test_parts_of_splits():
    by_name = {"train": Dataset.from_dict({"x": range(10)}), "dev": Dataset.from_dict({"x": [10, 11]})}
    assert select_split("train[2:4]", by_name)["x"][:] == [2, 3]
    assert select_split("train[80%:]+dev", by_name)["x"][:] == [8, 9, 10, 11]
    with pytest.raises(DataError, match=r"'train\[x\]' is no part of a split"):
        select_split("train[x]", by_name)
