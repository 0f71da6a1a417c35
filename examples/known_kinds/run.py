"""The whole experiment: `python examples/known_kinds/run.py --model_name_or_path google/flan-t5-small --data_dir data`.

For each training seed both stages and the held-out tasks with every few-shot seed; then the rivals, once; then a report
over all of them. What is finished is not computed again, so it may be stopped at any time.
"""

import argparse
import statistics
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run from a clone, installed or not

import rivals
from matplotlib.figure import Figure

import run_ctr
from evaluation.aggregation import format_percent, get_seed_means, get_task_means
from evaluation.report import write_report
from evaluation.score import Score, get_methods, get_tasks, load_scores
from evaluation.tables import format_markdown_table
from evaluation.terminal import print_table

HERE = Path(__file__).resolve().parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_name_or_path", required=True)
    parser.add_argument("--sentence_model", default="sentence-transformers/all-MiniLM-L6-v2")
    parser.add_argument("--data_dir", required=True, help="what prepare.py wrote")
    parser.add_argument("--output_dir", type=Path, default=Path("out/known_kinds"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="training seeds")
    parser.add_argument("--few_shot_seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--report_only", action="store_true", help="report what is there, and run nothing")
    args = parser.parse_args()
    few_shot_seeds = [str(seed) for seed in args.few_shot_seeds]
    if not args.report_only:
        for seed in args.seeds:
            train_and_search(
                seed, args.model_name_or_path, args.data_dir, args.output_dir / f"seed_{seed}", few_shot_seeds
            )
        rivals.main(
            ["--model_name_or_path", args.model_name_or_path, "--sentence_model", args.sentence_model]
            + ["--data_dir", args.data_dir, "--output_dir", str(args.output_dir / "rivals")]
            + ["--few_shot_seeds", *few_shot_seeds]
        )
    scores = [score for seed in args.seeds for score in load_training_seed(args.output_dir / f"seed_{seed}", seed)]
    rival_files = sorted((args.output_dir / "rivals").glob("*_[0-9]*.json"))  # one for each task and few-shot seed
    scores += [score for path in rival_files for score in load_scores(path)[0]]
    about = {"training seeds": args.seeds, "few-shot seeds": args.few_shot_seeds, "labeled examples": 32}
    write_report(scores, args.output_dir, about)
    table = format_markdown_table(make_summary(scores))
    with (args.output_dir / "report.md").open("a", encoding="utf-8") as report:
        report.write("\n".join(["", "## Methods by tasks", "", *table, ""]))
    draw_methods(scores, args.output_dir / "methods.png")
    print_table(scores, args.output_dir / "report.md")


def train_and_search(seed: int, language_model: str, data_dir: str, folder: Path, few_shot_seeds: list[str]) -> None:
    """Run both stages and the held-out tasks for one training seed."""
    for stage, start in ((1, language_model), (2, str(folder / "stage1"))):
        if not (folder / f"stage{stage}" / "model.safetensors").is_file():
            run_ctr.main(
                [str(HERE / f"stage{stage}.yaml"), "--model_name_or_path", start, "--data_dir", data_dir]
                + ["--output_dir", str(folder / f"stage{stage}"), "--seed", str(seed)]
            )
    run_ctr.main(
        [str(HERE / "held_out.yaml"), "--model_name_or_path", str(folder / "stage2"), "--data_dir", data_dir]
        + ["--output_dir", str(folder / "held_out"), "--few_shot_seeds", *few_shot_seeds]
    )


def load_training_seed(folder: Path, seed: int) -> list[Score]:
    """Load what there is of a training seed. Its scores' seeds tell both seeds, for deviations over both."""
    paths = sorted((folder / "held_out" / "held_out").glob("*/seed_*/scores.json"))
    return [replace(score, seed=1000 * seed + score.seed) for path in paths for score in load_scores(path)[0]]


def make_summary(scores: Sequence[Score]) -> list[list[str]]:
    """Make the table of methods by tasks: accuracy in percent, labels, and seconds for one task."""
    tasks = get_tasks(scores)
    means = get_seed_means(scores, lambda score: score.accuracy)
    over_tasks = get_task_means(means)
    costs = defaultdict(list)
    for score in scores:
        costs[score.method].append(score)
    rows = [["method", *tasks, "mean", "labels", "seconds"]]
    for method in get_methods(scores):
        cells = [format_percent(list(means.get((method, task), {}).values())) for task in tasks]
        covered = sum((method, task) in means for task in tasks)
        cells.append(format_percent(list(over_tasks[method].values())) if covered == len(tasks) else "–")
        seconds = statistics.median(score.seconds for score in costs[method])
        rows.append([method, *cells, str(costs[method][0].labelled), f"{seconds:.0f}"])
    return rows


def draw_methods(scores: Sequence[Score], path: Path) -> None:
    """Draw the methods' accuracy, over the tasks that all of them can do, against the seconds for one task."""
    methods = get_methods(scores)
    shared = [task for task in get_tasks(scores) if {s.method for s in scores if s.task == task} == set(methods)]
    figure = Figure(figsize=(7, 4.5))
    axes = figure.subplots()
    axes.set_xscale("log")
    for method in methods:
        of_method = [score for score in scores if score.method == method and score.task in shared]
        accuracy = 100 * statistics.mean(score.accuracy for score in of_method)
        seconds = statistics.median(score.seconds for score in of_method)
        if seconds:
            axes.scatter(seconds, accuracy, marker="o" if of_method[0].labelled else "s")
            axes.annotate(method, (seconds, accuracy), textcoords="offset points", xytext=(6, 3), fontsize="small")
        else:  # what is not fitted at all
            axes.axhline(accuracy, linestyle="--", linewidth=1, color="gray")
            axes.text(0.01, accuracy, method, transform=axes.get_yaxis_transform(), fontsize="small", va="bottom")
    axes.set_xlabel("seconds for one task")
    axes.set_ylabel(f"accuracy (%), mean of {len(shared)} tasks")
    axes.margins(x=0.25)
    figure.savefig(path, dpi=150, bbox_inches="tight")


if __name__ == "__main__":
    main()
