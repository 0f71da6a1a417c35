"""Training of CTR models in two stages, and of the language model that they are compared with."""

from trainers.ctr_trainer import CTRTrainer
from trainers.multitask_trainer import MultitaskTrainer
from trainers.optimization import freeze_for_stage
from trainers.task_codes_file import TASK_CODES_NAME, write_task_codes
from trainers.training_args import CTRTrainingArguments

__all__ = [
    "TASK_CODES_NAME",
    "CTRTrainer",
    "CTRTrainingArguments",
    "MultitaskTrainer",
    "freeze_for_stage",
    "write_task_codes",
]
