import json

import pytest
from datasets import ClassLabel, Dataset, Features, Value

from tasks.errors import DataError
from tasks.features import FeatureBuilder
from tasks.file_task import load_file_rows, task_from_files, to_field_name

REVIEWS = 'id,review,stars\n7,"good, really",up\n8,awful,down\n9,,up\n10,fine,\n'


@pytest.fixture
def write(tmp_path):
    def write(content, name: str = "reviews.csv", encoding: str = "utf-8"):
        path = tmp_path / name
        lines = content if isinstance(content, str) else "".join(json.dumps(row) + "\n" for row in content)
        path.write_text(lines, encoding=encoding)
        return path

    return write


def test_label_strings_are_the_answers(write, caplog):
    task, rows = task_from_files(write(REVIEWS), text_columns="review", label_column="stars")
    assert (task.name, task.dataset) == ("reviews/review", "reviews")
    assert (task.labels, task.answers) == (("down", "up"), ("down", "up"))
    examples = [task.example(row) for row in rows.train]
    assert examples[0] == ("good, really", "up", ["down", "up"], 1)
    assert (examples[1].answer, examples[2], examples[3].answer) == (0, None, None)
    assert rows.train is rows.evaluation
    assert rows.train["id"][:] == [7, 8, 9, 10]  # other columns stay
    assert "reviews.csv: 1 of 4 rows have no text in the column 'review'" in caplog.text
    assert "reviews.csv: 1 of 4 rows have no label in the column 'stars'" in caplog.text


@pytest.mark.parametrize(
    ("cells", "answers", "labels", "texts"),
    [
        (["2", "10", "1"], None, (1, 2, 10), ("1", "2", "10")),
        (["1", "0"], ["bad", "good"], (0, 1), ("bad", "good")),
        (["1", "0"], {0: "bad", 1: "good"}, (0, 1), ("bad", "good")),
        (["1", "0"], {"1": "good", "0": "bad", "2": "fine"}, (0, 1, "2"), ("bad", "good", "fine")),
        (["1", "0"], ["1", "0", "2"], (1, 0, "2"), ("1", "0", "2")),
        (["x", "z"], ["z", "y", "x"], ("z", "y", "x"), ("z", "y", "x")),
        (["True", "False"], None, (False, True), ("False", "True")),
        (["a {{b}}", "{% c"], None, ("a {{b}}", "{% c"), ("a {{b}}", "{% c")),
        (["-1", "0", "1"], None, (-1, 0, 1), ("-1", "0", "1")),
    ],
)
def test_labels_of_all_kinds_and_given_answers(write, cells, answers, labels, texts):
    content = "text,label\n" + "".join(f"row {i},{cell}\n" for i, cell in enumerate(cells))
    task, rows = task_from_files(write(content), answers=answers)
    assert (task.labels, task.answers) == (labels, texts)
    for row, cell in zip(rows.train, cells, strict=True):
        example = task.example(row)
        assert str(task.labels[example.answer]) == cell
        assert (example.target_text, tuple(example.choices)) == (texts[example.answer], texts)


def test_columns_of_any_name_and_several_texts(write):
    rows = [
        {"my premise": "a", "class": "b", "if": "yes", "label": 3, "label_position": 4},
        {"if": "no", "class": "c"},
    ]
    task, split = task_from_files(
        write(rows, "pairs.jsonl"), text_columns=["my premise", "class"], label_column="if", name="pairs"
    )
    assert task.name == "pairs/my_premise_class_"
    assert task.example(split.train[0]) == ("a\nb", "yes", ["no", "yes"], 1)
    assert task.example(split.train[1]) == ("c", "no", ["no", "yes"], 0)
    assert [to_field_name(name) for name in ("2nd", "true", "None", "ä b", "")] == [
        "_2nd",
        "true_",
        "None_",
        "ä_b",
        "_",
    ]


def test_evaluation_rows_and_labels_that_training_lacks(write, caplog):
    train = write("text,label\na,x\nb,y\n")
    dev = write("label;text\ny;c\nz;d\n", "dev.csv", "cp1252")
    task, rows = task_from_files(train, dev)
    assert (rows.train_split, rows.evaluation_split) == ("train", "validation")
    assert [task.example(row).answer for row in rows.evaluation] == [1, None]
    assert "dev.csv, row 3, column 'label': the label 'z' is none of x, y; the answers of 1 of 2 rows" in caplog.text
    assert task_from_files(train, test_file=dev)[1].evaluation_split == "test"
    assert task_from_files(train, test_file=write("text\nc\n", "new.csv"))[1].evaluation_split == "train"


