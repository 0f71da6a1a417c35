"""Reads the examples and answer choices that people paste."""

MAX_CHARACTERS, MAX_EXAMPLES, MAX_CHOICES = 200_000, 500, 100


def check_length(text: str) -> None:
    """Raise a ValueError where a text is longer than anybody types."""
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"The text has {len(text):,} characters: give at most {MAX_CHARACTERS:,}.")


def parse_choices(text: str) -> list[str]:
    """Read answer choices, one per line; none if the text is empty.

    Raises:
        ValueError: What is wrong, in one sentence.
    """
    check_length(text)
    choices = [line.strip() for line in text.splitlines() if line.strip()]
    if len(choices) == 1:
        raise ValueError(f"'{choices[0]}' is the only answer choice: give at least two, one per line.")
    if len(choices) > MAX_CHOICES:
        raise ValueError(f"There are {len(choices)} answer choices: give at most {MAX_CHOICES}.")
    for choice in choices:
        if choices.count(choice) > 1:
            raise ValueError(f"The answer choice '{choice}' is there twice: give each once.")
    return choices


def parse_examples(text: str, choices_text: str, labeled: bool) -> tuple[list[str], list[str], list[str] | None]:
    """Read inputs, answer choices and (if labeled) answers of pasted examples.

    Args:
        text: A line per example: the input, and if labeled a tab and the answer (ignored where not needed).
        choices_text: One choice per line; if labeled, it may be empty: then the choices are the answers given.
        labeled: Whether every line must have an answer.

    Raises:
        ValueError: What is wrong in which line, in one sentence.
    """
    check_length(text)
    numbered = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not numbered:
        raise ValueError("There are no examples: paste one per line.")
    if len(numbered) > MAX_EXAMPLES:
        raise ValueError(f"There are {len(numbered)} examples: paste at most {MAX_EXAMPLES}.")
    inputs, answers = [], []
    for number, line in numbered:
        example, _, answer = (part.strip() for part in line.rpartition("\t")) if "\t" in line else (line, "", "")
        if labeled and not (example and answer):
            raise ValueError(f"Line {number} must be an input, a tab and its answer.")
        inputs.append(example)
        answers.append(answer)
    if not labeled:
        choices = parse_choices(choices_text)
        if not choices:
            raise ValueError("Code Ensemble votes between answer choices: give at least two, one per line.")
        return inputs, choices, None
    return inputs, _choices_of_answers(choices_text, answers, [number for number, _ in numbered]), answers


def _choices_of_answers(choices_text: str, answers: list[str], numbers: list[int]) -> list[str]:
    """The given choices, which every answer must be among, or else the answers' own."""
    choices = parse_choices(choices_text) or list(dict.fromkeys(answers))
    if len(choices) < 2:
        raise ValueError(f"All answers are '{answers[0]}': give examples of at least two different answers.")
    if len(choices) > MAX_CHOICES:
        raise ValueError(f"There are {len(choices)} different answers: give at most {MAX_CHOICES}.")
    for number, answer in zip(numbers, answers, strict=True):
        if answer not in choices:
            raise ValueError(f"Line {number}: the answer '{answer}' is not among the choices {', '.join(choices)}.")
    return choices
