import os

import pytest
from datasets import ClassLabel, Dataset, Features, Value

from tasks.errors import DataError
from tasks.local_files import find_files, load_files


def test_names_with_brackets_are_names_before_they_are_patterns(tmp_path):
    folder = tmp_path / "data [v2]::x"
    (folder / "more").mkdir(parents=True)
    for name in ("a[1].csv", "a1.csv", "b.csv", ".a2.csv", "more/a3.csv", "more/._a.csv"):
        (folder / name).touch()

    def names(pattern: str) -> list[str]:
        return [str(path.relative_to(folder)) for path in find_files(str(folder / pattern))]

    assert names("a[1].csv") == ["a[1].csv"]
    assert names("a*.csv") == ["a1.csv", "a[1].csv"]
    assert names("[ab]?.csv") == ["a1.csv"]
    assert names("**/a*.csv") == ["a1.csv", "a[1].csv", "more/a3.csv"]
    assert names("*/*.csv") == ["more/a3.csv"]
    assert names("nothing.csv") == names("none*.csv") == names("more") == []


def test_what_is_read_once_is_kept_until_the_file_changes(tmp_path, monkeypatch):
    path = tmp_path / "rows.csv"
    path.write_text("text,label\nfine,1\n")
    first = load_files("csv", [path])
    with monkeypatch.context() as patch:
        patch.setattr("tasks.local_files._get_reader", lambda *_: pytest.fail("read again"))
        again = load_files("csv", [path])
    assert again._fingerprint == first._fingerprint  # so that what is made of the rows is kept, too
    path.write_text("text,label\nfine,0\n")
    os.utime(path, ns=(1, 1))
    assert load_files("csv", [path])["label"][:] == [0]


def test_a_read_that_fails_leaves_nothing_behind(tmp_path, datasets_cache):
    path = tmp_path / "rows.csv"
    path.write_text('text,label\n"open,1\n')
    for _ in range(2):
        with pytest.raises(DataError, match="row that begins on line 2"):
            load_files("csv", [path])
    assert not [each for each in datasets_cache.rglob("*") if each.is_file()]


def test_parquet_keeps_its_types_and_several_files_are_one(tmp_path):
    features = Features({"text": Value("string"), "label": ClassLabel(names=["no", "yes"])})
    for name, label in (("a", 0), ("b", 1)):
        Dataset.from_dict({"text": [name], "label": [label]}, features).to_parquet(tmp_path / f"{name}.parquet")
    files = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    rows = load_files("parquet", files)
    assert rows.features == features
    assert rows.to_list() == list(load_files("parquet", files, streaming=True))
    assert rows["text"][:] == ["a", "b"]
    Dataset.from_dict({"other": [1]}).to_parquet(tmp_path / "c.parquet")
    with pytest.raises(DataError, match=r"c\.parquet has other columns"):
        load_files("parquet", [*files, tmp_path / "c.parquet"])


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_a_damaged_file_is_named(tmp_path, kind):
    (tmp_path / f"rows.{kind}").write_bytes(b"no such file")
    with pytest.raises(DataError, match=rf"rows\.{kind} is not (a )?readable"):
        load_files(kind, [tmp_path / f"rows.{kind}"])


def test_streams_of_several_files_are_as_many_shards(tmp_path):
    for name in "abc":
        (tmp_path / f"{name}.csv").write_text(f"text\n{name}1\n{name}2\n")
    stream = load_files("csv", find_files(str(tmp_path / "*.csv")), streaming=True)
    assert stream.num_shards == 3
    assert [row["text"] for row in stream.shard(3, 1)] == ["b1", "b2"]
