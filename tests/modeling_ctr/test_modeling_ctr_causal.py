"""`CTRForCausalLM`, on very small models of every family that is promised, with the code in front and behind."""

import copy
import functools
import json

import pytest
import torch
import torch.nn.functional as F
from peft import LoraConfig, TaskType, get_peft_model
from transformers import AutoModelForCausalLM, LogitsProcessor, LogitsProcessorList, set_seed
from transformers.dynamic_module_utils import get_class_from_dynamic_module
from transformers.generation.streamers import BaseStreamer

from modeling_ctr import CTRConfig, CTRForCausalLM, CTRForConditionalGeneration, TaskDetails

FAMILIES = [
    *("llama", "qwen2", "qwen3", "gemma2", "gemma3_text", "mistral", "phi3"),
    *("gpt2", "gpt_neox", "opt", "bloom", "falcon", "stablelm", "smollm3"),
]
BOS = 2
TASKS = ["ag_news", "glue_mrpc", "glue_qqp"]
# No text ends, so that rows can be compared at full length.
NO_END = 99
OPTIONS = {"max_new_tokens": 5, "do_sample": False, "eos_token_id": NO_END, "pad_token_id": 0}
TEXTS = [[BOS, 33, 28, 34, 3, 60, 32, 7], [BOS, 23, 32, 63], [8, 12, 9, 30, 31]]  # the last without a bos token
ANSWERS = [[40, 41, 1], [42, 1], [43, 44, 1]]


def pad(rows: list[list[int]], value: int, side: str = "right") -> torch.Tensor:
    length = max(map(len, rows))
    padded = [[value] * (length - len(r)) + r if side == "left" else r + [value] * (length - len(r)) for r in rows]
    return torch.tensor(padded)


def make_inputs(side: str = "right") -> dict[str, torch.Tensor]:
    return {"input_ids": pad(TEXTS, 0, side), "attention_mask": pad([[1] * len(t) for t in TEXTS], 0, side)}


def make_batch(side: str = "right") -> dict[str, torch.Tensor]:
    """Texts with answers, for training."""
    rows = [text + answer for text, answer in zip(TEXTS, ANSWERS, strict=True)]
    labels = [[-100] * len(text) + answer for text, answer in zip(TEXTS, ANSWERS, strict=True)]
    return {
        "input_ids": pad(rows, 0, side),
        "attention_mask": pad([[1] * len(row) for row in rows], 0, side),
        "labels": pad(labels, -100, side),
        "task_id": torch.tensor([2, 0, 1]),
    }


@pytest.fixture(params=["prefix", "suffix"])
def position(request) -> str:
    return request.param


@pytest.fixture
def llama(tiny_causal_model, position):
    return tiny_causal_model("llama", code_position=position)


def read_alone(model, text: list[int], answer: list[int], task: str) -> torch.Tensor:
    """Logits `(answer_length, vocab_size)` of the language model for the parts put together by hand, without padding."""
    embed = model.get_input_embeddings()
    text, answer = torch.tensor(text), torch.tensor(answer, dtype=torch.long)
    prompt = model.prompt_vectors(model.get_task_code(task)[None])[0]
    start = 0 if model.config.code_position == "suffix" else int(text[0] == BOS)
    end = len(text) if model.config.code_position == "suffix" else start
    joined = torch.cat([embed(text[:end]), prompt, embed(text[end:]), embed(answer)])[None]
    return model.backbone(inputs_embeds=joined).logits[0, -len(answer) - 1 : -1]


# ----------------------------------------------------------------------------------------------------- forward


