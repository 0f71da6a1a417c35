"""Use by other people's tools, which know seq2seq language models but no task codes."""

import json

import pytest
import torch


@pytest.fixture
def plain(tiny_ctr_model):
    """A model to be called with input ids alone."""
    return tiny_ctr_model(added_task_codes={"rte": [1, 0, 7, 3]}, default_task="rte")


def test_input_ids_alone_are_enough(plain, tiny_tokenizer, tmp_path):
    from modeling_ctr import CTRForConditionalGeneration

    plain.save_pretrained(tmp_path)
    loaded = CTRForConditionalGeneration.from_pretrained(tmp_path)
    inputs = tiny_tokenizer(["w5 w9 w30", "w7"], return_tensors="pt", padding=True)
    inputs = {"input_ids": inputs["input_ids"], "attention_mask": inputs["attention_mask"]}
    labels = torch.tensor([[4, 1], [6, 1]])
    with torch.no_grad():
        without = loaded(**inputs, labels=labels)
        named = plain(**inputs, labels=labels, task_code=torch.tensor([1, 0, 7, 3]))
        other = plain(**inputs, labels=labels, task_code=torch.tensor([1, 0, 7, 4]))
    assert torch.equal(without.logits, named.logits) and without.loss == named.loss
    assert not torch.equal(without.logits, other.logits)
    settings = {"max_new_tokens": 6, "no_repeat_ngram_size": 1}
    assert torch.equal(loaded.generate(**inputs, **settings), plain.generate(**inputs, task="rte", **settings))
    assert torch.equal(
        loaded.generate(inputs["input_ids"][:1], **settings),
        loaded.generate(input_ids=inputs["input_ids"][:1], **settings),
    )


@pytest.mark.slow
def test_lm_evaluation_harness_takes_it_as_a_seq2seq_model(plain, tiny_tokenizer, tmp_path):
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    rows = [{"text": f"w{5 + i} w9", "choices": ["w7", "w8 w9"], "label": i % 2} for i in range(6)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    task = {
        "task": "tiny",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"validation": str(tmp_path / "rows.jsonl")}},
        "output_type": "multiple_choice",
        "validation_split": "validation",
        "doc_to_text": "{{text}}",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "label",
        "metric_list": [{"metric": "acc"}],
    }
    model = HFLM(pretrained=plain, tokenizer=tiny_tokenizer, backend="seq2seq", max_length=32, batch_size=4)
    found = simple_evaluate(model=model, tasks=[task], task_manager=TaskManager(include_defaults=False))
    for row, sample in zip(rows, found["samples"]["tiny"], strict=True):
        inputs = tiny_tokenizer(row["text"], return_tensors="pt")["input_ids"]
        for choice, response in zip(row["choices"], sample["filtered_resps"], strict=True):
            target = torch.tensor([tiny_tokenizer(choice, add_special_tokens=False)["input_ids"]])
            with torch.no_grad():
                loss = plain(input_ids=inputs, labels=target, task_code=torch.tensor([1, 0, 7, 3])).loss.item()
            assert response[0] == pytest.approx(-loss * target.shape[1], abs=1e-4)


def test_tensorboard_shows_the_codebooks_statistics(tiny_ctr_model, tmp_path, monkeypatch):
    from datasets import Dataset
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from trainers import CTRTrainer, CTRTrainingArguments

    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "board"))
    rows = Dataset.from_list([{"input_ids": [5, 9, 1], "labels": [7, 1], "task_id": i % 3} for i in range(8)])
    args = CTRTrainingArguments(
        output_dir=str(tmp_path / "out"),
        max_steps=3,
        logging_steps=1,
        save_strategy="no",
        report_to="tensorboard",
        use_cpu=True,
        disable_tqdm=True,
    )
    CTRTrainer(model=tiny_ctr_model(), args=args, train_dataset=rows).train()
    board = EventAccumulator(str(tmp_path / "board")).Reload()
    for name in ("loss", "lm_loss", "vq_loss", "codes_in_use", "code_perplexity", "code_perplexity_0"):
        assert [event.step for event in board.Scalars(f"train/{name}")] == [1, 2, 3]
