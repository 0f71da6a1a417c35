"""Which checkpoint to go on from, after a run was killed, perhaps while it was writing one."""

import json
import re
import zipfile
from pathlib import Path

from safetensors import SafetensorError, safe_open
from transformers.utils import logging

logger = logging.get_logger(__name__)

# The Trainer writes this file last.
TRAINER_STATE_NAME = "trainer_state.json"
WEIGHT_INDEX_NAME = "model.safetensors.index.json"


def find_whole_checkpoint(output_dir: str | Path) -> Path | None:
    """Return the newest checkpoint in `output_dir` from which training can go on, or None.

    Newer ones that are not whole are left where they are, and a warning says what is wrong with each.
    """
    steps = {}
    if Path(output_dir).is_dir():
        for path in Path(output_dir).iterdir():
            if match := re.fullmatch(r"checkpoint-(\d+)", path.name):
                steps[int(match[1])] = path
    for _, path in sorted(steps.items(), reverse=True):
        problem = describe_problem(path)
        if problem is None:
            return path
        logger.warning(f"The checkpoint '{path}' is not whole ({problem}); looking for an older one.")
    return None


def describe_problem(checkpoint: str | Path) -> str | None:
    """Say what keeps training from going on from a checkpoint, or None; from headers and sizes, not from every byte."""
    checkpoint = Path(checkpoint)
    try:
        json.loads((checkpoint / TRAINER_STATE_NAME).read_text(encoding="utf-8"))
        index = checkpoint / WEIGHT_INDEX_NAME
        if index.exists():
            for name in set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()):
                if not (checkpoint / name).exists():
                    return f"{name} is missing"
    except FileNotFoundError:
        return f"{TRAINER_STATE_NAME} is missing"
    except ValueError as error:
        return f"a JSON file cannot be read: {error}"

    def has(*patterns: str) -> bool:
        return any(any(checkpoint.glob(pattern)) for pattern in patterns)

    # DeepSpeed keeps the optimizer under global_step<n>, FSDP in optimizer.bin or optimizer_0.
    for what, patterns in {
        "the weights": ("*.safetensors", "pytorch_model_fsdp*"),
        "the optimizer's state": ("optimizer.pt", "optimizer.bin", "optimizer_*", "global_step*"),
        "the state of random numbers": ("rng_state*.pth",),
    }.items():
        if not has(*patterns):
            return f"{what} is missing"
    if not has("scheduler.pt", "global_step*"):
        return "scheduler.pt is missing"

    for path in sorted(checkpoint.rglob("*")):
        if path.suffix == ".safetensors":
            try:
                with safe_open(path, framework="pt"):  # compares the header with the file's size
                    pass
            except SafetensorError:
                return f"{path.name} is truncated or damaged"
        elif path.suffix in (".pt", ".pth", ".bin") and not zipfile.is_zipfile(path):  # looks at the end of the file
            return f"{path.name} is truncated or damaged"
    return None


def needs_universal_form(checkpoint: str | Path, num_processes: int, zero_stage: int) -> bool:
    """Tell whether DeepSpeed needs the universal form of a checkpoint, which it split for another number of processes.

    DeepSpeed's `ds_to_universal` makes that form. Not used under ZeRO-3: DeepSpeed 0.19.8 then gives the learning rate
    and the weight decay of the first group of parameters to all, without a word.

    Args:
        num_processes: Number of processes that go on from it with DeepSpeed; 0 without DeepSpeed.
        zero_stage: Stage of DeepSpeed's ZeRO.

    Raises:
        ValueError: It has other parts than processes, and no universal form that can be used.
    """
    parts = len(list(Path(checkpoint).glob("global_step*/*optim_states.pt")))
    if parts in (0, num_processes):
        return False
    convertible = num_processes and zero_stage < 3
    if convertible and (Path(checkpoint) / "latest_universal").is_file():  # written last
        return True
    now = f"DeepSpeed and {num_processes}" if num_processes else "another engine"
    convert = ", convert it as examples/scaling/README.md says" if convertible else ""
    raise ValueError(
        f"The checkpoint '{checkpoint}' was written by DeepSpeed with {parts} process(es), whose parts of the "
        f"optimizer do not fit {now}: use DeepSpeed with {parts}{convert}, or start a new run from its "
        "weights with `--model_name_or_path`."
    )
