"""Finding the code of a new task: Code Ensemble without labels, Bitwise Search with a few."""

from .bitwise_search import BitwiseSearch
from .code_ensemble import CodeEnsemble
from .population_search import PopulationSearch
from .prompt_tuning import TunedPrompt, load_prompt_adapter, save_prompt_adapter, tune_prompt, vocabulary_prompt
from .results import BitwiseSearchResult, CodeEnsembleResult, PromptTuningResult, TaskCodeSearchResult
from .scoring.calibration import batch_calibration
from .scoring.code_scorer import CodeScorer
from .scoring.codes import code_space_of, task_code_space
from .scoring.fingerprints import examples_fingerprint, model_fingerprint
from .scoring.objectives import OBJECTIVES, Objective
from .scoring.prompt_scorer import PromptScorer
from .task_code_search import best_training_code

__all__ = [
    "OBJECTIVES",
    "BitwiseSearch",
    "BitwiseSearchResult",
    "CodeEnsemble",
    "CodeEnsembleResult",
    "CodeScorer",
    "Objective",
    "PopulationSearch",
    "PromptScorer",
    "PromptTuningResult",
    "TaskCodeSearchResult",
    "TunedPrompt",
    "batch_calibration",
    "best_training_code",
    "code_space_of",
    "examples_fingerprint",
    "load_prompt_adapter",
    "model_fingerprint",
    "save_prompt_adapter",
    "task_code_space",
    "tune_prompt",
    "vocabulary_prompt",
]
