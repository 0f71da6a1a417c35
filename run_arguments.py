"""The flags of run_ctr.py, besides those of training: model, tasks and searches."""

import math
from dataclasses import dataclass, field, fields
from typing import Any, get_type_hints

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from transformers import HfArgumentParser

from command_line.errors import FlagError, one_line
from command_line.settings_file import ENDINGS, check_settings, read_settings
from evaluation.settings import HeldOutSettings, TuningSettings
from search import SearchConfig
from trainers import CTRTrainingArguments


@dataclass
class ModelArguments:
    """The model to start from."""

    model_name_or_path: str = field(
        default=None, metadata={"help": "A CTR model or a plain seq2seq language model: a Hub name or a directory."}
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
    preprocessing_num_workers: int | None = field(default=None, metadata={"help": "Processes to tokenise with."})

    def __post_init__(self) -> None:
        counts = ("max_source_length", "max_target_length", "max_examples_per_dataset", "max_eval_samples")
        require_at_least(1, self, *counts, "preprocessing_num_workers")
        require_text(self, "train_tasks", "tasks", "templates_dir", "data_dir")
        if not 0 < self.mixing_temperature < math.inf:
            raise FlagError(
                f"`--mixing_temperature` must be a number greater than 0, but is {self.mixing_temperature}."
            )


@dataclass
class SearchArguments(SearchConfig, TuningSettings, HeldOutSettings):
    """Searches on the held-out tasks, their rivals, and how they are judged."""

    do_report: list[str] = field(
        default_factory=list,
        metadata={"help": "Only join the reports of these runs' output directories into one, in `output_dir`."},
    )

    def __post_init__(self) -> None:
        for settings in (SearchConfig, TuningSettings, HeldOutSettings):
            settings.__post_init__(self)

    @property
    def needs_labels(self) -> bool:
        """Whether anything looks at labeled examples."""
        return bool(super().needs_labels or self.tuning_methods)


Arguments = tuple[ModelArguments, TaskArguments, SearchArguments, CTRTrainingArguments]


def require_at_least(least: int, settings: Any, *names: str) -> None:
    """Raises a FlagError where one of these settings is less; None means a default."""
    for name in names:
        value = getattr(settings, name)
        if value is not None and value < least:
            raise FlagError(f"`--{name}` must be at least {least}, but is {value}.")


def require_text(settings: Any, *names: str) -> None:
    """Raises a FlagError where one of these settings is an empty text, or has one among several."""
    for name in names:
        value = getattr(settings, name)
        if any(not each.strip() for each in (value if isinstance(value, list) else [value]) if each is not None):
            raise FlagError(f"`--{name}` is empty: name something, or leave it out.")


class _Parser(HfArgumentParser):
    """Takes the fields of dataclasses as flags; what is wrong is a [`FlagError`], and no page of usage."""

    def error(self, message: str) -> None:
        raise FlagError(f"{message}; see `run_ctr.py --help`.")

    def parse(self, argv: list[str]) -> tuple[Any, ...]:
        """The dataclasses, filled."""
        given = vars(self.parse_args(argv))
        try:
            return tuple(
                kind(**{each.name: given[each.name] for each in fields(kind) if each.init})
                for kind in self.dataclass_types
            )
        except (ValueError, ImportError) as error:
            raise FlagError(one_line(error)) from error


def parse_arguments(argv: list[str]) -> Arguments:
    """Read flags, or a JSON or YAML file of them followed by flags that override it.

    Raises:
        FlagError: The file is no such file, a flag is unknown, has a wrong value or is needed and missing, or flags do
            not go together.
    """
    kinds = (ModelArguments, TaskArguments, SearchArguments, CTRTrainingArguments)
    parser = _Parser(kinds, allow_abbrev=False)
    if argv and argv[0].endswith(ENDINGS):
        path, *argv = argv
        types = {name: kind for each in kinds for name, kind in get_type_hints(each).items()}
        parser.set_defaults(**check_settings(path, read_settings(path), parser, types))
    arguments = parser.parse(argv)
    if not arguments[2].do_report:
        _check(*arguments)
    return arguments


def trains_everything(search: SearchArguments, training: CTRTrainingArguments, trains: bool) -> bool:
    """Whether the language model's own weights are updated, for which they must be in float32."""
    return (trains and training.stage == 2) or search.do_full_tuning


def _check(
    model: ModelArguments, tasks: TaskArguments, search: SearchArguments, training: CTRTrainingArguments
) -> None:
    """Raises a FlagError where flags are missing or do not go together, before anything is loaded."""
    if model.model_name_or_path is None:
        raise FlagError("Say which model to start from: `--model_name_or_path`.")
    if model.method == "t0" and training.do_train and training.stage != 2:
        raise FlagError("`--method t0` trains the whole language model, as stage 2 does: give `--stage 2`.")
    everything = "`--stage 2`" if training.do_train and training.stage == 2 else "`--do_full_tuning`"
    if trains_everything(search, training, training.do_train) and model.dtype in ("bfloat16", "float16"):
        raise FlagError(
            f"Weights in {model.dtype} lose the small updates of {everything}: give `--bf16 True` instead of `--dtype`, "
            "which computes in half precision and keeps them in float32."
        )
    if search.tuning_methods and training.fp16:
        raise FlagError(
            "`--fp16` loses the small gradients of tuning, which does not scale its losses: give `--bf16` or neither."
        )
    if model.method == "t0" and search.finds_codes:
        raise FlagError("`--method t0` has no codes to search: its counterpart is `--do_prompt_selection`.")
    if model.method == "t0" and tasks.tasks and not training.do_eval:
        raise FlagError("`--method t0` has nothing to do on held-out tasks without `--do_eval`.")
    if model.method == "ctr" and search.do_prompt_selection:
        raise FlagError("`--do_prompt_selection` chooses between prompts, which only `--method t0` has.")
    if search.do_code_tuning and not search.searches_with_labels:
        raise FlagError(
            "`--do_code_tuning` starts from the best training code, which `--do_bitwise_search` or "
            "`--do_population_search` finds: give one of them, too."
        )
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
    held_out = search.finds_codes or search.do_prompt_selection or search.tuning_methods
    if held_out and not tasks.tasks:
        raise FlagError("Searches and tuning are about held-out tasks: name them with `--tasks`.")
    if not training.do_train and not (tasks.tasks and (held_out or training.do_eval)):
        raise FlagError(
            "There is nothing to do: give `--do_train` with `--train_tasks`, or `--tasks` with a search such as "
            "`--do_bitwise_search`, or with `--do_eval`."
        )
    if search.tuning_methods and not training.do_eval:
        raise FlagError(f"`--do_{search.tuning_methods[0]}` is there to be compared with: give `--do_eval`, too.")
