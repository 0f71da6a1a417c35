"""Names of methods, as they stand in scores."""

MAJORITY, RAW_LM, MEAN_CODE = "majority class", "raw LM", "mean training code"
BEST_BY_LOSS, BEST_BY_ACCURACY = "training code by loss", "training code by accuracy"
BITWISE_SEARCH, POPULATION_SEARCH = "Bitwise Search", "Population Search"
CODE_ENSEMBLE = "Code Ensemble"
CALIBRATED = ", calibrated"
T0, PROMPT_BY_LOSS, PROMPT_BY_VOTE = "T0", "T0, prompt by loss", "T0, prompt by vote (ZPS)"

BASELINES = (MAJORITY, RAW_LM, MEAN_CODE)
# Whose codes become part of the checkpoint, and whose worth a task's verdict is about: the first that was run.
KEPT_METHODS = (BITWISE_SEARCH, POPULATION_SEARCH, CODE_ENSEMBLE)
