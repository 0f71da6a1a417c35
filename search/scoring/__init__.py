"""What the language model makes of codes and prompt vectors: scores of answers, and the objectives made of them."""

from .calibration import batch_calibration
from .code_scorer import CodeScorer
from .codes import CodeSpace, check_codes, get_code_space, task_code_space
from .fingerprints import examples_fingerprint, model_fingerprint
from .objectives import OBJECTIVES, Objective
from .prompt_scorer import PromptScorer

__all__ = [
    "OBJECTIVES",
    "CodeScorer",
    "CodeSpace",
    "Objective",
    "PromptScorer",
    "batch_calibration",
    "check_codes",
    "get_code_space",
    "examples_fingerprint",
    "model_fingerprint",
    "task_code_space",
]
