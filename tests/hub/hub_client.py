"""Runs snippets in a process that talks to a Hub; `snippet_process.py` is that process."""

import json
import os
import subprocess
import sys
import sysconfig
import threading
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent


class HubError(Exception):
    """What a snippet raised; `kind` is the error's type."""

    def __init__(self, answer: dict):
        super().__init__(answer["message"])
        self.kind, self.traceback = answer["error"], answer.get("traceback", "")


class Client:
    """A process with the Hub's client; see `snippet_process.py`."""

    def __init__(self, url: str, home: Path, imports: str | None = None, offline: bool = False):
        home.mkdir(parents=True, exist_ok=True)
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("HF_") and name not in ("PYTHONPATH", "HUGGING_FACE_HUB_TOKEN")
        } | {"HF_ENDPOINT": url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
        environment |= {"OMP_NUM_THREADS": "1", "HF_HUB_DOWNLOAD_TIMEOUT": "60", "HF_HUB_ETAG_TIMEOUT": "60"}
        # -S below: no .pth files, so that a development install of this project is not seen; the libraries are.
        libraries = sysconfig.get_path("purelib")
        environment["PYTHONPATH"] = f"{HERE.parents[1]}{os.pathsep}{libraries}" if imports else libraries
        if offline:
            environment["HF_HUB_OFFLINE"] = "1"
        command = [sys.executable, "-S", str(HERE / "snippet_process.py"), *([imports] if imports else [])]
        self.process = subprocess.Popen(
            command, cwd=home, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.ready = False
        self.output = ""

    def __call__(self, code: str, token: str | None = None, **names: Any) -> Any:
        """Run a snippet with these variables, and return its variable `value`; raises a `HubError` if it raises."""
        if not self.ready:
            self.ready = self._line() == "ready\n"
        request = {"code": code, "env": {"HF_TOKEN": token} if token else {}, "names": names}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self._line())
        self.output = answer["output"]
        if "error" in answer:
            raise HubError(answer)
        return answer["value"]

    def _line(self) -> str:
        """The next line; a process that says nothing for five minutes is ended, so that no test waits for ever."""
        watch = threading.Timer(300, self.process.kill)
        watch.start()
        try:
            line = self.process.stdout.readline()
        finally:
            watch.cancel()
        assert line, "the client process has ended"
        return line

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


def fails(client: Client, kind: str, code: str, token: str | None = None, **names: Any) -> str:
    """The message, on one line, of the error of that type which the snippet must raise."""
    with pytest.raises(HubError) as caught:
        client(code, token, **names)
    assert caught.value.kind == kind, caught.value.traceback
    assert "\n" not in str(caught.value)
    return str(caught.value)


def fails_in_transformers(client: Client, code: str, token: str | None = None, **names: Any) -> str:
    """The message of the error that transformers raises for the snippet; it may be of several lines."""
    with pytest.raises(HubError) as caught:
        client(code, token, **names)
    assert caught.value.kind in ("OSError", "ValueError"), caught.value.traceback
    return str(caught.value)
