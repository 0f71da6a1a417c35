import re
from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file

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
