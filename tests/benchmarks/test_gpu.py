"""The script of what waits for a GPU asks for what its benchmarks take, and goes on where it was broken off."""

import argparse
import importlib
import json
import os
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
# Stands where the interpreter does: notes its arguments, writes what `--output`, the last flag, names, but for one part.
INTERPRETER = """#!/usr/bin/env bash
printf '%s\\n' "$*" >> "{calls}"
case "$*" in *'{fails}'*) exit 1;; esac
if [ "$1" != -c ]; then echo '{{}}' > "${{@: -1}}"; fi
"""


@pytest.fixture
def run_script(tmp_path):
    def run(fails: str = "no part", **environment: str) -> tuple[int, list[list[str]]]:
        calls, interpreter = tmp_path / "calls", tmp_path / "interpreter"
        calls.write_text("")
        interpreter.write_text(INTERPRETER.format(calls=calls, fails=fails))
        interpreter.chmod(0o755)
        kept = {name: value for name, value in os.environ.items() if name != "TINY"}
        done = subprocess.run(
            ["bash", REPOSITORY / "benchmarks/gpu.sh", tmp_path / "out"],
            env=kept | {"PYTHON": str(interpreter)} | environment,
            capture_output=True,
        )
        lines = [line.split() for line in calls.read_text().splitlines()]
        return done.returncode, [line for line in lines if line[0] != "-c"]

    return run


@pytest.mark.parametrize("environment", [{}, {"TINY": "1"}])
def test_the_benchmarks_take_the_flags(run_script, monkeypatch, environment):
    status, commands = run_script(**environment)
    assert status == 0 and len(commands) == 7
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    parse, parsed = argparse.ArgumentParser.parse_args, []

    class ParsedError(Exception):
        pass

    def parse_and_stop(parser, argv=None, namespace=None):
        parsed.append(parse(parser, argv, namespace))
        raise ParsedError

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_and_stop)
    for script, *flags in commands:
        module = importlib.import_module(Path(script).stem)
        monkeypatch.setattr("sys.argv", [script, *flags])
        with pytest.raises(ParsedError):
            module.main()
    assert {args.device for args in parsed} == {"cpu" if environment else "cuda"}


def test_what_is_there_is_skipped_and_what_failed_is_run_again(run_script, tmp_path):
    status, commands = run_script(fails="predict_throughput", TINY="1")
    assert status == 1 and len(commands) == 7
    assert not list(tmp_path.glob("out/predict_throughput.json"))
    status, commands = run_script(TINY="1")
    assert status == 0 and [Path(command[0]).stem for command in commands] == ["predict_throughput"]
    made = sorted(path.stem for path in tmp_path.glob("out/*.json"))
    assert len(made) == 7 and all(json.loads((tmp_path / f"out/{name}.json").read_text()) == {} for name in made)


def test_without_a_gpu_it_says_so(run_script):
    assert run_script(fails="cuda.is_available")[0] == 2
