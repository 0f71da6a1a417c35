"""A Hub on this machine, and two people who use it: an author with this project, and a reader without it."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for the helpers beside this file

from hub_client import Client
from hub_server import OTHER, READ, WRITE, HubServer, User


@pytest.fixture(scope="session")
def hub_process() -> Iterator[HubServer]:
    with HubServer() as server:
        server.tokens |= {WRITE: User("me"), READ: User("me", write=False), OTHER: User("other")}
        yield server


@pytest.fixture
def hub(hub_process: HubServer) -> HubServer:
    """The Hub, empty and well."""
    hub_process.repositories.clear()
    hub_process.blobs.clear()
    hub_process.lfs.clear()
    hub_process.faults.clear()
    hub_process.log.clear()
    return hub_process


@pytest.fixture(scope="session")
def author(hub_process, tmp_path_factory) -> Iterator[Client]:
    """Runs snippets in a process that has this project."""
    client = Client(hub_process.url, tmp_path_factory.mktemp("author"), imports="trainers.hub")
    yield client
    client.close()


@pytest.fixture(scope="session")
def reader_home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("reader")


@pytest.fixture(scope="session")
def reader(hub_process, reader_home) -> Iterator[Client]:
    """Runs snippets in a process that cannot import this project."""
    client = Client(hub_process.url, reader_home)
    yield client
    client.close()


@pytest.fixture(scope="session")
def saved(tiny_ctr_model, tiny_tokenizer, tmp_path_factory) -> str:
    """Folder of a tiny model with tokenizer, as the author has it."""
    folder = tmp_path_factory.mktemp("saved") / "ctr-tiny"
    model = tiny_ctr_model(added_task_codes={"rte": [1, 0, 7, 3]})
    model.add_tuned_task("rte, tuned", 0.5 * model.get_task_vectors("ag_news"))
    model.save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return str(folder)
