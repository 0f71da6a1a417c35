"""The page on predictions is run with a tiny model whose tokenizer knows the page's words."""

import re
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from prediction import METHODS, TaskSolver
from prediction.methods import AUTO

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "prediction.md").read_text()


@pytest.fixture
def folder(tmp_path, monkeypatch, tiny_ctr_model):
    """The current folder, with a model of random weights in `you/ctr-model`."""
    words = ["<pad>", "</s>", "<unk>", *dict.fromkeys(re.findall(r"\w+|[^\w\s]", PAGE))]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    TaskSolver(tiny_ctr_model(text_fields={"vocab_size": len(words)}), fast).save_pretrained(
        tmp_path / "you" / "ctr-model"
    )
    monkeypatch.chdir(tmp_path)


def test_the_page(folder):
    names = {}
    for block in re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL):
        exec(block, names)
    solver, again = names["solver"], names["again"]
    assert solver.model.task_names[3:10] == ["reviews", "stars", "voted", "with titles", "endings", "titles", "funny"]
    new = ["funny and fresh", "thin and dull"]
    for task in ("reviews", "stars"):
        np.testing.assert_allclose(solver.predict_proba(new, task), again.predict_proba(new, task), atol=1e-6)
    assert set(again.predict(new, "stars")) <= {1, 5} and set(again.predict(new, "reviews")) <= {"bad", "good"}


def test_what_the_page_says_of_the_methods():
    assert [count for method, count in AUTO.items() if "bitwise" in method or "tuning" in method] == [12, 12]
    assert METHODS["prompt_tuning"] == "Bitwise Search, then tuned"
