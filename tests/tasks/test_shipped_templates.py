"""The shipped no-prompt templates, on real rows where there are any and else on a row of the documented schema."""

import re
from collections import Counter
from pathlib import Path

import pytest
from jinja2 import nodes
from jinja2.sandbox import SandboxedEnvironment

from tasks.data import load_rows
from tasks.mixtures import T0_HELD_OUT, T0_TRAINING
from tasks.task import load_tasks

MAIN = [
    "ag_news",
    "rotten_tomatoes",
    "glue/mrpc",
    "trec",
    "commonsense_qa",
    "social_i_qa",
    "super_glue/rte",
    "super_glue/cb",
    "super_glue/copa",
    "super_glue/wic",
]

# One row of each data set whose rows are not at hand, with the columns its card on the Hub names, and the answer.
SQUAD = {
    "id": "1",
    "title": "Rain",
    "context": "Rain falls from clouds.",
    "question": "Where does rain fall from?",
    "answers": {"text": ["clouds"], "answer_start": [16]},
}
QUESTION = {
    "question": "Which is wetter?",
    "choices": {"text": ["sand", "sea"], "label": ["A", "B"]},
    "answerKey": "B",
}
SCHEMA = {
    "adversarial_qa/dbidaf": (SQUAD, "clouds"),
    "adversarial_qa/dbert": (SQUAD, "clouds"),
    "adversarial_qa/droberta": (SQUAD, "clouds"),
    "app_reviews": ({"package_name": "org.app", "review": "Crashes.", "date": "May 1 2017", "star": 2}, "2"),
    "cnn_dailymail/3.0.0": ({"article": "It rained.", "highlights": "Rain.", "id": "1"}, "Rain."),
    "duorc/ParaphraseRC": (
        {"plot_id": "/m/1", "plot": "It rains.", "title": "Rain", "question_id": "1", "question": "What falls?"}
        | {"answers": ["rain", "Rain"], "no_answer": False},
        "rain",
    ),
    "gigaword": ({"document": "it rained .", "summary": "rain"}, "rain"),
    "multi_news": ({"document": "It rained. ||||| It poured.", "summary": "– Rain."}, "Rain."),
    "paws/labeled_final": ({"id": 1, "sentence1": "Rain fell.", "sentence2": "It rained.", "label": 1}, "yes"),
    "quarel": (
        {"id": "Q1", "answer_index": 1, "logical_forms": [], "logical_form_pretty": "", "world_literals": {}}
        | {"question": "Sand is drier than sea. Which is wetter? (A) sand (B) sea"},
        "sea",
    ),
    "quartz": (QUESTION | {"id": "Q1", "para": "Seas are wet.", "para_id": "1"}, "sea"),
    "sciq": (
        {"question": "Which is wettest?", "distractor3": "sand", "distractor1": "dust", "distractor2": "rock"}
        | {"correct_answer": "sea", "support": "Seas are wet."},
        "sea",
    ),
    "story_cloze/2016": (
        {
            "story_id": "1",
            "input_sentence_1": "It rained.",
            "input_sentence_2": "It poured.",
            "input_sentence_3": "Wet.",
        }
        | {"input_sentence_4": "Very.", "sentence_quiz1": "Sun.", "sentence_quiz2": "Sea.", "answer_right_ending": 2},
        "Sea.",
    ),
    "wiki_bio": (
        {"target_text": "Ann sails .\n"}
        | {
            "input_text": {
                "table": {"column_header": ["name", "article_title"], "row_number": [1, 1], "content": ["Ann", "ann"]},
                "context": "ann\n",
            }
        },
        "Ann sails .",
    ),
    "wiki_hop/original": (
        {"id": "1", "question": "located_in ann's sea", "answer": "north", "candidates": ["north", "south"]}
        | {"supports": ["Ann's sea is up.", "Up is north."], "annotations": []},
        "north",
    ),
    "wiki_qa": (
        {"question_id": "Q1", "question": "what falls", "document_title": "Rain", "answer": "Rain falls.", "label": 1},
        "yes",
    ),
    "wiqa": (
        {
            "question_stem": "suppose rain",
            "question_para_step": ["It rains.", "It pours."],
            "answer_label": "no_effect",
        }
        | {"answer_label_as_choice": "C", "choices": {}, "metadata_question_id": "1"},
        "no effect",
    ),
    "xsum": ({"document": "It rained.", "summary": "Rain.", "id": "1"}, "Rain."),
    "yelp_review_full": ({"label": 0, "text": "Never again."}, "1 star"),
}


@pytest.fixture(scope="module")
def tasks():
    return load_tasks()


def of_dataset(tasks, name):
    return [task for task in tasks.values() if task.dataset == name]


