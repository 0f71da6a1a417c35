"""The page: its three tabs, and which handler each of its parts calls."""

import html
from dataclasses import dataclass

import gradio as gr
from gradio.components import Component

from codebook_report.codebook import Codebook

from .checkpoint import nearest_task
from .demo_tasks import HELD_OUT_DEMO_TASKS, demo_example, demo_examples
from .handlers import BITWISE, ENSEMBLE, NO_INPUT, Handlers

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


@dataclass
class UseTab:
    """Parts of the tab in which a code is used."""

    task: Component
    nearest: Component
    code: list[Component]
    text: Component
    choices: Component
    note: Component
    written: Component
    probabilities: Component


@dataclass
class FindTab:
    """Parts of the tab in which a code is searched for."""

    held_out: Component
    method: Component
    examples: Component
    choices: Component
    name: Component
    most: Component
    start: Component
    stop: Component
    status: Component
    curve: Component
    result: Component
    use: Component
    file: Component
    predictions: Component


def build_page(handlers: Handlers) -> gr.Blocks:
    """Build the page."""
    model, name = handlers.checkpoint.model, handlers.checkpoint.name
    tasks = Codebook.from_model(model, name).names
    with gr.Blocks(title=f"{name}: tasks as codes", delete_cache=(3600, 86400)) as blocks:
        found, course, shown = gr.State(), gr.State(), gr.State([])
        gr.Markdown(
            f"# Tasks as codes\n**{html.escape(name)}** does {len(tasks)} tasks. Each is "
            f"{model.config.code_length} integers; nothing else tells the model what to do with an input."
        )
        with gr.Tabs() as tabs:
            with gr.Tab("Use a code", id="use"), gr.Row():
                use = _build_use_tab(handlers, tasks)
            with gr.Tab("Find a code", id="find"), gr.Row():
                find = _build_find_tab(has_demo_tasks=bool(demo_example(tasks[0])[0]))
            with gr.Tab("The codebook", id="codebook") as report_tab:
                report = gr.HTML("One moment …", elem_id="report")
        _connect(handlers, blocks, tabs, use, find, found, course)
        report_tab.select(handlers.report, [course, shown], [report, shown])
    return blocks


def _build_use_tab(handlers: Handlers, tasks: list[str]) -> UseTab:
    model, code = handlers.checkpoint.model, handlers.get_code(tasks[0])
    first_input, first_choices = demo_example(tasks[0])
    with gr.Column(scale=5):
        task = gr.Dropdown(tasks, value=tasks[0], label="Task", elem_id="task")
        nearest = gr.Markdown(nearest_task(model, code), elem_id="nearest")
        with gr.Row(elem_id="code"):
            sliders = [
                gr.Slider(
                    0, model.config.codebook_size - 1, value, step=1, label=f"Position {i}", min_width=200, buttons=[]
                )
                for i, value in enumerate(code, 1)
            ]
    with gr.Column(scale=6):
        return UseTab(
            task=task,
            nearest=nearest,
            code=sliders,
            text=gr.Textbox(first_input, label="Input", lines=4, elem_id="input", autofocus=True),
            choices=gr.Textbox(
                first_choices, label="Answer choices, one per line (none: free answer)", lines=4, elem_id="choices"
            ),
            note=gr.Markdown(NO_INPUT, elem_id="note"),
            written=gr.Textbox(label="The model writes", interactive=False, elem_id="written"),
            probabilities=gr.Label(label="Among the choices", elem_id="probabilities"),
        )


def _build_find_tab(has_demo_tasks: bool) -> FindTab:
    parts: dict[str, Component] = {}
    with gr.Column(scale=5):
        parts["held_out"] = gr.Dropdown(
            HELD_OUT_DEMO_TASKS, value=None, label="A task that the demo's model has not seen",
            visible=has_demo_tasks, elem_id="held-out",
        )  # fmt: skip
        parts["method"] = gr.Radio([BITWISE, ENSEMBLE], value=BITWISE, label="Method", elem_id="method")
        parts["examples"] = gr.Textbox(
            label="Examples, one per line", lines=8, max_lines=12, elem_id="examples",
            info="With answers: input, tab, answer. Answers are not looked at by Code Ensemble.",
        )  # fmt: skip
        parts["choices"] = gr.Textbox(
            label="Answer choices, one per line", lines=4, elem_id="given", info="With answers: may stay empty."
        )
        parts["name"] = gr.Textbox(label="Name of the task", value="my-task", elem_id="name")
        parts["most"] = gr.Slider(50, 2000, 600, step=50, label="Codes to evaluate at most (Bitwise Search)")
        with gr.Row():
            parts["start"] = gr.Button("Search", variant="primary", elem_id="search")
            parts["stop"] = gr.Button("Stop", elem_id="stop")
    with gr.Column(scale=6):
        parts["status"] = gr.HTML("Paste some examples of a new task.", elem_id="status", min_height=50)
        parts["curve"] = gr.Plot(show_label=False, elem_id="curve")
        parts["result"] = gr.Textbox(label="Found code", interactive=False, elem_id="found", buttons=["copy"])
        with gr.Row():
            parts["use"] = gr.Button("Use this code", interactive=False, elem_id="use-code")
            parts["file"] = gr.DownloadButton("Download as a file", interactive=False, elem_id="file")
        parts["predictions"] = gr.Dataframe(
            label="With this code", headers=["prediction", "input"], interactive=False, wrap=True, max_height=300,
            elem_id="predictions",
        )  # fmt: skip
    return FindTab(**parts)


def _connect(
    handlers: Handlers, blocks: gr.Blocks, tabs: gr.Tabs, use: UseTab, find: FindTab, found: gr.State, course: gr.State
) -> None:
    live = {
        "fn": handlers.answer,
        "inputs": [use.text, use.choices, *use.code],
        "outputs": [use.written, use.probabilities, use.nearest, use.note],
        "show_progress": "hidden",
    }
    typed = [use.text.input, use.choices.input, *(slider.input for slider in use.code)]
    gr.on(typed, trigger_mode="always_last", **live)
    use.task.input(handlers.choose, use.task, [use.choices, *use.code], show_progress="hidden").then(**live)
    blocks.load(**live)
    find.start.click(
        handlers.search,
        [find.method, find.examples, find.choices, find.name, find.most],
        [find.status, find.curve, find.result, find.predictions, find.file, find.use, found, course],
        show_progress="hidden",
        concurrency_limit=2,
    )
    find.held_out.input(
        lambda task: [demo_examples(task), demo_example(task)[1]], find.held_out, [find.examples, find.choices]
    )
    find.stop.click(handlers.stop, show_progress="hidden")
    find.use.click(
        lambda code, choices: [gr.Tabs(selected="use"), None, choices or gr.skip(), *code],
        [found, find.choices],
        [tabs, use.task, use.choices, *use.code],
        show_progress="hidden",
    ).then(**live)
