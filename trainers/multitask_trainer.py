"""Seq2SeqTrainer for many tasks at once: mixed batches of like length, one loss however a batch is split, safe stops."""

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from accelerate.data_loader import prepare_data_loader
from datasets import IterableDataset
from peft import PeftModel
from safetensors import SafetensorError
from torch import nn
from torch.distributed.fsdp import FSDPModule
from torch.utils.data import DataLoader, SequentialSampler
from transformers import PreTrainedModel, Seq2SeqTrainer
from transformers.optimization import get_wsd_schedule
from transformers.trainer_utils import EvalLoopOutput, has_length
from transformers.utils import PushInProgress, logging

from modeling_ctr.hub_errors import hub_errors
from trainers.callbacks import SaveOnSigterm, SetEpoch, SkipSteps
from trainers.checkpoints import last_whole_checkpoint, needs_universal_form
from trainers.collators import LABEL_PADDING, CTRDataCollator
from trainers.publishing import push_checkpoint, push_files, write_published_files
from trainers.sampler import LengthGroupedBatchOrder, TokenBudgetBatches, token_counts
from trainers.sharding import load_plain_weights, own_class, without_tied_copies
from trainers.streaming import POSITION, StreamedBatches, read_position, write_position
from trainers.throughput import Throughput
from trainers.training_args import CTRTrainingArguments
from trainers.training_record import TrainingRecord, check_record, read_step

logger = logging.get_logger(__name__)

# The authors' schedule: 8,000 of 10,000 steps are warm-up and cosine, which ends at a tenth of the peak.
DECAY_SHARE, FINAL_RATE = 0.8, 0.1


