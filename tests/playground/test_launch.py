"""The app's server, in this process."""

import runpy
import socket
import sys
from pathlib import Path

import httpx
import pytest

from modeling_ctr import load_task_code

pytest.importorskip("gradio", reason="the app needs gradio: pip install -e .[app]")

from gradio_client import Client

from playground.handlers import ENSEMBLE, Handlers
from playground.launch import launch, main
from playground.page import build_page


def test_no_checkpoint():
    with pytest.raises(SystemExit, match="^Error: There is no checkpoint 'nowhere/at-all'"):
        main(["nowhere/at-all"])


def test_port_in_use(checkpoint, tmp_path):
    checkpoint.model.save_pretrained(tmp_path)
    checkpoint.tokenizer.save_pretrained(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit) as exit:
            main([str(tmp_path), "--port", str(port)])
    assert exit.value.code == f"Error: port {port} is in use; name another with --port."


@pytest.fixture(scope="module")
def address(checkpoint):
    blocks = build_page(Handlers(checkpoint))
    launch(blocks, None, block_thread=False)
    yield blocks.local_url
    blocks.close()


def test_it_takes_no_uploads(address):
    assert "tiny: tasks as codes" in httpx.get(address).text
    files = {"files": ("big.txt", b"x" * 100_000)}
    assert httpx.post(f"{address}gradio_api/upload", files=files).status_code == 413


def test_the_page_calls_its_handlers(address):
    """The addresses that the page's own script calls, with what its parts hold."""
    page = Client(address, verbose=False)
    _, *code = page.predict("ag_news", api_name="/choose")
    assert len(code) == 4
    written, probabilities, nearest, note = page.predict("w5 w6", "w7 w8\nw9", *code, api_name="/answer")
    assert {answer["label"] for answer in probabilities["confidences"]} == {"w7 w8", "w9"}
    assert (nearest, note) == ("This is the code of **ag_news**.", "")
    search = page.submit(ENSEMBLE, "w5 w6\nw7 w8\nw9 w10", "w7 w8\nw9", "new", 50, api_name="/search")
    status, _, found, predictions, file, *_ = search.result()
    assert "3 codes voted" in status and len(found.split()) == 4 and len(predictions["value"]["data"]) == 3
    assert load_task_code(file["value"]).name == "new"
    assert "Codebook of tiny" in page.predict(api_name="/report")


def test_without_gradio(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)  # as if it were not installed
    monkeypatch.delitem(sys.modules, "playground.launch")
    with pytest.raises(SystemExit, match="^Error: the app needs gradio, which is not installed: pip install"):
        runpy.run_path(str(Path(__file__).resolve().parents[2] / "app.py"))
