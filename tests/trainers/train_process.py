"""Train in a process of its own, or in several: `train_process.py runs.json`.

The file lists runs, done one after the other. Each names a model directory, a data set directory, training arguments
and the checkpoint to resume from; `die_writing` ends the path of a file in whose midst the process kills itself.
Weights, log and evaluation end up in its `output_dir`.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
from accelerate.state import PartialState
from accelerate.utils import DistributedType
from datasets import load_from_disk
from transformers import TrainerCallback

from modeling_ctr import CTRForConditionalGeneration
from trainers import CTRTrainer, CTRTrainingArguments


def let_engines_run_on_cpus() -> None:
    """accelerate looks at FSDP and DeepSpeed only where it found an accelerator; both also run on CPUs."""
    os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"
    PartialState._prepare_backend = lambda *args, **kwargs: ("gloo", DistributedType.MULTI_GPU)


class Steps(TrainerCallback):
    """Tells the parent process how far training is."""

    def on_step_end(self, args, state, control, **kwargs):
        if args.process_index == 0:
            print(f"step {state.global_step}", flush=True)
            time.sleep(0.02)  # leaves the parent time to interfere


def kill_when_half_written(name: str) -> None:
    save = torch.save

    def half_save(value: Any, path: Any, *args: Any, **kwargs: Any) -> None:
        save(value, path, *args, **kwargs)
        if str(path).endswith(name):
            os.truncate(path, os.path.getsize(path) // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    torch.save = half_save


def run(
    model: str, data: str, arguments: dict[str, Any], resume: str | bool | None, die_writing: str | None = None
) -> None:
    if die_writing is not None:
        kill_when_half_written(die_writing)
    args = CTRTrainingArguments(**arguments)
    rows = load_from_disk(data)
    trainer = CTRTrainer(
        model=CTRForConditionalGeneration.from_pretrained(model),
        args=args,
        train_dataset=rows,
        eval_dataset=rows,
        callbacks=[Steps()],
    )
    trainer.train(resume_from_checkpoint=resume)
    metrics = trainer.evaluate()
    trainer.save_model()
    if trainer.is_world_process_zero():
        result = {"log": trainer.state.log_history, "metrics": metrics, "processes": args.world_size}
        Path(args.output_dir, "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    runs = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(1)
    if any("fsdp" in r["arguments"] or "deepspeed" in r["arguments"] for r in runs):
        let_engines_run_on_cpus()
    for settings in runs:
        run(**settings)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
