"""Small solvers whose model is random, and texts to learn from."""

import random

import pytest

from prediction import TaskSolver

QUICK = {"method": "bitwise_search", "folds": 2, "search_epochs": 1, "progress": False}


@pytest.fixture(scope="session")
def make_solver(tiny_ctr_model, tiny_tokenizer):
    """`make_solver(**fields)`: a solver with a random model of its own, which knows three training tasks."""

    def build(**fields) -> TaskSolver:
        return TaskSolver(tiny_ctr_model(**fields), tiny_tokenizer)

    return build


@pytest.fixture
def solver(make_solver) -> TaskSolver:
    return make_solver()


@pytest.fixture(scope="session")
def reviews() -> tuple[list[str], list[str]]:
    """24 texts of several lengths, and their labels, "w10" and "w11" in turn."""
    draw = random.Random(0)
    texts = [" ".join(f"w{draw.randrange(12, 64)}" for _ in range(draw.randrange(2, 9))) for _ in range(24)]
    return texts, [("w10", "w11")[i % 2] for i in range(24)]


@pytest.fixture
def quick():
    """Arguments of a fit that takes a moment."""
    return dict(QUICK)


@pytest.fixture(scope="session")
def fitted(make_solver, reviews) -> TaskSolver:
    """A solver that knows "reviews", of words, "stars", of integers, and "fields", of booleans. Not to be changed."""
    solver = make_solver()
    texts, labels = reviews
    solver.fit(texts, labels, name="reviews", calibrate=True, **QUICK)
    stars = [1 if label == "w10" else 5 for label in labels]
    solver.fit(texts, stars, answers={5: "w20", 1: "w21 w22"}, name="stars", **QUICK)
    rows = [{"first": text, "second": "w3 w4"} for text in texts]
    solver.fit(rows, [label == "w10" for label in labels], answers={True: "w7", False: "w8"}, name="fields", **QUICK)
    return solver
