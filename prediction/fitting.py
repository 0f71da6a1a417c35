"""From labeled examples to a task's prompt, with an estimate of what it is worth; `TaskSolver.fit` calls it."""

from collections.abc import Sequence

import torch
from tqdm.auto import tqdm

from evaluation.uncertainty import compute_guessing_loss, compute_wilson_interval
from modeling_ctr import CTRPreTrainedModel
from search import CodeScorer

from .calibration import Calibration, fit_calibration
from .config import METHODS, FitConfig
from .doubts import find_doubts
from .estimate import HeldOutAnswers, best_method, choice_outcomes, cross_fit, estimate_accuracy, stratified_folds
from .fit_result import Estimate, FitResult, TriedMethod
from .linear_probe import LinearProbe, answer_held_out, compute_text_states
from .methods import FoundPrompt, Searches, affordable_methods
from .task_examples import TaskExamples


class Fitting:
    """Searches for the prompt of one task.

    Args:
        model: The model.
        examples: Examples of the task.
        config: How to learn.
        seed: Random seed of the searches and the folds.
        progress: Whether to show a bar over the searches.
    """

    def __init__(
        self,
        model: CTRPreTrainedModel,
        examples: TaskExamples,
        config: FitConfig,
        seed: int,
        progress: bool,
    ):
        self.model, self.examples, self.config, self.seed = model, examples, config, seed
        self.features = examples.features
        self.scorer = CodeScorer(model, self.features)
        self.ranks = self.scorer.has_choices  # else targets are free
        self.answers = self.scorer.prompt_scorer.examples.answers  # (n,), -1 where unknown
        self.labeled = examples.gold is not None
        self.folds = min(config.folds, len(self.features)) if self.labeled else 0
        self.calibrate = config.calibrate and self.ranks and self.labeled
        self.progress = progress

    def run(self, name: str) -> tuple[FoundPrompt, Calibration | None, FitResult]:
        """Find the prompt by the config's method, or by the one that does best on held-out rows ("auto").

        Returns:
            The prompt, the calibration if asked for, and the report, without its seconds.
        """
        methods = [self.config.method]
        if self.config.method == "auto":
            calibrates = self.calibrate and self.examples.same_choices
            asked = affordable_methods(len(self.features), self.ranks, calibrates)
            methods = asked if self.labeled else ["code_ensemble"]
        steps = len(methods) * self.folds + 1
        with tqdm(total=steps, unit="search", disable=not self.progress, leave=False) as bar:
            self._bar = bar
            held_out = self._cross_fit(methods) if self.folds > 1 else None
            chosen, estimate, tried, right = self._choose(methods, held_out)
            searches = self._searches(self.scorer, self.features)
            prompt = self._find(searches, chosen)
        scores = self._scores(prompt, torch.arange(len(self.features)))
        unseen = scores if held_out is None else held_out.scores[chosen]
        calibration = None
        if self.calibrate:
            calibration = self._fit_calibration(unseen, self.answers)
            scores, unseen = map(calibration.log_probabilities, (scores, unseen))  # as the task answers from now on
        few_shot = self._few_shot(scores, searches)
        probe = None if held_out is None else self._probe(held_out.fold, right)
        result = FitResult(
            name=name,
            method=chosen,
            code=prompt.code,
            classes=None if self.examples.classes is None else list(self.examples.classes.labels),
            num_examples=len(self.features),
            **few_shot,
            estimate=estimate,
            majority=self.examples.majority,
            probe_accuracy=None if probe is None else probe.accuracy,
            tried=tried,
            temperature=None if calibration is None else calibration.temperature,
            seconds=0.0,
            warnings=find_doubts(
                self.examples,
                few_shot,
                unseen,
                estimate,
                searches.vote and searches.vote.warning,
                probe,
                calibrated=self.calibrate,
            ),
        )
        return prompt, calibration, result

    # ------------------------------------------------------------------------------------------ the estimate

    def _cross_fit(self, methods: Sequence[str]) -> HeldOutAnswers:
        """Answers of all methods to rows that they did not see."""
        # All searches begin with the training codes: scored here once, and not again for each fold.
        score = self.scorer.choice_log_likelihoods if self.ranks else self.scorer.gold_losses
        score(self.model.task_codes())
        searches: dict[int, Searches] = {}

        def find(method: str, rows: list[int], fold: int) -> FoundPrompt:
            if fold not in searches:
                searches.clear()  # those of the fold before are not needed again
                searches[fold] = self._searches(self.scorer.select(rows), [self.features[row] for row in rows])
            return self._find(searches[fold], method, f", fold {fold + 1} of {self.folds}")

        kinds = self.answers.tolist() if self.ranks else [0] * len(self.features)
        return cross_fit(methods, stratified_folds(kinds, self.folds, self.seed), find, self._scores)

    def _searches(self, scorer: CodeScorer, features: list[dict]) -> Searches:
        return Searches(scorer, features, self.config, self.seed)

    def _find(self, searches: Searches, method: str, where: str = "") -> FoundPrompt:
        self._bar.set_description(f"{METHODS[method]}{where}")
        found = searches.find(method)
        self._bar.update()
        return found

    def _scores(self, prompt: FoundPrompt, rows: torch.LongTensor) -> torch.DoubleTensor:
        """Log-likelihoods `(len(rows), max_choices)` of the answers, or `(len(rows), 1)` of free targets."""
        prompts = self.scorer.prompt_scorer
        wanted = torch.zeros(1, len(self.features), dtype=torch.bool)
        wanted[0, rows] = True
        vectors = prompt.vectors[None].to(self.model.get_input_embeddings().weight.dtype)
        if self.ranks:
            return prompts.choice_log_likelihoods(vectors, wanted)[0, rows]
        return -prompts.gold_losses(vectors, wanted)[0, rows, None]

    def _outcomes(self, scores: torch.DoubleTensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Whether each row is right, and its loss, both `(n,)`; nothing is right where there are no choices."""
        if self.ranks:
            return choice_outcomes(scores, self.answers)
        return torch.zeros(len(scores), dtype=torch.float64), -scores[:, 0]

    def _choose(
        self, methods: Sequence[str], held_out: HeldOutAnswers | None
    ) -> tuple[str, Estimate | None, list[TriedMethod], torch.DoubleTensor | None]:
        """The method to take, what it will be worth, how all of them did, and whether each row is right by it, `(n,)`."""
        if held_out is None:
            return methods[0], None, [], None
        scores = [self._calibrated_by_others(held_out.scores[method], held_out.fold) for method in methods]
        correct, losses = (torch.stack(parts, 1) for parts in zip(*map(self._outcomes, scores), strict=True))
        means = zip(methods, losses.mean(0).tolist(), correct.mean(0).tolist(), strict=True)
        tried = [TriedMethod(method, loss, right if self.ranks else None) for method, loss, right in means]
        best = best_method(correct, losses)
        chosen, right = methods[best], correct[:, best]
        if not self.ranks:
            return chosen, None, tried, right
        accuracy, num_rows = estimate_accuracy(correct, losses, self.seed), len(correct)
        # The range is of a number of right rows: of 31.99 of 32 it would end just below 100%.
        interval = compute_wilson_interval(round(accuracy * num_rows) / num_rows, num_rows)
        return chosen, Estimate(accuracy, interval, num_rows, self.folds), tried, right

    def _calibrated_by_others(self, scores: torch.DoubleTensor, fold: torch.LongTensor) -> torch.DoubleTensor:
        """Scores of each fold's rows, calibrated on the other folds' rows where that is asked for."""
        if not self.calibrate:
            return scores
        calibrated = scores.clone()
        for number in fold.unique().tolist():
            inside, outside = fold == number, fold != number
            found = self._fit_calibration(scores[outside], self.answers[outside])
            calibrated[inside] = found.log_probabilities(scores[inside])
        return calibrated

    def _fit_calibration(self, scores: torch.DoubleTensor, answers: torch.LongTensor) -> Calibration:
        return fit_calibration(scores, answers, with_prior=self.examples.same_choices)

    def _probe(self, fold: torch.LongTensor, right: torch.DoubleTensor) -> LinearProbe | None:
        """Hold the chosen method, by which held-out rows are `right`, against a classifier on the language model's states."""
        if self.examples.classes is None:
            return None
        states = compute_text_states(self.model, [row["input_ids"] for row in self.features])
        given = answer_held_out(states, self.answers.numpy(), fold.numpy())
        probe = torch.from_numpy(given) == self.answers
        wins, losses = int((probe & (right == 0)).sum()), int((~probe & (right == 1)).sum())
        return LinearProbe(float(probe.double().mean()), wins, losses)

    # ------------------------------------------------------------------------------------------ the report

    def _few_shot(self, scores: torch.DoubleTensor, searches: Searches) -> dict[str, float | None]:
        """What the prompt reaches on the examples, beside guessing and the language model without any prompt."""
        names = ("loss", "guessing_loss", "accuracy", "raw_accuracy", "raw_loss")
        known: dict[str, float | None] = dict.fromkeys(names)
        if not self.labeled:
            return known | {"accuracy": searches.vote.pseudo_accuracy}
        prompts = self.scorer.prompt_scorer
        raw = prompts.choice_log_likelihoods()[0] if self.ranks else -prompts.gold_losses()[0, :, None]
        (correct, losses), (raw_correct, raw_losses) = self._outcomes(scores), self._outcomes(raw)
        known |= {"loss": float(losses.mean()), "raw_loss": float(raw_losses.mean())}
        if self.ranks:
            known |= {"accuracy": float(correct.mean()), "raw_accuracy": float(raw_correct.mean())}
            known["guessing_loss"] = compute_guessing_loss([len(row["choice_ids"]) for row in self.features])
        return known
