"""Put the app on a Hugging Face Space: `python -m playground.space you/your-space --model you/your-model`."""

import argparse
import configparser
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi, SpaceCardData

from modeling_ctr.checkpoint_name import is_repo_id
from modeling_ctr.hub_errors import hub_errors

REPOSITORY = Path(__file__).resolve().parents[1]
CARD = """---
{metadata}
---

# {title}

Tasks as codes: choose a task of [{model}](https://huggingface.co/{model}) or set each integer of a task's code by hand, see
what the model then does with an input, and search for the code of a new task from a few examples.
"""


def space_files(model: str) -> dict[str, bytes]:
    """Collect what a Space for this model on the Hub holds, by path: app, packages, requirements and the Space's own page.

    Raises:
        ValueError: This is an installed package, which has no app.
    """
    if not (REPOSITORY / "app.py").is_file():
        raise ValueError(
            f"There is no app.py in '{REPOSITORY}', to be pushed to a Space: run this in a clone of the project."
        )
    settings = configparser.ConfigParser()
    settings.read(REPOSITORY / "setup.cfg", encoding="utf-8")
    packages = settings["options"]["packages"].split()
    sources = [path for package in packages for path in (REPOSITORY / package).rglob("*") if path.is_file()]
    sources += [REPOSITORY / f"{module}.py" for module in settings["options"]["py_modules"].split()]
    files = {
        path.relative_to(REPOSITORY).as_posix(): path.read_bytes()
        for path in [REPOSITORY / "app.py", REPOSITORY / "LICENSE", *sources]
        if path.suffix != ".pyc"
    }
    # The releases that the tests are run with. Within the file: a Space's builder sees no other.
    pins = dict(line.split("==") for line in (REPOSITORY / "constraints.txt").read_text().split() if "==" in line)
    names = [re.split("[<>=]", line)[0] for line in settings["options"]["install_requires"].split()]
    requirements = "".join(f"{name}=={pins[name]}\n" for name in names)
    title = f"{model.split('/')[1]}: tasks as codes"
    metadata = SpaceCardData(
        title=title,
        sdk="gradio",  # installed by the Space itself
        sdk_version=pins["gradio"],
        python_version=f"{sys.version_info.major}.{sys.version_info.minor}",
        app_file="app.py",
        license="mit",
        models=[model],
    )
    card = CARD.format(metadata=metadata.to_yaml(), title=title, model=model)
    return files | {"README.md": card.encode(), "requirements.txt": requirements.encode()}


def push_space(repo_id: str, model: str, *, private: bool | None = None, token: str | None = None) -> str:
    """Push the app to a Space that shows a model on the Hub.

    Args:
        repo_id: The Space, "user/name", or "name" for the token's user; made if there is none.
        model: The model's repository, "user/name". If it is private, give the Space a secret `HF_TOKEN` that reads it.
        private: Whether a new Space is private.
        token: Hub token; by default, the one logged in with.

    Returns:
        The Space's address.

    Raises:
        ValueError: `model` is not a repository's name, or there is no app to push.
        OSError: The Hub did not take it; the message says why.
    """
    if not is_repo_id(model):
        raise ValueError(
            f"'{model}' is no repository on the Hub (user/name), where a Space could load it: push it first."
        )
    contents = space_files(model)
    api = HfApi(token=token)
    with hub_errors(f"Pushing to the Space '{repo_id}'", repo_id):
        space = api.create_repo(repo_id, repo_type="space", space_sdk="gradio", private=private, exist_ok=True)
        api.add_space_variable(space.repo_id, "CTR_CHECKPOINT", model)  # app.py loads what this names
        files = [CommitOperationAdd(path, content) for path, content in contents.items()]
        api.create_commit(space.repo_id, files, commit_message=f"App for {model}", repo_type="space")
    return str(space)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("space", help="the Space's name on the Hub, user/name; made if there is none")
    parser.add_argument("--model", required=True, help="the model's name on the Hub, user/name")
    parser.add_argument("--private", action="store_true", default=None, help="make a new Space private")
    options = parser.parse_args(arguments)
    try:
        print(push_space(options.space, options.model, private=options.private))
    except (OSError, ValueError) as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main()
