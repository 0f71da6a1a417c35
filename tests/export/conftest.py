"""Tiny CTR models of each family, with tokenizers of their kind, exported once."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast, T5Tokenizer

from modeling_ctr import CTRConfig, CTRForCausalLM, CTRForConditionalGeneration, TaskDetails
from search import CodeScorer

# As `tiny_t5_config` names them, and BART once more without scaled embeddings.
FAMILIES = ("t5", "t5-v1.1", "mt5", "umt5", "bart", "bart-unscaled", "t5gemma", "t5gemma2", "longt5", "pegasus")


@pytest.fixture(scope="session")
def sentencepiece_like() -> PreTrainedTokenizerFast:
    """A T5 tokenizer of letters; 64 rows have room for more than it has."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,'()-AWU"
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -9.0), ("▁", -2.0), *((letter, -3.0) for letter in letters)]
    return T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=40)


@pytest.fixture(scope="session")
def byte_level() -> PreTrainedTokenizerFast:
    """A tokenizer as BART's: bytes, spaces belong to words, texts begin with `<s>`."""
    vocab = {"<pad>": 0, "</s>": 1, "<s>": 2, "<unk>": 3}
    vocab |= {byte: 4 + i for i, byte in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(BPE(vocab, [], unk_token="<unk>"))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=[("<s>", 2), ("</s>", 1)]
    )
    special = {"pad_token": "<pad>", "eos_token": "</s>", "bos_token": "<s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=40, **special)


@pytest.fixture(scope="session")
def ctr_model(tiny_t5_config, sentencepiece_like, byte_level) -> Callable:
    """`ctr_model(family)`: a CTR model with a trained, an added and a tuned task, and its tokenizer."""

    def build(family: str, **fields) -> tuple[CTRForConditionalGeneration, PreTrainedTokenizerFast]:
        torch.manual_seed(FAMILIES.index(family))
        if family.startswith("bart"):
            fields = {"vocab_size": 260, "scale_embedding": family == "bart"} | fields
        text_config = tiny_t5_config(family.removesuffix("-unscaled"), **fields)
        config = CTRConfig(text_config=text_config, task_names=["news", "mood"], code_length=4, codebook_size=16)
        model = CTRForConditionalGeneration(config).eval()
        if family in ("t5-v1.1", "mt5", "umt5"):  # untied, as in the released models
            head = model.get_output_embeddings()
            head.weight = torch.nn.Parameter(torch.randn_like(head.weight))
        model.task_codebook.code_vectors.weight.data.mul_(0.2)
        model.add_task(
            "found <b>", [0, 15, 15, 3], TaskDetails(answers=["yes", "no"], template="{{text}} ||| {{label}}")
        )
        model.add_tuned_task("tuned", torch.randn(4, model.config.prompt_dim))
        return model, byte_level if family.startswith("bart") else sentencepiece_like

    return build


@pytest.fixture(scope="session")
def causal_model(tiny_causal_config, sentencepiece_like, byte_level) -> Callable:
    """`causal_model(family, position)`: a decoder-only CTR model and a tokenizer, with a start token for llamas."""

    def build(family: str, position: str = "prefix") -> tuple[CTRForCausalLM, PreTrainedTokenizerFast]:
        torch.manual_seed(1)
        text_config = tiny_causal_config(family, vocab_size=264, max_position_embeddings=128, n_positions=128)
        fields = {"task_names": ["news", "mood"], "code_length": 4, "codebook_size": 16}
        model = CTRForCausalLM(CTRConfig(text_config=text_config, code_position=position, **fields)).eval()
        model.task_codebook.code_vectors.weight.data.normal_()
        model.add_task("found <b>", [0, 15, 15, 3])
        model.add_tuned_task("tuned", torch.randn(4, model.config.prompt_dim))
        tokenizer = copy.deepcopy(byte_level)
        first = ["<s>"] if family in ("llama", "gemma3_text", "gemma2") else []
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single=[*first, "$A"], pair=[*first, "$A", *first, "$B"], special_tokens=[("<s>", 2)]
        )
        return model, tokenizer

    return build


@pytest.fixture(scope="session")
def checkpoint(ctr_model, tmp_path_factory) -> Callable[[str], Path]:
    """`checkpoint(family)`: a folder with model and tokenizer."""
    folders: dict[str, Path] = {}

    def save(family: str) -> Path:
        if family not in folders:
            folders[family] = tmp_path_factory.mktemp("ctr") / family
            for part in ctr_model(family):
                part.save_pretrained(folders[family])
        return folders[family]

    return save


@pytest.fixture(scope="session")
def searched() -> Callable[..., torch.Tensor]:
    """`searched(model, texts, answers, tasks)`: log-likelihoods as searches see them, `(texts, answers)`, given ids."""

    def score(model, texts, answers, tasks) -> torch.Tensor:
        scorer = CodeScorer(model, [{"input_ids": ids, "choice_ids": answers} for ids in texts])
        rows = []
        for i, task in enumerate(tasks):
            if task in model.config.tuned_tasks:  # has no code
                scores = scorer.prompt_scorer.choice_log_likelihoods(model.get_task_vectors(task)[None])
            else:
                scores = scorer.choice_log_likelihoods([model.get_task_code(task).tolist()])
            rows.append(scores[0, i])
        return torch.stack(rows).float()

    return score
