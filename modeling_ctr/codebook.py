"""The task codebook: task embedding -> queries -> nearest codes -> prompt vectors (paper, section 3.1).

Pure torch. Shapes use B for the batch, N for the code length, C for the codebook size, E for the width of a task
embedding, c for that of a code vector and d for that of the language model.
"""

from collections.abc import Callable
from functools import wraps
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn


class TaskPrompt(NamedTuple):
    """What stands in front of a batch of inputs, and where it came from.

    Attributes:
        prompt_vectors (`torch.FloatTensor` of shape `(B, N, d)`): To be put in front of the input; float32 from codes.
        task_codes (`torch.LongTensor` of shape `(B, N)` or `None`): The codes behind them, if there are any.
        vq_loss (scalar `torch.FloatTensor` or `None`): Present where the codes came from task ids.
    """

    prompt_vectors: torch.Tensor
    task_codes: torch.Tensor | None = None
    vq_loss: torch.Tensor | None = None


def nearest_codes(queries: torch.Tensor, code_vectors: torch.Tensor) -> torch.Tensor:
    """Find the code vector nearest to each query in squared Euclidean distance; ties go to the lowest index.

    Args:
        queries: `(..., c)`, any float dtype; compared in float32.
        code_vectors: `(C, c)`.

    Returns:
        `torch.LongTensor` of shape `(...)`, values in `[0, C)`.
    """
    with torch.no_grad():
        queries, code_vectors = queries.float(), code_vectors.float()
        # |q - v|^2 = |q|^2 - 2 q.v + |v|^2, and |q|^2 is the same for every v.
        distances = code_vectors.square().sum(-1) - 2 * queries @ code_vectors.T  # (..., C)
        return distances.argmin(-1)


def vq_loss(queries: torch.Tensor, quantized: torch.Tensor, commitment_cost: float) -> torch.Tensor:
    """Compute codebook loss + `commitment_cost` x commitment loss (paper, equation 2), means over B x N x c numbers."""
    return F.mse_loss(quantized, queries.detach()) + commitment_cost * F.mse_loss(queries, quantized.detach())


def straight_through(queries: torch.Tensor, quantized: torch.Tensor) -> torch.Tensor:
    """Pass `quantized` on in value, to the last bit, while the gradient goes to `queries` alone."""
    return quantized.detach() + (queries - queries.detach())


def code_usage(task_codes: torch.Tensor, codebook_size: int) -> torch.Tensor:
    """Count how often each value is used at each position: `(num_tasks, N)` -> `(N, C)`, int64."""
    return F.one_hot(task_codes, codebook_size).sum(0)


def code_perplexity(task_codes: torch.Tensor, codebook_size: int) -> torch.Tensor:
    """Compute the effective number of values at each position, exp(entropy): `(num_tasks, N)` -> `(N,)`, float32."""
    shares = code_usage(task_codes, codebook_size) / task_codes.shape[0]
    return torch.special.entr(shares).sum(-1).exp()


class PositionMaps(nn.Module):
    """One linear map per prompt position, without bias. A module so that peft can train and save it."""

    def __init__(self, code_length: int, task_embedding_dim: int, code_dim: int):
        super().__init__()
        self.weight = nn.Parameter(
            torch.empty(code_length, task_embedding_dim, code_dim, dtype=torch.float32)
        )  # (N, E, c)

    def forward(self, task_vectors: torch.Tensor) -> torch.Tensor:
        """`(B, E)` -> queries `(B, N, c)`, in float32."""
        # As `einsum("be,nec->bnc", ...)`, which copies all maps in each direction.
        vectors = task_vectors.float().expand(self.weight.shape[0], -1, -1)  # (N, B, E)
        return torch.bmm(vectors, self.weight.float()).transpose(0, 1)


def without_autocast(method: Callable) -> Callable:
    """Run a codebook's method outside an autocast of the caller's, where half precision would give other codes."""

    @wraps(method)
    def in_float32(self: "TaskCodebook", *args, **kwargs):
        with torch.autocast(self.code_vectors.weight.device.type, enabled=False):
            return method(self, *args, **kwargs)

    return in_float32


class TaskCodebook(nn.Module):
    """All that CTR adds to a language model. Computes in float32 whatever the model's dtype and autocast."""

    def __init__(
        self,
        num_tasks: int,
        task_embedding_dim: int,
        code_length: int,
        codebook_size: int,
        code_dim: int,
        prompt_dim: int,
        commitment_cost: float,
    ):
        super().__init__()
        self.code_length = code_length
        self.codebook_size = codebook_size
        self.commitment_cost = commitment_cost
        # In float32 also where a half-precision model is being made around it.
        float32 = {"dtype": torch.float32}
        self.task_embedding = nn.Embedding(num_tasks, task_embedding_dim, **float32)
        self.position_maps = PositionMaps(code_length, task_embedding_dim, code_dim)
        self.code_vectors = nn.Embedding(codebook_size, code_dim, **float32)  # one table, shared by all positions
        self.prompt_decoder = nn.Linear(code_dim, prompt_dim, bias=False, **float32)

    @property
    def code_bound(self) -> float:
        """Largest absolute value of a number in a new code vector."""
        return 100 / self.codebook_size

    @without_autocast
    def forward(self, task_id: torch.Tensor | None = None, task_code: torch.Tensor | None = None) -> TaskPrompt:
        """Make prompt vectors of tasks given by id `(B,)` or by code `(B, N)`, both int64; exactly one is given."""
        if task_code is not None:
            return TaskPrompt(self.decode(task_code), task_code)
        queries = self.queries(task_id)
        codes = nearest_codes(queries, self.code_vectors.weight)
        quantized = self.code_vectors(codes).float()  # (B, N, c)
        loss = vq_loss(queries, quantized, self.commitment_cost)
        prompt_vectors = F.linear(straight_through(queries, quantized), self.prompt_decoder.weight.float())
        return TaskPrompt(prompt_vectors, codes, loss)

    @without_autocast
    def queries(self, task_id: torch.Tensor) -> torch.Tensor:
        """Map task ids `(B,)` to queries before quantization `(B, N, c)`, float32."""
        return self.position_maps(self.task_embedding(task_id))

    @without_autocast
    def decode(self, task_code: torch.Tensor) -> torch.Tensor:
        """Decode codes `(..., N)` into prompt vectors `(..., N, d)`, float32."""
        return F.linear(self.code_vectors(task_code).float(), self.prompt_decoder.weight.float())

    @torch.no_grad()
    def all_queries(self) -> torch.Tensor:
        """Compute the queries of every training task: `(num_tasks, N, c)`, float32."""
        return self.queries(torch.arange(self.task_embedding.num_embeddings, device=self.code_vectors.weight.device))

    @torch.no_grad()
    @without_autocast
    def all_task_codes(self) -> torch.Tensor:
        """Compute the code of every training task: `(num_tasks, N)`, int64. Derived from the weights, never stored."""
        return nearest_codes(self.all_queries(), self.code_vectors.weight)
