"""What the app does, apart from its page: read what people type, answer, search for codes."""

import copy
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from codebook_report.codebook import Codebook, load_checkpoint
from codebook_report.search_course import SearchCourse, read_trace
from modeling_ctr import CTRForConditionalGeneration, save_task_code
from search import OBJECTIVES, BitwiseSearch, CodeScorer, task_code_space
from tasks.features import check_tokenizer
from tasks.scenes import ALL_TASKS, HELD_OUT_TASKS, scene_rows

MAX_SOURCE_LENGTH, MAX_NEW_TOKENS = 384, 32
SECONDS_BETWEEN_STEPS = 1.0
CODES_PER_STEP = 8
DEMO_TASKS = {task.name: task for task in ALL_TASKS}
HELD_OUT_DEMO_TASKS = [task.name for task in HELD_OUT_TASKS]
NUM_DEMO_EXAMPLES = 32


@dataclass(frozen=True)
class Checkpoint:
    """A model and the tokenizer it was trained with."""

    model: CTRForConditionalGeneration
    tokenizer: PreTrainedTokenizerBase
    name: str

    @classmethod
    def load(cls, source: str) -> "Checkpoint":
        """From a directory or the Hub. Raises a ValueError of one sentence."""
        model = load_checkpoint(source)
        try:
            tokenizer = AutoTokenizer.from_pretrained(source)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"'{source}' has no tokenizer that can be read: save the one it was trained with."
            ) from error
        check_tokenizer(tokenizer, model.get_input_embeddings().num_embeddings)
        return cls(model, tokenizer, Path(source).name)

    def ids(self, text: str) -> list[int]:
        """Token ids with the end token, cut to what the model was trained on."""
        ids = self.tokenizer(text, verbose=False)["input_ids"]
        end = self.tokenizer.eos_token_id
        words = ids[:-1] if ids and ids[-1] == end else ids
        return [*words[: MAX_SOURCE_LENGTH - 1], end]

    def features(self, inputs: Sequence[str], choices: Sequence[str], answers: Sequence[str] | None) -> list[dict]:
        """Rows for a [`CodeScorer`]."""
        choice_ids = [self.ids(choice) for choice in choices]
        rows = [{"input_ids": self.ids(text), "choice_ids": choice_ids} for text in inputs]
        return [row | {"answer": choices.index(a)} for row, a in zip(rows, answers, strict=True)] if answers else rows


def demo_example(task: str) -> tuple[str, str]:
    """An input and the answer choices, one per line, for a task of the embedded benchmark; empty for any other."""
    if task not in DEMO_TASKS:
        return "", ""
    return scene_rows(1, seed=0)["scene"][0], "\n".join(DEMO_TASKS[task].choices)


def demo_examples(task: str) -> str:
    """Labelled examples of a task of the embedded benchmark, as they would be pasted."""
    rows, choices, column = scene_rows(NUM_DEMO_EXAMPLES, seed=1), DEMO_TASKS[task].choices, DEMO_TASKS[task].column
    return "\n".join(f"{row['scene']}\t{choices[row[column]]}" for row in rows)


def parse_choices(text: str) -> list[str]:
    """Answer choices, one per line; none if the text is empty."""
    choices = [line.strip() for line in text.splitlines() if line.strip()]
    if len(choices) == 1:
        raise ValueError(f"'{choices[0]}' is the only answer choice: give at least two, one per line.")
    for choice in choices:
        if choices.count(choice) > 1:
            raise ValueError(f"The answer choice '{choice}' is there twice: give each once.")
    return choices


def parse_examples(text: str, choices_text: str, labelled: bool) -> tuple[list[str], list[str], list[str] | None]:
    """Inputs, answer choices and (if labelled) answers of pasted examples.

    Args:
        text: A line per example: the input, and if labelled a tab and the answer (ignored where not needed).
        choices_text: One choice per line; if labelled, it may be empty: then the choices are the answers given.

    Raises:
        ValueError: What is wrong in which line, in one sentence.
    """
    numbered = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not numbered:
        raise ValueError("There are no examples: paste one per line.")
    inputs, answers = [], []
    for number, line in numbered:
        example, _, answer = (part.strip() for part in line.rpartition("\t")) if "\t" in line else (line, "", "")
        if labelled and not (example and answer):
            raise ValueError(f"Line {number} must be an input, a tab and its answer.")
        inputs.append(example)
        answers.append(answer)
    choices = parse_choices(choices_text)
    if labelled:
        if not choices:
            choices = list(dict.fromkeys(answers))
            if len(choices) < 2:
                raise ValueError(f"All answers are '{answers[0]}': give examples of at least two different answers.")
        for (number, _), answer in zip(numbered, answers, strict=True):
            if answer not in choices:
                raise ValueError(
                    f"Line {number}: the answer '{answer}' is not among the choices {', '.join(choices)}."
                )
    elif not choices:
        raise ValueError("Code Ensemble votes between answer choices: give at least two, one per line.")
    return inputs, choices, answers if labelled else None


