"""A process that talks to the Hub in `HF_ENDPOINT`, for people with different tokens and caches.

Importing the libraries takes most of a test's time, so it does that once, and forks for every snippet that comes in.
Lines in: `{"code": ..., "env": {...}, "names": {...}}`. Lines out: `{"value": ...}`, the snippet's variable `value`, or
`{"error": type, "message": ...}`; in both `"output"`, what it printed or logged.
"""

import io
import json
import os
import sys
import traceback
from contextlib import redirect_stderr, redirect_stdout

import huggingface_hub
import transformers
from huggingface_hub.utils import _http
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, T5ForConditionalGeneration  # noqa: F401 - for the snippets
from transformers.models.t5 import modeling_t5  # noqa: F401


def run(request: dict) -> dict:
    os.environ.update(request["env"])
    # The client waits up to 23 seconds between its tries; nobody is helped by that here.
    _http.time = type("time", (), {"sleep": lambda seconds: None, "time": staticmethod(__import__("time").time)})
    output = io.StringIO()
    names = dict(request["names"])
    result: dict = {}
    with redirect_stdout(output), redirect_stderr(output):
        try:
            exec(compile(request["code"], "snippet", "exec"), names)
            result["value"] = names.get("value")
        except BaseException as error:
            result |= {"error": type(error).__name__, "message": str(error), "traceback": traceback.format_exc()}
    return result | {"output": output.getvalue()}


def serve() -> None:
    requests, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever prints there goes astray
    transformers.utils.logging.disable_progress_bar()
    huggingface_hub.utils.disable_progress_bars()
    if sys.argv[1:]:
        __import__(sys.argv[1])
    print("ready", file=answers, flush=True)
    for line in requests:
        child = os.fork()
        if child == 0:
            try:
                answer = json.dumps(run(json.loads(line)))
            except BaseException:
                answer = json.dumps(
                    {"error": "in snippet_process.py", "message": traceback.format_exc(), "output": ""}
                )
            print(answer, file=answers, flush=True)
            os._exit(0)
        os.waitpid(child, 0)


if __name__ == "__main__":
    serve()
