"""What a user sees when a command ends by an error."""

import configparser
import errno
import subprocess
import sys

import pytest

import run_ctr
from command_line import errors
from command_line.errors import FlagError, run_command
from modeling_ctr.hub_errors import loading_errors
from tasks import DataError, load_tasks
from trainers import CTRTrainingArguments


def failing(error):
    def main():
        raise error

    return main


@pytest.mark.parametrize(
    ("main", "code", "line"),
    [
        (lambda: CTRTrainingArguments("out", stage=3, use_cpu=True), 1, "Error: `stage` must be 1 or 2, but is 3."),
        (lambda: load_tasks("no/such"), 1, "Error: There are no template files (*.yaml) at no/such."),
        (lambda: loading_errors("no/such/folder"), 1, "Error: There is no folder 'no/such/folder', and nothing on"),
        (failing(FlagError("`--stage` is\n missing.")), 2, "Error: `--stage` is missing."),
        (failing(DataError("No rows.")), 1, "Error: No rows."),  # as from a worker process
        (
            failing(OSError(errno.ENOSPC, "No space left on device", "x")),
            1,
            "Error: [Errno 28] No space left on device",
        ),
        (failing(KeyboardInterrupt()), 130, "Interrupted; the same command goes on where this one stopped."),
    ],
)
def test_messages_are_one_line(main, code, line, capsys, monkeypatch):
    assert run_command(main) == code
    printed = capsys.readouterr().err
    assert printed.startswith(line) and printed.count("\n") == 1
    monkeypatch.setenv("TASK_CODES_DEBUG", "1")
    with pytest.raises((Exception, KeyboardInterrupt)):
        run_command(main)


@pytest.mark.parametrize(
    "main",
    [
        lambda: errors.os.environ["no such variable"],
        lambda: int("a fault of ours"),
        lambda: CTRTrainingArguments("out", optim="no such optimizer", use_cpu=True, report_to="none"),
        failing(OSError(errno.EIO, "the disk is broken")),
        failing(RuntimeError("raised by a test, which is no part of the project")),
    ],
)
def test_faults_keep_their_traceback(main):
    with pytest.raises((KeyError, ValueError, AttributeError, OSError, RuntimeError)):
        run_command(main)


def test_success_is_silent(capsys):
    assert run_command(lambda: None) == 0
    assert capsys.readouterr() == ("", "")


def test_all_packages_of_the_project_are_known(request):
    setup = configparser.ConfigParser()
    setup.read(request.config.rootpath / "setup.cfg")
    packages = {name.partition(".")[0] for name in setup["options"]["packages"].split()}
    assert packages | set(setup["options"]["py_modules"].split()) <= errors.OUR_PACKAGES


HELP = """
import runpy, sys
sys.argv = ["run_ctr.py", "--help"]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as end:
    assert not end.code
# peft is imported by transformers' own arguments, and scikit-learn by its generation before 5.18.
large = {"matplotlib", "evaluate", "nltk", "gradio"}
if not hasattr(sys.modules["transformers.generation.candidate_generator"], "roc_curve"):
    large.add("sklearn")
print(sorted(sys.modules.keys() & large), file=sys.stderr)
"""


def test_help_is_complete_and_imports_little(request):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", HELP], capture_output=True, text=True, cwd=request.config.rootpath
    )
    assert done.stderr == "[]\n"
    for flag in ("--do_predict", "--train_file", "--max_search_seconds", "--do_lora", "--stage", "--learning_rate"):
        assert flag in done.stdout


def test_wrong_flags_are_one_line(capsys):
    assert run_command(lambda: run_ctr.main(["--num_shot", "8"])) == 2
    assert capsys.readouterr() == ("", "Error: There is no flag `--num_shot`; did you mean `--num_shots`?\n")
