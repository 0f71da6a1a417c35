"""Names of checkpoints, and what of them may leave the machine."""

from pathlib import Path

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id


def public_name(name_or_path: str) -> str:
    """Keep a Hub name as it is, and of a local path the last part only, since the others tell about somebody's disk."""
    return name_or_path if is_repo_id(name_or_path) else Path(name_or_path).name


def is_repo_id(name: str) -> bool:
    """Tell whether `name` can only be a repository on the Hub, "user/name"."""
    if name.count("/") != 1 or Path(name).exists():
        return False
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True
