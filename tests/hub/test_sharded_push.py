"""A model that two processes hold in parts is pushed as a whole, with its card."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hub_server import WRITE
from test_push_and_load import ANSWER, CARRIED, FINAL_PUSH, READ_BACK, TRAIN

TESTS = Path(__file__).resolve().parents[1]
LAUNCHED = f"""
import json, sys
sys.path.append({str(TESTS / "trainers")!r})
from train_process import let_engines_run_on_cpus
let_engines_run_on_cpus()
globals().update(json.loads(sys.argv[1]))
{TRAIN}
{FINAL_PUSH}
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_fsdp2_pushes_the_whole_model_and_its_card(hub, reader, saved, tmp_path):
    options = {"push_to_hub": True, "hub_model_id": "me/sharded", "save_strategy": "no", "use_cpu": False}
    options |= {"fsdp": True, "fsdp_config": {"transformer_layer_cls_to_wrap": ["T5Block"]}, "stage": 2}
    names = {"saved": saved, "folder": str(tmp_path / "out"), "options": options}
    (tmp_path / "push.py").write_text(LAUNCHED)
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    environment |= {"HF_ENDPOINT": hub.url, "HF_TOKEN": WRITE, "HF_HUB_DISABLE_XET": "1", "OMP_NUM_THREADS": "1"}
    environment |= {"HF_HOME": str(tmp_path / "home"), "PYTHONPATH": str(TESTS.parent)}
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
        + [str(tmp_path / "push.py"), json.dumps(names)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    files = hub.files("me/sharded")
    assert set(files) - {"training_args.bin"} == CARRIED
    card = files["README.md"].decode()
    for name, code in json.loads(files["task_codes.json"]).items():
        assert name.replace("_", "\\_") in card or name in card
        assert str(code).replace("[", "\\[").replace("]", "\\]") in card
    assert "accuracy, Bitwise Search | 80.0%" in card and "| stage 2 |" in card
    codes = "value = model.task_codes().tolist()"
    pushed = reader(READ_BACK + codes, repo_id="me/sharded", options={"cache_dir": str(tmp_path)})
    assert pushed == list(json.loads(files["task_codes.json"]).values())[: len(pushed)]
    assert reader(READ_BACK + ANSWER, repo_id="me/sharded", options={"cache_dir": str(tmp_path)})
