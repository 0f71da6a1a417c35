import numpy as np
import pytest
from sklearn.metrics import adjusted_mutual_info_score

from codebook_report.analysis import (
    compute_attribute_information,
    compute_similarity,
    compute_similarity_by_common_attributes,
    count_usage,
    find_shared_values,
    find_similar_pairs,
    find_value_owners,
    get_cluster_order,
)

CODES = np.array([[1, 2, 3, 4], [5, 6, 7, 0], [1, 2, 3, 0], [5, 6, 1, 0]])
NAMES = ["a", "b", "c", "d"]


def test_usage_counts_tasks_by_position_and_value():
    counts = count_usage(CODES, 8)
    assert counts.shape == (4, 8)
    assert counts[0].tolist() == [0, 2, 0, 0, 0, 2, 0, 0]
    assert counts[3].tolist() == [3, 0, 0, 0, 1, 0, 0, 0]


def test_similarity_is_the_share_of_equal_positions():
    expected = [[1, 0, 0.75, 0], [0, 1, 0.25, 0.75], [0.75, 0.25, 1, 0.25], [0, 0.75, 0.25, 1]]
    assert compute_similarity(CODES) == pytest.approx(np.array(expected))


def test_clustering_puts_similar_tasks_side_by_side():
    order = [NAMES[i] for i in get_cluster_order(CODES)]
    assert abs(order.index("a") - order.index("c")) == 1
    assert abs(order.index("b") - order.index("d")) == 1


@pytest.mark.parametrize("count", [1, 2])
def test_one_and_two_tasks(count):
    assert sorted(get_cluster_order(CODES[:count])) == list(range(count))
    assert compute_similarity(CODES[:count]).shape == (count, count)
    assert find_similar_pairs(CODES[:count], NAMES, 5) == []


def test_similar_pairs_come_most_similar_first():
    assert find_similar_pairs(CODES, NAMES, 3) == [("a", "c", 3), ("b", "d", 3), ("b", "c", 1)]


def test_shared_values_with_their_tasks():
    assert find_shared_values(CODES, NAMES) == [
        [(1, ["a", "c"]), (5, ["b", "d"])],
        [(2, ["a", "c"]), (6, ["b", "d"])],
        [(3, ["a", "c"])],
        [(0, ["b", "c", "d"])],
    ]


def test_owners_of_the_values_of_a_code():
    assert find_value_owners([1, 6, 9, 4], CODES, NAMES) == [["a", "c"], ["b", "d"], [], ["a"]]


def grid(codes_of):
    """24 tasks of two factors, and a code for each."""
    factors = [(i % 4, i // 4) for i in range(24)]
    names = [f"{a}-{b}" for a, b in factors]
    attributes = {name: {"first": f"v{a}", "second": f"w{b}"} for name, (a, b) in zip(names, factors, strict=True)}
    return np.array([codes_of(a, b) for a, b in factors]), names, attributes


def test_information_of_positions_that_are_an_attribute_and_of_one_that_is_not():
    codes, names, attributes = grid(lambda a, b: [a + 10, 30 - b, (a * 7 + b * 5) % 6])
    first, second = compute_attribute_information(codes, names, attributes)
    assert (first.attribute, first.num_tasks, first.num_values) == ("first", 24, 4)
    assert first.scores[0] == pytest.approx(1)
    assert first.scores[1] < 0.05
    assert second.scores[1] == pytest.approx(1)
    assert 0 < first.chance < 0.5
    assert max(first.scores[1], second.scores[0]) < min(first.chance, second.chance)


def test_scores_are_scikit_learns():
    codes, names, attributes = grid(lambda a, b: [(a * 7 + b * 5) % 6, (a + b) % 3, 0])
    for information in compute_attribute_information(codes, names, attributes, shuffles=1):
        values = [attributes[name][information.attribute] for name in names]
        expected = [adjusted_mutual_info_score(values, column) for column in codes.T]
        assert information.scores == pytest.approx(expected, abs=1e-9)


def test_values_that_no_two_tasks_share_tell_nothing():
    """The mutual information itself would be the largest possible."""
    codes, names, attributes = grid(lambda a, b: [a + 10 * b])
    first, _ = compute_attribute_information(codes, names, attributes)
    assert first.scores[0] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("value", [lambda i: "same", lambda i: str(i)])
def test_attributes_that_cannot_be_shared_are_left_out(value):
    attributes = {name: {"x": value(i)} for i, name in enumerate(NAMES)}
    assert compute_attribute_information(CODES, NAMES, attributes) == []


def test_tasks_without_the_attribute_do_not_count():
    codes, names, attributes = grid(lambda a, b: [a, b])
    information = compute_attribute_information(
        codes, names, {n: v for n, v in attributes.items() if v["second"] != "w5"}
    )
    assert [i.num_tasks for i in information] == [20, 20]


def test_similarity_by_number_of_common_attributes():
    codes, names, attributes = grid(lambda a, b: [a, b, a + 10, a * 6 + b])
    groups = compute_similarity_by_common_attributes(codes, names, attributes)
    assert [n for n, _, _ in groups] == [0, 1]
    assert sum(pairs for _, pairs, _ in groups) == 24 * 23 / 2
    same_first, same_second = 4 * (6 * 5 / 2), 6 * (4 * 3 / 2)
    assert groups[0][2] == 0
    assert groups[1][2] == pytest.approx((same_first * 2 + same_second * 1) / 4 / (same_first + same_second))


def test_no_known_attributes_no_groups():
    assert compute_similarity_by_common_attributes(CODES, NAMES, {}) == []
