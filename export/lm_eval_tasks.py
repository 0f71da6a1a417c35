"""Tasks of lm-evaluation-harness: rows as our templates render them, with the code written to them."""

import json
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml
from datasets import Dataset
from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from export.exported_tasks import ExportedTasks
from safe_files import write_text
from tasks import FeatureBuilder, Task

ROWS_MODULE = Path(__file__).parent / "templates" / "lm_eval_rows.py"


class TaskWriter:
    """Renders rows into contexts and choices whose tokens, as the harness makes them, are those of our protocol.

    Args:
        exported: Tasks of the exported model.
        tokenizer: Tokenizer of the exported model.
        config: Config of the exported model; the harness cuts what is longer than it says.
        builder: Makes our features; its tokenizer is the CTR model's.
    """

    def __init__(
        self,
        exported: ExportedTasks,
        tokenizer: PreTrainedTokenizerBase,
        config: PreTrainedConfig,
        builder: FeatureBuilder,
    ):
        self.exported, self.tokenizer, self.builder = exported, tokenizer, builder
        names = ("n_positions", "max_position_embeddings", "n_ctx")
        lengths = [getattr(config, name, None) for name in names]
        self.longest = next((length for length in lengths if length is not None), tokenizer.model_max_length)

    def make_rows(self, name: str, task: Task, rows: Dataset) -> Iterator[dict[str, Any]]:
        """Yield `row`, `context`, `choices` and `answer` of each row with a known answer.

        Args:
            name: Name of the exported task.
            task: Renders the rows.
            rows: Labeled rows.

        Raises:
            ValueError: The task has no answer choices, a row cannot be rendered or written such that its tokens stay the
                same, or no row has a known answer.
        """
        if not task.has_choices:
            raise ValueError(f"The task '{name}' has no answer choices, which the harness is to rank: leave it out.")
        before = self.exported.target_start if not self.builder.decoder_only else " "
        end = self.builder.tokenizer.eos_token
        for feature in self.builder.evaluation(task, rows, labeled_only=True):
            example = task.example(rows[feature["row"]], feature["row"], check_answer=False)
            choices = [f"{before}{choice}{end}" for choice in example.choices]
            shortened = self.builder.tokenizer.decode(feature["input_ids"], skip_special_tokens=True)
            for text in (example.input_text, shortened):
                context = self.exported.join(name, text)
                if all(
                    self._encode(context, choice) == (feature["input_ids"], ids)
                    for choice, ids in zip(choices, feature["choice_ids"], strict=True)
                ):
                    break
            else:
                raise ValueError(
                    f"Row {feature['row']} of '{name}' cannot be given to the harness as text: its tokens would be others. Where "
                    "it is a long one, raise `max_source_length` or `max_target_length`."
                )
            length = self.exported.code_length + len(feature["input_ids"]) + max(map(len, feature["choice_ids"]))
            if length > self.longest:
                raise ValueError(
                    f"Row {feature['row']} of '{name}' has {length} tokens, but the harness cuts off the beginning, and the "
                    f"code, of more than {self.longest}: lower `max_source_length`."
                )
            yield {"row": feature["row"], "context": context, "choices": choices, "answer": feature["answer"]}

    def _encode(self, context: str, choice: str) -> tuple[list[int], list[int]]:
        """Tokens of a context, without the code's, and of a choice, found as the harness finds them."""
        stripped = context.rstrip()  # what this takes away goes to the choice
        context, choice = stripped, context[len(stripped) :] + choice
        read = self.tokenizer(context, verbose=False)["input_ids"]
        if self.builder.decoder_only:
            ids = self.tokenizer(context + choice, verbose=False)["input_ids"][len(read) :]
        else:
            ids = self.tokenizer(choice, add_special_tokens=False, verbose=False)["input_ids"]
        return [i for i in read if i < self.exported.vocab_size], ids


def write_task(folder: Path, task_name: str, rows: Iterable[dict[str, Any]]) -> None:
    """Write a task's YAML, its rows, and what loads them.

    Args:
        folder: Folder of the harness's tasks.
        task_name: Name in the harness, also of the files.
        rows: What [`TaskWriter.make_rows`] gives.
    """
    lines = (json.dumps(row, ensure_ascii=False) for row in rows)
    write_text(folder / f"{task_name}.jsonl", "".join(f"{line}\n" for line in lines))
    shutil.copyfile(ROWS_MODULE, folder / "rows.py")
    settings = {
        "task": task_name,
        "dataset_kwargs": {"file": f"{task_name}.jsonl"},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "context",
        "doc_to_choice": "choices",
        "doc_to_target": "answer",
        "target_delimiter": "",
        "num_fewshot": 0,
        "metric_list": [{"metric": "acc"}],
        "metadata": {"version": 1.0},
    }
    # `!function` is the harness's own tag.
    text = "custom_dataset: !function rows.load_rows\n" + yaml.safe_dump(settings, sort_keys=False)
    write_text(folder / f"{task_name}.yaml", text)


def make_task_names(names: Iterable[str]) -> dict[str, str]:
    """Make names that the harness takes, by ours: `super_glue/rte/a` becomes `ctr_super_glue_rte_a`."""
    made: dict[str, str] = {}
    for name in names:
        plain = candidate = "ctr_" + re.sub(r"[^0-9A-Za-z]+", "_", name).strip("_")
        number = 2
        while candidate in made.values():
            candidate, number = f"{plain}_{number}", number + 1
        made[name] = candidate
    return made
