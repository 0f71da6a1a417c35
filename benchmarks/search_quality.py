"""What each way of searching is worth on the embedded benchmark: quality at equal cost, cost at equal quality.

    python benchmarks/scenes.py --output_dir out/scenes             # once: the models
    python benchmarks/search_quality.py out/scenes --tasks 4

For every seed's model and some of its held-out tasks, all searches with the same 32 labelled (or 128 unlabelled)
examples; accuracy on the 250 test rows. Cost is counted in evaluations of one code on all examples: a pruned evaluation
counts as far as it went, a backward pass as three. Finished tasks are kept in `search_quality.jsonl` and not run again.
"""

import argparse
import json
import platform
import random
import statistics
import sys
import time
from datetime import date
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a clone, installed or not

import torch
import transformers
from transformers import AutoTokenizer

from modeling_ctr import CTRForConditionalGeneration
from search import (
    BitwiseSearch,
    BitwiseSearchResult,
    CodeEnsemble,
    CodeScorer,
    PopulationSearch,
    PromptScorer,
    batch_calibration,
    best_training_code,
    contextual_calibration,
    pseudo_labelled,
    task_code_space,
    tune_prompt,
)
from search.scorer import first_argmax
from tasks import FeatureBuilder, Task, few_shot_split, load_rows, load_tasks, select_tasks

