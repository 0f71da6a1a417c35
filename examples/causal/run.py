"""A real decoder-only model with task codes in front of the text and behind it, on a CPU, as one command:

    python examples/known_kinds/prepare.py data
    python examples/causal/build_checkpoint.py smollm2 out/smollm2
    python examples/causal/run.py --model_name_or_path out/smollm2 --data_dir data

For each place of the code: stage 1 with the language model frozen (`stage1.yaml`), the accuracy on the training tasks' own
evaluation rows, and the held-out tasks (`held_out.yaml`); with `--stage2` also with the model of a stage 2 (`stage2.yaml`);
then in-context learning with the same labeled examples. What is finished is not computed again, so that it may be stopped
at any time; `--report_only` reports what is there.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run from a clone, installed or not

import yaml
from in_context import answer_in_context
from transformers import AutoModelForCausalLM, AutoTokenizer

import run_ctr
from evaluation.aggregation import format_percent, get_seed_means
from evaluation.protocol import Draws, Judge, TemplateExamples, held_out_examples
from evaluation.result_files import get_file_name
from evaluation.score import Score, get_methods, get_tasks, load_scores, save_scores
from evaluation.tables import format_markdown_table
from modeling_ctr import CTRForCausalLM
from safe_files import write_text
from tasks import FeatureBuilder, Task, load_rows, load_tasks, select_tasks

HERE = Path(__file__).resolve().parent
TEMPLATES = HERE.parent / "known_kinds" / "templates"
ROWS, TRAINING_ROWS = 100, 40  # of each held-out and each training task, to judge by
TUNING = ["--do_prompt_tuning", "true", "--do_lora", "true"]
CODE, IN_CONTEXT = "its code", "in-context learning"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_name_or_path", required=True, help="a plain decoder-only model")
    parser.add_argument("--data_dir", required=True, help="what examples/known_kinds/prepare.py wrote")
    parser.add_argument("--output_dir", type=Path, default=Path("out/causal"))
    parser.add_argument("--positions", nargs="+", default=["suffix", "prefix"], choices=["prefix", "suffix"])
    parser.add_argument("--few_shot_seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--stage2", action="store_true", help="train everything as well, from the model of stage 1")
    parser.add_argument(
        "--tune", action="store_true", help="prompt tuning and LoRA as well, which take most of the time"
    )
    parser.add_argument("--report_only", action="store_true", help="report what is there, and run nothing")
    args = parser.parse_args(arguments)
    if not args.report_only:
        for position in args.positions:
            run_position(args, position)
        score_in_context(args)
    report = make_report(args.output_dir)
    write_text(args.output_dir / "report.md", report)
    print(report)


def run_position(args: argparse.Namespace, position: str) -> None:
    """Train with the code at one place, and score what each stage gives."""
    model = args.model_name_or_path
    for stage, kind in enumerate((position, f"{position}_stage2")[: 1 + args.stage2], 1):
        trained = args.output_dir / kind / f"stage{stage}"
        if not (trained / "model.safetensors").is_file():
            run_ctr.main(
                [str(HERE / f"stage{stage}.yaml"), "--model_name_or_path", str(model), "--output_dir", str(trained)]
                + ["--data_dir", args.data_dir, "--code_position", position]
            )
        model = trained
        score_training_tasks(args, trained)
        run_held_out(args, trained)


def run_held_out(args: argparse.Namespace, trained: Path) -> None:
    """Run the held-out tasks, in a folder each: what is there is reported before all are."""
    asked = ["--few_shot_seeds", *map(str, args.few_shot_seeds), *(TUNING if args.tune else [])]
    for task in read_names("held_out"):
        folder = trained.parent / "held_out" / get_file_name(task)
        run_ctr.main(
            [str(HERE / "held_out.yaml"), "--model_name_or_path", str(trained), "--output_dir", str(folder)]
            + ["--data_dir", args.data_dir, "--tasks", task, *asked]
        )


def score_training_tasks(args: argparse.Namespace, trained: Path) -> None:
    """Score each training task with its own code, beside the language model without any."""
    model = CTRForCausalLM.from_pretrained(trained)
    builder = make_builder(trained)
    codes = model.task_codes()

    def score(task: Task) -> list[Score]:
        (examples,) = draw(args, task, builder, TRAINING_ROWS)
        judge = Judge(model, examples, builder)
        number = model.config.task_names.index(task.name)
        raw, majority = judge.score_raw_lm(1), judge.score_majority(1)
        answers = judge.answer_with_codes(codes[number : number + 1])[0]
        return [majority, raw, judge.scored(CODE, answers, 1, code=codes[number].tolist())]

    for task in get_tasks_of("training"):
        once(trained.parent / "training_tasks" / f"{get_file_name(task.name)}.json", score, task)


def score_in_context(args: argparse.Namespace) -> None:
    """Answer the held-out tasks with the plain language model behind the labeled examples."""
    model = AutoModelForCausalLM.from_pretrained(args.model_name_or_path)
    builder = make_builder(args.model_name_or_path)
    for seed in args.few_shot_seeds:

        def score(task: Task, seed: int = seed) -> list[Score]:
            (examples,) = draw(args, task, builder, ROWS, shots=32, seed=seed)
            start = time.perf_counter()
            answers, used = answer_in_context(model, builder.tokenizer, examples.few_shot, examples.evaluation)
            seconds = time.perf_counter() - start
            judge = Judge(model, examples, builder)
            return [judge.scored(IN_CONTEXT, answers, seed, labelled=used, seconds=seconds)]

        for task in get_tasks_of("held_out"):
            once(args.output_dir / "in_context" / f"{get_file_name(task.name)}_{seed}.json", score, task)


def read_names(kind: str) -> list[str]:
    return yaml.safe_load((HERE / f"{kind}_tasks.yaml").read_text(encoding="utf-8"))


def get_tasks_of(kind: str) -> list[Task]:
    """Get the training or the held-out tasks."""
    return select_tasks(load_tasks("no_prompt", TEMPLATES), [str(HERE / f"{kind}_tasks.yaml")])


def make_builder(name_or_path: str | Path) -> FeatureBuilder:
    settings = yaml.safe_load((HERE / "held_out.yaml").read_text(encoding="utf-8"))
    lengths = settings["max_source_length"], settings["max_target_length"]
    return FeatureBuilder(AutoTokenizer.from_pretrained(name_or_path), *lengths, decoder_only=True)


def draw(
    args: argparse.Namespace, task: Task, builder: FeatureBuilder, num_rows: int, shots: int = 0, seed: int = 1
) -> list[TemplateExamples]:
    """Draw the examples that `run_ctr.py` draws with these settings."""
    rows = load_rows(task.dataset, task.source, args.data_dir)
    return held_out_examples([task], rows, builder, Draws(shots, num_unlabelled=0, max_eval_samples=num_rows), seed)


def once(path: Path, score: Callable[[Task], list[Score]], task: Task) -> None:
    """Compute scores of a task and keep them, unless they are kept already."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        save_scores(score(task), path, {"task": task.name})


