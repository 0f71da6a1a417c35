"""Is the estimate of `TaskSolver.fit` honest, does `method="auto"` choose well, and what is calibration worth?

    python benchmarks/fit_estimates.py out/demo/seed_0/stage2 --output_dir out/fit_estimates

On the held-out tasks of the embedded benchmark, for a model that `benchmarks/scenes.py` trained: for each task and seed 32
labeled rows are drawn, `fit` learns the task by "auto" and by each method alone, and 250 new rows are answered. Every
finished pair of task and seed is a line of `fits.jsonl` and is not run again; the tables are made of all lines.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a clone, installed or not

import numpy as np
import torch
from datasets import Dataset

from prediction import TaskSolver, expected_calibration_error
from prediction.methods import AUTO
from search import SearchConfig
from tasks.scenes import HELD_OUT_TASKS, SceneTask, scene_rows

NUM_SHOTS, NUM_TEST = 32, 250
LENGTHS = {"max_source_length": 32, "max_target_length": 4}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="Model that benchmarks/scenes.py trained.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--num_tasks", type=int, default=len(HELD_OUT_TASKS))
    parser.add_argument("--max_evaluations", type=int, default=300)
    parser.add_argument("--tuning_steps", type=int, default=60)
    parser.add_argument(
        "--max_cpu_seconds", type=float, help="Begin no further pair after so many seconds of computing."
    )
    parser.add_argument("--output_dir", type=Path, default=Path("out/fit_estimates"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.output_dir.mkdir(parents=True, exist_ok=True)
    path = args.output_dir / "fits.jsonl"
    fits = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    finished = {(fit["task"], fit["seed"]) for fit in fits}
    solver = TaskSolver.from_pretrained(args.checkpoint)
    settings = {"config": SearchConfig(max_evaluations=args.max_evaluations), "tuning_steps": args.tuning_steps}
    for seed in args.seeds:
        for task in HELD_OUT_TASKS[: args.num_tasks]:
            spent = args.max_cpu_seconds is not None and time.process_time() > args.max_cpu_seconds
            if spent or (task.label, seed) in finished:
                continue
            fits.append(run(solver, task, seed, settings))
            with path.open("a") as file:
                file.write(json.dumps(fits[-1]) + "\n")
            print(json.dumps(fits[-1]), flush=True)
    print("\n".join(["", *tables(fits)]))


def run(solver: TaskSolver, task: SceneTask, seed: int, settings: dict[str, Any]) -> dict[str, Any]:
    """One task with one draw of examples, as a JSON value."""
    rows = scene_rows(NUM_SHOTS + NUM_TEST + 100, 1000 + seed)
    few, test = rows.select(range(NUM_SHOTS)), rows.select(range(NUM_SHOTS, NUM_SHOTS + NUM_TEST))
    settings = {**settings, **LENGTHS, "seed": seed, "answers": list(task.choices), "progress": False}
    start = time.process_time()
    auto = solver.fit(*examples(task, few), name="auto", calibrate=True, **settings)
    seconds = time.process_time() - start
    probabilities = solver.predict_proba(list(test["scene"]), "auto", progress=False)
    answers = np.array(test[task.column])
    plain = copy_without_calibration(solver, "auto").predict_proba(list(test["scene"]), "plain", progress=False)
    accuracies = {"auto": float((probabilities.argmax(1) == answers).mean())}
    for method in AUTO:
        solver.fit(*examples(task, few), name="fixed", method=method, folds=0, **settings)
        accuracies[method] = float(
            np.mean(np.array(solver.predict(list(test["scene"]), "fixed", progress=False)) == labels(task, test))
        )
    return {
        "task": task.label,
        "seed": seed,
        "estimate": auto.estimate.accuracy,
        "interval": [auto.estimate.interval.low, auto.estimate.interval.high],
        "few_shot_accuracy": auto.accuracy,
        "best_tried": max(each.accuracy for each in auto.tried),
        "tried": {each.method: each.accuracy for each in auto.tried},
        "chosen": auto.method,
        "test_accuracy": accuracies,
        "warned": len(auto.warnings) > 0,
        "calibration_error": {
            "plain": expected_calibration_error(torch.tensor(plain), torch.tensor(answers)),
            "calibrated": expected_calibration_error(torch.tensor(probabilities), torch.tensor(answers)),
        },
        "plain_accuracy": float((plain.argmax(1) == answers).mean()),
        "cpu_seconds": seconds,
    }


def examples(task: SceneTask, rows: Dataset) -> tuple[list[str], list[str]]:
    return list(rows["scene"]), list(labels(task, rows))


def labels(task: SceneTask, rows: Dataset) -> np.ndarray:
    return np.array(task.choices)[rows[task.column]]


def copy_without_calibration(solver: TaskSolver, name: str) -> TaskSolver:
    """A solver that knows the task as "plain", its probabilities as the model gives them."""
    copied = solver.copy()
    details = copied.model.task_details(name)
    details.temperature = details.prior = None
    copied.model.add_tuned_task("plain", copied.model.get_task_vectors(name), details)
    return copied


def tables(fits: list[dict[str, Any]]) -> list[str]:
    """The numbers in Markdown."""
    errors = [fit["estimate"] - fit["test_accuracy"]["auto"] for fit in fits]
    covered = [fit["interval"][0] <= fit["test_accuracy"]["auto"] <= fit["interval"][1] for fit in fits]
    rows = [
        ("pairs of a task and a seed", f"{len(fits)}"),
        ("estimate less test accuracy, mean (points)", f"{100 * statistics.mean(errors):+.1f}"),
        ("the same without its sign", f"{100 * statistics.mean(map(abs, errors)):.1f}"),
        ("test accuracy within the 95% interval", f"{100 * statistics.mean(covered):.0f}%"),
        ("best held-out accuracy less test accuracy", f"{100 * mean_over(fits, 'best_tried'):+.1f}"),
        ("few-shot accuracy less test accuracy", f"{100 * mean_over(fits, 'few_shot_accuracy'):+.1f}"),
        ("CPU seconds of a fit by auto, median", f"{statistics.median(fit['cpu_seconds'] for fit in fits):.1f}"),
    ]
    lines = ["| estimate | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows), ""]
    lines += ["| method | test accuracy (%) | held-out less test accuracy (mean, without sign) | chosen by auto |"]
    lines.append("|---|---|---|---|")
    for method in fits[0]["test_accuracy"]:
        mean = 100 * statistics.mean(fit["test_accuracy"][method] for fit in fits)
        held_out = [
            100 * (fit["tried"][method] - fit["test_accuracy"][method]) for fit in fits if method in fit["tried"]
        ]
        told = f"{statistics.mean(held_out):+.1f}, {statistics.mean(map(abs, held_out)):.1f}" if held_out else ""
        lines.append(f"| {method} | {mean:.1f} | {told} | {sum(fit['chosen'] == method for fit in fits)} |")
    lines += ["", "| probabilities | expected calibration error | accuracy (%) |", "|---|---|---|"]
    for name, accuracy in (("plain", "plain_accuracy"), ("calibrated", None)):
        error = statistics.mean(fit["calibration_error"][name] for fit in fits)
        right = [fit[accuracy] if accuracy else fit["test_accuracy"]["auto"] for fit in fits]
        lines.append(f"| {name} | {error:.3f} | {100 * statistics.mean(right):.1f} |")
    return lines


def mean_over(fits: list[dict[str, Any]], name: str) -> float:
    return statistics.mean(fit[name] - fit["test_accuracy"]["auto"] for fit in fits)


if __name__ == "__main__":
    main()
