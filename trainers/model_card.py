"""The model card of a CTR model: what it is, what trained it, its tasks and codes, results, and how to use it."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from transformers import SchedulerType, Trainer
from transformers.training_args import OptimizerNames

from modeling_ctr import CTRPreTrainedModel
from modeling_ctr.checkpoint_name import is_repo_id
from safe_files import write_text
from tasks import Template, TemplateError
from tasks.template import ANSWER_CHOICES
from trainers.codebook_statistics import compute_code_statistics

CARD_NAME = "README.md"
TEMPLATE_PATH = Path(__file__).parent / "templates" / "model_card.md"
STAGE_ROWS = {  # what the card calls the entries of a stage's record
    "steps": "steps",
    "epochs": "epochs",
    "examples_per_step": "examples per step",
    "learning_rate": "learning rate",
    "query_learning_rate": "learning rate of task embeddings and position maps",
    "weight_decay": "weight decay",
    "lr_scheduler_type": "schedule",
    "warmup_steps": "warm-up",
    "optimizer": "optimizer",
    "precision": "precision",
    "seed": "seed",
    "num_examples": "training examples",
}


def get_stage_record(trainer: Trainer, num_tasks: int) -> dict[str, Any]:
    """Collect the settings of a training run, as the config's `training_stages` keeps them; all of it goes into JSON."""
    args, state = trainer.args, trainer.state
    parts = args.gradient_accumulation_steps * args.world_size
    by_tokens = args.per_device_train_tokens
    record = {
        "stage": args.stage,
        "steps": state.global_step,
        "epochs": round(state.epoch or 0, 3),
        "examples_per_step": f"up to {by_tokens * parts} tokens" if by_tokens else args.train_batch_size * parts,
        "learning_rate": args.learning_rate,
        "query_learning_rate": args.query_learning_rate,
        "weight_decay": args.weight_decay,
        "lr_scheduler_type": SchedulerType(args.lr_scheduler_type).value,
        "warmup_steps": args.warmup_steps,
        "optimizer": OptimizerNames(args.optim).value,
        "precision": "bf16" if args.bf16 else "fp16" if args.fp16 else "fp32",
        "seed": args.seed,
    }
    if isinstance(trainer.train_dataset, Dataset):
        task_ids = trainer.train_dataset.with_format("numpy")["task_id"][:]
        record["num_examples"] = len(task_ids)
        record["task_examples"] = np.bincount(task_ids, minlength=num_tasks).tolist()
    return record


def make_eval_result(
    task: str, value: float, method: str, *, dataset: str | None = None, split: str = "validation"
) -> EvalResult:
    """Make an accuracy into an entry of the card's `results`.

    Args:
        task: Name of the held-out task.
        value: The accuracy, 0 to 1.
        method: Search that found its code, or whatever else answered.
        dataset: The data set's name on the Hub, if it has one; by default, the task's.
        split: Split that it was measured on.

    Raises:
        ValueError: `value` is not a finite number.
    """
    if not math.isfinite(value):
        raise ValueError(f"The accuracy of '{method}' on '{task}' must be a finite number, but is {value}.")
    return EvalResult(
        task_type="multiple-choice",
        dataset_type=_printable(dataset or task),
        dataset_name=_printable(task),
        dataset_split=split,
        metric_type="accuracy",
        metric_name=f"accuracy, {_printable(method)}",
        metric_value=float(value),
    )


def write_model_card(
    model: CTRPreTrainedModel,
    output_dir: str | Path,
    *,
    repo_id: str | None = None,
    results: Sequence[EvalResult] = (),
    task_accuracies: Mapping[str, float] | None = None,
    language: str | list[str] | None = None,
    license: str | None = None,
    tags: str | Sequence[str] = (),
    datasets: str | list[str] | None = None,
    base_model: str | None = None,
    task_codes: torch.LongTensor | None = None,
    example_task: str | None = None,
) -> Path:
    """Write the model card into `output_dir`, as `README.md`.

    Args:
        model: CTR model, whose config's `training_stages` say how it was trained.
        output_dir: Folder that the model is saved in.
        repo_id: Name the model will have on the Hub, "user/name"; by default, the folder's name.
        results: Scores of held-out tasks, e.g. from [`make_eval_result`]; also written as `model-index`.
        task_accuracies: Accuracies of training tasks on validation data, by name.
        language: Languages of the model's texts, as ISO 639-1 codes.
        license: Identifier of the license on the Hub.
        tags: Further tags.
        datasets: Hub names of the training data sets.
        base_model: The language model behind it on the Hub; by default, where it was loaded from.
        task_codes: The training tasks' codes, `(num_tasks, code_length)`; by default, as the weights give them, which
            one process alone cannot tell where they are spread over several.
        example_task: Name of the task that the snippets ask; by default the one added or tuned last, else the first.

    Returns:
        The card's path.
    """
    path = Path(output_dir) / CARD_NAME
    repo_id = repo_id or Path(output_dir).resolve().name
    backbone = base_model or model.config.text_config.name_or_path
    codes = model.task_codes() if task_codes is None else task_codes
    example_task = example_task or model.task_names[-1 if len(model.task_names) > model.config.num_tasks else 0]
    data = ModelCardData(
        model_name=repo_id.split("/")[-1],
        base_model=backbone if is_repo_id(backbone) else None,
        library_name="transformers",
        tags=list(dict.fromkeys(["ctr", "task-codes", *([tags] if isinstance(tags, str) else tags)])),
        language=language,
        license=license,
        datasets=datasets,
        eval_results=list(results) or None,
    )
    card = ModelCard.from_template(
        data,
        template_path=str(TEMPLATE_PATH),
        model_name=format_cell(repo_id.split("/")[-1]),
        backbone=_backbone_name(model, backbone),
        config=model.config,
        stages=_stage_rows(model.config.training_stages or []),
        **_task_rows(model, codes, task_accuracies or {}),
        codebook=compute_code_statistics(codes, model.config.codebook_size),
        results=[
            [format_cell(r.dataset_name), format_cell(r.metric_name or r.metric_type), _result_value(r)]
            for r in results
        ],
        # In the snippets: Python literals.
        repo_literal=repr(repo_id),
        task_literal=_printable(repr(example_task)),
        code_literal=repr(_example_code(model, codes, example_task)),
        **_solver_facts(model, example_task),
    )
    write_text(path, str(card))
    return path


