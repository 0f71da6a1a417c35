"""Text in, answers out: tasks learned from a few texts, and predictions that one can use."""

from .calibration import Calibration, expected_calibration_error, fit_calibration
from .config import METHODS, FitConfig
from .estimator import TaskClassifier
from .fit_result import Estimate, FitResult, TriedMethod
from .task_solver import TaskSolver

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