def test_rows_to_predict_need_no_labels(write, tokenizer):
    task, _ = task_from_files(write("text,label\nthe cat,yes\nthe dog,no\n"))
    rows = load_file_rows(task, write("id\ttext\nn1\tthe bird\n", "new.tsv"), label_column="label")
    assert rows.to_list() == [{"id": "n1", "text": "the bird"}]
    features = FeatureBuilder(tokenizer).evaluation(task, rows)
    assert (features["answer"][:], len(features["choice_ids"][0])) == ([-1], 2)
    labelled = load_file_rows(task, write("text,truth\nthe fish,no\n", "old.csv"), label_column="truth")
    assert task.example(labelled[0]).answer == 0
    with pytest.raises(DataError, match=r"bad\.csv has no column 'text', but body"):
        load_file_rows(task, write("body\nx\n", "bad.csv"))


def test_no_labels_with_answers_and_free_form(write):
    task, rows = task_from_files(write("text\na\nb\n"), answers=["bad", "good"])
    assert (task.labels, task.example(rows.train[0])) == (("bad", "good"), ("a", "", ["bad", "good"], None))
    content = "text,title\n" + "".join(f"long text {i},title {i}\n" for i in range(300))
    task, rows = task_from_files(write(content), label_column="title", text_columns="text", free_form=True)
    assert (task.has_choices, task.example(rows.train[2])) == (False, ("long text 2", "title 2", None, None))
    assert task.example({"text": "new"}).target_text == ""


def test_class_labels_of_parquet_have_their_names(tmp_path):
    features = Features({"text": Value("string"), "label": ClassLabel(names=["no", "yes"])})
    Dataset.from_dict({"text": ["a", "b", "c"], "label": [1, 0, -1]}, features).to_parquet(tmp_path / "rows.parquet")
    task, rows = task_from_files(tmp_path / "rows.parquet")
    assert task.answers == ("no", "yes")
    assert [task.example(row).answer for row in rows.train] == [1, 0, None]


MANY = "text,label\n" + "".join(f"t{i},long label {i}\n" for i in range(300))


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("text,label\n", {}, r"x\.csv has no rows"),
        ("a,b,label\n1,2,3\n", {}, r"x\.csv has the columns a, b, label: say which of them hold the texts"),
        ("text,label\na,b\n", {"text_columns": ["body"]}, r"no column 'body' for the texts, but text, label"),
        ("text,kind\na,b\n", {"text_columns": "text"}, r"x\.csv has no column 'label' for the labels, but text, kind"),
        ("text,kind\na,b\n", {"label_column": "stars"}, r"x\.csv has no column 'stars' for the labels"),
        ("text,label\na,\nb,\n", {}, r"x\.csv: the column 'label' has no label in any row"),
        ("text,label\n,x\n,y\n", {}, r"x\.csv: the column 'text' has no text in any row"),
        ("text,label\na,x\nb,x\n", {}, r"all rows have the label 'x' in the column 'label'; .* answers"),
        (MANY, {}, r"the column 'label' has 300 different labels in 300 rows; these are texts and not classes"),
        ("text,label\na,x\nb,y\n", {"answers": ["one"]}, r"1 answers are given, but there are 2 labels: x, y"),
        ("text,label\na,x\nb,y\n", {"answers": {"x": "one"}}, r"no text for the label 'y'; they are for x"),
        ("text,label\na,x\nb,y\n", {"answers": ["one", " "]}, r"The answer for the label 'y' is blank"),
        ("text,label\na,x\nb,y\n", {"answers": ["one", "one "]}, r"The answer 'one' is given for two labels"),
        ("text,label\na,x ||| z\nb,y\n", {}, r"The answer 'x \|\|\| z' holds '\|\|\|'"),
        ("text\na\n", {"answers": ["one"]}, r"at least two answers"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(write, content, options, message):
    with pytest.raises(DataError, match=message):
        task_from_files(write(content, "x.csv"), **options)


def test_bad_cells_are_named_by_file_row_and_column(write):
    for row, message in (
        ({"text": ["b"], "label": "y"}, r"x\.jsonl, row 2, column 'text': a list is no text"),
        ({"text": "b", "label": {"y": 1}}, r"x\.jsonl, row 2, column 'label': a dict is no label"),
    ):
        with pytest.raises(DataError, match=message):
            task_from_files(write([{"text": "a", "label": "x"}, row], "x.jsonl"))


def test_files_that_are_not_there_or_of_no_known_kind(write, tmp_path):
    with pytest.raises(DataError, match="No file of rows is given"):
        task_from_files()
    with pytest.raises(DataError, match=r"There is no file .*none\.csv"):
        task_from_files(tmp_path / "none.csv")
    with pytest.raises(DataError, match=r"rows\.txt: cannot tell the format"):
        task_from_files(write("a", "rows.txt"))
