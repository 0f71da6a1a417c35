"""A task's code in a small file of its own, to be shared apart from the model that it belongs to."""

import hashlib
import html
import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from numbers import Real
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from huggingface_hub import CommitOperationAdd, HfApi, ModelCard, ModelCardData, hf_hub_download
from huggingface_hub.dataclasses import strict
from huggingface_hub.errors import LocalEntryNotFoundError, RemoteEntryNotFoundError, StrictDataclassError
from transformers import PreTrainedModel

from .checkpoint_name import is_repo_id, public_name
from .codebook import TaskCodebook
from .hub_errors import hub_errors
from .task_details import TaskDetails

TASK_CODE_NAME = "task_code.json"
FORMAT = "ctr-task-code"
VERSION = 1


@strict
@dataclass
class TaskCode:
    """What a task code file holds.

    Args:
        name: Name of the task.
        code: The code, as many integers as the model's `code_length`.
        codebook_hash: Digest of the code table and the prompt decoder that give the integers their meaning, see
            [`codebook_hash`].
        checkpoint: Name of the checkpoint with that codebook, for people.
        template: The template that its inputs were made with, or its name.
        few_shot_seed: Seed of the draw of the examples that it was found with.
        scores: What it reached, by name of the measure.
        details: What is known about the task: answers, labels, template, lengths, calibration.
    """

    name: str
    code: list[int]
    codebook_hash: str
    checkpoint: str
    template: str | None = None
    few_shot_seed: int | None = None
    scores: dict[str, float | int] = field(default_factory=dict)
    details: TaskDetails = field(default_factory=TaskDetails)


def codebook_hash(codebook: TaskCodebook) -> str:
    """Compute the SHA-256 of the code table's and the prompt decoder's float32 values: all that a code means is in these."""
    digest = hashlib.sha256()
    for weight in (codebook.code_vectors.weight, codebook.prompt_decoder.weight):
        digest.update(str(tuple(weight.shape)).encode())
        digest.update(weight.detach().to("cpu", torch.float32).contiguous().numpy().astype("<f4").tobytes())
    return f"sha256:{digest.hexdigest()}"


def save_task_code(
    model: PreTrainedModel,
    task: str,
    path: str | os.PathLike,
    *,
    template: str | None = None,
    few_shot_seed: int | None = None,
    scores: Mapping[str, float] | None = None,
    checkpoint: str | None = None,
) -> TaskCode:
    """Write the code of a trained or added task into a small JSON file.

    Args:
        model: The CTR model.
        task: Name of the task.
        path: The file to write if it ends in `.json`, else a folder to write `task_code.json` into.
        template: The template that its inputs were made with, or its name.
        few_shot_seed: Seed of the draw of the examples that it was found with.
        scores: What it reached, e.g. `{"accuracy": 0.81}`.
        checkpoint: Name of the model's checkpoint; by default, the one it was loaded from.

    Returns:
        What was written.

    Raises:
        ValueError: The model has no such task, or a score is not a finite number.
    """
    scores = {name: _finite(name, value) for name, value in (scores or {}).items()}
    if checkpoint is None:
        checkpoint = public_name(str(model.name_or_path or "")) or "an unnamed checkpoint"
    task_code = TaskCode(
        name=task,
        code=model.get_task_code(task).tolist(),
        codebook_hash=codebook_hash(model.task_codebook),
        checkpoint=checkpoint,
        template=template,
        few_shot_seed=few_shot_seed,
        scores=scores,
        details=model.task_details(task),
    )
    path = Path(path)
    if path.suffix != ".json":
        path = path / TASK_CODE_NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    content = {"format": FORMAT, "version": VERSION, **asdict(task_code), "details": task_code.details.to_dict()}
    content["code"] = None  # on one line, below
    text = json.dumps(content, indent=1).replace('"code": null', f'"code": {task_code.code}', 1)
    temporary.write_text(text + "\n", encoding="utf-8")
    os.replace(temporary, path)
    return task_code


def push_task_code(
    model: PreTrainedModel,
    task: str,
    repo_id: str,
    *,
    private: bool | None = None,
    token: str | bool | None = None,
    commit_message: str | None = None,
    **facts: Any,
) -> str:
    """Push the code of a trained or added task to a Hub repository of its own, for `model.load_task(repo_id)`.

    Its card names the checkpoint as the base model where that is a name on the Hub, by which [`find_task_codes`] finds it.

    Args:
        model: The CTR model.
        task: Name of the task.
        repo_id: The repository, made if there is none.
        private: Whether a new repository is private.
        token: Hub token; by default, the one logged in with.
        commit_message: By default, one that names the task.
        **facts: `template`, `few_shot_seed`, `scores` and `checkpoint`, as in [`save_task_code`].

    Returns:
        The commit's address.

    Raises:
        OSError: The Hub did not take it; the message says why. Nothing is half there.
        ValueError: The model has no such task, or a score is not a finite number.
    """
    api = HfApi(token=token)
    with TemporaryDirectory() as folder:
        task_code = save_task_code(model, task, folder, **facts)
        task_code_card(task_code, repo_id).save(Path(folder) / "README.md")
        with hub_errors(f"Pushing the code of '{task}' to '{repo_id}'", repo_id):
            repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
            commit = api.create_commit(
                repo_id=repo_id,
                operations=[CommitOperationAdd(path.name, path) for path in Path(folder).iterdir()],
                commit_message=commit_message or f"Upload the code of {task!r}",
            )
    return commit.commit_url


