"""What the documentation shows is run, with a tiny model and rows of its own in place of real ones."""

import json
import os
import random
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import T5ForConditionalGeneration

REPOSITORY = Path(__file__).resolve().parents[1]


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of one language of a page."""
    return re.findall(rf"^```{language}\n(.*?)^```", (REPOSITORY / page).read_text(), re.MULTILINE | re.DOTALL)


def test_the_command_reference_is_that_of_the_code():
    made = subprocess.run(
        [sys.executable, "-c", "from make_commands import commands; print(commands(), end='')"],
        cwd=REPOSITORY / "docs",
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (REPOSITORY / "docs/commands.md").read_text() == made.stdout, "run `python docs/make_commands.py`"


@pytest.mark.slow
def test_quickstart(tmp_path, tiny_t5_config, tiny_tokenizer):
    """Its second half trains the model that the first half searches with, so it is run first."""
    torch.manual_seed(0)
    T5ForConditionalGeneration(tiny_t5_config()).save_pretrained(tmp_path / "lm")
    tiny_tokenizer.save_pretrained(tmp_path / "lm")
    draw = random.Random(0)
    write_rows(tmp_path / "reviews" / "train.csv", 60, draw)
    write_rows(tmp_path / "reviews" / "dev.csv", 20, draw)
    (template,) = blocks("docs/quickstart.md", "yaml")
    (tmp_path / "reviews" / "reviews.yaml").write_text(template)
    for name in ("ag_news", "trec", "glue/mrpc", "rotten_tomatoes"):
        write_training_rows(tmp_path / "data" / name.replace("/", "_") / "train.jsonl", name)

    searches, unlabelled, training = blocks("docs/quickstart.md", "bash")
    for command in (*training.split("\npython"), searches, unlabelled):
        run("python " + command.strip().removeprefix("python"), tmp_path)
    (snippet,) = blocks("docs/quickstart.md", "python")
    out = execute([sys.executable, "-c", snippet], tmp_path)
    assert out.startswith("[") and out.strip().endswith("]")
    assert (tmp_path / "out" / "reviews" / "report.md").is_file()


def run(command: str, folder: Path) -> None:
    """A command of the page, on a tiny model, with fewer steps."""
    words = shlex.split(command.replace("google/t5-small-lm-adapt", "lm").replace("\\\n", " "))
    assert words[:2] == ["python", "run_ctr.py"]
    words[:2] = [sys.executable, str(REPOSITORY / "run_ctr.py")]
    if "--max_steps" in words:
        words[words.index("--max_steps") + 1] = "3"
    execute([*words, "--data_dir", "data", "--report_to", "none", "--use_cpu", "True", "--search_epochs", "1"], folder)


def execute(words: list[str], folder: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hf")}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def write_rows(path: Path, count: int, draw: random.Random) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        f"w{draw.randrange(3, 64)} w{draw.randrange(3, 64)} w{draw.randrange(3, 64)},{i % 2}" for i in range(count)
    ]
    path.write_text("text,label\n" + "\n".join(rows) + "\n")


def write_training_rows(path: Path, name: str) -> None:
    """Rows with all the columns that the shipped templates of these data sets use."""
    path.parent.mkdir(parents=True)
    rows = [
        {
            "text": f"w{3 + i} w9",
            "sentence1": f"w{3 + i}",
            "sentence2": "w7",
            "label": i % 2,
            "label_coarse": i % 6,
            "coarse_label": i % 6,
        }
        for i in range(40)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
