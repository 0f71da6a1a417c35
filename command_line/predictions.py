"""`predictions.csv` and `predictions.jsonl`: the answers to rows, task by task and method by method."""

import csv
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jinja2
from tqdm.auto import tqdm
from transformers.utils import logging

from command_line.questions import Question
from evaluation.result_files import get_file_name
from modeling_ctr import CTRPreTrainedModel
from prediction.calibration import Calibration
from search import PromptScorer, model_fingerprint
from search.scoring.processes import is_main_process, on_main_process
from tasks import DataError, FeatureBuilder, Task, Template
from tasks.file_task import LABEL_POSITION
from tasks.jinja_sandbox import parse_jinja
from tasks.template_usage import SEPARATOR

logger = logging.get_logger(__name__)

CHUNK = 2048  # rows that are tokenized, scored and written at a time
OWN_COLUMNS = ("task", "method", "label", "probability")


def write_predictions(
    model: CTRPreTrainedModel, builder: FeatureBuilder, questions: Sequence[Question], output_dir: Path
) -> Path:
    """Answer all questions, and write the answers into `predictions.csv` and `predictions.jsonl`.

    Each question's answers are kept in a file of their own as they come, so that a stopped run goes on where it was. Of
    several processes all call this and share the work; the main one writes.

    Args:
        model: The model.
        builder: Tokenizes rows, to its lengths where a task has none of its own.
        questions: What is asked; not none.
        output_dir: Folder for the files.

    Returns:
        The path of `predictions.csv`.

    Raises:
        DataError: The rows lack a column that a template shows.
    """
    digest = model_fingerprint(model)
    questions = [replace(question, task=without_target(question.task)) for question in questions]
    parts = []
    for question in questions:
        name = get_file_name(f"{question.task.name}.{question.method}")
        parts.append(output_dir / "predictions" / f"{name}.jsonl")
        own_builder = builder.with_lengths(question.details.max_source_length, question.details.max_target_length)
        _answer(model, digest, own_builder, question, parts[-1])
    if is_main_process():
        _join(questions, parts, output_dir)
    return output_dir / "predictions.csv"


def get_id_columns(question: Question) -> list[str]:
    """Get the columns that tell rows apart: all that the template does not show; `row` where there are none."""
    columns = [
        name for name in question.rows.column_names if name not in {*question.task.template.fields, LABEL_POSITION}
    ]
    return columns or ["row"]


def _answer(
    model: CTRPreTrainedModel, model_digest: str, builder: FeatureBuilder, question: Question, path: Path
) -> None:
    """Write an answer for each row into the file, after those that are there already."""
    rows = list(_get_fields(question))
    asked = json.dumps([question.task.template.jinja, question.task.template.answer_choices, rows], default=str)
    header = {
        "model": model_digest,
        "prompt": hashlib.sha256(question.vectors.cpu().numpy().tobytes()).hexdigest(),
        "asked": hashlib.sha256(asked.encode(errors="backslashreplace")).hexdigest(),
        "details": question.details.to_dict(),
    }
    done = on_main_process(partial(_open, path, header))
    bar = tqdm(
        total=len(rows), initial=done, desc=question.task.name, unit="row", leave=False, disable=not is_main_process()
    )
    blank = 0
    with bar:
        for start in range(done, len(rows), CHUNK):
            answers = list(_answer_chunk(model, builder, question, rows[start : start + CHUNK]))
            blank += answers.count(None)
            if is_main_process():
                with open(path, "a", encoding="utf-8") as file:
                    for number, answer in enumerate(answers, start):
                        file.write(json.dumps(_make_line(question, number, answer), default=str) + "\n")
            bar.update(len(answers))
    if blank:
        logger.warning(f"{question.task.name}: {blank} of {len(rows)} rows have no text and get no label.")


def _open(path: Path, header: dict[str, Any]) -> int:
    """Count the answers that the file holds to the same question; where there are none, begin it anew."""
    header = json.loads(json.dumps(header))
    lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
    whole = [line for line in lines if line.endswith(b"\n")]  # a killed run may leave half a line
    try:
        if whole and json.loads(whole[0]) == header:
            if len(whole) < len(lines):
                os.truncate(path, sum(map(len, whole)))
            return len(whole) - 1
    except ValueError:
        pass
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(header) + "\n", encoding="utf-8")
    return 0