@pytest.mark.parametrize("kind", FAMILIES)
def test_every_family(kind, position, tiny_causal_model, assert_close_in_norm):
    """Logits, losses and generation of a padded batch are those of the parts put together by hand."""
    model = tiny_causal_model(kind, code_position=position)
    for side in ("left", "right"):
        batch = make_batch(side)
        output = model(**batch)
        losses = []
        for row, (text, answer) in enumerate(zip(TEXTS, ANSWERS, strict=True)):
            expected = read_alone(model, text, answer, TASKS[row])
            (places,) = torch.where(batch["labels"][row] != -100)
            assert_close_in_norm(output.logits[row, places - 1], expected, 1e-4, f"{side} {row}")
            losses.append(F.cross_entropy(expected, torch.tensor(answer), reduction="none"))
        torch.testing.assert_close(output.lm_loss, torch.cat(losses).mean(), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(output.loss, output.lm_loss + output.vq_loss)
    generated = [model.generate(**make_inputs(side), task=TASKS, **OPTIONS) for side in ("left", "right")]
    assert torch.equal(*generated)
    for row, text in enumerate(TEXTS):
        for _ in range(OPTIONS["max_new_tokens"]):
            text = [*text, int(read_alone(model, TEXTS[row], [*text[len(TEXTS[row]) :], 0], TASKS[row])[-1].argmax())]
        assert generated[0][row].tolist() == [0] * (8 - len(TEXTS[row])) + text


def test_logits_are_those_of_the_text_as_transformers_aligns_them(llama):
    batch = make_batch()
    output = llama(**batch)
    assert output.logits.shape == (*batch["input_ids"].shape, 64)
    shifted = F.cross_entropy(output.logits[:, :-1].transpose(1, 2), batch["labels"][:, 1:])
    torch.testing.assert_close(output.lm_loss, shifted)
    assert torch.equal(output.task_codes, llama.task_codes()[batch["task_id"]])
    last = llama(**batch, logits_to_keep=4)
    torch.testing.assert_close(last.logits, output.logits[:, -4:])
    labels = {"labels": batch["labels"].masked_fill(torch.arange(11) < 8, -100)}
    if llama.config.code_position == "prefix":  # a suffix stands in front of the first label
        torch.testing.assert_close(llama(**batch | labels, logits_to_keep=4).lm_loss, llama(**batch | labels).lm_loss)


def test_a_suffix_leaves_what_is_read_of_the_text_alone(tiny_causal_model):
    """So that in a search each text is read once."""
    model = tiny_causal_model("llama", code_position="suffix")
    caches = [model(**make_inputs(), task=task, use_cache=True).past_key_values for task in TASKS[:2]]
    for layers in zip(*(cache.layers for cache in caches), strict=True):
        first, second = (layer.keys[0] for layer in layers)  # the longest text, 8 tokens, then four vectors
        assert torch.equal(first[:, :8], second[:, :8]) and not torch.equal(first[:, 8:], second[:, 8:])


def test_all_ways_to_name_a_task_agree(llama):
    batch = make_batch()
    batch.pop("task_id")
    code = llama.get_task_code("ag_news")
    llama.add_task("added", code, TaskDetails(answers=["a", "b"]))
    llama.add_tuned_task("tuned", llama.get_task_vectors("ag_news"))
    ways = [
        {"task": "ag_news"},
        {"task": ["ag_news", "added", "tuned"]},
        {"task_id": 2},
        {"task_code": code.tolist()},
        {"prompt_embeds": llama.prompt_vectors(code[None])[0]},
        {"task": "tuned"},
    ]
    expected = llama(**batch, task="added").logits
    generated = llama.generate(**make_inputs(), task="added", **OPTIONS)
    for way in ways:
        torch.testing.assert_close(llama(**batch, **way).logits, expected)
        assert torch.equal(llama.generate(**make_inputs(), **way, **OPTIONS), generated)
    llama.config.default_task = "tuned"
    torch.testing.assert_close(llama(**batch).logits, expected)


@torch.no_grad()
def test_reading_on_with_a_cache(llama):
    """The mask of the text alone will do, as in loops that people write; so will the whole one."""
    inputs = make_inputs("left") | {"task": TASKS}
    more = torch.tensor([[11, 12], [13, 14], [15, 16]])
    whole = {
        "input_ids": torch.cat([inputs["input_ids"], more], 1),
        "attention_mask": F.pad(inputs["attention_mask"], (0, 2), value=1),
    }
    if llama.config.code_position == "suffix":  # where the text ends is told by the labels
        whole["labels"] = torch.full_like(whole["input_ids"], -100)
        whole["labels"][:, 8:] = more
    expected = llama(**whole, task=TASKS).logits[:, -2:]
    first = llama(**inputs, use_cache=True)
    own = whole["attention_mask"]
    with_prompt = torch.cat([own[:, :8], own.new_ones(3, 4), own[:, 8:]], 1)
    for mask in (own, with_prompt):
        cache = copy.deepcopy(first.past_key_values)
        output = llama(more, mask, past_key_values=cache, task=TASKS)
        torch.testing.assert_close(output.logits, expected, atol=1e-4, rtol=1e-4)


def test_choice_log_likelihoods(llama):
    choices = torch.tensor(
        [
            [[5, 1, -100], [6, 7, 1], [8, 1, -100]],
            [[5, 1, -100], [9, 1, -100], [-100, -100, -100]],
            [[0, 3, 1], [6, 7, 1], [5, 1, -100]],
        ]
    )
    for side in ("left", "right"):
        scores = llama.choice_log_likelihoods(choice_ids=choices, **make_inputs(side), task=TASKS)
        assert scores.shape == (3, 3) and scores[1, 2] == float("-inf")
        for row, text in enumerate(TEXTS):
            for column in range(3):
                answer = [token for token in choices[row, column].tolist() if token >= 0]
                if answer:
                    logits = read_alone(llama, text, answer, TASKS[row])
                    expected = -F.cross_entropy(logits, torch.tensor(answer), reduction="sum")
                    torch.testing.assert_close(scores[row, column], expected, atol=1e-4, rtol=1e-4)


# -------------------------------------------------------------------------------------------------- generation


def test_beams_of_a_batch_are_those_of_single_texts(llama):
    options = OPTIONS | {"num_beams": 3, "num_return_sequences": 2}
    together = llama.generate(**make_inputs(), task=TASKS, **options)
    assert together.shape == (6, 13)
    for row, text in enumerate(TEXTS):
        alone = llama.generate(torch.tensor([text]), task=TASKS[row], **options)
        assert torch.equal(alone, together[2 * row : 2 * row + 2, 8 - len(text) :])


def test_sampling(llama):
    runs = []
    for seed in (0, 0, 1):
        set_seed(seed)
        options = OPTIONS | {"do_sample": True, "num_return_sequences": 3, "temperature": 2.0}
        runs.append(llama.generate(**make_inputs(), task=TASKS, **options))
    assert runs[0].shape == (9, 13)
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])


