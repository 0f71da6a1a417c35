import random

from trainers.sampler import LengthGroupedBatchOrder

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
