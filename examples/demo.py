"""The method from nothing to answers, on one screen: `python examples/demo.py`, or `make demo`.

A tiny language model learns 36 tasks asked in words; CTR learns their codes from inputs that say nothing about the task;
12 new tasks, new combinations of what the 36 are made of, get a code each. Everything is made here, nothing is fetched,
and what is finished is not computed again. `benchmarks/scenes.py` does the same with several seeds and more rivals.
"""

import argparse
import multiprocessing
import os
import re
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from pathlib import Path

from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]  # run from a clone, installed or not
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the model is so small that threads only wait for each other

SEED = 0
METHODS = (
    "majority class", "raw LM", "mean training code", "training code by loss", "training code by accuracy",
    "Code Ensemble", "Bitwise Search", "T0: asked in words",
)  # fmt: skip
SHOWN_TASKS = (
    "scenes/ann_shape_foreign/no_prompt", "scenes/pedro_size_next/no_prompt", "scenes/robo_size_letter/no_prompt",
)  # fmt: skip
BAR = "{desc:<56}{percentage:3.0f}% |{bar:10}| {elapsed}"
NEXT = """Go on with
  {python} app.py {folder}/model
  {python} run_ctr.py --model_name_or_path {folder}/model --train_file {folder}/train.csv \\
    --test_file {folder}/test.csv --do_bitwise_search --do_predict --output_dir {folder}/predicted

All output of the steps is in {log}."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=Path, default=Path("out/demo"))
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="processes that search; default: cores"
    )
    args = parser.parse_args()
    folder: Path = args.output_dir
    folder.mkdir(parents=True, exist_ok=True)
    steps = Steps(folder / "log.txt")
    print("One language model, many tasks, no prompts: each task is a code of ten integers.\n", flush=True)

    import transformers

    from tasks.scenes import HELD_OUT_TASKS

    names = [task.name for task in HELD_OUT_TASKS]
    steps.follow("1 A tiny language model learns 36 tasks, asked in words", 1000, learn_language, folder)
    steps.follow("2 Stage 1: a codebook for them, asked without words", 800, train_stage, folder, 1)
    steps.follow("3 Stage 2: the language model learns along", 150, train_stage, folder, 2)
    scores = steps.share_out(
        "4 12 new tasks: a code for each, from 32 examples", args.workers, find_code, folder, names
    )
    scores = [score for of_task in scores for score in of_task]
    transformers.utils.logging.disable_progress_bar()
    save_model(folder, scores)
    show_table(folder, scores)
    show_answers(folder)
    write_new_task(folder)
    print(NEXT.format(folder=folder, python=os.path.relpath(sys.executable), log=steps.log))


class Steps:
    """Runs steps in processes of their own, with one bar each; all that they print goes to a log file."""

    def __init__(self, log: Path):
        self.log = log
        log.write_text("", encoding="utf-8")
        # A forked process has the libraries already. Elsewhere than on Linux they do not bear it.
        self.context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")

    def follow(self, title: str, total: int, step: Callable, *args: object) -> None:
        """Run one process, and show what the bar that it prints itself shows, which has `total` steps."""
        start = self.log.stat().st_size
        with self._pool(1) as pool, tqdm(total=total, desc=title, bar_format=BAR) as bar:
            running = pool.submit(step, *args)
            while not wait([running], 0.3).done:
                printed = self.log.read_bytes()[start:].decode("utf-8", "replace")
                if found := re.findall(rf"\b(\d+)/{total} \[", printed):
                    bar.update(int(found[-1]) - bar.n)
            self._get_result(running, pool)
            bar.update(total - bar.n)

    def share_out(self, title: str, workers: int, step: Callable, folder: Path, names: Sequence[str]) -> list:
        """Run one call for each name, a few at a time; the results in order of the names."""
        with self._pool(workers) as pool, tqdm(total=len(names), desc=title, bar_format=BAR) as bar:
            running = [pool.submit(step, folder, name) for name in names]
            for each in running:
                each.add_done_callback(lambda _: bar.update())
            return [self._get_result(each, pool) for each in running]

    def _pool(self, workers: int) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(workers, self.context, initializer=send_output_to, initargs=(self.log,))

    def _get_result(self, running: Future, pool: ProcessPoolExecutor):
        try:
            return running.result()
        except Exception as error:
            pool.shutdown(cancel_futures=True)
            sys.exit(f"Error: this step failed ({error}); all that it printed is in {self.log}.")


def send_output_to(log: Path) -> None:
    """Append all that this process prints to a file."""
    file = log.open("a", encoding="utf-8", buffering=1)
    sys.stdout = sys.stderr = file
    for stream in (1, 2):  # what holds the old objects, or is not written in Python
        os.dup2(file.fileno(), stream)


# ------------------------------------------------------------------------------------------------------- the steps


def learn_language(folder: Path) -> None:
    """Make all data, and train the language model that everything starts from."""
    from scenes_language_model import train_language_model

    from tasks.scenes import write_scenes

    write_scenes(folder / "tasks", SEED)
    train_language_model(folder / "lm", SEED)


def train_stage(folder: Path, stage: int) -> None:
    """Train one stage, as its command does."""
    import run_ctr

    start = "lm" if stage == 1 else "stage1"
    flags = ["--templates_dir", f"{folder}/tasks/templates", "--train_tasks", f"{folder}/tasks/training_tasks.yaml"]
    flags += ["--model_name_or_path", f"{folder / start}", "--output_dir", f"{folder}/stage{stage}"]
    if stage == 2:  # whose settings also hold those of the searches, which are shared out here
        flags += ["--do_code_ensemble", "False", "--do_bitwise_search", "False", "--do_eval", "False"]
    run_ctr.main([str(ROOT / f"examples/scenes_stage{stage}.yaml"), *flags, "--seed", str(SEED)])


def find_code(folder: Path, name: str) -> list:
    """Search for the code of one task, and score it beside the training tasks' codes and the task asked in words."""
    import run_ctr
    from evaluation.score import load_scores

    output_dir = folder / "held_out" / name.split("/")[1]
    flags = ["--do_train", "False", "--templates_dir", f"{folder}/tasks/templates", "--tasks", name]
    flags += ["--model_name_or_path", f"{folder}/stage2", "--output_dir", str(output_dir)]
    run_ctr.main([str(ROOT / "examples/scenes_stage2.yaml"), *flags, "--few_shot_seeds", str(SEED)])
    scores, _ = load_scores(output_dir / "report.json")
    return [*scores, ask_in_words(folder, name)]


