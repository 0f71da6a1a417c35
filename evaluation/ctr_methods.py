"""CTR on one held-out data set: training codes, Bitwise Search, Code Ensemble, and what they are worth."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from evaluation.kept_results import keep, load_kept
from evaluation.protocol import Judge, TemplateExamples, file_name_of, with_common_rows
from evaluation.score import Score
from modeling_ctr import CTRForConditionalGeneration
from safe_files import write_json
from search import (
    BitwiseSearch,
    BitwiseSearchResult,
    CodeEnsemble,
    CodeScorer,
    PopulationSearch,
    PopulationSearchResult,
    best_training_code,
    task_code_space,
)
from tasks import DataError

BEST_BY_LOSS, BEST_BY_ACCURACY = "training code by loss", "training code by accuracy"
BITWISE_SEARCH, POPULATION_SEARCH = "Bitwise Search", "Population Search"
CODE_ENSEMBLE = "Code Ensemble"
CALIBRATED = ", calibrated"


@dataclass(frozen=True)
class SearchSettings:
    """Which searches are run, and how. See [`search.CodeEnsemble`], [`search.BitwiseSearch`] and
    [`search.PopulationSearch`].

    `calibrated` reports the codes' answers after batch calibration as well.
    """

    code_ensemble: bool = True
    bitwise_search: bool = True
    population_search: bool = False
    calibrated: bool = False
    num_codes: int = 60
    objective: str | None = None
    epochs: int = 20
    order: str = "random"
    num_starts: int = 1
    max_evaluations: int | None = None
    max_seconds: float | None = None

    @property
    def needs_labels(self) -> bool:
        return self.bitwise_search or self.population_search

    @property
    def budget(self) -> dict:
        """Where any search ends."""
        given = {"max_evaluations": self.max_evaluations, "max_search_seconds": self.max_seconds}
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True)
class FoundCode:
    """A method's code for a held-out task, and what it took to find it; the fields are those of [`Score`]."""

    template: str
    method: str
    code: list[int]
    labelled: int = 0
    unlabelled: int = 0
    evaluations: int = 0
    seconds: float = 0.0


def search_dataset(
    model: CTRForConditionalGeneration,
    examples: Sequence[TemplateExamples],
    inputs: dict[str, Any],
    settings: SearchSettings,
    seed: int,
    output_dir: Path,
) -> list[FoundCode]:
    """Find codes for one held-out data set by every search of the settings.

    Results and traces are written into `output_dir` as they come; what is finished is not computed again, unless the
    model or the examples are others by now, as `inputs` tells (see [`evaluation.protocol.inputs_of`]).

    Raises:
        DataError: Code Ensemble is asked for and a task has no answer choices.
        KeyboardInterrupt: A search was interrupted; called again, this goes on with it.
    """
    finished = output_dir / "found_codes.json"
    asked = {**inputs, "settings": asdict(settings)}
    kept = load_kept(finished, asked, load_found_codes)
    if kept is not None:
        return kept
    if settings.code_ensemble:
        for each in examples:
            if not each.task.has_choices:
                raise DataError(
                    f"Task {each.task.name!r} has no answer choices, which Code Ensemble votes between; Bitwise Search "
                    "needs none."
                )
    output_dir.mkdir(parents=True, exist_ok=True)
    found = []
    if settings.needs_labels:
        for each in examples:
            found += few_shot_searches(model, each, settings, seed, output_dir)
    if settings.code_ensemble:
        found += searches_by_vote(model, examples, settings, seed, output_dir)
    keep(partial(write_json, finished, {"asked": asked, "found": [asdict(f) for f in found]}))
    return found


