"""Greedy answers of an ONNX export. This file needs numpy, onnxruntime and the tokenizer, and nothing of this project."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoTokenizer

TASKS_NAME = "tasks.json"
FORMAT = "ctr-onnx"

Task = str | Sequence[int]


class OnnxGenerator:
    """Runs the two graphs of an export to ONNX.

    Args:
        folder: What `export_to_onnx` wrote.
        session_options: onnxruntime's `SessionOptions`.

    Attributes:
        tokenizer: The tokenizer.
        tasks (`dict[str, dict]`): By name, each with its `task_code`.

    Raises:
        ImportError: onnxruntime is not installed.
        OSError: There is no such folder, or a file is missing.
        ValueError: The folder holds something else.
    """

    def __init__(self, folder: str | os.PathLike, session_options: Any = None):
        try:
            import onnxruntime
        except ImportError as error:
            raise ImportError("onnxruntime is not installed: `pip install onnxruntime`.") from error
        path = Path(folder) / TASKS_NAME
        self.about = json.loads(path.read_text(encoding="utf-8"))
        if self.about.get("format") != FORMAT:
            raise ValueError(f'\'{path}\' is not what an export to ONNX writes: it has no "format": "{FORMAT}".')
        self.tasks = self.about["tasks"]
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self._reads, self._decodes = (
            onnxruntime.InferenceSession(Path(folder) / f"{name}.onnx", session_options)
            for name in (self.about["reader"], "decoder_model")
        )
        self._is_encoder = self.about["reader"] == "encoder_model"

    def generate(self, texts: Sequence[str], tasks: Task | Sequence[Task], max_new_tokens: int = 20) -> np.ndarray:
        """Answer texts greedily, as `model.generate(task=...)` does where its generation config asks for nothing else.

        Args:
            texts: Texts, at least one.
            tasks: Name of a task, or a code; or one of these for each text.
            max_new_tokens: Length of the longest answer.

        Returns:
            `(batch, length)` int64: the new tokens, filled up with padding behind an end token.

        Raises:
            ValueError: There is no such task, or there are not as many tasks as texts.
        """
        state, logits = self.read(texts, tasks)
        done = np.zeros(len(texts), dtype=bool)
        answers = []
        while True:
            tokens = np.where(done, self.about["pad_token_id"], logits.argmax(-1))
            answers.append(tokens)
            done |= np.isin(tokens, self.about["end_token_ids"])
            if done.all() or len(answers) == max_new_tokens:
                return np.stack(answers, axis=1)
            logits = self.decode(state, tokens)

    def read(self, texts: Sequence[str], tasks: Task | Sequence[Task]) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Read texts and tasks as in `generate`; returns what `decode` goes on from, and the next token's logits `(batch, vocabulary)`."""
        encoded = self.tokenizer(list(texts), padding=True, return_tensors="np")
        inputs = {name: encoded[name].astype(np.int64) for name in ("input_ids", "attention_mask")}
        outputs = _run(self._reads, inputs | {"task_code": self._get_codes(tasks, len(texts))})
        state = {  # an empty cache
            each.name: np.zeros([len(texts), each.shape[1], 0, each.shape[3]], np.float32)
            for each in self._decodes.get_inputs()
            if each.name.startswith("past_key_values.")
        }
        if self._is_encoder:
            state |= _to_past(outputs) | {"encoder_attention_mask": outputs["encoder_attention_mask"]}
            return state, self.decode(state, np.full(len(texts), self.about["start_token_id"]))
        state["attention_mask"] = outputs["joined_attention_mask"]
        return state, self._step(state, {"inputs_embeds": outputs["inputs_embeds"]})

    def decode(self, state: dict[str, np.ndarray], tokens: np.ndarray) -> np.ndarray:
        """Go on with one token `(batch,)` for each text; returns the next one's logits `(batch, vocabulary)`."""
        tokens = tokens.astype(np.int64)[:, None]
        if self._is_encoder:
            return self._step(state, {"decoder_input_ids": tokens})
        nothing, ones = np.zeros((len(tokens), 0), np.int64), np.ones_like(tokens)
        read = _run(self._reads, {"input_ids": tokens, "attention_mask": ones, "task_code": nothing})
        state["attention_mask"] = np.concatenate([state["attention_mask"], ones], axis=1)
        return self._step(state, {"inputs_embeds": read["inputs_embeds"]})

    def _step(self, state: dict[str, np.ndarray], inputs: dict[str, np.ndarray]) -> np.ndarray:
        outputs = _run(self._decodes, state | inputs)
        state.update(_to_past(outputs))
        return outputs["logits"][:, -1]

    def _get_codes(self, tasks: Task | Sequence[Task], count: int) -> np.ndarray:
        """The codes of as many texts, `(count, code_length)`."""
        if isinstance(tasks, str) or (len(tasks) and isinstance(tasks[0], int)):
            tasks = [tasks] * count
        if len(tasks) != count:
            raise ValueError(f"There are {count} texts, but {len(tasks)} tasks: give one for each text, or one.")
        codes = []
        for task in tasks:
            if isinstance(task, str) and task not in self.tasks:
                raise ValueError(f"There is no task '{task}' in the exported model; it has {', '.join(self.tasks)}.")
            code = self.tasks[task]["task_code"] if isinstance(task, str) else list(task)
            if len(code) != self.about["code_length"] or not all(0 <= v < self.about["num_vectors"] for v in code):
                raise ValueError(
                    f"{code} is no code of this model, which has {self.about['code_length']} integers from 0 to "
                    f"{self.about['codebook_size'] - 1}."
                )
            codes.append(code)
        return np.array(codes, dtype=np.int64)


def _run(session: Any, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Run a graph on those of the inputs that it has; returns its outputs by name."""
    names = {each.name for each in session.get_inputs()}
    outputs = session.run(None, {name: value for name, value in inputs.items() if name in names})
    return dict(zip((each.name for each in session.get_outputs()), outputs, strict=True))


def _to_past(outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Name the caches among a graph's outputs as they go into the next step."""
    return {
        f"past_key_values.{name.removeprefix('present.')}": value
        for name, value in outputs.items()
        if name.startswith("present.")
    }
