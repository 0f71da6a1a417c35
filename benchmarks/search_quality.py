"""What each way of searching is worth: quality at equal cost, cost at equal quality.

    python benchmarks/scenes.py --output_dir out/scenes             # once: the embedded benchmark's models
    python benchmarks/search_quality.py out/scenes --num_tasks 4
    python benchmarks/search_quality.py --model_name_or_path out/stage2 --tasks super_glue/copa ag_news --data_dir rows \
        --seeds 0 1 --budgets 50 100 --max_eval_samples 100 --searches_only

With the models of the embedded benchmark: for every seed some of its held-out tasks. With `--model_name_or_path`: the
tasks that are named, with one few-shot draw for each seed; a task that the model was trained on is treated as if it were
new, so that no search may look at its own code.

All searches with the same 32 labelled (or 128 unlabelled) examples. Cost is counted in evaluations of one code on all
examples: a pruned evaluation counts as far as it went, a backward pass as three. Finished tasks are kept in
`search_quality.jsonl` and not run again; those of another model, or of other flags than tasks and seeds, are refused.
"""

import argparse
import json
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a clone, installed or not

import torch
import transformers
from datasets import Dataset
from transformers import AutoTokenizer

from evaluation.aggregation import format_percent
from modeling_ctr import CTRForConditionalGeneration
from search import (
    OBJECTIVES,
    BitwiseSearch,
    BitwiseSearchResult,
    CodeEnsemble,
    CodeScorer,
    PopulationSearch,
    batch_calibration,
    best_training_code,
    model_fingerprint,
    task_code_space,
    tune_prompt,
)
from search.scoring.code_scorer import first_argmax
from tasks import SHIPPED_TEMPLATES, FeatureBuilder, Task, few_shot_split, load_rows, load_tasks, select_tasks

SHOTS, UNLABELLED = 32, 128
BACKWARD_COST = 3
TUNING_STEPS, TUNING_RATE, HELD_BACK = 100, 0.03, 8
DEFAULT = "bitwise"
SEARCHES = {
    DEFAULT: {"prune": False},
    "bitwise, paper's loss": {"prune": False, "objective": "loss"},
    "bitwise, cyclic": {"prune": False, "search_order": "cyclic"},
    "bitwise, exact pruning": {"prune": True},
    "gradient": {"prune": False, "search_order": "gradient"},
    "gradient, 3 starts": {"prune": False, "search_order": "gradient", "num_starts": 3},
}
POPULATION = "population"


@dataclass(frozen=True)
class Case:
    """A task and a seed, and the model whose codes are searched."""

    seed: int
    task: Task
    model: Path
    tokenizer: Path
    max_source_length: int
    max_target_length: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, nargs="?", help="an `output_dir` of benchmarks/scenes.py")
    parser.add_argument("--num_tasks", type=int, default=12, help="its held-out tasks for each seed, of 12")
    parser.add_argument("--model_name_or_path", type=Path, help="instead: any CTR checkpoint")
    parser.add_argument("--tasks", nargs="+", default=[], help="tasks or data sets for it")
    parser.add_argument("--data_dir", help="where their rows are, if not on the Hub")
    parser.add_argument("--max_source_length", type=int, default=128)
    parser.add_argument("--max_eval_samples", type=int)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--budgets", type=int, nargs="+", default=[100, 200, 400, 600])
    others = [*SEARCHES, POPULATION]
    others.remove(DEFAULT)
    parser.add_argument("--searches", nargs="+", choices=others, default=others, help=f"beside '{DEFAULT}'")
    parser.add_argument("--searches_only", action="store_true", help="leave out tuning, votes and calibration")
    parser.add_argument("--output_dir", type=Path, default=Path("out/search_quality"))
    args = parser.parse_args()
    if (args.directory is None) == (args.model_name_or_path is None):
        parser.error("Give a directory of benchmarks/scenes.py, or a `--model_name_or_path` with `--tasks`.")
    args.output_dir.mkdir(parents=True, exist_ok=True)
    kept = args.output_dir / "search_quality.jsonl"
    free = ("num_tasks", "tasks", "seeds", "output_dir")
    flags = {name: str(value) for name, value in vars(args).items() if name not in free}
    rows = kept_rows(kept, flags)
    for case in scenes_cases(args) if args.model_name_or_path is None else given_cases(args):
        model = CTRForConditionalGeneration.from_pretrained(case.model)
        digest = model_fingerprint(model)
        done = [row for row in rows if (row["seed"], row["task"]) == (case.seed, case.task.name)]
        if done:
            if done[0]["model"] != digest:
                sys.exit(f"{kept} holds {case.task.name}, seed {case.seed}, of another model: choose another folder.")
            continue
        start = time.process_time()
        found = measured(case, model, args)
        seconds = round(time.process_time() - start, 1)
        about = {"seed": case.seed, "task": case.task.name, "model": digest, "flags": flags}
        rows.append({**about, **found, "cpu_seconds": seconds})
        with kept.open("a", encoding="utf-8") as file:
            file.write(json.dumps(rows[-1]) + "\n")
        print(f"seed {case.seed}, {case.task.name}: {seconds} s", flush=True)
        (args.output_dir / "report.md").write_text(report(rows, args.budgets), encoding="utf-8")
    print(report(rows, args.budgets))


