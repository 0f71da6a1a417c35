import pytest

from tasks.mixtures import T0_HELD_OUT, T0_TRAINING
from tasks.task import Example, Task, load_tasks, select_tasks
from tasks.template import Template, TemplateError

TASK = Task("animals/kind", "animals", Template("kind", "{{text}} ||| {{label}}", "cat ||| dog"))


def test_example_knows_the_position_of_the_answer():
    assert TASK.has_choices
    assert TASK.example({"text": "It barks.", "label": "dog"}) == Example("It barks.", "dog", ["cat", "dog"], 1)
    assert TASK.example({"text": "It barks.", "label": ""}).answer is None


def test_answer_that_is_no_choice_names_task_row_and_answer():
    with pytest.raises(TemplateError, match=r"'animals/kind', row 7: the target 'bird' .* \['cat', 'dog'\]"):
        TASK.example({"text": "It sings.", "label": "bird"}, 7)


def test_missing_field_names_task_row_template_and_field():
    with pytest.raises(
        TemplateError, match="'animals/kind', row 3: template 'kind' fails: the row has no field 'text'"
    ):
        TASK.example({"label": "dog"}, 3)


@pytest.fixture
def folder(tmp_path):
    entry = "templates:\n  one: {jinja: '{{a}} ||| {{b}}'}\n  two: {jinja: '{{b}} ||| {{a}}'}\n"
    (tmp_path / "nested").mkdir()
    (tmp_path / "b.yaml").write_text("dataset: birds\n" + entry)
    (tmp_path / "nested" / "a.yaml").write_text("dataset: ants\nsubset: [red, black]\n" + entry)
    return tmp_path


def test_tasks_of_a_folder(folder):
    tasks = load_tasks(folder)
    assert list(tasks) == [
        "birds/one",
        "birds/two",
        "ants/red/one",
        "ants/red/two",
        "ants/black/one",
        "ants/black/two",
    ]
    assert all(name == task.name for name, task in tasks.items())
    assert list(load_tasks(folder / "b.yaml")) == ["birds/one", "birds/two"]


def test_same_name_in_two_files_is_an_error(folder):
    (folder / "c.yaml").write_text((folder / "b.yaml").read_text())
    with pytest.raises(TemplateError, match=r"birds/one.*b\.yaml.*c\.yaml"):
        load_tasks(folder)


def test_a_place_without_templates_is_an_error(tmp_path):
    for place in (tmp_path, tmp_path / "nothing.yaml"):
        with pytest.raises(TemplateError, match="no template files"):
            load_tasks(place)


def test_selection_by_data_set_and_task_keeps_the_order_asked_for(folder):
    tasks = load_tasks(folder)
    names = [task.name for task in select_tasks(tasks, ["ants/black/two", "birds", "ants/black"])]
    assert names == ["ants/black/two", "birds/one", "birds/two", "ants/black/one"]


def test_adding_a_name_at_the_end_renumbers_nothing(folder):
    tasks = load_tasks(folder)
    few = select_tasks(tasks, ["birds", "ants/red"])
    assert select_tasks(tasks, ["birds", "ants/red", "ants/black"])[: len(few)] == few


def test_unknown_name_suggests_near_ones(folder):
    tasks = load_tasks(folder)
    with pytest.raises(ValueError, match=r"no task, data set or mixture 'ants/blak'.*'ants/black'"):
        select_tasks(tasks, ["ants/blak"])
    with pytest.raises(ValueError, match=r"mixture 'black'. Did you mean 'ants/black'\?"):
        select_tasks(tasks, ["black"])
    with pytest.raises(ValueError, match="known data sets: birds, ants/red, ants/black"):
        select_tasks(tasks, ["zzz"])


