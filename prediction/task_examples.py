"""A task as `TaskSolver.fit` is given it: what it asks and knows, and its examples, tokenized and checked."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from modeling_ctr.task_details import TaskDetails
from tasks import FeatureBuilder

from .config import FitConfig
from .labels import Classes, Label, make_classes, plain_labels
from .task_texts import Text, complete_template, listed_choices, listed_texts, make_rows, make_task

UNKNOWN = 0.3  # a share of unknown words from which on a text says little


@dataclass(frozen=True)
class TaskExamples:
    """Examples of a task.

    Attributes:
        details: What is to be known of the task by whoever uses it.
        features: Tokenized examples, as `FeatureBuilder.encode` gives them.
        gold: Right answer of each example, as its position; free texts for a free-form task; None without labels.
        classes: Classes of the task; None where it has none, or choices that differ by row.
        same_choices: Whether all rows have the same choices, or none.
        warning: What speaks against the texts, if something does.
    """

    details: TaskDetails
    features: list[dict[str, Any]]
    gold: list[Any] | None
    classes: Classes | None
    same_choices: bool
    warning: str | None

    @property
    def majority(self) -> tuple[Any, float] | None:
        """The most frequent label, or position of the right choice, and its share of the examples."""
        if self.gold is None or (self.classes is None and self.same_choices):  # no labels, or free texts
            return None
        number, count = Counter(self.gold).most_common(1)[0]
        label = f"choice {number + 1}" if self.classes is None else self.classes.labels[number]
        return label, count / len(self.gold)


def make_examples(
    tokenizer: PreTrainedTokenizerBase,
    name: str,
    texts: Sequence[Text],
    labels: Sequence[Label] | None,
    answers: Mapping[Label, str] | Sequence[str] | None,
    choices: Sequence[Sequence[str]] | None,
    targets: Sequence[str] | None,
    template: str | None,
    config: FitConfig,
    decoder_only: bool = False,
) -> TaskExamples:
    """Check and tokenize what `TaskSolver.fit` takes; arguments are as there, `decoder_only` as in `FeatureBuilder`.

    Raises:
        ValueError: Something of it cannot be worked with; the message says what and where.
    """
    texts = listed_texts(texts)
    classes = gold = None
    if targets is not None:
        if labels is not None or answers is not None or choices is not None:
            raise ValueError("Give `targets` for a free-form task, or labels with answers to choose from, not both.")
        gold = _checked_targets(targets, len(texts))
    elif choices is not None:
        if answers is not None:
            raise ValueError("Give `answers` that are the same for all texts, or `choices` for each text, not both.")
        choices = listed_choices(choices, len(texts))
        gold = None if labels is None else _positions(plain_labels(labels, len(texts)), choices)
    else:
        labels = None if labels is None else plain_labels(labels, len(texts))
        classes = make_classes(labels, answers)
        gold = None if labels is None else classes.get_indices(labels)
        if gold is not None and len(set(gold)) == 1:
            raise ValueError(f"All examples have the label {labels[0]!r}: give some of at least two.")
    details = TaskDetails(
        answers=None if classes is None else list(classes.answers),
        labels=None if classes is None else list(classes.labels),
        template=complete_template(template, texts[0], targets is None),
        max_source_length=config.max_source_length,
        max_target_length=config.max_target_length,
    )
    task = make_task(name, details, choices is not None)
    builder = FeatureBuilder(tokenizer, config.max_source_length, config.max_target_length, decoder_only=decoder_only)
    features = builder.encode(task, make_rows(task, texts, gold, choices))
    if targets is None:
        _check_choices(features, task.example(make_rows(task, texts[:1], None, choices)[0]).choices)
    return TaskExamples(details, features, gold, classes, choices is None, find_unknown_words(features, tokenizer))


def _checked_targets(targets: Sequence[Any], num_texts: int) -> list[str]:
    targets = list(targets)
    if len(targets) != num_texts:
        raise ValueError(f"There are {num_texts} texts, but {len(targets)} targets: give one target for each text.")
    for number, target in enumerate(targets):
        if not isinstance(target, str) or not target.strip():
            raise ValueError(f"targets[{number}] must be a text that is not empty, but is {target!r:.80}.")
    return targets


def _positions(labels: Sequence[Label], choices: Sequence[Sequence[str]]) -> list[int]:
    """Positions of the right choices, which are given as such or as texts."""
    positions = []
    for number, (label, of_text) in enumerate(zip(labels, choices, strict=True)):
        if isinstance(label, str) and label.strip() in of_text:
            positions.append(of_text.index(label.strip()))
        elif isinstance(label, int) and not isinstance(label, bool) and 0 <= label < len(of_text):
            positions.append(label)
        else:
            raise ValueError(f"labels[{number}] is {label!r:.80}, which is not among its choices {of_text!r:.120}.")
    return positions


def _check_choices(features: Sequence[Mapping[str, Any]], shown: Sequence[str]) -> None:
    """Raise a ValueError where two choices of a row are the same tokens; `shown` are those of the first row."""
    for number, row in enumerate(features):
        first: dict[tuple[int, ...], int] = {}
        for position, ids in enumerate(map(tuple, row["choice_ids"])):
            if ids in first:
                names = f" ({shown[first[ids]]!r:.40} and {shown[position]!r:.40})" if number == 0 else ""
                raise ValueError(
                    f"Answers {first[ids] + 1} and {position + 1} of texts[{number}]{names} are the same tokens, between "
                    "which no model can choose: perhaps the tokenizer does not know them, or `max_target_length` cuts "
                    "off what differs; give others."
                )
            first[ids] = position


def find_unknown_words(features: Sequence[Mapping[str, Any]], tokenizer: PreTrainedTokenizerBase) -> str | None:
    """Warn in one sentence where the tokenizer does not know many of the texts' words, or return None."""
    tokens = [token for row in features for token in row["input_ids"]]
    share = tokens.count(tokenizer.unk_token_id) / len(tokens)
    if tokenizer.unk_token_id is None or share < UNKNOWN:
        return None
    return (
        f"the tokenizer does not know {100 * share:.0f}% of the texts' tokens, so that the model hardly sees what they "
        "say: use a model that was trained on such texts"
    )
