"""Training of CTR models: two stages, two losses, codes with every checkpoint, rank-classification accuracy."""

from collections.abc import Callable, Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np
import torch
from huggingface_hub import EvalResult
from torch import nn
from torch.distributed.fsdp import register_fsdp_forward_method
from transformers import EvalPrediction, TrainerCallback
from transformers.utils import logging

from modeling_ctr import CTRCausalOutput, CTRConfig, CTROutput, CTRPreTrainedModel
from trainers.codebook_statistics import compute_codebook_statistics, describe_collapse
from trainers.model_card import get_stage_record, write_model_card
from trainers.multitask_trainer import MultitaskTrainer
from trainers.optimization import freeze_for_stage
from trainers.quantized_models import codebook_as_adapter, is_quantized, load_codebook
from trainers.sharded_codebook import shard_codebook, whole_codebook
from trainers.task_codes_file import TASK_CODES_NAME, write_task_codes
from trainers.training_args import CTRTrainingArguments

logger = logging.get_logger(__name__)


class CTRTrainer(MultitaskTrainer):
    """`MultitaskTrainer` for a [`CTRForConditionalGeneration`] or [`CTRForCausalLM`], or a peft model around one.

    What a stage trains is what it says, except where peft decides: with an adapter, around the model or added to it.

    Data sets have the columns `input_ids`, `labels` and `task_id`; evaluation sets may also have `choice_ids` and
    `answer`, and then give accuracies. Those for `predict` need no `labels` and no `answer`.

    To the loss comes the vq loss, a mean over the examples of the global batch.
    """

    OTHER_COLUMNS = ("choice_ids", "answer")

    def __init__(
        self,
        model: CTRPreTrainedModel | nn.Module | None = None,
        args: CTRTrainingArguments | None = None,
        data_collator: Callable | None = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        processing_class: Any = None,
        model_init: Callable[..., CTRPreTrainedModel] | None = None,
        compute_loss_func: None = None,
        compute_metrics: Callable[[EvalPrediction], dict[str, float]] | None = None,
        callbacks: list[TrainerCallback] | None = None,
        optimizers: tuple = (None, None),
        preprocess_logits_for_metrics: Callable | None = None,
    ):
        if model is not None and model.config.model_type != CTRConfig.model_type:
            raise ValueError(
                f"A CTRTrainer trains a CTR model, but got a {type(model).__name__}: put a codebook on it with "
                "`CTRForConditionalGeneration.from_backbone`, or train it as it is, with a MultitaskTrainer."
            )
        with codebook_as_adapter(model, getattr(args, "stage", 1)):
            super().__init__(
                model,
                args,
                data_collator,
                train_dataset,
                eval_dataset,
                processing_class,
                model_init,
                compute_loss_func,
                self.accuracies if compute_metrics is None else compute_metrics,
                callbacks,
                optimizers,
                preprocess_logits_for_metrics,
                task_names=() if model is None else model.config.task_names,
            )
        if isinstance(model, CTRPreTrainedModel):
            freeze_for_stage(model, self.args)
        if model is None:  # `model_init` made it, so its tasks are known only now
            self.task_names = self._plain_model().config.task_names
            if data_collator is None:
                self.data_collator.num_tasks = len(self.task_names)
        if self.is_fsdp_enabled:
            shard_codebook(self._plain_model())
        self._last_codes: torch.Tensor | None = None
        self._saved_codes: torch.Tensor | None = None  # for the model card, which one process writes alone
        self._collapse_reported = False
        self._earlier_stages = self._plain_model().config.training_stages or []

    # ----------------------------------------------------------------------------------------------- training

    def call_model_init(self, trial: Any = None) -> nn.Module:
        model = super().call_model_init(trial)
        if isinstance(model, CTRPreTrainedModel):
            freeze_for_stage(model, self.args)
        return model

    def _prepare_for_training(self, *args: Any, **kwargs: Any):
        config = self._plain_model().config
        found = [*config.added_task_codes, *config.tuned_tasks]
        if found:
            logger.warning(
                f"The model's {len(found)} added and tuned tasks ({shorten(', '.join(found), 100)}) stay as they are while "
                "training changes what their codes and vectors stand for: look for them again afterwards, or "
                "`model.remove_task` them."
            )
        prepared = super()._prepare_for_training(*args, **kwargs)
        register_fsdp_forward_method(self.model, "choice_log_likelihoods")  # does nothing without FSDP2
        return prepared

    def _split_loss(self, outputs: CTROutput | CTRCausalOutput) -> dict[str, torch.Tensor]:
        losses = {"lm_loss": outputs.lm_loss, "vq_loss": outputs.vq_loss}
        return {name: loss for name, loss in losses.items() if loss is not None}

    # ------------------------------------------------------------------------------------------------ logging

    def _model_statistics(self) -> dict[str, float]:
        model = self._plain_model()
        with whole_codebook(model.task_codebook):
            statistics, self._last_codes = compute_codebook_statistics(model, self._last_codes)
        self._report_collapse(model)
        return statistics

    def _report_collapse(self, model: CTRPreTrainedModel) -> None:
        report = describe_collapse(self._last_codes, model.config.codebook_size)
        if report and not self._collapse_reported:
            logger.warning(f"Step {self.state.global_step}: {report}")
        self._collapse_reported = report is not None

    # --------------------------------------------------------------------------------------------- evaluation

    def prediction_step(
        self,
        model: nn.Module,
        inputs: dict[str, torch.Tensor],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
        **gen_kwargs: Any,
    ):
        """Predict the choice of each example, `(batch,)`, and its answer and task id, `(batch, 2)`.

        The answer is -1 where an example has no answer choices. With `predict_with_generate`, as in `Seq2SeqTrainer`.
        """
        if prediction_loss_only or self.args.predict_with_generate:
            return super().prediction_step(model, inputs, prediction_loss_only, ignore_keys, **gen_kwargs)
        inputs = self._prepare_inputs(inputs)
        task_ids = inputs["task_id"]
        predicted = answers = torch.full_like(task_ids, -1)
        with torch.no_grad(), self.compute_loss_context_manager():
            loss = self.compute_loss(model, inputs).mean().detach() if "labels" in inputs else None
            if "choice_ids" in inputs:
                ctr_model = self._plain_model()
                with whole_codebook(ctr_model.task_codebook):
                    scores = ctr_model.choice_log_likelihoods(
                        inputs["input_ids"], inputs["choice_ids"], inputs.get("attention_mask"), task_id=task_ids
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
        by_task = {f"accuracy_{self.task_names[i]}": float(correct[task_ids == i].mean()) for i in np.unique(task_ids)}
        return {"accuracy": float(np.mean(list(by_task.values()))), **by_task}

    # ------------------------------------------------------------------------------------- saving and loading

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        if is_quantized(self.model):
            load_codebook(self.model, resume_from_checkpoint)
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_best_model(self) -> None:
        if is_quantized(self.model):
            self._load_from_checkpoint(self.state.best_model_checkpoint)
        else:
            super()._load_best_model()

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """As in transformers, with the codes of all tasks beside the weights, in `task_codes.json`."""
        if self.state.global_step:
            config = self._plain_model().config
            config.training_stages = [*self._earlier_stages, get_stage_record(self, config.num_tasks)]
        super().save_model(output_dir, _internal_call)
        model = self._plain_model()
        with whole_codebook(model.task_codebook):
            self._saved_codes = model.task_codes()
            if self.args.should_save:
                # Not asked of the model again: under ZeRO-3 all processes would have to.
                path = Path(output_dir or self.args.output_dir) / TASK_CODES_NAME
                write_task_codes(model.config, self._saved_codes, path)

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
            results: Scores of held-out tasks, e.g. from [`make_eval_result`].
        """
        if not self.is_world_process_zero():
            return
        evaluations = (logs for logs in reversed(self.state.log_history) if "eval_accuracy" in logs)
        prefix = "eval_accuracy_"
        write_model_card(
            self._plain_model(),
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
            task_codes=self._saved_codes,
        )