def kept_rows(path: Path, flags: dict[str, str]) -> list[dict]:
    """What an earlier run finished; exits where that had other flags."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []
    for row in rows:
        before = row.get("flags", {})
        different = [name for name in flags if before.get(name) != flags[name]]
        if different:
            name = different[0]
            sys.exit(f"{path} holds rows with {name} {before.get(name)}, not {flags[name]}: choose another folder.")
    return rows


def scenes_cases(args: argparse.Namespace) -> Iterator[Case]:
    """Seeds take turns, so that an interrupted run has something of each."""
    for number in range(args.num_tasks):
        for seed in args.seeds:
            folder = args.directory / f"seed_{seed}"
            held_out = select_tasks(
                load_tasks(folder / "tasks" / "templates"), [f"{folder}/tasks/held_out_tasks.yaml"]
            )
            # Neighbors share a factor, so take them apart; the offset lets seeds take different ones.
            task = held_out[(number * len(held_out) // args.num_tasks + seed) % len(held_out)]
            yield Case(seed, task, folder / "stage2", folder / "lm", 32, 4)


def given_cases(args: argparse.Namespace) -> Iterator[Case]:
    """Likewise."""
    chosen = select_tasks(load_tasks(SHIPPED_TEMPLATES), args.tasks, args.data_dir)
    for seed in args.seeds:
        for task in chosen:
            yield Case(seed, task, args.model_name_or_path, args.model_name_or_path, args.max_source_length, 64)


def forget_task(model: CTRForConditionalGeneration, name: str) -> None:
    """Make a model one that was not trained on a task, as far as codes go."""
    kept = [number for number, task in enumerate(model.config.task_names) if task != name]
    embedding = model.task_codebook.task_embedding
    embedding.weight = torch.nn.Parameter(embedding.weight.detach()[kept])
    embedding.num_embeddings = len(kept)
    model.config.task_names = [task for task in model.config.task_names if task != name]
    model.config.num_tasks = len(kept)


def measured(case: Case, model: CTRForConditionalGeneration, args: argparse.Namespace) -> dict:
    """All methods on one task: courses of searches as `[cost, loss, accuracy]` at the budgets, accuracies of the rest."""
    task, seed = case.task, case.seed
    forget_task(model, task.name)
    tokenizer = AutoTokenizer.from_pretrained(case.tokenizer)
    builder = FeatureBuilder(tokenizer, case.max_source_length, case.max_target_length)
    rows = load_rows(task.dataset, task.source, args.data_dir)
    split = few_shot_split(task, rows, SHOTS, seed)
    test_rows = split.evaluation
    if args.max_eval_samples is not None:
        test_rows = test_rows.select(range(min(args.max_eval_samples, len(test_rows))))
    few_shot, test = builder.evaluation(task, split.train), builder.evaluation(task, test_rows)
    judge = CodeScorer(model, test)
    # Scores are remembered, so that searches which meet the same codes do not compute them again.
    scorer = CodeScorer(model, few_shot)
    space = task_code_space(model)
    searches, found, seconds = {}, {}, {}
    common = {"max_evaluations": args.budgets[-1], "seed": seed, "progress": False}
    for name in [DEFAULT, *args.searches]:
        if name == POPULATION:
            found[name] = PopulationSearch(scorer, space, **common).run()
            continue
        arguments = SEARCHES[name]
        fresh = CodeScorer(model, few_shot) if arguments["prune"] else scorer
        before, start = fresh.evaluations, time.process_time()
        found[name] = BitwiseSearch(fresh, space, **arguments, **common).run()
        if before == 0:  # else others' scores made it faster
            seconds[name] = round(time.process_time() - start, 1)
    for name, result in found.items():
        at_budgets, points = [], course(result)
        for budget in args.budgets:
            cost, loss, code = [point for point in points if point[0] <= budget][-1]
            at_budgets.append([cost, loss, accuracy(judge, code)])
        goal = found[DEFAULT].loss
        reached = next((cost for cost, loss, _ in points if loss <= goal * (1 + 1e-6)), None)
        searches[name] = {
            "at_budgets": at_budgets,
            "cost_of_default": reached,
            "total_cost": points[-1][0],
            "cpu_seconds": seconds.get(name),
            "normalized_loss": OBJECTIVES["normalized_loss"](scorer, torch.tensor([points[-1][2]])).item(),
        }

    training = best_training_code(scorer)
    best = found[DEFAULT]
    others = {"training code by loss": accuracy(judge, training.code), "few-shot bitwise": accuracy(judge, best.code)}
    if not args.searches_only:
        drawn = rows.train.select(sorted(random.Random(seed).sample(range(len(rows.train)), UNLABELLED)))
        others |= rivals(model, judge, few_shot, builder.evaluation(task, drawn), training.code, best, seed)
    return {"searches": searches, "others": others, "start_loss": training.loss}


def rivals(
    model: CTRForConditionalGeneration,
    judge: CodeScorer,
    few_shot: Dataset,
    unlabelled: Dataset,
    training: list[int],
    best: BitwiseSearchResult,
    seed: int,
) -> dict[str, float]:
    """Accuracies of what else the same examples are good for: tuning, votes, calibration."""
    vectors = lambda code: model.prompt_vectors(torch.tensor([code]))[0].detach()  # noqa: E731
    others = {}
    generator = torch.Generator().manual_seed(seed)
    size = model.prompt_vectors(model.task_codes()).std().item()
    starts = {
        "a random start": size * torch.randn(vectors(training).shape, generator=generator),
        "the training code": vectors(training),
        "the code of bitwise": vectors(best.code),
    }
    for name, start in starts.items():
        for objective, held_back in (("loss", 0), ("loss", HELD_BACK), ("normalized_loss", 0)):
            tuned = tune_prompt(
                model, few_shot, start, objective, TUNING_STEPS, TUNING_RATE, held_back, seed=seed, progress=False
            )
            right = accuracy_of(judge.prompt_scorer.choice_log_likelihoods(tuned.vectors[None])[0], judge)
            stopping = ", early stopping" if held_back else ""
            others[f"tuned from {name}, {objective}{stopping}"] = right

    blind = CodeScorer(model, unlabelled)
    vote = CodeEnsemble(blind).run()
    others["Code Ensemble"] = accuracy(judge, vote.code)

    for name, code in (("training code by loss", training), ("few-shot bitwise", best.code)):
        scores = judge.choice_log_likelihoods([code])[0]
        others[f"{name}, batch calibration"] = accuracy_of(batch_calibration(scores), judge)
    return others


def course(result: BitwiseSearchResult) -> list[tuple[float, float, list[int]]]:
    """`(cost so far, least loss so far, its code)` after every evaluation."""
    points: list[tuple[float, float, list[int]]] = []
    cost, best, code = 0.0, float("inf"), None
    step, best_of_start, improved = None, float("inf"), False
    for evaluation in result.trace:
        if evaluation.step >= 0 and (evaluation.start, evaluation.step) != step:
            starts = step is None or evaluation.start != step[0]
            if starts:
                best_of_start = result.starts[evaluation.start].loss
            if result.order == "gradient" and (starts or improved):
                cost += BACKWARD_COST  # one for a start and for every better code
            step, improved = (evaluation.start, evaluation.step), False
        cost += 1 - evaluation.examples_left / SHOTS
        if evaluation.value is not None:
            if evaluation.step >= 0 and evaluation.value < best_of_start:
                best_of_start, improved = evaluation.value, True
            if evaluation.value < best:
                best, code = evaluation.value, evaluation.code
        points.append((cost, best, code))
    return points


def accuracy(judge: CodeScorer, code: list[int]) -> float:
    """Of one code, on the test rows."""
    return judge.accuracies([code]).item()


def accuracy_of(scores: torch.Tensor, judge: CodeScorer) -> float:
    """Share of right answers; scores `(num_examples, num_choices)`."""
    return (first_argmax(scores) == judge.prompt_scorer.examples.answers).double().mean().item()


def report(rows: list[dict], budgets: list[int]) -> str:
    """Markdown: means over tasks for each seed, then mean and deviation over seeds."""
    seeds = sorted({row["seed"] for row in rows})

    summary = partial(summarize, rows)
    lines = [
        f"{date.today()}, {platform.machine()} CPU, {torch.get_num_threads()} thread(s), torch {torch.__version__}, "
        f"transformers {transformers.__version__}; seeds {seeds}, {len(rows)} tasks in all, "
        f"{sum(row['cpu_seconds'] for row in rows) / 60:.0f} CPU minutes.",
        "",
        "| search | " + " | ".join(f"accuracy at {budget}" for budget in budgets)
        + " | few-shot loss at the end | median cost of the default's loss (reached) | better / worse than the default "
        "| CPU seconds of a whole search |",
        "|---" * (len(budgets) + 5) + "|",
    ]  # fmt: skip
    for name in rows[0]["searches"]:
        of_name = [row["searches"][name] for row in rows]
        cells = [
            summary(lambda row, i=i, name=name: row["searches"][name]["at_budgets"][i][2]) for i in range(len(budgets))
        ]
        if "paper" in name:
            cells += ["(another objective)", ""]
        else:
            costs = [each["cost_of_default"] for each in of_name if each["cost_of_default"] is not None]
            cells.append(f"{statistics.mean(each['at_budgets'][-1][1] for each in of_name):.3f}")
            cells.append(f"{statistics.median(costs):.0f} ({len(costs)} of {len(rows)})" if costs else "never")
        default = [row["searches"][DEFAULT]["at_budgets"][-1][2] for row in rows]
        differences = [each["at_budgets"][-1][2] - d for each, d in zip(of_name, default, strict=True)]
        cells.append(f"{sum(d > 0.01 for d in differences)} / {sum(d < -0.01 for d in differences)}")
        spent = [each["cpu_seconds"] for each in of_name if each["cpu_seconds"] is not None]
        cells.append(f"{statistics.mean(spent):.1f}" if spent else "")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += ["", "| method | accuracy |", "|---|---|"]
    lines += [f"| {name} | {summary(lambda row, n=name: row['others'][n])} |" for name in rows[0]["others"]]
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    lines += [
        "",
        "| normalized few-shot loss in the end | " + " | ".join(tasks) + " |",
        "|---" * (len(tasks) + 1) + "|",
    ]
    of_task = {task: [row for row in rows if row["task"] == task] for task in tasks}
    losses = {"best training code": [statistics.mean(row["start_loss"] for row in of_task[task]) for task in tasks]}
    for name in rows[0]["searches"]:
        ends = {task: [row["searches"][name]["normalized_loss"] for row in of_task[task]] for task in tasks}
        losses[name] = [statistics.mean(ends[task]) for task in tasks]
    lines += [
        f"| {name} | " + " | ".join(f"{value:.3f}" for value in values) + " |" for name, values in losses.items()
    ]
    return "\n".join(lines) + "\n"


def summarize(rows: list[dict], get_accuracy: Callable[[dict], float]) -> str:
    """Write the mean over tasks for each seed, as mean and deviation over seeds, in percent."""
    seeds = dict.fromkeys(row["seed"] for row in rows)
    return format_percent(
        [statistics.mean(get_accuracy(row) for row in rows if row["seed"] == seed) for seed in seeds]
    )


if __name__ == "__main__":
    main()
