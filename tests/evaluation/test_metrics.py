import pytest

from evaluation.metrics import RankClassification


def test_counts_what_it_says():
    values = RankClassification().compute(predictions=[0, 0, 1, 2, 0], references=[0, 1, 1, 2, 2], num_choices=4)
    assert values["accuracy"] == pytest.approx(3 / 5)
    # F1 of the classes 0, 1 and 2: 2·1/(3+1), 2·1/(1+2), 2·1/(1+2)
    assert values["macro_f1"] == pytest.approx((0.5 + 2 / 3 + 2 / 3) / 3)
    assert values["majority"] == pytest.approx(2 / 5)
    assert values["predicted_shares"] == pytest.approx([3 / 5, 1 / 5, 1 / 5, 0])


def test_batches_can_be_added():
    metric = RankClassification()
    metric.add_batch(predictions=[0, 1], references=[0, 0])
    metric.add_batch(predictions=[1], references=[1])
    assert metric.compute(num_choices=2)["accuracy"] == pytest.approx(2 / 3)
