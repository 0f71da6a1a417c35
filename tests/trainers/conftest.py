"""A toy mixture that a tiny model can learn from, and real Trainer runs on it."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from transformers import T5Config

from modeling_ctr import CTRConfig, CTRForConditionalGeneration
from trainers import CTRTrainer, CTRTrainingArguments

TASKS = ["same", "next", "fixed"]


@pytest.fixture(scope="session")
def mixture() -> Dataset:
    """Three tasks on inputs of unequal length, answered by one of two targets of unequal length."""
    draw = random.Random(0)
    rows = []
    for i in range(96):
        answer = draw.randrange(2)
        text = [10 + answer] + [draw.randrange(20, 60) for _ in range(draw.randrange(3, 12))]
        choices = [[7, 8, 1], [9, 1]]
        target = choices[(answer, 1 - answer, 0)[i % 3]]
        rows.append(
            {
                "input_ids": [*text, 1],
                "labels": target,
                "task_id": i % 3,
                "choice_ids": choices,
                "answer": choices.index(target),
            }
        )
    return Dataset.from_list(rows)


@pytest.fixture
def build() -> Callable[..., CTRForConditionalGeneration]:
    """A tiny model, the same at every call."""

    def build(dropout: float = 0.0, **kwargs) -> CTRForConditionalGeneration:
        torch.manual_seed(0)
        text_config = T5Config(
            vocab_size=64, d_model=32, d_kv=8, num_heads=4, d_ff=64, num_layers=2, dropout_rate=dropout
        )
        config = CTRConfig(text_config=text_config, task_names=TASKS, code_length=4, codebook_size=16, **kwargs)
        return CTRForConditionalGeneration(config)

    return build


@pytest.fixture
def train(tmp_path: Path, mixture: Dataset) -> Callable[..., CTRTrainer]:
    """Train `model` on the mixture, in a directory of its own; keyword arguments are training arguments."""

    def train(model, resume_from_checkpoint=None, callbacks=None, train_dataset=mixture, **kwargs) -> CTRTrainer:
        settings = {
            "output_dir": str(tmp_path / f"run{len(list(tmp_path.iterdir()))}"),
            "max_steps": 8,
            "logging_steps": 2,
            "save_strategy": "no",
            "report_to": "none",
            "use_cpu": True,
            "disable_tqdm": True,
        }
        args = CTRTrainingArguments(**settings | kwargs)
        trainer = CTRTrainer(
            model=model, args=args, train_dataset=train_dataset, eval_dataset=mixture, callbacks=callbacks
        )
        trainer.train(resume_from_checkpoint=resume_from_checkpoint)
        return trainer

    return train
