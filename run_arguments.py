"""The flags of run_ctr.py: dataclasses of settings, and which of them go together."""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from command_line.errors import FlagError, one_line
from command_line.flag_parser import FlagParser, require_at_least, require_text
from command_line.task_files import FileArguments
from evaluation.settings import HeldOutSettings, TuningSettings
from search import SearchConfig
from trainers import CTRTrainingArguments


@dataclass
class ModelArguments:
    """The model to start from."""

    model_name_or_path: str = field(
        default=None, metadata={"help": "A CTR model or a plain language model: a Hub name or a directory."}
    )
    method: str = field(
        default="ctr",
        metadata={
            "help": "`ctr`, or its baseline `t0`: the plain language model, trained on and asked with prompts (give "
            "`templates_dir` some).",
            "choices": ["ctr", "t0"],
        },
    )
    code_length: int = field(default=10, metadata={"help": "Integers per task code, for a new CTR model."})
    codebook_size: int = field(default=128, metadata={"help": "Values each of them may take, for a new CTR model."})
    code_position: str = field(
        default="prefix",
        metadata={
            "help": "Where a code's vectors stand in a new decoder-only CTR model: in front of the text, or behind it, so "
            "that a search reads each text once.",
            "choices": ["prefix", "suffix"],
        },
    )
    task_embedding_dim: int | None = field(default=None, metadata={"help": "Default: the language model's width."})
    code_dim: int | None = field(default=None, metadata={"help": "Default: the language model's width."})
    model_revision: str = field(default="main", metadata={"help": "Branch, tag or commit of a model on the Hub."})
    dtype: str = field(
        default="auto",
        metadata={
            "help": "Of the language model's weights (the codebook's are float32 always). `auto` is as they were saved, "
            "but float32 for stage 2 and full tuning; there `--bf16` computes in half precision.",
            "choices": ["auto", "float32", "bfloat16", "float16"],
        },
    )

    def __post_init__(self) -> None:
        require_at_least(1, self, "code_length", "task_embedding_dim", "code_dim")
        require_at_least(2, self, "codebook_size")
        require_text(self, "model_name_or_path", "model_revision")


@dataclass
class TaskArguments:
    """Tasks, their data, and how it is turned into examples."""

    train_tasks: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Training tasks in order of task id: names of data sets (all their templates), of tasks, of mixtures "
            "(t0, t0_held_out, t0_data, a YAML list of names) or of P3's subsets (P3/...)."
        },
    )
    tasks: list[str] = field(
        default_factory=list, metadata={"help": "Held-out tasks to search codes for and evaluate, named likewise."}
    )
    templates_dir: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Folders or files of templates; data sets that they have templates of are asked with these, all "
            "others with the shipped no-prompt ones. `prompted` names the shipped templates with prompts."
        },
    )
    data_dir: str | None = field(
        default=None, metadata={"help": "A folder with a folder per data set; goes before the Hub."}
    )
    max_source_length: int = field(default=384, metadata={"help": "Tokens; the context field of longer ones is cut."})
    max_target_length: int = field(default=32, metadata={"help": "Tokens."})
    max_examples_per_dataset: int = field(default=50_000, metadata={"help": "Cap on each training data set."})
    mixing: str = field(
        default="proportional",
        metadata={
            "help": "How training tasks share the examples.",
            "choices": ["proportional", "temperature", "equal"],
        },
    )
    mixing_temperature: float = field(default=2.0, metadata={"help": "With `mixing=temperature`."})
    streaming: bool = field(
        default=False,
        metadata={
            "help": "Read the rows of training tasks as they are needed and store nothing; needs `max_steps`. Examples "
            "are shuffled 10,000 at a time on each process."
        },
    )
    max_eval_samples: int | None = field(
        default=None,
        metadata={"help": "Evaluation rows of a data set, at most; drawn at random, the same ones in every run."},
    )
    preprocessing_num_workers: int | None = field(default=None, metadata={"help": "Processes to tokenize with."})

    def __post_init__(self) -> None:
        counts = ("max_source_length", "max_target_length", "max_examples_per_dataset", "max_eval_samples")
        require_at_least(1, self, *counts, "preprocessing_num_workers")
        require_text(self, "train_tasks", "tasks", "templates_dir", "data_dir")
        if not 0 < self.mixing_temperature < math.inf:
            raise FlagError(
                f"`--mixing_temperature` must be a number greater than 0, but is {self.mixing_temperature}."
            )


@dataclass
class ReportArguments:
    """Joining what earlier runs reported."""

    do_report: list[str] = field(
        default_factory=list,
        metadata={"help": "Only join the reports of these runs' output directories into one, in `output_dir`."},
    )


class Arguments(NamedTuple):
    """All flags. Those of searches and tuning are the settings that `evaluation` and `search` take."""

    model: ModelArguments
    tasks: TaskArguments
    files: FileArguments
    held_out: HeldOutSettings
    search: SearchConfig
    tuning: TuningSettings
    report: ReportArguments
    training: CTRTrainingArguments

    def trains_everything(self, trains: bool) -> bool:
        """Whether the language model's own weights are updated, for which they must be in float32.

        Args:
            trains: Whether there is a training, of this run or an earlier one in its folder.
        """
        return (trains and self.training.stage == 2) or self.tuning.do_full_tuning

    @property
    def predicts_own(self) -> bool:
        """Whether predictions are those of tasks that the model knows already: nothing is searched for them."""
        return self.training.do_predict and not self.has_methods

    @property
    def has_methods(self) -> bool:
        """Whether held-out tasks are searched or tuned."""
        return self.held_out.finds_codes or self.held_out.do_prompt_selection or bool(self.tuning.tuning_methods)


