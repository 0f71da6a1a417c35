"""Train CTR models and find the codes of new tasks.

    python run_ctr.py examples/demo.json
    python run_ctr.py --model_name_or_path google/t5-large-lm-adapt --train_tasks ag_news trec --stage 1 --do_train \
        --output_dir out/stage1
    python run_ctr.py --model_name_or_path out/stage2 --tasks super_glue/rte --do_bitwise_search --output_dir out/rte

Takes flags, or a JSON or YAML file of them, or a file followed by flags that override it.
"""

import logging
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from datasets import Dataset, concatenate_datasets
from transformers import AutoConfig, AutoTokenizer, set_seed

from evaluation.protocol import (
    BITWISE_SEARCH,
    CODE_ENSEMBLE,
    SearchSettings,
    held_out_examples,
    most_varied_templates,
    score_dataset,
    search_dataset,
)
from evaluation.report import Score, print_table, write_report
from modeling_ctr import CTRForConditionalGeneration
from run_arguments import ModelArguments, SearchArguments, TaskArguments, keep_arguments, parse_arguments
from tasks import (
    SHIPPED_TEMPLATES,
    FeatureBuilder,
    SplitRows,
    Task,
    check_tokenizer,
    load_rows,
    load_tasks,
    select_tasks,
    training_mixture,
)
from trainers import CTRTrainer, CTRTrainingArguments
from trainers.hub import push_to_hub, save_for_hub
from trainers.model_card import eval_result

logger = logging.getLogger("run_ctr")


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
    keep_arguments(output_dir, model_args, task_args, search_args, training_args)

    known = load_tasks(SHIPPED_TEMPLATES, *task_args.templates_dir)
    train_tasks = select_tasks(known, task_args.train_tasks, task_args.data_dir)
    held_out = select_tasks(known, task_args.tasks, task_args.data_dir, for_ranking=True)
    if known_already := {task.name for task in train_tasks} & {task.name for task in held_out}:
        raise ValueError(f"'{min(known_already)}' is a training task and cannot be a held-out task as well.")
    tokenizer = AutoTokenizer.from_pretrained(model_args.model_name_or_path, revision=model_args.model_revision)
    model = load_model(model_args, train_tasks)
    check_tokenizer(tokenizer, model.config.text_config.vocab_size)
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

    if training_args.do_train:
        model = train(model, train_tasks, rows_of, builder, task_args, training_args)
    if held_out and training_args.process_index == 0:
        scores = search_and_evaluate(
            model, held_out, rows_of, builder, task_args, search_args, training_args.do_eval, output_dir
        )
        results = [eval_result(f"{s.task}, {s.template}", s.accuracy, s.method, dataset=s.task) for s in scores]
        save_for_hub(model, tokenizer, output_dir, repo_id=training_args.hub_model_id, results=results)
        if scores:
            print_table(scores, output_dir / "report.md")
        if training_args.push_to_hub:
            push_to_hub(
                model,
                tokenizer,
                training_args.hub_model_id or output_dir.resolve().name,
                private=training_args.hub_private_repo,
                token=training_args.hub_token,
                results=results,
            )


def load_model(args: ModelArguments, train_tasks: list[Task]) -> CTRForConditionalGeneration:
    """A CTR model as it is, or a new one around a plain language model.

    Raises:
        ValueError: A CTR model was made for other training tasks, or a plain language model is given none.
    """
    config = AutoConfig.from_pretrained(args.model_name_or_path, revision=args.model_revision)
    names = [task.name for task in train_tasks]
    if config.model_type == "ctr":
        if names and names != config.task_names:
            raise ValueError(
                f"'{args.model_name_or_path}' was trained on {config.num_tasks} tasks, which are not the "
                f"{len(names)} given: give the same training tasks in the same order, or start from a language model."
            )
        return CTRForConditionalGeneration.from_pretrained(args.model_name_or_path, revision=args.model_revision)
    if not names:
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
        revision=args.model_revision,
    )


