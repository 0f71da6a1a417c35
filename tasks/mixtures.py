"""Mixtures by name: lists of data sets that stand wherever the name of a data set may.

- `t0`: the 39 training data sets of T0; `t0_held_out`: its 11 held-out ones (Sanh et al. 2022, arXiv:2110.08207).
- `t0_data`, `t0_data_held_out`: those of them that are in the user's folder of rows (`data_dir`).
- `scenes`, `scenes_held_out`: the embedded benchmark's tasks (`tasks.scenes`; give its folder of templates).
- a path ending in .yaml: a list of one's own, of data sets, tasks and other mixtures::

    - ag_news
    - super_glue/rte/premise_hypothesis_yes_no
    - t0_held_out

Task ids are positions in the expanded list, so these lists only ever grow at their ends.
"""

from collections.abc import Sequence
from pathlib import Path

from .data import has_rows
from .template_file import read_yaml

T0_TRAINING = (
    "adversarial_qa/dbidaf",
    "adversarial_qa/dbert",
    "adversarial_qa/droberta",
    "ag_news",
    "amazon_polarity",
    "app_reviews",
    "cnn_dailymail/3.0.0",
    "common_gen",
    "commonsense_qa",
    "cos_e/v1.11",
    "cosmos_qa",
    "dbpedia_14",
    "dream",
    "duorc/ParaphraseRC",
    "duorc/SelfRC",
    "gigaword",
    "glue/mrpc",
    "glue/qqp",
    "imdb",
    "kilt_tasks/hotpotqa",
    "multi_news",
    "paws/labeled_final",
    "qasc",
    "quail",
    "quarel",
    "quartz",
    "quoref",
    "ropes",
    "rotten_tomatoes",
    "samsum",
    "sciq",
    "social_i_qa",
    "trec",
    "wiki_bio",
    "wiki_hop/original",
    "wiki_qa",
    "wiqa",
    "xsum",
    "yelp_review_full",
)
T0_HELD_OUT = (
    "anli/r1",
    "anli/r2",
    "anli/r3",
    "hellaswag",
    "story_cloze/2016",
    "super_glue/cb",
    "super_glue/copa",
    "super_glue/rte",
    "super_glue/wic",
    "super_glue/wsc.fixed",
    "winogrande/winogrande_xl",
)
MIXTURES: dict[str, tuple[str, ...]] = {"t0": T0_TRAINING, "t0_held_out": T0_HELD_OUT}
# Kept only as far as their rows are at hand. adversarialQA is the three sets of adversarial_qa in one.
MIXTURES_AT_HAND: dict[str, tuple[str, ...]] = {
    "t0_data": (*T0_TRAINING, "adversarial_qa/adversarialQA"),
    "t0_data_held_out": T0_HELD_OUT,
}
SCENES = ("scenes", "scenes_held_out")


def mixture_names() -> list[str]:
    """Names that `expand_mixtures` knows, files aside."""
    return [*MIXTURES, *MIXTURES_AT_HAND, *SCENES]


def expand_mixtures(names: Sequence[str], data_dir: str | Path | None = None) -> list[str]:
    """Puts the members of mixtures in the place of their names; other names stay as they are.

    Args:
        names: Names of mixtures, YAML files, and anything else.
        data_dir: The folder that `t0_data` looks into; see `tasks.data.load_rows`.

    Raises:
        ValueError: A file is not there, is not a list of names or comes back to itself; or a mixture of what is at
            hand is named without `data_dir`, or has nothing there.
    """
    return _expand(names, Path(), data_dir, ())


def _expand(names: Sequence[str], folder: Path, data_dir: str | Path | None, within: tuple[Path, ...]) -> list[str]:
    expanded: list[str] = []
    for name in names:
        if name in MIXTURES:
            expanded += MIXTURES[name]
        elif name in SCENES:
            expanded += _scenes(held_out=name != "scenes")
        elif name in MIXTURES_AT_HAND:
            if data_dir is None:
                raise ValueError(f"The mixture {name!r} is what a folder of rows holds: name the folder (data_dir).")
            at_hand = [dataset for dataset in MIXTURES_AT_HAND[name] if has_rows(dataset, data_dir)]
            if not at_hand:
                raise ValueError(f"The mixture {name!r} is empty: {data_dir} has no rows of any of its data sets.")
            expanded += at_hand
        elif name.endswith((".yaml", ".yml")):
            path = (folder / name).resolve()
            if path in within:
                raise ValueError(f"The mixture {path} contains itself, by way of {within[-1]}.")
            expanded += _expand(_names_in(path), path.parent, data_dir, (*within, path))
        else:
            expanded.append(name)
    return expanded


def _scenes(held_out: bool) -> list[str]:
    # Not at the top: `python -m tasks.scenes` is to be the module's first import.
    from .scenes import ALL_TASKS, DATASET

    return [f"{DATASET}/{task.label}" for task in ALL_TASKS if task.held_out == held_out]


def _names_in(path: Path) -> list[str]:
    if not path.is_file():
        raise ValueError(f"There is no mixture file {path}.")
    names = read_yaml(path)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{path} is not a mixture: it must be a YAML list of names of data sets, tasks and mixtures.")
    return names
