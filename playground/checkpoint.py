"""The model that the app shows: loading it, asking it, and handing on a code that was found for it."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from codebook_report.codebook import Codebook, load_checkpoint
from modeling_ctr import CTRPreTrainedModel, TaskDetails, save_task_code
from search import CodeScorer
from tasks.tokenization import check_tokenizer, tokenize_answers, tokenize_openings

MAX_SOURCE_LENGTH, MAX_NEW_TOKENS = 384, 32


@dataclass(frozen=True)
class Checkpoint:
    """A model and the tokenizer it was trained with."""

    model: CTRPreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    name: str

    @classmethod
    def load(cls, source: str) -> "Checkpoint":
        """Load from a directory or the Hub. Raises a ValueError of one sentence."""
        model = load_checkpoint(source)
        try:
            tokenizer = AutoTokenizer.from_pretrained(source)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"'{source}' has no tokenizer that can be read: save the one it was trained with."
            ) from error
        check_tokenizer(tokenizer, model.get_input_embeddings().num_embeddings, not model.config.is_encoder_decoder)
        return cls(model, tokenizer, Path(source).name)

    def ids(self, text: str) -> list[int]:
        """Token ids cut to what the model was trained on, with the end token unless the model goes on with the text."""
        if not self.model.config.is_encoder_decoder:
            return tokenize_openings(self.tokenizer, [text])[0][:MAX_SOURCE_LENGTH]
        ids = self.tokenizer(text, verbose=False)["input_ids"]
        end = self.tokenizer.eos_token_id
        words = ids[:-1] if ids and ids[-1] == end else ids
        return [*words[: MAX_SOURCE_LENGTH - 1], end]

    def features(self, inputs: Sequence[str], choices: Sequence[str], answers: Sequence[str] | None) -> list[dict]:
        """Rows for a [`CodeScorer`]."""
        if self.model.config.is_encoder_decoder:
            choice_ids = [self.ids(choice) for choice in choices]
        else:
            choice_ids = tokenize_answers(self.tokenizer, list(choices))
        rows = [{"input_ids": self.ids(text), "choice_ids": choice_ids} for text in inputs]
        return [row | {"answer": choices.index(a)} for row, a in zip(rows, answers, strict=True)] if answers else rows


@torch.inference_mode()
def answer(
    checkpoint: Checkpoint, code: Sequence[int], text: str, choices: Sequence[str]
) -> tuple[str, dict[str, float] | None]:
    """Return what the model writes, and the choices' probabilities (among each other), for one input under a code."""
    model = checkpoint.model
    inputs = {"input_ids": torch.tensor([checkpoint.ids(text)], device=model.device)}
    task_code = torch.tensor(code, dtype=torch.long)
    ids = model.generate(**inputs, task_code=task_code, max_new_tokens=MAX_NEW_TOKENS)
    start = 0 if model.config.is_encoder_decoder else inputs["input_ids"].shape[1]  # where the text itself comes first
    written = checkpoint.tokenizer.decode(ids[0, start:], skip_special_tokens=True).strip()
    if not choices:
        return written, None
    rows = checkpoint.features([text], choices, None)
    scores = CodeScorer(model, rows).choice_log_likelihoods(task_code[None])[0, 0]
    return written, dict(zip(choices, scores.softmax(0).tolist(), strict=True))


def nearest_task(model: CTRPreTrainedModel, code: Sequence[int]) -> str:
    """Write a sentence on the task whose code has most in common with this one."""
    book = Codebook.from_model(model, title="")
    counts = (book.codes == np.array(code)).sum(1)
    equal, name = int(counts.max()), book.names[int(counts.argmax())]
    if equal == len(code):
        return f"This is the code of **{name}**."
    return f"{equal} of {len(code)} positions as in **{name}**." if equal else "No position as in any task."


def write_found_code(
    checkpoint: Checkpoint, name: str, code: list[int], answers: list[str], folder: Path, scores: dict[str, float]
) -> Path:
    """Write a task code file for the found code; the model itself, which others use as well, does not learn the task."""
    model = copy.copy(checkpoint.model)  # the same weights
    model.config = copy.deepcopy(model.config)
    model.add_task(name, code, TaskDetails(answers=answers, labels=answers, max_source_length=MAX_SOURCE_LENGTH))
    path = folder / "task_code.json"
    save_task_code(model, name, path, scores=scores, checkpoint=checkpoint.name)
    return path