def test_every_set_of_t0_has_templates_that_differ(tasks):
    counts = Counter(task.dataset for task in tasks.values())
    assert len(T0_TRAINING) == 39 and len(T0_HELD_OUT) == 11
    assert [name for name in T0_TRAINING + T0_HELD_OUT if counts[name] < 2] == []
    assert len({(task.dataset, task.template.jinja, task.template.answer_choices) for task in tasks.values()}) == len(
        tasks
    )


def test_the_main_sets_differ_in_verbalizers_or_orders_and_show_choices_or_not(tasks):
    for name in MAIN:
        templates = [task.template for task in of_dataset(tasks, name)]
        assert len({template.answer_choices for template in templates}) > 1 or len(templates) > 2, name
        assert {template.metadata["choices_in_prompt"] for template in templates} == {True, False}, name


@pytest.mark.parametrize("name", ["glue/mrpc", "super_glue/rte", "super_glue/cb", "super_glue/wic"])
def test_yes_and_no_come_in_both_cases(tasks, name):
    words = {word.strip() for task in of_dataset(tasks, name) for word in task.template.answer_choices.split("|||")}
    assert {"yes", "no", "Yes", "No"} <= words


def test_no_template_says_anything_in_words(tasks):
    # Text outside of Jinja's braces would be an instruction; ": " in wiki_bio stands between a fact's name and value.
    environment = SandboxedEnvironment()
    for task in tasks.values():
        texts = [node.data for node in environment.parse(task.template.jinja).find_all(nodes.TemplateData)]
        assert not re.search(r"\w", "".join(texts)), task.name


@pytest.mark.parametrize("name", [name for name in T0_TRAINING + T0_HELD_OUT if name not in SCHEMA])
def test_on_real_rows(tasks, shared, name):
    rows = load_rows(name, data_dir=shared / "t0_data")
    for task in of_dataset(tasks, name):
        answers = Counter()
        for split in (rows.train, rows.evaluation):
            for index, row in enumerate(split.select(range(min(200, len(split))))):
                example = task.example(row, index)
                assert example.input_text, (task.name, index)
                assert example.target_text or row.get("no_answer"), (task.name, index)
                assert "{{" not in example.input_text
                answers[example.answer] += 1
        assert (None in answers) != task.has_choices
        if task.has_choices:
            # Every position is the answer of some row: labels are not shifted.
            assert set(answers) == set(range(len(example.choices))), task.name


@pytest.mark.parametrize("name", SCHEMA)
def test_on_a_row_of_the_documented_schema(tasks, name):
    row, answer = SCHEMA[name]
    targets = []
    for task in of_dataset(tasks, name):
        example = task.example(row)
        assert example.input_text and example.target_text
        if task.has_choices:
            assert len(set(example.choices)) == len(example.choices) > 1
        targets.append(example.target_text)
    assert targets[0] == answer


def test_choices_of_sciq_do_not_give_the_answer_away(tasks):
    row, _ = SCHEMA["sciq"]
    other = row | {"correct_answer": "dust", "distractor1": "sea"}
    task = tasks["sciq/question_choices"]
    assert task.example(row).input_text == task.example(other).input_text


def test_unlabelled_test_rows_have_no_answer(tasks):
    rows = {
        "super_glue/rte": {"premise": "a", "hypothesis": "b", "label": -1},
        "commonsense_qa": QUESTION | {"answerKey": ""},
        "winogrande/winogrande_xl": {"sentence": "_ is", "option1": "a", "option2": "b", "answer": ""},
        "hellaswag": {"ctx": "a", "activity_label": "b", "endings": ["c", "d"], "label": ""},
    }
    for name, row in rows.items():
        assert {task.example(row).answer for task in of_dataset(tasks, name)} == {None}


PAGE = (Path(__file__).resolve().parents[2] / "docs" / "data.md").read_text(encoding="utf-8")


def test_the_page_on_data_lists_where_every_data_set_is_loaded_from(tasks):
    listed = dict(re.findall(r"^\| (\w+) \| (`\S+` \| \S+) \|", PAGE, re.MULTILINE))
    sources = {task.dataset.partition("/")[0]: task.source for task in tasks.values()}
    assert listed == {name: f"`{source.path}` | {source.revision or 'main'}" for name, source in sources.items()}
    prompted = {task.dataset: task.source for task in load_tasks("prompted").values()}
    assert prompted == {task.dataset: task.source for task in tasks.values() if task.dataset in prompted}


def test_the_template_file_on_the_page_on_data_loads(tmp_path):
    (block,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / "reviews.yaml").write_text(block, encoding="utf-8")
    for name in ("train", "dev"):
        (tmp_path / f"{name}.csv").write_text("text;label\nschön;1\n", encoding="cp1252")
    (task,) = load_tasks(tmp_path).values()
    rows = load_rows(task.dataset, task.source)
    assert task.example(rows.evaluation[0])[:2] == ("schön", "good")
