"""Several processes train the model that one trains, whatever engine splits the work, and can go on from each other's
checkpoints. The processes are real ones, on the CPU, with gloo."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from modeling_ctr import CTRForConditionalGeneration
from trainers.checkpoints import find_whole_checkpoint

TESTS = Path(__file__).parent
REPOSITORY = TESTS.parents[1]
# Sums are made in another order. Epsilon keeps AdamW from blowing that up where gradients vanish.
TOLERANCE = 2e-6
TUNED = "another/tuned"  # a prompt that the model has beside its codes; training leaves it as it is
SETTINGS = {
    "stage": 2,
    "learning_rate": 0.01,
    "adam_epsilon": 0.001,
    "max_steps": 8,
    "logging_steps": 2,
    "save_strategy": "steps",
    "save_steps": 4,
    "report_to": "none",
    "disable_tqdm": True,
}
FSDP = {"fsdp": True, "fsdp_config": {"transformer_layer_cls_to_wrap": ["T5Block"], "activation_checkpointing": True}}
# Two processes and two accumulation steps: a quarter of the 160 tokens of one process.
TOKENS = {"per_device_train_tokens": 40, "gradient_accumulation_steps": 2}

pytestmark = pytest.mark.slow


def zero(stage: int) -> dict:
    """DeepSpeed settings that leave everything else to the training arguments."""
    names = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "gradient_clipping")
    optimization = {"stage": stage, "stage3_gather_16bit_weights_on_model_save": True}
    return {
        "deepspeed": {
            "zero_optimization": optimization,
            "zero_allow_untested_optimizer": True,
            **dict.fromkeys(names, "auto"),
        }
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("processes")


@pytest.fixture
def launch(folder, mixture, build) -> Callable[..., None]:
    """`launch(processes, {name: arguments or (arguments, checkpoint)})`: runs end in `folder / name`.

    `model` is another folder than `folder / "model"`. With `die_writing`, the end of a file's path, a process kills
    itself in the midst of it.
    """
    if not (folder / "model").exists():
        model = build()
        model.add_tuned_task(TUNED, torch.randn(model.config.code_length, model.config.text_config.hidden_size))
        model.save_pretrained(folder / "model")
        mixture.save_to_disk(folder / "data")

    def launch(
        processes: int,
        runs: dict[str, dict | tuple[dict, Path | bool]],
        model: Path = folder / "model",
        die_writing: str | None = None,
    ) -> None:
        listed = []
        for name, run in runs.items():
            arguments, checkpoint = run if isinstance(run, tuple) else (run, None)
            on_cpu = {} if "fsdp" in arguments or "deepspeed" in arguments else {"use_cpu": True}
            listed.append(
                {
                    "model": str(model),
                    "data": str(folder / "data"),
                    "arguments": SETTINGS | on_cpu | arguments | {"output_dir": str(folder / name)},
                    "resume": str(checkpoint) if isinstance(checkpoint, Path) else checkpoint,
                    "die_writing": die_writing,
                }
            )
        (folder / "runs.json").write_text(json.dumps(listed))
        done = subprocess.run(
            [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
            + [str(TESTS / "train_process.py"), str(folder / "runs.json")],
            env=os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"},
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert (done.returncode == 0) == (die_writing is None), done.stdout + done.stderr

    return launch


@pytest.fixture
def one(folder, launch) -> Path:
    """What one process with the whole batch makes of the model; beside it, in `one-tokens`, with batches by tokens."""
    if not (folder / "one").exists():
        launch(1, {"one": {"per_device_train_batch_size": 8}, "one-tokens": {"per_device_train_tokens": 160}})
    return folder / "one"


def last_losses(result: dict) -> dict[str, float]:
    return [entry for entry in result["log"] if "loss" in entry][-1]


def assert_same_run(one: Path, other: Path, processes: int) -> None:
    """Weights, logged losses, codebook statistics and accuracies are those of the one process."""
    result, expected = (json.loads((run / "result.json").read_text()) for run in (other, one))
    assert result["processes"] == processes
    weights, expected_weights = load_file(other / "model.safetensors"), load_file(one / "model.safetensors")
    assert set(weights) == set(expected_weights)
    difference = max((weights[name] - expected_weights[name]).abs().max().item() for name in weights)
    assert difference < TOLERANCE
    start = load_file(one.parent / "model" / "model.safetensors")
    assert max((weights[name] - start[name]).abs().max().item() for name in weights) > 1000 * TOLERANCE
    assert [torch.equal(weights[name], start[name]) for name in weights if "tuned_prompts" in name] == [True]
    for entry, expected_entry in (
        (result["metrics"], expected["metrics"]),
        (last_losses(result), last_losses(expected)),
    ):
        # A process pads its own rows only; changes of codes are not known right after resuming.
        for name in set(expected_entry) - {"padding_share", "memory_gib", "codes_changed"}:
            if "runtime" not in name and "per_second" not in name:
                assert entry[name] == pytest.approx(expected_entry[name], rel=1e-4), name
    assert {"eval_accuracy_same", "eval_vq_loss"} <= set(result["metrics"])
    # loads where there is nothing but the files
    model = CTRForConditionalGeneration.from_pretrained(other)
    codes = json.loads((other / "task_codes.json").read_text())
    assert [codes[name] for name in model.config.task_names] == model.task_codes().tolist()
    assert (other / "modeling_ctr.py").exists() and not list(other.glob("_fsdp*"))
    assert model.config.architectures == ["CTRForConditionalGeneration"]


def test_two_processes_train_as_one(one, launch, folder):
    runs = {
        "ddp": {"per_device_train_batch_size": 4},
        "ddp-accumulated": {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2},
        "ddp-resumed": ({"per_device_train_batch_size": 4}, one / "checkpoint-4"),
    }
    launch(2, runs | {"ddp-tokens": {"per_device_train_tokens": 80}})
    for name in runs:
        assert_same_run(one, folder / name, processes=2)
    assert_same_run(folder / "one-tokens", folder / "ddp-tokens", processes=2)
    launch(1, {"one-resumed": ({"per_device_train_batch_size": 8}, folder / "ddp" / "checkpoint-4")})
    assert_same_run(one, folder / "one-resumed", processes=1)


def test_two_processes_resume_in_the_second_epoch(launch, folder):
    later = {"per_device_train_batch_size": 8, "max_steps": 16, "save_steps": 14}  # 12 steps an epoch
    launch(1, {"one-later": later})
    launch(2, {"ddp-later": (later | {"per_device_train_batch_size": 4}, folder / "one-later" / "checkpoint-14")})
    assert_same_run(folder / "one-later", folder / "ddp-later", processes=2)


def test_two_processes_of_which_one_is_killed_end_bit_identical(launch, folder, build):
    build(dropout=0.1).save_pretrained(folder / "dropout")
    settings = {"per_device_train_batch_size": 4, "save_steps": 2}
    # The other process has written all that it has to write by then, or waits.
    launch(2, {"killed": settings}, folder / "dropout", die_writing="checkpoint-6/rng_state_1.pth")
    assert find_whole_checkpoint(folder / "killed") == folder / "killed" / "checkpoint-4"
    assert (folder / "killed" / "checkpoint-6" / "optimizer.pt").exists()
    launch(2, {"killed": (settings, True), "whole": settings}, folder / "dropout")
    final, expected = (load_file(folder / name / "model.safetensors") for name in ("killed", "whole"))
    assert all(torch.equal(final[name], expected[name]) for name in expected)


def test_fsdp2_trains_as_one_process(one, launch, folder):
    launch(2, {"fsdp": FSDP | {"per_device_train_batch_size": 4}, "fsdp-tokens": FSDP | TOKENS})
    assert_same_run(one, folder / "fsdp", processes=2)
    assert_same_run(folder / "one-tokens", folder / "fsdp-tokens", processes=2)
    resumed = {
        "fsdp-resumed": (FSDP | {"per_device_train_batch_size": 8}, folder / "fsdp" / "checkpoint-4"),
        "fsdp-tokens-resumed": (FSDP | {"per_device_train_tokens": 160}, folder / "fsdp-tokens" / "checkpoint-4"),
    }
    launch(1, resumed)
    assert_same_run(one, folder / "fsdp-resumed", processes=1)
    assert_same_run(folder / "one-tokens", folder / "fsdp-tokens-resumed", processes=1)


@pytest.mark.skipif(find_spec("deepspeed") is None, reason="DeepSpeed is not installed")
def test_deepspeed_trains_as_one_process(one, launch, folder):
    runs = {f"zero-{stage}": zero(stage) | {"per_device_train_batch_size": 4} for stage in (2, 3)}
    runs["zero-2-tokens"] = zero(2) | TOKENS
    launch(2, runs)
    resumed = {f"{name}-resumed": (settings, folder / name / "checkpoint-4") for name, settings in runs.items()}
    launch(2, resumed)
    for name in runs | resumed:
        assert_same_run(folder / "one-tokens" if "tokens" in name else one, folder / name, processes=2)
    readme = (REPOSITORY / "examples" / "scaling" / "README.md").read_text()
    line = re.search(r"^python -m deepspeed[^\\\n]*\\\n[^\n]*$", readme, re.MULTILINE)[0]
    line = line.replace("out/stage2/checkpoint-500", str(folder / "zero-2" / "checkpoint-4")).replace(
        "step500", "step4"
    )
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "DS_ACCELERATOR": "cpu"}
    subprocess.run(line, shell=True, check=True, capture_output=True, env=environment)
    alone = zero(2) | {
        "per_device_train_batch_size": 8,
        "load_best_model_at_end": True,
        "metric_for_best_model": "loss",
    }
    alone |= {"eval_strategy": "steps", "eval_steps": 4}
    launch(1, {"zero-2-alone": (alone, folder / "zero-2" / "checkpoint-4")})
    assert_same_run(one, folder / "zero-2-alone", processes=1)
    for stage in (2, 3):  # the weights alone can be taken from any checkpoint
        weights, expected = (
            load_file(run / "checkpoint-4" / "model.safetensors") for run in (folder / f"zero-{stage}", one)
        )
        assert max((weights[name] - expected[name]).abs().max().item() for name in expected) < TOLERANCE
