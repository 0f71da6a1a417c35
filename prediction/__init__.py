"""Text in, answers out: tasks learned from a few texts, and predictions that one can use."""

from typing import TYPE_CHECKING, Any

from .calibration import Calibration, expected_calibration_error, fit_calibration
from .config import METHODS, FitConfig
from .fit_result import Estimate, FitResult, TriedMethod
from .task_solver import TaskSolver

if TYPE_CHECKING:
    from .estimator import TaskClassifier

__all__ = [
    "METHODS",
    "Calibration",
    "Estimate",
    "FitConfig",
    "FitResult",
    "TaskClassifier",
    "TaskSolver",
    "TriedMethod",
    "expected_calibration_error",
    "fit_calibration",
]


def __getattr__(name: str) -> Any:
    """Import what needs scikit-learn where it is asked for."""
    if name != "TaskClassifier":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .estimator import TaskClassifier

    return TaskClassifier
