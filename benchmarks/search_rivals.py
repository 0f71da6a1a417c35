"""Our searches beside general optimizers: accuracy at an equal number of evaluated codes.

    pip install -e ".[benchmarks]"
    python benchmarks/scenes.py --models_only --seeds 10 11 12 --output_dir out/scenes    # once
    python benchmarks/search_rivals.py out/scenes --seeds 10 11 12 --num_tasks 4

The rivals are optuna's TPE, in the variant that regards what goes together (its default), and its NSGA-II, a genetic
algorithm. All have the same 32 labelled examples, objective (the loss normalized over the choices) and values at each
position, begin with the training tasks' codes, and may evaluate as many distinct codes; one evaluation is one code on all
examples. A code that a rival asks for again costs nothing. What is finished is not run again.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a clone, installed or not

import optuna
import torch
from search_quality import SHOTS, Case, accuracy, scenes_cases, summarize
from transformers import AutoTokenizer

from modeling_ctr import load_model
from safe_files import write_json
from search import OBJECTIVES, BitwiseSearch, CodeScorer, PopulationSearch, search_until_solved, task_code_space
from tasks import FeatureBuilder, few_shot_split, load_rows

BITWISE = "bitwise"
UNTIL_SOLVED = "until solved"
SEARCHES = {
    BITWISE: (BitwiseSearch, {"prune": False}),
    "population": (PopulationSearch, {}),
    "population, 5 first steps": (PopulationSearch, {"population_first_steps": 5}),
}
RIVALS: dict[str, Callable[[int, int], optuna.samplers.BaseSampler]] = {
    "TPE": lambda seed, num_starts: optuna.samplers.TPESampler(seed=seed, multivariate=True),
    "genetic (NSGA-II)": lambda seed, num_starts: optuna.samplers.NSGAIISampler(seed=seed, population_size=num_starts),
}
# How often a rival may ask for each new code, codes that are known among them, before it counts as exhausted.
ASKS_PER_CODE = 5

Course = list[tuple[int, float, list[int]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="an `output_dir` of benchmarks/scenes.py")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10, 20)))
    parser.add_argument("--num_tasks", type=int, default=12, help="held-out tasks for each seed, of 12")
    parser.add_argument("--budgets", type=int, nargs="+", default=[100, 200, 400, 600])
    others = [name for name in (*SEARCHES, UNTIL_SOLVED, *RIVALS) if name != BITWISE]
    parser.add_argument("--methods", nargs="*", choices=others, default=others, help=f"beside '{BITWISE}'")
    parser.add_argument("--output_dir", type=Path, default=Path("out/search_rivals"))
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    args.output_dir.mkdir(parents=True, exist_ok=True)
    methods = [BITWISE, *args.methods]
    rows: list[dict] = []
    for case in scenes_cases(args):
        kept = args.output_dir / f"{case.seed}_{case.task.name.split('/')[1]}.json"
        row = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
        missing = [name for name in methods if name not in row]
        if missing:
            row |= compare(case, missing, args.budgets)
            write_json(kept, row)
        rows.append({"seed": case.seed, **row})
        report = make_report(rows, methods, args.budgets)
        (args.output_dir / "report.md").write_text(report, encoding="utf-8")
    print(report)


def compare(case: Case, methods: Iterable[str], budgets: list[int]) -> dict[str, dict]:
    """Run all methods on one task: `at_budgets` holds `[loss, accuracy]` for each budget."""
    model = load_model(case.model)
    tokenizer = AutoTokenizer.from_pretrained(case.tokenizer)
    builder = FeatureBuilder(tokenizer, case.max_source_length, 4, decoder_only=not model.config.is_encoder_decoder)
    split = few_shot_split(case.task, load_rows(case.task.dataset, case.task.source), SHOTS, case.seed)
    judge = CodeScorer(model, builder.evaluation(case.task, split.evaluation))
    # Scores are remembered, so that methods which meet the same codes do not compute them again.
    scorer = CodeScorer(model, builder.evaluation(case.task, split.train))
    found = {}
    for name in methods:
        start = time.process_time()
        course = run_method(name, scorer, max(budgets), case.seed)
        seconds = time.process_time() - start
        at_budgets = [[point for point in course if point[0] <= budget][-1] for budget in budgets]
        found[name] = {
            "at_budgets": [[loss, accuracy(judge, code)] for _, loss, code in at_budgets],
            "end": [course[-1][1], accuracy(judge, course[-1][2])],
            "evaluations": course[-1][0],
            "cpu_seconds": round(seconds, 1),
        }
    return found


def run_method(name: str, scorer: CodeScorer, budget: int, seed: int) -> Course:
    """Run one method; after each distinct code: how many there were, the least loss so far, and its code."""
    if name in RIVALS:
        starts = scorer.model.task_codes().tolist()
        trials = ask_rival(RIVALS[name](seed, len(starts)), scorer, starts, budget)
    elif name == UNTIL_SOLVED:  # with a budget of its own
        found = search_until_solved(scorer, task_code_space(scorer.model), seed=seed, progress=False)
        codes = [trial.code for each in found.rounds for trial in each.trace]
        trials = list(zip(codes, OBJECTIVES["normalized_loss"](scorer, codes).tolist(), strict=True))
    else:
        search, settings = SEARCHES[name]
        result = search(
            scorer, task_code_space(scorer.model), seed=seed, max_evaluations=budget, progress=False, **settings
        ).run()
        trials = [(trial.code, trial.value) for trial in result.trace]
    known: dict[tuple[int, ...], float] = {}
    course: Course = []
    for code, value in trials:
        if tuple(code) not in known:
            known[tuple(code)] = value
            best = min(known, key=known.__getitem__)  # of equals the first
            course.append((len(known), known[best], list(best)))
    return course


def ask_rival(
    sampler: optuna.samplers.BaseSampler, scorer: CodeScorer, starts: list[list[int]], budget: int
) -> list[tuple[list[int], float]]:
    """Let optuna choose codes, one at a time, after it was told of the start codes; returns all that it asked for."""
    space = task_code_space(scorer.model)
    names = [f"position_{i:02}" for i in range(len(space))]
    distributions = {
        name: optuna.distributions.CategoricalDistribution(sorted(set(values)))
        for name, values in zip(names, space, strict=True)
    }
    study = optuna.create_study(sampler=sampler)
    for code in starts:
        study.enqueue_trial(dict(zip(names, code, strict=True)))
    asked: list[tuple[list[int], float]] = []
    while len({tuple(code) for code, _ in asked}) < budget and len(asked) < ASKS_PER_CODE * budget:
        trial = study.ask(distributions)
        code = [trial.params[name] for name in names]
        value = OBJECTIVES["normalized_loss"](scorer, torch.tensor([code])).item()
        study.tell(trial, value)
        asked.append((code, value))
    return asked


def make_report(rows: list[dict], methods: list[str], budgets: list[int]) -> str:
    """Make a line per method: mean over tasks for each seed, then mean and deviation over seeds."""
    seeds = sorted({row["seed"] for row in rows})
    header = ["method", *(f"accuracy at {budget}" for budget in budgets), "at its end", "lowest task"]
    header += ["tasks under 80%", "few-shot loss at the end", "better / worse than bitwise", "evaluations"]
    lines = [f"Seeds {seeds}, {len(rows)} tasks in all, optuna {optuna.__version__}, torch {torch.__version__}.", ""]
    lines += ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    for name in methods:
        of_name = [row[name] for row in rows]
        cells = [
            summarize(rows, lambda row, name=name, i=i: row[name]["at_budgets"][i][1]) for i in range(len(budgets))
        ]
        ends = [each["end"] for each in of_name]
        differences = [end[1] - row[BITWISE]["end"][1] for end, row in zip(ends, rows, strict=True)]
        cells.append(summarize(rows, lambda row, name=name: row[name]["end"][1]))
        cells += [f"{100 * min(end[1] for end in ends):.1f}", str(sum(end[1] < 0.8 for end in ends))]
        cells.append(f"{statistics.mean(end[0] for end in ends):.3f}")
        cells.append(f"{sum(d > 0.01 for d in differences)} / {sum(d < -0.01 for d in differences)}")
        cells.append(f"{statistics.mean(each['evaluations'] for each in of_name):.0f}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
