"""Which flags go together, and which say nothing without another, told before anything is loaded."""

from typing import TYPE_CHECKING

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from command_line.errors import FlagError, one_line
from command_line.flag_parser import require_at_least
from evaluation.settings import KEPT_TUNING

if TYPE_CHECKING:
    from run_arguments import Arguments


def check_flags(arguments: "Arguments") -> None:
    """Check flags that are each valid alone.

    Raises:
        FlagError: One is missing, or some do not go together.
    """
    if arguments.model.model_name_or_path is None:
        raise FlagError("Say which model to start from: `--model_name_or_path`.")
    check_output_dir(arguments)
    _check_method(arguments)
    _check_precision(arguments)
    _check_training(arguments)
    _check_work(arguments)


def check_output_dir(arguments: "Arguments") -> None:
    """Raise a FlagError where no folder is named for the results."""
    if not arguments.training.output_dir.strip():
        raise FlagError("`--output_dir` is empty or missing: name a folder for the results.")


def _check_method(arguments: "Arguments") -> None:
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


def _check_precision(arguments: "Arguments") -> None:
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


def _check_training(arguments: "Arguments") -> None:
    """Raise a FlagError where it is not told what to train on, or where to push it."""
    tasks, training = arguments.tasks, arguments.training
    if training.push_to_hub and training.hub_model_id is not None:
        try:
            validate_repo_id(training.hub_model_id)
        except HFValidationError as error:
            raise FlagError(f"`--hub_model_id` can be no name on the Hub: {one_line(error)}") from error
    if training.do_train and tasks.streaming and training.max_steps < 1:
        raise FlagError("`--streaming` does not know how many rows there are: give `--max_steps`, too.")
    if training.do_train and not tasks.train_tasks:
        raise FlagError("`--do_train` needs tasks to train on: name them with `--train_tasks`.")


def _check_work(arguments: "Arguments") -> None:
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
    if training.do_predict and tuned and not (arguments.held_out.finds_codes or KEPT_TUNING & set(tuned)):
        raise FlagError(
            f"`--do_predict` has nothing to answer with, since `--do_{tuned[0]}` keeps no weights: give another method, too, "
            "such as `--do_bitwise_search`."
        )
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
