"""What can be read off the codes of a set of tasks. Pure functions of integer arrays; nothing is drawn here.

Codes are numpy arrays `(num_tasks, code_length)` of integers in `[0, codebook_size)`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import pdist, squareform
from scipy.stats import entropy
from sklearn.metrics import mutual_info_score
from sklearn.metrics.cluster import expected_mutual_information

MOST_ORDERED_TASKS = 500


def count_usage(codes: np.ndarray, codebook_size: int) -> np.ndarray:
    """Count by how many tasks each value is used at each position: `(code_length, codebook_size)`, int64."""
    return np.stack([np.bincount(column, minlength=codebook_size) for column in codes.T])


def compute_similarity(codes: np.ndarray) -> np.ndarray:
    """Compute the share of positions at which two tasks have the same value: `(num_tasks, num_tasks)`, float64, 1 on the diagonal."""
    return 1 - squareform(pdist(codes, "hamming"))


def build_tree(codes: np.ndarray) -> np.ndarray | None:
    """Build scipy's average-linkage tree `(num_tasks - 1, 4)` over the share of different positions; None for one task."""
    if len(codes) == 1:
        return None
    # The best order of the leaves takes time that grows with the cube of their number: 40 seconds for 2,000.
    return linkage(codes, "average", "hamming", optimal_ordering=len(codes) <= MOST_ORDERED_TASKS)


def get_cluster_order(codes: np.ndarray) -> np.ndarray:
    """Order the tasks `(num_tasks,)`, similar ones side by side."""
    tree = build_tree(codes)
    return np.arange(len(codes)) if tree is None else leaves_list(tree)


def find_similar_pairs(codes: np.ndarray, names: Sequence[str], count: int) -> list[tuple[str, str, int]]:
    """Find the `count` pairs of tasks with most positions equal, and how many; none without."""
    first, second = np.triu_indices(len(codes), 1)
    equal = (codes[first] == codes[second]).sum(1)
    best = np.argsort(-equal, kind="stable")[:count]
    return [(names[first[i]], names[second[i]], int(equal[i])) for i in best if equal[i]]


def find_shared_values(codes: np.ndarray, names: Sequence[str]) -> list[list[tuple[int, list[str]]]]:
    """Find per position the values that two or more tasks have there, with those tasks; the most shared value first."""
    positions = []
    for column in codes.T:
        values, counts = np.unique(column, return_counts=True)
        ranked = sorted(zip(-counts, values, strict=True))
        positions.append(
            [(int(v), [names[i] for i in np.flatnonzero(column == v)]) for count, v in ranked if count < -1]
        )
    return positions


def find_value_owners(code: Sequence[int], codes: np.ndarray, names: Sequence[str]) -> list[list[str]]:
    """Find per position of `code` the tasks that have its value there."""
    return [[names[i] for i in np.flatnonzero(codes[:, p] == value)] for p, value in enumerate(code)]


@dataclass(frozen=True)
class AttributeInformation:
    """How much each position tells about an attribute.

    Attributes:
        attribute: Its name.
        num_tasks: Tasks whose value is known.
        num_values: Distinct values among them.
        scores: Adjusted mutual information per position, `(code_length,)`: 1 where position and attribute determine
            each other, 0 on average where they are independent.
        chance: What the largest of the positions exceeds in 5 of 100 shuffles of the attribute over the tasks.
    """

    attribute: str
    num_tasks: int
    num_values: int
    scores: np.ndarray
    chance: float


def compute_attribute_information(
    codes: np.ndarray,
    names: Sequence[str],
    attributes: Mapping[str, Mapping[str, str]],
    shuffles: int = 100,
    seed: int = 0,
) -> list[AttributeInformation]:
    """Compute adjusted mutual information between each position and each attribute, beside its chance level.

    Attributes with one value, or another one for every task, say nothing about sharing and are left out.
    """
    draw = np.random.default_rng(seed)
    found = []
    for attribute in dict.fromkeys(a for name in names for a in attributes.get(name, {})):
        known = [i for i, name in enumerate(names) if attribute in attributes.get(name, {})]
        values = np.array([attributes[names[i]][attribute] for i in known])
        num_values = len(np.unique(values))
        if not 1 < num_values < len(known):
            continue
        # Shuffling moves only the mutual information; what it is adjusted by depends on the counts alone.
        columns = [_AdjustedInformation(column, values) for column in codes[known].T]
        permutations = [draw.permutation(len(known)) for _ in range(shuffles)]
        by_chance = [max(column(permutation) for column in columns) for permutation in permutations]
        scores = np.array([column(np.arange(len(known))) for column in columns])
        found.append(
            AttributeInformation(attribute, len(known), num_values, scores, float(np.quantile(by_chance, 0.95)))
        )
    return found


class _AdjustedInformation:
    """Adjusted mutual information of two labellings `(num_tasks,)`, for any permutation of the second.

    As `sklearn.metrics.adjusted_mutual_info_score`, which is too slow to be called for every shuffle.
    """

    def __init__(self, first: np.ndarray, second: np.ndarray):
        self.first, self.second = np.unique(first, return_inverse=True)[1], np.unique(second, return_inverse=True)[1]
        self.shape = (self.first.max() + 1, self.second.max() + 1)
        table = self._table(np.arange(len(first)))
        self.expected = expected_mutual_information(table, len(first))
        self.mean_entropy = np.mean([entropy(table.sum(axis)) for axis in (0, 1)])

    def __call__(self, permutation: np.ndarray) -> float:
        information = mutual_info_score(None, None, contingency=self._table(permutation))
        return float((information - self.expected) / max(self.mean_entropy - self.expected, np.finfo(float).eps))

    def _table(self, permutation: np.ndarray) -> np.ndarray:
        table = np.zeros(self.shape, dtype=np.int64)
        np.add.at(table, (self.first, self.second[permutation]), 1)
        return table


def compute_similarity_by_common_attributes(
    codes: np.ndarray, names: Sequence[str], attributes: Mapping[str, Mapping[str, str]]
) -> list[tuple[int, int, float]]:
    """Count pairs of tasks by how many attributes they have in common: `(attributes in common, pairs, mean similarity)`.

    Only tasks with the full set of attributes; empty where no two of them share one.
    """
    all_attributes = {attribute for name in names for attribute in attributes.get(name, {})}
    known = [i for i, name in enumerate(names) if all_attributes and set(attributes.get(name, {})) == all_attributes]
    if len(known) < 2:
        return []
    values = [[attributes[names[i]][attribute] for attribute in sorted(all_attributes)] for i in known]
    labels = np.array(values)
    first, second = np.triu_indices(len(known), 1)
    common = (labels[first] == labels[second]).sum(1)
    shares = compute_similarity(codes[known])[first, second]
    groups = [(int(n), int((common == n).sum()), float(shares[common == n].mean())) for n in np.unique(common)]
    return groups if len(groups) > 1 else []
