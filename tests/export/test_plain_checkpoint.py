"""An exported model answers as the CTR model does, where this project is not."""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from export import export_model, load_exported_tasks
from export.ctranslate2_model import convert_to_ctranslate2
from modeling_ctr import CTRForConditionalGeneration

FAMILIES = ("t5", "t5-v1.1", "mt5", "umt5", "bart", "bart-unscaled", "t5gemma", "t5gemma2", "longt5", "pegasus")
IN_CTRANSLATE2 = FAMILIES[:6]
# Tasks of every kind in one batch, texts of unequal length.
TEXTS = [
    ["news", "A text, with words."],
    ["found <b>", "no"],
    ["tuned", "What is it, then, if not that"],
    ["mood", "(x) - 3.5"],
]
ANSWERS, BEAMS = ["yes", "no, never", "W"], [1, 3]


@pytest.fixture(scope="module")
def plain(checkpoint, tmp_path_factory) -> dict[str, dict[str, str]]:
    """Folders of the exported models, by family."""
    folder = tmp_path_factory.mktemp("plain")
    folders = {}
    for family in FAMILIES:
        folders[family] = {"plain": str(folder / family)}
        export_model(checkpoint(family), folders[family]["plain"])
        for name in ("float32", "int8") if family in IN_CTRANSLATE2 else ():
            folders[family][name] = str(folder / f"{family}-{name}")
            convert_to_ctranslate2(folders[family]["plain"], folders[family][name], name)
    return folders


@pytest.fixture(scope="module")
def theirs(plain, tmp_path_factory) -> dict[str, dict]:
    """What a process without this project makes of them."""
    asked = tmp_path_factory.mktemp("asked") / "asked.json"
    asked.write_text(json.dumps({"families": plain, "texts": TEXTS, "answers": ANSWERS, "beams": BEAMS}))
    environment = {"PYTHONPATH": sysconfig.get_path("purelib"), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        # -S: no .pth files, so that a development install of this project is not seen
        [sys.executable, "-S", str(Path(__file__).with_name("plain_process.py")), str(asked)],
        env={"PATH": os.environ["PATH"], "HOME": str(asked.parent)} | environment,
        cwd=asked.parent,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def ours(checkpoint) -> dict:
    """`ours(family)`: model, tokenizer, inputs and tasks of the CTR model."""

    def load(family: str):
        folder = checkpoint(family)
        model, tokenizer = CTRForConditionalGeneration.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
        inputs = tokenizer([text for _, text in TEXTS], return_tensors="pt", padding=True)
        return model, tokenizer, dict(inputs), [task for task, _ in TEXTS]

    return load


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_texts_give_the_same_logits(family, ours, theirs):
    model, _, inputs, tasks = ours(family)
    begin = torch.tensor([[model.config.decoder_start_token_id, 5]]).expand(len(tasks), -1)
    logits = model(**inputs, task=tasks, decoder_input_ids=begin).logits
    torch.testing.assert_close(torch.tensor(theirs[family]["logits"]), logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_generations_are_the_same_with_their_scores(family, ours, theirs):
    model, tokenizer, inputs, tasks = ours(family)
    for num_beams, answered in zip(BEAMS, theirs[family]["answers"], strict=True):
        output = model.generate(
            **inputs,
            task=tasks,
            num_beams=num_beams,
            max_new_tokens=6,
            return_dict_in_generate=True,
            output_scores=True,
        )
        assert answered["tokens"] == output.sequences.tolist()
        assert answered["texts"] == tokenizer.batch_decode(output.sequences, skip_special_tokens=True)
        if num_beams > 1:
            assert answered["scores"] == pytest.approx(output.sequences_scores.tolist(), abs=1e-5)


@pytest.fixture(scope="module")
def likelihoods(ours):
    """`likelihoods(family)`: our log-likelihoods of the answers, `(texts, answers)`."""

    def compute(family: str) -> torch.Tensor:
        model, tokenizer, inputs, tasks = ours(family)
        vectors = torch.stack([model.get_task_vectors(task) for task in tasks])
        choices = torch.full((len(tasks), len(ANSWERS), 16), -100)
        for i, answer in enumerate(ANSWERS):
            ids = tokenizer(answer)["input_ids"]
            choices[:, i, : len(ids)] = torch.tensor(ids)
        with torch.no_grad():
            return model.choice_log_likelihoods(**inputs, choice_ids=choices, prompt_embeds=vectors)

    return compute


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_are_ranked_the_same(family, likelihoods, searched, ours, theirs):
    ranks = torch.tensor(theirs[family]["ranks"])
    torch.testing.assert_close(ranks, likelihoods(family), rtol=1e-5, atol=1e-4)
    model, tokenizer, _, tasks = ours(family)
    texts, answers = ([tokenizer(text)["input_ids"] for text in side] for side in ([t for _, t in TEXTS], ANSWERS))
    torch.testing.assert_close(ranks, searched(model, texts, answers, tasks), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("family", IN_CTRANSLATE2)
def test_ctranslate2_ranks_answers_the_same(family, likelihoods, theirs):
    expected = likelihoods(family)
    for name, tolerance in (("float32", 1e-5), ("int8", 0.1)):
        error = (torch.tensor(theirs[family][name]["ranks"]) - expected).abs().max() / expected.abs().max()
        assert error <= tolerance, name


@pytest.mark.parametrize("family", IN_CTRANSLATE2)
def test_ctranslate2_generates_the_same(family, ours, theirs):
    model, _, inputs, tasks = ours(family)
    for num_beams, answered in zip(BEAMS, theirs[family]["float32"]["tokens"], strict=True):
        # BART's config forces an end token to be the last, which CTranslate2 leaves out.
        length = 7 if family.startswith("bart") else 6
        output = model.generate(**inputs, task=tasks, num_beams=num_beams, max_new_tokens=length)
        for ids, tokens in zip(output[:, 1:].tolist(), answered, strict=True):
            end = ids.index(1) if 1 in ids else len(ids)
            assert tokens == ids[:end]


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_the_prefix_stands_before_all_and_is_never_cut(family, ours, plain, theirs):
    model, tokenizer, _, tasks = ours(family)
    exported = load_exported_tasks(plain[family]["plain"])
    after = AutoTokenizer.from_pretrained(plain[family]["plain"])
    codes = [after(exported.get_prefix(task))["input_ids"][: exported.code_length] for task in tasks]
    tokenizer.truncation_side = "left"
    for (_, text), code, ids, cut in zip(TEXTS, codes, theirs[family]["ids"], theirs[family]["cut_left"], strict=True):
        assert min(code) >= model.get_input_embeddings().num_embeddings
        assert ids == code + tokenizer(text)["input_ids"]
        begin = len(after(exported.start, add_special_tokens=False)["input_ids"])
        kept = tokenizer(text, truncation=True, max_length=9)["input_ids"][begin:]
        assert cut[:4] == code and cut[-len(kept) :] == kept and len(cut) == min(4 + 9, len(ids))
    tokenizer.truncation_side = "right"
    long = TEXTS[0][1] * 9
    assert after(exported.get_prefix("news") + long, truncation=True)["input_ids"] == (
        codes[0] + tokenizer(long, truncation=True)["input_ids"]
    )
    # No more positions than the language model has: `ctr_model`'s BART has 64.
    assert after.model_max_length == 40 + exported.code_length
