import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from modeling_ctr import CTRForConditionalGeneration
from trainers.checkpoints import describe_problem, find_whole_checkpoint, needs_universal_form

TESTS = Path(__file__).parent


@pytest.fixture
def start(mixture, tmp_path) -> Callable[..., subprocess.Popen]:
    """`start(model, arguments, *prefix, **run)`: a process, behind the words of `prefix`, that resumes a run if it can."""

    def start(model: CTRForConditionalGeneration, arguments: dict, *prefix: str, **run) -> subprocess.Popen:
        file = tmp_path / "runs.json"
        if not file.exists():
            model.save_pretrained(tmp_path / "model")
            mixture.save_to_disk(tmp_path / "data")
        where = {"model": str(tmp_path / "model"), "data": str(tmp_path / "data")}
        file.write_text(json.dumps([where | {"arguments": arguments, "resume": True} | run]))
        environment = os.environ | {"PYTHONPATH": str(TESTS.parents[1]), "OMP_NUM_THREADS": "1"}
        command = [*prefix, sys.executable, str(TESTS / "train_process.py"), str(file)]
        return subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
        )

    return start


def test_only_whole_checkpoints_are_gone_on_from(build, train, tmp_path, caplog):
    run = tmp_path / "run"
    train(build(), output_dir=str(run), stage=1, max_steps=12, save_strategy="steps", save_steps=4)
    assert find_whole_checkpoint(run) == run / "checkpoint-12"  # which comes before 4 in the alphabet
    for name in ("trainer_state.json", "optimizer.pt", "scheduler.pt", "rng_state.pth", "model.safetensors"):
        shutil.copytree(run, tmp_path / name)
        file = tmp_path / name / "checkpoint-12" / name
        os.truncate(file, file.stat().st_size // 2)
        assert find_whole_checkpoint(tmp_path / name) == tmp_path / name / "checkpoint-8"
        file.unlink()
        assert "missing" in describe_problem(file.parent)
        assert find_whole_checkpoint(tmp_path / name) == tmp_path / name / "checkpoint-8"
    assert "checkpoint-12' is not whole (rng_state.pth is truncated or damaged)" in caplog.text


def test_nothing_to_go_on_from(tmp_path):
    (tmp_path / "checkpoint-3").mkdir()
    (tmp_path / "checkpoints-of-mine").mkdir()
    assert find_whole_checkpoint(tmp_path) is None
    assert find_whole_checkpoint(tmp_path / "absent") is None


def test_resuming_without_a_whole_checkpoint_starts_at_the_beginning(build, train, tmp_path, caplog):
    (tmp_path / "checkpoint-3").mkdir()
    trainer = train(build(), True, output_dir=str(tmp_path), stage=1, max_steps=2)
    assert trainer.state.global_step == 2
    assert "No whole checkpoint" in caplog.text and "starts at the beginning" in caplog.text


def test_deepspeed_checkpoints_of_another_number_of_processes(tmp_path):
    assert not needs_universal_form(tmp_path, 0, 0)  # another engine's
    (tmp_path / "global_step4").mkdir()
    for rank in range(2):
        (tmp_path / "global_step4" / f"bf16_zero_pp_rank_{rank}_mp_rank_00_optim_states.pt").touch()
    assert not needs_universal_form(tmp_path, 2, 3)
    refused = r"by DeepSpeed with 2 process.*do not fit DeepSpeed and 4: use DeepSpeed with 2"
    with pytest.raises(ValueError, match=refused + ", convert it as examples/scaling/README.md says, or start"):
        needs_universal_form(tmp_path, 4, 2)
    (tmp_path / "latest_universal").write_text("global_step4_universal")
    assert needs_universal_form(tmp_path, 4, 2) and not needs_universal_form(tmp_path, 2, 2)
    with pytest.raises(ValueError, match=refused + ", or start a new run"):
        needs_universal_form(tmp_path, 4, 3)
    with pytest.raises(ValueError, match="do not fit another engine"):
        needs_universal_form(tmp_path, 0, 0)


def test_full_disk_is_said_and_leaves_the_previous_checkpoint(build, train, tmp_path):
    settings = {"output_dir": str(tmp_path), "stage": 1, "save_strategy": "steps", "save_steps": 4}
    train(build(), max_steps=4, save_total_limit=1, **settings)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))  # as if there were no more room
    try:
        with pytest.raises(
            OSError, match=r"checkpoint of step 8 could not be written.*Earlier checkpoints are untouch"
        ):
            train(build(), True, max_steps=8, save_total_limit=1, **settings)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert find_whole_checkpoint(tmp_path) == tmp_path / "checkpoint-4"


