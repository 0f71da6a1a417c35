"""What goes into the ONNX graphs: a first one that reads text and task, and a second one that decodes with a cache.

Shapes use B for the batch, N for the prompt's length, L for the text's, T for the new tokens' and P for those decoded before.
All of these may differ from call to call, and P may be 0: the second graph serves the first step and all others.
"""

from typing import Any

import torch
from torch import nn
from transformers import DynamicCache, EncoderDecoderCache, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from modeling_ctr import CTRPreTrainedModel
from modeling_ctr.check_backbone import takes_argument
from modeling_ctr.joined_inputs import (
    get_position_ids,
    get_prompt_place,
    join_inputs,
    move_padding_to_front,
)
from modeling_ctr.prompt_encoder import CTREncoder, prompt_attention_mask

# Layers' keys and values `(B, heads, length, head_width)`, nested as the graphs' inputs are named.
Cache = dict[str, dict[str, Any]]


class PromptedEncoder(nn.Module):
    """Encodes a text behind its task, down to the keys and values that each layer of the decoder reads.

    Args:
        model: An encoder-decoder CTR model.
        vectors: `(rows, width)`: prompt vectors that task codes are numbers of.
    """

    def __init__(self, model: CTRPreTrainedModel, vectors: torch.Tensor):
        super().__init__()
        self.vectors = nn.Embedding.from_pretrained(vectors)
        self.language_model = model.backbone

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, task_code: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Encode texts `(B, L)`, padded on either side, behind codes `(B, N)`."""
        encoder = CTREncoder(self.language_model.get_encoder(), None)
        states = encoder(input_ids, attention_mask, prompt_embeds=self.vectors(task_code))
        mask = prompt_attention_mask(attention_mask, task_code.shape[1])
        # A step of the decoder, of which nothing but these keys and values gets into the graph.
        cache = self.language_model(
            encoder_outputs=states, attention_mask=mask, decoder_input_ids=input_ids[:, :1], use_cache=True
        ).past_key_values
        return {"encoder_attention_mask": mask, **_name_layers(cache.cross_attention_cache, ".encoder")}


class CachedDecoder(nn.Module):
    """Decodes behind what an encoder has read and what was decoded before."""

    def __init__(self, language_model: PreTrainedModel):
        super().__init__()
        self.language_model = language_model

    def forward(
        self, decoder_input_ids: torch.Tensor, encoder_attention_mask: torch.Tensor, past_key_values: Cache
    ) -> dict[str, torch.Tensor]:
        """Decode tokens `(B, T)` with a mask `(B, N + L)`; gives logits `(B, T, vocabulary)` and the decoder's cache."""
        of_decoder, of_encoder = (
            DynamicCache([(layer[part]["key"], layer[part]["value"]) for layer in past_key_values.values()])
            for part in ("decoder", "encoder")
        )
        read = of_encoder.layers[0].keys
        outputs = self.language_model(
            # Only their shape is looked at: their keys and values are in the cache.
            encoder_outputs=BaseModelOutput(last_hidden_state=read.new_zeros(read.shape[0], read.shape[2], 1)),
            attention_mask=encoder_attention_mask,
            decoder_input_ids=decoder_input_ids,
            past_key_values=EncoderDecoderCache(of_decoder, of_encoder),
            use_cache=True,
        )
        return {
            "logits": outputs.logits,
            **_name_layers(outputs.past_key_values.self_attention_cache, ".decoder"),
        }


