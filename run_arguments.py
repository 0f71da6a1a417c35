"""The flags of run_ctr.py, besides those of training: model, tasks and searches."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import yaml
from transformers import HfArgumentParser

from evaluation.tuning_methods import CODE_TUNING, METHODS
from search import OBJECTIVES
from trainers import CTRTrainingArguments

# It names local folders: pushes to the Hub leave out what begins with "_".
ARGUMENTS_NAME = "_arguments.json"


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
            "but float32 for stage 2; there `--bf16` computes in half precision.",
            "choices": ["auto", "float32", "bfloat16", "float16"],
        },
    )


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
    max_eval_samples: int | None = field(default=None, metadata={"help": "Evaluate on the first so many rows only."})
    preprocessing_num_workers: int | None = field(default=None, metadata={"help": "Processes to tokenise with."})


@dataclass
class SearchArguments:
    """Searches on the held-out tasks, their rivals, and how they are judged."""

    do_code_ensemble: bool = field(default=False, metadata={"help": "Find codes without labels."})
    do_refined_ensemble: bool = field(
        default=False,
        metadata={"help": "Improve Code Ensemble's code by Bitwise Search for the vote, without labels."},
    )
    do_bitwise_search: bool = field(default=False, metadata={"help": "Find codes with a few labels."})
    do_population_search: bool = field(
        default=False, metadata={"help": "Find codes with a few labels by crossing good ones."}
    )
    num_shots: int = field(default=32, metadata={"help": "Labelled examples of a held-out task."})
    num_unlabelled: int = field(default=64, metadata={"help": "Unlabelled examples that Code Ensemble votes on."})
    num_codes: int = field(default=60, metadata={"help": "Codes that Code Ensemble keeps for the vote."})
    objective: str | None = field(
        default=None,
        metadata={
            "help": "Of Bitwise Search; default: normalized_loss. The paper's is loss.",
            "choices": list(OBJECTIVES),
        },
    )
    search_epochs: int = field(
        default=20, metadata={"help": "Bitwise Search takes at most epochs x code length steps."}
    )
    search_order: str = field(
        default="random",
        metadata={
            "help": "In which Bitwise Search tries positions; with `gradient`, single changes that the loss's gradient "
            "promises most of.",
            "choices": ["random", "cyclic", "gradient"],
        },
    )
    num_starts: int = field(
        default=1, metadata={"help": "Bitwise Search starts from the so many best training codes."}
    )
    templates_per_dataset: int | None = field(
        default=None,
        metadata={
            "help": "Of each held-out data set, keep only so many of the templates named: those under which the raw "
            "language model's answers to unlabelled inputs vary most. Looks at no label."
        },
    )
    max_evaluations: int | None = field(default=None, metadata={"help": "A search ends after so many codes."})
    max_search_seconds: float | None = field(default=None, metadata={"help": "A search ends after so many seconds."})
    race: float | None = field(
        default=None,
        metadata={
            "help": "Drop codes early that are unlikely to win, at this error rate. Default: only those that cannot."
        },
    )
    batch_calibration: bool = field(
        default=False, metadata={"help": "Report the found codes' answers after batch calibration as well."}
    )
    few_shot_seeds: list[int] = field(
        default_factory=lambda: [42], metadata={"help": "The searches are run once for each seed."}
    )
    do_prompt_selection: bool = field(
        default=False,
        metadata={
            "help": "With `method=t0`: choose a prompt by few labels (least loss), and by a vote without labels (ZPS)."
        },
    )
    tuning: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Rivals that tune on the few-shot examples: prompts that start from words or from the best training code, "
            "LoRA, the whole language model.",
            "choices": list(METHODS),
        },
    )
    tuning_steps: int = field(default=100, metadata={"help": "Gradient steps of these, at most."})
    protocol: str = field(
        default="clean",
        metadata={
            "help": "`original` evaluates as the authors did: on the first 1,000 rows, WSC's without repeated inputs, "
            "with few-shot examples rounded up to equally many of each class.",
            "choices": ["clean", "original"],
        },
    )
    length_normalization: bool = field(
        default=False, metadata={"help": "Rank answer choices by log-probability per token, not by the sum."}
    )
    do_report: list[str] = field(
        default_factory=list,
        metadata={"help": "Only join the reports of these runs' output directories into one, in `output_dir`."},
    )


Arguments = tuple[ModelArguments, TaskArguments, SearchArguments, CTRTrainingArguments]


def parse_arguments(argv: list[str]) -> Arguments:
    """Flags, or a JSON or YAML file of them followed by flags that override it.

    Raises:
        ValueError: The file has an unknown key, or a flag that is always needed is missing.
    """
    parser = HfArgumentParser((ModelArguments, TaskArguments, SearchArguments, CTRTrainingArguments))
    if argv and argv[0].endswith((".json", ".yaml", ".yml")):
        path, *argv = argv
        settings = yaml.safe_load(Path(path).read_text(encoding="utf-8"))  # JSON is YAML
        known = {action.dest for action in parser._actions}
        if unknown := sorted(set(settings) - known):
            raise ValueError(f"{path} has the unknown key(s) {', '.join(unknown)}; see `run_ctr.py --help`.")
        parser.set_defaults(**settings)
    arguments = parser.parse_args_into_dataclasses(argv)
    model, tasks, search, training = arguments
    if search.do_report:
        return arguments
    if model.model_name_or_path is None:
        raise ValueError("Say which model to start from: `--model_name_or_path`.")
    if model.method == "t0" and training.do_train and training.stage != 2:
        raise ValueError("`--method t0` trains the whole language model, as stage 2 does: give `--stage 2`.")
    if training.do_train and training.stage == 2 and model.dtype in ("bfloat16", "float16"):
        raise ValueError(
            f"Weights in {model.dtype} lose the small updates of `--stage 2`: give `--bf16 True` instead of `--dtype`, "
            "which computes in half precision and keeps them in float32."
        )
    if model.method == "t0" and any(
        (search.do_code_ensemble, search.do_refined_ensemble, search.do_bitwise_search, search.do_population_search)
    ):
        raise ValueError("`--method t0` has no codes to search: its counterpart is `--do_prompt_selection`.")
    if model.method == "t0" and tasks.tasks and not training.do_eval:
        raise ValueError("`--method t0` has nothing to do on held-out tasks without `--do_eval`.")
    if model.method == "ctr" and search.do_prompt_selection:
        raise ValueError("`--do_prompt_selection` chooses between prompts, which only `--method t0` has.")
    if CODE_TUNING in search.tuning and not (search.do_bitwise_search or search.do_population_search):
        raise ValueError(
            f"`--tuning {CODE_TUNING}` starts from the best training code, which `--do_bitwise_search` or "
            "`--do_population_search` finds: give one of them, too."
        )
    return arguments


# What may differ between two runs in one `output_dir`: what is done, not how. The number of processes is free, so what
# keeps the examples of a step with another number is, too.
FREE_ARGUMENTS = {
    "do_train", "do_eval", "do_predict", "do_code_ensemble", "do_refined_ensemble",
    "do_bitwise_search", "do_population_search", "do_prompt_selection", "batch_calibration", "push_to_hub", "hub_model_id",
    "hub_token", "hub_private_repo", "resume_from_checkpoint", "preprocessing_num_workers", "dataloader_num_workers",
    "logging_steps", "report_to", "disable_tqdm", "run_name", "save_steps", "save_total_limit",
    "per_device_train_batch_size", "per_device_train_tokens", "gradient_accumulation_steps",
}  # fmt: skip


def keep_arguments(output_dir: Path, *arguments: object) -> None:
    """Write all arguments into `output_dir`, and refuse it where it holds a run with others.

    Raises:
        ValueError: Some argument was another in the run whose results are there.
    """
    now: dict[str, object] = {}
    for part in arguments:
        now |= part.to_dict() if isinstance(part, CTRTrainingArguments) else asdict(part)
    path = output_dir / ARGUMENTS_NAME
    if path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))
        now_as_json = json.loads(json.dumps(now, default=str))
        for name in sorted(set(before) & set(now) - FREE_ARGUMENTS):
            if before[name] != now_as_json[name]:
                raise ValueError(
                    f"'{output_dir}' holds a run with `{name}` {before[name]!r}, not {now_as_json[name]!r}: choose "
                    "another `output_dir`, or delete that one to start anew."
                )
    output_dir.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(now, indent=1, default=str), encoding="utf-8")
