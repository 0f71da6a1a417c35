"""Data sets of the Hub that are loading scripts, which `datasets` does not run, and whose rows the Hub has converted."""

import hashlib
import io

import pytest
from datasets import Dataset
from hub_client import fails
from hub_server import Repository

LOAD = """
from tasks import DataSource, load_rows
rows = load_rows("quiz/easy", DataSource(**source))
value = [rows.train.to_list(), rows.evaluation.to_list(), rows.evaluation_split]
"""


def parquet(*texts: str) -> bytes:
    file = io.BytesIO()
    Dataset.from_dict({"text": texts}).to_parquet(file)
    return file.getvalue()


@pytest.fixture
def quiz(hub):
    """`put(**files)`: a data set that is a script, and, on the branch of the conversion, these files."""

    def put(files: dict[str, bytes], name: str = "quiz") -> None:
        repository = hub.repositories[f"datasets/me/{name}"] = Repository()
        for branch, content in (("main", {f"{name}.py": b"raise SystemExit"}), ("refs/convert/parquet", files)):
            commit = hashlib.sha1(branch.encode()).hexdigest()
            oids = {path: hashlib.sha256(blob).hexdigest() for path, blob in content.items()}
            hub.blobs.update(zip(oids.values(), content.values(), strict=True))
            repository.commits[commit] = oids
            if content:
                repository.branches[branch] = commit

    return put


CONVERTED = {
    "easy/train/0000.parquet": parquet("a", "b"),
    "easy/validation/0000.parquet": parquet("c"),
    "hard/train/0000.parquet": parquet("d"),
}


@pytest.mark.slow
def test_the_conversion_is_taken_where_the_data_set_is_a_script_and_that_is_said(quiz, author):
    quiz(CONVERTED)
    assert author(LOAD, source={"path": "me/quiz", "name": "easy"}) == [
        [{"text": "a"}, {"text": "b"}],
        [{"text": "c"}],
        "validation",
    ]
    assert "'me/quiz' on the Hub is a loading script" in author.output
    assert "(revision refs/convert/parquet)" in author.output
    # Asked for by name, as shipped templates do, it is no matter of a warning.
    source = {"path": "me/quiz", "data_dir": "easy", "revision": "refs/convert/parquet"}
    assert author(LOAD, source=source)[1] == [{"text": "c"}]
    assert "loading script" not in author.output


@pytest.mark.slow
def test_without_a_conversion_the_error_says_what_was_tried(quiz, author):
    quiz({}, "other")
    message = fails(author, "DataError", LOAD, source={"path": "me/other", "name": "easy"})
    tried = "load_dataset('me/other', revision='refs/convert/parquet')"
    assert f"Data set 'quiz/easy' cannot be loaded: {tried} says:" in message
