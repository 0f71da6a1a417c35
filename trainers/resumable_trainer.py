"""Seq2SeqTrainer that may be stopped at any moment, goes on as if it had not been, and publishes the model alone."""

import signal
from pathlib import Path
from typing import Any

import torch
from datasets import IterableDataset
from peft import PeftModel
from safetensors import SafetensorError
from torch import nn
from torch.distributed.fsdp import FSDPModule
from transformers import PreTrainedModel, Seq2SeqTrainer
from transformers.utils import PushInProgress, logging

from modeling_ctr.hub_errors import hub_errors
from trainers.callbacks import SaveOnSigterm
from trainers.checkpoints import find_whole_checkpoint, needs_universal_form
from trainers.publishing import push_checkpoint, push_files, write_published_files
from trainers.sharded_checkpoints import load_plain_weights, own_class, without_tied_copies
from trainers.streaming import read_position, write_position
from trainers.training_record import TrainingRecord, check_record, get_training_record, read_step

logger = logging.get_logger(__name__)


class ResumableTrainer(Seq2SeqTrainer):
    """`Seq2SeqTrainer` that resumes from whole checkpoints only, and with the data that they were made with.

    Its arguments are [`CTRTrainingArguments`]. It knows nothing of tasks and losses: see [`MultitaskTrainer`].
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._sigterm = SaveOnSigterm()
        if not self.args.enable_jit_checkpoint:
            self.add_callback(self._sigterm)
        self._resumed_step = 0
        self._record: TrainingRecord | None = None
        self._stream_position: str | None = None  # after the batches of the current step

    def _plain_model(self) -> PreTrainedModel:
        """Return the model itself, out of whatever peft and accelerate wrap it in."""
        model = self.accelerator.unwrap_model(self.model)
        return model.get_base_model() if isinstance(model, PeftModel) else model

    # ------------------------------------------------------------------------------------------------- going on

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs: Any):
        """Train as in transformers, but `resume_from_checkpoint=True` goes on from the last *whole* checkpoint.

        Where there is none, training starts at the beginning. After a SIGTERM a checkpoint is saved.

        Raises:
            SystemExit: Training was stopped by a SIGTERM; the code is 143, as of a process that it killed.
            FloatingPointError: A loss is not finite or too large, and `bad_loss_action` is "stop".
            OSError: A checkpoint could not be written.
        """
        if resume_from_checkpoint is True:
            checkpoint = find_whole_checkpoint(self.args.output_dir)
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

    def get_record(self) -> TrainingRecord:
        """Return what this training was given, to compare it with on resuming; reads the whole training set, once."""
        if self._record is None:
            self._record = get_training_record(self.args, self.train_dataset)
        return self._record

    def _check_resumption(self, checkpoint: str) -> None:
        """Raise a ValueError where the run that a checkpoint is of was another."""
        # By `ignore_data_skip` the caller says that the examples need not be those of an uninterrupted run.
        check_record(checkpoint, self.get_record(), any_data=self.args.ignore_data_skip)
        self._resumed_step = read_step(checkpoint)
        if 0 < self.args.max_steps < self._resumed_step:
            raise ValueError(
                f"'{checkpoint}' has {self._resumed_step} steps behind it, but `max_steps` is {self.args.max_steps}: "
                "give at least as many, or another `output_dir`."
            )

    def set_initial_training_values(self, *args: Any, **kwargs: Any):
        """Leave no epoch where a checkpoint has all steps: transformers would take one more step."""
        values = num_train_epochs, steps_per_epoch, *_, max_steps = super().set_initial_training_values(
            *args, **kwargs
        )
        if self._resumed_step >= max_steps:
            num_train_epochs = min(num_train_epochs, self._resumed_step // steps_per_epoch)
        return num_train_epochs, *values[1:]

    def _prepare_for_training(self, *args: Any, **kwargs: Any):
        prepared = super()._prepare_for_training(*args, **kwargs)
        if self.is_deepspeed_enabled:
            self.deepspeed._config.load_universal_checkpoint = False  # the checkpoints of this run have no such form
        return prepared

    # ------------------------------------------------------------------------------------------------- saving

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        try:
            super()._save_checkpoint(*args, **kwargs)
        except (OSError, RuntimeError, SafetensorError) as error:
            raise OSError(
                f"The checkpoint of step {self.state.global_step} could not be written to '{self.args.output_dir}' "
                f"({str(error) or type(error).__name__}). Earlier checkpoints are untouched: make room there, or make it "
                "writable, and go on with `resume_from_checkpoint=True`."
            ) from error

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        if self._stream_position is not None:
            write_position(self._stream_position, output_dir, self.args.process_index, self.args.world_size)
        if self.args.should_save:
            self.get_record().write(output_dir)
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
        """Make the repository before training, so that a wrong name or token costs no training time."""
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
        """Push what is the model of the output folder, where transformers pushes all of it: weights, configs, Python files,
        tokenizer (`processing_class`), codes, card and results; see `trainers.publishing`.

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