SHOTS, UNLABELLED = 32, 128
BUDGETS = (100, 200, 400, 600)
BACKWARD_COST = 3
TUNING_STEPS, TUNING_RATE, HELD_BACK = 100, 0.03, 8
DEFAULT = "bitwise"
SEARCHES = {
    "bitwise, paper's loss": {"objective": "loss"},
    DEFAULT: {},
    "bitwise, cyclic": {"order": "cyclic"},
    "bitwise, exact pruning": {"prune": True},
    "bitwise, racing at 10%": {"race": 0.1},
    "gradient": {"order": "gradient"},
    "gradient, 3 starts": {"order": "gradient", "num_starts": 3},
}
POPULATION = "population"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="an `output_dir` of benchmarks/scenes.py")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--tasks", type=int, default=12, help="held-out tasks of each seed, evenly spread over the 12")
    parser.add_argument("--output_dir", type=Path, default=Path("out/search_quality"))
    args = parser.parse_args()
    args.output_dir.mkdir(parents=True, exist_ok=True)
    kept = args.output_dir / "search_quality.jsonl"
    rows = [json.loads(line) for line in kept.read_text().splitlines()] if kept.is_file() else []
    # Seeds take turns, so that an interrupted run has something of each.
    for number in range(args.tasks):
        for seed in args.seeds:
            folder = args.directory / f"seed_{seed}"
            held_out = select_tasks(
                load_tasks(folder / "tasks" / "templates"), [f"{folder}/tasks/held_out_tasks.yaml"]
            )
            # Neighbours share a factor, so take them apart; the offset lets seeds take different ones.
            task = held_out[(number * len(held_out) // args.tasks + seed) % len(held_out)]
            if any((row["seed"], row["task"]) == (seed, task.dataset) for row in rows):
                continue
            start = time.process_time()
            found = measured(folder, task, seed)
            row = {"seed": seed, "task": task.dataset, **found, "cpu_seconds": round(time.process_time() - start, 1)}
            rows.append(row)
            with kept.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            print(f"seed {seed}, {task.dataset}: {row['cpu_seconds']} s", flush=True)
    text = report(rows)
    (args.output_dir / "report.md").write_text(text, encoding="utf-8")
    print(text)


def measured(folder: Path, task: Task, seed: int) -> dict:
    """All methods on one task: courses of searches as `[cost, loss, accuracy]` at the budgets, accuracies of the rest."""
    model = CTRForConditionalGeneration.from_pretrained(folder / "stage2").eval()
    builder = FeatureBuilder(AutoTokenizer.from_pretrained(folder / "lm"), max_source_length=32, max_target_length=4)
    rows = load_rows(task.dataset, task.source)
    split = few_shot_split(task, rows, SHOTS, seed)
    drawn = rows.train.select(sorted(random.Random(seed).sample(range(len(rows.train)), UNLABELLED)))
    few_shot, unlabelled, test = (builder.evaluation(task, part) for part in (split.train, drawn, split.evaluation))
    judge = CodeScorer(model, test)
    # Scores are remembered, so that searches which meet the same codes do not compute them again.
    scorer = CodeScorer(model, few_shot)
    space = task_code_space(model)
    accuracy = lambda code: judge.accuracies([code]).item()  # noqa: E731
    searches, found = {}, {}
    common = {"max_evaluations": BUDGETS[-1], "seed": seed, "progress": False}
    for name, arguments in SEARCHES.items():
        fresh = CodeScorer(model, few_shot) if {"race", "prune"} & set(arguments) else scorer
        found[name] = BitwiseSearch(fresh, space, **arguments, **common).run()
    found[POPULATION] = PopulationSearch(scorer, space, **common).run()
    for name, result in found.items():
        at_budgets, points = [], course(result)
        for budget in BUDGETS:
            cost, loss, code = [point for point in points if point[0] <= budget][-1]
            at_budgets.append([cost, loss, accuracy(code)])
        goal = found[DEFAULT].loss
        reached = next((cost for cost, loss, _ in points if loss <= goal * (1 + 1e-6)), None)
        searches[name] = {"at_budgets": at_budgets, "cost_of_default": reached, "total_cost": points[-1][0]}

    vectors = lambda code: model.prompt_vectors(torch.tensor([code]))[0].detach()  # noqa: E731
    training = best_training_code(scorer)
    best = found[DEFAULT]
    others = {"training code by loss": accuracy(training.code), "few-shot bitwise": accuracy(best.code)}
    generator = torch.Generator().manual_seed(seed)
    size = model.prompt_vectors(model.task_codes()).std().item()
    starts = {
        "a random start": size * torch.randn(vectors(training.code).shape, generator=generator),
        "the training code": vectors(training.code),
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
    others["Code Ensemble"] = accuracy(vote.code)
    pseudo = CodeScorer(model, pseudo_labelled(unlabelled, vote.pseudo_labels, vote.margins))
    refined = BitwiseSearch(pseudo, space, start_codes=vote.code, seed=seed, max_evaluations=100, progress=False).run()
    others["Code Ensemble, refined by bitwise search of 100"] = accuracy(refined.code)
    voters = torch.tensor([each.code for each in best.top])
    vote = CodeEnsemble(blind, codes=voters, num_codes=len(voters)).run()
    rows = [*few_shot, *pseudo_labelled(unlabelled, vote.pseudo_labels, vote.margins, weight=0.5)]
    both = CodeScorer(model, [{key: value for key, value in row.items() if key != "row"} for row in rows])
    joint = BitwiseSearch(both, space, start_codes=best.code, seed=seed, max_evaluations=60, progress=False).run()
    others["few-shot bitwise, then 60 codes on unlabelled rows too"] = accuracy(joint.code)

    # An input without content: the end token alone.
    nothing = PromptScorer(model, [{**test[0], "input_ids": [model.config.text_config.eos_token_id]}])
    for name, code in (("training code by loss", training.code), ("few-shot bitwise", best.code)):
        scores = judge.choice_log_likelihoods([code])[0]
        free = nothing.choice_log_likelihoods(vectors(code)[None])[0]
        others[f"{name}, batch calibration"] = accuracy_of(batch_calibration(scores), judge)
        others[f"{name}, contextual calibration"] = accuracy_of(contextual_calibration(scores, free), judge)
    return {"searches": searches, "others": others}


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


def accuracy_of(scores: torch.Tensor, judge: CodeScorer) -> float:
    """Share of right answers; scores `(num_examples, num_choices)`."""
    return (first_argmax(scores) == judge.prompt_scorer.answers).double().mean().item()


def report(rows: list[dict]) -> str:
    """Markdown: means over tasks for each seed, then mean and deviation over seeds."""
    seeds = sorted({row["seed"] for row in rows})

    def summary(value) -> str:
        by_seed = [100 * statistics.mean(value(row) for row in rows if row["seed"] == seed) for seed in seeds]
        deviation = f" ± {statistics.stdev(by_seed):.1f}" if len(by_seed) > 1 else ""
        return f"{statistics.mean(by_seed):.1f}{deviation}"

    lines = [
        f"{date.today()}, {platform.machine()} CPU, {torch.get_num_threads()} thread(s), torch {torch.__version__}, "
        f"transformers {transformers.__version__}; seeds {seeds}, {len(rows)} held-out tasks in all, "
        f"{sum(row['cpu_seconds'] for row in rows) / 60:.0f} CPU minutes.",
        "",
        "| search | " + " | ".join(f"accuracy at {budget}" for budget in BUDGETS)
        + " | few-shot loss at the end | median cost of the default's loss (reached) | better / worse than the default |",
        "|---" * (len(BUDGETS) + 4) + "|",
    ]  # fmt: skip
    for name in rows[0]["searches"]:
        of_name = [row["searches"][name] for row in rows]
        cells = [
            summary(lambda row, i=i, name=name: row["searches"][name]["at_budgets"][i][2]) for i in range(len(BUDGETS))
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
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += ["", "| method | accuracy |", "|---|---|"]
    lines += [f"| {name} | {summary(lambda row, n=name: row['others'][n])} |" for name in rows[0]["others"]]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
