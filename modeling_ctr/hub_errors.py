"""What went wrong with a call to the Hub, and what to do about it, in one sentence."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,  # the HTTP library's own, of which there is more than one
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import validate_repo_id

LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"


@contextmanager
def hub_errors(action: str, repo_id: str, advice: str = "") -> Iterator[None]:
    """Turn what the Hub's client raises within the block into an OSError of one sentence; other errors pass through.

    Args:
        action: What the block does, to begin the sentence with, e.g. "Pushing to 'me/model'".
        repo_id: The repository it is about.
        advice: A sentence to end with: what is where now, and what to do.
    """
    try:
        yield
    except Exception as error:
        reason = hub_error_reason(error, repo_id)
        if reason is None:
            raise
        raise OSError(f"{action} failed: {reason}. {advice}".rstrip()) from error


def loading_errors(name_or_path: str | os.PathLike | None) -> AbstractContextManager[None]:
    """Do what `hub_errors` does for blocks that load a checkpoint, where its name is no folder but one on the Hub.

    Raises:
        OSError: It is no folder, and cannot be a name on the Hub.
    """
    if name_or_path is None or Path(name_or_path).exists():  # None: the weights are given as a `state_dict`
        return nullcontext()
    try:
        validate_repo_id(str(name_or_path))
    except HFValidationError as error:
        raise OSError(f"There is no folder '{name_or_path}', and nothing on the Hub can have that name.") from error
    return hub_errors(f"Loading '{name_or_path}'", str(name_or_path), "Nor is there a folder of that name.")


def hub_error_reason(error: BaseException, repo_id: str) -> str | None:
    """Find what an error, or one of those behind it, says about the Hub; None if it is about something else."""
    chain = []
    while error is not None:
        chain.append(error)
        error = error.__cause__ or error.__context__
    # What the Hub answered says most; each such error has one of the HTTP library behind it.
    for kinds in ((HfHubHTTPError, OfflineModeIsEnabled), HTTPError, LocalEntryNotFoundError):
        found = [e for e in chain if isinstance(e, kinds)]
        if found:
            return _reason(found[-1], repo_id)
    return None


def _reason(error: BaseException, repo_id: str) -> str:
    if isinstance(error, GatedRepoError):
        return f"'{repo_id}' is open to approved users only; ask for access on its page, and {LOG_IN}"
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"there is no repository '{repo_id}' on the Hub, or it is private and not open to you; "
            f"check its name, or {LOG_IN}"
        )
    if isinstance(error, RevisionNotFoundError):
        return f"'{repo_id}' has no such branch, tag or commit; look at its list of files on the Hub"
    if isinstance(error, OfflineModeIsEnabled):
        return "this process may not use the network (HF_HUB_OFFLINE is set); unset it"
    if isinstance(error, LocalEntryNotFoundError):
        return (
            f"the Hub cannot be reached, and '{repo_id}' is not in the local cache; check the network, and try again"
        )
    if isinstance(error, EntryNotFoundError):
        return f"'{repo_id}' has no such file"
    if isinstance(error, HfHubHTTPError):
        return _status_reason(error.response.status_code, repo_id, error.server_message)
    return f"the Hub cannot be reached ({type(error).__name__}); check the network, and try again"


def _status_reason(status: int, repo_id: str, message: str | None) -> str:
    if status == 401:
        return f"the Hub needs a valid token for '{repo_id}'; {LOG_IN}"
    if status == 403:
        return f"your token may not do that to '{repo_id}'; use one with write permission for its owner"
    if status == 429:
        return "the Hub has had too many requests from you (429); wait a few minutes, and try again"
    if status >= 500:
        return f"the Hub has a fault of its own ({status}); try again later"
    detail = f": {' '.join(message.split())}" if message else ""
    return f"the Hub refused the request ({status}){detail}"
