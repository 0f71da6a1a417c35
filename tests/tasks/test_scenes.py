"""The embedded benchmark: its pattern, its rows, and that its tasks are ordinary tasks."""

import json
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
import yaml

from tasks import FeatureBuilder, load_rows, load_tasks, select_tasks, training_mixture
from tasks.scenes import (
    ALL_TASKS,
    ATTRIBUTES,
    FORMS,
    HELD_OUT_TASKS,
    OWNERS,
    TRAINING_TASKS,
    draw_scenes,
    prompted_rows,
    scene_rows,
    scene_texts,
    scene_tokenizer,
    task_attributes,
    vocabulary,
    write_scenes,
)


def factors(task):
    return (task.owner, task.attribute, task.form)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder that `write_scenes` filled, and the tasks in it."""
    directory = tmp_path_factory.mktemp("scenes")
    write_scenes(directory, seed=3, num_train=60, num_validation=40)
    return directory, load_tasks(directory / "templates")


# ------------------------------------------------------------------------------------------------ the pattern


def test_there_are_48_tasks_of_which_12_are_held_out():
    assert len({factors(task) for task in ALL_TASKS}) == 48
    assert (len(TRAINING_TASKS), len(HELD_OUT_TASKS)) == (36, 12)
    assert not set(TRAINING_TASKS) & set(HELD_OUT_TASKS)


def test_one_form_is_held_out_for_each_owner_and_attribute():
    pairs = Counter((task.owner, task.attribute) for task in HELD_OUT_TASKS)
    assert set(pairs) == {(owner, attribute) for owner in OWNERS for attribute in ATTRIBUTES}
    assert set(pairs.values()) == {1}
    assert set(Counter(task.form for task in HELD_OUT_TASKS).values()) == {3}


def test_every_pair_of_factors_of_a_held_out_task_is_seen_in_training():
    seen = {pair for task in TRAINING_TASKS for pair in combinations(factors(task), 2)}
    for task in HELD_OUT_TASKS:
        assert set(combinations(factors(task), 2)) <= seen, task
    assert len(seen) == len(OWNERS) * len(ATTRIBUTES) + len(OWNERS) * len(FORMS) + len(ATTRIBUTES) * len(FORMS)


def test_choices_answer_the_value():
    by_name = {factors(task): task for task in ALL_TASKS}
    assert by_name["ann", "size", "word"].choices == ("tiny", "small", "large", "huge")
    assert by_name["ann", "size", "next"].choices == ("small", "large", "huge", "tiny")
    assert by_name["robo", "shape", "letter"].choices == ("A", "B", "C", "D")
    assert by_name["pedro", "colour", "foreign"].choices == ("rot", "gruen", "blau", "weiss")
    assert all(len(set(task.choices)) == 4 for task in ALL_TASKS)


# --------------------------------------------------------------------------------------------------- the rows


def test_scenes_depend_on_the_seed_alone():
    first, again, other = (scene_rows(50, seed).to_list() for seed in (1, 1, 2))
    assert first == again
    assert first != other
    prompted = [prompted_rows(TRAINING_TASKS, 50, seed).to_list() for seed in (1, 1, 2)]
    assert prompted[0] == prompted[1] != prompted[2]


def test_text_holds_the_values():
    row = scene_rows(1, 5)[0]
    words = row["scene"].split()
    assert len(words) == 15
    for i, owner in enumerate(OWNERS):
        assert words[5 * i] == owner
        for j, (attribute, values) in enumerate(ATTRIBUTES.items()):
            assert words[5 * i + 1 + j] == values[row[f"{owner}_{attribute}"]]


def test_values_are_uniform_and_agree_more_often_than_by_chance():
    scenes = draw_scenes(20_000, np.random.default_rng(0))
    shares = np.stack([(scenes == value).mean(0) for value in range(4)])
    assert np.abs(shares - 0.25).max() < 0.02
    # Both copy the common index (1/4), or agree by chance otherwise (3/4 of 1/4).
    assert (scenes[:, 0, 0] == scenes[:, 2, 3]).mean() == pytest.approx(7 / 16, abs=0.02)


def test_answers_are_among_the_choices_and_right():
    by_prompt = {prompt: task for task in ALL_TASKS for prompt in task.prompts()}
    rows = prompted_rows(ALL_TASKS, 400, 7).to_list()
    for row in rows:
        assert row["target"] == row["choices"][row["answer"]]
        words = row["input"].split()
        task = by_prompt[" ".join(words[:-15])]
        word = words[-15:][5 * OWNERS.index(task.owner) + 1 + list(ATTRIBUTES).index(task.attribute)]
        assert row["answer"] == ATTRIBUTES[task.attribute].index(word)
        assert row["choices"] == list(task.choices)


def test_a_prompt_belongs_to_one_task():
    prompts = [prompt for task in ALL_TASKS for prompt in task.prompts()]
    assert len(prompts) == len(set(prompts))
    assert all(len(task.prompts()) > 1 for task in ALL_TASKS)


def test_held_out_tasks_are_never_prompted_in_training_rows():
    held_out = {prompt for task in HELD_OUT_TASKS for prompt in task.prompts()}
    prompts = {" ".join(row.split()[:-15]) for row in prompted_rows(TRAINING_TASKS, 2000, 0)["input"]}
    assert not prompts & held_out


# ------------------------------------------------------------------------------------------------ the tokenizer


def test_tokenizer_is_one_token_per_word_with_eos_and_comes_back(tmp_path):
    tokenizer = scene_tokenizer()
    text = prompted_rows(TRAINING_TASKS, 1, 0)[0]["input"]
    ids = tokenizer(text).input_ids
    assert len(ids) == len(text.split()) + 1
    assert ids[-1] == tokenizer.eos_token_id
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == text
    assert len(tokenizer) == len(vocabulary()) == len(set(vocabulary()))
    tokenizer.save_pretrained(tmp_path)
    assert type(tokenizer).from_pretrained(tmp_path)(text).input_ids == ids


def test_tokenizer_knows_every_word():
    tokenizer = scene_tokenizer()
    texts = [prompt for task in ALL_TASKS for prompt in task.prompts()] + [
        c for task in ALL_TASKS for c in task.choices
    ]
    texts += scene_texts(draw_scenes(200, np.random.default_rng(0)))
    assert all(tokenizer.unk_token_id not in ids for ids in tokenizer(texts).input_ids)
    assert all(len(ids) == 2 for task in ALL_TASKS for ids in tokenizer(list(task.choices)).input_ids)


# ------------------------------------------------------------------------------------------- as ordinary tasks


def test_written_tasks_are_loaded_by_their_names(written):
    directory, tasks = written
    assert set(tasks) == {task.name for task in ALL_TASKS} == set(task_attributes())
    assert len({task.dataset for task in tasks.values()}) == 48  # so that no two of them vote together
    for name, of_kind in (("training_tasks", TRAINING_TASKS), ("held_out_tasks", HELD_OUT_TASKS)):
        names = yaml.safe_load((directory / f"{name}.yaml").read_text())
        assert [task.name for task in select_tasks(tasks, names)] == [task.name for task in of_kind]
    assert json.loads((directory / "task_attributes.json").read_text()) == task_attributes()


def test_the_input_tells_nothing_about_the_task(written):
    _, tasks = written
    row = scene_rows(1, 9)[0]
    assert {task.example(row).input_text for task in tasks.values()} == {row["scene"]}


def test_written_rows_are_split_without_overlap(written):
    directory, tasks = written
    task = tasks[HELD_OUT_TASKS[0].name]
    rows = load_rows(task.dataset, task.source)
    assert (len(rows.train), len(rows.evaluation)) == (60, 40)
    assert not set(rows.train["scene"]) & set(rows.evaluation["scene"])


def test_features_have_the_columns_of_training_and_search(written):
    _, tasks = written
    builder = FeatureBuilder(scene_tokenizer(), 32, 4)
    training = [tasks[task.name] for task in TRAINING_TASKS]
    rows = load_rows(training[0].dataset, training[0].source)
    mixture = training_mixture(training, {task.dataset: rows.train for task in training}, builder)
    assert set(mixture.column_names) == {"input_ids", "labels", "task_id"}
    assert Counter(mixture["task_id"]) == dict.fromkeys(range(36), 60)
    assert {len(ids) for ids in mixture["input_ids"]} == {16}

    held_out = tasks[HELD_OUT_TASKS[3].name]
    features = builder.evaluation(held_out, rows.evaluation)
    assert {"input_ids", "labels", "choice_ids", "answer"} <= set(features.column_names)
    for row in features:
        assert row["choice_ids"][row["answer"]] == row["labels"]
        assert row["labels"][-1] == row["input_ids"][-1] == scene_tokenizer().eos_token_id
