"""Encoder-decoders that differ more from T5: T5Gemma and T5Gemma 2, whose configs have two parts, which start with bos and
need caches and masks of their own; LongT5, whose encoder looks at blocks; and Pegasus, which scales its word vectors outside
of the embedding layer."""

import pytest
import torch
import torch.nn.functional as F
import transformers
from packaging.version import Version

from modeling_ctr import CTRForConditionalGeneration

IS_OLD = Version(transformers.__version__) < Version("5.18")
OPTIONS = {"max_new_tokens": 9, "no_repeat_ngram_size": 1, "do_sample": False}  # beyond the sliding window of 6


@pytest.fixture(params=["t5gemma", "t5gemma2", "longt5", "pegasus"])
def model(request, tiny_ctr_model):
    return tiny_ctr_model(request.param)


@pytest.fixture
def batch(model, tiny_batch) -> dict[str, torch.Tensor]:
    return tiny_batch(model)


@pytest.mark.parametrize("kind", ["t5gemma", "t5gemma2"])
def test_decoding_starts_with_bos(kind, tiny_ctr_model):
    model = tiny_ctr_model(kind)
    assert model.config.decoder_start_token_id == model.config.bos_token_id == 2
    assert model.prepare_decoder_input_ids_from_labels(torch.tensor([[5, 1]])).tolist() == [[2, 5]]
    assert model.config.prompt_dim == 16


def test_the_prompt_stands_in_front_of_the_text(model, batch):
    output = model(**batch)
    for row in range(3):
        text = batch["input_ids"][row : row + 1, : batch["attention_mask"][row].sum()]
        target = batch["labels"][row : row + 1]
        prompt = model.prompt_vectors(output.task_codes[row : row + 1])
        encoder = model.backbone.get_encoder()
        words = encoder.get_input_embeddings()(text) * getattr(encoder, "embed_scale", 1.0)
        alone = model.backbone(inputs_embeds=torch.cat([prompt, words], 1), labels=target)
        torch.testing.assert_close(output.logits[row : row + 1], alone.logits, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_words_are_read_as_the_language_model_reads_them(model, batch):
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    without_prompt = model.get_encoder()(**inputs, prompt_embeds=torch.zeros(0, model.config.prompt_dim))
    expected = model.backbone.get_encoder()(**inputs)
    is_text = inputs["attention_mask"].bool()
    torch.testing.assert_close(without_prompt[0][is_text], expected[0][is_text])


def test_padding_on_the_left(model, batch):
    left = {name: batch[name].clone() for name in ("input_ids", "attention_mask")}
    for row, length in enumerate(batch["attention_mask"].sum(1).tolist()):
        for tensor in left.values():
            tensor[row] = tensor[row].roll(9 - length)
    torch.testing.assert_close(model(**batch | left).logits, model(**batch).logits, atol=1e-4, rtol=1e-4)
    del batch["labels"]
    assert torch.equal(model.generate(**batch | left, **OPTIONS), model.generate(**batch, **OPTIONS))


def test_a_cache_changes_nothing(model, batch):
    del batch["labels"]
    for options in ({}, {"num_beams": 3}):
        cached, uncached = (model.generate(**batch, **OPTIONS, **options, use_cache=use) for use in (True, False))
        assert torch.equal(cached, uncached)
    assert cached[:, 0].tolist() == [model.config.decoder_start_token_id] * 3


def test_choices_are_scored_as_forward_does(model, batch):
    choices = torch.tensor([[[5, 1, -100], [6, 7, 1]], [[5, 1, -100], [-100] * 3], [[8, 3, 1], [6, 7, 1]]])
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "task_id")}
    scores = model.choice_log_likelihoods(choice_ids=choices, **inputs)
    for column in range(2):
        labels = choices[:, column].contiguous()
        losses = F.cross_entropy(model(**inputs, labels=labels).logits.transpose(1, 2), labels, reduction="none").sum(
            1
        )
        known = (labels != -100).any(1)
        torch.testing.assert_close(scores[known, column].float(), -losses[known], atol=1e-4, rtol=1e-4)


def test_the_round_trip(model, batch, tmp_path):
    model.save_pretrained(tmp_path / "ctr")
    loaded = CTRForConditionalGeneration.from_pretrained(tmp_path / "ctr")
    assert torch.equal(loaded(**batch).logits, model(**batch).logits)
    model.backbone.save_pretrained(tmp_path / "plain")
    new = CTRForConditionalGeneration.from_backbone(tmp_path / "plain", num_tasks=2)
    for name, tensor in model.backbone.state_dict().items():
        if "vision_tower" not in name or not IS_OLD:  # no part of reading text, and renamed while it is loaded
            assert torch.equal(new.backbone.state_dict()[name], tensor), name
    assert new.config.decoder_start_token_id == model.config.decoder_start_token_id
