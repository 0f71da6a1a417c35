"""Do codes matter? Each training task under its own code, under the other tasks' codes, and without any.

    python benchmarks/own_codes.py out/t0_data/ctr_stage2 --data_dir DATA --rows 60

Where the accuracy with a task's own code is no higher than with the others', the language model tells the tasks apart by
their inputs, the codes carry nothing, and a search over them has nothing to find.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a clone, installed or not

from transformers import AutoTokenizer

from evaluation.examples import Draws, draw_examples
from evaluation.judge import Judge
from evaluation.tables import format_markdown_table
from modeling_ctr import CTRForConditionalGeneration
from tasks import FeatureBuilder, load_rows, load_tasks, select_tasks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="A trained CTR model.")
    parser.add_argument("--data_dir", help="A folder with a folder of rows per data set.")
    parser.add_argument("--templates_dir", nargs="*", default=["no_prompt"], help="As in run_ctr.py.")
    parser.add_argument("--rows", type=int, default=60, help="Evaluation rows of each task.")
    parser.add_argument("--max_source_length", type=int, default=128)
    args = parser.parse_args()
    model = CTRForConditionalGeneration.from_pretrained(args.checkpoint)
    builder = FeatureBuilder(AutoTokenizer.from_pretrained(args.checkpoint), args.max_source_length)
    tasks = select_tasks(load_tasks(*args.templates_dir), model.config.task_names, args.data_dir)
    draws = Draws(num_shots=0, num_unlabelled=0, max_eval_samples=args.rows)
    table, raw, own, others, best = [], [], [], [], []
    for task_id, task in enumerate(tasks):
        if not task.has_choices:
            continue
        (examples,) = draw_examples(
            [task], load_rows(task.dataset, task.source, args.data_dir), builder, draws, seed=0
        )
        judge = Judge(model, examples, builder)
        accuracies = [judge.scored("", answers, 0).accuracy for answers in judge.answer_with_codes(model.task_codes())]
        raw.append(judge.score_raw_lm(0).accuracy)
        own.append(accuracies.pop(task_id))
        others.append(sum(accuracies) / len(accuracies))
        best.append(max(accuracies))
        values = (judge.score_majority(0).accuracy, raw[-1], own[-1], others[-1], best[-1])
        table.append([task.name, *(f"{100 * value:.1f}" for value in values)])
        print("\n".join(format_markdown_table([table[-1]])[:1]), flush=True)
    means = [f"{100 * sum(values) / len(values):.1f}" for values in (raw, own, others, best)]
    header = ["task", "majority class", "no code", "own code", "mean of the other codes", "best of the other codes"]
    print("\n".join(format_markdown_table([header, *table, ["**mean**", "", *means]])))


if __name__ == "__main__":
    main()
