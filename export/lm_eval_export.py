"""Write a CTR model and its tasks for lm-evaluation-harness: all of it, or nothing."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from export.lm_eval_model import MASK_NAME, check_same_probabilities, needs_mask, untie, write_mask
from export.lm_eval_tasks import TaskWriter, make_task_names, write_task
from export.loading import load_parts, select_names
from export.plain_checkpoint import make_parts, write_parts
from export.whole_folder import check_new, write_whole
from modeling_ctr import CTRPreTrainedModel
from modeling_ctr.model_modes import evaluating
from tasks import FeatureBuilder, Task

TASKS_FOLDER = "lm_eval"


@dataclass(frozen=True)
class LmEvalExport:
    """What was written for lm-evaluation-harness.

    Args:
        folder: The exported model; its subfolder `lm_eval` holds the tasks.
        task_names: Names of the tasks in the harness, by ours.
        masked: Whether an adapter takes code tokens away.
    """

    folder: Path
    task_names: dict[str, str]
    masked: bool

    @property
    def model_args(self) -> str:
        """The harness's `--model_args`."""
        mask = f",peft={self.folder / TASKS_FOLDER / MASK_NAME},tie_word_embeddings=False" if self.masked else ""
        return f"pretrained={self.folder}{mask}"

    @property
    def command(self) -> str:
        """The command that runs the tasks."""
        return (
            f"lm_eval --model hf --model_args {self.model_args} --include_path {self.folder / TASKS_FOLDER} "
            f"--tasks {','.join(self.task_names.values())}"
        )


def export_to_lm_eval(
    model: CTRPreTrainedModel | str | os.PathLike,
    folder: str | os.PathLike,
    questions: Mapping[str, tuple[Task, Dataset]],
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    max_source_length: int = 384,
    max_target_length: int = 32,
    **hub_options: Any,
) -> LmEvalExport:
    """Write a plain checkpoint as [`export_model`] does, and beside it tasks whose rows carry their code as text.

    The harness then finds the accuracy that rank classification finds here: contexts and choices are rendered by our
    templates, end tokens are written out, and code tokens have no share of the probabilities.

    Args:
        model: CTR model, or its folder or name on the Hub.
        folder: Folder to make.
        questions: Name of a task of the model: the task as it is asked, and labeled rows.
        tokenizer: Tokenizer of a model that is given as such; otherwise the checkpoint's.
        max_source_length: Greatest number of tokens of an input, where the model's task has none of its own.
        max_target_length: Greatest number of tokens of an answer, likewise.
        **hub_options: `token`, `revision` and `cache_dir` of a model on the Hub.

    Raises:
        OSError: The model cannot be read, or the folder not be written.
        ValueError: The folder exists, a task is unknown or has no answer choices, a row cannot be written as text, or the
            model cannot be exported.
    """
    folder = check_new(folder)
    model, tokenizer = load_parts(model, tokenizer, **hub_options)
    names = select_names(model, list(questions))
    plain, prefix_tokenizer, exported = make_parts(model, tokenizer, names)
    masked = needs_mask(plain)
    if masked:
        plain = untie(plain)
    task_names = make_task_names(names)
    builder = FeatureBuilder(
        tokenizer, max_source_length, max_target_length, decoder_only=not model.config.is_encoder_decoder
    )

    def write(target: Path) -> None:
        tasks_folder = target / TASKS_FOLDER
        tasks_folder.mkdir()
        for name in names:
            details = model.task_details(name)
            own_builder = builder.with_lengths(details.max_source_length, details.max_target_length)
            writer = TaskWriter(exported, prefix_tokenizer, plain.config, own_builder)
            write_task(tasks_folder, task_names[name], writer.make_rows(name, *questions[name]))
        write_parts(target, folder.resolve().name, model, plain, prefix_tokenizer, exported)
        mask = tasks_folder / MASK_NAME if masked else None
        if mask is not None:
            write_mask(plain, exported.vocab_size, mask)
        with evaluating(model):
            check_same_probabilities(model, tokenizer, type(plain), prefix_tokenizer, exported, target, mask)

    write_whole(folder, write)
    return LmEvalExport(folder, task_names, masked)
