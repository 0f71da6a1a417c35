import pytest
import torch
from datasets import Dataset, IterableDataset

from trainers import CTRTrainingArguments
from trainers.training_record import (
    TrainingRecord,
    check_record,
    compute_data_digest,
    get_training_record,
    is_made_longer,
    read_record,
)


@pytest.fixture
def record(mixture, tmp_path):
    def build(dataset=mixture, **fields) -> TrainingRecord:
        settings = {"output_dir": str(tmp_path), "report_to": "none", "use_cpu": True, "max_steps": 8} | fields
        return get_training_record(CTRTrainingArguments(**settings), dataset)

    return build


def changed(mixture: Dataset) -> list[Dataset]:
    """The mixture with one token, one task, the order or the number of its rows changed."""
    rows = mixture.to_list()
    token, task = [dict(row) for row in rows], [dict(row) for row in rows]
    token[70]["input_ids"] = [*token[70]["input_ids"][:-2], 63, 1]
    task[70]["task_id"] = (task[70]["task_id"] + 1) % 3
    return [
        Dataset.from_list(token),
        Dataset.from_list(task),
        mixture.select(range(1, 96)),
        mixture.select(range(95, -1, -1)),
    ]


def test_the_digest_of_a_data_set_tells_its_rows(mixture):
    digest = compute_data_digest(mixture)
    assert digest == compute_data_digest(Dataset.from_list(mixture.to_list()).add_column("other", range(96)))
    digests = {digest, *map(compute_data_digest, changed(mixture))}
    assert len(digests) == 5


def test_the_digest_of_other_data_sets(mixture):
    def stream(rows: Dataset) -> IterableDataset:
        return rows.to_iterable_dataset()

    for wrap in (list, stream, lambda rows: rows.with_format("torch").to_list()):
        other = changed(mixture)[2]
        assert (
            compute_data_digest(wrap(mixture))
            == compute_data_digest(wrap(mixture))
            != compute_data_digest(wrap(other))
        )
    read = stream(mixture)
    before = read.state_dict()
    compute_data_digest(read)
    assert read.state_dict() == before
    assert compute_data_digest(torch.utils.data.ChainDataset([])) is None  # reading might use it up


def test_what_may_not_change_on_the_way(record, mixture, tmp_path):
    first = record()
    check_record(tmp_path, first)  # nothing is known of it
    first.write(tmp_path)
    assert read_record(tmp_path) == first
    check_record(tmp_path, record(per_device_train_batch_size=4, gradient_accumulation_steps=2, max_steps=9))
    with pytest.raises(ValueError, match="has 8 examples, not 16 examples: give a batch size and accumulation steps"):
        check_record(tmp_path, record(gradient_accumulation_steps=2))
    with pytest.raises(ValueError, match="has 8 examples, not at most 90 tokens"):
        check_record(tmp_path, record(per_device_train_tokens=90))
    message = "training data is not that of the training in '.*' any more"
    with pytest.raises(ValueError, match=rf"{message} \(96 examples then, 95 now\): put it back, or train"):
        check_record(tmp_path, record(changed(mixture)[2]))
    with pytest.raises(ValueError, match=rf"{message} \(as many examples, but not the same\)"):
        check_record(tmp_path, record(changed(mixture)[0]))
    check_record(tmp_path, record(changed(mixture)[0]), any_data=True)
    check_record(tmp_path, record(gradient_accumulation_steps=2), any_step=True)


def test_a_finished_training_is_only_made_longer(record, tmp_path):
    assert not is_made_longer(tmp_path, record())
    record().write(tmp_path)
    assert not is_made_longer(tmp_path, record())
    assert is_made_longer(tmp_path, record(max_steps=9))
    with pytest.raises(ValueError, match="finished training of 8 steps, which cannot become one of 7 steps"):
        is_made_longer(tmp_path, record(max_steps=7))
    epochs = {"max_steps": -1, "num_train_epochs": 2.5}
    with pytest.raises(ValueError, match="finished training of 8 steps, which cannot become one of 2.5 epochs"):
        is_made_longer(tmp_path, record(**epochs))
    record(**epochs).write(tmp_path)
    assert is_made_longer(tmp_path, record(max_steps=-1, num_train_epochs=2.7))


def test_a_finished_training_of_an_earlier_version(record, tmp_path):
    (tmp_path / "trainer_state.json").write_text('{"global_step": 8}')
    assert not is_made_longer(tmp_path, record())
    assert is_made_longer(tmp_path, record(max_steps=9))


def test_a_run_does_not_go_on_with_other_data_or_another_step(build, train, mixture, tmp_path):
    settings = {"output_dir": str(tmp_path), "stage": 1, "save_strategy": "steps", "save_steps": 4}
    train(build(), max_steps=4, **settings)
    other = changed(mixture)[0]
    with pytest.raises(ValueError, match="data is not that of the training in '.*checkpoint-4' any more"):
        train(build(), True, train_dataset=other, **settings)
    with pytest.raises(ValueError, match="A step of the training in '.*checkpoint-4' has 8 examples, not 16"):
        train(build(), True, gradient_accumulation_steps=2, **settings)
    with pytest.raises(
        ValueError, match="'.*checkpoint-4' has 4 steps behind it, but `max_steps` is 3: give at least"
    ):
        train(build(), True, **settings | {"max_steps": 3})
    assert train(build(), True, train_dataset=other, ignore_data_skip=True, **settings).state.global_step == 8


@pytest.mark.parametrize("steps", [4, 12])  # within an epoch, at its end
def test_no_step_is_taken_after_the_last(build, train, tmp_path, steps):
    settings = {"output_dir": str(tmp_path), "stage": 1, "save_strategy": "steps", "save_steps": 4, "max_steps": steps}
    first = train(build(), **settings)
    again = train(build(), True, **settings)  # as after a kill between the last checkpoint and the end
    assert again.state.global_step == steps
    for name, weights in first.model.state_dict().items():
        assert torch.equal(weights, again.model.state_dict()[name])
