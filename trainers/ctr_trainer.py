"""Seq2SeqTrainer for CTR models: two stages, two losses, codes with every checkpoint, rank-classification accuracy."""

import json
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from huggingface_hub import EvalResult
from safetensors import SafetensorError
from torch import nn
from torch.distributed.fsdp import FSDPModule, register_fsdp_forward_method
from torch.utils.data import SequentialSampler
from transformers import EvalPrediction, Seq2SeqTrainer
from transformers.optimization import get_wsd_schedule
from transformers.trainer_utils import EvalLoopOutput, has_length
from transformers.utils import logging

from modeling_ctr import CTRForConditionalGeneration
from modeling_ctr.hub_errors import hub_errors
from trainers.callbacks import SaveOnSigterm
from trainers.checkpoints import last_whole_checkpoint
from trainers.codebook_statistics import codebook_statistics, collapse_report
from trainers.collators import LABEL_PADDING, CTRDataCollator
from trainers.model_card import stage_record, write_model_card
from trainers.sampler import LengthGroupedBatchOrder
from trainers.sharding import (
    load_plain_weights,
    own_class,
    shard_codebook,
    whole_codebook,
    without_tied_copies,
)
from trainers.throughput import Throughput
from trainers.training_args import CTRTrainingArguments

logger = logging.get_logger(__name__)

TASK_CODES_NAME = "task_codes.json"
CHOICE_COLUMNS = ("choice_ids", "answer")  # of evaluation batches; not arguments of the model
# The authors' schedule: 8,000 of 10,000 steps are warm-up and cosine, which ends at a tenth of the peak.
DECAY_SHARE, FINAL_RATE = 0.8, 0.1


