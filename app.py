"""Try a model in the browser: `python app.py CHECKPOINT`. Its tasks, its code, a search for a new task, its codebook."""

import argparse
import html
import os
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when gradio is imported

import gradio as gr

from codebook_report.codebook import Codebook
from codebook_report.figures import search_figure
from codebook_report.page import write_codebook_report
from codebook_report.search_course import SearchCourse
from evaluation.playground import (
    HELD_OUT_DEMO_TASKS,
    Checkpoint,
    answer,
    bitwise_steps,
    demo_example,
    demo_examples,
    ensemble_steps,
    found_code_file,
    nearest_task,
    parse_choices,
    parse_examples,
)
from search import CodeEnsemble, CodeScorer

DEFAULT_CHECKPOINT = "out/demo/seed_0/stage2"  # what `make demo` leaves
BITWISE, ENSEMBLE = "Bitwise Search: examples with answers", "Code Ensemble: no answers needed"
# The search's outputs while there is no found code: its text, table, the two buttons, code and course.
NO_RESULT = ("", None, gr.update(value=None, interactive=False), gr.update(interactive=False), None, None)


class Page:
    """The handlers of the page, for one checkpoint. Problems come back as a line of text, never as a pop-up."""

    def __init__(self, checkpoint: Checkpoint):
        self.checkpoint = checkpoint
        self.searches: dict[str, threading.Event] = {}  # by session: set to stop
        self.reports: dict[tuple[int, ...] | None, str] = {}

    def code_of(self, task: str) -> list[int]:
        return self.checkpoint.model.get_task_code(task).tolist()

    def choose(self, task: str):
        """Choices and code of a task; the choices stay where none are known."""
        _, choices = demo_example(task)
        return choices or gr.skip(), *self.code_of(task)

    def answer(self, text: str, choices_text: str, *code: float):
        nearest = nearest_task(self.checkpoint.model, [int(value) for value in code])
        if not text.strip():
            return "", None, nearest, "Type an input, and the answer appears here."
        try:
            choices = parse_choices(choices_text)
        except ValueError as error:
            return "", None, nearest, _problem(error)
        written, probabilities = answer(self.checkpoint, [int(value) for value in code], text, choices)
        return written, probabilities, nearest, ""

    def search(self, method: str, examples: str, choices_text: str, name: str, most: float, request: gr.Request):
        """Yields status, curve, code, predictions, two buttons, and for the other tabs the code and the course."""
        stop = self.searches[request.session_hash] = threading.Event()
        try:
            inputs, choices, answers = parse_examples(examples, choices_text, method == BITWISE)
            name = name.strip()
            if not name or name in self.checkpoint.model.task_names:
                raise ValueError(f"The model has a task '{name}' already." if name else "Give the new task a name.")
            scorer = CodeScorer(self.checkpoint.model, self.checkpoint.features(inputs, choices, answers))
            search = self._bitwise(scorer, int(most), stop) if answers else self._ensemble(scorer, stop)
            status, figure, code, course = yield from search
            predicted = [choices[i] for i in scorer.predictions([code])[0].tolist()]
            columns = {"prediction": predicted, **({"answer": answers} if answers else {}), "input": inputs}
            scores = {"few_shot_accuracy": float(scorer.accuracies([code]))} if answers else {}
            table = gr.update(value=[list(row) for row in zip(*columns.values(), strict=True)], headers=list(columns))
            with tempfile.TemporaryDirectory() as folder:  # gradio takes a copy
                path = found_code_file(self.checkpoint, name, code, Path(folder), scores)
                file = gr.update(value=str(path), interactive=True)
                yield status, figure, " ".join(map(str, code)), table, file, gr.update(interactive=True), code, course
        except ValueError as error:
            yield _problem(error), None, *NO_RESULT
        finally:
            del self.searches[request.session_hash]

    def _bitwise(self, scorer: CodeScorer, most: int, stop: threading.Event):
        for course in bitwise_steps(scorer, most, stop):
            done = course.num_codes()
            status = f"{_bar(done, most)} {done} of at most {most} codes, best loss {course.loss:.3f}"
            yield status, search_figure(course, most), *NO_RESULT
        status = (
            f"{_bar(1, 1)} Done after {done} codes: loss {course.loss:.3f}, from {course.start_loss():.3f} with the best "
            f"training task's code. {float(scorer.accuracies([course.code])):.0%} of these examples come out right; "
            "others may do worse."
        )
        return status, search_figure(course), course.code, course

    def _ensemble(self, scorer: CodeScorer, stop: threading.Event):
        for done, count in ensemble_steps(scorer, stop):
            yield f"{_bar(done, count)} {done} of {count} training tasks' codes", None, *NO_RESULT
        result = CodeEnsemble(scorer).run()
        status = (
            f"{_bar(1, 1)} Done: {result.num_voters} codes voted. That of {html.escape(result.task_name)} agrees most "
            f"with the vote, on {result.pseudo_accuracy:.0%} of the examples."
        )
        return status + (f"<br>{_problem(result.warning)}" if result.warning else ""), None, result.code, None

    def stop(self, request: gr.Request) -> None:
        if request.session_hash in self.searches:
            self.searches[request.session_hash].set()

    def report(self, course: SearchCourse | None) -> str:
        """The codebook report, in a frame of its own; kept for the next visitor."""
        key = None if course is None else tuple(course.code)
        if key not in self.reports:
            book = Codebook.of_model(self.checkpoint.model, self.checkpoint.name)
            with tempfile.TemporaryDirectory() as folder:
                page = write_codebook_report(book, Path(folder), course=course).read_text(encoding="utf-8")
            self.reports[key] = (
                f'<iframe title="codebook report" class="report" srcdoc="{html.escape(page)}"></iframe>'
            )
        return self.reports[key]

    def build(self) -> gr.Blocks:
        """The page."""
        model = self.checkpoint.model
        tasks = Codebook.of_model(model, self.checkpoint.name).names
        first = tasks[0]
        first_input, first_choices = demo_example(first)
        with gr.Blocks(title=f"{self.checkpoint.name}: tasks as codes", delete_cache=(3600, 86400)) as blocks:
            found, course = gr.State(), gr.State()
            gr.Markdown(
                f"# Tasks as codes\n**{html.escape(self.checkpoint.name)}** does {len(tasks)} tasks. Each is "
                f"{model.config.code_length} integers; nothing else tells the model what to do with an input."
            )
            with gr.Tabs() as tabs:
                with gr.Tab("Use a code", id="use"), gr.Row():
                    with gr.Column(scale=5):
                        task = gr.Dropdown(tasks, value=first, label="Task", elem_id="task")
                        nearest = gr.Markdown(nearest_task(model, self.code_of(first)), elem_id="nearest")
                        with gr.Row(elem_id="code"):
                            code = [
                                gr.Slider(
                                    0,
                                    model.config.codebook_size - 1,
                                    value,
                                    step=1,
                                    label=f"Position {i}",
                                    min_width=200,
                                    buttons=[],
                                )
                                for i, value in enumerate(self.code_of(first), 1)
                            ]
                    with gr.Column(scale=6):
                        text = gr.Textbox(first_input, label="Input", lines=4, elem_id="input", autofocus=True)
                        choices = gr.Textbox(
                            first_choices,
                            label="Answer choices, one per line (none: free answer)",
                            lines=4,
                            elem_id="choices",
                        )
                        note = gr.Markdown("Type an input, and the answer appears here.", elem_id="note")
                        written = gr.Textbox(label="The model writes", interactive=False, elem_id="written")
                        probabilities = gr.Label(label="Among the choices", elem_id="probabilities")
                with gr.Tab("Find a code", id="find"), gr.Row():
                    with gr.Column(scale=5):
                        held_out = gr.Dropdown(
                            HELD_OUT_DEMO_TASKS, value=None, label="A task that the demo's model has not seen",
                            visible=bool(first_input), elem_id="held-out",
                        )  # fmt: skip
                        method = gr.Radio([BITWISE, ENSEMBLE], value=BITWISE, label="Method", elem_id="method")
                        examples = gr.Textbox(
                            label="Examples, one per line", lines=8, max_lines=12, elem_id="examples",
                            info="With answers: input, tab, answer. Answers are not looked at by Code Ensemble.",
                        )  # fmt: skip
                        given = gr.Textbox(
                            label="Answer choices, one per line",
                            lines=4,
                            elem_id="given",
                            info="With answers: may stay empty.",
                        )
                        name = gr.Textbox(label="Name of the task", value="my-task", elem_id="name")
                        most = gr.Slider(50, 2000, 600, step=50, label="Codes to evaluate at most (Bitwise Search)")
                        with gr.Row():
                            start = gr.Button("Search", variant="primary", elem_id="search")
                            stop = gr.Button("Stop", elem_id="stop")
                    with gr.Column(scale=6):
                        status = gr.HTML("Paste some examples of a new task.", elem_id="status", min_height=50)
                        curve = gr.Plot(show_label=False, elem_id="curve")
                        result = gr.Textbox(label="Found code", interactive=False, elem_id="found", buttons=["copy"])
                        with gr.Row():
                            use = gr.Button("Use this code", interactive=False, elem_id="use-code")
                            file = gr.DownloadButton("Download as a file", interactive=False, elem_id="file")
                        predictions = gr.Dataframe(
                            label="With this code",
                            headers=["prediction", "input"],
                            interactive=False,
                            wrap=True,
                            max_height=300,
                            elem_id="predictions",
                        )
                with gr.Tab("The codebook", id="codebook") as report_tab:
                    report = gr.HTML("One moment …", elem_id="report")

            outputs = [written, probabilities, nearest, note]
            live = {"fn": self.answer, "inputs": [text, choices, *code], "outputs": outputs, "show_progress": "hidden"}
            gr.on([text.input, choices.input, *(s.input for s in code)], trigger_mode="always_last", **live)
            task.input(self.choose, task, [choices, *code], show_progress="hidden").then(**live)
            blocks.load(**live)
            start.click(
                self.search,
                [method, examples, given, name, most],
                [status, curve, result, predictions, file, use, found, course],
                show_progress="hidden",
                concurrency_limit=2,
            )
            held_out.input(lambda task: [demo_examples(task), demo_example(task)[1]], held_out, [examples, given])
            stop.click(self.stop, show_progress="hidden")
            use.click(
                lambda code, choices: [gr.Tabs(selected="use"), None, choices or gr.skip(), *code],
                [found, given],
                [tabs, task, choices, *code],
                show_progress="hidden",
            ).then(**live)
            report_tab.select(self.report, course, report)
        return blocks