def test_a_later_place_is_a_layer_above_an_earlier_one(folder, tmp_path):
    above = tmp_path / "above"
    above.mkdir()
    (above / "b.yaml").write_text(
        "dataset: birds\ntemplates:\n  two: {jinja: 'what ||| {{a}}'}\n  three: {jinja: 'x ||| y'}\n"
    )
    tasks = load_tasks(folder / "b.yaml", folder / "nested", above)
    assert [task.name for task in select_tasks(tasks, ["birds"])] == ["birds/two", "birds/three"]
    assert tasks["birds/two"].template.jinja == "what ||| {{a}}"
    # What is below stays within reach by its full name, and other data sets are not touched.
    assert select_tasks(tasks, ["birds/one"])[0].template.jinja == "{{a}} ||| {{b}}"
    assert len(select_tasks(tasks, ["ants/red"])) == 2


def test_a_file_without_subset_or_rows_takes_those_of_the_layer_below(tmp_path):
    (tmp_path / "anli.yaml").write_text("dataset: anli\ntemplates:\n  my: {jinja: '{{premise}} ||| {{label}}'}\n")
    tasks = load_tasks("no_prompt", tmp_path)
    chosen = select_tasks(tasks, ["anli/r2"])
    assert [task.name for task in chosen] == ["anli/r2/my"]
    assert chosen[0].source == load_tasks()["anli/r2/premise_hypothesis_yes_maybe_no"].source
    assert [task.name for task in select_tasks(load_tasks(tmp_path), ["anli"])] == ["anli/my"]


def test_promptsource_serves_every_set_of_t0(shared):
    tasks = load_tasks("no_prompt", shared / "promptsource" / "templates")
    chosen = select_tasks(tasks, ["t0", "t0_held_out"])
    assert {task.dataset for task in chosen} == {*T0_TRAINING, *T0_HELD_OUT}
    assert {task.place for task in chosen} == {shared / "promptsource" / "templates"}


def test_held_out_tasks_of_a_data_set_have_choices_where_some_have_and_ask_its_question(tmp_path):
    (tmp_path / "a.yaml").write_text(
        "dataset: birds\ntemplates:\n"
        "  asked: {answer_choices: a ||| b, jinja: '{{x}} ||| {{answer_choices[y]}}'}\n"
        "  free: {jinja: '{{x}} ||| {{z}}'}\n"
        "  other: {answer_choices: a ||| b, jinja: '{{z}} ||| a', metadata: {original_task: false}}\n"
    )
    (tmp_path / "b.yaml").write_text("dataset: ants\ntemplates:\n  free: {jinja: '{{x}} ||| {{z}}'}\n")
    tasks = load_tasks(tmp_path)
    assert [task.name for task in select_tasks(tasks, ["birds"], held_out=True)] == ["birds/asked"]
    # By its full name every task is to be had.
    assert [task.name for task in select_tasks(tasks, ["birds/other"], held_out=True)] == ["birds/other"]
    assert [task.name for task in select_tasks(tasks, ["ants"], held_out=True)] == ["ants/free"]


def test_for_training_a_target_need_not_be_among_the_choices():
    task = Task("a/b", "a", Template("b", "{{x}} ||| {{y}}.", "no ||| yes"))
    row = {"x": "is it", "y": "yes"}
    with pytest.raises(TemplateError, match="'yes.' is not among the answer choices"):
        task.example(row)
    assert task.example(row, check_answer=False) == Example("is it", "yes.", ["no", "yes"], None)


def test_files_that_editors_leave_beside_templates_are_not_read(folder):
    for name in ("._b.yaml", ".ipynb_checkpoints/b-checkpoint.yaml"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"\x00\x05\xff")
    assert len(load_tasks(folder)) == 6


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16"])
def test_a_template_file_of_another_encoding_is_named(folder, encoding):
    path = folder / "b.yaml"
    path.write_bytes(path.read_text().replace("one", "é").encode(encoding))
    with pytest.raises(TemplateError, match=r"b\.yaml is not UTF-8.*: save it as UTF-8\."):
        load_tasks(folder)
    path.write_bytes(path.read_bytes().decode(encoding).encode("utf-8-sig"))
    assert "birds/é" in load_tasks(folder)
