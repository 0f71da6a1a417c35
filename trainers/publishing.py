"""What a trainer pushes of its output folder: the files of the model by name, and nothing else that lies there."""

import json
import shutil
from collections.abc import Sequence
from inspect import getfile
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from peft.utils import CONFIG_NAME as ADAPTER_CONFIG_NAME
from peft.utils import SAFETENSORS_WEIGHTS_NAME as ADAPTER_WEIGHTS_NAME
from transformers import PreTrainedConfig, Seq2SeqTrainer
from transformers.trainer import TRAINING_ARGS_NAME
from transformers.trainer_utils import HubStrategy, SaveStrategy
from transformers.utils import CONFIG_NAME, GENERATION_CONFIG_NAME, SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME

from trainers.task_codes_file import TASK_CODES_NAME

MODEL_FILES = {CONFIG_NAME, GENERATION_CONFIG_NAME, SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME, TASK_CODES_NAME}
ADAPTER_FILES = {ADAPTER_CONFIG_NAME, ADAPTER_WEIGHTS_NAME}
TOKENIZER_FILES = {
    "added_tokens.json", "chat_template.jinja", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json",
}  # fmt: skip
FACT_FILES = {"README.md", "train_results.json", "eval_results.json", "all_results.json"}


def list_published_files(folder: str | Path, config: PreTrainedConfig, processing_class: Any = None) -> list[str]:
    """List the names of the files in `folder` that make up a model, sorted: all that a push takes from there.

    Links are left out: what they lead to was put elsewhere for a reason.

    Args:
        config: Model's config; where it comes with Python files of its own, those count.
        processing_class: Tokenizer, whose vocabulary files count.
    """
    folder = Path(folder)
    names = MODEL_FILES | ADAPTER_FILES | TOKENIZER_FILES | FACT_FILES
    names |= set(getattr(processing_class, "vocab_files_names", {}).values())
    if type(config)._auto_class is not None:
        names |= {path.name for path in Path(getfile(type(config))).parent.glob("*.py")}
    index = folder / SAFE_WEIGHTS_INDEX_NAME
    if index.is_file():
        names |= set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    return sorted(name for name in names if (folder / name).is_file() and not (folder / name).is_symlink())


def write_published_files(trainer: Seq2SeqTrainer, tags: str | Sequence[str] | None = None, **card: Any) -> list[str]:
    """Save the model and write its card into the output folder; all processes enter. Returns what a push takes of it."""
    trainer.save_model(_internal_call=True)
    if trainer.is_world_process_zero():
        own_tags = getattr(trainer.model, "model_tags", None) or []
        tags = list(dict.fromkeys([*([tags] if isinstance(tags, str) else tags or []), *own_tags]))
        name = trainer.hub_model_id.split("/")[-1]
        trainer.create_model_card(**{"model_name": name, "tags": tags or None} | card)
    return list_published_files(trainer.args.output_dir, trainer._plain_model().config, trainer.processing_class)


def push_files(
    trainer: Seq2SeqTrainer, names: Sequence[str], message: str, token: str | None, revision: str | None, wait: bool
) -> Any:
    """Push these files of the output folder in one commit, and return it, or its future."""
    return HfApi().upload_folder(
        repo_id=trainer.hub_model_id,
        folder_path=trainer.args.output_dir,
        commit_message=message,
        token=token or trainer.args.hub_token,
        run_as_future=not wait,
        allow_patterns=list(names),
        revision=revision or trainer.args.hub_revision,
    )


def push_checkpoint(trainer: Seq2SeqTrainer, checkpoint: str | Path) -> list[Any]:
    """Push the model of a checkpoint in the background, by way of the output folder, since checkpoints are rotated.

    Returns:
        Futures of the commits; none where `hub_strategy` asks for none, or the push before is not done yet.
    """
    args, output_dir = trainer.args, Path(trainer.args.output_dir)
    busy = trainer.push_in_progress is not None and not trainer.push_in_progress.is_done()
    if args.hub_strategy == HubStrategy.END or (busy and not args.hub_always_push):
        return []
    trainer.callback_handler.on_push_begin(args, trainer.state, trainer.control)
    for name in list_published_files(checkpoint, trainer._plain_model().config, trainer.processing_class):
        shutil.copy(Path(checkpoint) / name, output_dir / name)
    if trainer.processing_class is not None:
        trainer.processing_class.save_pretrained(output_dir)
    by_steps = args.save_strategy == SaveStrategy.STEPS
    now = f"step {trainer.state.global_step}" if by_steps else f"epoch {int(trainer.state.epoch)}"
    message = f"Training in progress, {now}"
    names = list_published_files(output_dir, trainer._plain_model().config, trainer.processing_class)
    jobs = [push_files(trainer, names, message, None, None, wait=False)]
    if args.hub_strategy in (HubStrategy.CHECKPOINT, HubStrategy.ALL_CHECKPOINTS):
        last = args.hub_strategy == HubStrategy.CHECKPOINT
        jobs.append(
            HfApi().upload_folder(
                repo_id=trainer.hub_model_id,
                folder_path=checkpoint,
                path_in_repo="last-checkpoint" if last else Path(checkpoint).name,
                commit_message=f"{message}, checkpoint",
                token=args.hub_token,
                run_as_future=True,
                ignore_patterns=[TRAINING_ARGS_NAME],  # names folders, and nothing reads it
                revision=args.hub_revision,
            )
        )
    return jobs