@torch.inference_mode()
def answer(
    checkpoint: Checkpoint, code: Sequence[int], text: str, choices: Sequence[str]
) -> tuple[str, dict[str, float] | None]:
    """What the model writes, and the choices' probabilities (among each other), for one input under a code."""
    model = checkpoint.model
    inputs = {"input_ids": torch.tensor([checkpoint.ids(text)], device=model.device)}
    task_code = torch.tensor(code, dtype=torch.long)
    ids = model.generate(**inputs, task_code=task_code, max_new_tokens=MAX_NEW_TOKENS)
    written = checkpoint.tokenizer.decode(ids[0], skip_special_tokens=True).strip()
    if not choices:
        return written, None
    rows = checkpoint.features([text], choices, None)
    scores = CodeScorer(model, rows).choice_log_likelihoods(task_code[None])[0, 0]
    return written, dict(zip(choices, scores.softmax(0).tolist(), strict=True))


def nearest_task(model: CTRForConditionalGeneration, code: Sequence[int]) -> str:
    """A sentence on the task whose code has most in common with this one."""
    book = Codebook.of_model(model, title="")
    counts = (book.codes == np.array(code)).sum(1)
    equal, name = int(counts.max()), book.names[int(counts.argmax())]
    if equal == len(code):
        return f"This is the code of **{name}**."
    return f"{equal} of {len(code)} positions as in **{name}**." if equal else "No position as in any task."


def ensemble_steps(scorer: CodeScorer, stop: threading.Event) -> Iterator[tuple[int, int]]:
    """Score all training codes, a few at a time: `(scored, of)`. The scorer remembers, so the vote itself is quick.

    Raises:
        ValueError: `stop` was set.
    """
    codes = scorer.model.task_codes()
    for done in range(0, len(codes), CODES_PER_STEP):
        yield done, len(codes)
        if stop.is_set():
            raise ValueError("The search was stopped: there is no vote yet.")
        scorer.choice_log_likelihoods(codes[done : done + CODES_PER_STEP])


def bitwise_steps(scorer: CodeScorer, max_evaluations: int, stop: threading.Event) -> Iterator[SearchCourse]:
    """Run a Bitwise Search beside this generator, which yields its course so far, and at last all of it."""
    objective = OBJECTIVES["normalized_loss"]

    def terms(*args):
        if stop.is_set():
            raise KeyboardInterrupt  # which the search answers with the best code so far
        return objective.terms(*args)

    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as pool:
        trace_path = Path(folder) / "trace.jsonl"
        search = BitwiseSearch(
            scorer,
            task_code_space(scorer.model),
            replace(objective, terms=terms),
            max_evaluations=max_evaluations,
            trace_path=trace_path,
            progress=False,
        )
        running = pool.submit(search.run)
        try:
            while not wait([running], SECONDS_BETWEEN_STEPS).done:
                if trace_path.exists() and trace_path.read_bytes().count(b"\n") > 1:
                    yield read_trace(trace_path)
            result = running.result()
        except KeyboardInterrupt:
            raise ValueError("The search was stopped before it had evaluated any code.") from None
        finally:
            stop.set()  # also when the page is closed
    yield SearchCourse(result.trace, result.objective, result.code, result.loss)


def found_code_file(
    checkpoint: Checkpoint, name: str, code: list[int], folder: Path, scores: dict[str, float]
) -> Path:
    """A task code file for the found code; the model itself, which others use as well, does not learn the task."""
    model = copy.copy(checkpoint.model)  # the same weights
    model.config = copy.deepcopy(model.config)
    model.add_task(name, code)
    path = folder / "task_code.json"
    save_task_code(model, name, path, scores=scores, checkpoint=checkpoint.name)
    return path
