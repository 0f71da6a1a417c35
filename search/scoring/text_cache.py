"""Keys and values of texts that prompts stand behind: they do not depend on the prompt, so that each is read once."""

import torch
from transformers import DynamicCache, PreTrainedModel

from modeling_ctr.joined_inputs import move_padding_to_front

from .causal_reading import Layers, make_cache, read_on
from .examples import ScoredExamples

# Bytes that are kept between calls, at most.
KEPT_BYTES = 2 << 30


class TextCache:
    """Reads the texts of examples, and keeps what it can until the weights change.

    Args:
        language_model: A decoder-only language model.
        examples: Whose texts.

    Attributes:
        kept (`dict[int, Layers]`): What is kept by example, `(heads, length, size)`, without padding.
        num_bytes (`int`): Memory of it.
    """

    def __init__(self, language_model: PreTrainedModel, examples: ScoredExamples):
        self.language_model, self.examples = language_model, examples
        self.kept: dict[int, Layers] = {}
        self.num_bytes = 0
        self._weights: list[tuple[int, int]] = []  # that they were computed with

    def recall(self, example_ids: torch.LongTensor, token_budget: int) -> tuple[DynamicCache, torch.LongTensor]:
        """Get what was read of texts.

        Args:
            example_ids: `(pairs,)`: whose texts; one may be there many times.
            token_budget: Tokens to read at a time.

        Returns:
            A cache with a row for each, padded in front, and its mask `(pairs, longest)`.
        """
        distinct, of_pair = example_ids.unique(return_inverse=True)
        texts = self._get_texts(distinct.tolist(), token_budget)
        device = self.examples.inputs.device
        lengths = self.examples.lengths[example_ids]
        longest = int(lengths.max())
        of_pair = of_pair.to(device)
        layers = []
        for parts in zip(*texts, strict=True):  # of one layer, by text
            keys, values = (
                torch.stack([torch.nn.functional.pad(t, (0, 0, longest - t.shape[-2], 0)) for t in tensors])
                for tensors in zip(*parts, strict=True)
            )
            layers.append((keys[of_pair], values[of_pair]))
        mask = (torch.arange(longest) >= longest - lengths[:, None]).long().to(device)
        return make_cache(layers), mask

    def _get_texts(self, examples: list[int], token_budget: int) -> list[Layers]:
        weights = [
            (id(weight), 0 if weight.is_inference() else weight._version)
            for weight in self.language_model.parameters()
        ]
        if weights != self._weights:
            self.kept, self.num_bytes, self._weights = {}, 0, weights
        found = {example: self.kept[example] for example in examples if example in self.kept}
        missing = [example for example in examples if example not in found]
        at_once = max(1, token_budget // int(self.examples.lengths[examples].max()))
        for first in range(0, len(missing), at_once):
            found |= self._read(missing[first : first + at_once])
        for example in missing:  # those that do not fit are read again
            size = sum(tensor.nbytes for layer in found[example] for tensor in layer)
            if self.num_bytes + size <= KEPT_BYTES:
                self.kept[example] = found[example]
                self.num_bytes += size
        return [found[example] for example in examples]

    @torch.inference_mode(False)
    @torch.no_grad()  # and no inference mode: gradients by prompts may be asked for later on
    def _read(self, examples: list[int]) -> dict[int, Layers]:
        tokens, mask = get_padded_texts(self.examples, torch.tensor(examples))
        cache = DynamicCache()
        words = self.language_model.get_input_embeddings()(tokens.clone())
        read_on(self.language_model, words, mask.clone(), cache, 1)
        lengths = self.examples.lengths[examples].tolist()
        return {
            example: [tuple(tensor[row, :, -length:].clone() for tensor in layer[:2]) for layer in cache]
            for row, (example, length) in enumerate(zip(examples, lengths, strict=True))
        }


def get_padded_texts(
    examples: ScoredExamples, example_ids: torch.LongTensor
) -> tuple[torch.LongTensor, torch.LongTensor]:
    """Get token ids and mask `(pairs, longest)` of the texts of examples `(pairs,)`, padded in front."""
    device = examples.inputs.device
    lengths = examples.lengths[example_ids]
    longest = int(lengths.max())
    mask = (torch.arange(longest) < lengths[:, None]).long().to(device)
    order = move_padding_to_front(mask)
    return examples.inputs[example_ids.to(device), :longest].gather(1, order), mask.gather(1, order)
