"""What the page's handlers return, without a browser."""

from types import SimpleNamespace

import pytest

from codebook_report.search_course import SearchCourse
from modeling_ctr import TaskDetails
from playground.checkpoint import Checkpoint

gr = pytest.importorskip("gradio", reason="the app needs gradio: pip install -e .[app]")

from playground.handlers import BITWISE, ENSEMBLE, NO_RESULT, Handlers  # noqa: E402  (they need gradio)

EXAMPLES = "\n".join(f"w{i} w{i + 9} w20\t{('w7 w8', 'w9')[i % 2]}" for i in range(10, 16))
ME, YOU = SimpleNamespace(session_hash="me"), SimpleNamespace(session_hash="you")


@pytest.fixture
def handlers(checkpoint):
    return Handlers(checkpoint)


def test_two_searches_of_one_visitor(handlers):
    """The first is stopped and shows nothing any more; the second and another visitor's go on to their ends."""
    first = handlers.search(BITWISE, EXAMPLES, "", "one", 2000, ME)
    other = handlers.search(ENSEMBLE, EXAMPLES, "w9\nw7 w8", "three", 50, YOU)
    second = handlers.search(ENSEMBLE, EXAMPLES, "w9\nw7 w8", "two", 50, ME)
    next(other), next(first), next(second)
    assert list(first) == []
    for search in (second, other):
        status, _, code, table, file, use, found, _ = list(search)[-1]
        assert "3 codes voted" in status and len(table["value"]) == 6
        assert code == " ".join(map(str, found)) and file["interactive"] and use["interactive"]


def test_searches_with_a_decoder_only_model(tiny_causal_model, tiny_causal_tokenizer):
    handlers = Handlers(Checkpoint(tiny_causal_model(code_position="suffix"), tiny_causal_tokenizer, "tiny"))
    for method, done in ((BITWISE, "Done after"), (ENSEMBLE, "3 codes voted")):
        outputs = list(handlers.search(method, EXAMPLES, "w9\nw7 w8", "new", 50, ME))[-1]
        status, _, _, table, file, _, found, course = outputs
        assert done in status and len(table["value"]) == 6 and file["interactive"]
        written, probabilities, *_ = handlers.answer("w10 w19 w20", "w9\nw7 w8", *found)
        assert written and max(probabilities, key=probabilities.get) == table["value"][0][0]
        assert "<iframe" in handlers.report(course, [])[0]


def test_a_problem_of_an_earlier_search_is_not_shown_over_a_later_one(handlers):
    first = handlers.search(ENSEMBLE, EXAMPLES, "w9\nw7 w8", "one", 50, ME)
    next(first)
    second = handlers.search(ENSEMBLE, EXAMPLES, "w9\nw7 w8", "two", 50, ME)
    next(second)
    assert list(first) == []  # "The search was stopped"
    handlers.stop(ME)
    assert list(second) == [("⚠️ The search was stopped: there is no vote yet.", None, *NO_RESULT)]


def test_text_without_end_is_refused(handlers):
    code = handlers.get_code("ag_news")
    assert "characters: give at most" in handlers.answer("w5 " * 100_000, "", *code)[-1]
    ((status, *_),) = handlers.search(BITWISE, "w5 " * 100_000, "", "one", 50, ME)
    assert "characters: give at most" in status


def test_a_text_that_the_model_has_no_positions_for_is_refused(tiny_causal_model, tiny_causal_tokenizer):
    handlers = Handlers(Checkpoint(tiny_causal_model("gpt2"), tiny_causal_tokenizer, "tiny"))
    problem = handlers.answer("w5 " * 61, "", *handlers.get_code("ag_news"))[-1]
    assert "longer than the 64 positions" in problem


def test_reports(handlers, monkeypatch):
    """Only the report that all visitors share is kept; each search's is of that search, though the code is the same."""
    written = []
    monkeypatch.setattr(handlers, "_write_report", lambda course: written.append(course) or f"report {len(written)}")
    courses = [SearchCourse([], "loss", [1, 2, 3, 4], loss) for loss in (1.0, 2.0)]
    for course, report in [(None, 1), (None, 1), (courses[0], 2), (courses[1], 3), (None, 1)]:
        assert handlers.report(course, []) == (f"report {report}", [course])
    assert written == [None, *courses]
    assert handlers.report(courses[1], [courses[0]])[0] == "report 4"
    assert handlers.report(courses[0], [courses[0]]) == (gr.skip(), gr.skip())  # it is there already
    kept = [value for value in vars(handlers).values() if isinstance(value, str)]
    assert kept == ["report 1"]


def test_a_chosen_task_brings_its_answers(tiny_ctr_model, tiny_tokenizer):
    model = tiny_ctr_model()
    model.add_task("stars", [1, 2, 3, 4], TaskDetails(answers=["w7", "w8 w9"]))
    handlers = Handlers(Checkpoint(model, tiny_tokenizer, "tiny"))
    assert handlers.choose("stars") == ("w7\nw8 w9", 1, 2, 3, 4)
    assert handlers.choose("ag_news") == (gr.skip(), *handlers.get_code("ag_news"))  # whose answers are not known
