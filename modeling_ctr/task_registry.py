"""The tasks of a model by name: their codes or vectors, and what is known about them."""

import copy
import dataclasses
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .check_codes import check_codes
from .task_arguments import as_tensor, find_task
from .task_code_file import TaskCode, check_codebook, load_task_code, save_task_code
from .task_details import TaskDetails

if TYPE_CHECKING:
    from .codebook import TaskCodebook
    from .configuration_ctr import CTRConfig


class TaskRegistry:
    """What a CTR model knows about its tasks; a part of `CTRPreTrainedModel`.

    Training tasks have the codes that the weights give them, added tasks a code of their own in the config, and tuned
    tasks prompt vectors of their own in `tuned_prompts`, `(number of tuned tasks, code_length, width)`, float32, in the
    order of `config.tuned_tasks`. All of them are saved with the model.
    """

    if TYPE_CHECKING:  # the model's
        config: CTRConfig
        task_codebook: TaskCodebook

    @property
    def task_names(self) -> list[str]:
        """Names of the training tasks, in order of their ids, then of the added ones, then of the tuned ones."""
        return [*self.config.task_names, *self.config.added_task_codes, *self.config.tuned_tasks]

    def task_codes(self) -> torch.LongTensor:
        """Compute the codes of all training tasks, `(num_tasks, code_length)`, as the weights give them now."""
        return self.task_codebook.all_task_codes()

    def get_task_id(self, name: str) -> int:
        """Get a training task's id. Raises a ValueError for any other name."""
        return find_task(name, self.config.task_names)

    def get_task_code(self, name: str) -> torch.LongTensor:
        """Get a training or added task's code, `(code_length,)`, int64.

        Raises:
            ValueError: The model has no such task, or it is a tuned task.
        """
        if name in self.config.added_task_codes:
            return torch.tensor(self.config.added_task_codes[name], device=self._codebook_device)
        if name in self.config.tuned_tasks:
            raise ValueError(f"'{name}' is a tuned task: it has prompt vectors of its own and no code.")
        return self.task_codes()[find_task(name, self.task_names)]

    def get_task_vectors(self, name: str) -> torch.Tensor:
        """Get any task's prompt vectors, `(code_length, width)`, float32. Raises a ValueError for an unknown name."""
        if name in self.config.tuned_tasks:
            return self.tuned_prompts[self.config.tuned_tasks.index(name)]
        return self.task_codebook.decode(self.get_task_code(name))

    def task_details(self, name: str) -> TaskDetails:
        """Get what is known about a task; all fields are None where nothing is.

        Raises:
            ValueError: The model has no such task.
        """
        if name not in self.config.task_details:
            find_task(name, self.task_names)
        return TaskDetails.from_dict(self.config.task_details.get(name, {}), f"`task_details['{name}']`")

    def set_task_details(self, name: str, details: TaskDetails | None) -> None:
        """Keep what is known about a task, in place of what was; None forgets it.

        Raises:
            ValueError: The model has no such task.
        """
        find_task(name, self.task_names)
        self._keep_details(name, details)

    def add_task(
        self,
        name: str,
        task_code: Sequence[int] | np.ndarray | torch.LongTensor,
        details: TaskDetails | None = None,
    ) -> None:
        """Make a found code part of the model, and of every checkpoint saved from now on, under a new name.

        Args:
            name: Name of the task, new to the model.
            task_code: `code_length` integers in `[0, codebook_size)`.
            details: What is known about the task; saved with it.

        Raises:
            ValueError: The name is taken, empty or no string; the code has another length or a value out of range.
        """
        self._check_new(name)
        code = task_code.tolist() if isinstance(task_code, (torch.Tensor, np.ndarray)) else task_code
        code = list(code) if isinstance(code, Sequence) else code
        check_codes(code, self.config.code_length, self.config.codebook_size, f"The code of '{name}'")
        self._own("added_task_codes")[name] = code
        self._keep_details(name, details)

    def add_tuned_task(
        self, name: str, vectors: np.ndarray | torch.Tensor, details: TaskDetails | None = None
    ) -> None:
        """Make tuned prompt vectors part of the model, and of every checkpoint saved from now on, under a new name.

        Args:
            name: Name of the task, new to the model.
            vectors: `(code_length, width)`, as a code's, e.g. from `search.tune_prompt` or a peft adapter.
            details: What is known about the task; saved with it.

        Raises:
            ValueError: The name is taken, empty or no string; the vectors have another shape or are not finite.
        """
        self._check_new(name)
        vectors = as_tensor("vectors", vectors)
        expected = (self.config.code_length, self.config.prompt_dim)
        if tuple(vectors.shape) != expected:
            raise ValueError(f"The vectors of '{name}' have shape {tuple(vectors.shape)}, but should have {expected}.")
        if not vectors.isfinite().all():
            raise ValueError(f"The vectors of '{name}' are not all finite.")
        row = vectors.detach().to(self._codebook_device, torch.float32, copy=True)[None]
        self.tuned_prompts = row if self.tuned_prompts is None else torch.cat([self.tuned_prompts, row])
        self._own("tuned_tasks").append(name)
        self._keep_details(name, details)

    def remove_task(self, name: str) -> None:
        """Forget an added or tuned task, e.g. to put a better one in its place.

        Raises:
            ValueError: There is no such task, or it is a training task.
        """
        find_task(name, self.task_names)
        if name in self.config.task_names:
            raise ValueError(f"'{name}' is a training task, which cannot be removed: others' ids depend on its place.")
        if name in self.config.tuned_tasks:
            kept = [i for i, other in enumerate(self.config.tuned_tasks) if other != name]
            self.tuned_prompts = self.tuned_prompts[kept] if kept else None
            self._own("tuned_tasks").remove(name)
        self._own("added_task_codes").pop(name, None)
        self._keep_details(name, None)
        if self.config.default_task == name:
            self.config.default_task = None

    def load_task(self, source: str | os.PathLike, name: str | None = None, **kwargs: Any) -> TaskCode:
        """Add a task from a task code file, a folder with one, or a Hub repository, e.g. "user/rte-code".

        Args:
            source: The file, folder or repository, as `save_task` and `push_task_code` write them.
            name: Name of the task in this model; by default, the one in the file.
            **kwargs: `revision`, `token` and `cache_dir`, for the Hub.

        Returns:
            What was read, under the name that the task now has.

        Raises:
            OSError: There is no such file or repository, or the Hub did not give it.
            ValueError: It is no task code file, it belongs to another codebook, or the name is taken.
        """
        task_code = load_task_code(source, **kwargs)
        check_codebook(task_code, self.task_codebook, str(source))
        check_codes(task_code.code, self.config.code_length, self.config.codebook_size, f"The code in '{source}'")
        if name is not None:
            task_code = dataclasses.replace(task_code, name=name)
        self.add_task(task_code.name, task_code.code, task_code.details)
        return task_code

    def save_task(self, name: str, path: str | os.PathLike, **facts: Any) -> TaskCode:
        """Write the code of a trained or added task into a small file, for `load_task`; see [`save_task_code`]."""
        return save_task_code(self, name, path, **facts)

    @property
    def _codebook_device(self) -> torch.device:
        return self.task_codebook.code_vectors.weight.device

    def _check_new(self, name: str) -> None:
        config = self.config
        if not isinstance(name, str):
            raise ValueError(f"A task's name must be a string, but is {name!r}.")
        if not name.strip():
            raise ValueError("A task's name must not be empty.")
        if name in config.added_task_codes or name in config.task_names or name in config.tuned_tasks:
            raise ValueError(f"There is already a task '{name}'; choose another name.")

    def _keep_details(self, name: str, details: TaskDetails | None) -> None:
        kept = self._own("task_details")
        kept.pop(name, None)
        if details is not None and details.to_dict():
            kept[name] = details.to_dict()

    def _own(self, field: str) -> Any:
        """Get a dict or list of the config to change in place, made this model's own if other models may share it.

        Setting the field anew would check all tasks for each one that is added.
        """
        owned = self.__dict__.setdefault("_owned_fields", {})
        if owned.get(field) is not getattr(self.config, field):
            owned[field] = copy.copy(getattr(self.config, field))
            setattr(self.config, field, owned[field])
        return owned[field]