def train(
    model: CTRForConditionalGeneration,
    tasks: list[Task],
    rows_of: Callable[[Task], SplitRows],
    builder: FeatureBuilder,
    task_args: TaskArguments,
    args: CTRTrainingArguments,
) -> CTRForConditionalGeneration:
    """Train one stage, or go on where an interrupted run stopped; a finished one is loaded."""
    if (Path(args.output_dir) / "train_results.json").is_file():
        logger.info(f"'{args.output_dir}' holds the finished training; going on from there.")
        return CTRForConditionalGeneration.from_pretrained(args.output_dir)
    rows = {task.dataset: rows_of(task) for task in tasks}
    trainer = CTRTrainer(
        model=model,
        args=args,
        train_dataset=training_mixture(
            tasks,
            {name: split.train for name, split in rows.items()},
            builder,
            task_args.max_examples_per_dataset,
            task_args.mixing,
            task_args.mixing_temperature,
            args.seed,
        ),
        eval_dataset=validation_set(tasks, rows, builder, task_args) if args.eval_strategy != "no" else None,
        processing_class=builder.tokenizer,
    )
    has_checkpoints = any(Path(args.output_dir).glob("checkpoint-*"))
    resume = args.resume_from_checkpoint  # as a flag, "True" is a text
    result = trainer.train(resume_from_checkpoint=has_checkpoints if resume in (None, "True") else resume)
    trainer.save_model()
    trainer.save_state()
    trainer.log_metrics("train", result.metrics)
    trainer.save_metrics("train", result.metrics)
    if args.push_to_hub:
        trainer.push_to_hub()
    return model


def validation_set(
    tasks: list[Task], rows: Mapping[str, SplitRows], builder: FeatureBuilder, args: TaskArguments
) -> Dataset:
    """Evaluation rows of the training tasks, to watch a training by; at most `max_eval_samples` of each."""
    parts = []
    for task_id, task in enumerate(tasks):
        split = rows[task.dataset].evaluation
        size = len(split) if args.max_eval_samples is None else min(args.max_eval_samples, len(split))
        parts.append(builder.evaluation(task, split.select(range(size)), task_id))
    return concatenate_datasets(parts)


def search_and_evaluate(
    model: CTRForConditionalGeneration,
    tasks: list[Task],
    rows_of: Callable[[Task], SplitRows],
    builder: FeatureBuilder,
    task_args: TaskArguments,
    args: SearchArguments,
    do_eval: bool,
    output_dir: Path,
) -> list[Score]:
    """Search codes for the held-out tasks, add them to the model, and score them where asked to."""
    settings = SearchSettings(
        code_ensemble=args.do_code_ensemble,
        bitwise_search=args.do_bitwise_search,
        num_shots=args.num_shots,
        num_unlabelled=args.num_unlabelled,
        num_codes=args.num_codes,
        objective=args.objective,
        epochs=args.search_epochs,
        order=args.search_order,
        num_starts=args.num_starts,
        max_evaluations=args.max_evaluations,
    )
    scores: list[Score] = []
    for dataset in dict.fromkeys(task.dataset for task in tasks):
        of_dataset = [task for task in tasks if task.dataset == dataset]
        if args.templates_per_dataset is not None:
            of_dataset = most_varied_templates(
                model,
                of_dataset,
                rows_of(of_dataset[0]),
                builder,
                settings,
                args.few_shot_seeds[0],
                args.templates_per_dataset,
            )
        for seed in args.few_shot_seeds:
            logger.info(f"{dataset}, few-shot seed {seed}")
            folder = output_dir / "held_out" / dataset.replace("/", "_") / f"seed_{seed}"
            examples = held_out_examples(
                of_dataset, rows_of(of_dataset[0]), builder, settings, seed, do_eval, task_args.max_eval_samples
            )
            found = search_dataset(model, examples, settings, seed, folder)
            if do_eval:
                scores += score_dataset(model, examples, found, seed, folder)
                # After each data set, so that an interrupted run leaves a report of what it did.
                write_report(scores, output_dir, {"model": model.name_or_path, "few-shot seeds": args.few_shot_seeds})
            if seed == args.few_shot_seeds[0]:
                for code in found:
                    if code.method == (BITWISE_SEARCH if args.do_bitwise_search else CODE_ENSEMBLE):
                        name = f"{dataset}/{code.template}"
                        model.config.added_task_codes.pop(name, None)  # of an earlier search
                        model.add_task(name, code.code)
    return scores


if __name__ == "__main__":
    main()
