"""Task codes on the Hub that were found with a given model."""

from huggingface_hub import HfApi

from .checkpoint_name import is_repo_id
from .hub_errors import hub_errors
from .task_code_file import FORMAT


def find_task_codes(model_name: str, *, author: str | None = None, token: str | bool | None = None) -> list[str]:
    """Find the repositories of task codes for a model, as `push_task_code` makes them, for `model.load_task`.

    Their cards name the model as what they are based on. Only loading tells whether a code belongs to the very codebook:
    the model may have been trained further since.

    Args:
        model_name: Name on the Hub of the model that the codes were found with, "user/name".
        author: User or organization whose codes to list; by default, everybody's.
        token: Hub token; by default, the one logged in with. Private repositories are listed to their owners only.

    Returns:
        Names of the repositories, sorted; empty where nobody pushed a code.

    Raises:
        OSError: The Hub did not answer; the message says why.
        ValueError: `model_name` cannot be a model's name on the Hub.
    """
    if not is_repo_id(model_name):
        raise ValueError(
            f"'{model_name}' is no name of a model on the Hub (user/name), by which task codes are found."
        )
    with hub_errors(f"Looking for task codes of '{model_name}'", model_name):
        return sorted(
            found.id
            for found in HfApi(token=token).list_models(filter=[FORMAT, f"base_model:{model_name}"], author=author)
        )
