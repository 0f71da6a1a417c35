"""What the documentation shows is run, with a tiny model and rows of its own in place of real ones."""

import copy
import csv
import importlib.util
import json
import random
import re
import shlex
from pathlib import Path
from types import ModuleType

import pytest
import torch
from peft import PeftModel
from tokenizers import AddedToken
from transformers import AutoTokenizer, LlamaForCausalLM, T5ForConditionalGeneration

import run_ctr
import task_codes
from codebook_report.__main__ import main as codebook_report
from modeling_ctr import CTRForConditionalGeneration
from tasks.scenes import scene_tokenizer

REPOSITORY = Path(__file__).resolve().parents[1]
# What the snippets talk about; of other words the tiny tokenizer knows none.
WORDS = (
    "good",
    "bad",
    "negative",
    "positive",
    "France",
    "Peru",
    "hot",
    "up",
    "Paris",
    "Lima",
    "cold",
    "down",
    "Madrid",
    "Santiago",
)


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of one language of a page."""
    return re.findall(rf"^```{language}\n(.*?)^```", (REPOSITORY / page).read_text(), re.MULTILINE | re.DOTALL)


def test_the_command_reference_is_that_of_the_code():
    made = load_script("docs/make_commands.py").commands()
    assert (REPOSITORY / "docs/commands.md").read_text() == made, "run `python docs/make_commands.py`"


def test_the_picture_is_that_of_its_script():
    drawn = load_script("docs/make_picture.py").draw_picture()
    assert (REPOSITORY / "docs/idea.svg").read_text() == drawn, "run `python docs/make_picture.py`"


@pytest.fixture
def folder(tmp_path, tiny_t5_config, tiny_tokenizer, monkeypatch) -> Path:
    """The current folder: a tiny language model in `lm`, data sets in `data`, tasks of the reader's in `my_tasks` and files."""
    torch.manual_seed(0)
    tokenizer = copy.deepcopy(tiny_tokenizer)
    tokenizer.add_tokens([AddedToken(word, single_word=True) for word in WORDS])
    T5ForConditionalGeneration(tiny_t5_config(vocab_size=len(tokenizer))).save_pretrained(tmp_path / "lm")
    tokenizer.save_pretrained(tmp_path / "lm")
    draw = random.Random(0)
    write_rows(tmp_path / "my_tasks" / "train.csv", 60, draw)
    write_rows(tmp_path / "my_tasks" / "dev.csv", 20, draw)
    write_rows(tmp_path / "reviews.csv", 60, draw, labels=("bad", "good"))
    write_rows(tmp_path / "new.csv", 20, draw, labels=None)
    for name in ("ag_news", "trec", "glue/mrpc", "rotten_tomatoes", "super_glue/rte"):
        for split, word in (("train", "w9"), ("validation", "w10")):
            write_known_rows(tmp_path / "data" / name.replace("/", "_") / f"{split}.jsonl", word)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_quickstart(folder, capsys):
    """Its end trains the model that the rest searches with, so it is run first."""
    (template,) = blocks("docs/quickstart.md", "yaml")
    (folder / "my_tasks" / "reviews.yaml").write_text(template)
    search, unlabeled, with_template, training = blocks("docs/quickstart.md", "bash")
    for block in (training, search, unlabeled, with_template):
        for command in commands(block):
            run(command)
    for name in ("reviews", "reviews_unlabelled"):
        assert (folder / "out" / name / "predictions.csv").is_file()
    assert "Bitwise Search" in (folder / "out" / "reviews" / "report.md").read_text()
    assert "reviews/text_good_bad" in CTRForConditionalGeneration.from_pretrained("out/my_tasks").task_names
    (snippet,) = blocks("docs/quickstart.md", "python")
    capsys.readouterr()
    exec(snippet, {})
    assert capsys.readouterr().out in ("['bad']\n", "['good']\n")


def test_the_page_on_python_has_all_names_for_users():
    page = (REPOSITORY / "docs/python.md").read_text()
    assert [name for name in task_codes.__all__ if f"`{name}`" not in page and not name.startswith("__")] == []


