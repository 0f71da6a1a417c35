"""Finding the code of a new task: Code Ensemble without labels, Bitwise Search with a few."""

from .bitwise_search import BitwiseSearch, BitwiseSearchResult
from .callbacks import SearchCallback, SearchControl, SearchState
from .code_ensemble import CodeEnsemble, CodeEnsembleResult
from .code_search import CodeSearchResult
from .config import SearchConfig
from .population_search import PopulationSearch, PopulationSearchResult
from .prompt_adapter import load_prompt_adapter, save_prompt_adapter, vocabulary_prompt
from .prompt_tuning import PromptTuningResult, TunedPrompt, tune_prompt
from .scoring.calibration import batch_calibration
from .scoring.code_scorer import CodeScorer
from .scoring.codes import get_code_space, task_code_space
from .scoring.fingerprints import examples_fingerprint, model_fingerprint
from .scoring.objectives import OBJECTIVES, Objective
from .scoring.prompt_scorer import PromptScorer
from .task_code_search import TaskCodeSearchResult, best_training_code
from .trials import Trial
from .until_solved import UntilSolvedResult, search_until_solved

__all__ = [
    "OBJECTIVES",
    "BitwiseSearch",
    "BitwiseSearchResult",
    "CodeEnsemble",
    "CodeEnsembleResult",
    "CodeScorer",
    "CodeSearchResult",
    "Objective",
    "PopulationSearch",
    "PopulationSearchResult",
    "PromptScorer",
    "PromptTuningResult",
    "SearchCallback",
    "SearchConfig",
    "SearchControl",
    "SearchState",
    "TaskCodeSearchResult",
    "Trial",
    "TunedPrompt",
    "UntilSolvedResult",
    "batch_calibration",
    "best_training_code",
    "get_code_space",
    "examples_fingerprint",
    "load_prompt_adapter",
    "model_fingerprint",
    "save_prompt_adapter",
    "search_until_solved",
    "task_code_space",
    "tune_prompt",
    "vocabulary_prompt",
]
