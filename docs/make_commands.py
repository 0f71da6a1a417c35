"""Writes docs/commands.md from the flags' own definitions: `python docs/make_commands.py`."""

from dataclasses import MISSING, Field, fields
from pathlib import Path

from transformers import Seq2SeqTrainingArguments

from command_line.task_files import FileArguments
from evaluation.settings import HeldOutSettings, TuningSettings
from run_arguments import ModelArguments, ReportArguments, TaskArguments
from search import SearchConfig
from trainers import CTRTrainingArguments

HEADER = """# The flags of `run_ctr.py`

Made from the code by `python docs/make_commands.py`. A JSON or YAML file may stand in front of the flags and hold any of
them; flags override it. Lists are given as `--tasks a b c`, in files as lists.

What goes wrong is said in one line on stderr, with exit code 2 for wrong flags and 1 for all else. The environment
variable `TASK_CODES_DEBUG=1` shows the traceback as well; what is a fault of the program always has one.
"""


def commands() -> str:
    """The page as Markdown."""
    inherited = {field.name: field for field in fields(Seq2SeqTrainingArguments)}
    own = [
        f
        for f in fields(CTRTrainingArguments)
        if f.name not in inherited or _default(f) != _default(inherited[f.name])
    ]
    parts = [HEADER]
    for title, group in (
        ("Model", fields(ModelArguments)),
        ("Tasks and data", fields(TaskArguments)),
        ("A task from files, and rows to predict", fields(FileArguments)),
        ("Held-out tasks", fields(HeldOutSettings)),
        ("Searches", fields(SearchConfig)),
        ("Tuning, to compare with", fields(TuningSettings)),
        ("Reports", fields(ReportArguments)),
        ("Training", own),
    ):
        parts += [f"## {title}\n", "| flag | default | |", "|---|---|---|", *map(_row, group), ""]
    parts.append(
        "All other flags are those of transformers' `Seq2SeqTrainingArguments`, such as `--output_dir`, `--do_train`, "
        "`--do_eval`, `--max_steps`, `--per_device_train_batch_size`, `--bf16`, `--eval_strategy`, `--push_to_hub`."
    )
    return "\n".join(parts) + "\n"


def _default(field: Field) -> object:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _row(field: Field) -> str:
    default = _default(field)
    shown = "" if default is None or default == [] else f"`{default}`"
    choices = field.metadata.get("choices")
    text = field.metadata["help"] + (f" One of {', '.join(f'`{c}`' for c in choices)}." if choices else "")
    return f"| `--{field.name}` | {shown} | {text.replace('|', chr(92) + '|')} |"


if __name__ == "__main__":
    Path(__file__).with_name("commands.md").write_text(commands(), encoding="utf-8")
