"""CTR on one held-out data set: training codes, Bitwise Search, Code Ensemble, and what they are worth."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from evaluation.dataset_run import DatasetRun, FoundCode
from evaluation.examples import TemplateExamples, select_common_rows
from evaluation.judge import Judge
from evaluation.kept_results import keep, load_kept
from evaluation.method_names import (
    BEST_BY_ACCURACY,
    BEST_BY_LOSS,
    BITWISE_SEARCH,
    CALIBRATED,
    CODE_ENSEMBLE,
    POPULATION_SEARCH,
)
from evaluation.result_files import get_file_name
from evaluation.score import Score
from evaluation.settings import HeldOutSettings
from evaluation.uncertainty import compute_guessing_loss
from safe_files import write_json
from search import (
    OBJECTIVES,
    BitwiseSearch,
    CodeEnsemble,
    CodeScorer,
    CodeSearchResult,
    PopulationSearch,
    best_training_code,
    task_code_space,
)
from tasks import DataError


def find_codes(run: DatasetRun) -> list[FoundCode]:
    """Find codes by every search of the settings.

    Results and traces are written into the run's folder as they come; what is finished is not computed again, unless
    the model, the examples or the settings are others by now.

    Raises:
        DataError: Code Ensemble is asked for and a task has no answer choices.
        KeyboardInterrupt: A search was interrupted; called again, this goes on with it.
    """
    if not run.is_ctr or not run.settings.finds_codes:
        return []
    finished = run.folder / "found_codes.json"
    asked = {**run.inputs, "settings": asdict(run.search) | _get_asked_searches(run.settings)}
    kept = load_kept(finished, asked, load_found_codes)
    if kept is not None:
        return kept
    if run.settings.do_code_ensemble:
        for each in run.examples:
            if not each.task.has_choices:
                raise DataError(
                    f"Task {each.task.name!r} has no answer choices, which Code Ensemble votes between; Bitwise Search "
                    "needs none."
                )
    run.folder.mkdir(parents=True, exist_ok=True)
    found = []
    if run.settings.searches_with_labels:
        for each in run.examples:
            found += search_with_labels(run, each)
    if run.settings.do_code_ensemble:
        found += search_by_vote(run)
    keep(partial(write_json, finished, {"asked": asked, "found": [asdict(each) for each in found]}))
    return found


def load_found_codes(path: Path) -> tuple[list[FoundCode], dict[str, Any]]:
    """Load what an earlier run found, and what it was asked.

    Raises:
        ValueError: The file is damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return [FoundCode(**found) for found in content["found"]], dict(content["asked"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"'{path}' is damaged; the searches' traces beside it are not.") from error


def search_with_labels(run: DatasetRun, examples: TemplateExamples) -> list[FoundCode]:
    """Find the best training code, by loss and where there are choices by accuracy, and search, under one template."""
    template = examples.task.template.name
    file_name = get_file_name(template)
    start = time.perf_counter()
    scorer = CodeScorer(run.model, examples.few_shot)
    scorer.make_repeatable()  # as the search's trace asks, which else would score these codes again
    training = best_training_code(scorer, objective=run.search.objective)
    training.save(run.folder / f"training_code_{file_name}.json")
    cost: dict[str, Any] = {"labelled": scorer.num_examples, "evaluations": len(training.table)}
    cost["seconds"] = time.perf_counter() - start
    codes = {BEST_BY_LOSS: training.code}
    if scorer.has_choices:
        codes[BEST_BY_ACCURACY] = training.best_by_accuracy().code
    found = [
        FoundCode(template, method, code, **cost, **compute_few_shot_losses(scorer, code))
        for method, code in codes.items()
    ]
    for method, kind in ((BITWISE_SEARCH, BitwiseSearch), (POPULATION_SEARCH, PopulationSearch)):
        if method not in _get_methods(run.settings):
            continue
        start = time.perf_counter()
        name = f"{method.lower().replace(' ', '_')}_{file_name}"
        # Codes that another search has scored would be free of cost.
        own_scorer = scorer if kind is BitwiseSearch else CodeScorer(run.model, examples.few_shot)
        search = kind(
            own_scorer,
            task_code_space(run.model),
            run.search,
            seed=run.seed,
            trace_path=run.folder / f"{name}.jsonl",
        )
        result = _complete(search)
        result.save(run.folder / f"{name}.json")
        of_search = {"evaluations": result.evaluations, "seconds": time.perf_counter() - start}
        if kind is BitwiseSearch:  # which starts at the best training code
            of_search["seconds"] += cost["seconds"]
        losses = compute_few_shot_losses(own_scorer, result.code)
        found.append(FoundCode(template, method, result.code, **cost | of_search, **losses))
    return found


def search_by_vote(run: DatasetRun) -> list[FoundCode]:
    """Search by Code Ensemble over all templates of the data set."""
    start = time.perf_counter()
    unlabelled = select_common_rows([each.unlabelled for each in run.examples])
    names = [each.task.template.name for each in run.examples]
    scorers = {name: CodeScorer(run.model, rows) for name, rows in zip(names, unlabelled, strict=True)}
    vote = CodeEnsemble(scorers, run.search).run()
    vote.save(run.folder / "code_ensemble.json")
    cost: dict[str, Any] = {"unlabelled": len(unlabelled[0]), "evaluations": len(vote.members)}
    return [FoundCode(vote.template, CODE_ENSEMBLE, vote.code, seconds=time.perf_counter() - start, **cost)]


def compute_few_shot_losses(scorer: CodeScorer, code: Sequence[int]) -> dict[str, float]:
    """Compute how far a code is from guessing on the labeled examples, as fields of [`Score`]; none without choices."""
    if not scorer.has_choices:
        return {}
    return {
        "few_shot_loss": OBJECTIVES["normalized_loss"](scorer, torch.tensor([list(code)])).item(),
        "guessing_loss": compute_guessing_loss(scorer.prompt_scorer.num_choices.tolist()),
    }


def score_codes(run: DatasetRun) -> list[Score]:
    """Score the codes found, beside what a CTR model is worth without searching."""
    if not run.is_ctr:
        return []
    return [score for judge in run.judges.values() for score in _score_template(run, judge)]


def _score_template(run: DatasetRun, judge: Judge) -> list[Score]:
    scores = [judge.score_raw_lm(run.seed)]
    if judge.ranks:
        scores = [judge.score_majority(run.seed), *scores]
        if run.settings.mean_training_code:
            scores.append(judge.score_mean_training_code(run.seed))
    for each in run.found:
        if each.template == judge.template:
            details = asdict(each)
            del details["template"]
            scores.append(judge.scored(answers=judge.answer_with_codes([each.code])[0], seed=run.seed, **details))
            if run.settings.batch_calibration and judge.ranks:
                details["method"] += CALIBRATED
                answers = judge.answer_with_codes([each.code], calibrated=True)[0]
                scores.append(judge.scored(answers=answers, seed=run.seed, **details))
    return scores


def _get_methods(settings: HeldOutSettings) -> list[str]:
    asked = {BITWISE_SEARCH: settings.do_bitwise_search, POPULATION_SEARCH: settings.do_population_search}
    return [method for method, is_asked in asked.items() if is_asked]


def _get_asked_searches(settings: HeldOutSettings) -> dict[str, bool]:
    names = ("do_code_ensemble", "do_bitwise_search", "do_population_search")
    return {name: getattr(settings, name) for name in names}


def _complete(search: BitwiseSearch | PopulationSearch) -> CodeSearchResult:
    """The search's result; an interrupt that would end it early ends the run, which can go on with it later."""
    result = search.run()
    if result.stopped == "interrupted":
        raise KeyboardInterrupt
    return result
