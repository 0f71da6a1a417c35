"""Scores of task codes on a task's examples, remembered by code."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import torch

from modeling_ctr import CTRPreTrainedModel

from .codes import check_codes
from .fingerprints import model_fingerprint
from .prompt_scorer import PromptScorer, require_numbers

Codes: TypeAlias = torch.LongTensor | Sequence[Sequence[int]]
Key = tuple[int, ...]


class CodeScorer:
    """What a CTR model makes of a task's examples under given task codes.

    Codes are `(num_codes, code_length)` tensors or nested lists. All scores are float64 on the CPU, summed over fp32
    log-probabilities, and remembered: no pair of a code and an example is computed twice for the same kind of score.
    Where a gold target is one of the answer choices and these have been scored, its loss is taken from there.

    Args:
        model: A CTR model; it is put into evaluation mode during a call and back afterwards.
        examples, token_budget, autocast_dtype, progress: See [`PromptScorer`].

    Attributes:
        evaluations (`int`): Distinct codes that the language model was run with, on one example or on all.
        prompt_scorer ([`PromptScorer`]): The same for prompt vectors, e.g. a tuned soft prompt;
            `prompt_scorer.pairs_scored` counts the (code, example) pairs that went through the language model.
    """

    def __init__(
        self,
        model: CTRPreTrainedModel,
        examples: Iterable[Mapping[str, Any]],
        token_budget: int | None = None,
        autocast_dtype: torch.dtype | None = None,
        progress: bool = False,
    ):
        if not isinstance(model, CTRPreTrainedModel):
            raise ValueError(
                f"A CodeScorer needs a CTR model, but got a {type(model).__name__}. Use PromptScorer for other models."
            )
        self.model = model
        self._examples = list(examples)
        self.prompt_scorer = PromptScorer(model, self._examples, token_budget, autocast_dtype, progress)
        self._gold: dict[Key, torch.Tensor] = {}  # (num_examples,), NaN where not yet known
        self._choices: dict[Key, torch.Tensor] = {}  # (num_examples, max_choices)
        self._run_with: set[Key] = set()

    @property
    def evaluations(self) -> int:
        return len(self._run_with)

    @property
    def num_examples(self) -> int:
        return self.prompt_scorer.num_examples

    @property
    def has_choices(self) -> bool:
        """Tell whether the examples have answer choices."""
        return self.prompt_scorer.has_choices

    def require_answers(self, what: str) -> torch.LongTensor:
        """Get the gold choice of every example, `(num_examples,)`. Raises a ValueError where one is unknown."""
        return self.prompt_scorer.require_answers(what)

    def select(self, examples: Sequence[int]) -> "CodeScorer":
        """Make a scorer of some of the examples, by number, that knows of them what is known by now."""
        chosen = torch.as_tensor(examples)
        rows = [self._examples[number] for number in examples]
        scorer = CodeScorer(self.model, rows, autocast_dtype=self.prompt_scorer.autocast_dtype)
        scorer._gold = {key: losses[chosen] for key, losses in self._gold.items()}
        if self.has_choices:
            width = scorer.prompt_scorer.max_choices
            scorer._choices = {key: scores[chosen, :width] for key, scores in self._choices.items()}
        return scorer

    # -------------------------------------------------------------------------------------------- by code

    def gold_losses(self, codes: Codes) -> torch.DoubleTensor:
        """Compute the negative log-likelihood of the gold targets, summed over tokens and examples, `(num_codes,)`."""
        return self.gold_losses_per_example(codes).sum(1)

    def gold_losses_per_example(self, codes: Codes, examples: torch.LongTensor | None = None) -> torch.DoubleTensor:
        """Compute the negative log-likelihood of each gold target, `(num_codes, num_examples)`.

        Args:
            codes: `(num_codes, code_length)`.
            examples: `(n,)`: only these, in this order.

        Raises:
            ValueError: An example has no known target, or a code does not fit the model.
        """
        keys = self._keys(codes)
        answers = self.prompt_scorer.examples.answers
        if self.prompt_scorer.examples.gold_is_choice:
            for key in keys:
                if key in self._choices and key not in self._gold:
                    self._gold[key] = -self._choices[key].gather(1, answers[:, None]).squeeze(1)
        return self._remembered(self._gold, keys, examples, (), self.prompt_scorer.gold_losses)

    def choice_log_likelihoods(self, codes: Codes, examples: torch.LongTensor | None = None) -> torch.DoubleTensor:
        """Compute the summed log-probability of each answer choice, `(num_codes, num_examples, max_choices)`.

        -inf where an example has fewer choices than others. Arguments as in `gold_losses_per_example`.
        """
        shape = (self.prompt_scorer.max_choices,)
        keys = self._keys(codes)
        return self._remembered(self._choices, keys, examples, shape, self.prompt_scorer.choice_log_likelihoods)

    def predictions(self, codes: Codes) -> torch.LongTensor:
        """Choose the likeliest answers, the first of equals, `(num_codes, num_examples)`."""
        return first_argmax(self.choice_log_likelihoods(codes))

    def accuracies(self, codes: Codes) -> torch.DoubleTensor:
        """Compute the share of examples whose likeliest choice is the gold one, `(num_codes,)`."""
        answers = self.require_answers("The accuracy")
        return (self.predictions(codes) == answers).double().mean(1)

    def generate(self, codes: Codes, **kwargs: Any) -> list[list[list[int]]]:
        """Generate token ids `[code][example]`, without start and end token; arguments as in `PromptScorer.generate`.

        Not remembered.
        """
        keys = self._keys(codes)
        self._run_with.update(keys)
        return self.prompt_scorer.generate(self._prompts(keys), **kwargs)

    def make_repeatable(self) -> None:
        """Make equal calls give equal bits, as [`PromptScorer.make_repeatable`] does; what was scored in batches that grew by measured speed is forgotten.

        A search with a trace calls it. Call it before anything is scored, so that nothing has to be scored again.
        """
        if self.prompt_scorer.make_repeatable():
            self._gold.clear()
            self._choices.clear()

    def fingerprint(self) -> dict[str, str]:
        """Get digests of what scores come from: a trace is continued only with the same weights, examples and precision."""
        digests = {"model": model_fingerprint(self.model), "data": self.prompt_scorer.data_fingerprint}
        dtype = self.prompt_scorer.autocast_dtype
        return digests if dtype is None else {**digests, "autocast": str(dtype)}

    # -------------------------------------------------------------------------------------------- inside

    def _keys(self, codes: Codes) -> list[Key]:
        config = self.model.config
        codes = check_codes(codes)
        if codes.shape[1] != config.code_length:
            raise ValueError(f"The codes have {codes.shape[1]} integers, but this model's have {config.code_length}.")
        if int(codes.min()) < 0 or int(codes.max()) >= config.codebook_size:
            raise ValueError(
                f"Codes must hold values from 0 to {config.codebook_size - 1}, but these run from {int(codes.min())} "
                f"to {int(codes.max())}."
            )
        return [tuple(code) for code in codes.tolist()]

    @torch.inference_mode()
    def _prompts(self, keys: list[Key]) -> torch.Tensor:
        device = self.model.task_codebook.code_vectors.weight.device
        return self.model.prompt_vectors(torch.tensor(keys, device=device))

    def _remembered(
        self,
        memory: dict[Key, torch.Tensor],
        keys: list[Key],
        examples: torch.LongTensor | None,
        shape: tuple[int, ...],
        score: Callable[[torch.Tensor, torch.BoolTensor], torch.Tensor],
    ) -> torch.DoubleTensor:
        """`memory` of `keys`, after scoring what it lacks in one call: `(num_codes, n, *shape)`."""
        examples = torch.arange(self.num_examples) if examples is None else examples
        distinct = list(dict.fromkeys(keys))
        known = torch.stack(
            [
                memory[key]
                if key in memory
                else torch.full((self.num_examples, *shape), math.nan, dtype=torch.float64)
                for key in distinct
            ]
        )
        missing = known.flatten(2).isnan().any(2) if shape else known.isnan()
        asked = torch.zeros(self.num_examples, dtype=torch.bool)
        asked[examples] = True
        wanted = missing & asked
        rows = wanted.any(1).nonzero().flatten().tolist()
        if rows:
            new = [distinct[row] for row in rows]
            values = score(self._prompts(new), wanted[rows])
            require_numbers(values[wanted[rows]])
            for row, key, value in zip(rows, new, values, strict=True):
                mask = wanted[row].view(-1, *(1 for _ in shape))
                memory[key] = torch.where(mask, value, known[row])
            self._run_with.update(new)
        return torch.stack([memory[key][examples] for key in keys])


def first_argmax(scores: torch.Tensor) -> torch.LongTensor:
    """Find the index of the largest value along the last dimension, the first of equals."""
    return torch.from_numpy(scores.numpy().argmax(-1))  # torch.argmax leaves open which of equals it returns
