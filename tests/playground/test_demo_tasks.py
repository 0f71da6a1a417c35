from playground.demo_tasks import HELD_OUT_DEMO_TASKS, demo_example, demo_examples
from playground.pasted_examples import parse_examples


def test_examples_of_the_demos_tasks_can_be_searched_with():
    for task in HELD_OUT_DEMO_TASKS:
        choices = demo_example(task)[1]
        inputs, parsed, answers = parse_examples(demo_examples(task), choices, True)
        assert len(inputs) == len(answers) == 32
        assert set(answers) <= set(parsed) == set(choices.splitlines())


def test_examples_are_right():
    task = "scenes/ann_size_word/no_prompt"
    for line in demo_examples(task).splitlines():
        scene, answer = line.split("\t")
        assert scene.split()[:2] == ["ann", answer]
    assert demo_example(task)[1].split() == ["tiny", "small", "large", "huge"]


def test_other_tasks_have_no_examples():
    assert demo_example("ag_news/topic") == ("", "")
