import time

from evaluation.chart import draw_bars
from evaluation.report import RunningReport, format_report, write_report
from evaluation.score import Score, load_scores
from evaluation.tables import make_accuracy_table, make_generation_table
from evaluation.terminal import print_table


def test_reports_hold_what_they_are_given(score, tmp_path):
    scores = [score(code=[1, 2]), score(method="Bitwise Search", accuracy=0.75, labelled=32, evaluations=250)]
    write_report(scores, tmp_path, {"model": "me/a|b"})
    assert load_scores(tmp_path / "report.json") == (scores, {"model": "me/a|b"})
    text = (tmp_path / "report.md").read_text()
    assert "| rte | 50.0 | 75.0 |" in text
    assert "| rte | a | Bitwise Search | 0 | 75.0 | 75.0 | 75 / 25 | 100 | 32 | 0 | 250 | 0.0 |" in text
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")


def test_generated_texts_have_tables_of_their_own(score, tmp_path):
    texts = {"exact_match": 0.0, "f1": 0.2, "rouge1": 0.4, "rouge2": 0.1, "rougeL": 0.3}
    scores = [score(), Score("samsum", "a", "raw LM", 50, 0, generation=texts)]
    assert make_accuracy_table(scores)[1:] == [["rte", "50.0"]]
    assert make_generation_table(scores)[1:] == [["samsum", "30.0"]]
    write_report(scores, tmp_path, {})
    text = (tmp_path / "report.md").read_text()
    assert "| samsum | a | raw LM | 0 | 0.0 | 20.0 | 40.0 | 10.0 | 30.0 | 50 | 0 | 0 | 0.0 |" in text
    assert load_scores(tmp_path / "report.json")[0] == scores
    write_report(scores[1:], tmp_path, {})
    assert "Accuracy" not in (tmp_path / "report.md").read_text()


NAMES = [
    "a$x_{2$",
    "half \udc80 a pair",
    "<script>alert(1)</script>",
    "two\nlines | and",
    "$",
    "[/b] [x]",
    "_",
    "",
    "日本",
]


def test_names_of_any_kind_end_no_run(tmp_path, score, capsys):
    scores = [score(task=name, method=name, template=name) for name in NAMES]
    write_report(scores, tmp_path, {"model": NAMES[2], NAMES[3]: NAMES[1]})
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "<script>" not in text and "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "two lines \\| and" in text and r"half \udc80 a pair" in text
    assert "- two lines | and: half" in text
    assert load_scores(tmp_path / "report.json") == (scores, {"model": NAMES[2], NAMES[3]: NAMES[1]})
    for each in scores:
        print_table([each], tmp_path)
    out = capsys.readouterr().out
    assert "$x_{2$" in out and "[/b] [x]" in out and r"\udc80" in out


def test_thousands_of_tasks_are_one_picture_and_linear_in_time(tmp_path, score):
    def measure(count: int) -> float:
        scores = [
            score(task=f"t{i}", method=f"m{j}", seed=seed) for i in range(count) for j in range(4) for seed in (0, 1)
        ]
        start = time.process_time()
        format_report(scores, {})
        return time.process_time() - start

    measure(10)
    assert measure(800) < 40 * max(measure(100), 0.01)  # eight times as many: 64 times as long, were it quadratic
    draw_bars([score(task=f"t{i}") for i in range(300)], tmp_path / "wide.png")
    assert (tmp_path / "wide.png").read_bytes().startswith(b"\x89PNG")


def test_reports_of_a_run_that_goes_on_take_a_tenth_of_its_time(tmp_path, score, monkeypatch):
    clock, written = [0.0], []

    def write(scores, output_dir, about):
        clock[0] += 2
        written.append(len(scores))

    monkeypatch.setattr("evaluation.report.write_report", write)
    monkeypatch.setattr("evaluation.report.time.monotonic", lambda: clock[0])
    report = RunningReport(tmp_path, {})
    for count in range(1, 61):
        report.update([score()] * count, is_last=count == 60)
        clock[0] += 1
    assert written == [1, 21, 41, 60]