@pytest.mark.parametrize("kind", ["llama", "gemma3_text", "gpt2"])
def test_caches_do_not_change_what_comes_out(kind, position, tiny_causal_model):
    model = tiny_causal_model(kind, code_position=position)
    inputs = make_inputs() | {"task": TASKS}
    expected = model.generate(**inputs, **OPTIONS)
    for options in ({"use_cache": False}, {"cache_implementation": "static"}):
        assert torch.equal(model.generate(**inputs, **OPTIONS, **options), expected)


class Seen(LogitsProcessor, BaseStreamer):
    """Notes what processors and streamers are given."""

    def __init__(self):
        self.lengths, self.put_tokens, self.first = [], 0, None

    def __call__(self, input_ids, scores):
        self.first = input_ids if self.first is None else self.first
        self.lengths.append(input_ids.shape[1])
        return scores

    def put(self, value):
        self.put_tokens += value.numel()

    def end(self):
        self.put_tokens += 1000


def test_processors_and_streamers_see_the_text(llama):
    seen, text = Seen(), torch.tensor(TEXTS[:1])
    output = llama.generate(text, task="ag_news", **OPTIONS, logits_processor=LogitsProcessorList([seen]))
    assert torch.equal(seen.first, text) and seen.lengths == [8, 9, 10, 11, 12]
    streamed = llama.generate(text, task="ag_news", **OPTIONS, streamer=seen)
    assert torch.equal(streamed, output) and seen.put_tokens == 1000 + 13


