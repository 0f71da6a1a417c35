"""What a server does with exported models, in a process that cannot import this project: `plain_process.py asked.json`.

The file names folders, and tasks and texts; what is answered is printed as JSON.
"""

import importlib.util
import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

LENGTH = 9  # tokens that a cut text keeps


def rank(model, tokenizer, inputs, exported, answers):
    """Log-likelihood of each answer to each input, over the tokens that may be answers."""
    scores = []
    for answer in answers:
        labels = tokenizer(exported["target_start"] + answer, return_tensors="pt")["input_ids"]
        logits = model(**inputs, labels=labels.repeat(len(inputs["input_ids"]), 1)).logits
        chances = logits[..., : exported["vocab_size"]].log_softmax(-1)
        scores.append(chances.gather(2, labels.expand(len(chances), -1)[..., None]).sum((1, 2)))
    return torch.stack(scores, 1).tolist()


@torch.no_grad()
def ask(folder, texts, answers, beams):
    """All that is compared, of a mixed batch of `(task, text)`."""
    model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    exported = json.loads((Path(folder) / "tasks.json").read_text())
    written = [exported["tasks"][task]["prefix"] + text for task, text in texts]
    inputs = tokenizer(written, return_tensors="pt", padding=True)
    begin = torch.tensor([[model.generation_config.decoder_start_token_id, 5]]).expand(len(texts), -1)
    pairs = [(exported["tasks"][task]["prefix"], text) for task, text in texts]
    tokenizer.truncation_side = "left"
    longest = exported["code_length"] + LENGTH
    return {
        "ids": [tokenizer(text)["input_ids"] for text in written],
        "cut_left": [tokenizer(*pair, truncation="only_second", max_length=longest)["input_ids"] for pair in pairs],
        "logits": model(**inputs, decoder_input_ids=begin).logits[..., : exported["vocab_size"]].tolist(),
        "answers": [generate(model, tokenizer, inputs, num_beams) for num_beams in beams],
        "ranks": rank(model, tokenizer, inputs, exported, answers),
    }


def generate(model, tokenizer, inputs, num_beams):
    output = model.generate(
        **inputs, num_beams=num_beams, max_new_tokens=6, return_dict_in_generate=True, output_scores=True
    )
    scores = output.sequences_scores.tolist() if num_beams > 1 else None
    texts = tokenizer.batch_decode(output.sequences, skip_special_tokens=True)
    return {"tokens": output.sequences.tolist(), "scores": scores, "texts": texts}


def ask_ctranslate2(folder, converted, texts, answers, beams):
    """The same of CTranslate2, as far as it goes: generated tokens, and the answers' log-likelihoods."""
    import ctranslate2

    translator, tokenizer = ctranslate2.Translator(converted, intra_threads=1), AutoTokenizer.from_pretrained(folder)
    exported = json.loads((Path(folder) / "tasks.json").read_text())
    sources = [
        tokenizer.tokenize(exported["tasks"][task]["prefix"] + text, add_special_tokens=True) for task, text in texts
    ]
    suppressed = [[token] for token, i in tokenizer.get_vocab().items() if i >= exported["vocab_size"]]
    generated = []
    for num_beams in beams:
        results = translator.translate_batch(
            sources, beam_size=num_beams, max_decoding_length=6, suppress_sequences=suppressed, length_penalty=1
        )
        generated.append([tokenizer.convert_tokens_to_ids(result.hypotheses[0]) for result in results])
    scores = []
    for answer in answers:
        target = tokenizer.tokenize(exported["target_start"] + answer)
        results = translator.score_batch(sources, [target] * len(sources))
        scores.append([sum(result.log_probs) for result in results])
    return {"tokens": generated, "ranks": [list(row) for row in zip(*scores, strict=True)]}


if __name__ == "__main__":
    torch.set_num_threads(1)
    assert importlib.util.find_spec("modeling_ctr") is None and importlib.util.find_spec("export") is None
    answered = {}
    asked = json.loads(Path(sys.argv[1]).read_text())
    what = {name: asked[name] for name in ("texts", "answers", "beams")}
    for family, folders in asked["families"].items():
        answered[family] = ask(folders["plain"], **what)
        for name in folders.keys() - {"plain"}:
            answered[family][name] = ask_ctranslate2(folders["plain"], folders[name], **what)
    print(json.dumps(answered))
