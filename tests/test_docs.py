"""What the documentation shows is run, with a tiny model and rows of its own in place of real ones."""

import importlib.util
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
from peft import PeftModel
from transformers import AutoConfig, T5ForConditionalGeneration

import run_ctr
from codebook_report.__main__ import main as codebook_report
from modeling_ctr import CTRForConditionalGeneration

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


def test_the_picture_is_that_of_its_script():
    spec = importlib.util.spec_from_file_location("make_picture", REPOSITORY / "docs/make_picture.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert (REPOSITORY / "docs/idea.svg").read_text() == script.draw_picture(), "run `python docs/make_picture.py`"


@pytest.fixture
def folder(tmp_path, tiny_t5_config, tiny_tokenizer, monkeypatch) -> Path:
    """The current folder: a tiny language model in `lm`, data sets in `data`, a task of the reader's in `reviews`."""
    torch.manual_seed(0)
    T5ForConditionalGeneration(tiny_t5_config()).save_pretrained(tmp_path / "lm")
    tiny_tokenizer.save_pretrained(tmp_path / "lm")
    draw = random.Random(0)
    write_rows(tmp_path / "reviews" / "train.csv", 60, draw)
    write_rows(tmp_path / "reviews" / "dev.csv", 20, draw)
    for name in ("ag_news", "trec", "glue/mrpc", "rotten_tomatoes", "super_glue/rte"):
        for split, word in (("train", "w9"), ("validation", "w10")):
            write_known_rows(tmp_path / "data" / name.replace("/", "_") / f"{split}.jsonl", word)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_quickstart(folder):
    """Its second half trains the model that the first half searches with, so it is run first."""
    (template,) = blocks("docs/quickstart.md", "yaml")
    (folder / "reviews" / "reviews.yaml").write_text(template)
    search, unlabelled, training = blocks("docs/quickstart.md", "bash")
    for command in (*commands(training), *commands(search), *commands(unlabelled)):
        run(command)
    (snippet,) = blocks("docs/quickstart.md", "python")
    out = execute([sys.executable, "-c", snippet], folder)
    assert out.startswith("[") and out.strip().endswith("]")
    assert (folder / "out" / "reviews" / "report.md").is_file()


@pytest.mark.slow
def test_python(folder):
    names = {}
    for block in blocks("docs/python.md", "python"):
        exec(block.replace("google/t5-small-lm-adapt", "lm"), names)
    assert (folder / "out" / "stage2" / "task_codes.json").is_file()
    # What the page says of the rest.
    merged, code = CTRForConditionalGeneration.from_pretrained("out/merged"), names["code"]
    assert merged.get_task_code("capital").tolist() == names["merged"].get_task_code("capital").tolist()
    assert PeftModel.from_pretrained(merged, "out/adapter").task_names == ["capital", "opposite"]
    inputs = {**names["inputs"], "task_code": code.repeat(2, 1), "decoder_input_ids": torch.tensor([[0, 5], [0, 6]])}
    exported = torch.export.export(merged, (), inputs | {"use_cache": False})
    assert torch.equal(exported.module()(**inputs, use_cache=False).logits, merged(**inputs).logits)


@pytest.mark.slow
def test_readme_and_codes(folder):
    """The README in its order, except that its first Python block uses the model that the commands train."""
    make, ours, rivals, own_task, share, install = blocks("README.md", "bash")
    for command in (*commands(ours), *commands(rivals)):
        run(command)
    assert "Bitwise Search" in (folder / "out" / "compared" / "report.md").read_text()

    (template,) = blocks("README.md", "yaml")
    (folder / "reviews").rename(folder / "my_tasks")
    (folder / "my_tasks" / "reviews.yaml").write_text(template)
    (command,) = commands(own_task)
    run(command)

    use, pieces = blocks("README.md", "python")
    names = {
        "names": ["one", "another"],
        "batch": {"input_ids": torch.tensor([[5, 6, 1]])},
        "ids": torch.tensor([1]),
        "labels": torch.tensor([[7, 1]]),
        "inputs": {"input_ids": torch.tensor([[5, 6, 1]])},
        "code": list(range(10)),
        "vectors": torch.zeros(10, AutoConfig.from_pretrained("lm").d_model),
        "examples": [{"input_ids": [i, 6, 1], "choice_ids": [[7, 1], [8, 1]], "answer": i % 2} for i in range(4, 10)],
    }
    exec(use.replace("google/t5-large-lm-adapt", "lm"), names)
    assert names["model"].task_names[-2:] == ["rte", "rte, tuned"]
    exec(pieces, names)
    assert len(names["found"].code) == len(names["voted"].code) == 10 and names["found"].trace

    report, app, push, space = commands(share)  # for the app see test_app.py, for the last two tests/hub
    assert "app.py" in app and "--push_to_hub" in push and "playground.space" in space
    codebook_report(shlex.split(report.replace("out/demo/seed_0/stage2", "out/stage2"))[3:])
    assert (folder / "out" / "codebook" / "codebook.html").is_file()

    report, *_ = blocks("docs/codes.md", "bash")
    (attributes,) = blocks("docs/codes.md", "json")
    (folder / "attributes.json").write_text(attributes)
    codebook_report(shlex.split(report.replace("out/ctr", "out/rte"))[3:] + ["--attributes", "attributes.json"])
    known = set(CTRForConditionalGeneration.from_pretrained("out/rte").task_names)
    assert set(json.loads(attributes)) <= known


def commands(block: str) -> list[str]:
    """The commands of a block of shell lines, comments left out."""
    lines = block.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := line.split("#")[0].strip())]


def run(command: str) -> None:
    """A command of a page, on a tiny model, with few steps."""
    words = shlex.split(re.sub(r"google/t5-\S+", "lm", command))
    assert words[:2] == ["python", "run_ctr.py"]
    few = {"data_dir": "data", "report_to": "none", "use_cpu": True, "search_epochs": 1, "tuning_steps": 1}
    few |= {"max_steps": 3, "num_shots": 8, "num_unlabelled": 8, "few_shot_seeds": 1}
    run_ctr.main([*words[2:], *(text for name, value in few.items() for text in (f"--{name}", str(value)))])


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


def write_known_rows(path: Path, word: str) -> None:
    """Rows, each with that word, with all the columns that the shipped templates of these data sets use."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "text": f"w{3 + i} {word}",
            "sentence1": f"w{3 + i}",
            "sentence2": word,
            "premise": f"w{3 + i}",
            "hypothesis": word,
            "label": i % 2,
            "label_coarse": i % 6,
            "coarse_label": i % 6,
        }
        for i in range(40)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