def test_limits_of_length_count_the_text(llama):
    text, same = make_inputs(), {"do_sample": False, "eos_token_id": NO_END, "task": TASKS}
    five = llama.generate(**text, **OPTIONS, task=TASKS)
    assert torch.equal(llama.generate(**text, **same, max_length=13), five)
    llama.generation_config.max_length = 13
    assert torch.equal(llama.generate(**text, **same), five)
    llama.generation_config.max_length = None
    assert llama.generate(**text, **same).shape[1] == 8 + 20  # transformers' default
    assert llama.generate(**text, task=TASKS, do_sample=False, min_length=12, max_length=13).shape[1] >= 12
    with pytest.raises(ValueError, match="`max_length` is 8, but the texts have 8 tokens already"):
        llama.generate(**text, **same, max_length=8)


def test_texts_as_embeddings_and_no_text(llama):
    text = torch.tensor(TEXTS[2:])  # without a bos token, which vectors cannot show
    expected = llama.generate(text, task="ag_news", **OPTIONS)
    by_vectors = llama.generate(inputs_embeds=llama.get_input_embeddings()(text), task="ag_news", **OPTIONS)
    assert torch.equal(by_vectors, expected[:, 5:])
    from_bos = llama.generate(torch.tensor([[BOS]]), task="ag_news", **OPTIONS)
    assert torch.equal(llama.generate(task="ag_news", **OPTIONS), from_bos)


def test_padding_is_told_by_its_token_where_no_mask_is_given(llama):
    inputs = make_inputs()
    expected = llama.generate(**inputs, task=TASKS, **OPTIONS)
    assert torch.equal(llama.generate(inputs["input_ids"], task=TASKS, **OPTIONS), expected)


def test_what_generate_refuses(llama):
    inputs = make_inputs()
    for option in ({"assistant_model": llama.backbone}, {"prompt_lookup_num_tokens": 2}):
        with pytest.raises(ValueError, match="leave `assistant_model` and `prompt_lookup_num_tokens` out"):
            llama.generate(**inputs, task=TASKS, **option)
    with pytest.raises(ValueError, match="`generate` starts from a text"):
        cache = llama(**inputs, task=TASKS, use_cache=True).past_key_values
        llama.generate(**inputs, task=TASKS, past_key_values=cache)
    with pytest.raises(ValueError, match="one of `task`, `task_id`, `task_code` and `prompt_embeds`, not several"):
        llama.generate(**inputs, task=TASKS, task_id=1)
    with pytest.raises(ValueError, match="`task_code` has the value 8 at position 0"):
        llama.generate(**inputs, task_code=[8, 0, 0, 0])
    with pytest.raises(ValueError, match="not used by the model.*foo"):
        llama.generate(**inputs, task=TASKS, foo="bar")


# --------------------------------------------------------------------------------------------- saving, loading


@pytest.mark.parametrize("kind", ["llama", "gemma3_text", "gpt2", "opt"])
def test_checkpoints(kind, tiny_causal_model, tmp_path):
    model = tiny_causal_model(kind, code_position="suffix")
    model.add_task("rte", [7, 0, 1, 2], TaskDetails(answers=["yes", "no"]))
    model.add_tuned_task("cb", 2 * model.get_task_vectors("rte"))
    model.save_pretrained(tmp_path / "ctr")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "ctr")
    assert type(loaded) is CTRForCausalLM and not loaded.config.is_encoder_decoder
    assert loaded.state_dict().keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    assert torch.equal(loaded(**make_batch()).logits, model(**make_batch()).logits)
    assert loaded.task_names == model.task_names and loaded.task_details("rte").answers == ["yes", "no"]
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert tied == (loaded.get_output_embeddings().weight is loaded.get_input_embeddings().weight)

    model.backbone.save_pretrained(tmp_path / "plain")
    fields = {"task_names": ["a", "b"], "code_length": 4, "codebook_size": 64}
    new, info = CTRForCausalLM.from_backbone(tmp_path / "plain", **fields, output_loading_info=True)
    assert {name.split(".")[0] for name in info["missing_keys"]} == {"task_codebook"}
    for name, tensor in model.backbone.state_dict().items():
        assert torch.equal(new.backbone.state_dict()[name], tensor), name
    # Prompt vectors start as long as word vectors, by the scale that the model's embeddings have when called.
    words = new.get_input_embeddings()(torch.arange(64)).norm(dim=-1).mean()
    prompts = new.task_codebook.decode(torch.arange(64).view(16, 4)).norm(dim=-1).mean()
    assert 0.7 < prompts / words < 1.3