def make_parser() -> FlagParser:
    """Make the parser of all flags."""
    return FlagParser(*Arguments.__annotations__.values())


def parse_arguments(argv: list[str]) -> Arguments:
    """Read flags, or a JSON or YAML file of them followed by flags that override it.

    Raises:
        FlagError: The file is no such file, a flag is unknown, has a wrong value or is needed and missing, or flags do
            not go together.
    """
    arguments = Arguments(*make_parser().parse(argv))
    if not arguments.report.do_report:
        if arguments.model.model_name_or_path is None:
            raise FlagError("Say which model to start from: `--model_name_or_path`.")
        _check_method(arguments)
        _check_precision(arguments)
        _check_training(arguments)
        _check_work(arguments)
    return arguments


def _check_method(arguments: Arguments) -> None:
    """Raise a FlagError where something is asked for that the other method has."""
    model, tasks, held_out, training = arguments.model, arguments.tasks, arguments.held_out, arguments.training
    if model.method == "t0" and training.do_train and training.stage != 2:
        raise FlagError("`--method t0` trains the whole language model, as stage 2 does: give `--stage 2`.")
    if model.method == "t0" and held_out.finds_codes:
        raise FlagError("`--method t0` has no codes to search: its counterpart is `--do_prompt_selection`.")
    if model.method == "t0" and tasks.tasks and not training.do_eval:
        raise FlagError("`--method t0` has nothing to do on held-out tasks without `--do_eval`.")
    if model.method == "ctr" and held_out.do_prompt_selection:
        raise FlagError("`--do_prompt_selection` chooses between prompts, which only `--method t0` has.")
    if arguments.tuning.do_code_tuning and not held_out.searches_with_labels:
        raise FlagError(
            "`--do_code_tuning` starts from the best training code, which `--do_bitwise_search` or "
            "`--do_population_search` finds: give one of them, too."
        )


def _check_precision(arguments: Arguments) -> None:
    """Raise a FlagError where updates would be lost in rounding."""
    dtype, training = arguments.model.dtype, arguments.training
    if arguments.trains_everything(training.do_train) and dtype in ("bfloat16", "float16"):
        everything = "`--stage 2`" if training.do_train and training.stage == 2 else "`--do_full_tuning`"
        raise FlagError(
            f"Weights in {dtype} lose the small updates of {everything}: give `--bf16 True` instead of `--dtype`, "
            "which computes in half precision and keeps them in float32."
        )
    if arguments.tuning.tuning_methods and training.fp16:
        raise FlagError(
            "`--fp16` loses the small gradients of tuning, which does not scale its losses: give `--bf16` or neither."
        )


def _check_training(arguments: Arguments) -> None:
    """Raise a FlagError where training, or where it goes, is not told."""
    tasks, training = arguments.tasks, arguments.training
    if not training.output_dir.strip():
        raise FlagError("`--output_dir` is empty: name a folder.")
    if training.push_to_hub and training.hub_model_id is not None:
        try:
            validate_repo_id(training.hub_model_id)
        except HFValidationError as error:
            raise FlagError(f"`--hub_model_id` can be no name on the Hub: {one_line(error)}") from error
    if training.do_train and tasks.streaming and training.max_steps < 1:
        raise FlagError("`--streaming` does not know how many rows there are: give `--max_steps`, too.")
    if training.do_train and not tasks.train_tasks:
        raise FlagError("`--do_train` needs tasks to train on: name them with `--train_tasks`.")


def _check_work(arguments: Arguments) -> None:
    """Raise a FlagError where there is nothing to do, or nothing to do it with."""
    training, tuned = arguments.training, arguments.tuning.tuning_methods
    has_tasks = bool(arguments.tasks.tasks) or arguments.files.makes_task
    if arguments.has_methods and not has_tasks:
        raise FlagError(
            "Searches and tuning are about held-out tasks: name them with `--tasks`, or their rows with `--train_file`."
        )
    if not (training.do_train or training.do_predict or (has_tasks and (arguments.has_methods or training.do_eval))):
        raise FlagError(
            "There is nothing to do: give `--do_train` with `--train_tasks`, or `--tasks` or `--train_file` with a search "
            "such as `--do_bitwise_search`, or with `--do_eval`; or `--do_predict`."
        )
    if training.do_predict and arguments.model.method == "t0":
        raise FlagError("`--do_predict` answers with task codes, which `--method t0` does not have.")
    if arguments.predicts_own and training.do_eval:
        raise FlagError(
            "`--do_eval` judges what a search finds: give one, or leave it out to predict with known tasks."
        )
    if arguments.predicts_own and arguments.files.makes_task:
        raise FlagError("`--train_file` is to learn a task from: give a search, too, such as `--do_bitwise_search`.")
    if tuned:
        require_at_least(1, arguments.held_out, "num_shots")
        if not training.do_eval:
            raise FlagError(f"`--do_{tuned[0]}` is there to be compared with: give `--do_eval`, too.")
