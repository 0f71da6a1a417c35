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
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from datasets import Dataset, IterableDataset, concatenate_datasets
from transformers import (
    AutoConfig,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    set_seed,
)

from command_line.errors import run_command
from command_line.kept_arguments import keep_arguments
from evaluation.held_out import HeldOutSettings, evaluate_held_out
from evaluation.joining import join_reports
from evaluation.protocol import Draws
from evaluation.score import Score
from evaluation.terminal import print_table
from evaluation.tuning_methods import TuningSettings
from modeling_ctr import CTRForConditionalGeneration
from modeling_ctr.hub_errors import loading_errors
from run_arguments import (
    ModelArguments,
    SearchArguments,
    TaskArguments,
    parse_arguments,
    trains_everything,
)
from tasks import (
    SHIPPED_TEMPLATES,
    DataError,
    FeatureBuilder,
    SplitRows,
    Task,
    check_tokenizer,
    load_rows,
    load_tasks,
    sample_rows,
    select_tasks,
    streaming_mixture,
    training_mixture,
)
from trainers import CTRTrainer, CTRTrainingArguments, MultitaskTrainer
from trainers.checkpoints import last_whole_checkpoint
from trainers.hub import push_to_hub, save_for_hub
from trainers.model_card import eval_result
from trainers.saving_aside import finish_moving
from trainers.training_record import check_record, is_made_longer

logger = logging.getLogger("run_ctr")

TRAINING_IS_FINISHED = "train_results.json"  # written once the model is


def main(argv: list[str] | None = None) -> None:
    """Run what the flags ask for: training, then searches and evaluation, then the report and the push."""
    model_args, task_args, search_args, training_args = parse_arguments(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        datefmt="%H:%M:%S",
        level=logging.INFO if training_args.process_index == 0 else logging.WARNING,
    )
    set_seed(training_args.seed)
    output_dir = Path(training_args.output_dir)
    if search_args.do_report:
        print_table(join_reports(search_args.do_report, output_dir), output_dir / "report.md")
        return
    with training_args.main_process_first():
        keep_arguments(output_dir, model_args, task_args, search_args, training_args)

    known = load_tasks(SHIPPED_TEMPLATES, *task_args.templates_dir)
    train_tasks = select_tasks(known, task_args.train_tasks, task_args.data_dir)
    held_out = select_tasks(known, task_args.tasks, task_args.data_dir, held_out=True)
    with loading_errors(model_args.model_name_or_path):
        tokenizer = AutoTokenizer.from_pretrained(model_args.model_name_or_path, revision=model_args.model_revision)
    # A training that an earlier run finished here is this run's as well, asked for again or not.
    trains = training_args.do_train or (output_dir / TRAINING_IS_FINISHED).is_file()
    dtype = model_args.dtype
    if dtype == "auto" and trains_everything(search_args, training_args, trains):
        dtype = "float32"
    model = load_model(model_args, train_tasks, trains, dtype)
    trained = model.config.task_names if model_args.method == "ctr" else [task.name for task in train_tasks]
    if known_already := set(trained) & {task.name for task in held_out}:
        raise ValueError(f"'{min(known_already)}' is a training task and cannot be a held-out task as well.")
    check_tokenizer(tokenizer, model.get_input_embeddings().num_embeddings)
    builder = FeatureBuilder(
        tokenizer,
        task_args.max_source_length,
        task_args.max_target_length,
        task_args.preprocessing_num_workers,
    )

    loaded: dict[str, SplitRows] = {}

    def rows_of(task: Task) -> SplitRows:
        if task.dataset not in loaded:
            loaded[task.dataset] = load_rows(task.dataset, task.source, task_args.data_dir)
        return loaded[task.dataset]

    if trains:
        model = train(model, train_tasks, rows_of, builder, task_args, training_args)
    if held_out:
        settings = held_out_settings(search_args, task_args, training_args.do_eval)
        model = model.to(training_args.device)
        with mixed_precision(training_args):
            scores = evaluate_held_out(model, held_out, rows_of, builder, settings, output_dir)
        if training_args.process_index == 0:
            if scores:
                print_table(scores, output_dir / "report.md")
            if isinstance(model, CTRForConditionalGeneration):
                share(model, tokenizer, scores, training_args)