def test_remote_code_is_whole(tiny_causal_model, tmp_path, own_remote_code):
    model = tiny_causal_model()
    model.save_pretrained(tmp_path / "ctr")
    auto_map = json.loads((tmp_path / "ctr" / "config.json").read_text())["auto_map"]
    assert auto_map["AutoModelForCausalLM"] == "modeling_ctr_causal.CTRForCausalLM"
    remote = get_class_from_dynamic_module(auto_map["AutoModelForCausalLM"], tmp_path / "ctr")
    assert remote is not CTRForCausalLM and remote.__module__.startswith("transformers_modules.")
    config = remote.config_class.from_pretrained(tmp_path / "ctr")
    loaded = remote.from_pretrained(tmp_path / "ctr", config=config)
    assert torch.equal(loaded(**make_batch()).logits, model(**make_batch()).logits)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_leaves_the_codebook_in_float32(dtype, tiny_causal_model, tmp_path):
    model = tiny_causal_model()
    model.save_pretrained(tmp_path)
    half = CTRForCausalLM.from_pretrained(tmp_path, dtype=dtype)
    assert half.dtype == half.backbone.dtype == dtype
    assert {parameter.dtype for parameter in half.task_codebook.parameters()} == {torch.float32}
    assert torch.equal(half.task_codes(), model.task_codes())
    output = half(**make_batch())
    assert output.logits.dtype == dtype and output.loss.isfinite()
    half.generate(**make_inputs(), task=TASKS, **OPTIONS)


def test_classes_refuse_the_other_kind(tiny_causal_config, tiny_t5_config, tmp_path):
    with pytest.raises(ValueError, match="wraps a 't5' model, which has an encoder: load it with"):
        CTRForCausalLM(CTRConfig(text_config=tiny_t5_config()))
    with pytest.raises(ValueError, match="wraps a 'llama' model, which has no encoder: load it with"):
        CTRForConditionalGeneration(CTRConfig(text_config=tiny_causal_config()))
    with pytest.raises(ValueError, match="must be 'prefix' for an encoder-decoder"):
        CTRConfig(text_config=tiny_t5_config(), code_position="suffix")
    with pytest.raises(ValueError, match="must be 'prefix' or 'suffix', but is 'infix'"):
        CTRConfig(text_config=tiny_causal_config(), code_position="infix")


# ---------------------------------------------------------------------------------------------------- training


def test_training_with_a_frozen_language_model(llama):
    llama.backbone.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in llama.backbone.state_dict().items()}
    optimizer = torch.optim.AdamW(llama.task_codebook.parameters(), lr=3e-2)
    losses = []
    llama.train()
    for _ in range(30):
        optimizer.zero_grad()
        output = llama(**make_batch())
        output.loss.backward()
        optimizer.step()
        losses.append(output.lm_loss.item())
    assert losses[-1] < 0.85 * losses[0]
    assert all(torch.equal(tensor, before[name]) for name, tensor in llama.backbone.state_dict().items())


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning")  # the new name is not in 5.17
def test_activation_checkpointing_reaches_the_code(llama, assert_close_in_norm):
    llama.backbone.requires_grad_(False)
    llama.train()
    gradients = []
    for checkpointing in (False, True):
        if checkpointing:
            llama.gradient_checkpointing_enable()
        llama.zero_grad()
        llama(**make_batch(), use_cache=False).loss.backward()
        gradients.append({name: p.grad.clone() for name, p in llama.task_codebook.named_parameters()})
    for name, expected in gradients[0].items():
        assert_close_in_norm(gradients[1][name], expected, 2e-5, name)


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("side, kept, start", [("left", 4, 7), ("right", 7, 4)])
def test_frozen_language_models_read_texts_without_gradients(
    kind, side, kept, start, tiny_causal_model, assert_close_in_norm, monkeypatch
):
    """Losses and gradients are those of the whole sequence; what stands in front of a suffix is read apart."""
    model = tiny_causal_model(kind, code_position="suffix").train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    model.backbone.requires_grad_(False)
    lengths, run = [], model.backbone.forward
    with monkeypatch.context() as patch:
        patch.setattr(model.backbone, "forward", watch_lengths(run, lengths))
        output = model(**make_batch(side), logits_to_keep=kept)
        output.loss.backward()
    assert lengths == [(False, start), (True, 15 - start)]
    apart = {name: p.grad.clone() for name, p in model.task_codebook.named_parameters()}
    model.zero_grad()
    whole = model(**make_batch(side), logits_to_keep=kept, use_cache=True)
    whole.loss.backward()
    torch.testing.assert_close(output.loss, whole.loss, atol=1e-5, rtol=1e-5)
    assert_close_in_norm(output.logits, whole.logits, 1e-4)
    for name, parameter in model.task_codebook.named_parameters():
        assert_close_in_norm(apart[name], parameter.grad, 1e-4, name)


