"""Tries to load every data set that shipped templates name, from where they name it; needs a network.

    python tools/check_datasets.py               # all of them
    python tools/check_datasets.py anli/r1 imdb  # some

Of each data set the first rows of both splits are streamed and rendered by all of its templates. A line for each says
what was found; the exit code is the number of those that failed.
"""

import argparse
import logging
import sys
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tasks import DataError, Task, TemplateError, load_rows, load_tasks

NUM_ROWS = 20


def check_dataset(tasks: Sequence[Task]) -> str:
    """Loads and renders the first rows of a data set.

    Raises:
        DataError: It cannot be loaded, or no row of a split is an example under some template.
        TemplateError: A template fails on a row.
    """
    rows = load_rows(tasks[0].dataset, tasks[0].source, streaming=True)
    counts = []
    for split, stream in ((rows.train_split, rows.train), (rows.evaluation_split, rows.evaluation)):
        first = list(islice(stream, NUM_ROWS))
        for task in tasks:
            examples = [task.example(row, index, check_answer=False) for index, row in enumerate(first)]
            if not any(example is not None and example.target_text for example in examples):
                raise DataError(
                    f"{task.name}: none of the first {len(first)} rows of {split} has an input and a target."
                )
        counts.append(f"{split} ({len(first)} rows read)")
    return " and ".join(dict.fromkeys(counts))


def main(names: Iterable[str]) -> int:
    """Checks data sets, prints a line for each, and returns how many failed."""
    by_dataset: dict[str, list[Task]] = {}
    for tasks in (load_tasks("no_prompt"), load_tasks("prompted")):
        for task in tasks.values():
            by_dataset.setdefault(task.dataset, []).append(task)
    asked = list(names) or list(by_dataset)
    if unknown := [name for name in asked if name not in by_dataset]:
        sys.exit(f"There are no shipped templates for {', '.join(unknown)}; there are for {', '.join(by_dataset)}.")
    failed = 0
    for name in asked:
        source = by_dataset[name][0].source
        where = source.path if source is not None else name
        try:
            print(f"ok      {name}: {where}, {check_dataset(by_dataset[name])}", flush=True)
        except (DataError, TemplateError) as error:
            failed += 1
            print(f"FAILED  {name}: {where}: {error}", flush=True)
    print(f"{len(asked) - failed} of {len(asked)} data sets can be loaded.")
    return failed


if __name__ == "__main__":
    logging.getLogger("tasks.data").setLevel(logging.ERROR)  # one split only is no fault here
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("datasets", nargs="*", help="Names of data sets; all without.")
    sys.exit(main(parser.parse_args().datasets))
