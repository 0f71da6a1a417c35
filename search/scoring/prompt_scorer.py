"""A language model's scores for given answers, with any prompt vectors: the machinery of all searches."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import torch
from transformers import PreTrainedModel

from modeling_ctr.check_gradients import check_gradients
from modeling_ctr.model_modes import autocast_around, frozen

from .examples import ScoredExamples
from .language_models import get_language_model, make_reader
from .pair_batches import PairBatches
from .processes import broadcast_from_main, join_lists, require_same, sum_over_processes
from .targets import Targets
from .token_budget import TokenBudget

# Backward passes keep every layer's activations: at most so many tokens at a time.
GRADIENT_TOKEN_BUDGET = 8192


class PromptScorer:
    """Scores the examples' answers with prompt vectors in front of the input, or with none.

    Pairs of a prompt and an example are sorted by length and batched under a token budget, without padding to fixed
    lengths; what is shared between the targets of a pair is computed once (see [`EncoderDecoderReader`] and
    [`DecoderOnlyReader`]). Results do not
    depend on the batches, up to rounding (about 1e-6 of the value in float32).

    In a run of several processes (see `search.scoring.processes`) each of them scores a share of the pairs, and all have
    all results; every process must call the same methods in the same order.

    Args:
        model: A CTR model, or any encoder-decoder or decoder-only language model (with prompt vectors: an
            encoder-decoder of a supported family, a decoder-only one that treats vectors as it does words).
        examples: Rows with `input_ids`, and `labels` and/or `choice_ids` with `answer` (the gold choice, -1 or absent
            where it is unknown), all as token ids without padding.
        token_budget: Input tokens per batch, halved when memory ends. Default: 2,048 on a CPU, 65,536 elsewhere,
            doubled as long as larger batches turn out faster.
        autocast_dtype: Dtype of an autocast for the language model. Default: that of one around this call, if any.
        progress: Whether to show a bar over the pairs.

    Raises:
        ValueError: There are no examples, or one is malformed; the message names it. Or the model has no weights.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        examples: Iterable[Mapping[str, Any]],
        token_budget: int | None = None,
        autocast_dtype: torch.dtype | None = None,
        progress: bool = False,
    ):
        self.model = model
        self.language_model = get_language_model(model)
        self.device = self.language_model.get_input_embeddings().weight.device
        self._budget = TokenBudget(self.device, token_budget)
        self._gradient_budget = TokenBudget(self.device, token_budget, GRADIENT_TOKEN_BUDGET)
        if self.device.type == "meta":
            raise ValueError(
                "The model's weights are on the device 'meta', which holds none: load or move them first."
            )
        self.autocast_dtype = autocast_dtype or autocast_around(self.device)
        self.examples = ScoredExamples(
            examples, self.device, self.language_model.get_input_embeddings().weight.shape[0]
        )
        require_same(self.examples.fingerprint, "examples")
        self.reader = make_reader(model, self.examples)
        self._gradients_checked = False
        self._batches = PairBatches(model, self.device, self.autocast_dtype, progress)

    @property
    def pairs_scored(self) -> int:
        """(prompt, example) pairs that went through the language model, in all processes."""
        return self._batches.pairs_run

    @property
    def token_budget(self) -> int:
        """Input tokens of a batch, by now."""
        return self._budget.tokens

    @property
    def first_token_budget(self) -> int:
        """What it was in the beginning: the same in all processes of a run."""
        return self._budget.first

    @property
    def num_examples(self) -> int:
        """Number of examples."""
        return self.examples.count

    @property
    def data_fingerprint(self) -> str:
        """A digest of the examples."""
        return self.examples.fingerprint

    def require_answers(self, what: str) -> torch.LongTensor:
        """Get the gold choice of every example, `(num_examples,)`. Raises a ValueError where one is unknown."""
        return self.examples.require_answers(what)

    @property
    def has_choices(self) -> bool:
        """Whether the examples have answer choices."""
        return self.examples.choices is not None

    @property
    def num_choices(self) -> torch.LongTensor:
        """Number of answer choices of each example, `(num_examples,)`."""
        return (self.examples.require_choices().slots >= 0).sum(1)

    @property
    def max_choices(self) -> int:
        """The largest number of answer choices of an example."""
        return self.examples.require_choices().slots.shape[1]

    def make_repeatable(self) -> bool:
        """Make batches a function of the inputs alone, so that equal calls give equal bits on one machine.

        Otherwise batches grow as long as larger ones turn out faster, and rounding with them.

        Returns:
            Whether batches could have been others until now.
        """
        gradients = self._gradient_budget.settle()
        return self._budget.settle() or gradients

    def gold_losses(
        self, prompts: torch.Tensor | None = None, wanted: torch.BoolTensor | None = None
    ) -> torch.DoubleTensor:
        """Compute the summed negative log-likelihood of each example's gold target.

        Args:
            prompts: Prompt vectors `(num_prompts, prompt_length, width)`; None for one prompt of length 0.
            wanted: `(num_prompts, num_examples)`: the pairs to score. Default: all.

        Returns:
            `(num_prompts, num_examples)` on the CPU, NaN where not wanted.
        """
        return -self._scores(prompts, wanted, self.examples.require_gold()).squeeze(-1)

    def choice_log_likelihoods(
        self, prompts: torch.Tensor | None = None, wanted: torch.BoolTensor | None = None
    ) -> torch.DoubleTensor:
        """Compute the summed log-probability of each answer choice, end token included.

        Arguments as in `gold_losses`.

        Returns:
            `(num_prompts, num_examples, max_choices)` on the CPU; -inf where an example has fewer choices, NaN where
            not wanted.

        Raises:
            ValueError: The language model gives NaN, of which a ranking would make some answer or other.
        """
        targets = self.examples.require_choices()
        scores = self._scores(prompts, wanted, targets)
        slots = targets.slots.clamp(min=0).expand(scores.shape[0], -1, -1)
        scores = scores.gather(2, slots)
        require_numbers(scores if wanted is None else scores[wanted])
        return scores.masked_fill((targets.slots < 0) & ~scores.isnan(), -math.inf)

    @torch.inference_mode()
    def generate(self, prompts: torch.Tensor | None = None, **kwargs: Any) -> list[list[list[int]]]:
        """Generate token ids `[prompt][example]`, without the start token and up to the end token, which is left out.

        Args:
            prompts: As in `gold_losses`.
            **kwargs: For transformers' `generate`, e.g. `max_new_tokens` or `num_beams`; what they do not say, the
                model's generation config does (beams, forced tokens), as in `model.generate`.
        """
        prompts = self._checked_prompts(prompts)
        generated: list[tuple[int, int, list[int]]] = []
        config = self.model.generation_config  # of the checkpoint; a CTR model's language model has none of its own
        kwargs = {"generation_config": config, "num_return_sequences": 1, "return_dict_in_generate": False, **kwargs}
        end = {config.eos_token_id} if isinstance(config.eos_token_id, int) else set(config.eos_token_id or ())

        def generate_batch(prompt_ids: torch.LongTensor, example_ids: torch.LongTensor) -> None:
            rows = self.reader.generate(prompts, prompt_ids, example_ids, **kwargs)
            for prompt, example, row in zip(prompt_ids.tolist(), example_ids.tolist(), rows, strict=True):
                stop = next((i for i, token in enumerate(row) if token in end), len(row))
                generated.append((prompt, example, row[:stop]))

        wanted = torch.ones(len(prompts), self.num_examples, dtype=torch.bool)
        self._batches.run(wanted, self.reader.get_lengths(prompts.shape[1]), generate_batch, self._budget)
        outputs: list[list[list[int]]] = [[[] for _ in range(self.num_examples)] for _ in prompts]
        for prompt, example, ids in join_lists(generated):
            outputs[prompt][example] = ids
        return outputs

    def term_gradients(
        self,
        prompts: torch.Tensor,
        term_of: Callable[[torch.Tensor, torch.LongTensor], torch.Tensor],
        targets: Literal["choices", "gold"],
        examples: torch.LongTensor | None = None,
    ) -> tuple[torch.DoubleTensor, torch.Tensor]:
        """Compute a loss of each example, and the gradient of the losses' sum by the prompt vectors.

        Args:
            prompts: As in `gold_losses`, but at least one vector long.
            term_of: `(scores, examples) -> losses (pairs,)`, differentiable. `examples` `(pairs,)` are numbers of
                examples; `scores` `(pairs, max_choices)` are their log-likelihoods as `choice_log_likelihoods` gives
                them, or `(pairs, 1)` those of the gold targets.
            targets: Which of the two.
            examples: `(n,)`: numbers of the examples to sum over. Default: all.

        Returns:
            Losses `(num_prompts, num_examples)` on the CPU, NaN for other examples, and gradients of the shape of
            `prompts`, float32, on the model's device.

        Raises:
            ValueError: Gradients do not come back through the language model, as may be where it is quantized.
        """
        if not self._gradients_checked:
            check_gradients(self.model, training=False)
            self._gradients_checked = True
        asked = self.examples.require_choices() if targets == "choices" else self.examples.require_gold()
        prompts = self._checked_prompts(prompts).detach()
        wanted = torch.zeros(len(prompts), self.num_examples, dtype=torch.bool)
        wanted[:, slice(None) if examples is None else examples] = True
        terms = torch.full(wanted.shape, math.nan, dtype=torch.float64)
        gradients = torch.zeros_like(prompts, dtype=torch.float32)

        def differentiate(prompt_ids: torch.LongTensor, example_ids: torch.LongTensor) -> None:
            leaf = prompts.clone().requires_grad_()
            pair, slot, values = self.reader.score(leaf, prompt_ids, example_ids, asked, self._decoder_budget)
            scores = values.new_full((len(prompt_ids), int(slot.max()) + 1), -math.inf)
            scores = scores.index_put((pair.to(self.device), slot.to(self.device)), values)
            slots = asked.slots[example_ids].to(self.device)
            scores = scores.gather(1, slots.clamp(min=0)).masked_fill(slots < 0, -math.inf)
            losses = term_of(scores, example_ids.to(self.device))
            (gradient,) = torch.autograd.grad(losses.sum(), leaf)
            terms[prompt_ids, example_ids] = losses.detach().double().cpu()
            gradients.add_(gradient.float())

        with torch.inference_mode(False), torch.enable_grad(), frozen(self.language_model):
            # Not shared out: sums in another order would rank nearly equal gradients in another order.
            lengths = self.reader.get_lengths(prompts.shape[1])
            self._batches.run(wanted, lengths, differentiate, self._gradient_budget, shared=False)
        return broadcast_from_main(terms), broadcast_from_main(gradients)

    @torch.inference_mode()
    def _scores(
        self, prompts: torch.Tensor | None, wanted: torch.BoolTensor | None, targets: Targets
    ) -> torch.DoubleTensor:
        """Log-likelihoods `(num_prompts, num_examples, most distinct targets)`, NaN where not wanted or not there."""
        prompts = self._checked_prompts(prompts)
        if wanted is None:
            wanted = torch.ones(len(prompts), self.num_examples, dtype=torch.bool)
        counts = torch.tensor([len(rows) for rows in targets.of_example])
        width = int(counts.max())
        scores = torch.zeros(len(prompts), self.num_examples, width, dtype=torch.float64, device=self.device)

        def score_batch(prompt_ids: torch.LongTensor, example_ids: torch.LongTensor) -> None:
            pair, slot, values = self.reader.score(prompts, prompt_ids, example_ids, targets, self._decoder_budget)
            scores[prompt_ids[pair].to(self.device), example_ids[pair].to(self.device), slot.to(self.device)] = values

        self._batches.run(wanted, self.reader.get_lengths(prompts.shape[1]), score_batch, self._budget)
        scored = wanted[..., None] & (torch.arange(width) < counts[:, None])
        return sum_over_processes(scores).cpu().masked_fill(~scored, math.nan)

    @property
    def _decoder_budget(self) -> int:
        """Vocabularies are large: batches of answers do not grow with those of inputs."""
        return min(self._budget.tokens, self._budget.first)

    def _checked_prompts(self, prompts: torch.Tensor | None) -> torch.Tensor:
        weight = self.language_model.get_input_embeddings().weight
        if prompts is None:
            return weight.new_empty(1, 0, weight.shape[1])
        if prompts.dim() != 3 or prompts.shape[2] != weight.shape[1]:
            raise ValueError(
                f"Prompt vectors must have the shape (num_prompts, prompt_length, {weight.shape[1]}), but have "
                f"{tuple(prompts.shape)}."
            )
        self.reader.check_prompt_length(prompts.shape[1])
        return prompts.to(self.device)


def require_numbers(scores: torch.Tensor) -> None:
    """Raise a ValueError where some score is NaN."""
    if scores.isnan().any():
        raise ValueError(
            "The language model's scores are not numbers (NaN). If it runs in float16, use bfloat16 or float32."
        )