class CTRTrainer(Seq2SeqTrainer):
    """`Seq2SeqTrainer` for a [`CTRForConditionalGeneration`], or a peft model around one.

    Data sets have the columns `input_ids`, `labels` and `task_id`; evaluation sets may also have `choice_ids` and
    `answer`, and then give accuracies.

    The loss of an optimiser step is the mean over the target tokens of its *global* batch (plus the vq loss, a mean
    over its examples), however it is split into processes and accumulation steps.
    """

    def __init__(
        self,
        model: CTRForConditionalGeneration | nn.Module | None = None,
        args: CTRTrainingArguments | None = None,
        data_collator: Callable | None = None,
        compute_metrics: Callable[[EvalPrediction], dict[str, float]] | None = None,
        **kwargs: Any,
    ):
        if isinstance(model, CTRForConditionalGeneration):
            freeze_for_stage(model, args)
        if data_collator is None and model is not None:
            data_collator = CTRDataCollator(model.config.pad_token_id, model.config.num_tasks)
        if compute_metrics is None:
            compute_metrics = self.accuracies
        super().__init__(
            model=model, args=args, data_collator=data_collator, compute_metrics=compute_metrics, **kwargs
        )
        if self.is_fsdp_enabled:
            shard_codebook(self._ctr_model())
        self._sigterm = SaveOnSigterm()
        if not args.enable_jit_checkpoint:
            self.add_callback(self._sigterm)
        # Of each micro-batch since the last log: step, both losses, task ids. Looked at when logging, since looking
        # waits for the device.
        self._losses: list[tuple[int, torch.Tensor, torch.Tensor | None, torch.Tensor]] = []
        self._throughput: Throughput | None = None
        self._last_codes: torch.Tensor | None = None
        self._collapse_reported = False
        self._earlier_stages = self._ctr_model().config.training_stages or []

    # ----------------------------------------------------------------------------------------------- training

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs: Any):
        """As in transformers, but `resume_from_checkpoint=True` goes on from the last *whole* checkpoint.

        Where there is none, training starts at the beginning. After a SIGTERM a checkpoint is saved.

        Raises:
            SystemExit: Training was stopped by a SIGTERM; the code is 143, as of a process that it killed.
            FloatingPointError: A loss is not finite or too large, and `bad_loss_action` is "stop".
            OSError: A checkpoint could not be written.
        """
        if resume_from_checkpoint is True:
            checkpoint = last_whole_checkpoint(self.args.output_dir)
            if checkpoint is None:
                logger.warning(f"No whole checkpoint in '{self.args.output_dir}': training starts at the beginning.")
            else:
                logger.warning(f"Training goes on from '{checkpoint}'.")
            resume_from_checkpoint = None if checkpoint is None else str(checkpoint)
        try:
            output = super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)
        finally:
            self._sigterm.restore_handler()
        if self._sigterm.terminated:
            logger.warning(f"Stopped by SIGTERM; `resume_from_checkpoint=True` goes on from '{self.args.output_dir}'.")
            raise SystemExit(128 + signal.SIGTERM)
        return output

    def call_model_init(self, trial: Any = None) -> nn.Module:
        model = super().call_model_init(trial)
        if isinstance(model, CTRForConditionalGeneration):
            freeze_for_stage(model, self.args)
        return model

    def _prepare_for_training(self, *args: Any, **kwargs: Any):
        self._throughput = Throughput(self._ctr_model(), self.args.device)
        prepared = super()._prepare_for_training(*args, **kwargs)
        register_fsdp_forward_method(self.model, "choice_log_likelihoods")  # does nothing without FSDP2
        return prepared

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """The optimiser that `args.optim` names, over the parameter groups of the stage."""
        if self.optimizer is None:
            model = self.model if model is None else model
            optimizer_class, optimizer_kwargs = self.get_optimizer_cls_and_kwargs(self.args, model)
            groups = parameter_groups(model, self.args, set(self.get_decay_parameter_names(model)))
            self.optimizer = optimizer_class(groups, **optimizer_kwargs)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None):
        if (
            self.lr_scheduler is None
            and self.args.lr_scheduler_type == "warmup_stable_decay"
            and not self.args.lr_scheduler_kwargs
        ):
            num_warmup_steps = self.args.get_warmup_steps(num_training_steps)
            self.lr_scheduler = get_wsd_schedule(
                self.optimizer if optimizer is None else optimizer,
                num_warmup_steps=num_warmup_steps,
                num_stable_steps=0,
                num_decay_steps=max(round(DECAY_SHARE * num_training_steps) - num_warmup_steps, 1),
                min_lr_ratio=FINAL_RATE,
            )
            self._created_lr_scheduler = True
        return super().create_scheduler(num_training_steps, optimizer)

    def _get_train_sampler(self, train_dataset: Any = None):
        train_dataset = self.train_dataset if train_dataset is None else train_dataset
        if self.args.train_sampling_strategy != "group_by_length" or not has_length(train_dataset):
            return super()._get_train_sampler(train_dataset)
        return LengthGroupedBatchOrder(
            [len(row) for row in train_dataset["input_ids"]],
            self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size,
            self.args.seed if self.args.data_seed is None else self.args.data_seed,
        )

    def _get_eval_sampler(self, eval_dataset: Any):
        """In order: grouping by length would return the predictions of `predict` in another order than the rows."""
        return SequentialSampler(eval_dataset) if has_length(eval_dataset) and self.args.world_size == 1 else None

    def get_batch_samples(self, epoch_iterator: Iterator, num_batches: int, device: torch.device):
        """The micro-batches of one optimiser step, and the number of target tokens in them over all processes."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        for batch in batches:
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
        """`lm_loss + vq_loss`, with label smoothing where asked for.

        In training the language-model part is scaled such that the Trainer's mean over accumulation steps and the
        mean over processes come out as the mean over all target tokens of the global batch.
        """
        outputs = model(**{name: value for name, value in inputs.items() if name not in CHOICE_COLUMNS})
        lm_loss, labels = outputs.lm_loss, inputs["labels"]
        if self.args.label_smoothing_factor > 0:
            lm_loss = F.cross_entropy(
                outputs.logits.flatten(0, 1), labels.flatten(), label_smoothing=self.args.label_smoothing_factor
            )
        if num_items_in_batch is not None:
            share = (labels != LABEL_PADDING).sum() / num_items_in_batch.to(labels.device)
            lm_loss = lm_loss * share * self.args.world_size * self.current_gradient_accumulation_steps
        vq_loss = None if outputs.vq_loss is None else outputs.vq_loss.detach()
        self._losses.append((self.state.global_step + 1, lm_loss.detach(), vq_loss, inputs["task_id"]))
        loss = lm_loss if outputs.vq_loss is None else lm_loss + outputs.vq_loss
        return (loss, outputs) if return_outputs else loss

    # ------------------------------------------------------------------------------------------------ logging

    def _mean_losses(self) -> dict[str, float]:
        """Means of the parts of the loss over the micro-batches since the last call, over all processes."""
        if not self._losses:  # transformers' own evaluation, with `predict_with_generate`
            return {}
        lm_losses = torch.stack([lm_loss for _, lm_loss, _, _ in self._losses])
        means = {"lm_loss": self.accelerator.reduce(lm_losses.mean(), reduction="mean").item()}
        vq_losses = [vq_loss for _, _, vq_loss, _ in self._losses if vq_loss is not None]
        if vq_losses:
            means["vq_loss"] = self.accelerator.reduce(torch.stack(vq_losses).mean(), reduction="mean").item()
        return means

    def _check_losses(self) -> None:
        """Stop, or warn, where a loss since the last log is not finite or the vq loss has run away."""
        for step, lm_loss, vq_loss, task_ids in self._losses:
            limit = self.args.max_vq_loss
            if torch.isfinite(lm_loss) and (vq_loss is None or vq_loss <= limit):
                continue
            names = self._ctr_model().config.task_names
            tasks = ", ".join(sorted({names[i] for i in task_ids.tolist()}))
            message = (
                f"Step {step}: lm_loss is {lm_loss.item():.4g} and vq_loss {'none' if vq_loss is None else f'{vq_loss.item():.4g}'} "
                f"(`max_vq_loss` is {limit:.4g}), in a batch of the tasks {tasks}. Go on from an earlier checkpoint "
                "(`resume_from_checkpoint=True`) with a lower `learning_rate` (for the vq loss `query_learning_rate`), "
                "a longer warm-up or, if it trains in half precision, `bf16` instead of `fp16`; if it happens at this "
                "step again, look at the examples of these tasks."
            )
            if self.args.bad_loss_action == "stop":
                raise FloatingPointError(message)
            logger.warning(message)
            return

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the parts of the loss, the codebook's statistics and the speed to the logs of training steps."""
        if "loss" in logs:
            self._check_losses()
            logs.update(self._mean_losses())
            self._losses = []
            model = self._ctr_model()
            with whole_codebook(model.task_codebook):
                statistics, self._last_codes = codebook_statistics(model, self._last_codes)
            logs.update(statistics)
            self._report_collapse(model)
            logs.update(self._throughput.report(self.accelerator))
        super().log(logs, start_time)

    def _report_collapse(self, model: CTRForConditionalGeneration) -> None:
        report = collapse_report(self._last_codes, model.config.codebook_size)
        if report and not self._collapse_reported:
            logger.warning(f"Step {self.state.global_step}: {report}")
        self._collapse_reported = report is not None

    # --------------------------------------------------------------------------------------------- evaluation

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> EvalLoopOutput:
        started = time.perf_counter()
        losses_of_training, self._losses = self._losses, []
        output = super().evaluation_loop(*args, **kwargs)
        prefix = kwargs.get("metric_key_prefix", "eval")
        output.metrics.update({f"{prefix}_{name}": value for name, value in self._mean_losses().items()})
        self._losses = losses_of_training
        if self._throughput is not None:
            self._throughput.leave_out(time.perf_counter() - started)
        return output

    def prediction_step(
        self,
        model: nn.Module,
        inputs: dict[str, torch.Tensor],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
        **gen_kwargs: Any,
    ):
        """The predicted choice of each example, `(batch,)`, and its answer and task id, `(batch, 2)`.

        The answer is -1 where an example has no answer choices. With `predict_with_generate`, as in `Seq2SeqTrainer`.
        """
        inputs = self._prepare_inputs(inputs)
        if prediction_loss_only or self.args.predict_with_generate:
            inputs = {name: value for name, value in inputs.items() if name not in CHOICE_COLUMNS}
            return super().prediction_step(model, inputs, prediction_loss_only, ignore_keys, **gen_kwargs)
        task_ids = inputs["task_id"]
        predicted = answers = torch.full_like(task_ids, -1)
        with torch.no_grad(), self.compute_loss_context_manager():
            loss = self.compute_loss(model, inputs).mean().detach()
            if "choice_ids" in inputs:
                ctr_model = self._ctr_model()
                with whole_codebook(ctr_model.task_codebook):
                    scores = ctr_model.choice_log_likelihoods(
                        inputs["input_ids"], inputs["choice_ids"], inputs["attention_mask"], task_id=task_ids
                    )
                predicted, answers = scores.argmax(1), inputs["answer"]
        return loss, predicted, torch.stack([answers, task_ids], dim=1)

    def accuracies(self, prediction: EvalPrediction) -> dict[str, float]:
        """Rank-classification accuracy per task, `accuracy_<task>`, and `accuracy`, their mean.

        Over the examples with answer choices and a known answer; empty where there are none.
        """
        if self.args.predict_with_generate:
            return {}
        answers, task_ids = prediction.label_ids.T
        known = answers >= 0
        correct, task_ids = (prediction.predictions == answers)[known], task_ids[known]
        if not known.any():
            return {}
        names = self._ctr_model().config.task_names
        by_task = {f"accuracy_{names[i]}": float(correct[task_ids == i].mean()) for i in np.unique(task_ids)}
        return {"accuracy": float(np.mean(list(by_task.values()))), **by_task}

    # ------------------------------------------------------------------------------------------------- saving

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """As in transformers, with the codes of all tasks beside the weights, in `task_codes.json`."""
        if self.state.global_step:
            config = self._ctr_model().config
            config.training_stages = [*self._earlier_stages, stage_record(self, config.num_tasks)]
        super().save_model(output_dir, _internal_call)
        model = self._ctr_model()
        with whole_codebook(model.task_codebook):
            if self.args.should_save:
                write_task_codes(model, Path(output_dir or self.args.output_dir) / TASK_CODES_NAME)

    def create_model_card(
        self,
        language: str | list[str] | None = None,
        license: str | None = None,
        tags: str | list[str] | None = None,
        model_name: str | None = None,
        finetuned_from: str | None = None,
        tasks: str | list[str] | None = None,
        dataset_tags: str | list[str] | None = None,
        dataset: str | list[str] | None = None,
        dataset_args: str | list[str] | None = None,
        results: Sequence[EvalResult] = (),
    ) -> None:
        """Write our own model card, see [`write_model_card`], into `args.output_dir`; `push_to_hub` calls it.

        The card tells by itself what transformers' takes `tasks`, `dataset` and `dataset_args` for.

        Args:
            results: Of held-out tasks, e.g. from [`eval_result`].
        """
        if not self.is_world_process_zero():
            return
        evaluations = (logs for logs in reversed(self.state.log_history) if "eval_accuracy" in logs)
        prefix = "eval_accuracy_"
        write_model_card(
            self._ctr_model(),
            self.args.output_dir,
            repo_id=self.hub_model_id or self.args.hub_model_id or model_name,
            results=results,
            task_accuracies={
                name.removeprefix(prefix): value
                for name, value in next(evaluations, {}).items()
                if name.startswith(prefix)
            },
            language=language,
            license=license,
            tags=tags or (),
            datasets=dataset_tags,
            base_model=finetuned_from,
        )

    def init_hf_repo(self, token: str | None = None, private: bool | None = None) -> None:
        """As in transformers; called before training, so that a wrong name or token costs no training time."""
        repo_id = self.args.hub_model_id or Path(self.args.output_dir).absolute().name
        with hub_errors(f"Making the repository '{repo_id}'", repo_id, "Nothing was pushed."):
            super().init_hf_repo(token, private)

    def push_to_hub(self, *args: Any, **kwargs: Any):
        """As in transformers: weights, configs, the model's Python files, tokenizer (`processing_class`), codes, card.

        Raises:
            OSError: The Hub did not take it; the message says why. All of it is in `args.output_dir` still.
        """
        repo_id = self.hub_model_id or self.args.hub_model_id or Path(self.args.output_dir).name
        advice = (
            f"Everything is in '{self.args.output_dir}' still: push it with "
            f"`hf upload {repo_id} {self.args.output_dir} --exclude 'checkpoint-*'`."
        )
        with hub_errors(f"Pushing to '{repo_id}'", repo_id, advice):
            return super().push_to_hub(*args, **kwargs)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        """As in transformers, which takes weights and configs alone, with the model's Python files and its codes."""
        if self.is_world_process_zero():
            for path in [*Path(checkpoint_folder).glob("*.py"), Path(checkpoint_folder) / TASK_CODES_NAME]:
                shutil.copy(path, self.args.output_dir)
        super()._push_from_checkpoint(checkpoint_folder)

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        self._check_losses()  # no checkpoint of a model that is lost
        started = time.perf_counter()
        try:
            super()._save_checkpoint(*args, **kwargs)
        except (OSError, RuntimeError, SafetensorError) as error:
            raise OSError(
                f"The checkpoint of step {self.state.global_step} could not be written to '{self.args.output_dir}' "
                f"({error}). Earlier checkpoints are untouched: make room there, or make it writable, and go on with "
                "`resume_from_checkpoint=True`."
            ) from error
        self._throughput.leave_out(time.perf_counter() - started)

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        # The trainer's state is written next: where it is, the files of all processes are.
        self.accelerator.wait_for_everyone()

    def _save(self, output_dir: str | None = None, state_dict: dict[str, torch.Tensor] | None = None) -> None:
        if state_dict is not None:
            state_dict = without_tied_copies(self.model, state_dict)
        with own_class(self.model):
            super()._save(output_dir, state_dict)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        weight_files = sorted(Path(resume_from_checkpoint).glob("model*.safetensors"))
        if isinstance(model, FSDPModule) and weight_files:
            load_plain_weights(model, weight_files)
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_best_model(self) -> None:
        if isinstance(self.model, FSDPModule):
            self._load_from_checkpoint(self.state.best_model_checkpoint, self.model)
        else:
            super()._load_best_model()

    def _ctr_model(self) -> CTRForConditionalGeneration:
        """The CTR model itself, out of whatever peft and accelerate wrap it in."""
        model = self.accelerator.unwrap_model(self.model)
        return model if isinstance(model, CTRForConditionalGeneration) else model.get_base_model()