class MultitaskTrainer(Seq2SeqTrainer):
    """`Seq2SeqTrainer` for a seq2seq language model trained on many tasks: with prompts, the T0 baseline.

    Data sets have the columns `input_ids`, `labels` and `task_id`.

    The loss of an optimiser step is the mean over the target tokens of its *global* batch, however it is split into
    processes and accumulation steps.

    Args:
        model, args, data_collator: As in transformers.
        task_names: Of the tasks by id, for messages.
    """

    # Of batches; not arguments of the model.
    OTHER_COLUMNS = ("task_id", "choice_ids", "answer")

    def __init__(
        self,
        model: PreTrainedModel | nn.Module | None = None,
        args: CTRTrainingArguments | None = None,
        data_collator: Callable | None = None,
        *,
        task_names: Sequence[str],
        **kwargs: Any,
    ):
        if not isinstance(args, CTRTrainingArguments):
            raise ValueError(
                f"`args` must be `CTRTrainingArguments`, with the stage to train, but is {type(args).__name__}."
            )
        if kwargs.get("compute_loss_func") is not None:
            raise ValueError("`compute_loss_func` would not be called: override `compute_loss` in a subclass instead.")
        super().__init__(model=model, args=args, data_collator=data_collator, **kwargs)
        self.task_names = list(task_names)
        if data_collator is None:
            self.data_collator = CTRDataCollator(self.model.config.pad_token_id, len(self.task_names))
        self._sigterm = SaveOnSigterm()
        if not args.enable_jit_checkpoint:
            self.add_callback(self._sigterm)
        self._set_epoch = SetEpoch()
        self.add_callback(self._set_epoch)
        if args.bad_loss_action == "skip":
            if self.is_deepspeed_enabled:
                raise ValueError("DeepSpeed cannot skip steps: choose another `bad_loss_action` than 'skip'.")
            self.add_callback(SkipSteps(self._step_is_bad))
        # Of each micro-batch since the last log: step, the parts of its loss, task ids. Looked at when logging, since
        # looking waits for the device.
        self._losses: list[tuple[int, dict[str, torch.Tensor], torch.Tensor]] = []
        self._throughput: Throughput | None = None
        self._resumed_step = 0
        self._record: TrainingRecord | None = None
        self._stream_position: str | None = None  # after the batches of the current step

    def _plain_model(self) -> PreTrainedModel:
        """The model itself, out of whatever peft and accelerate wrap it in."""
        model = self.accelerator.unwrap_model(self.model)
        return model.get_base_model() if isinstance(model, PeftModel) else model

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
        self._resumed_step = 0
        if resume_from_checkpoint:
            self._check_resumption(resume_from_checkpoint)
            plugin = self.accelerator.deepspeed_plugin
            processes, zero_stage = (0, 0) if plugin is None else (self.args.world_size, plugin.zero_stage)
            if needs_universal_form(resume_from_checkpoint, processes, zero_stage):
                plugin.deepspeed_config.setdefault("checkpoint", {})["load_universal"] = True
        if isinstance(self.train_dataset, IterableDataset):
            self.args.ignore_data_skip = True  # a stream goes on where it was, instead of from the beginning
            if resume_from_checkpoint:
                self._stream_position = read_position(
                    resume_from_checkpoint, self.args.process_index, self.args.world_size
                )
        try:
            output = super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)
        finally:
            self._sigterm.restore_handler()
        if self._sigterm.terminated:
            logger.warning(f"Stopped by SIGTERM; `resume_from_checkpoint=True` goes on from '{self.args.output_dir}'.")
            raise SystemExit(128 + signal.SIGTERM)
        return output

    def training_record(self) -> TrainingRecord:
        """What this training was given, to be compared with when it is gone on with; reads all of the training set."""
        if self._record is None:
            self._record = TrainingRecord.of(self.args, self.train_dataset)
        return self._record

    def _check_resumption(self, checkpoint: str) -> None:
        """Raise a ValueError where the run that a checkpoint is of was another."""
        # By `ignore_data_skip` the caller says that the examples need not be those of an uninterrupted run.
        check_record(checkpoint, self.training_record(), any_data=self.args.ignore_data_skip)
        self._resumed_step = read_step(checkpoint)
        if 0 < self.args.max_steps < self._resumed_step:
            raise ValueError(
                f"'{checkpoint}' has {self._resumed_step} steps behind it, but `max_steps` is {self.args.max_steps}: "
                "give at least as many, or another `output_dir`."
            )

    def set_initial_training_values(self, *args: Any, **kwargs: Any):
        """As in transformers, but no epoch is left where a checkpoint has all steps: one more would be taken."""
        values = num_train_epochs, steps_per_epoch, *_, max_steps = super().set_initial_training_values(
            *args, **kwargs
        )
        if self._resumed_step >= max_steps:
            num_train_epochs = min(num_train_epochs, self._resumed_step // steps_per_epoch)
        return num_train_epochs, *values[1:]

    def _prepare_for_training(self, *args: Any, **kwargs: Any):
        self._throughput = Throughput(self._plain_model(), self.args.device)
        prepared = super()._prepare_for_training(*args, **kwargs)
        if self.is_deepspeed_enabled:
            self.deepspeed._config.load_universal_checkpoint = False  # the checkpoints of this run have no such form
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
        self._set_epoch.sampler = LengthGroupedBatchOrder(
            token_counts(train_dataset, "input_ids"),
            self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size,
            self._data_seed(),
        )
        return self._set_epoch.sampler

    def get_train_dataloader(self) -> DataLoader:
        """As in transformers; with `per_device_train_tokens`, of batches of as many tokens, and of streams."""
        args = self.args
        settings = {
            "num_workers": args.dataloader_num_workers,
            "pin_memory": args.dataloader_pin_memory,
            "persistent_workers": args.dataloader_persistent_workers,
            "prefetch_factor": args.dataloader_prefetch_factor,
        }
        if has_length(self.train_dataset) and len(self.train_dataset) == 0:
            raise ValueError("There is nothing to train on: the training set has no rows.")
        if isinstance(self.train_dataset, IterableDataset):
            if args.per_device_train_tokens is not None or args.dataloader_num_workers > 1:
                raise ValueError(
                    "Streaming has neither `per_device_train_tokens` nor more than one of `dataloader_num_workers`."
                )
            batches = StreamedBatches(
                self.train_dataset,
                self.data_collator,
                self._train_batch_size,
                args.gradient_accumulation_steps,
                self._data_seed(),
                args.process_index,
                args.world_size,
                self._stream_position,
            )
            # Its own generator: the global one must not be drawn from between loading its state and going on.
            loader = DataLoader(batches, batch_size=None, generator=torch.Generator(), **settings)
            # Each process has its own stream already, so accelerate is to split nothing.
            return prepare_data_loader(
                loader,
                args.device,
                num_processes=1,
                process_index=0,
                put_on_device=True,
                dispatch_batches=False,
            )
        if args.per_device_train_tokens is None:
            return super().get_train_dataloader()
        self._set_epoch.sampler = TokenBudgetBatches(
            token_counts(self.train_dataset, "input_ids"),
            token_counts(self.train_dataset, "labels"),
            args.per_device_train_tokens,
            args.gradient_accumulation_steps * args.world_size,
            self._data_seed(),
        )
        loader = DataLoader(
            self.train_dataset, batch_sampler=self._set_epoch.sampler, collate_fn=self.data_collator, **settings
        )
        return self.accelerator.prepare(loader)

    def _data_seed(self) -> int:
        return self.args.seed if self.args.data_seed is None else self.args.data_seed

    def get_batch_samples(self, epoch_iterator: Iterator, num_batches: int, device: torch.device):
        """The micro-batches of one optimiser step, and the number of target tokens in them over all processes."""
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
        """The sum of the model's losses, with label smoothing where asked for.

        In training the language-model part is scaled such that the Trainer's mean over accumulation steps and the
        mean over processes come out as the mean over all target tokens of the global batch.
        """
        arguments = {name: value for name, value in inputs.items() if name not in self.OTHER_COLUMNS}
        # A cache of keys and values is for generation, and breaks FSDP's own activation checkpointing.
        outputs = model(**arguments, use_cache=False)
        losses, labels = self._losses_of(outputs), inputs["labels"]
        if self.args.label_smoothing_factor > 0:
            losses["lm_loss"] = F.cross_entropy(
                outputs.logits.flatten(0, 1), labels.flatten(), label_smoothing=self.args.label_smoothing_factor
            )
        if num_items_in_batch is not None:
            share = (labels != LABEL_PADDING).sum() / num_items_in_batch.to(labels.device)
            scale = share * self.args.world_size * self.current_gradient_accumulation_steps
            losses["lm_loss"] = losses["lm_loss"] * scale
        detached = {name: loss.detach() for name, loss in losses.items()}
        self._losses.append((self.state.global_step + 1, detached, inputs["task_id"]))
        loss = sum(losses.values())
        return (loss, outputs) if return_outputs else loss

    def _losses_of(self, outputs: Any) -> dict[str, torch.Tensor]:
        """The parts of a model's loss by name."""
        return {"lm_loss": outputs.loss}

    # ------------------------------------------------------------------------------------------------ logging

    def _mean_losses(self) -> dict[str, float]:
        """Means of the parts of the loss over the micro-batches since the last call, over all processes."""
        means = {}
        if self._losses:  # none in transformers' own evaluation, with `predict_with_generate`
            for name in self._losses[0][1]:
                mean = torch.stack([losses[name] for _, losses, _ in self._losses]).mean()
                means[name] = self.accelerator.reduce(mean, reduction="mean").item()
        return means

    def _is_bad(self, losses: dict[str, torch.Tensor]) -> bool:
        """Whether a loss is not finite, or the vq loss has run away."""
        finite = all(torch.isfinite(loss) for loss in losses.values())
        return not finite or bool(losses.get("vq_loss", 0) > self.args.max_vq_loss)

    def _step_is_bad(self) -> bool:
        """Whether a loss of the current step is bad, in any process."""
        bad = any(self._is_bad(losses) for step, losses, _ in self._losses if step == self.state.global_step + 1)
        if self.args.world_size > 1:
            bad = self.accelerator.reduce(torch.tensor(float(bad), device=self.args.device), reduction="sum") > 0
        return bool(bad)

    def _check_losses(self) -> None:
        """Stop, or warn, where a loss since the last log is bad."""
        for step, losses, task_ids in self._losses:
            if not self._is_bad(losses):
                continue
            tasks = ", ".join(sorted({self.task_names[i] for i in task_ids.tolist()}))
            values = " and ".join(f"{name} is {loss.item():.4g}" for name, loss in losses.items())
            left_out = "; such steps are left out" if self.args.bad_loss_action == "skip" else ""
            message = (
                f"Step {step}: {values} (`max_vq_loss` is {self.args.max_vq_loss:.4g}), in a batch of the tasks "
                f"{tasks}{left_out}. Go on from an earlier checkpoint (`resume_from_checkpoint=True`) with a lower "
                "`learning_rate` (for the vq loss `query_learning_rate`), a longer warm-up or, if it trains in half "
                "precision, `bf16` instead of `fp16`; if it happens at this step again, look at the examples of these "
                "tasks."
            )
            if self.args.bad_loss_action == "stop":
                raise FloatingPointError(message)
            logger.warning(message)
            return

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the parts of the loss and the speed to the logs of training steps."""
        if "loss" in logs:
            self._check_losses()
            logs.update(self._mean_losses())
            self._losses = []
            logs.update(self._model_statistics())
            logs.update(self._throughput.report(self.accelerator))
        super().log(logs, start_time)

    def _model_statistics(self) -> dict[str, float]:
        """What a subclass has to log of its model."""
        return {}

    # --------------------------------------------------------------------------------------------- evaluation

    def _get_eval_sampler(self, eval_dataset: Any):
        """In order: grouping by length would return the predictions of `predict` in another order than the rows."""
        return SequentialSampler(eval_dataset) if has_length(eval_dataset) and self.args.world_size == 1 else None

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

    # ------------------------------------------------------------------------------------------------- saving

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
        if self._stream_position is not None:
            write_position(self._stream_position, output_dir, self.args.process_index, self.args.world_size)
        if self.args.should_save:
            self.training_record().write(output_dir)
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

    # ------------------------------------------------------------------------------------------------- the Hub

    def init_hf_repo(self, *args: Any, **kwargs: Any) -> None:
        """As in transformers; called before training, so that a wrong name or token costs no training time."""
        repo_id = self.args.hub_model_id or Path(self.args.output_dir).absolute().name
        with hub_errors(f"Making the repository '{repo_id}'", repo_id, "Nothing was pushed."):
            super().init_hf_repo(*args, **kwargs)

    def push_to_hub(
        self,
        commit_message: str | None = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        **card: Any,
    ) -> Any:
        """As in transformers, but of the output folder only what is the model: weights, configs, the model's Python
        files, tokenizer (`processing_class`), codes, card and results; see `trainers.publishing`.

        Raises:
            OSError: The Hub did not take it; the message says why. All of it is in `args.output_dir` still.
        """
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        if self.hub_model_id is None:
            self.init_hf_repo(token=token or self.args.hub_token, private=private)
        names = write_published_files(self, **card)
        if not self.is_world_process_zero():
            return None
        self._finish_current_push()
        repo_id, folder = self.hub_model_id, self.args.output_dir
        chosen = " ".join(f"--include {name}" for name in names)
        advice = f"Everything is in '{folder}' still: push it with `hf upload {repo_id} {folder} . {chosen}`."
        with hub_errors(f"Pushing to '{repo_id}'", repo_id, advice):
            return push_files(self, names, commit_message, token, revision, wait=blocking)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        if self.is_world_process_zero() and (jobs := push_checkpoint(self, checkpoint_folder)):
            running = [] if self.push_in_progress is None else self.push_in_progress.jobs
            self.push_in_progress = PushInProgress([*running, *jobs])


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