def share(
    model: CTRForConditionalGeneration,
    tokenizer: PreTrainedTokenizerBase,
    scores: list[Score],
    args: CTRTrainingArguments,
) -> None:
    """Save the model with the codes found for held-out tasks and what they scored, and push it where asked to."""
    results = [
        eval_result(f"{s.task}, {s.template}", s.accuracy, s.method, dataset=s.task)
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


def load_model(args: ModelArguments, train_tasks: list[Task], trains: bool, dtype: str) -> PreTrainedModel:
    """With the method `ctr` a CTR model as it is, or a new one to be trained around a plain language model; with `t0`
    the latter.

    Raises:
        ValueError: A CTR model was made for other training tasks, or one is needed or given where it should not be.
    """
    config = AutoConfig.from_pretrained(args.model_name_or_path, revision=args.model_revision)
    names = [task.name for task in train_tasks]
    weights = {"revision": args.model_revision, "dtype": dtype}
    if args.method == "t0":
        if config.model_type == "ctr":
            raise ValueError(
                f"'{args.model_name_or_path}' is a CTR model; `--method t0` takes the plain language model instead."
            )
        if names and not trains:
            raise ValueError("`--train_tasks` are named, but nothing was trained here: give `--do_train`, too.")
        return AutoModelForSeq2SeqLM.from_pretrained(args.model_name_or_path, **weights)
    if config.model_type == "ctr":
        if names and names != config.task_names:
            raise ValueError(
                f"'{args.model_name_or_path}' was trained on {config.num_tasks} tasks, which are not the "
                f"{len(names)} given: give the same training tasks in the same order, or start from a language model."
            )
        return CTRForConditionalGeneration.from_pretrained(args.model_name_or_path, **weights)
    if not (names and trains):
        raise ValueError(
            f"'{args.model_name_or_path}' is a plain language model without task codes: name `--train_tasks` and "
            "`--do_train`, or give a trained CTR model."
        )
    return CTRForConditionalGeneration.from_backbone(
        args.model_name_or_path,
        task_names=names,
        code_length=args.code_length,
        codebook_size=args.codebook_size,
        task_embedding_dim=args.task_embedding_dim,
        code_dim=args.code_dim,
        **weights,
    )


def train(
    model: PreTrainedModel,
    tasks: list[Task],
    rows_of: Callable[[Task], SplitRows],
    builder: FeatureBuilder,
    task_args: TaskArguments,
    args: CTRTrainingArguments,
) -> PreTrainedModel:
    """Train one stage, or the prompted baseline; go on where an interrupted run stopped; a finished one is loaded.

    A finished one that is asked for again is compared with what is asked for now, and made longer where that is more.

    Raises:
        ValueError: The data changed since, a step has another size, or a finished training is to be shorter.
    """
    output_dir = Path(args.output_dir)
    finish_moving(output_dir)
    finished = (output_dir / TRAINING_IS_FINISHED).is_file()
    if finished and not args.do_train:
        return load_finished(model, output_dir)
    trainer = make_trainer(model, tasks, rows_of, builder, task_args, args)
    record = trainer.training_record()
    if finished:
        check_record(output_dir, record)
        if not is_made_longer(output_dir, record):
            return load_finished(model, output_dir)
        reopen(output_dir)
    has_checkpoints = any(output_dir.glob("checkpoint-*"))
    resume = args.resume_from_checkpoint  # as a flag, "True" is a text
    result = trainer.train(resume_from_checkpoint=has_checkpoints if resume in (None, "True") else resume)
    trainer.save_model()
    trainer.log_metrics("train", result.metrics)
    trainer.save_state()
    if args.should_save:
        record.write(output_dir)
    trainer.save_metrics("train", result.metrics)  # from here on it is finished
    if args.push_to_hub:
        trainer.push_to_hub()
    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:  # whose weights may be spread over the processes
        trainer.accelerator.wait_for_everyone()
        return type(model).from_pretrained(output_dir)
    return model


def make_trainer(
    model: PreTrainedModel,
    tasks: list[Task],
    rows_of: Callable[[Task], SplitRows],
    builder: FeatureBuilder,
    task_args: TaskArguments,
    args: CTRTrainingArguments,
) -> MultitaskTrainer:
    """The trainer of a CTR model or of the baseline, with the mixture of its tasks."""
    rows = {}
    for name, task in {task.dataset: task for task in tasks}.items():
        if task_args.streaming:
            rows[name] = load_rows(name, task.source, task_args.data_dir, streaming=True)
        else:
            rows[name] = rows_of(task)
    mixture = streaming_mixture if task_args.streaming else training_mixture
    data = {
        "train_dataset": mixture(
            tasks,
            {name: split.train for name, split in rows.items()},
            builder,
            task_args.max_examples_per_dataset,
            task_args.mixing,
            task_args.mixing_temperature,
            args.seed,
        ),
        "eval_dataset": validation_set(tasks, rows, builder, task_args) if args.eval_strategy != "no" else None,
        "processing_class": builder.tokenizer,
    }
    if isinstance(model, CTRForConditionalGeneration):
        return CTRTrainer(model, args, **data)
    return MultitaskTrainer(model, args, task_names=[task.name for task in tasks], **data)


def load_finished(model: PreTrainedModel, output_dir: Path) -> PreTrainedModel:
    """Load the model of a finished training, of the kind of `model`."""
    logger.info(f"'{output_dir}' holds the finished training; going on from there.")
    return type(model).from_pretrained(output_dir)


def reopen(output_dir: Path) -> None:
    """Let a finished training go on, from its last checkpoint.

    Raises:
        ValueError: It has no whole checkpoint.
    """
    if last_whole_checkpoint(output_dir) is None:
        raise ValueError(
            f"The training in '{output_dir}' kept no checkpoint to go on from: start a new run from its weights, with "
            f"`--model_name_or_path {output_dir}` and another `--output_dir`."
        )
    logger.warning(
        f"The finished training in '{output_dir}' is made longer. From its last checkpoint on learning rates are those of "
        "the whole length; codes that were found for held-out tasks do not fit the new weights and are searched again."
    )
    for name in (TRAINING_IS_FINISHED, "all_results.json"):  # written anew at the end
        (output_dir / name).unlink(missing_ok=True)


def validation_set(
    tasks: list[Task], rows: Mapping[str, SplitRows], builder: FeatureBuilder, args: TaskArguments
) -> Dataset:
    """Evaluation rows of the training tasks, to watch a training by; at most `max_eval_samples` of each.

    Tasks without a known answer among their rows are left out, with a warning.
    """
    parts = []
    for task_id, task in enumerate(tasks):
        split = rows[task.dataset].evaluation
        if isinstance(split, IterableDataset):
            rows_to_keep = split if args.max_eval_samples is None else split.take(args.max_eval_samples)
            split = Dataset.from_list(list(rows_to_keep))
        if args.max_eval_samples is not None:
            split = sample_rows(task, split, args.max_eval_samples)
        try:
            parts.append(builder.evaluation(task, split, task_id, labelled_only=True))
        except DataError as error:
            logger.warning(f"{error} The evaluation during training goes without it.")
    if not parts:
        raise DataError("No training task has evaluation rows with a known answer; give `--eval_strategy no`.")
    return concatenate_datasets(parts)


def mixed_precision(args: CTRTrainingArguments) -> torch.autocast:
    """The precision of `--bf16` or `--fp16` for searches, evaluation and tuning, as the Trainer has it for training."""
    half = torch.bfloat16 if args.bf16 else torch.float16 if args.fp16 else None
    # Cached copies of the weights would outlive their change by tuning.
    return torch.autocast(args.device.type, half, enabled=half is not None, cache_enabled=False)


def held_out_settings(args: SearchArguments, task_args: TaskArguments, judged: bool) -> HeldOutSettings:
    """What the flags ask for on held-out tasks."""
    return HeldOutSettings(
        draws=Draws(
            num_shots=args.num_shots if args.needs_labels else 0,
            num_unlabelled=args.num_unlabelled if args.needs_votes else 0,
            judged=judged,
            max_eval_samples=task_args.max_eval_samples,
            protocol=args.protocol,
        ),
        search=args.searches,
        prompt_selection=args.do_prompt_selection,
        tuning=TuningSettings(tuple(args.tuning), args.tuning_steps),
        seeds=tuple(args.few_shot_seeds),
        templates_per_dataset=args.templates_per_dataset,
        length_normalization=args.length_normalization,
    )


if __name__ == "__main__":
    sys.exit(run_command(main))
