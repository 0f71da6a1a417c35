"""What the page does when something is typed, chosen or clicked."""

import html
import tempfile
import threading
from collections.abc import Generator, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import gradio as gr

from codebook_report.codebook import Codebook
from codebook_report.figures import draw_search
from codebook_report.page import write_codebook_report
from codebook_report.search_course import SearchCourse
from search import CodeEnsemble, CodeScorer

from .checkpoint import Checkpoint, answer, nearest_task, write_found_code
from .code_search import RunningSearches, bitwise_steps, ensemble_steps
from .demo_tasks import demo_example
from .pasted_examples import check_length, parse_choices, parse_examples

Outputs = tuple[Any, ...]  # what gradio puts into the parts of the page, in the order in which they are named there
NO_INPUT = "Type an input, and the answer appears here."
BITWISE, ENSEMBLE = "Bitwise Search: examples with answers", "Code Ensemble: no answers needed"
# The search's outputs while there is no found code: its text, table, the two buttons, code and course.
NO_RESULT = ("", None, gr.update(value=None, interactive=False), gr.update(interactive=False), None, None)


class Handlers:
    """The handlers of the page, for one checkpoint. Problems come back as a line of text, never as a pop-up."""

    def __init__(self, checkpoint: Checkpoint):
        self.checkpoint = checkpoint
        self.searches = RunningSearches()

    def get_code(self, task: str) -> list[int]:
        """The code of a task of the model."""
        return self.checkpoint.model.get_task_code(task).tolist()

    def choose(self, task: str) -> Outputs:
        """Return choices and code of a task; the choices stay where none are known."""
        answers = self.checkpoint.model.task_details(task).answers
        choices = "\n".join(answers) if answers else demo_example(task)[1]
        return choices or gr.skip(), *self.get_code(task)

    def answer(self, text: str, choices_text: str, *code: float) -> Outputs:
        """Return what the model writes, the choices' probabilities, the nearest task and a note."""
        nearest = nearest_task(self.checkpoint.model, [int(value) for value in code])
        if not text.strip():
            return "", None, nearest, NO_INPUT
        try:
            check_length(text)
            choices = parse_choices(choices_text)
            written, probabilities = answer(self.checkpoint, [int(value) for value in code], text, choices)
        except ValueError as error:
            return "", None, nearest, _format_problem(error)
        return written, probabilities, nearest, ""

    def search(
        self, method: str, examples: str, choices_text: str, name: str, most: float, request: gr.Request
    ) -> Iterator[Outputs]:
        """Yield status, curve, code, predictions, two buttons, and for the other tabs the code and the course.

        A search that the same visitor has started before ends without another output.
        """
        session = request.session_hash
        stop = self.searches.begin(session)
        try:
            inputs, choices, answers = parse_examples(examples, choices_text, method == BITWISE)
            name = name.strip()
            if not name or name in self.checkpoint.model.task_names:
                raise ValueError(f"The model has a task '{name}' already." if name else "Give the new task a name.")
            scorer = CodeScorer(self.checkpoint.model, self.checkpoint.features(inputs, choices, answers))
            search = self._bitwise(scorer, int(most), stop) if answers else self._ensemble(scorer, stop)
            status, figure, code, course = yield from search
            if not self.searches.is_latest(session, stop):
                return
            predicted = [choices[i] for i in scorer.predictions([code])[0].tolist()]
            columns = {"prediction": predicted, **({"answer": answers} if answers else {}), "input": inputs}
            scores = {"few_shot_accuracy": float(scorer.accuracies([code]))} if answers else {}
            table = gr.update(value=[list(row) for row in zip(*columns.values(), strict=True)], headers=list(columns))
            with tempfile.TemporaryDirectory() as folder:  # gradio takes a copy
                path = write_found_code(self.checkpoint, name, code, choices, Path(folder), scores)
                file = gr.update(value=str(path), interactive=True)
                yield status, figure, " ".join(map(str, code)), table, file, gr.update(interactive=True), code, course
        except ValueError as error:
            if self.searches.is_latest(session, stop):
                yield _format_problem(error), None, *NO_RESULT
        finally:
            self.searches.end(session, stop)

    def _bitwise(self, scorer: CodeScorer, most: int, stop: threading.Event) -> Generator[Outputs, None, Outputs]:
        for course in bitwise_steps(scorer, most, stop):
            done = course.count_codes()
            status = f"{_format_bar(done, most)} {done} of at most {most} codes, best loss {course.loss:.3f}"
            if not stop.is_set():
                yield status, draw_search(course, most), *NO_RESULT
        status = (
            f"{_format_bar(1, 1)} Done after {done} codes: loss {course.loss:.3f}, from {course.get_start_loss():.3f} with the best "
            f"training task's code. {float(scorer.accuracies([course.code])):.0%} of these examples come out right; "
            "others may do worse."
        )
        return status, draw_search(course), course.code, course

    def _ensemble(self, scorer: CodeScorer, stop: threading.Event) -> Generator[Outputs, None, Outputs]:
        for done, count in ensemble_steps(scorer, stop):
            yield f"{_format_bar(done, count)} {done} of {count} training tasks' codes", None, *NO_RESULT
        result = CodeEnsemble(scorer).run()
        status = (
            f"{_format_bar(1, 1)} Done: {result.num_voters} codes voted. That of {html.escape(result.task_name)} agrees most "
            f"with the vote, on {result.pseudo_accuracy:.0%} of the examples."
        )
        return status + (f"<br>{_format_problem(result.warning)}" if result.warning else ""), None, result.code, None

    def stop(self, request: gr.Request) -> None:
        """Stop this visitor's search."""
        self.searches.stop(request.session_hash)

    def report(self, course: SearchCourse | None, shown: list[SearchCourse | None]) -> Outputs:
        """Return the codebook report in a frame of its own, and what `shown` is with it.

        Only the report without a search is kept, which is the same for all visitors.

        Args:
            course: The visitor's last search.
            shown: The search in the report that the page shows (None in one without a search); empty while there is
                no report.
        """
        if shown == [course]:
            return gr.skip(), gr.skip()
        return (self._report_without_search if course is None else self._write_report(course)), [course]

    @cached_property
    def _report_without_search(self) -> str:
        return self._write_report(None)

    def _write_report(self, course: SearchCourse | None) -> str:
        book = Codebook.from_model(self.checkpoint.model, self.checkpoint.name)
        with tempfile.TemporaryDirectory() as folder:
            page = write_codebook_report(book, Path(folder), course=course).read_text(encoding="utf-8")
        return f'<iframe title="codebook report" class="report" srcdoc="{html.escape(page)}"></iframe>'


def _format_problem(error: ValueError | str) -> str:
    return f"⚠️ {html.escape(str(error), quote=False)}"


def _format_bar(done: int, count: int) -> str:
    return f'<progress value="{done}" max="{count}"></progress><br>'