def load_found_codes(path: Path) -> tuple[list[FoundCode], dict[str, Any]]:
    """Read what an earlier run found, and what it was asked. Raises a ValueError where the file is damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return [FoundCode(**found) for found in content["found"]], dict(content["asked"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"'{path}' is damaged; the searches' traces beside it are not.") from error


def few_shot_searches(
    model: CTRForConditionalGeneration,
    examples: TemplateExamples,
    settings: SearchSettings,
    seed: int,
    output_dir: Path,
) -> list[FoundCode]:
    """The best training code, by loss and where there are choices by accuracy, and Bitwise Search, under one template."""
    template = examples.task.template.name
    file_name = file_name_of(template)
    start = time.perf_counter()
    scorer = CodeScorer(model, examples.few_shot)
    training = best_training_code(scorer, objective=settings.objective)
    training.save(output_dir / f"training_code_{file_name}.json")
    cost = {"labelled": scorer.num_examples, "evaluations": len(training.table)}
    cost["seconds"] = time.perf_counter() - start
    found = [FoundCode(template, BEST_BY_LOSS, training.code, **cost)]
    if scorer.has_choices:
        found.append(FoundCode(template, BEST_BY_ACCURACY, training.best_by_accuracy().code, **cost))
    searches = {}
    if settings.bitwise_search:
        trace = output_dir / f"bitwise_search_{file_name}.jsonl"
        searches[BITWISE_SEARCH] = _bitwise_search(scorer, settings, seed, trace, num_starts=settings.num_starts)
    if settings.population_search:
        searches[POPULATION_SEARCH] = PopulationSearch(
            # Codes that another search has scored would be free of cost.
            CodeScorer(model, examples.few_shot),
            task_code_space(model),
            objective=settings.objective,
            seed=seed,
            trace_path=output_dir / f"population_search_{file_name}.jsonl",
            **settings.budget,
        )
    for method, search in searches.items():
        start = time.perf_counter()
        result = _completed(search)
        name = method.lower().replace(" ", "_")
        result.save(output_dir / f"{name}_{file_name}.json")
        of_search = {"evaluations": result.evaluations, "seconds": time.perf_counter() - start}
        if method == BITWISE_SEARCH:  # which starts at the best training code
            of_search["seconds"] += cost["seconds"]
        found.append(FoundCode(template, method, result.code, **cost | of_search))
    return found


def searches_by_vote(
    model: CTRForConditionalGeneration,
    examples: Sequence[TemplateExamples],
    settings: SearchSettings,
    seed: int,
    output_dir: Path,
) -> list[FoundCode]:
    """Code Ensemble over all templates of the data set."""
    start = time.perf_counter()
    unlabelled = with_common_rows([each.unlabelled for each in examples])
    names = [each.task.template.name for each in examples]
    scorers = {name: CodeScorer(model, rows) for name, rows in zip(names, unlabelled, strict=True)}
    vote = CodeEnsemble(scorers, num_codes=settings.num_codes).run()
    vote.save(output_dir / "code_ensemble.json")
    cost = {"unlabelled": len(unlabelled[0]), "evaluations": len(vote.members)}
    cost["seconds"] = time.perf_counter() - start
    return [FoundCode(vote.template, CODE_ENSEMBLE, vote.code, **cost)]


def _bitwise_search(
    scorer: CodeScorer, settings: SearchSettings, seed: int, trace_path: Path, **start: Any
) -> BitwiseSearch:
    """As the settings say, with exact pruning; `start` says where it begins."""
    return BitwiseSearch(
        scorer,
        task_code_space(scorer.model),
        objective=settings.objective,
        search_order=settings.order,
        search_epochs=settings.epochs,
        seed=seed,
        trace_path=trace_path,
        **settings.budget,
        **start,
    )


def _completed(search: BitwiseSearch | PopulationSearch) -> BitwiseSearchResult | PopulationSearchResult:
    """The search's result; an interrupt that would end it early ends the run, which can go on with it later."""
    result = search.run()
    if result.stopped == "interrupted":
        raise KeyboardInterrupt
    return result


def score_codes(judge: Judge, found: Sequence[FoundCode], calibrated: bool, seed: int) -> list[Score]:
    """Scores of the codes found under the judge's template, beside what one has without searching.

    With `calibrated` each code has a second score, of its answers after batch calibration.
    """
    scores = [judge.raw_lm(seed)]
    if judge.ranks:
        scores = [judge.majority(seed), *scores, judge.mean_training_code(seed)]
    for each in found:
        if each.template == judge.template:
            details = asdict(each)
            del details["template"]
            scores.append(judge.scored(answers=judge.of_codes([each.code])[0], seed=seed, **details))
            if calibrated and judge.ranks:
                details["method"] += CALIBRATED
                scores.append(judge.scored(answers=judge.of_codes([each.code], calibrated)[0], seed=seed, **details))
    return scores