def _example_code(model: CTRPreTrainedModel, codes: torch.LongTensor, task: str) -> list[int]:
    """Return the code of the task in the snippets; of the first training task where it has none, but tuned vectors."""
    config = model.config
    if task in config.added_task_codes:
        return list(config.added_task_codes[task])
    return codes[config.task_names.index(task) if task in config.task_names else 0].tolist()


def _solver_facts(model: CTRPreTrainedModel, task: str) -> dict[str, str]:
    """Return how `TaskSolver` asks the task in a snippet; nothing where the model does not know what it needs for that."""
    details = model.task_details(task)
    if details.template is None or (details.answers is None and ANSWER_CHOICES in details.template):
        return {}
    try:
        fields = sorted(Template(task, details.template).input_fields)
    except TemplateError:  # of a file that somebody wrote
        return {}
    texts = ["one text", "another, longer text"]
    rows = texts if len(fields) == 1 else [dict.fromkeys(fields, text) for text in texts]
    return {
        "solver_method": "generate" if details.answers is None else "predict",
        "texts_literal": _printable(repr(rows)),
    }


def _backbone_name(model: CTRPreTrainedModel, backbone: str) -> str:
    """Return the language model's name: the last part of a local path, or the family where there is no name."""
    if is_repo_id(backbone):
        return f"[{backbone}](https://huggingface.co/{backbone})"
    name = Path(backbone).name
    return f"{format_cell(name)} (a local copy)" if name else f"a {model.config.text_config.model_type} language model"


def _stage_rows(stages: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Make a table of settings: a header with the stages, then a row per setting that any of them knows."""
    if not stages:
        return []
    rows = [["setting", *(f"stage {stage.get('stage')}" for stage in stages)]]
    for key, title in STAGE_ROWS.items():
        if any(key in stage for stage in stages):
            rows.append([title, *(format_cell(stage.get(key, "unknown")) for stage in stages)])
    return rows


def _task_rows(
    model: CTRPreTrainedModel, codes: torch.LongTensor, task_accuracies: Mapping[str, float]
) -> dict[str, list[list[str]]]:
    """Make tables of the training tasks and of the added ones, each a header and its rows; the latter empty if none."""
    config = model.config
    sizes = [stage.get("task_examples") for stage in config.training_stages or []]
    sizes = next((size for size in reversed(sizes) if size and len(size) == config.num_tasks), None)
    header = ["task", "code", *(["examples"] if sizes else []), *(["accuracy (%)"] if task_accuracies else [])]
    rows = [header]
    for i, (name, code) in enumerate(zip(config.task_names, codes.tolist(), strict=True)):
        row = [format_cell(name), format_cell(code)]
        if sizes:
            row.append(str(sizes[i]))
        if task_accuracies:
            row.append(f"{100 * task_accuracies[name]:.1f}" if name in task_accuracies else "")
        rows.append(row)
    added = [[format_cell(name), format_cell(code)] for name, code in config.added_task_codes.items()]
    added += [[format_cell(name), "none: tuned prompt vectors"] for name in config.tuned_tasks]
    return {"tasks": rows, "added_tasks": [["task", "code"], *added] if added else []}


def _result_value(result: EvalResult) -> str:
    """Write an accuracy in percent, anything else as it is."""
    return (
        f"{100 * result.metric_value:.1f}%" if result.metric_type == "accuracy" else format_cell(result.metric_value)
    )


def format_cell(value: Any) -> str:
    """Write `value` as plain text within one cell of a Markdown table."""
    text = " ".join(_printable(str(value)).split())
    for character in "\\`*|<[]":
        text = text.replace(character, "&lt;" if character == "<" else f"\\{character}")
    return text


def _printable(text: str) -> str:
    """Replace what no file can hold, half characters, by their escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