def load_task_code(
    source: str | os.PathLike,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike | None = None,
) -> TaskCode:
    """Read a task code from a file, from a folder with a `task_code.json`, or from a Hub repository.

    Raises:
        FileNotFoundError: There is nothing of that name.
        OSError: The Hub did not give it; the message says why.
        ValueError: What is there is not a task code file.
    """
    path = Path(source)
    if path.is_dir():
        path = path / TASK_CODE_NAME
        if not path.is_file():
            raise FileNotFoundError(f"The folder '{source}' has no {TASK_CODE_NAME}: `save_task_code` writes one.")
    elif not path.is_file():
        path = _download(str(source), revision, token, cache_dir)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"'{source}' is not a task code file, or damaged: it is not JSON.") from error
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
        raise ValueError(
            f'\'{source}\' is not a task code file: `save_task_code` writes them, with "format": "{FORMAT}".'
        )
    version = content.pop("version", None)
    if version != VERSION:
        raise ValueError(
            f"'{source}' is a task code file of version {version!r}, but only version {VERSION} is known; update the "
            "code that reads it."
        )
    if "details" in content:  # files of older versions have none
        content["details"] = TaskDetails.from_dict(content["details"], f"`details` in '{source}'")
    known = {f.name for f in fields(TaskCode)}
    try:
        return TaskCode(**{name: value for name, value in content.items() if name in known})
    except (StrictDataclassError, TypeError) as error:
        raise ValueError(f"'{source}' is not a valid task code file: {' '.join(str(error).split())}") from error


def check_codebook(task_code: TaskCode, codebook: TaskCodebook, source: str) -> None:
    """Raise a ValueError if the code was not found with this codebook: its integers would mean something else."""
    own = codebook_hash(codebook)
    if task_code.codebook_hash != own:
        raise ValueError(
            f"'{source}' belongs to another codebook, that of '{task_code.checkpoint}' "
            f"({_short(task_code.codebook_hash)}; this model's is {_short(own)}): its integers stand for other vectors "
            "here. Load that checkpoint, or search for the task's code again with this model."
        )


def task_code_card(task_code: TaskCode, repo_id: str) -> ModelCard:
    """Make the page of a task code's repository."""
    data = ModelCardData(
        base_model=task_code.checkpoint if is_repo_id(task_code.checkpoint) else None,
        tags=["ctr", FORMAT],
    )
    facts = {
        "Task": _readable(task_code.name),
        "Code": f"`{task_code.code}`",
        "Found with": f"{_readable(task_code.checkpoint)}, codebook `{_short(task_code.codebook_hash)}`",
        "Template": task_code.template and _readable(task_code.template),
        "Few-shot seed": task_code.few_shot_seed,
        **{_readable(name): value for name, value in task_code.scores.items()},
    }
    lines = [f"- {name}: {value}" for name, value in facts.items() if value is not None]
    return ModelCard(
        f"---\n{data.to_yaml()}\n---\n\n# A task code\n\nOne task for a model with a task codebook (Compositional Task "
        "Representations): a few integers, of use only with the checkpoint that they were found with.\n\n"
        + "\n".join(lines)
        + f'\n\n```python\ntask = model.load_task("{repo_id}")\nmodel.generate(**inputs, task=task.name)\n```\n'
    )


def _download(repo_id: str, revision: str | None, token: str | bool | None, cache_dir: Any) -> Path:
    if repo_id.endswith(".json") or not is_repo_id(repo_id):
        raise FileNotFoundError(
            f"There is no file or folder '{repo_id}', nor can it be a repository on the Hub (user/name); check the path."
        )
    try:
        with hub_errors(f"Loading a task code from '{repo_id}'", repo_id):
            return Path(hf_hub_download(repo_id, TASK_CODE_NAME, revision=revision, token=token, cache_dir=cache_dir))
    except OSError as error:
        cause = error.__cause__
        if isinstance(cause, RemoteEntryNotFoundError) and not isinstance(cause, LocalEntryNotFoundError):
            raise ValueError(
                f"The repository '{repo_id}' holds no {TASK_CODE_NAME}: it is not a task code. A whole model is loaded "
                "with `from_pretrained`."
            ) from error
        raise


def _finite(name: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise ValueError(f"The score '{name}' must be a finite number, but is {value!r}.")
    return float(value)


def _readable(text: str) -> str:
    """`text` on one line, quoted, without HTML, in characters that a file can hold."""
    text = html.escape(json.dumps(text, ensure_ascii=False), quote=False)
    return " ".join(text.splitlines()).encode("utf-8", "backslashreplace").decode("utf-8")


def _short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:12]
