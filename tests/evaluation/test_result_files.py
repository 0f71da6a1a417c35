"""Names of result files."""

import pytest

from evaluation.result_files import get_file_name


@pytest.mark.parametrize("letter", ["x", "é", "字"])
def test_long_names_are_cut_and_stay_apart(letter, tmp_path):
    names = {get_file_name(letter * length) for length in (101, 300, 301)}
    assert len(names) == 3
    for name in names:
        (tmp_path / f"population_search_{name}.jsonl").touch()
    assert get_file_name("marked / twice") == "marked_twice"