class PromptedEmbedding(nn.Module):
    """Puts a task's prompt vectors among the word vectors of a text.

    Args:
        model: A decoder-only CTR model.
        vectors: `(rows, width)`: prompt vectors that task codes are numbers of.
    """

    def __init__(self, model: CTRPreTrainedModel, vectors: torch.Tensor):
        super().__init__()
        self.vectors = nn.Embedding.from_pretrained(vectors)
        self.words = model.get_input_embeddings()
        self.code_position, self.bos_token_id = model.config.code_position, model.config.bos_token_id

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, task_code: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Join texts `(B, L)`, padded on either side, and codes `(B, N)`, where N is 0 for tokens to go on with."""
        order = move_padding_to_front(attention_mask)
        ids, mask = input_ids.gather(1, order), attention_mask.gather(1, order)
        place = get_prompt_place(self.code_position, mask, ids, self.bos_token_id)
        joined = join_inputs(self.vectors(task_code), self.words(ids), mask, place)
        return {"inputs_embeds": joined.inputs_embeds, "joined_attention_mask": joined.attention_mask}


class CachedLanguageModel(nn.Module):
    """Reads on behind what a decoder-only language model has read."""

    def __init__(self, language_model: PreTrainedModel):
        super().__init__()
        self.language_model = language_model

    def forward(
        self, inputs_embeds: torch.Tensor, attention_mask: torch.Tensor, past_key_values: Cache
    ) -> dict[str, torch.Tensor]:
        """Read vectors `(B, T, width)` with a mask `(B, P + T)`; gives the last one's logits `(B, 1, vocabulary)`."""
        options = {
            "position_ids": get_position_ids(attention_mask)[:, -inputs_embeds.shape[1] :],
            "logits_to_keep": 1,
        }
        outputs = self.language_model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            past_key_values=DynamicCache([(layer["key"], layer["value"]) for layer in past_key_values.values()]),
            use_cache=True,
            **{name: value for name, value in options.items() if takes_argument(self.language_model, name)},
        )
        return {"logits": outputs.logits[:, -1:], **_name_layers(outputs.past_key_values, "")}


@torch.no_grad()
def make_graphs(
    model: CTRPreTrainedModel, vectors: torch.Tensor, input_ids: torch.Tensor
) -> dict[str, tuple[nn.Module, dict[str, Any]]]:
    """Make the two modules of a CTR model, each with inputs to trace it with; by the names of their files.

    Sizes of the sample inputs are not 1, which tracing would take for a constant.

    Args:
        model: The model, in `eval` mode.
        vectors: `(rows, width)`: prompt vectors that task codes are numbers of.
        input_ids: `(2, 3)`, any tokens.
    """
    mask, code = torch.ones_like(input_ids), torch.zeros(2, model.config.code_length, dtype=torch.long)
    sample = {"input_ids": input_ids, "attention_mask": mask, "task_code": code}
    language_model = model.backbone
    if model.config.is_encoder_decoder:
        reader = PromptedEncoder(model, vectors)
        read = reader(**sample)
        cache = language_model(
            inputs_embeds=model.get_input_embeddings()(input_ids), decoder_input_ids=input_ids[:, :2], use_cache=True
        ).past_key_values.self_attention_cache
        past: Cache = {
            str(number): {
                "decoder": {"key": layer.keys, "value": layer.values},
                "encoder": {part: read[f"present.{number}.encoder.{part}"] for part in ("key", "value")},
            }
            for number, layer in enumerate(cache.layers)
        }
        step = {"decoder_input_ids": input_ids, "encoder_attention_mask": read["encoder_attention_mask"]}
        return {
            "encoder_model": (reader, sample),
            "decoder_model": (CachedDecoder(language_model), step | {"past_key_values": past}),
        }
    embeds = model.get_input_embeddings()(input_ids)
    cache = language_model(inputs_embeds=embeds[:, :2], use_cache=True).past_key_values
    past = {str(number): {"key": layer.keys, "value": layer.values} for number, layer in enumerate(cache.layers)}
    step = {"inputs_embeds": embeds, "attention_mask": torch.ones(2, 5, dtype=torch.long), "past_key_values": past}
    return {
        "prompt_model": (PromptedEmbedding(model, vectors), sample),
        "decoder_model": (CachedLanguageModel(language_model), step),
    }


def get_dynamic_shapes(inputs: Any) -> Any:
    """Mark the sizes of nested inputs that may change: all but width, heads and their width."""
    if isinstance(inputs, dict):
        return {name: get_dynamic_shapes(value) for name, value in inputs.items()}
    return dict.fromkeys((0, 2) if inputs.dim() == 4 else (0, 1), torch.export.Dim.AUTO)


def _name_layers(cache: DynamicCache, part: str) -> dict[str, torch.Tensor]:
    """The keys and values of each layer, by the names of a graph's outputs."""
    named = {}
    for number, layer in enumerate(cache.layers):
        named |= {f"present.{number}{part}.key": layer.keys, f"present.{number}{part}.value": layer.values}
    return named
