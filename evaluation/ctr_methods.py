"""CTR on one held-out data set: training codes, Bitwise Search, Code Ensemble, and what they are worth."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from evaluation.protocol import Judge, TemplateExamples, file_name_of, with_common_rows
from evaluation.report import Score
from modeling_ctr import CTRForConditionalGeneration
from search import BitwiseSearch, CodeEnsemble, CodeScorer, best_training_code, task_code_space
from search.processes import is_main_process, on_main_process
from tasks import DataError

BEST_BY_LOSS, BEST_BY_ACCURACY = "training code by loss", "training code by accuracy"
CODE_ENSEMBLE, BITWISE_SEARCH = "Code Ensemble", "Bitwise Search"


@dataclass(frozen=True)
class SearchSettings:
    """Which searches are run, and how. See [`search.CodeEnsemble`] and [`search.BitwiseSearch`]."""

    code_ensemble: bool = True
    bitwise_search: bool = True
    num_codes: int = 60
    objective: str | None = None
    epochs: int = 20
    order: str = "random"
    num_starts: int = 1
    max_evaluations: int | None = None


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
    settings: SearchSettings,
    seed: int,
    output_dir: Path,
) -> list[FoundCode]:
    """Find codes for one held-out data set by every search of the settings.

    Results and traces are written into `output_dir` as they come; what is finished is not computed again.

    Raises:
        DataError: Code Ensemble is asked for and a task has no answer choices.
    """
    finished = output_dir / "found_codes.json"
    kept = on_main_process(lambda: json.loads(finished.read_text(encoding="utf-8")) if finished.is_file() else None)
    if kept is not None and kept["settings"] == asdict(settings):
        return [FoundCode(**found) for found in kept["found"]]
    if settings.code_ensemble:
        for each in examples:
            if not each.task.has_choices:
                raise DataError(
                    f"Task {each.task.name!r} has no answer choices, which Code Ensemble votes between; Bitwise Search "
                    "needs none."
                )
    output_dir.mkdir(parents=True, exist_ok=True)
    found = []
    if settings.bitwise_search:
        for each in examples:
            found += few_shot_searches(model, each, settings, seed, output_dir)
    if settings.code_ensemble:
        found.append(code_ensemble(model, examples, settings, output_dir))
    content = {"settings": asdict(settings), "found": [asdict(f) for f in found]}
    if is_main_process():
        finished.write_text(json.dumps(content, indent=1), encoding="utf-8")
    return found


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
    result = BitwiseSearch(
        scorer,
        task_code_space(model),
        objective=settings.objective,
        num_starts=settings.num_starts,
        order=settings.order,
        epochs=settings.epochs,
        seed=seed,
        max_evaluations=settings.max_evaluations,
        prune=True,
        trace_path=output_dir / f"bitwise_search_{file_name}.jsonl",
    ).run()
    result.save(output_dir / f"bitwise_search_{file_name}.json")
    cost["evaluations"], cost["seconds"] = result.evaluations, time.perf_counter() - start
    return [*found, FoundCode(template, BITWISE_SEARCH, result.code, **cost)]


def code_ensemble(
    model: CTRForConditionalGeneration,
    examples: Sequence[TemplateExamples],
    settings: SearchSettings,
    output_dir: Path,
) -> FoundCode:
    """Code Ensemble over all templates of the data set."""
    start = time.perf_counter()
    unlabelled = with_common_rows([each.unlabelled for each in examples])
    names = [each.task.template.name for each in examples]
    scorers = {name: CodeScorer(model, rows) for name, rows in zip(names, unlabelled, strict=True)}
    result = CodeEnsemble(scorers, num_codes=settings.num_codes).run()
    result.save(output_dir / "code_ensemble.json")
    return FoundCode(
        result.template,
        CODE_ENSEMBLE,
        result.code,
        unlabelled=len(unlabelled[0]),
        evaluations=len(result.members),
        seconds=time.perf_counter() - start,
    )


def score_codes(judge: Judge, found: Sequence[FoundCode], seed: int) -> list[Score]:
    """Scores of the codes found under the judge's template, beside what one has without searching."""
    scores = [judge.raw_lm(seed)]
    if judge.ranks:
        scores = [judge.majority(seed), *scores, judge.mean_training_code(seed)]
    for each in found:
        if each.template == judge.template:
            details = asdict(each)
            del details["template"]
            scores.append(judge.scored(answers=judge.of_codes([each.code])[0], seed=seed, **details))
    return scores
