"""What scoring knows of decoder-only language models: the twin of `encoder_decoder`."""

from typing import Any, Literal, NamedTuple

import torch
from transformers import DynamicCache, PreTrainedModel

from modeling_ctr.answer_likelihoods import sum_log_probabilities
from modeling_ctr.check_backbone import check_causal_backbone
from modeling_ctr.joined_inputs import get_prompt_place, join_inputs
from modeling_ctr.model_modes import evaluating

from .answer_packing import can_pack, score_packed
from .causal_reading import make_cache, read_on
from .examples import ScoredExamples
from .pair_batches import MIN_FILL
from .targets import Targets
from .text_cache import TextCache, get_padded_texts

# A text that is read already takes memory and copying, but hardly any computing: so many of its tokens count as one.
READ_TOKENS = 4


class Context(NamedTuple):
    """What stands in front of the answers of some pairs, read by the language model.

    Attributes:
        cache: Keys and values of the context.
        mask: `(pairs, length)`, 0 for padding, which stands in front.
        logits: `(pairs, shared + 1, vocab_size)`, float32: of the tokens that all answers begin with, and of the next.
    """

    cache: DynamicCache
    mask: torch.LongTensor
    logits: torch.Tensor


class DecoderOnlyReader:
    """Reads examples with prompt vectors in front of the text or behind it, scores their targets and writes answers.

    Every pair of a prompt and an example is read once, whatever the number of its targets, and so are the tokens that all
    targets begin with; logits are computed for the tokens of answers alone. With prompts behind the text, each text is
    read once, whatever the number of prompts: its keys and values are kept, between calls as well.

    Texts of a batch are padded in front. Attention over a sliding window counts places, not positions: with padding
    between a text and what follows it, the window would reach less far.

    Args:
        language_model: The language model.
        examples: What it reads.
        code_position: Where prompt vectors stand: "prefix" (behind a bos token, where the text has one) or "suffix".
        bos_token_id: The bos token, where there is one.

    Attributes:
        texts ([`TextCache`]): Texts that were read already.

    Raises:
        ValueError: The language model is none that prompt vectors and caches can be used with; says why.
    """

    def __init__(
        self,
        language_model: PreTrainedModel,
        examples: ScoredExamples,
        code_position: Literal["prefix", "suffix"] = "prefix",
        bos_token_id: int | None = None,
    ):
        with evaluating(language_model):
            check_causal_backbone(language_model)
            self._packs = can_pack(language_model)
        self.language_model, self.examples = language_model, examples
        self.code_position, self.bos_token_id = code_position, bos_token_id
        self.texts = TextCache(language_model, examples)

    def check_prompt_length(self, length: int) -> None:
        """Raise a ValueError where a prompt, the longest text and the longest target are too long for the positions."""
        config = self.language_model.config.get_text_config()
        if hasattr(config, "rope_parameters") or not hasattr(config, "max_position_embeddings"):
            return  # rotary positions go on
        targets = [targets for targets in (self.examples.choices, self.examples.gold) if targets is not None]
        answer = max((int(each.lengths.max()) for each in targets), default=0)
        needed = length + int(self.examples.lengths.max()) + answer
        if needed > config.max_position_embeddings:
            raise ValueError(
                f"The prompt ({length} vectors), the longest input ({int(self.examples.lengths.max())} tokens) and the "
                f"longest answer ({answer}) are together longer than the {config.max_position_embeddings} positions of "
                "the language model: cut inputs."
            )

    def get_lengths(self, prompt_length: int) -> torch.LongTensor:
        """Count the tokens that a pair takes of a batch's budget, `(num_examples,)`."""
        lengths = self.examples.lengths
        return prompt_length + (lengths // READ_TOKENS if self._shares_texts(prompt_length) else lengths)

    def score(
        self,
        prompts: torch.Tensor,
        prompt_ids: torch.LongTensor,
        example_ids: torch.LongTensor,
        targets: Targets,
        token_budget: int,
    ) -> tuple[torch.LongTensor, torch.LongTensor, torch.DoubleTensor]:
        """Score each distinct target of each pair; arguments and results as of `EncoderDecoderReader.score`."""
        device = self.examples.inputs.device
        pair, slot, target = targets.get_rows(example_ids)
        shared = count_shared_tokens(targets)
        context = self._read(prompts, prompt_ids, example_ids, targets.tokens[0, :shared], token_budget)
        # The first tokens of all targets of a pair follow from what was read.
        pairs, first = pair.to(device), targets.tokens[target.to(device), : shared + 1]
        chosen = context.logits[pairs[:, None], torch.arange(shared + 1, device=device), first]
        values = chosen - context.logits.logsumexp(-1)[pairs]
        total = values.double().sum(1)
        if self._packs:
            rest = (self.language_model, context.cache, context.mask, pair, target, targets, shared + 1, token_budget)
            total = total + score_packed(*rest)
        else:
            self._add_rest(total, context, pair, target, targets, shared + 1, token_budget)
        return pair, slot, total

    def generate(
        self, prompts: torch.Tensor, prompt_ids: torch.LongTensor, example_ids: torch.LongTensor, **kwargs: Any
    ) -> list[list[int]]:
        """Write an answer for each pair: token ids without the input; arguments as in `score`, and `generate`'s."""
        embeds, mask = self._join(prompts, prompt_ids, example_ids)
        return self.language_model.generate(inputs_embeds=embeds, attention_mask=mask, **kwargs).tolist()

    # ------------------------------------------------------------------------------------------- the context

    def _shares_texts(self, prompt_length: int) -> bool:
        return self.code_position == "suffix" and prompt_length > 0

    def _read(
        self,
        prompts: torch.Tensor,
        prompt_ids: torch.LongTensor,
        example_ids: torch.LongTensor,
        shared: torch.LongTensor,
        token_budget: int,
    ) -> Context:
        """Read texts, prompts and the tokens `shared` by all answers."""
        if self._shares_texts(prompts.shape[1]):
            cache, mask = self.texts.recall(example_ids, token_budget)
            embeds = prompts[prompt_ids.to(prompts.device)].to(self.language_model.get_input_embeddings().weight.dtype)
            mask = torch.cat([mask, mask.new_ones(embeds.shape[:2])], dim=1)
        else:
            cache = make_cache([])
            embeds, mask = self._join(prompts, prompt_ids, example_ids)
        if len(shared):
            words = self.language_model.get_input_embeddings()(shared).expand(len(embeds), -1, -1)
            embeds = torch.cat([embeds, words.to(embeds.dtype)], dim=1)
            mask = torch.cat([mask, mask.new_ones(words.shape[:2])], dim=1)
        return Context(cache, mask, read_on(self.language_model, embeds, mask, cache, len(shared) + 1))

    def _join(
        self, prompts: torch.Tensor, prompt_ids: torch.LongTensor, example_ids: torch.LongTensor
    ) -> tuple[torch.Tensor, torch.LongTensor]:
        """Vectors `(pairs, prompt + text, width)` and their mask, padded in front."""
        ids, mask = get_padded_texts(self.examples, example_ids)
        words = self.language_model.get_input_embeddings()(ids)
        if prompts.shape[1] == 0:
            return words, mask
        place = get_prompt_place(self.code_position, mask, ids, self.bos_token_id)
        vectors = prompts[prompt_ids.to(prompts.device)].to(words.dtype)
        joined = join_inputs(vectors, words, mask, place)
        return joined.inputs_embeds, joined.attention_mask

    # --------------------------------------------------------------------------------------------- the answers

    def _add_rest(
        self,
        total: torch.DoubleTensor,
        context: Context,
        pair: torch.LongTensor,
        target: torch.LongTensor,
        targets: Targets,
        first: int,
        token_budget: int,
    ) -> None:
        """Add the log-probabilities of the targets' tokens from number `first` on to `total` `(rows,)`."""
        device = total.device
        lengths = targets.lengths[target]
        # The longest first, in chunks that bound the copies of keys and values and the logits over the vocabulary.
        order = lengths.argsort(descending=True, stable=True)
        order = order[lengths[order] > first]
        layers = list(context.cache)
        while len(order):
            steps = int(lengths[order[0]]) - first
            size = max(1, min(READ_TOKENS * token_budget // context.mask.shape[1], token_budget // (2 * steps)))
            # Answers of other lengths are left to the next chunk, unless this one would hardly be filled without them.
            equal = int((lengths[order[:size]] == first + steps).sum())
            size = equal if equal >= MIN_FILL * size else size
            rows, order = order[:size], order[size:]
            pairs, tokens = pair[rows].to(device), targets.tokens[target[rows].to(device)]
            cache = make_cache([(layer[0][pairs], layer[1][pairs]) for layer in layers])
            mask = torch.cat([context.mask[pairs], context.mask.new_ones(len(rows), steps)], dim=1)
            words = self.language_model.get_input_embeddings()(tokens[:, first - 1 : first - 1 + steps])
            logits = read_on(self.language_model, words, mask, cache, steps)
            labels = tokens[:, first : first + steps]
            total[rows.to(device)] += sum_log_probabilities(logits, labels, (lengths[rows] - first).to(device))


def count_shared_tokens(targets: Targets) -> int:
    """Count the tokens that all targets begin with, leaving at least one of each."""
    shortest = int(targets.lengths.min())
    tokens = targets.tokens[:, : shortest - 1]
    equal = (tokens == tokens[:1]).all(0)
    return int(equal.long().cumprod(0).sum())
