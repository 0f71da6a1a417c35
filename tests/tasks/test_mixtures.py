import pytest

from tasks.mixtures import T0_HELD_OUT, T0_TRAINING, expand_mixtures
from tasks.scenes import HELD_OUT_TASKS, TRAINING_TASKS, write_scenes
from tasks.task import load_tasks, select_tasks


def test_names_of_mixtures_stand_where_names_of_data_sets_do():
    assert len(T0_TRAINING) == 39 and len(T0_HELD_OUT) == 11
    assert expand_mixtures(["a", "t0_held_out", "b/c"]) == ["a", *T0_HELD_OUT, "b/c"]
    tasks = select_tasks(load_tasks(), ["t0"])
    assert list(dict.fromkeys(task.dataset for task in tasks)) == list(T0_TRAINING)


def test_what_is_at_hand(tmp_path, write_json_lines):
    for folder in ("glue_mrpc", "anli_r2", "my_own"):
        write_json_lines(tmp_path / folder / "train.jsonl", [{"a": 1}])
    write_json_lines(tmp_path / "glue" / "qqp" / "train" / "0000.jsonl", [{"a": 1}])
    (tmp_path / "trec").mkdir()  # a folder without rows
    assert expand_mixtures(["t0_data", "t0_data_held_out"], tmp_path) == ["glue/mrpc", "glue/qqp", "anli/r2"]


def test_what_is_at_hand_of_the_shared_rows(shared):
    training = expand_mixtures(["t0_data"], shared / "t0_data")
    assert len(training) == 22 and training[-1] == "adversarial_qa/adversarialQA"
    assert expand_mixtures(["t0_data_held_out"], shared / "t0_data") == [
        name for name in T0_HELD_OUT if name != "story_cloze/2016"
    ]


def test_a_list_of_ones_own(tmp_path):
    (tmp_path / "lists").mkdir()
    (tmp_path / "mine.yaml").write_text("- trec\n- lists/more.yaml\n- my/task\n")
    (tmp_path / "lists" / "more.yaml").write_text("- t0_held_out\n")
    assert expand_mixtures([str(tmp_path / "mine.yaml"), "z"]) == ["trec", *T0_HELD_OUT, "my/task", "z"]


def test_a_name_added_at_the_end_renumbers_nothing(tmp_path):
    tasks = load_tasks()
    path = tmp_path / "mine.yaml"
    path.write_text("[ag_news, super_glue/rte]")
    before = select_tasks(tasks, [str(path)])
    path.write_text("[ag_news, super_glue/rte, t0_held_out, trec]")
    assert select_tasks(tasks, [str(path)])[: len(before)] == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: b", "is not a mixture"),
        ("- 1", "is not a mixture"),
        ("[", "not readable YAML"),
        ("- mine.yaml", "contains itself"),
        ("- no.yaml", "There is no mixture file"),
    ],
)
def test_bad_lists(tmp_path, content, message):
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        expand_mixtures([str(path)])


def test_nothing_at_hand_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="name the folder"):
        expand_mixtures(["t0_data"])
    with pytest.raises(ValueError, match="'t0_data' is empty"):
        expand_mixtures(["t0_data"], tmp_path)


def test_scenes(tmp_path):
    write_scenes(tmp_path, seed=0, num_train=4, num_validation=4)
    tasks = load_tasks(tmp_path / "templates")
    training, held_out = select_tasks(tasks, ["scenes"]), select_tasks(tasks, ["scenes_held_out"])
    assert [task.name for task in training] == [task.name for task in TRAINING_TASKS]
    assert [task.name for task in held_out] == [task.name for task in HELD_OUT_TASKS]