def freeze_for_stage(model: CTRForConditionalGeneration, args: CTRTrainingArguments) -> None:
    """Set what the stage trains: the codebook, and in stage 2 the language model."""
    model.backbone.requires_grad_(args.stage == 2)
    model.task_codebook.requires_grad_(True)
    model.task_codebook.position_maps.requires_grad_(args.train_position_maps)


def parameter_groups(model: nn.Module, args: CTRTrainingArguments, decay_names: set[str]) -> list[dict[str, Any]]:
    """The optimiser's groups: by learning rate (queries or everything else) and by weight decay.

    Task embeddings and code vectors are not decayed: their lengths decide which code is nearest.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        is_query = ".task_embedding." in f".{name}" or ".position_maps." in f".{name}"
        is_table = ".task_embedding." in f".{name}" or ".code_vectors." in f".{name}"
        rate = args.query_learning_rate if is_query else args.learning_rate
        decay = args.weight_decay if name in decay_names and not is_table else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    return [{"params": params, "lr": rate, "weight_decay": decay} for (rate, decay), params in groups.items()]


def write_task_codes(model: CTRForConditionalGeneration, path: Path) -> None:
    """Write every training and added task's code as JSON: a mapping from names to lists of integers."""
    codes = dict(zip(model.config.task_names, model.task_codes().tolist(), strict=True))
    lines = [f"  {json.dumps(name)}: {code}" for name, code in (codes | model.config.added_task_codes).items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
