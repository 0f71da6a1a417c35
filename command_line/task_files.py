"""A task from files alone, as flags name them: texts in some columns, labels in another, no template file."""

from dataclasses import dataclass, field
from pathlib import Path

from datasets import Dataset

from command_line.errors import FlagError
from command_line.flag_parser import require_text
from tasks import SplitRows, Task
from tasks.file_task import load_file_rows, task_from_files
from tasks.splits import TEST, TRAIN, VALIDATION


@dataclass
class FileArguments:
    """A held-out task from files alone (CSV, TSV, JSON, JSON lines or Parquet), and rows to predict."""

    train_file: str | None = field(
        default=None,
        metadata={"help": "Rows of a task to draw few-shot and unlabeled examples from; needs no template file."},
    )
    validation_file: str | None = field(
        default=None,
        metadata={"help": "Rows to evaluate on. Default: labeled rows of `test_file`, else of `train_file`."},
    )
    test_file: str | None = field(
        default=None, metadata={"help": "Rows to predict with `do_predict`, with or without labels."}
    )
    text_column: list[str] = field(
        default_factory=list,
        metadata={"help": "Columns of the input, in order. Default: `text`, or the only column that is no label."},
    )
    label_column: str | None = field(
        default=None, metadata={"help": "Column of the labels. Default: `label`, where there is one."}
    )
    answers: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Words that stand for the labels: in the order of the labels (numbers by size, texts by the alphabet), "
            "or each as label=word. Default: the labels themselves. Without labels, the words to choose between."
        },
    )
    free_form: bool = field(
        default=False, metadata={"help": "The label column holds texts to write, and there is no choice."}
    )
    separator: str | None = field(
        default=None, metadata={"help": "What stands between two fields of CSV files. Default: found out."}
    )
    encoding: str | None = field(
        default=None,
        metadata={"help": "Encoding of text files, such as cp1252. Default: UTF-8, or what their first bytes say."},
    )
    task_name: str | None = field(
        default=None,
        metadata={"help": "Name of the task of these files. Default: that of the file, or of its folder."},
    )

    def __post_init__(self) -> None:
        require_text(self, "train_file", "validation_file", "test_file", "text_column", "label_column", "answers")
        require_text(self, "task_name")
        if not self.makes_task:
            for name in ("text_column", "answers", "free_form", "task_name"):
                if getattr(self, name):
                    raise FlagError(f"`--{name}` is about the rows of a task: name them with `--train_file`.")
        if self.free_form and self.answers:
            raise FlagError("`--free_form` has no answers to choose from: leave out `--answers`.")

    @property
    def makes_task(self) -> bool:
        """Whether there are files to make a task of, beyond rows to predict."""
        return self.train_file is not None or self.validation_file is not None

    def load_task(self) -> tuple[Task, SplitRows]:
        """Make the task, and load its rows.

        Raises:
            DataError: A file cannot be read, or its columns or labels are not as the flags say.
        """
        answers: list[str] | dict[str, str] | None = self.answers or None
        if self.answers and all("=" in answer for answer in self.answers):
            answers = dict(answer.split("=", 1) for answer in self.answers)
        return task_from_files(
            self.train_file,
            self.validation_file,
            self.test_file,
            text_columns=self.text_column or None,
            label_column=self.label_column,
            answers=answers,
            free_form=self.free_form,
            sep=self.separator,
            encoding=self.encoding,
            name=self.task_name or self._get_default_name(),
        )

    def load_rows_to_predict(self, task: Task) -> Dataset | None:
        """Load the test file's rows for a task, of these files or any other; None where there is no test file.

        Raises:
            DataError: The file cannot be read, or lacks a column of the task's texts.
        """
        if self.test_file is None:
            return None
        return load_file_rows(
            task, self.test_file, label_column=self.label_column, sep=self.separator, encoding=self.encoding
        )

    def _get_default_name(self) -> str:
        path = Path(self.train_file or self.validation_file or "").resolve()
        name = path.name.partition(".")[0]
        return path.parent.name or name if name.lower() in (*TRAIN, *VALIDATION, *TEST) else name