def test_directory_that_cannot_be_written_is_named(build, train, tmp_path):
    (tmp_path / "checkpoint-4").write_text("in the way")
    with pytest.raises(OSError, match=f"checkpoint of step 4 could not be written to '{tmp_path}'"):
        train(build(), output_dir=str(tmp_path), stage=1, save_strategy="steps", save_steps=4)


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() == 0 and shutil.which("setpriv") is None, reason="root may write everywhere")
def test_read_only_directory_is_said_and_leaves_the_previous_checkpoint(build, train, start, tmp_path):
    run = tmp_path / "run"
    settings = {"output_dir": str(run), "stage": 1, "save_strategy": "steps", "save_steps": 4, "report_to": "none"}
    train(build(), max_steps=4, **settings)
    without_power = ["setpriv", "--bounding-set", "-dac_override"] if os.geteuid() == 0 else []
    run.chmod(0o555)
    process = start(build(), settings | {"max_steps": 8, "use_cpu": True}, *without_power)
    _, errors = process.communicate(timeout=600)
    run.chmod(0o755)
    assert process.returncode == 1
    assert f"OSError: The checkpoint of step 8 could not be written to '{run}'" in errors
    assert find_whole_checkpoint(run) == run / "checkpoint-4"


class Spoil(TrainerCallback):
    """Makes the model much worse after four steps."""

    def on_step_begin(self, args, state, control, model=None, **kwargs):
        if state.global_step == 4:
            model.get_input_embeddings().weight.data.mul_(100)


@pytest.mark.parametrize("metric, best_of", [("lm_loss", min), ("accuracy", max)])
def test_only_as_many_checkpoints_as_asked_and_the_best(build, train, tmp_path, metric, best_of):
    trainer = train(
        build(),
        output_dir=str(tmp_path),
        stage=2,
        learning_rate=0.1,
        eval_strategy="steps",
        eval_steps=2,
        save_strategy="steps",
        save_steps=2,
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model=metric,
        callbacks=[Spoil()],
    )
    entries = {e["step"]: e for e in trainer.state.log_history if "eval_loss" in e}
    best = best_of(entries, key=lambda step: entries[step][f"eval_{metric}"])
    kept = {path.name for path in tmp_path.glob("checkpoint-*")}
    assert best < 8 and kept == {f"checkpoint-{best}", "checkpoint-8"}
    assert trainer.evaluate()["eval_lm_loss"] == pytest.approx(entries[best]["eval_lm_loss"], rel=1e-5)


@pytest.mark.slow
def test_killed_again_and_again_it_ends_bit_identical(build, train, start, tmp_path):
    settings = {
        "stage": 2,
        "max_steps": 30,  # 12 steps an epoch
        "save_strategy": "steps",
        "save_steps": 3,
        "save_total_limit": 2,
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
    }
    run = tmp_path / "killed"
    resume = partial(start, build(dropout=0.1), settings | {"output_dir": str(run)})

    def interrupt(number: int, after: int) -> tuple[int, str]:
        """Send a signal once `after` steps are reported."""
        process = resume()
        while after and (line := process.stdout.readline()):
            after -= line.startswith("step")
        process.send_signal(number)
        _, errors = process.communicate(timeout=600)
        return process.returncode, errors

    code, errors = interrupt(signal.SIGKILL, after=4)
    assert code == -signal.SIGKILL and "starts at the beginning" in errors
    for name in ("optimizer.pt", "rng_state.pth"):
        process = resume(die_writing=name)
        _, errors = process.communicate(timeout=600)
        assert process.returncode == -signal.SIGKILL
    assert "is not whole (trainer_state.json is missing)" in errors and "Training goes on from" in errors
    code, errors = interrupt(signal.SIGTERM, after=5)
    assert code == 143 and "SIGTERM received: saving after step" in errors
    stopped_at = int(errors.split("saving after step ")[1].split(",")[0])
    assert find_whole_checkpoint(run) == run / f"checkpoint-{stopped_at}"
    process = resume()
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0 and f"checkpoint-{stopped_at}'" in errors

    torch.set_num_threads(1)
    whole = CTRForConditionalGeneration.from_pretrained(tmp_path / "model")
    train(whole, **settings | {"output_dir": str(tmp_path / "whole")})
    final = load_file(run / "checkpoint-30" / "model.safetensors")
    assert all(torch.equal(final[name], tensor) for name, tensor in whole.state_dict().items() if name in final)
    assert json.loads((run / "result.json").read_text())["log"][-1]["step"] == 30