def _problem(error: ValueError | str) -> str:
    return f"⚠️ {html.escape(str(error), quote=False)}"


def _bar(done: int, count: int) -> str:
    return f'<progress value="{done}" max="{count}"></progress><br>'


STYLE = """
footer { display: none !important; }
.gradio-container { max-width: 1180px !important; margin: 0 auto !important; }
progress { appearance: none; width: 100%; height: 8px; border: 0; border-radius: 4px; background: #e2e6ec; }
progress::-webkit-progress-bar { border-radius: 4px; background: #e2e6ec; }
progress::-webkit-progress-value { border-radius: 4px; background: #2b6cb0; }
progress::-moz-progress-bar { border-radius: 4px; background: #2b6cb0; }
#report { width: min(1140px, 94vw); }
iframe.report { width: 100%; height: 85vh; border: 1px solid #e2e6ec; border-radius: 8px; background: white; }
"""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    default = os.environ.get("CTR_CHECKPOINT", DEFAULT_CHECKPOINT)
    parser.add_argument(
        "checkpoint", nargs="?", default=default, help="a directory or a Hub name; default: %(default)s"
    )
    parser.add_argument("--port", type=int, default=int(os.environ.get("GRADIO_SERVER_PORT", 7860)))
    options = parser.parse_args(arguments)
    try:
        blocks = Page(Checkpoint.load(options.checkpoint)).build()
    except ValueError as error:
        sys.exit(f"Error: {error}")
    fonts = ["system-ui", "sans-serif"]  # of the visitor's machine: nothing is fetched from elsewhere
    theme = gr.themes.Default(primary_hue="blue", font=fonts, font_mono=["ui-monospace", "monospace"])
    try:
        blocks.launch(server_port=options.port, theme=theme, css=STYLE, footer_links=[], show_error=True)
    except OSError as error:
        if "port" not in str(error).lower():
            raise
        sys.exit(f"Error: port {options.port} is in use; name another with --port.")


if __name__ == "__main__":
    main()
