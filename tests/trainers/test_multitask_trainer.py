"""The trainers as programs of one's own use them: other data sets, collators, models made late, prediction."""

import inspect

import pytest
import torch
import transformers
from datasets import Dataset
from packaging.version import Version
from peft import LoraConfig
from torch.utils.data import ConcatDataset, IterableDataset, Subset
from transformers import DataCollatorForSeq2Seq, Seq2SeqTrainer, Seq2SeqTrainingArguments

from trainers import CTRTrainer, CTRTrainingArguments, MultitaskTrainer

PLAIN = {"report_to": "none", "use_cpu": True, "disable_tqdm": True, "max_steps": 2, "save_strategy": "no"}
ROWS_TO_PREDICT = ["labels", "answer"]  # what they lack


@pytest.fixture
def args(tmp_path):
    def build(**fields) -> CTRTrainingArguments:
        return CTRTrainingArguments(output_dir=str(tmp_path), **PLAIN | fields)

    return build


class Rows(torch.utils.data.Dataset):
    """Knows its length and its rows, and nothing else."""

    def __init__(self, rows: Dataset):
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> dict:
        return self.rows[i]


class Stream(IterableDataset):
    def __init__(self, rows: Dataset):
        self.rows = rows

    def __iter__(self):
        yield from self.rows


@pytest.mark.parametrize("fields", [{}, {"per_device_train_tokens": 160}], ids=["batches", "tokens"])
@pytest.mark.parametrize(
    "wrap",
    [
        Rows,
        list,
        lambda rows: Subset(rows, range(96)),
        lambda rows: ConcatDataset([rows]),
        lambda r: r.with_format("torch"),
    ],
    ids=["rows", "list", "subset", "concatenated", "tensors"],
)
def test_any_map_style_data_set_trains_as_ours(wrap, fields, build, mixture, args):
    losses = []
    for rows in (mixture, wrap(mixture)):
        trainer = CTRTrainer(model=build(), args=args(**fields), train_dataset=rows, eval_dataset=rows)
        losses.append((trainer.train().training_loss, trainer.evaluate()["eval_accuracy"]))
    assert losses[0] == losses[1]


def test_an_iterable_data_set_of_torch(build, mixture, args):
    trainer = CTRTrainer(model=build(), args=args(), train_dataset=Stream(mixture), eval_dataset=Stream(mixture))
    trainer.train()
    assert trainer.state.global_step == 2 and "eval_accuracy" in trainer.evaluate()


def test_a_model_made_late_gets_our_collator(build, mixture, args):
    trainer = CTRTrainer(model_init=lambda: build(), args=args(), train_dataset=mixture, eval_dataset=mixture)
    assert not any(p.requires_grad for p in trainer.model.backbone.parameters())
    late = trainer.train().training_loss
    assert late == CTRTrainer(model=build(), args=args(), train_dataset=mixture).train().training_loss
    assert trainer.evaluate()["eval_accuracy"] >= 0


@pytest.mark.parametrize("generate", [False, True])
def test_prediction_without_labels(generate, build, mixture, args):
    trainer = CTRTrainer(model=build(), args=args(predict_with_generate=generate, generation_max_length=5))
    with_labels = trainer.predict(mixture)
    prediction = trainer.predict(mixture.remove_columns(ROWS_TO_PREDICT))
    assert (prediction.predictions == with_labels.predictions).all()
    assert "test_loss" in with_labels.metrics
    assert not {"test_loss", "test_accuracy"} & prediction.metrics.keys()


def test_a_collator_of_transformers(build, mixture, args, tiny_tokenizer):
    rows = mixture.remove_columns(["choice_ids", "answer"])
    losses = []
    for collator in (None, DataCollatorForSeq2Seq(tiny_tokenizer)):
        trainer = CTRTrainer(model=build(), args=args(), train_dataset=rows, eval_dataset=rows, data_collator=collator)
        losses.append((trainer.train().training_loss, trainer.evaluate()["eval_loss"]))
    assert losses[0] == pytest.approx(losses[1])


def test_the_trainer_of_transformers(build, mixture, tiny_tokenizer, tmp_path):
    settings = Seq2SeqTrainingArguments(output_dir=str(tmp_path), predict_with_generate=True, **PLAIN)
    collator = DataCollatorForSeq2Seq(tiny_tokenizer)
    rows = mixture.add_column("task", ["a name"] * len(mixture))  # which the Trainer is to leave out
    trainer = Seq2SeqTrainer(
        model=build(), args=settings, train_dataset=rows, eval_dataset=rows, data_collator=collator,
        compute_metrics=lambda prediction: {"rows": len(prediction.predictions)},
    )  # fmt: skip
    trainer.train()
    assert trainer.evaluate()["eval_rows"] == len(mixture)


