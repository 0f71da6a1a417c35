"""A scikit-learn classifier of texts: a task learned by a `TaskSolver`, for `cross_val_score`, `Pipeline` and their like."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from search.config import SearchConfig

from .fit_result import FitResult
from .task_solver import TaskSolver
from .task_texts import Text

TASK = "task"


class TaskClassifier(ClassifierMixin, BaseEstimator):
    """Learns the labels of texts as `TaskSolver.fit` does. The model is shared between clones, and none of them changes it.

    Args:
        model: A solver, or the folder or Hub name of a CTR model.
        answers: Text that stands for each label, see `TaskSolver.fit`, as are the following.
        template: Jinja source of the input.
        method: Name of a method, or "auto", which needs `folds`.
        config: Objective and budget of the searches.
        folds: Number of folds for an estimate of its own; 0 for none, as scikit-learn measures itself.
        calibrate: Whether to fit a temperature and a prior.
        seed: Random seed of the searches and the folds.

    Attributes:
        classes_ (`np.ndarray`): Labels, sorted, in the order of `predict_proba`.
        result_ ([`FitResult`]): What was found.
        solver_ ([`TaskSolver`]): The solver that has learned it.
    """

    def __init__(
        self,
        model: TaskSolver | str | os.PathLike,
        *,
        answers: Mapping[Any, str] | Sequence[str] | None = None,
        template: str | None = None,
        method: str = "bitwise_search",
        config: SearchConfig | None = None,
        folds: int = 0,
        calibrate: bool = False,
        seed: int = 42,
    ):
        self.model = model
        self.answers = answers
        self.template = template
        self.method = method
        self.config = config
        self.folds = folds
        self.calibrate = calibrate
        self.seed = seed

    def fit(self, X: Sequence[Text], y: Sequence[Any]) -> "TaskClassifier":
        """Learn the labels `y` of the texts `X`, strings or rows of fields.

        Raises:
            ValueError: They cannot be worked with; the message says what and where.
        """
        solver = self.model.copy() if isinstance(self.model, TaskSolver) else TaskSolver.from_pretrained(self.model)
        asked = {name: value for name, value in self.get_params(deep=False).items() if name != "model"}
        self.result_: FitResult = solver.fit(X, y, name=TASK, progress=False, **asked)
        self.solver_ = solver
        self.classes_ = np.array(solver.classes_(TASK))
        return self

    def predict(self, X: Sequence[Text]) -> np.ndarray:
        """The most probable label of each text, `(n,)`."""
        check_is_fitted(self)
        return np.array(self.solver_.predict(X, TASK, progress=False))

    def predict_proba(self, X: Sequence[Text]) -> np.ndarray:
        """Probabilities of the labels, `(n, classes)`, float32, as precise as the model is at most."""
        check_is_fitted(self)
        return self.solver_.predict_proba(X, TASK, progress=False).astype(np.float32)

    def __sklearn_clone__(self) -> "TaskClassifier":
        # scikit-learn would copy the weights for each clone.
        return type(self)(**self.get_params(deep=False))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string, tags.input_tags.two_d_array = True, False
        tags.no_validation = True  # texts, whatever their shape
        return tags