@pytest.mark.slow
def test_python(folder, tiny_causal_config):
    tokenizer = AutoTokenizer.from_pretrained("lm")
    tokenizer.save_pretrained("decoder_lm")
    LlamaForCausalLM(tiny_causal_config(vocab_size=len(tokenizer), pad_token_id=None)).save_pretrained("decoder_lm")
    names = {}
    for block in blocks("docs/python.md", "python"):
        block = block.replace("google/t5-small-lm-adapt", "lm").replace("HuggingFaceTB/SmolLM2-135M", "decoder_lm")
        exec(block, names)
    assert (folder / "out" / "stage2" / "task_codes.json").is_file()
    # What the page says of the rest.
    merged, code = CTRForConditionalGeneration.from_pretrained("out/merged"), names["code"]
    assert merged.get_task_code("capital").tolist() == names["merged"].get_task_code("capital").tolist()
    assert PeftModel.from_pretrained(merged, "out/adapter").task_names == names["model"].task_names
    inputs = {**names["inputs"], "task_code": code.repeat(2, 1), "decoder_input_ids": torch.tensor([[0, 5], [0, 6]])}
    exported = torch.export.export(merged, (), inputs | {"use_cache": False})
    assert torch.equal(exported.module()(**inputs, use_cache=False).logits, merged(**inputs).logits)


@pytest.mark.slow
def test_the_first_example_of_the_readme(tmp_path, tiny_t5_config, monkeypatch, capsys):
    """With a random model in place of the demo's."""
    monkeypatch.chdir(tmp_path)
    folder = Path("out/demo")
    folder.mkdir(parents=True)
    load_script("examples/demo.py").write_new_task(folder)
    tokenizer = scene_tokenizer()
    language_model = T5ForConditionalGeneration(tiny_t5_config(vocab_size=len(tokenizer)))
    language_model.save_pretrained("lm")
    model = CTRForConditionalGeneration.from_backbone("lm", num_tasks=3, code_length=3, codebook_size=8)
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    (snippet,) = blocks("README.md", "python")
    names = {}
    exec(snippet, names)
    assert set(names["task"].classes) == {"wuerfel", "kugel", "kegel", "reif"}  # labels of the demo's task
    printed = capsys.readouterr().out
    assert "my task" in printed and len(names["new"]) == 200
    assert "my task" in CTRForConditionalGeneration.from_pretrained("out/my-model").task_names

    own = blocks("README.md", "bash")[1]
    run(*commands(own))
    with open("out/my-task/predictions.csv", newline="") as file:
        labels = [row["label"] for row in csv.DictReader(file)]
    assert len(labels) == 200 and set(labels) <= {"wuerfel", "kugel", "kegel", "reif"}


@pytest.mark.slow
def test_readme_and_codes(folder):
    """The commands of the README, in its order."""
    _, _, ours, rivals, others = blocks("README.md", "bash")
    for command in (*commands(ours), *commands(rivals)):
        run(command)
    assert "Bitwise Search" in (folder / "out" / "compared" / "report.md").read_text()

    report, app, push, space = commands(others)  # for the app see test_app.py, for the last two tests/hub
    assert "app.py" in app and "--push_to_hub" in push and "playground.space" in space
    codebook_report(shlex.split(report.replace("out/demo/model", "out/stage2"))[3:])
    assert (folder / "out" / "codebook" / "codebook.html").is_file()

    report, *_ = blocks("docs/codes.md", "bash")
    (attributes,) = blocks("docs/codes.md", "json")
    (folder / "attributes.json").write_text(attributes)
    codebook_report(shlex.split(report.replace("out/ctr", "out/rte"))[3:] + ["--attributes", "attributes.json"])
    known = set(CTRForConditionalGeneration.from_pretrained("out/rte").task_names)
    assert set(json.loads(attributes)) <= known


def load_script(path: str) -> ModuleType:
    """A script of the repository, as a module."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, REPOSITORY / path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


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


def write_rows(path: Path, count: int, draw: random.Random, labels: tuple | None = (0, 1)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = [" ".join(f"w{draw.randrange(3, 64)}" for _ in range(3)) for _ in range(count)]
    rows = [text if labels is None else f"{text},{labels[i % 2]}" for i, text in enumerate(texts)]
    path.write_text("\n".join(["text" if labels is None else "text,label", *rows, ""]))


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
