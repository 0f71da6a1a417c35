"""Training of CTR models in two stages."""

from trainers.ctr_trainer import TASK_CODES_NAME, CTRTrainer, freeze_for_stage, write_task_codes
from trainers.training_args import CTRTrainingArguments

__all__ = ["TASK_CODES_NAME", "CTRTrainer", "CTRTrainingArguments", "freeze_for_stage", "write_task_codes"]
