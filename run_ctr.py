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
from transformers import PreTrainedTokenizerBase, set_seed

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
from run_arguments import parse_arguments
from tasks import (
    SHIPPED_TEMPLATES,
    FeatureBuilder,
    SplitRows,
    Task,
    check_tokenizer,
    load_rows,
    load_tasks,
    select_tasks,
)
from trainers import CTRTrainingArguments
from trainers.hub import push_to_hub, save_for_hub
from trainers.model_card import make_eval_result

logger = logging.getLogger("run_ctr")


def main(argv: list[str] | None = None) -> None:
    """Run what the flags ask for: training, then searches and evaluation, then the report and the push."""
    arguments = parse_arguments(sys.argv[1:] if argv is None else argv)
    model_args, task_args, training_args = arguments.model, arguments.tasks, arguments.training
    start_logging(training_args.process_index == 0)
    set_seed(training_args.seed)
    output_dir = Path(training_args.output_dir)
    if arguments.report.do_report:
        print_table(join_reports(arguments.report.do_report, output_dir), output_dir / "report.md")
        return
    with training_args.main_process_first():
        keep_arguments(output_dir, *arguments)

    loaded: dict[str, SplitRows] = {}

    def rows_of(task: Task) -> SplitRows:
        if task.dataset not in loaded:
            loaded[task.dataset] = load_rows(task.dataset, task.source, task_args.data_dir)
        return loaded[task.dataset]

    known = load_tasks(SHIPPED_TEMPLATES, *task_args.templates_dir)
    train_tasks = select_tasks(known, task_args.train_tasks, task_args.data_dir)
    names = [] if arguments.predicts_own else task_args.tasks
    held_out = select_tasks(known, names, task_args.data_dir, held_out=True)
    if arguments.files.makes_task:
        task, loaded_rows = arguments.files.load_task()
        loaded[task.dataset] = loaded_rows
        held_out.append(task)
    tokenizer = load_tokenizer(model_args)
    # A training that an earlier run finished here is this run's as well, asked for again or not.
    trains = training_args.do_train or (output_dir / TRAINING_IS_FINISHED).is_file()
    dtype = model_args.dtype
    if dtype == "auto" and arguments.trains_everything(trains):
        dtype = "float32"
    model = load_model(model_args, train_tasks, trains, dtype)
    trained = model.config.task_names if model_args.method == "ctr" else [task.name for task in train_tasks]
    if known_already := set(trained) & {task.name for task in held_out}:
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
        model = train(model, train_tasks, rows_of, builder, task_args, training_args)
    if held_out:
        model = model.to(training_args.device)
        with mixed_precision(training_args):
            scores = evaluate_held_out(
                model,
                held_out,
                rows_of,
                builder,
                arguments.held_out,
                output_dir,
                search=arguments.search,
                tuning=arguments.tuning,
                do_eval=training_args.do_eval,
                max_eval_samples=task_args.max_eval_samples,
            )
        if training_args.process_index == 0:
            if scores:
                print_table(scores, output_dir / "report.md")
            if isinstance(model, CTRPreTrainedModel):
                share(model, tokenizer, scores, training_args)
    if training_args.do_predict:
        model = model.to(training_args.device)
        if arguments.predicts_own:
            questions = get_own_questions(model, task_args.tasks, known, rows_of, arguments.files)
        else:
            questions = get_found_questions(model, held_out, rows_of, builder, arguments, output_dir)
        with mixed_precision(training_args):
            logger.info(f"Predictions are in {write_predictions(model, builder, questions, output_dir)}")


def share(
    model: CTRPreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    scores: list[Score],
    args: CTRTrainingArguments,
) -> None:
    """Save the model with the codes found for held-out tasks and what they scored, and push it where asked to."""
    results = [
        make_eval_result(f"{s.task}, {s.template}", s.accuracy, s.method, dataset=s.task)
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
