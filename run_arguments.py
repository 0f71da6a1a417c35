"""The flags of run_ctr.py: dataclasses of settings, and which of them go together."""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

from command_line.errors import FlagError
from command_line.flag_checks import check_flags, check_output_dir
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
    parser = FlagParser(*Arguments.__annotations__.values())
    parser.set_defaults(output_dir="")  # of None, transformers makes a folder that nobody asked for
    return parser


def parse_arguments(argv: list[str]) -> Arguments:
    """Read flags, or a JSON or YAML file of them followed by flags that override it.

    Raises:
        FlagError: The file is no such file, a flag is unknown, has a wrong value or is needed and missing, or flags do
            not go together.
    """
    arguments = Arguments(*make_parser().parse(argv))
    if arguments.report.do_report:
        check_output_dir(arguments)
    else:
        check_flags(arguments)
    return arguments