def watch_lengths(forward, lengths):
    """Note for each call whether gradients are wanted, and how many vectors it reads."""

    @functools.wraps(forward)
    def watched(*args, **kwargs):
        lengths.append((torch.is_grad_enabled(), kwargs["inputs_embeds"].shape[1]))
        return forward(*args, **kwargs)

    return watched


def test_peft(llama):
    lora = LoraConfig(
        task_type=TaskType.CAUSAL_LM, r=2, target_modules=["q_proj", "v_proj"], modules_to_save=["task_codebook"]
    )
    expected = llama(**make_batch()).logits
    model = get_peft_model(copy.deepcopy(llama), lora)
    assert torch.equal(model(**make_batch()).logits, expected)
    model(**make_batch()).loss.backward()
    trained = {name for name, p in model.named_parameters() if p.grad is not None}
    assert any("lora_B" in name for name in trained) and any("code_vectors" in name for name in trained)
    assert all("lora_" in name or "task_codebook" in name for name in trained)
    generated = model.generate(**make_inputs(), task="ag_news", **OPTIONS)
    assert torch.equal(generated, llama.generate(**make_inputs(), task="ag_news", **OPTIONS))


@pytest.mark.slow
def test_compiles_without_graph_breaks(llama):
    torch._dynamo.reset()
    compiled = torch.compile(llama, fullgraph=True, backend="eager")
    batch = make_batch()
    torch.testing.assert_close(compiled(**batch).logits, llama(**batch).logits, atol=1e-5, rtol=1e-5)


# --------------------------------------------------------------------------------------------------- bad input


def test_shapes_are_checked(llama):
    batch = make_batch()
    for name in ("attention_mask", "labels"):
        with pytest.raises(ValueError, match=rf"`{name}` has shape \(3, 10\), but an input of shape \(3, 11\) needs"):
            llama(**batch | {name: batch[name][:, :10]})
    with pytest.raises(ValueError, match=r"`attention_mask` has shape \(3, 7\), but an input of shape \(3, 8\) needs"):
        llama.generate(make_inputs()["input_ids"], attention_mask=torch.ones(3, 7, dtype=torch.long), task=TASKS)
    for name, wrong in (("input_ids", 64), ("input_ids", -1), ("labels", 64)):
        with pytest.raises(ValueError, match=rf"`{name}` has the token id {wrong}, but .* goes from 0 to 63"):
            llama(**batch | {name: torch.full_like(batch[name], wrong)})
    with pytest.raises(ValueError, match="No task is given"):
        llama(**make_inputs())
    with pytest.raises(ValueError, match="`position_ids` cannot be given"):
        llama(**batch, position_ids=torch.zeros_like(batch["input_ids"]))


def test_texts_longer_than_the_learned_positions(tiny_causal_model):
    model = tiny_causal_model("gpt2")  # 64 positions
    assert model(torch.full((1, 60), 5), task_id=0).logits.isfinite().all()
    with pytest.raises(ValueError, match=r"prompt \(4\) and the input \(61 tokens\) .* cut inputs to 60 tokens"):
        model(torch.full((1, 61), 5), task_id=0)
