import json
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from codebook_report.__main__ import main
from codebook_report.codebook import Codebook, load_checkpoint
from codebook_report.page import write_codebook_report
from codebook_report.search_course import SearchCourse
from search import BitwiseSearch, CodeScorer, Trial, task_code_space


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, tiny_ctr_model):
    path = tmp_path_factory.mktemp("checkpoint") / "tiny"
    model = tiny_ctr_model()
    model.add_task("rte", [1, 2, 3, 4])
    model.add_tuned_task("tuned", torch.ones(4, 16))  # without a code: not in the report
    model.save_pretrained(path)
    return path


def pictures(page):
    return re.findall(r'<img src="data:image/png;base64,[^"]+" alt="([^"]*)"', page)


def test_one_page_with_all_pictures_inside(checkpoint, tmp_path, capsys):
    main([str(checkpoint), "--output_dir", str(tmp_path / "out")])
    page = (tmp_path / "out" / "codebook.html").read_text()
    assert len(pictures(page)) == 3
    assert not re.search(r"""(src|href)=["'](?!data:)""", page), "it must not need other files"
    assert "<b>3</b> training tasks" in page
    assert "<b>1</b> added tasks" in page
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "codebook.html",
        "codebook_codes.png",
        "codebook_usage.png",
        "codebook_similarity.png",
    }
    assert "codebook.html, and its pictures" in capsys.readouterr().out


def test_the_codes_of_a_decoder_only_model(tmp_path, tiny_causal_model):
    model = tiny_causal_model(code_position="suffix")
    model.save_pretrained(tmp_path / "tiny")
    main([str(tmp_path / "tiny"), "--output_dir", str(tmp_path / "out")])
    assert len(pictures((tmp_path / "out" / "codebook.html").read_text())) == 3
    book = Codebook.from_model(load_checkpoint(str(tmp_path / "tiny")), "tiny")
    assert book.codes.tolist() == model.task_codes().tolist() and book.names == model.task_names


def test_added_tasks_are_marked(checkpoint):
    book = Codebook.from_model(load_checkpoint(str(checkpoint)), "tiny")
    assert book.labels == ["glue_mrpc", "glue_qqp", "ag_news", "rte *"]
    assert book.trained[1] == ["glue_mrpc", "glue_qqp", "ag_news"]


