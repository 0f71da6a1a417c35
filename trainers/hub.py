"""Everything that makes a published CTR model usable, in one commit to the Hub."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from huggingface_hub import CommitOperationAdd, HfApi
from transformers import PreTrainedTokenizerBase

from modeling_ctr import CTRPreTrainedModel
from modeling_ctr.hub_errors import hub_errors
from trainers.model_card import write_model_card
from trainers.saving_aside import saved_aside
from trainers.task_codes_file import TASK_CODES_NAME, write_task_codes


def save_for_hub(
    model: CTRPreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    output_dir: str | Path,
    *,
    repo_id: str | None = None,
    **card: Any,
) -> None:
    """Write all that a push carries: weights, configs, the model's Python files, tokenizer, codes and model card.

    Args:
        output_dir: A folder, made if there is none. Other files in it are left alone; a model in it is replaced once
            all is written.
        repo_id: Where it will be on the Hub, for the card.
        **card: Further facts for the card, see [`write_model_card`].
    """
    with saved_aside(output_dir) as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        write_task_codes(model.config, model.task_codes(), folder / TASK_CODES_NAME)
        write_model_card(model, folder, repo_id=repo_id or Path(output_dir).resolve().name, **card)


def push_to_hub(
    model: CTRPreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    repo_id: str,
    *,
    private: bool | None = None,
    token: str | None = None,
    revision: str | None = None,
    commit_message: str = "Upload CTR model",
    **card: Any,
) -> str:
    """Push a model with its tokenizer, codes and card; for a run with a trainer there is `trainer.push_to_hub()`.

    `model.push_to_hub()` alone carries neither tokenizer nor `task_codes.json`, and transformers' own empty card.

    Args:
        repo_id: "user/name", or "name" for the token's user; made if there is none.
        private: Whether a new repository is private.
        token: Hub token; by default, the one logged in with.
        revision: Branch to push to, made if there is none; by default, "main".
        **card: Facts for the card, see [`write_model_card`].

    Returns:
        The commit's address.

    Raises:
        OSError: The Hub did not take it; the message says why. The repository is as it was before.
    """
    with TemporaryDirectory() as folder:
        # Made first: the card names the repository in full, with its user.
        full_name = make_repository(repo_id, private=private, token=token)
        save_for_hub(model, tokenizer, folder, repo_id=full_name, **card)
        return push_folder(folder, full_name, token=token, revision=revision, commit_message=commit_message)


def make_repository(repo_id: str, *, private: bool | None = None, token: str | None = None) -> str:
    """Make a repository where there is none, and return its name in full. Raises an OSError where the Hub does not."""
    with hub_errors(f"Making the repository '{repo_id}'", repo_id, "Nothing was pushed."):
        return HfApi(token=token).create_repo(repo_id, private=private, exist_ok=True).repo_id


def push_folder(
    folder: str | Path,
    repo_id: str,
    *,
    private: bool | None = None,
    token: str | None = None,
    revision: str | None = None,
    commit_message: str,
) -> str:
    """Push all files of a folder in one commit, and return the commit's address; arguments as for [`push_to_hub`].

    Raises:
        OSError: The Hub did not take it; the message says why. The repository is as it was before.
    """
    api = HfApi(token=token)
    repo_id = make_repository(repo_id, private=private, token=token)
    with hub_errors(f"Making the branch '{revision}' of '{repo_id}'", repo_id, "Nothing was pushed."):
        if revision is not None:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
    with hub_errors(f"Pushing to '{repo_id}'", repo_id, "What was there before is unchanged."):
        # One commit, whatever its size (`upload_folder` may make several): all of the model is there, or none.
        files = [
            CommitOperationAdd(path_in_repo=path.relative_to(folder).as_posix(), path_or_fileobj=path)
            for path in Path(folder).rglob("*")
            if path.is_file()
        ]
        return api.create_commit(
            repo_id=repo_id, operations=files, commit_message=commit_message, revision=revision
        ).commit_url
