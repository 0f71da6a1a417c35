"""Seq2SeqTrainer for many tasks at once: mixed batches of like length, one loss however a batch is split."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from datasets import IterableDataset
from torch import nn
from torch.utils.data import DataLoader, SequentialSampler
from transformers import EvalPrediction, PreTrainedModel, TrainerCallback
from transformers.trainer_utils import EvalLoopOutput, has_length
from transformers.utils import logging

from modeling_ctr.check_gradients import check_gradients
from trainers.callbacks import SetEpoch, SkipSteps
from trainers.causal_inputs import prepare_causal_inputs, put_padding_in_front
from trainers.collators import LABEL_PADDING, CTRDataCollator, get_pad_token
from trainers.dataloaders import get_data_seed, make_stream_loader, make_token_budget_loader
from trainers.loss_history import LossHistory
from trainers.optimization import get_authors_schedule, get_parameter_groups
from trainers.resumable_trainer import ResumableTrainer
from trainers.sampler import LengthGroupedBatchOrder, count_tokens
from trainers.streaming import POSITION
from trainers.throughput import Throughput
from trainers.training_args import CTRTrainingArguments

logger = logging.get_logger(__name__)


class MultitaskTrainer(ResumableTrainer):
    """[`ResumableTrainer`] for a seq2seq language model trained on many tasks: with prompts, the T0 baseline.

    Data sets have the columns `input_ids`, `labels` and `task_id`.

    The loss of an optimizer step is the mean over the target tokens of its *global* batch, however it is split into
    processes and accumulation steps.

    Args:
        task_names: Names of the tasks in order of their ids, for messages. All other arguments are transformers', in the
            same order; `args=None` makes default ones.
    """

    # Of batches; not arguments of the model.
    OTHER_COLUMNS = ("task_id", "choice_ids", "answer")

    def __init__(
        self,
        model: PreTrainedModel | nn.Module | None = None,
        args: CTRTrainingArguments | None = None,
        data_collator: Callable | None = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        processing_class: Any = None,
        model_init: Callable[..., PreTrainedModel] | None = None,
        compute_loss_func: None = None,
        compute_metrics: Callable[[EvalPrediction], dict[str, float]] | None = None,
        callbacks: list[TrainerCallback] | None = None,
        optimizers: tuple = (None, None),
        preprocess_logits_for_metrics: Callable | None = None,
        *,
        task_names: Sequence[str],
    ):
        args = CTRTrainingArguments() if args is None else args
        if not isinstance(args, CTRTrainingArguments):
            raise ValueError(
                f"`args` must be `CTRTrainingArguments`, with the stage to train, but is {type(args).__name__}."
            )
        if compute_loss_func is not None:
            raise ValueError("`compute_loss_func` would not be called: override `compute_loss` in a subclass instead.")
        super().__init__(
            model=model,
            args=args,
            data_collator=data_collator,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=processing_class,
            model_init=model_init,
            compute_metrics=compute_metrics,
            callbacks=callbacks,
            optimizers=optimizers,
            preprocess_logits_for_metrics=preprocess_logits_for_metrics,
        )
        self.task_names = list(task_names)
        if data_collator is None:
            self.data_collator = CTRDataCollator(get_pad_token(self.model.config), len(self.task_names))
        self._set_epoch = SetEpoch()
        self.add_callback(self._set_epoch)
        if args.bad_loss_action == "skip":
            if self.is_deepspeed_enabled:
                raise ValueError("DeepSpeed cannot skip steps: choose another `bad_loss_action` than 'skip'.")
            self.add_callback(SkipSteps(self._is_step_bad))
        self._losses = LossHistory(args.max_vq_loss)
        self._throughput: Throughput | None = None

    # ----------------------------------------------------------------------------------------------- training

    def _prepare_for_training(self, *args: Any, **kwargs: Any):
        check_gradients(self._plain_model(), training=True)
        self._throughput = Throughput(self._plain_model(), self.args.device)
        return super()._prepare_for_training(*args, **kwargs)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Make the optimizer that `args.optim` names, over the parameter groups of the stage."""
        if self.optimizer is None:
            model = self.model if model is None else model
            optimizer_class, optimizer_kwargs = self.get_optimizer_cls_and_kwargs(self.args, model)
            groups = get_parameter_groups(model, self.args, set(self.get_decay_parameter_names(model)))
            self.optimizer = optimizer_class(groups, **optimizer_kwargs)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None):
        if (
            self.lr_scheduler is None
            and self.args.lr_scheduler_type == "warmup_stable_decay"
            and not self.args.lr_scheduler_kwargs
        ):
            warmup_steps = self.args.get_warmup_steps(num_training_steps)
            optimizer = self.optimizer if optimizer is None else optimizer
            self.lr_scheduler = get_authors_schedule(optimizer, warmup_steps, num_training_steps)
            self._created_lr_scheduler = True
        return super().create_scheduler(num_training_steps, optimizer)

    def _get_train_sampler(self, train_dataset: Any = None):
        train_dataset = self.train_dataset if train_dataset is None else train_dataset
        if self.args.train_sampling_strategy != "group_by_length" or not has_length(train_dataset):
            return super()._get_train_sampler(train_dataset)
        self._set_epoch.sampler = LengthGroupedBatchOrder(
            count_tokens(train_dataset, "input_ids"),
            self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size,
            get_data_seed(self.args),
        )
        return self._set_epoch.sampler

    def get_train_dataloader(self) -> DataLoader:
        """Make the loader as transformers does, or one of batches by tokens (`per_device_train_tokens`) or of a stream."""
        args, rows, collate = self.args, self.train_dataset, self.data_collator
        if has_length(rows) and len(rows) == 0:
            raise ValueError("There is nothing to train on: the training set has no rows.")
        if isinstance(rows, IterableDataset):
            return make_stream_loader(rows, collate, args, self._train_batch_size, self._stream_position)
        if args.per_device_train_tokens is None:
            return super().get_train_dataloader()
        loader = make_token_budget_loader(rows, collate, args)
        self._set_epoch.sampler = loader.batch_sampler
        return self.accelerator.prepare(loader)

    def get_batch_samples(self, epoch_iterator: Iterator, num_batches: int, device: torch.device):
        """Return the micro-batches of one optimizer step, and the number of target tokens in them over all processes."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        for batch in batches:
            self._stream_position = batch.pop(POSITION, None)
            self._throughput.count(batch)
        num_tokens = torch.stack([(b["labels"] != LABEL_PADDING).sum() for b in batches]).sum() if batches else None
        if num_tokens is not None and self.args.world_size > 1:
            num_tokens = self.accelerator.reduce(num_tokens.to(device), reduction="sum")
        return batches, num_tokens

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, Any]:
        """Compute the sum of the model's losses, with label smoothing where asked for.

        In training the language-model part is scaled such that the Trainer's mean over accumulation steps and the
        mean over processes come out as the mean over all target tokens of the global batch.
        """
        arguments = {name: value for name, value in inputs.items() if name not in self.OTHER_COLUMNS}
        labels = inputs["labels"]
        plain = self._plain_model()
        if not plain.config.is_encoder_decoder:
            arguments |= prepare_causal_inputs(plain, arguments)
        # A cache of keys and values is for generation, and breaks FSDP's own activation checkpointing.
        outputs = model(**arguments, use_cache=False)
        losses = self._split_loss(outputs)
        if self.args.label_smoothing_factor > 0:
            logits = outputs.logits
            if not plain.config.is_encoder_decoder:  # each place tells the next token
                logits = logits[:, -labels.shape[1] - 1 : -1]
            losses["lm_loss"] = F.cross_entropy(
                logits.flatten(0, 1), labels.flatten(), label_smoothing=self.args.label_smoothing_factor
            )
        if num_items_in_batch is not None and model.training:  # evaluations tell the mean of each batch
            share = (labels != LABEL_PADDING).sum() / num_items_in_batch.to(labels.device)
            scale = share * self.args.world_size * self.current_gradient_accumulation_steps
            losses["lm_loss"] = losses["lm_loss"] * scale
        self._losses.add(self.state.global_step + 1, losses, inputs["task_id"])
        loss = sum(losses.values())
        return (loss, outputs) if return_outputs else loss

    def _split_loss(self, outputs: Any) -> dict[str, torch.Tensor]:
        """Return the parts of a model's loss by name."""
        return {"lm_loss": outputs.loss}

    # ------------------------------------------------------------------------------------------------ logging

    def _is_step_bad(self) -> bool:
        """Tell whether a loss of the current step is bad, in any process."""
        bad = self._losses.is_step_bad(self.state.global_step + 1)
        if self.args.world_size > 1:
            bad = self.accelerator.reduce(torch.tensor(float(bad), device=self.args.device), reduction="sum") > 0
        return bool(bad)

    def _check_losses(self) -> None:
        """Stop, or warn, where a loss since the last log is bad."""
        bad = self._losses.describe_first_bad(self.task_names)
        if bad is None:
            return
        left_out = "; such steps are left out" if self.args.bad_loss_action == "skip" else ""
        message = (
            f"{bad}{left_out}. Go on from an earlier checkpoint (`resume_from_checkpoint=True`) with a lower "
            "`learning_rate` (for the vq loss `query_learning_rate`), a longer warm-up or, if it trains in half precision, "
            "`bf16` instead of `fp16`; if it happens at this step again, look at the examples of these tasks."
        )
        if self.args.bad_loss_action == "stop":
            raise FloatingPointError(message)
        logger.warning(message)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the parts of the loss and the speed to the logs of training steps."""
        if "loss" in logs:
            self._check_losses()
            logs.update(self._losses.compute_means(self.accelerator))
            self._losses.clear()
            logs.update(self._model_statistics())
            logs.update(self._throughput.report(self.accelerator))
        super().log(logs, start_time)

    def _model_statistics(self) -> dict[str, float]:
        """Return what a subclass has to log of its model."""
        return {}

    # --------------------------------------------------------------------------------------------- evaluation

    def _get_eval_sampler(self, eval_dataset: Any):
        """Keep the order: grouping by length would return the predictions of `predict` in another order than the rows."""
        return SequentialSampler(eval_dataset) if has_length(eval_dataset) and self.args.world_size == 1 else None

    def prediction_step(
        self,
        model: nn.Module,
        inputs: dict[str, torch.Tensor],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
        **gen_kwargs: Any,
    ):
        """Predict as `Seq2SeqTrainer` does; a decoder-only model as well, of which the text is no part of what it writes.

        Of a decoder-only model `max_length` counts what it writes.
        """
        if prediction_loss_only or not self.args.predict_with_generate:
            return super().prediction_step(model, inputs, prediction_loss_only, ignore_keys, **gen_kwargs)
        inputs = self._prepare_inputs(inputs)
        known = {name: value for name, value in inputs.items() if name not in self.OTHER_COLUMNS}
        plain = self._plain_model()
        if plain.config.is_encoder_decoder:
            return super().prediction_step(model, known, False, ignore_keys, **gen_kwargs)
        loss, labels = None, known.pop("labels", None)
        if labels is not None:
            with torch.no_grad(), self.compute_loss_context_manager():
                loss = self.compute_loss(model, inputs).mean().detach()
        gen_kwargs = gen_kwargs or dict(self._gen_kwargs)
        if gen_kwargs.get("max_length") is not None:
            gen_kwargs["max_new_tokens"] = gen_kwargs.pop("max_length")
        text = known | put_padding_in_front(known)
        _, written, _ = super().prediction_step(model, text, False, ignore_keys, **gen_kwargs)
        return loss, written[:, known["input_ids"].shape[1] :], labels

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> EvalLoopOutput:
        started = time.perf_counter()
        of_training, self._losses = self._losses, LossHistory(self.args.max_vq_loss)
        output = super().evaluation_loop(*args, **kwargs)
        prefix = kwargs.get("metric_key_prefix", "eval")
        means = self._losses.compute_means(self.accelerator)
        output.metrics.update({f"{prefix}_{name}": value for name, value in means.items()})
        self._losses = of_training
        if self._throughput is not None:
            self._throughput.leave_out(time.perf_counter() - started)
        return output

    # ------------------------------------------------------------------------------------------------- saving

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        self._check_losses()  # no checkpoint of a model that is lost
        started = time.perf_counter()
        super()._save_checkpoint(*args, **kwargs)
        self._throughput.leave_out(time.perf_counter() - started)