def test_the_documented_command(checkpoint, tmp_path, monkeypatch):
    page = (Path(__file__).parents[2] / "docs" / "codes.md").read_text()
    command = re.search(r"^python -m codebook_report (.+)$", page, re.MULTILINE)[1]
    shutil.copytree(checkpoint, tmp_path / "out" / "ctr")
    (attributes,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    (tmp_path / "attributes.json").write_text(attributes)
    monkeypatch.chdir(tmp_path)
    main([*command.split(), "--attributes", "attributes.json"])
    assert (tmp_path / "out" / "codebook" / "codebook.html").is_file()


@pytest.mark.parametrize("saved_as", ["result", "trace"])
def test_the_search_for_a_new_task(checkpoint, tmp_path, saved_as):
    model = load_checkpoint(str(checkpoint))
    examples = [{"input_ids": [5 + i, 9, 1], "choice_ids": [[7, 1], [8, 1]], "answer": i % 2} for i in range(6)]
    search = BitwiseSearch(
        CodeScorer(model, examples), task_code_space(model), trace_path=tmp_path / "trace", progress=False, prune=False
    )
    result = search.run()
    result.save(tmp_path / "result")
    main([str(checkpoint), "--output_dir", str(tmp_path), "--trace", str(tmp_path / saved_as)])
    page = (tmp_path / "codebook.html").read_text()
    assert len(pictures(page)) == 5
    assert f"{result.evaluations} codes were evaluated" in page
    assert f"<code>{' '.join(map(str, result.code))}</code>" in page
    assert f"{result.loss:.4g}" in page and f"{result.starts[0].loss:.4g}" in page


def test_known_attributes(tmp_path):
    codes = np.array([[i % 4, i // 4, 0] for i in range(16)])
    names = [f"task {i}" for i in range(16)]
    attributes = {name: {"first": str(i % 4)} for i, name in enumerate(names)}
    page = write_codebook_report(Codebook("grid", names, codes, 16, 8), tmp_path, attributes).read_text()
    assert (tmp_path / "codebook_information.png").is_file()
    row = re.search(r"<tr><td>first</td>.*?</tr>", page, re.DOTALL)[0]
    numbers = re.findall(r">([\d.]+)( of \d+)?<", row)
    assert [number for number, _ in numbers[:3]] == ["4", "16", "1.00"]
    assert "1 of 3" in row


def test_names_are_text_not_html(tmp_path):
    book = Codebook("<b>x</b>", ["<script>alert(1)</script>", "$x_{2$", "c"], np.array([[1, 2], [1, 3], [1, 2]]), 3, 4)
    page = write_codebook_report(book, tmp_path).read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "2 tasks have exactly the same code" in page


def test_one_task(tmp_path):
    page = write_codebook_report(Codebook("one", ["only"], np.array([[1, 2]]), 1, 4), tmp_path).read_text()
    assert "<b>1</b> training tasks" in page


@pytest.mark.slow
def test_hundreds_of_tasks_stay_readable(tmp_path):
    draw = np.random.default_rng(0)
    names = [f"some/data set {i % 40}/a template with a rather long name that goes on, number {i}" for i in range(318)]
    book = Codebook("large", names, draw.integers(0, 128, (318, 10)), 318, 128)
    page = write_codebook_report(book, tmp_path)
    assert "300 more" not in page.read_text()
    assert page.stat().st_size < 6e6
    assert max(len(line) for line in page.read_text().splitlines() if "<td>" in line) < 2000


@pytest.mark.slow
def test_thousands_of_tasks_end_in_seconds(tmp_path):
    draw = np.random.default_rng(0)
    names = [f"data set {i % 40}/{i} \udc80" for i in range(2000)]
    codes = draw.integers(0, 128, (2000, 10))
    codes[:1500] = codes[0]  # a tree as deep as it is long
    start = time.process_time()
    page = write_codebook_report(Codebook("large", names, codes, 2000, 128), tmp_path)
    assert time.process_time() - start < 60
    assert "too many tasks to name them" in page.read_text()


def test_a_trace_of_another_model(tmp_path):
    book = Codebook("x", ["a", "b"], np.array([[1, 2], [1, 3]]), 2, 4)
    course = SearchCourse.from_trace([Trial(0, -1, None, [1, 2, 3], 1.0)], "loss")
    with pytest.raises(ValueError, match="The code of the search trace has 3 integers, but a task code .* has 2"):
        write_codebook_report(book, tmp_path / "out", course=course)
    assert not (tmp_path / "out").exists()


def test_no_checkpoint(tmp_path):
    with pytest.raises(SystemExit, match="Error: '.*' is not a checkpoint: it has no config.json"):
        main([str(tmp_path)])
    with pytest.raises(SystemExit, match="Error: There is no checkpoint 'nobody/nothing': no such directory"):
        main(["nobody/nothing"])


def test_a_plain_language_model(tmp_path, tiny_t5_config):
    tiny_t5_config().save_pretrained(tmp_path)
    with pytest.raises(SystemExit, match="Error: This is the config of a 't5' model, not of a CTR model"):
        main([str(tmp_path)])


def test_wrong_files_are_named_before_the_model_is_loaded(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([1]))
    with pytest.raises(SystemExit, match="a.json' is not a file of task attributes"):
        main(["nowhere", "--attributes", str(tmp_path / "a.json")])
    with pytest.raises(SystemExit, match="search trace '.*none' cannot be read"):
        main(["nowhere", "--trace", str(tmp_path / "none")])