def ask_in_words(folder: Path, name: str):
    """Score the language model itself on the same rows, asked in words."""
    from scenes import score_words
    from transformers import AutoTokenizer, T5ForConditionalGeneration

    from evaluation.protocol import Draws, held_out_examples
    from tasks import FeatureBuilder, load_rows, load_tasks, select_tasks
    from tasks.scenes import ALL_TASKS

    tokenizer = AutoTokenizer.from_pretrained(folder / "lm")
    language_model = T5ForConditionalGeneration.from_pretrained(folder / "lm").eval()
    (task,) = select_tasks(load_tasks(folder / "tasks" / "templates"), [name])
    rows = load_rows(task.dataset, task.source)
    builder = FeatureBuilder(tokenizer, max_source_length=32, max_target_length=4)
    (examples,) = held_out_examples([task], rows, builder, Draws(num_unlabelled=0), SEED)
    (prompts,) = [scene.prompts() for scene in ALL_TASKS if scene.name == name]
    return score_words(language_model, tokenizer, examples, prompts, SEED)


# ------------------------------------------------------------------------------------------------------- the result


def save_model(folder: Path, scores: list) -> None:
    """Save the trained model with the codes that Bitwise Search found, and what their tasks answer."""
    from transformers import AutoTokenizer

    from modeling_ctr import CTRForConditionalGeneration
    from modeling_ctr.task_details import TaskDetails
    from tasks.scenes import HELD_OUT_TASKS
    from trainers.hub import save_for_hub

    model = CTRForConditionalGeneration.from_pretrained(folder / "stage2")
    codes = {f"{score.task}/{score.template}": score.code for score in scores if score.method == "Bitwise Search"}
    for task in HELD_OUT_TASKS:
        answers = list(task.choices)
        model.add_task(task.name, codes[task.name], TaskDetails(answers=answers, labels=answers, max_source_length=32))
    save_for_hub(model, AutoTokenizer.from_pretrained(folder / "stage2"), folder / "model")


def show_table(folder: Path, scores: list) -> None:
    """Print the mean accuracy of each method, and write the whole report."""
    from evaluation.report import write_report
    from evaluation.terminal import print_table

    scores = sorted(scores, key=lambda score: METHODS.index(score.method))
    write_report(scores, folder, {"seed": SEED, "few-shot examples": 32, "test rows per task": 250})
    print()
    print_table(scores, folder / "report.md")
    print("Processors round differently, and so these numbers differ by some points between them.\n")


def show_answers(folder: Path) -> None:
    """Print what the saved model answers to one text under the codes of three new tasks."""
    from task_codes import TaskSolver
    from tasks.scenes import scene_rows

    solver = TaskSolver.from_pretrained(folder / "model")
    text = scene_rows(1, seed=7)["scene"][0]
    print(f"One text, three of the new tasks. Only the code in front of the text differs:\n{text}\n")
    for task in SHOWN_TASKS:
        code = " ".join(f"{value:3}" for value in solver.model.get_task_code(task).tolist())
        (answers,) = solver([text], task=task, top_k=2)
        likely = ", ".join(f"{answer['label']} {answer['score']:.0%}" for answer in answers)
        print(f"{task.split('/')[1]:<18}{code}   {likely}")
    print()


def write_new_task(folder: Path) -> None:
    """Write texts of one of the new tasks as a user would have them: 8 of each label, and 200 to predict."""
    from tasks.scenes import HELD_OUT_TASKS, scene_rows

    (task,) = [task for task in HELD_OUT_TASKS if task.name == SHOWN_TASKS[0]]
    rows = scene_rows(400, seed=8)
    lines = [f"{text},{task.choices[value]}" for text, value in zip(rows["scene"], rows[task.column], strict=True)]
    train = [line for answer in task.choices for line in [line for line in lines[:200] if line.endswith(answer)][:8]]
    for name, of_file in (("train", train), ("test", lines[200:])):
        (folder / f"{name}.csv").write_text("\n".join(["text,label", *of_file, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
