import torch

from trainers.codebook_statistics import compute_codebook_statistics, describe_collapse


def test_statistics_follow_the_weights(build):
    model = build()
    before, codes = compute_codebook_statistics(model, None)
    assert before["codes_in_use"] == codes.unique().numel()
    assert "codes_changed" not in before and compute_codebook_statistics(model, codes)[0]["codes_changed"] == 0
    with torch.no_grad():  # every query is now nearest to code vector 5
        model.task_codebook.position_maps.weight.zero_()
        model.task_codebook.code_vectors.weight[5] = 0
    after, codes = compute_codebook_statistics(model, codes)
    assert (codes == 5).all()
    assert after["codes_in_use"] == after["distinct_task_codes"] == 1
    assert after["code_perplexity"] == after["code_perplexity_3"] == 1
    assert after["query_rms"] == after["code_vector_rms"] == 0
    assert 0 < after["codes_changed"] <= 1


def test_collapse_is_reported_with_what_to_do():
    varied = torch.arange(40).view(10, 4) % 15
    assert describe_collapse(varied, codebook_size=16) is None
    report = describe_collapse(torch.zeros(10, 4, dtype=torch.long), codebook_size=16)
    assert "1 of 16 code vectors" in report and "10 of 10 tasks" in report and "query_learning_rate" in report


def test_one_task_is_no_collapse():
    assert describe_collapse(torch.tensor([[1, 2, 3, 4]]), codebook_size=128) is None