def make_report(folder: Path) -> str:
    """Make the tables of all that is finished."""
    lines = []
    for kind in ("prefix", "prefix_stage2", "suffix", "suffix_stage2"):
        about = kind.replace("_stage2", ", after stage 2")
        paths = sorted((folder / kind / "training_tasks").glob("*.json"))
        scores = [score for path in paths for score in load_scores(path)[0]]
        if scores:
            scores = [replace(score, task=f"{score.task}, {score.template}") for score in scores]
            lines += [f"## Training tasks, {about}", "", *format_markdown_table(make_table(scores)), ""]
        paths = sorted((folder / kind / "held_out").glob("*/report.json"))
        scores = [score for path in paths for score in load_scores(path)[0]]
        if scores:
            scores += [s for path in sorted((folder / "in_context").glob("*.json")) for s in load_scores(path)[0]]
            lines += [f"## Held-out tasks, {about}", "", *format_markdown_table(make_table(scores)), ""]
    return "\n".join(lines)


def make_table(scores: Sequence[Score]) -> list[list[str]]:
    """Make a line per task: accuracy in percent of each method, mean and deviation over the few-shot seeds."""
    means = get_seed_means(scores, lambda score: score.accuracy)
    methods = get_methods(scores)
    rows = [["task", "rows", *methods]]
    for task in get_tasks(scores):
        count = next(score.num_examples for score in scores if score.task == task)
        rows.append([task, str(count), *(format_percent(list(means.get((m, task), {}).values())) for m in methods)])
    return rows


if __name__ == "__main__":
    main()
