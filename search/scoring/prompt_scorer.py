"""A seq2seq language model's scores for given answers, behind any prompt vectors: the machinery of all searches."""

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal

import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from tqdm.auto import tqdm
from transformers import DynamicCache, EncoderDecoderCache, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from modeling_ctr import CTREncoder, CTRForConditionalGeneration
from modeling_ctr.configuration_ctr import SUPPORTED_BACKBONES

from .fingerprints import examples_fingerprint
from .processes import (
    is_main_process,
    join_lists,
    of_main_process,
    own_share,
    require_same,
    sum_over_processes,
)
from .targets import Targets, checked_example, padded
from .token_budget import TokenBudget

# Backward passes keep every layer's activations: at most so many tokens at a time.
GRADIENT_TOKEN_BUDGET = 8192
# A batch ends where the next text is shorter than this share of its longest, once it holds this share of the budget.
MAX_PADDING, MIN_FILL = 0.1, 0.25


class PromptScorer:
    """Scores the examples' answers with prompt vectors in front of the input, or with none.

    Every pair of a prompt and an example is encoded once, whatever the number of its answer choices; the decoder's
    cross-attention keys and values are computed once per pair as well. Pairs are sorted by length and batched under a
    token budget, without padding to fixed lengths. Results do not depend on the batches, up to rounding (about 1e-6
    of the value in float32).

    In a run of several processes (see `search.scoring.processes`) each of them scores a share of the pairs, and all have all
    results; every process must call the same methods in the same order.

    Args:
        model: A CTR model, or any seq2seq language model (for one with prompt vectors: T5, mT5, UMT5 or BART).
        examples: Rows with `input_ids`, and `labels` and/or `choice_ids` with `answer` (the gold choice, -1 or absent
            where it is unknown), all as token ids without padding.
        token_budget: Encoder tokens per batch, halved when memory ends. Default: 2,048 on a CPU, 65,536 elsewhere,
            doubled as long as larger batches turn out faster.
        autocast_dtype: Run the language model under autocast with this dtype; losses are float32 in any case.
            Default: that of a `torch.autocast` around this call, if there is one.
        progress: Show a bar over the pairs.

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
        self.language_model = model.backbone if isinstance(model, CTRForConditionalGeneration) else model
        self.device = self.language_model.get_input_embeddings().weight.device
        self._budget = TokenBudget(self.device, token_budget)
        self._gradient_budget = TokenBudget(self.device, token_budget, GRADIENT_TOKEN_BUDGET)
        if self.device.type == "meta":
            raise ValueError(
                "The model's weights are on the device 'meta', which holds none: load or move them first."
            )
        self.autocast_dtype = autocast_dtype or autocast_around(self.device)
        self.progress = progress
        self.pairs_scored = 0  # (prompt, example) pairs that went through the language model, in all processes

        rows = [checked_example(row, number) for number, row in enumerate(examples)]
        if not rows:
            raise ValueError("There are no examples to score.")
        self.num_examples = len(rows)
        self.lengths = torch.tensor([len(row["input_ids"]) for row in rows])
        self.answers = torch.tensor([row["answer"] for row in rows])  # (num_examples,), -1 where unknown
        self.weights = torch.tensor([row["weight"] for row in rows], dtype=torch.float64)  # (num_examples,)
        self._inputs = padded([row["input_ids"] for row in rows], 0).to(self.device)
        with_choices = sum(row["choice_ids"] is not None for row in rows)
        if 0 < with_choices < len(rows):
            raise ValueError(f"Only {with_choices} of the {len(rows)} examples have answer choices; all or none must.")
        self._choices = Targets.build([row["choice_ids"] for row in rows], self.device) if with_choices else None
        self._gold = None
        if all(row["gold"] is not None for row in rows):
            self._gold = Targets.build([[row["gold"]] for row in rows], self.device)
        # Then the gold loss is known from the choices' scores.
        self.gold_is_choice = bool(with_choices) and all(
            row["answer"] >= 0 and row["gold"] == row["choice_ids"][row["answer"]] for row in rows
        )
        self.data_fingerprint = examples_fingerprint(rows)
        require_same(self.data_fingerprint, "examples")

    # ------------------------------------------------------------------------------------------ what is known

    @property
    def token_budget(self) -> int:
        """Encoder tokens per batch, by now."""
        return self._budget.tokens

    @property
    def first_token_budget(self) -> int:
        """What it was in the beginning: the same in all processes of a run."""
        return self._budget.first

    @property
    def has_choices(self) -> bool:
        """Whether the examples have answer choices."""
        return self._choices is not None

    @property
    def num_choices(self) -> torch.LongTensor:
        """`(num_examples,)`."""
        return (self._required_choices().slots >= 0).sum(1)

    @property
    def max_choices(self) -> int:
        """The largest number of answer choices of an example."""
        return self._required_choices().slots.shape[1]

    def require_answers(self, what: str) -> torch.LongTensor:
        """The gold choice of every example, `(num_examples,)`. Raises a ValueError where one is unknown."""
        if not self.has_choices:
            raise ValueError(
                f"{what} needs answer choices, which these examples do not have (no `choice_ids`): use their gold targets, "
                "as the objective 'loss' does, or generation."
            )
        unknown = (self.answers < 0).nonzero().flatten().tolist()
        if unknown:
            raise ValueError(
                f"{what} needs the answer of every example, but {len(unknown)} of {self.num_examples} have none "
                f"(first: example {unknown[0]}). Give labelled examples, or use the Code Ensemble, which needs none."
            )
        return self.answers

    def _required_choices(self) -> Targets:
        if self._choices is None:
            raise ValueError(
                "These examples have no answer choices (no `choice_ids`): use their gold targets or generation."
            )
        return self._choices

    def _required_gold(self) -> Targets:
        if self._gold is None:
            raise ValueError(
                "The gold loss needs every example's target, but some have neither `labels` nor a known `answer`. "
                "Give labelled examples, or use the Code Ensemble, which needs none."
            )
        return self._gold

    # ---------------------------------------------------------------------------------------------- scores

    def gold_losses(
        self, prompts: torch.Tensor | None = None, wanted: torch.BoolTensor | None = None
    ) -> torch.DoubleTensor:
        """Summed negative log-likelihood of each example's gold target.

        Args:
            prompts: Prompt vectors `(num_prompts, prompt_length, width)`; None for one prompt of length 0.
            wanted: `(num_prompts, num_examples)`: the pairs to score. Default: all.

        Returns:
            `(num_prompts, num_examples)` on the CPU, NaN where not wanted.
        """
        return -self._scores(prompts, wanted, self._required_gold()).squeeze(-1)

    def choice_log_likelihoods(
        self, prompts: torch.Tensor | None = None, wanted: torch.BoolTensor | None = None
    ) -> torch.DoubleTensor:
        """Summed log-probability of each answer choice, end token included, without length normalisation.

        Arguments as in `gold_losses`.

        Returns:
            `(num_prompts, num_examples, max_choices)` on the CPU; -inf where an example has fewer choices, NaN where
            not wanted.

        Raises:
            ValueError: The language model gives NaN, of which a ranking would make some answer or other.
        """
        targets = self._required_choices()
        scores = self._scores(prompts, wanted, targets)
        slots = targets.slots.clamp(min=0).expand(scores.shape[0], -1, -1)
        scores = scores.gather(2, slots)
        require_numbers(scores if wanted is None else scores[wanted])
        return scores.masked_fill((targets.slots < 0) & ~scores.isnan(), -math.inf)

    @torch.inference_mode()
    def generate(self, prompts: torch.Tensor | None = None, **kwargs: Any) -> list[list[list[int]]]:
        """Generated token ids `[prompt][example]`, without the start token and up to the end token, which is left out.

        Args:
            prompts: As in `gold_losses`.
            **kwargs: For transformers' `generate`, e.g. `max_new_tokens` or `num_beams`; what they do not say, the
                model's generation config does (beams, forced tokens), as in `model.generate`.
        """
        prompts = self._checked_prompts(prompts)
        generated: list[tuple[int, int, list[int]]] = []
        config = self.model.generation_config  # of the checkpoint; a CTR model's language model has none of its own
        end = {config.eos_token_id} if isinstance(config.eos_token_id, int) else set(config.eos_token_id or ())

        def generate_batch(prompt_ids: torch.LongTensor, example_ids: torch.LongTensor) -> None:
            hidden, mask = self._encode(prompts, prompt_ids, example_ids)
            if mask is None:
                mask = torch.ones(hidden.shape[:2], dtype=torch.long, device=self.device)
            ids = self.language_model.generate(
                encoder_outputs=BaseModelOutput(last_hidden_state=hidden),
                attention_mask=mask,
                generation_config=config,
                **{"num_return_sequences": 1, "return_dict_in_generate": False, **kwargs},
            )
            for prompt, example, row in zip(
                prompt_ids.tolist(), example_ids.tolist(), ids[:, 1:].tolist(), strict=True
            ):
                stop = next((i for i, token in enumerate(row) if token in end), len(row))
                generated.append((prompt, example, row[:stop]))

        wanted = torch.ones(len(prompts), self.num_examples, dtype=torch.bool)
        self._run(wanted, prompts.shape[1], generate_batch)
        outputs: list[list[list[int]]] = [[[] for _ in range(self.num_examples)] for _ in prompts]
        for prompt, example, ids in join_lists(generated):
            outputs[prompt][example] = ids
        return outputs

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
            pair, slot, values = self._target_scores(prompts, targets, prompt_ids, example_ids)
            scores[prompt_ids[pair].to(self.device), example_ids[pair].to(self.device), slot.to(self.device)] = values

        self._run(wanted, prompts.shape[1], score_batch)
        scored = wanted[..., None] & (torch.arange(width) < counts[:, None])
        return sum_over_processes(scores).cpu().masked_fill(~scored, math.nan)

    def term_gradients(
        self,
        prompts: torch.Tensor,
        term_of: Callable[[torch.Tensor, torch.LongTensor], torch.Tensor],
        targets: Literal["choices", "gold"],
        examples: torch.LongTensor | None = None,
    ) -> tuple[torch.DoubleTensor, torch.Tensor]:
        """A loss of each example, and the gradient of the losses' sum by the prompt vectors.

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
        """
        asked = self._required_choices() if targets == "choices" else self._required_gold()
        prompts = self._checked_prompts(prompts).detach()
        wanted = torch.zeros(len(prompts), self.num_examples, dtype=torch.bool)
        wanted[:, slice(None) if examples is None else examples] = True
        terms = torch.full(wanted.shape, math.nan, dtype=torch.float64)
        gradients = torch.zeros_like(prompts, dtype=torch.float32)

        def differentiate(prompt_ids: torch.LongTensor, example_ids: torch.LongTensor) -> None:
            leaf = prompts.clone().requires_grad_()
            pair, slot, values = self._target_scores(leaf, asked, prompt_ids, example_ids)
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
            self._run(wanted, prompts.shape[1], differentiate, self._gradient_budget, shared=False)
        return of_main_process(terms), of_main_process(gradients)

    # ------------------------------------------------------------------------------------------ the model

    def _target_scores(
        self, prompts: torch.Tensor, targets: Targets, prompt_ids: torch.LongTensor, example_ids: torch.LongTensor
    ) -> tuple[torch.LongTensor, torch.LongTensor, torch.DoubleTensor]:
        """A log-likelihood for each distinct target of each pair: number of the pair, slot of the target, value."""
        hidden, mask = self._encode(prompts, prompt_ids, example_ids)
        rows = [targets.of_example[example] for example in example_ids.tolist()]
        pair = torch.tensor([i for i, of_pair in enumerate(rows) for _ in of_pair])
        slot = torch.tensor([j for of_pair in rows for j in range(len(of_pair))])
        target = torch.tensor([t for of_pair in rows for t in of_pair])
        return pair, slot, self._decode(hidden, mask, pair, targets.tokens, targets.lengths, target)

    def _encode(
        self, prompts: torch.Tensor, prompt_ids: torch.LongTensor, example_ids: torch.LongTensor
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Encoder states `(pairs, prompt + text, width)`, and their mask where the texts' lengths differ."""
        lengths = self.lengths[example_ids]
        longest = int(lengths.max())
        input_ids = self._inputs[example_ids.to(self.device), :longest]
        mask = None
        if int(lengths.min()) < longest:
            mask = (torch.arange(longest) < lengths[:, None]).long().to(self.device)
        encoder = self.language_model.get_encoder()
        if prompts.shape[1] == 0:
            return encoder(input_ids=input_ids, attention_mask=mask)[0], mask
        hidden = CTREncoder(encoder, None)(
            input_ids=input_ids, attention_mask=mask, prompt_embeds=prompts[prompt_ids.to(self.device)]
        )[0]
        if mask is not None:
            mask = torch.cat([mask.new_ones(len(mask), prompts.shape[1]), mask], dim=1)
        return hidden, mask

    def _decode(
        self,
        hidden: torch.Tensor,
        mask: torch.Tensor | None,
        pair: torch.LongTensor,
        tokens: torch.LongTensor,
        lengths: torch.LongTensor,
        target: torch.LongTensor,
    ) -> torch.DoubleTensor:
        """Log-likelihood `(rows,)` of `tokens[target]` after the encoder states `hidden[pair]`."""
        encoder_outputs = BaseModelOutput(last_hidden_state=hidden)
        start = torch.full((len(hidden), 1), self._start_token(), device=self.device)
        total = torch.zeros(len(pair), dtype=torch.float64, device=self.device)
        cache, first = None, 0
        if len(pair) > len(hidden):
            # Several targets per pair: the start token is decoded once per pair. This gives the first token's
            # log-probabilities of all of them and fills the cache with the pair's cross-attention keys and values.
            cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
            logits = self.language_model(
                encoder_outputs=encoder_outputs,
                attention_mask=mask,
                decoder_input_ids=start,
                past_key_values=cache,
                use_cache=True,
            ).logits.float()
            on_device = pair.to(self.device)
            chosen = logits[on_device, 0, tokens[target.to(self.device), 0]]
            total += (chosen - logits[:, 0].logsumexp(-1)[on_device]).double()
            first = 1
        # The rest, longest targets first, in chunks that bound the copies of keys and values and the logits.
        order = lengths[target].argsort(descending=True, stable=True)
        order = order[lengths[target[order]] > first]
        budget = min(self.token_budget, self.first_token_budget)  # vocabularies are large
        while len(order):
            steps = int(lengths[target[order[0]]]) - first
            size = max(1, min(4 * budget // hidden.shape[1], budget // (2 * steps)))
            rows, order = order[:size], order[size:]
            labels = tokens[target[rows].to(self.device), : first + steps]
            pairs = pair[rows].to(self.device)
            if cache is None:
                inputs = torch.cat([start[pairs], labels[:, :-1]], dim=1)
                past, states = None, hidden[pairs]
            else:
                inputs = labels[:, :-1]
                past = EncoderDecoderCache([[None if t is None else t[pairs] for t in layer] for layer in cache])
                states = hidden[:1].expand(len(rows), -1, -1)  # only its shape is read: keys and values are there
            logits = self.language_model(
                encoder_outputs=BaseModelOutput(last_hidden_state=states),
                attention_mask=None if mask is None else mask[pairs],
                decoder_input_ids=inputs,
                past_key_values=past,
                use_cache=cache is not None,
            ).logits.float()
            labels = labels[:, first:]
            values = logits.gather(2, labels[..., None]).squeeze(-1) - logits.logsumexp(-1)  # (rows, steps)
            counted = (torch.arange(steps) < (lengths[target[rows]] - first)[:, None]).to(self.device)
            total[rows.to(self.device)] += values.double().masked_fill(~counted, 0.0).sum(1)
        return total

    def _start_token(self) -> int:
        start = self.model.config.decoder_start_token_id
        if start is None:
            start = self.language_model.config.decoder_start_token_id
        if start is None:  # T5 configs may leave it out: decoding starts with padding
            start = self.language_model.config.pad_token_id
        return start

    def _checked_prompts(self, prompts: torch.Tensor | None) -> torch.Tensor:
        weight = self.language_model.get_input_embeddings().weight
        if prompts is None:
            return weight.new_empty(1, 0, weight.shape[1])
        if prompts.dim() != 3 or prompts.shape[2] != weight.shape[1]:
            raise ValueError(
                f"Prompt vectors must have the shape (num_prompts, prompt_length, {weight.shape[1]}), but have "
                f"{tuple(prompts.shape)}."
            )
        if prompts.shape[1] and self.language_model.config.model_type not in SUPPORTED_BACKBONES:
            raise ValueError(
                f"Prompt vectors cannot be put in front of the input of a '{self.language_model.config.model_type}' "
                f"model; supported are {', '.join(SUPPORTED_BACKBONES)}."
            )
        return prompts.to(self.device)

    # ------------------------------------------------------------------------------------------ batches

    def _run(
        self,
        wanted: torch.BoolTensor,
        prompt_length: int,
        run_batch: Callable[[torch.LongTensor, torch.LongTensor], None],
        budget: TokenBudget | None = None,
        shared: bool = True,
    ) -> None:
        """Call `run_batch(prompt_ids, example_ids)` until all wanted pairs are done; halve the budget without memory.

        The budget is that for scoring if not given. With `shared`, the processes share the pairs.
        """
        budget = budget or self._budget
        # By length, so that batches need little padding and the largest comes first; all prompts of an example
        # stand together and have one length.
        order = self.lengths.argsort(descending=True, stable=True)
        example_rank, prompt_ids = wanted[:, order].T.nonzero(as_tuple=True)
        example_ids = order[example_rank]
        self.pairs_scored += len(example_ids)
        if shared:
            prompt_ids, example_ids = prompt_ids[own_share()], example_ids[own_share()]
        widths = self.lengths[example_ids] + prompt_length
        done = 0
        with (
            evaluating(self.model),
            torch.autocast(self.device.type, self.autocast_dtype, enabled=self.autocast_dtype is not None),
            tqdm(
                total=len(widths), unit="pair", disable=not (self.progress and is_main_process()), leave=False
            ) as bar,
        ):
            while done < len(widths):
                end = self._batch_end(widths, done, budget.tokens)
                out_of_memory = False
                try:
                    start = budget.clock()
                    run_batch(prompt_ids[done:end], example_ids[done:end])
                    budget.note(int(widths[done]) * (end - done), budget.clock() - start)
                except RuntimeError as error:
                    if not should_reduce_batch_size(error) or end - done == 1:
                        raise
                    out_of_memory = True  # freed outside this block, where the error no longer holds the tensors
                if out_of_memory:
                    budget.out_of_memory(int(widths[done]) * (end - done))
                    clear_device_cache(garbage_collection=True)
                    continue
                bar.update(end - done)
                done = end

    def _batch_end(self, widths: torch.LongTensor, start: int, budget: int) -> int:
        width = int(widths[start])
        end = min(len(widths), start + max(1, budget // width))
        long_enough = start + int((widths[start:end] >= (1 - MAX_PADDING) * width).sum())
        return long_enough if (long_enough - start) * width >= MIN_FILL * budget else end


def require_numbers(scores: torch.Tensor) -> None:
    """Raises a ValueError where some score is NaN."""
    if scores.isnan().any():
        raise ValueError(
            "The language model's scores are not numbers (NaN). If it runs in float16, use bfloat16 or float32."
        )


def autocast_around(device: torch.device) -> torch.dtype | None:
    """The dtype of the `torch.autocast` that one is in, if any."""
    return torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else None


@contextlib.contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """`model.eval()` for a while; afterwards every module is in the mode it was in."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextlib.contextmanager
def frozen(model: torch.nn.Module) -> Iterator[None]:
    """No gradients for the weights for a while: a backward pass then keeps and computes less."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
