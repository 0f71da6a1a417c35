"""A solver on the Hub: the tasks that it has learned come with the model, and another one answers alike."""

import pytest
from hub_server import READ, WRITE

LEARN_AND_PUSH = """
from task_codes import TaskSolver
solver = TaskSolver.from_pretrained(saved)
texts = [f"w{i} w{60 - i}" for i in range(20, 28)]
asked = {"answers": {0: "w3", 1: "w4"}, "method": "training_code", "folds": 2, "calibrate": True, "progress": False}
solver.fit(texts, [0, 1] * 4, name="reviews", **asked)
url = solver.push_to_hub("me/solver")
value = [url, solver.predict(texts, "reviews"), solver.predict_proba(texts, "reviews").tolist()]
"""
LOAD = """
from task_codes import TaskSolver
texts = [f"w{i} w{60 - i}" for i in range(20, 28)]
solver = TaskSolver.from_pretrained("me/solver", revision=revision)
value = [solver.predict(texts, "reviews"), solver.predict_proba(texts, "reviews").tolist()]
"""


@pytest.mark.slow
def test_what_a_solver_has_learned_is_on_the_hub(hub, author, saved):
    url, labels, probabilities = author(LEARN_AND_PUSH, WRITE, saved=saved)
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= set(hub.files("me/solver"))
    found, as_before = author(LOAD, READ, revision=url.rsplit("/", 1)[1])
    assert found == labels and set(found) <= {0, 1}
    for row, expected in zip(as_before, probabilities, strict=True):
        assert row == pytest.approx(expected, abs=1e-6)
