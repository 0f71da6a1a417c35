"""Train CTR models and find the codes of new tasks.

    python run_ctr.py examples/t0_data/ctr_stage1.yaml --data_dir DATA --model_name_or_path google/flan-t5-small
    python run_ctr.py --model_name_or_path google/t5-large-lm-adapt --train_tasks ag_news trec --stage 1 --do_train \
        --output_dir out/stage1
    python run_ctr.py --model_name_or_path out/stage2 --tasks super_glue/rte --do_bitwise_search --output_dir out/rte

Takes flags, or a JSON or YAML file of them, or a file followed by flags that override it. What goes wrong is said in one
line; with the environment variable TASK_CODES_DEBUG set it comes with its traceback.
"""

import logging
import sys
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed

from command_line.asked_tasks import AskedTasks
from command_line.checkpoints import load_model, load_tokenizer
from command_line.errors import run_command
from command_line.kept_arguments import keep_arguments
from command_line.logs import start_logging
from command_line.predictions import write_predictions
from command_line.questions import get_found_questions, get_own_questions
from command_line.training import TRAINING_IS_FINISHED, train
from evaluation.held_out import evaluate_held_out
from evaluation.joining import join_reports
from evaluation.score import Score
from evaluation.terminal import print_table
from modeling_ctr import CTRPreTrainedModel
from run_arguments import Arguments, parse_arguments
from tasks import FeatureBuilder, check_tokenizer
from trainers import CTRTrainingArguments
from trainers.hub import push_to_hub, save_for_hub
from trainers.model_card import make_eval_result

logger = logging.getLogger("run_ctr")


def main(argv: list[str] | None = None) -> None:
    """Run what the flags ask for: training, then searches and evaluation, then the report and the push."""
    arguments = parse_arguments(sys.argv[1:] if argv is None else argv)
    training_args = arguments.training
    start_logging(training_args.process_index == 0)
    set_seed(training_args.seed)
    output_dir = Path(training_args.output_dir)
    if arguments.report.do_report:
        print_table(join_reports(arguments.report.do_report, output_dir), output_dir / "report.md")
        return
    with training_args.main_process_first():
        keep_arguments(output_dir, *arguments)
    run(arguments, output_dir)


def run(arguments: Arguments, output_dir: Path) -> None:
    """Load tasks and model, then train, search and judge, and predict, as far as it is asked for."""
    task_args, training_args = arguments.tasks, arguments.training
    tasks = AskedTasks(arguments)
    tokenizer = load_tokenizer(arguments.model)
    # A training that an earlier run finished here is this run's as well, asked for again or not.
    trains = training_args.do_train or (output_dir / TRAINING_IS_FINISHED).is_file()
    dtype = arguments.model.dtype
    if dtype == "auto" and arguments.trains_everything(trains):
        dtype = "float32"
    model = load_model(arguments.model, tasks.training, trains, dtype)
    trained = model.config.task_names if arguments.model.method == "ctr" else [task.name for task in tasks.training]
    if known_already := set(trained) & {task.name for task in tasks.held_out}:
        raise ValueError(f"'{min(known_already)}' is a training task and cannot be a held-out task as well.")
    check_tokenizer(tokenizer, model.get_input_embeddings().num_embeddings, not model.config.is_encoder_decoder)
    builder = FeatureBuilder(
        tokenizer,
        task_args.max_source_length,
        task_args.max_target_length,
        task_args.preprocessing_num_workers,
        decoder_only=not model.config.is_encoder_decoder,
    )
    if trains:
        model = train(model, tasks.training, tasks.load_rows, builder, task_args, training_args)
    if tasks.held_out or training_args.do_predict:
        model = model.to(training_args.device)
        with mixed_precision(training_args):
            if tasks.held_out:
                search_and_judge(model, tasks, builder, arguments, output_dir)
            if training_args.do_predict:
                predict(model, tasks, builder, arguments, output_dir)


def search_and_judge(
    model: PreTrainedModel, tasks: AskedTasks, builder: FeatureBuilder, arguments: Arguments, output_dir: Path
) -> None:
    """Run the methods on the held-out tasks, report what they are worth, and save the model with what they found."""
    scores = evaluate_held_out(
        model,
        tasks.held_out,
        tasks.load_rows,
        builder,
        arguments.held_out,
        output_dir,
        search=arguments.search,
        tuning=arguments.tuning,
        do_eval=arguments.training.do_eval,
        max_eval_samples=arguments.tasks.max_eval_samples,
    )
    if arguments.training.process_index == 0:
        if scores:
            print_table(scores, output_dir / "report.md")
        if isinstance(model, CTRPreTrainedModel):
            splits = {task.dataset: tasks.load_rows(task).evaluation_split for task in tasks.held_out}
            share(model, builder.tokenizer, scores, splits, arguments.training)


def predict(
    model: CTRPreTrainedModel, tasks: AskedTasks, builder: FeatureBuilder, arguments: Arguments, output_dir: Path
) -> None:
    """Answer rows with what was found for the held-out tasks, or with the tasks that the model knows already."""
    if arguments.predicts_own:
        names = arguments.tasks.tasks
        questions = get_own_questions(model, names, tasks.known, tasks.load_rows, arguments.files)
    else:
        questions = get_found_questions(model, tasks.held_out, tasks.load_rows, builder, arguments, output_dir)
    logger.info(f"Predictions are in {write_predictions(model, builder, questions, output_dir)}")


def share(
    model: CTRPreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    scores: list[Score],
    splits: dict[str, str],
    args: CTRTrainingArguments,
) -> None:
    """Save the model with the codes found for held-out tasks and what they scored on these splits, and push it where
    asked to."""
    results = [
        make_eval_result(f"{s.task}, {s.template}", s.accuracy, s.method, dataset=s.task, split=splits[s.task])
        for s in scores
        if s.accuracy is not None
    ]
    save_for_hub(model, tokenizer, args.output_dir, repo_id=args.hub_model_id, results=results)
    if args.push_to_hub:
        push_to_hub(
            model,
            tokenizer,
            args.hub_model_id or Path(args.output_dir).resolve().name,
            private=args.hub_private_repo,
            token=args.hub_token,
            results=results,
        )


def mixed_precision(args: CTRTrainingArguments) -> torch.autocast:
    """The precision of `--bf16` or `--fp16` for searches, evaluation and tuning, as the Trainer has it for training."""
    half = torch.bfloat16 if args.bf16 else torch.float16 if args.fp16 else None
    # Cached copies of the weights would outlive their change by tuning.
    return torch.autocast(args.device.type, half, enabled=half is not None, cache_enabled=False)


if __name__ == "__main__":
    sys.exit(run_command(main))
