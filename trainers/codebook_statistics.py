"""What to watch while a task codebook is trained."""

import torch

from modeling_ctr import CTRPreTrainedModel
from modeling_ctr.codebook import code_perplexity


@torch.no_grad()
def compute_codebook_statistics(
    model: CTRPreTrainedModel, previous_codes: torch.Tensor | None
) -> tuple[dict[str, float], torch.Tensor]:
    """Compute scalars about a model's codebook; return them and the codes `(num_tasks, code_length)` behind them.

    Args:
        previous_codes: The codes returned last time, to count changes from; None the first time.

    Returns:
        `codes_in_use` (distinct values over all positions), `distinct_task_codes` (tasks are told apart only where
        their codes differ), `codes_changed` (share of all integers that differ from `previous_codes`), `query_rms`,
        `code_vector_rms` (of the vectors in use), `code_perplexity` (mean over positions) and
        `code_perplexity_<position>`: values in effective use, at most the number of tasks.
    """
    codebook = model.task_codebook
    codes = codebook.all_task_codes()
    statistics = compute_code_statistics(codes, codebook.codebook_size) | {
        "query_rms": codebook.all_queries().square().mean().sqrt().item(),
        "code_vector_rms": codebook.code_vectors.weight[codes.unique()].float().square().mean().sqrt().item(),
    }
    if previous_codes is not None:
        statistics["codes_changed"] = (codes != previous_codes).float().mean().item()
    return statistics, codes


def compute_code_statistics(codes: torch.Tensor, codebook_size: int) -> dict[str, float]:
    """Compute the statistics that need nothing but codes, `(num_tasks, code_length)`."""
    perplexities = code_perplexity(codes, codebook_size)
    return {
        "codes_in_use": float(codes.unique().numel()),
        "distinct_task_codes": float(codes.unique(dim=0).shape[0]),
        "code_perplexity": perplexities.mean().item(),
        **{f"code_perplexity_{i}": p for i, p in enumerate(perplexities.tolist())},
    }


def describe_collapse(task_codes: torch.Tensor, codebook_size: int) -> str | None:
    """Describe a collapsed codebook and what to do about it in a sentence; None where codes tell tasks apart.

    Collapsed means that over half of the tasks share their whole code with another, or that fewer values are in use
    than a tenth of those that could be.

    Args:
        task_codes: `(num_tasks, code_length)`.
    """
    num_tasks = task_codes.shape[0]
    _, counts = task_codes.unique(dim=0, return_counts=True)
    sharing = int(counts[counts > 1].sum())
    in_use = task_codes.unique().numel()
    usable = min(codebook_size, task_codes.numel())
    if 2 * sharing <= num_tasks and 10 * in_use >= usable:
        return None
    return (
        f"The codebook has collapsed: {in_use} of {codebook_size} code vectors are in use, and {sharing} of {num_tasks} "
        "tasks share their code with another task, so a search has little to choose from. Lower `query_learning_rate`, "
        "lengthen the warm-up, or start again from an earlier checkpoint."
    )
