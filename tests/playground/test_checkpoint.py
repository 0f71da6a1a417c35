import pytest
import torch

from modeling_ctr import load_task_code
from playground.checkpoint import Checkpoint, answer, nearest_task, write_found_code

CHOICES = ["w7 w8", "w9"]


def test_texts_end_in_one_end_token_and_are_cut(checkpoint):
    assert checkpoint.ids("w5 w6") == [5, 6, 1]
    long = checkpoint.ids("w5 " * 500)
    assert (len(long), long[-1], long.count(1)) == (384, 1, 1)


def test_loading(tmp_path, checkpoint):
    checkpoint.model.save_pretrained(tmp_path / "here")
    with pytest.raises(ValueError, match="has no tokenizer that can be read"):
        Checkpoint.load(str(tmp_path / "here"))
    checkpoint.tokenizer.save_pretrained(tmp_path / "here")
    loaded = Checkpoint.load(str(tmp_path / "here"))
    assert loaded.name == "here"
    assert not loaded.model.training
    assert loaded.ids("w5 w6") == [5, 6, 1]


def test_answers_are_those_of_the_model(checkpoint):
    model, code = checkpoint.model, [1, 2, 3, 4]
    written, probabilities = answer(checkpoint, code, "w5 w6", CHOICES)
    scores = model.choice_log_likelihoods(
        torch.tensor([[5, 6, 1]]), torch.tensor([[[7, 8, 1], [9, 1, -100]]]), task_code=torch.tensor(code)
    )
    assert list(probabilities) == CHOICES
    assert list(probabilities.values()) == pytest.approx(scores.softmax(1)[0].tolist(), abs=1e-5)
    ids = model.generate(torch.tensor([[5, 6, 1]]), task_code=code, max_new_tokens=32)
    assert written == checkpoint.tokenizer.decode(ids[0], skip_special_tokens=True)


@pytest.mark.parametrize("code_position", ["prefix", "suffix"])
def test_a_decoder_only_model_goes_on_with_the_text(code_position, tiny_causal_model, tiny_causal_tokenizer, tmp_path):
    model, code = tiny_causal_model(code_position=code_position), torch.tensor([1, 2, 3, 4])
    for part in (model, tiny_causal_tokenizer):
        part.save_pretrained(tmp_path)
    loaded = Checkpoint.load(str(tmp_path))
    assert loaded.tokenizer.pad_token is None
    assert loaded.ids("w5 w6") == [5, 6] and loaded.ids("w5 " * 500) == [5] * 384
    written, probabilities = answer(loaded, code.tolist(), "w5 w6", CHOICES)
    choice_ids = torch.tensor([[[7, 8, 1], [9, 1, -100]]])
    scores = model.choice_log_likelihoods(torch.tensor([[5, 6]]), choice_ids, task_code=code)
    assert list(probabilities.values()) == pytest.approx(scores.softmax(1)[0].tolist(), abs=1e-5)
    ids = model.generate(torch.tensor([[5, 6]]), task_code=code, max_new_tokens=32)[0, 2:]
    assert written and written == loaded.tokenizer.decode(ids, skip_special_tokens=True)


def test_another_code_gives_another_answer(checkpoint):
    choices = [f"w{i}" for i in range(3, 64)]
    _, first = answer(checkpoint, [1, 2, 3, 4], "w5 w6", choices)
    _, second = answer(checkpoint, [1, 2, 3, 5], "w5 w6", choices)
    assert max(abs(first[choice] - second[choice]) for choice in choices) > 1e-3


def test_without_choices_there_are_no_probabilities(checkpoint):
    assert answer(checkpoint, [1, 2, 3, 4], "w5 w6", [])[1] is None


def test_nearest_task(checkpoint):
    code = checkpoint.model.get_task_code("glue_qqp").tolist()
    assert nearest_task(checkpoint.model, code) == "This is the code of **glue_qqp**."
    others = checkpoint.model.task_codes()[:, 0].tolist()
    code[0] = next(value for value in range(8) if value not in others)
    assert nearest_task(checkpoint.model, code) == "3 of 4 positions as in **glue_qqp**."


def test_the_file_of_a_found_code(checkpoint, tmp_path):
    path = write_found_code(checkpoint, "new", [1, 2, 3, 4], CHOICES, tmp_path, {"few_shot_accuracy": 0.5})
    saved = load_task_code(path)
    assert (saved.name, saved.code, saved.checkpoint) == ("new", [1, 2, 3, 4], "tiny")
    assert saved.scores == {"few_shot_accuracy": 0.5} and saved.details.answers == CHOICES
    assert "new" not in checkpoint.model.task_names
