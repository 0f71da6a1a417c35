"""One stage of training, as the flags say, and what there is to do where an earlier run did a part of it."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from datasets import Dataset, IterableDataset, concatenate_datasets
from transformers import PreTrainedModel

from modeling_ctr import CTRPreTrainedModel
from run_arguments import TaskArguments
from tasks import (
    DataError,
    FeatureBuilder,
    SplitRows,
    Task,
    load_rows,
    sample_rows,
    streaming_mixture,
    training_mixture,
)
from trainers import CTRTrainer, CTRTrainingArguments, MultitaskTrainer
from trainers.checkpoints import find_whole_checkpoint
from trainers.saving_aside import finish_moving
from trainers.training_record import check_record, is_made_longer

logger = logging.getLogger("run_ctr")

TRAINING_IS_FINISHED = "train_results.json"  # written once the model is


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
    with args.main_process_first():
        finish_moving(output_dir)
    finished = (output_dir / TRAINING_IS_FINISHED).is_file()
    if finished and not args.do_train:
        return load_finished(model, output_dir)
    trainer = make_trainer(model, tasks, rows_of, builder, task_args, args)
    record = trainer.get_record()
    if finished:
        longer = is_made_longer(output_dir, record)
        check_record(output_dir, record, any_step=not longer)  # what is finished may be asked for by other processes
        if not longer:
            return load_finished(model, output_dir)
        trainer.accelerator.wait_for_everyone()  # all have seen that it is finished
        reopen(output_dir)
    has_checkpoints = any(output_dir.glob("checkpoint-*"))
    resume = args.resume_from_checkpoint  # as a flag, "True" is a text
    if resume in (None, "True"):
        resume = has_checkpoints
    elif not Path(resume).is_dir():
        raise ValueError(f"`resume_from_checkpoint` is '{resume}', where there is no folder of a checkpoint.")
    result = trainer.train(resume_from_checkpoint=resume)
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
    """Make the trainer of a CTR model or of the baseline, with the mixture of its tasks."""
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
    if isinstance(model, CTRPreTrainedModel):
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
    if find_whole_checkpoint(output_dir) is None:
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
    """Make features of evaluation rows of the training tasks, to watch a training by; at most `max_eval_samples` of each.

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
            parts.append(builder.evaluation(task, split, task_id, labeled_only=True))
        except DataError as error:
            logger.warning(f"{error} The evaluation during training goes without it.")
    if not parts:
        raise DataError("No training task has evaluation rows with a known answer; give `--eval_strategy no`.")
    return concatenate_datasets(parts)
