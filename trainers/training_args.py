"""Arguments of CTR training: the paper's settings, per stage, unless the user sets others."""

from dataclasses import dataclass, field

import torch
from transformers import Seq2SeqTrainingArguments

from trainers.argument_bounds import check_as_given, check_bounds

# Learning rates of the paper (section 4.1): stage 1 trains the codebook alone, stage 2 everything.
STAGE_LEARNING_RATES = {1: 0.01, 2: 0.0001}
# In stage 1 task embeddings and per-position maps move ten times slower than the code vectors that follow them: with
# one rate for all the queries run away from the code table and most of its vectors fall out of use.
STAGE_1_QUERY_RATE = 0.1


@dataclass
class CTRTrainingArguments(Seq2SeqTrainingArguments):
    """`Seq2SeqTrainingArguments` with the paper's defaults, and what CTR adds to them."""

    stage: int = field(
        default=1, metadata={"help": "1 trains the task codebook with the language model frozen, 2 trains everything."}
    )
    learning_rate: float | None = field(
        default=None, metadata={"help": "Peak learning rate; defaults to 0.01 in stage 1 and 0.0001 in stage 2."}
    )
    query_learning_rate: float | None = field(
        default=None,
        metadata={
            "help": "Peak learning rate of task embeddings and per-position maps; defaults to a tenth of "
            "`learning_rate` in stage 1 and to `learning_rate` in stage 2."
        },
    )
    train_position_maps: bool = field(
        default=True,
        metadata={"help": "False keeps the per-position maps as initialized, as the authors' code in effect did."},
    )

    max_vq_loss: float = field(
        default=1000.0, metadata={"help": "A larger vq loss is taken for a runaway codebook (see `bad_loss_action`)."}
    )
    bad_loss_action: str = field(
        default="stop",
        metadata={
            "help": "Where a loss is not finite or the vq loss exceeds `max_vq_loss`: `stop` or `warn`, looked at when "
            "logging and before saving, or `skip`, which skips the optimizer's step and waits for the device at "
            "every step.",
            "choices": ["stop", "skip", "warn"],
        },
    )

    adam_beta2: float = field(default=0.95, metadata={"help": "Beta2 of AdamW."})
    weight_decay: float = field(
        default=0.1,
        metadata={"help": "Weight decay of AdamW. Never applied to norms, biases, task embeddings and code vectors."},
    )
    lr_scheduler_type: str = field(
        default="warmup_stable_decay",
        metadata={
            "help": "With the default, and no `lr_scheduler_kwargs`: the authors' linear warm-up, cosine to a tenth of "
            "the peak at four fifths of the steps, flat from there. Any other scheduler of transformers works as usual."
        },
    )
    warmup_steps: float = field(
        default=0.032, metadata={"help": "Steps, or if below 1 share of all steps, of linear warm-up."}
    )
    train_sampling_strategy: str = field(
        default="group_by_length",
        metadata={"help": "`group_by_length` batches examples of like length; `random` and `sequential` do not."},
    )
    logging_nan_inf_filter: bool = field(
        default=False, metadata={"help": "True leaves losses that are not finite out of the log, at a wait per step."}
    )
    per_device_train_tokens: int | None = field(
        default=None,
        metadata={
            "help": "Instead of `per_device_train_batch_size`: batches of examples of like length with at most this many "
            "source and target tokens, padding included, per device and accumulation step."
        },
    )
    remove_unused_columns: bool = field(
        default=False, metadata={"help": "The collator picks its columns itself, answer choices included."}
    )

    def __post_init__(self):
        if self.stage not in STAGE_LEARNING_RATES:
            raise ValueError(f"`stage` must be 1 or 2, but is {self.stage}.")
        if self.bad_loss_action not in ("stop", "skip", "warn"):
            raise ValueError(f"`bad_loss_action` must be 'stop', 'skip' or 'warn', but is '{self.bad_loss_action}'.")
        if self.bad_loss_action == "skip":
            self.logging_nan_inf_filter = True  # or one such loss would be in every mean from then on
        if self.learning_rate is None:
            self.learning_rate = STAGE_LEARNING_RATES[self.stage]
        if self.query_learning_rate is None:
            self.query_learning_rate = self.learning_rate * (STAGE_1_QUERY_RATE if self.stage == 1 else 1)
        check_as_given(self)
        super().__post_init__()
        check_bounds(self)

    @property
    def device(self) -> torch.device:
        """As in transformers, but a CPU has no index: 5.17 cannot load a checkpoint's optimizer onto `cpu:1`."""
        device = super().device
        return torch.device("cpu") if device.type == "cpu" else device

    def __getstate__(self) -> dict:
        """Without the Hub token: the Trainer pickles its arguments into `training_args.bin`, and pushes that file."""
        return {**self.__dict__, "hub_token": None}
