"""Inputs and examples for the tasks of the embedded benchmark, which `make demo` trains a model on."""

from tasks.scenes import ALL_TASKS, HELD_OUT_TASKS, scene_rows

DEMO_TASKS = {task.name: task for task in ALL_TASKS}
HELD_OUT_DEMO_TASKS = [task.name for task in HELD_OUT_TASKS]
NUM_DEMO_EXAMPLES = 32


def demo_example(task: str) -> tuple[str, str]:
    """Return an input and the answer choices, one per line, of a task of the benchmark; empty for any other."""
    if task not in DEMO_TASKS:
        return "", ""
    return scene_rows(1, seed=0)["scene"][0], "\n".join(DEMO_TASKS[task].choices)


def demo_examples(task: str) -> str:
    """Return labelled examples of a task of the benchmark, as they would be pasted."""
    rows, choices, column = scene_rows(NUM_DEMO_EXAMPLES, seed=1), DEMO_TASKS[task].choices, DEMO_TASKS[task].column
    return "\n".join(f"{row['scene']}\t{choices[row[column]]}" for row in rows)
