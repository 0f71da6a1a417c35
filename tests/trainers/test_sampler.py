import random

import numpy as np
import pytest
from datasets import Dataset, concatenate_datasets

from trainers.sampler import LengthGroupedBatchOrder, TokenBudgetBatches, count_tokens

DRAW = random.Random(1)
LENGTHS = [DRAW.randrange(1, 200) for _ in range(1003)]


def test_every_example_once_an_epoch_in_an_order_of_its_own():
    sampler = LengthGroupedBatchOrder(LENGTHS, batch_size=8, seed=3)
    first = list(sampler)
    assert sorted(first) == list(range(1003)) and len(sampler) == 1003
    assert list(sampler) == first
    sampler.set_epoch(1)
    assert list(sampler) != first
    assert list(LengthGroupedBatchOrder(LENGTHS, batch_size=8, seed=4)) != first


def test_batches_hold_examples_of_like_length():
    order = list(LengthGroupedBatchOrder(LENGTHS, batch_size=8, seed=3))

    def padding_share(order):
        batches = [[LENGTHS[i] for i in order[start : start + 8]] for start in range(0, len(order), 8)]
        return 1 - sum(map(sum, batches)) / sum(max(b) * len(b) for b in batches)

    shuffled = random.Random(0).sample(range(1003), 1003)
    assert padding_share(order) < 0.2 * padding_share(shuffled)


def test_batches_do_not_come_sorted():
    order = list(LengthGroupedBatchOrder(LENGTHS, batch_size=8, seed=3))
    firsts = [LENGTHS[order[start]] for start in range(0, 400, 8)]
    assert firsts != sorted(firsts) and firsts != sorted(firsts, reverse=True)


SOURCES, TARGETS = np.array(LENGTHS), np.array([DRAW.randrange(1, 30) for _ in LENGTHS])


def padded_tokens(batch: list[int]) -> int:
    return len(batch) * int(SOURCES[batch].max() + TARGETS[batch].max())


def test_batches_by_tokens_hold_every_example_once_an_epoch_within_the_budget():
    sampler = TokenBudgetBatches(SOURCES, TARGETS, tokens=3000, parts=1, seed=3)
    first = list(sampler)
    assert sorted(sum(first, [])) == list(range(1003)) and len(sampler) == len(first)
    assert max(map(padded_tokens, first)) <= 3000
    assert np.mean([padded_tokens(batch) for batch in first]) > 0.6 * 3000  # 8 or 16 examples
    assert list(sampler) == first
    sampler.set_epoch(1)
    second = list(sampler)
    assert sorted(sum(second, [])) == list(range(1003)) and len(second) == len(first)
    pairs, others = ({(i, j) for b in batches for i in b for j in b if i < j} for batches in (first, second))
    assert len(pairs & others) < 0.35 * len(pairs)  # who is with whom
    assert list(TokenBudgetBatches(SOURCES, TARGETS, tokens=3000, parts=1, seed=4)) != first


def test_batches_by_tokens_pad_little_and_do_not_come_sorted():
    batches = list(TokenBudgetBatches(SOURCES, TARGETS, tokens=3000, parts=1, seed=3))
    shuffled = random.Random(0).sample(range(1003), 1003)
    by_examples = [shuffled[start : start + 20] for start in range(0, 1003, 20)]

    def padding_share(batches):
        return 1 - (SOURCES.sum() + TARGETS.sum()) / sum(map(padded_tokens, batches))

    assert padding_share(batches) < 0.65 * padding_share(by_examples)
    longest = [int(SOURCES[batch].max()) for batch in batches]
    assert longest != sorted(longest) and longest != sorted(longest, reverse=True)


def test_any_split_of_a_step_has_the_same_examples_evenly():
    whole = list(TokenBudgetBatches(SOURCES, TARGETS, tokens=4000, parts=1, seed=3))
    for parts in (2, 4, 8):
        sampler = TokenBudgetBatches(SOURCES, TARGETS, tokens=4000 // parts, parts=parts, seed=3)
        batches = list(sampler)
        assert len(batches) == len(sampler) and max(map(padded_tokens, batches)) <= 4000 // parts
        steps = [batches[start : start + parts] for start in range(0, len(batches), parts)]
        assert all(len({len(batch) for batch in step}) == 1 for step in steps)
        joined = [sum(step, []) for step in steps]
        # but for the one that is filled up
        assert sum(sorted(a) != sorted(b) for a, b in zip(joined, whole, strict=True)) <= 1
        assert 1003 <= sum(map(len, joined)) < 1003 + parts and len(set(sum(joined, []))) == 1003


def test_tasks_come_in_proportion():
    tasks = np.arange(1003) % 10 == 0  # a tenth, of all lengths
    shares = []
    for epoch in range(40):
        sampler = TokenBudgetBatches(SOURCES, TARGETS, tokens=3000, parts=1, seed=3)
        sampler.set_epoch(epoch)
        shares.append(np.mean([tasks[batch].mean() for batch in list(sampler)[:10]]))  # of the first ten steps
    assert np.mean(shares) == pytest.approx(0.1, abs=0.015)


def test_a_budget_without_room_for_the_longest_is_refused():
    with pytest.raises(ValueError, match="A batch of 100 tokens has no room for the longest source"):
        TokenBudgetBatches(SOURCES, TARGETS, tokens=100, parts=1, seed=3)


def test_tokens_are_counted_where_rows_are_chosen_and_joined():
    rows = Dataset.from_dict({"labels": [[1] * length for length in (3, 0, 5, 2)]})
    joined = concatenate_datasets([rows, rows.select([2, 0])])
    assert count_tokens(joined, "labels").tolist() == [3, 0, 5, 2, 5, 3]


def test_tokens_are_counted_in_any_sequence_of_rows():
    rows = [{"labels": [1] * length} for length in (3, 0, 5)]
    assert count_tokens(rows, "labels").tolist() == [3, 0, 5]
