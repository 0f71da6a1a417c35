import json
from collections import Counter
from itertools import islice

import pytest
from datasets import Dataset, IterableDataset

from tasks.data import DataError
from tasks.features import FeatureBuilder
from tasks.task import Task
from tasks.template import Template
from tasks.training_mixture import compute_mixture_counts, draw_mixture_rows, streaming_mixture, training_mixture

SETS = ["big", "big", "big", "small", "middle", "middle"]
SIZES = {"big": 1000, "small": 10, "middle": 40}


def test_the_cap_is_split_over_the_templates_of_a_data_set():
    # 100 = 34 + 33 + 33; a set of 10 rows gives all, one of 40 rows under two templates of 50 gives 40 twice.
    assert compute_mixture_counts(SETS, SIZES, cap=100) == [34, 33, 33, 10, 40, 40]


def test_papers_cap_by_default():
    assert compute_mixture_counts(["a"] * 4 + ["b"], {"a": 10**6, "b": 10**6}) == [12_500] * 4 + [50_000]


def test_temperature_lies_between_proportional_and_equal():
    proportional = compute_mixture_counts(SETS, SIZES, 100)
    tempered = compute_mixture_counts(SETS, SIZES, 100, "temperature", 2.0)
    equal = compute_mixture_counts(SETS, SIZES, 100, "equal")
    assert sum(proportional) == sum(tempered) == sum(equal) == 190
    assert sorted(equal) == [31, 31, 32, 32, 32, 32]
    # Square roots of 34, 33, 33, 10, 40, 40, scaled to 190.
    assert tempered == [34, 33, 33, 18, 36, 36]
    assert compute_mixture_counts(SETS, SIZES, 100, "temperature", 1.0) == proportional
    assert compute_mixture_counts(SETS, SIZES, 100, "temperature", float("inf")) == equal


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"mixing": "even"}, "mixing is 'even'"), ({"temperature": 0.5}, "at least 1"), ({"cap": 2}, "raise it")],
)
def test_bad_settings(arguments, message):
    with pytest.raises(ValueError, match=message):
        compute_mixture_counts(SETS, SIZES, **arguments)


def test_rows_are_distinct_until_all_are_used():
    chosen = draw_mixture_rows(100, 30, "42 a")
    assert len(set(chosen)) == 30
    assert chosen == draw_mixture_rows(100, 30, "42 a") != draw_mixture_rows(100, 30, "42 b")
    assert Counter(Counter(draw_mixture_rows(4, 10, "seed")).values()) == {3: 2, 2: 2}


def animal_tasks() -> tuple[list[Task], dict[str, Dataset]]:
    one = Template("one", "{{text}} ||| {{label}}")
    two = Template("two", "{{label}} ||| {{text}}")
    tasks = [Task("a/one", "a", one), Task("a/two", "a", two), Task("b/one", "b", one)]
    rows = {
        name: Dataset.from_list([{"text": f"cat {word}", "label": "good"} for word in words])
        for name, words in (("a", ["one", "two", "three", "four", "five", "six"]), ("b", ["seven", "eight"]))
    }
    return tasks, rows


def test_training_features_of_all_tasks(tokenizer):
    tasks, rows = animal_tasks()
    mixture = training_mixture(tasks, rows, FeatureBuilder(tokenizer), cap=4)
    assert mixture.column_names == ["input_ids", "labels", "task_id"]
    assert Counter(mixture["task_id"]) == {0: 2, 1: 2, 2: 2}
    decoded = {
        tokenizer.decode(ids) for ids, task in zip(mixture["input_ids"], mixture["task_id"], strict=True) if task == 2
    }
    assert decoded == {"cat seven </s>", "cat eight </s>"}


def test_a_task_added_at_the_end_changes_nothing_before_it(tokenizer):
    tasks, rows = animal_tasks()
    builder = FeatureBuilder(tokenizer)
    before = training_mixture(tasks[:2], rows, builder, cap=4)
    after = training_mixture(tasks, rows, builder, cap=4)
    assert after.select(range(len(before))).to_list() == before.to_list()
    other_seed = training_mixture(tasks[:2], rows, builder, cap=4, seed=1)
    assert other_seed.to_list() != before.to_list()


def streams(rows: dict[str, Dataset], num_shards: int = 1) -> dict[str, IterableDataset]:
    return {name: part.to_iterable_dataset(num_shards=num_shards) for name, part in rows.items()}


def test_a_stream_has_the_features_of_the_stored_mixture_again_and_again(tokenizer):
    tasks, rows = animal_tasks()
    builder = FeatureBuilder(tokenizer)
    stored = {str(row) for row in training_mixture(tasks, rows, builder)}
    stream = streaming_mixture(tasks, streams(rows), builder)
    seen = [str(row) for row in stream.take(300)]
    assert set(seen) == stored
    assert min(Counter(seen).values()) > 5


def test_a_stream_draws_tasks_with_the_probabilities_of_the_mixture(tokenizer):
    tasks, rows = animal_tasks()
    drawn = Counter(
        row["task_id"] for row in streaming_mixture(tasks, streams(rows), FeatureBuilder(tokenizer), cap=6).take(800)
    )
    # 3, 3 and 2 examples
    assert [drawn[task] / 800 for task in range(3)] == pytest.approx([3 / 8, 3 / 8, 2 / 8], abs=0.05)


def test_a_stream_goes_on_exactly_where_it_was(tokenizer):
    tasks, rows = animal_tasks()
    stream = streaming_mixture(tasks, streams(rows, num_shards=2), FeatureBuilder(tokenizer))
    seen, states = [], []
    for row in islice(stream, 60):
        seen.append(row)
        states.append(json.dumps(stream.state_dict()))
    for used in (1, 17, 40):
        again = streaming_mixture(tasks, streams(rows, num_shards=2), FeatureBuilder(tokenizer))
        again.load_state_dict(json.loads(states[used - 1]))
        assert list(islice(again, 60 - used)) == seen[used:]


def test_a_stream_without_rows_is_named(tokenizer):
    tasks, rows = animal_tasks()
    empty = streams(rows) | {"b": streams(rows)["b"].filter(lambda row: False)}
    with pytest.raises(DataError, match="Data set 'b' has no rows"):
        streaming_mixture(tasks, empty, FeatureBuilder(tokenizer))


def test_a_stream_in_which_a_task_has_no_example_is_named(tokenizer):
    tasks, rows = animal_tasks()
    unlabelled = Task("b/none", "b", Template("none", "a cat |||"))
    with pytest.raises(DataError, match="Task 'b/none' has no example"):
        streaming_mixture([*tasks, unlabelled], streams(rows), FeatureBuilder(tokenizer))
