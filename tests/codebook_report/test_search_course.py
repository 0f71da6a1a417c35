import numpy as np
import pytest

from codebook_report.search_course import SearchCourse, load_search, read_trace
from search import BitwiseSearchResult, Trial
from search.results import ScoredCode
from search.trials import TraceFile

TRACE = [
    Trial(0, -1, None, [1, 1], 5.0),
    Trial(0, -1, None, [2, 2], 4.0),
    Trial(0, 0, 1, [2, 1], 4.5),
    Trial(0, 0, 1, [2, 3], None, 6.0, 4),
    Trial(1, 0, 0, [3, 1], 2.0),
    Trial(1, 1, 1, [3, 3], 3.0),
]
RESULT = BitwiseSearchResult(
    code=[3, 1], loss=2.0, objective="loss", evaluations=6, stopped="epochs",
    starts=[ScoredCode([2, 2], 4.0), ScoredCode([1, 1], 5.0)],
    best_of_starts=[ScoredCode([2, 2], 4.0), ScoredCode([3, 1], 2.0)], positions=[[1], [0, 1]],
    trace=TRACE, pairs_pruned=4, seed=3, order="random",
)  # fmt: skip


@pytest.fixture
def trace_path(tmp_path):
    trace = TraceFile(tmp_path / "trace.jsonl", {"objective": "loss", "seed": 3})
    trace.append(TRACE)
    trace.close()
    return tmp_path / "trace.jsonl"


def test_result_and_trace_tell_the_same(tmp_path, trace_path):
    RESULT.save(tmp_path / "result.json")
    from_result, from_trace = load_search(tmp_path / "result.json"), load_search(trace_path)
    assert from_result == from_trace == SearchCourse(TRACE, "loss", [3, 1], 2.0)


def test_best_so_far():
    course = SearchCourse.from_trace(TRACE, "loss")
    assert course.compute_best_so_far().tolist() == [5, 4, 4, 4, 2, 2]


def test_before_the_first_value_it_is_not_a_number():
    course = SearchCourse.from_trace([Trial(0, -1, None, [0, 0], None, 6.0, 4), *TRACE], "loss")
    assert np.isnan(course.compute_best_so_far()[0])
    assert course.compute_best_so_far()[1] == 5


def test_the_start_is_that_of_the_walk_which_found_the_code():
    assert SearchCourse.from_trace(TRACE, "loss").find_start_code() == [1, 1]
    assert SearchCourse.from_trace(TRACE[:4], "loss").find_start_code() == [2, 2]
    assert SearchCourse.from_trace(TRACE[:2], "loss").find_start_code() == [2, 2]


def test_a_search_that_is_still_writing(trace_path):
    complete = trace_path.read_bytes()
    trace_path.write_bytes(complete[:-20])
    assert read_trace(trace_path).trace == TRACE[:-1]


def test_a_search_that_has_only_begun(trace_path):
    trace_path.write_text(trace_path.read_text().splitlines()[0] + "\n")
    with pytest.raises(ValueError, match="has not evaluated any code yet"):
        read_trace(trace_path)


@pytest.mark.parametrize(
    "text", ["", "{}\n", '{"kind": "CodeEnsembleResult"}', "hello\n", '{"objective": "loss"}\n{"a": 1}\n']
)
def test_other_files(tmp_path, text):
    (tmp_path / "file").write_text(text)
    with pytest.raises(ValueError, match="file' is not"):
        load_search(tmp_path / "file")


def test_no_file(tmp_path):
    with pytest.raises(ValueError, match="'.*none' cannot be read: No such file"):
        load_search(tmp_path / "none")
