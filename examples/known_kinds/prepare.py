"""Writes the rows of this experiment: `python examples/known_kinds/prepare.py data`.

Eleven data sets from the Hub (or from `--data_dir`, a folder of rows per data set), shuffled with a seed and cut to a few
thousand rows, and yes/no sets made from three of them: half of their rows are `yes`, so that a majority answers 50%.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run from a clone, installed or not

from datasets import Dataset, concatenate_datasets

from tasks import load_rows, load_tasks

ROWS, EVALUATION_ROWS = 2000, 500
DATASETS = (
    "amazon_polarity", "imdb", "ag_news", "trec", "glue/qqp", "social_i_qa", "qasc",  # training
    "rotten_tomatoes", "dbpedia_14", "glue/mrpc", "cos_e/v1.11",  # held out
)  # fmt: skip
# Name -> the data set it is made from, its label's field, and the label that means yes.
YES_NO = {
    "news_world": ("ag_news", "label", 0),
    "news_sports": ("ag_news", "label", 1),
    "news_business": ("ag_news", "label", 2),
    "news_technology": ("ag_news", "label", 3),
    "trec_thing": ("trec", "coarse_label", 1),
    "trec_description": ("trec", "coarse_label", 2),
    "trec_person": ("trec", "coarse_label", 3),
    "trec_place": ("trec", "coarse_label", 4),
    "trec_number": ("trec", "coarse_label", 5),
    "reviews_yes_no": ("rotten_tomatoes", "label", 1),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output_dir", type=Path, help="folder to write")
    parser.add_argument(
        "--data_dir", help="folder with a folder of rows per data set, where the Hub is not to be asked"
    )
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    sources = {task.dataset: task.source for task in load_tasks().values()}
    for name in DATASETS:
        rows = load_rows(name, sources[name], args.data_dir)
        for split, part, at_most in (
            (rows.train_split, rows.train, ROWS),
            (rows.evaluation_split, rows.evaluation, EVALUATION_ROWS),
        ):
            part = part.shuffle(seed=args.seed)
            write_rows(part.select(range(min(at_most, len(part)))), args.output_dir / name.replace("/", "_"), split)
            for derived in [key for key, (dataset, *_) in YES_NO.items() if dataset == name]:
                questions = make_yes_no(part, *YES_NO[derived][1:], at_most=at_most, seed=args.seed)
                write_rows(questions, args.output_dir / derived, split)


def make_yes_no(rows: Dataset, field: str, yes: int, at_most: int, seed: int) -> Dataset:
    """Make rows of `text` and `label` (1 where the field has the value `yes`), as many of either."""
    labeled = Dataset.from_dict({"text": rows["text"], "label": [int(value == yes) for value in rows[field]]})
    either = [labeled.filter(lambda row, label=label: row["label"] == label) for label in (0, 1)]
    each = min(at_most // 2, *map(len, either))
    return concatenate_datasets([part.select(range(each)) for part in either]).shuffle(seed=seed)


def write_rows(rows: Dataset, folder: Path, split: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rows.to_json(folder / f"{split}.jsonl")
    print(f"{folder / split}.jsonl: {len(rows)} rows")


if __name__ == "__main__":
    main()
