"""The app as a Space: what is pushed runs by itself, and takes its model from the Hub."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
from hub_client import fails
from hub_server import READ, WRITE
from huggingface_hub import SpaceCard
from test_push_and_load import AUTHOR_LOADS

PUSH = """
from playground.space import push_space
from trainers.hub import push_to_hub
push_to_hub(model, tokenizer, "me/ctr")
value = push_space("me/app", "me/ctr")
"""
DOWNLOAD = """
from huggingface_hub import snapshot_download
snapshot_download("me/app", repo_type="space", local_dir=folder)
"""


@pytest.mark.slow
def test_the_app_runs_as_a_space(hub, author, reader, saved, tmp_path):
    pytest.importorskip("gradio", reason="the app needs gradio: pip install -e .[app]")
    assert author(AUTHOR_LOADS + PUSH, WRITE, saved=saved) == f"{hub.url}/spaces/me/app"
    reader(DOWNLOAD, folder=str(tmp_path / "space"))
    card = SpaceCard.load(tmp_path / "space" / "README.md")
    assert (card.data.sdk, card.data.app_file, card.data.models) == ("gradio", "app.py", ["me/ctr"])
    requirements = (tmp_path / "space" / "requirements.txt").read_text()
    assert "transformers==" in requirements and all("==" in line for line in requirements.splitlines())

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "HF_HUB_OFFLINE")}
    environment |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
    environment |= hub.repositories["spaces/me/app"].variables | {"GRADIO_SERVER_PORT": str(port)}
    process = subprocess.Popen(
        [sys.executable, "app.py"], cwd=tmp_path / "space", env=environment, stderr=subprocess.PIPE, text=True
    )
    try:
        assert "ctr: tasks as codes" in page_of(f"http://127.0.0.1:{port}/", process)
    finally:
        process.kill()
        process.communicate()


def page_of(address: str, process: subprocess.Popen) -> str:
    """The page, as soon as there is one."""
    end = time.monotonic() + 300
    while True:
        try:
            with urllib.request.urlopen(address, timeout=5) as response:
                return response.read().decode()
        except (urllib.error.URLError, TimeoutError):
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < end, "the app did not start"
            time.sleep(0.3)


@pytest.mark.slow
def test_a_space_that_cannot_be_pushed_says_why(hub, author):
    push = "from playground.space import push_space\npush_space('me/app', model)"
    message = fails(author, "ValueError", push, WRITE, model="out/demo/stage2")
    assert message.startswith("'out/demo/stage2' is no repository on the Hub") and "push it first" in message
    message = fails(author, "OSError", push, READ, model="me/ctr")
    assert message.startswith("Pushing to the Space 'me/app' failed: your token may not do that")
    hub.faults.append(("POST", "/commit/", 503))
    assert "the Hub has a fault of its own (503)" in fails(author, "OSError", push, WRITE, model="me/ctr")
