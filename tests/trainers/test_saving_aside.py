import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from modeling_ctr import CTRForConditionalGeneration
from trainers.hub import save_for_hub
from trainers.saving_aside import finish_moving, saved_aside


def with_found_tasks(saved: Path) -> CTRForConditionalGeneration:
    model = CTRForConditionalGeneration.from_pretrained(saved)
    model.add_task("found", [0, 0, 0, 1])
    model.add_tuned_task("tuned", torch.ones(4, model.config.text_config.hidden_size))
    return model


def killed(work: Callable[[], None], when: Callable[[Path], bool]) -> bool:
    """Do the work in a process that kills itself just before it moves a file of which `when` is true."""
    child = os.fork()
    if child == 0:
        move = os.replace

        def replace(source, target):
            if when(Path(source)):
                os.kill(os.getpid(), signal.SIGKILL)
            return move(source, target)

        os.replace = replace
        work()
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.mark.parametrize(
    "file",
    [
        "_saving",
        "model.safetensors",
        "task_codes.json",
        "modeling_ctr.py",
        "README.md",
        "tokenizer.json",
        "config.json",
    ],
)
def test_whichever_file_a_kill_comes_at_the_model_loads(file, tiny_ctr_model, tiny_tokenizer, tmp_path):
    save_for_hub(tiny_ctr_model(), tiny_tokenizer, tmp_path)
    before = CTRForConditionalGeneration.from_pretrained(tmp_path)
    model = with_found_tasks(tmp_path)
    # `task_codes.json` is also moved while all is written aside.
    assert killed(lambda: save_for_hub(model, tiny_tokenizer, tmp_path), lambda path: path.name == file)
    between = CTRForConditionalGeneration.from_pretrained(tmp_path)
    for name, weights in before.state_dict().items():
        assert torch.equal(weights, between.state_dict()[name])
    saved_all = (tmp_path / "_saved").is_dir()
    finish_moving(tmp_path)
    assert ("found" in CTRForConditionalGeneration.from_pretrained(tmp_path).task_names) == saved_all
    save_for_hub(model, tiny_tokenizer, tmp_path)
    after = CTRForConditionalGeneration.from_pretrained(tmp_path)
    assert after.task_names[-2:] == ["found", "tuned"] and after.get_task_vectors("tuned").eq(1).all()
    assert not list(tmp_path.glob("_*"))


def test_a_save_that_fails_changes_nothing(tiny_ctr_model, tiny_tokenizer, tmp_path):
    save_for_hub(tiny_ctr_model(), tiny_tokenizer, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(OSError), saved_aside(tmp_path) as folder:
        (folder / "config.json").write_text("half")
        raise OSError("no space left")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_weights_in_several_files_take_the_place_of_one_and_back(tiny_ctr_model, tmp_path):
    for seed, size in enumerate(("1GB", "10KB", "20KB", "1GB")):
        model = tiny_ctr_model(seed=seed)
        with saved_aside(tmp_path) as folder:
            model.save_pretrained(folder, max_shard_size=size)
        assert torch.equal(CTRForConditionalGeneration.from_pretrained(tmp_path).task_codes(), model.task_codes())
        files = {path.name for path in tmp_path.glob("*.safetensors")}
        if size == "1GB":
            assert files == {"model.safetensors"} and not (tmp_path / "model.safetensors.index.json").exists()
        else:
            index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
            assert len(files) > 1 and files == set(index["weight_map"].values())
