"""Exported decoder-only models, with a code in front of the text or behind it."""

import ast
import re
from pathlib import Path

import pytest
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForCausalLM, AutoTokenizer

from export import export_model, load_exported_tasks

TEXTS = [["news", "A text, with words."], ["found <b>", "no"], ["tuned", "What is it"], ["mood", "(x) - 3.5"]]

ANSWERS = [" yes", " no, never", "W"]


@torch.no_grad()
def rank(plain, tokenizer, exported, answers):
    """Log-likelihood of each answer to each text, one at a time, over the tokens that may be answers."""
    scores = []
    for task, text in TEXTS:
        asked = tokenizer(exported.join(task, text))["input_ids"]
        for answer in answers:
            ids = tokenizer(exported.target_start + answer, add_special_tokens=False)["input_ids"]
            logits = plain(torch.tensor([asked + ids])).logits[0, len(asked) - 1 : -1, : exported.vocab_size]
            scores.append(logits.log_softmax(-1).gather(1, torch.tensor(ids)[:, None]).sum())
    return torch.stack(scores).view(len(TEXTS), len(answers))


@pytest.mark.parametrize("position", ["prefix", "suffix"])
@pytest.mark.parametrize("family", ["llama", "gemma3_text", "gemma2", "gpt2", "opt", "qwen3"])
@torch.no_grad()
def test_an_exported_decoder_answers_the_same(family, position, causal_model, searched, tmp_path):
    model, tokenizer = causal_model(family, position)
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "ctr")
    export_model(tmp_path / "ctr", tmp_path / "plain")
    exported = load_exported_tasks(tmp_path / "plain")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "plain")
    after = AutoTokenizer.from_pretrained(tmp_path / "plain", padding_side="left")
    inputs = tokenizer([text for _, text in TEXTS], return_tensors="pt", padding=True)
    tasks = [task for task, _ in TEXTS]
    written = after([exported.join(task, text) for task, text in TEXTS], return_tensors="pt", padding=True)

    ours = model.generate(**inputs, task=tasks, max_new_tokens=1, return_dict_in_generate=True, output_logits=True)
    theirs = plain.generate(**written, max_new_tokens=1, return_dict_in_generate=True, output_logits=True)
    logits = theirs.logits[0][:, : exported.vocab_size]
    torch.testing.assert_close(logits, ours.logits[0], rtol=1e-4, atol=1e-4)
    for beams in (1, 3):
        ours = model.generate(**inputs, task=tasks, num_beams=beams, max_new_tokens=6)
        theirs = plain.generate(**written, num_beams=beams, max_new_tokens=6)
        assert theirs[:, written["input_ids"].shape[1] :].tolist() == ours[:, inputs["input_ids"].shape[1] :].tolist()

    ranks = rank(plain, after, exported, ANSWERS)
    answers = [tokenizer(answer, add_special_tokens=False)["input_ids"] for answer in ANSWERS]
    choices = pad_sequence([torch.tensor(ids) for ids in answers], batch_first=True, padding_value=-100)
    ours = model.choice_log_likelihoods(**inputs, choice_ids=choices.expand(len(TEXTS), -1, -1), task=tasks)
    torch.testing.assert_close(ranks, ours, rtol=1e-5, atol=1e-4)
    texts = [tokenizer(text)["input_ids"] for _, text in TEXTS]
    torch.testing.assert_close(ranks, searched(model, texts, answers, tasks), rtol=1e-5, atol=1e-4)


def test_the_code_of_a_decoder_is_never_cut(causal_model, tmp_path):
    for position in ("prefix", "suffix"):
        model, tokenizer = causal_model("llama", position)
        exported = export_model(model, tmp_path / position, tokenizer=tokenizer)
        after = AutoTokenizer.from_pretrained(tmp_path / position)
        ids = after(exported.join("news", "words " * 30), truncation=True)["input_ids"]
        assert len(ids) == after.model_max_length == 44
        code = [264 + value for value in exported.tasks["news"]["code"]]
        if position == "prefix":
            assert ids[:5] == [2, *code]
            after.truncation_side = "left"
            pair = after(exported.get_prefix("news"), "words " * 30 + "end", truncation="only_second")["input_ids"]
            assert pair[:5] == [2, *code] and after.decode(pair).endswith("end")
        else:
            assert ids[-4:] == code


@pytest.mark.parametrize(("position", "pad_token"), [("prefix", None), ("suffix", None), ("suffix", "<pad>")])
def test_the_cards_snippet_prints_the_answers(position, pad_token, causal_model, tmp_path, monkeypatch, capsys):
    model, tokenizer = causal_model("gpt2", position)
    tokenizer.pad_token = pad_token
    export_model(model, tmp_path / "plain", tokenizer=tokenizer)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda repo, name: Path(repo) / name)  # there is no Hub
    (snippet,) = re.findall(r"^```python\n(.*?)^```$", Path("plain/README.md").read_text(), re.MULTILINE | re.DOTALL)
    exec(snippet, {})
    answers = []
    for text in ("one text", "another, longer text"):
        inputs = tokenizer(text, return_tensors="pt")
        ids = model.generate(**inputs, task="news", max_new_tokens=32)[0, inputs["input_ids"].shape[1] :]
        answers.append(tokenizer.decode(ids, skip_special_tokens=True))
    assert ast.literal_eval(capsys.readouterr().out) == answers and all(answers)
