import pytest
from transformers import HfArgumentParser

from trainers import CTRTrainingArguments


def test_defaults_are_those_of_the_stage():
    first, second = CTRTrainingArguments(stage=1), CTRTrainingArguments(stage=2)
    assert (first.learning_rate, first.query_learning_rate) == (0.01, 0.001)
    assert (second.learning_rate, second.query_learning_rate) == (0.0001, 0.0001)
    assert (first.adam_beta1, first.adam_beta2, first.weight_decay, first.max_grad_norm) == (0.9, 0.95, 0.1, 1.0)


def test_what_the_user_sets_wins():
    args = CTRTrainingArguments(stage=1, learning_rate=0.3, query_learning_rate=0.2, weight_decay=0.0)
    assert (args.learning_rate, args.query_learning_rate, args.weight_decay) == (0.3, 0.2, 0.0)


def test_flags_are_parsed():
    parser = HfArgumentParser(CTRTrainingArguments)
    (args,) = parser.parse_args_into_dataclasses(
        ["--stage", "2", "--learning_rate", "0.5", "--warmup_steps", "3", "--train_position_maps", "False"]
    )
    assert (args.stage, args.learning_rate, args.warmup_steps, args.train_position_maps) == (2, 0.5, 3, False)


def test_unknown_stage_is_refused():
    with pytest.raises(ValueError, match="`stage` must be 1 or 2, but is 3"):
        CTRTrainingArguments(stage=3)
