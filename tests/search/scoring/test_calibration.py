import math

import torch

from search import batch_calibration


def test_a_constant_bias_is_taken_out():
    """A model that adds the same to one choice's score everywhere answers as if it did not."""
    generator = torch.Generator().manual_seed(0)
    fair = torch.randn(3, 40, 4, generator=generator, dtype=torch.float64)
    biased = fair + torch.tensor([0.0, 5.0, 0.0, -2.0], dtype=torch.float64)
    assert (biased.argmax(-1) == 1).double().mean() > 0.9
    shares = torch.bincount(batch_calibration(biased).argmax(-1).flatten(), minlength=4) / 120
    assert shares.min() > 0.1


def test_by_definition():
    scores = torch.tensor([[0.6, 0.4], [0.9, 0.1]], dtype=torch.float64).log() - 3
    torch.testing.assert_close(
        batch_calibration(scores).exp(),
        torch.tensor([[0.6 / 0.75, 0.4 / 0.25], [0.9 / 0.75, 0.1 / 0.25]], dtype=torch.float64),
    )


def test_choices_that_an_example_does_not_have():
    scores = torch.tensor([[0.0, 0.0, -math.inf], [0.0, 1.0, 2.0], [1.0, 0.0, 0.0]], dtype=torch.float64)
    calibrated = batch_calibration(scores)
    assert torch.equal(calibrated.isneginf(), scores.isneginf()) and not calibrated.isnan().any()
    # The third choice's mean is over the two examples that have it.
    mean = scores[1:].softmax(-1)[:, 2].mean()
    torch.testing.assert_close(calibrated[1, 2], scores[1].softmax(-1)[2].log() - mean.log())