def _get_fields(question: Question) -> Iterator[dict[str, Any]]:
    """Yield the fields of each row that the template shows."""
    shown, columns = sorted(question.task.template.fields), question.rows.column_names
    if missing := [name for name in shown if name not in columns]:
        raise DataError(
            f"The rows to predict have no column {missing[0]!r}, which the template of '{question.task.name}' shows, but "
            f"{', '.join(columns)}."
        )
    yield from question.rows.select_columns(shown)


def without_target(task: Task) -> Task:
    """Return the task without what the template says about the right answer, which rows to predict do not know.

    Where a block of the template goes from the input into the target, it stays as it is.
    """
    template = task.template
    shown = template.jinja.partition(SEPARATOR)[0]
    try:
        parse_jinja(shown)
    except jinja2.TemplateSyntaxError:
        return task
    return replace(task, template=Template(template.name, f"{shown}{SEPARATOR}", template.answer_choices))


def _answer_chunk(
    model: CTRPreTrainedModel, builder: FeatureBuilder, question: Question, rows: list[dict[str, Any]]
) -> Iterator[dict[Any, float] | str | None]:
    """Yield for each row the probability of each label, or the text written; None where there is nothing to answer."""
    task, details = question.task, question.details
    examples = [task.example(row, check_answer=False) for row in rows]
    asked = [
        row for row, example in zip(rows, examples, strict=True) if example is not None and example.input_text.strip()
    ]
    found: Iterator[Any] = iter(())
    if asked:
        names = ("input_ids", "choice_ids")
        features = [{k: row[k] for k in names if k in row} for row in builder.encode(task, asked)]
        scorer = PromptScorer(model, features)
        prompts = question.vectors.to(model.device, model.get_input_embeddings().weight.dtype)[None]
        if task.has_choices:
            found = iter(scorer.choice_log_likelihoods(prompts)[0])
        else:
            (ids,) = scorer.generate(prompts, max_new_tokens=builder.max_target_length)
            found = iter(builder.tokenizer.batch_decode(ids, skip_special_tokens=True))
    prior = details.prior if details.answers is not None else None
    calibration = Calibration(details.temperature or 1.0, prior)
    for example in examples:
        if example is None or not example.input_text.strip():
            yield None
        elif example.choices is None:
            yield next(found).strip()
        else:
            scores = next(found)[: len(example.choices)]
            labels = details.labels or example.choices
            yield dict(zip(labels, calibration.log_probabilities(scores).exp().tolist(), strict=True))


def _make_line(question: Question, number: int, answer: dict[Any, float] | str | None) -> dict[str, Any]:
    """Make what the files say about a row."""
    row = question.rows[number]
    line = {_own_name(name): row.get(name, number) for name in get_id_columns(question)}
    line |= {"task": question.task.name, "method": question.method}
    if not isinstance(answer, dict):
        return line | {"label": answer, "probability": None, "probabilities": {}}
    label = max(answer, key=lambda each: answer[each])  # the first of equals
    return line | {
        "label": label,
        "probability": answer[label],
        "probabilities": {str(k): p for k, p in answer.items()},
    }


def _own_name(column: str) -> str:
    """Return a column's name, changed where it is one of ours."""
    return f"given_{column}" if column in (*OWN_COLUMNS, "probabilities") else column


def _join(questions: Sequence[Question], parts: Sequence[Path], output_dir: Path) -> None:
    """Join the questions' files into the two that are read."""
    ids, labels = {}, {}
    for question in questions:
        ids.update(dict.fromkeys(map(_own_name, get_id_columns(question))))
        labels.update(
            dict.fromkeys(f"p({label})" for label in question.details.labels or question.details.answers or ())
        )
    table, lines = output_dir / "predictions.csv", output_dir / "predictions.jsonl"
    aside = {path: path.with_name(f".{path.name}.tmp") for path in (table, lines)}
    with (
        open(aside[table], "w", encoding="utf-8", newline="") as csv_file,
        open(aside[lines], "w", encoding="utf-8") as json_file,
    ):
        writer = csv.DictWriter(csv_file, [*ids, *OWN_COLUMNS, *labels], extrasaction="ignore")
        writer.writeheader()
        for part in parts:
            with open(part, encoding="utf-8") as file:
                next(file)  # the header
                for text in file:
                    json_file.write(text)
                    line = json.loads(text)
                    line |= {f"p({label})": f"{p:.6f}" for label, p in line.pop("probabilities").items()}
                    if line["probability"] is not None:
                        line["probability"] = f"{line['probability']:.6f}"
                    writer.writerow(line)
    for path, written in aside.items():
        os.replace(written, path)
