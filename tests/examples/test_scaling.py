import re
import shlex
from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from torch.distributed.run import get_args_parser

from run_arguments import parse_arguments

SCALING = Path(__file__).resolve().parents[2] / "examples" / "scaling"


@pytest.mark.parametrize("stage, rate, batch", [(1, 0.01, 2048), (2, 0.0001, 1024)])
def test_recipe_is_the_papers_on_one_gpu_and_on_more(stage, rate, batch):
    readme = (SCALING / "README.md").read_text()
    for gpus, *products in re.findall(r"^\| (\d+) \| (\d+) x (\d+) \| (\d+) x (\d+) \|$", readme, re.MULTILINE):
        per_device, accumulation = products[2 * stage - 2 : 2 * stage]
        flags = ["--gradient_accumulation_steps", accumulation, "--report_to", "none", "--use_cpu", "True"]
        args = parse_arguments([str(SCALING / f"stage{stage}.yaml"), *flags])[-1]
        assert (args.stage, args.learning_rate, args.max_steps, args.bf16) == (stage, rate, 10_000, True)
        assert args.per_device_train_batch_size == int(per_device)
        assert args.per_device_train_batch_size * args.gradient_accumulation_steps * int(gpus) == batch


@pytest.mark.parametrize(
    "name, kind", [("ddp", "MULTI_GPU"), ("fsdp2", "FSDP"), ("zero2", "DEEPSPEED"), ("zero3", "DEEPSPEED")]
)
def test_accelerate_reads_its_configs(name, kind):
    config = load_config_from_file(str(SCALING / f"{name}.yaml"))
    assert str(config.distributed_type).endswith(kind) and config.num_processes == 8
    if kind == "DEEPSPEED":
        assert (SCALING.parents[1] / config.deepspeed_config["deepspeed_config_file"]).exists()


def test_launch_lines_name_files_that_exist():
    text = (SCALING / "README.md").read_text() + (SCALING / "slurm.sh").read_text()
    for path in re.findall(r"examples/scaling/[\w.]+", text):
        assert (SCALING.parents[1] / path).exists(), path


def launch_lines() -> list[str]:
    text = "".join((SCALING / name).read_text().replace("\\\n", " ") for name in ("README.md", "slurm.sh"))
    lines = re.findall(r"^(?:srun )?((?:python|accelerate launch|torchrun) .*run_ctr\.py .*)$", text, re.MULTILINE)
    additions = re.findall(r"^- `(--[^`]+)`", text, re.MULTILINE)
    return [re.sub(" +", " ", line) for line in lines + [f"{lines[0]} {flags}" for flags in additions]]


def test_launch_lines_are_found():
    assert len(launch_lines()) == 11


@pytest.mark.parametrize("line", launch_lines())
def test_launchers_and_flags_are_known(line, monkeypatch):
    monkeypatch.chdir(SCALING.parents[1])
    launcher, *words = shlex.split(line.replace("$", ""))
    if launcher == "accelerate":
        args, default_config, _ = _validate_launch_command(launch_command_parser().parse_args(words[1:]))
        assert args.num_processes == 8 and default_config is not None
        script, flags = args.training_script, args.training_script_args
    elif launcher == "torchrun":
        args = get_args_parser().parse_args([word.replace("SLURM_NNODES", "2") for word in words])
        assert (args.nnodes, args.nproc_per_node) == ("2", "8")
        script, flags = args.training_script, args.training_script_args
    else:
        script, *flags = words
    assert script == "run_ctr.py"
    training = parse_arguments([*flags, "--use_cpu", "True"])[-1]
    assert training.do_train and training.report_to == []
