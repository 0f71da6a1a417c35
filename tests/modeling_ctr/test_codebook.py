import math

import pytest
import torch
import torch.nn.functional as F

from modeling_ctr.codebook import (
    TaskCodebook,
    code_perplexity,
    code_usage,
    nearest_codes,
    straight_through,
    vq_loss,
)


@pytest.fixture
def codebook():
    torch.manual_seed(0)
    codebook = TaskCodebook(
        num_tasks=5,
        task_embedding_dim=6,
        code_length=3,
        codebook_size=7,
        code_dim=4,
        prompt_dim=8,
        commitment_cost=0.25,
    )
    for parameter in codebook.parameters():
        torch.nn.init.normal_(parameter)
    return codebook


def test_nearest_codes_are_those_of_an_exhaustive_comparison():
    torch.manual_seed(0)
    queries, vectors = torch.randn(50, 3, 4), torch.randn(11, 4)
    exhaustive = (queries[:, :, None] - vectors).square().sum(-1).argmin(-1)
    assert torch.equal(nearest_codes(queries, vectors), exhaustive)


def test_ties_go_to_the_lowest_index():
    vectors = torch.tensor([[9.0, 9.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [-1.0, 0.0]])
    queries = torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]])  # on 1 and 3; as far from 1 to 4; as far from 1 to 3
    assert nearest_codes(queries, vectors).tolist() == [1, 1, 1]


def test_distances_are_compared_in_float32():
    # In bfloat16 the two vectors' squared norms, 65536 and 66049, are the same number.
    vectors = torch.tensor([[257.0], [256.0]])
    assert nearest_codes(torch.zeros(1, 1, dtype=torch.bfloat16), vectors).tolist() == [1]


def test_straight_through_is_exact_in_value_and_gradient():
    torch.manual_seed(0)
    queries = (1e4 * torch.randn(100)).requires_grad_()
    quantized = torch.randn(100, requires_grad=True)
    out = straight_through(queries, quantized)
    assert torch.equal(out, quantized)  # x + (q - x) would round
    weights = torch.randn(100)
    (out * weights).sum().backward()
    assert torch.equal(queries.grad, weights)
    assert quantized.grad is None


def test_vq_loss_is_the_papers_with_the_gradients_it_prescribes():
    torch.manual_seed(0)
    queries, quantized = torch.randn(2, 3, 4, requires_grad=True), torch.randn(2, 3, 4, requires_grad=True)
    loss = vq_loss(queries, quantized, 0.1)
    distance = (queries - quantized).square().mean()
    torch.testing.assert_close(loss, 1.1 * distance)
    loss.backward()
    to_quantized = 2 * (quantized - queries).detach() / queries.numel()
    torch.testing.assert_close(quantized.grad, to_quantized)
    torch.testing.assert_close(queries.grad, -0.1 * to_quantized)


def test_forward_by_id(codebook):
    task_id = torch.tensor([4, 0, 4])
    prompt = codebook(task_id)
    queries = torch.stack([codebook.task_embedding.weight[task_id] @ w for w in codebook.position_maps.weight], 1)
    codes = torch.cdist(queries, codebook.code_vectors.weight).argmin(-1)
    assert torch.equal(prompt.task_codes, codes)
    vectors = codebook.code_vectors.weight[codes]
    torch.testing.assert_close(prompt.prompt_vectors, vectors @ codebook.prompt_decoder.weight.T)
    # A task that occurs twice counts twice.
    torch.testing.assert_close(prompt.vq_loss, 1.25 * F.mse_loss(queries, vectors))


def test_the_language_models_gradient_passes_the_code_table(codebook):
    codebook(torch.tensor([1, 2])).prompt_vectors.square().sum().backward()
    assert codebook.code_vectors.weight.grad is None
    for weight in (codebook.task_embedding.weight, codebook.position_maps.weight, codebook.prompt_decoder.weight):
        assert weight.grad.abs().sum() > 0


def test_codes_and_vectors_round_trip(codebook):
    codes = codebook.all_task_codes()
    assert codes.shape == (5, 3) and codes.dtype == torch.int64
    assert torch.equal(codes, codebook(torch.arange(5)).task_codes)
    assert torch.equal(nearest_codes(codebook.code_vectors(codes), codebook.code_vectors.weight), codes)
    by_code, by_id = codebook(task_code=codes), codebook(torch.arange(5))
    assert torch.equal(by_code.prompt_vectors, by_id.prompt_vectors)
    assert torch.equal(by_code.task_codes, codes) and by_code.vq_loss is None


def test_autocast_and_a_half_precision_module_do_not_change_the_computation(codebook):
    before = codebook(torch.arange(5))
    with torch.autocast("cpu", torch.bfloat16):
        inside = codebook(torch.arange(5))
        by_code = codebook(task_code=before.task_codes)
        decoded, queries = codebook.decode(before.task_codes), codebook.queries(torch.arange(5))
        codes = codebook.all_task_codes()
    for vectors in (inside.prompt_vectors, by_code.prompt_vectors, decoded):
        assert torch.equal(vectors, before.prompt_vectors)
    assert torch.equal(queries, codebook.queries(torch.arange(5)))
    assert torch.equal(codes, codebook.all_task_codes())
    codebook.half()
    prompt = codebook(torch.arange(5))
    assert prompt.prompt_vectors.dtype == prompt.vq_loss.dtype == torch.float32


def test_usage_and_perplexity():
    codes = torch.tensor([[0, 1], [0, 2], [0, 3], [0, 1]])
    usage = code_usage(codes, 5)
    assert usage.tolist() == [[4, 0, 0, 0, 0], [0, 2, 1, 1, 0]]
    entropy = 0.5 * math.log(2) + 2 * 0.25 * math.log(4)
    torch.testing.assert_close(code_perplexity(codes, 5), torch.tensor([1.0, math.exp(entropy)]))