@pytest.mark.skipif(
    Version(transformers.__version__) < Version("5.18"),
    reason="transformers 5.17 loads no `modules_to_save` of an adapter",
)
@pytest.mark.parametrize("stage", [1, 2])
def test_an_added_adapter_is_what_is_trained_and_saved(stage, build, mixture, args, tmp_path):
    model = build()
    model.add_adapter(LoraConfig(target_modules=["q", "v"], modules_to_save=["task_codebook"]))
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    trainer = CTRTrainer(model=model, args=args(stage=stage), train_dataset=mixture)
    trainer.train()
    for name, parameter in model.named_parameters():
        trained = "lora_" in name or "modules_to_save" in name
        assert torch.equal(parameter, before[name]) != trained, name
    trainer.save_model()
    loaded = build()
    loaded.load_adapter(str(tmp_path))
    assert torch.equal(loaded.task_codes(), model.task_codes())
    batch = trainer.data_collator([mixture[i] for i in range(4)])
    batch = {name: batch[name] for name in ("input_ids", "attention_mask", "task_id", "labels")}
    assert torch.equal(loaded.eval()(**batch).logits, model.eval()(**batch).logits)


def test_tasks_that_were_found_before_training_are_warned_of(build, mixture, args, caplog):
    model = build()
    CTRTrainer(model=model, args=args(), train_dataset=mixture).train()
    assert "added and tuned tasks" not in caplog.text
    model.add_task("rte", [0, 1, 2, 3])
    model.add_tuned_task("cb", model.get_task_vectors("rte"))
    CTRTrainer(model=model, args=args(), train_dataset=mixture).train()
    assert "The model's 2 added and tuned tasks (rte, cb) stay as they are while training changes" in caplog.text


def test_a_language_model_without_a_codebook_is_refused(build, args):
    with pytest.raises(ValueError, match="trains a CTR model, but got a T5ForConditionalGeneration: .*from_backbone"):
        CTRTrainer(model=build().backbone, args=args())


@pytest.mark.parametrize("strategy", ["group_by_length", "random"])
def test_no_rows(strategy, build, args):
    trainer = CTRTrainer(model=build(), args=args(train_sampling_strategy=strategy), train_dataset=[])
    with pytest.raises(ValueError, match="nothing to train on: the training set has no rows"):
        trainer.train()


def test_what_would_be_ignored_is_refused(build, args):
    with pytest.raises(ValueError, match="`compute_loss_func` would not be called: override `compute_loss`"):
        CTRTrainer(model=build(), args=args(), compute_loss_func=lambda *_: 0)


def test_other_arguments_are_refused(build, tmp_path):
    other = Seq2SeqTrainingArguments(output_dir=str(tmp_path), **PLAIN)
    with pytest.raises(ValueError, match="`args` must be `CTRTrainingArguments`, with the stage to train, but is"):
        CTRTrainer(model=build(), args=other)


def test_no_arguments_are_default_ones(build, mixture, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    trainer = CTRTrainer(build(), None, None, mixture, mixture)
    assert (trainer.args.stage, trainer.args.learning_rate) == (1, 0.01)
    assert not any(p.requires_grad for p in trainer.model.backbone.parameters())
    assert trainer.train_dataset is trainer.eval_dataset is mixture


@pytest.mark.parametrize("trainer", [CTRTrainer, MultitaskTrainer])
def test_arguments_come_in_the_order_of_transformers(trainer):
    ours = [p for p in inspect.signature(trainer).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    theirs = inspect.signature(Seq2SeqTrainer).parameters.values()
    assert [(p.name, p.default) for p in ours] == [(p.name, p.default) for p in theirs]


def test_the_baseline_needs_to_know_its_tasks(build, args):
    with pytest.raises(TypeError, match="task_names"):
        MultitaskTrainer(build().backbone, args())


def test_one_seed_one_run_another_seed_another(build, train):
    def final_loss(seed: int) -> float:
        trainer = train(build(dropout=0.1), stage=2, seed=seed, learning_rate=0.01)
        return trainer.state.log_history[-2]["loss"]

    assert final_loss(1) == final_loss(1) != final_loss(2)


def test_speed_is_logged(build, train, mixture):
    entry = train(build(), stage=1, max_steps=12, logging_steps=12).state.log_history[0]  # one epoch
    tokens = sum(len(row["input_ids"]) + len(row["labels"]) for row in mixture)
    assert entry["tokens_per_second"] / entry["examples_per_second"] == pytest.approx(tokens / len(mixture))
    assert 0 < entry["padding_share"] < 0.3
    assert entry["memory_gib"] > 0 and "mfu" not in entry  # no peak is known for a CPU
