"""What a contributor runs, what a commit runs and what CI runs are one thing, and the files about it say what is there."""

import configparser
import re
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[1]


def get_setup() -> configparser.ConfigParser:
    setup = configparser.ConfigParser()
    setup.read(REPOSITORY / "setup.cfg")
    return setup


@pytest.fixture
def tools() -> dict:
    """The settings of all tools."""
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 cannot read TOML")
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]


def get_recipe(target: str) -> list[str]:
    """The commands of a target of the Makefile."""
    recipe = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    return [line.strip() for line in recipe[1].splitlines()]


def test_a_commit_runs_make_quality():
    config = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text())
    (hook,) = [hook for repo in config["repos"] for hook in repo["hooks"]]
    assert (hook["entry"], hook["language"], hook["pass_filenames"]) == ("make quality", "system", False)
    assert [command.split("/")[1].split()[0] for command in get_recipe("quality")] == ["ruff", "ruff", "mypy"]


def test_github_runs_what_ci_runs():
    workflow = yaml.safe_load((REPOSITORY / ".github/workflows/ci.yml").read_text())
    runs = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    assert runs == [".ci/run"]
    script = (REPOSITORY / ".ci/run").read_text()
    targets = re.findall(r"^make (\S+)$", script, re.MULTILINE)
    assert targets[:2] == ["quality", "test"]
    assert all(get_recipe(target) for target in targets)


def test_tools_are_pinned():
    pins = dict(line.split("==") for line in (REPOSITORY / "constraints.txt").read_text().split() if "==" in line)
    dev = {re.split("[<>=]", line)[0] for line in get_setup()["options.extras_require"]["dev"].split()}
    assert dev <= pins.keys() and {"mypy", "pytest", "ruff"} <= dev


def test_settings_of_tools_are_in_one_file(tools):
    assert tools.keys() == {"mypy", "pytest", "ruff"}
    assert not [section for section in get_setup().sections() if not section.startswith(("metadata", "options"))]


def test_every_package_is_installed_and_typed():
    listed = set(get_setup()["options"]["packages"].split())
    found = {
        ".".join(path.parent.relative_to(REPOSITORY).parts)
        for folder in REPOSITORY.iterdir()
        if (folder / "__init__.py").is_file() and folder.name != "tools"  # which run in a clone alone
        for path in folder.rglob("__init__.py")
    }
    assert listed == found
    for package in listed:
        assert (REPOSITORY / package.split(".")[0] / "py.typed").is_file(), package
    modules = {path.stem for path in REPOSITORY.glob("*.py")} - {"app"}  # likewise
    assert set(get_setup()["options"]["py_modules"].split()) == modules


def test_mypy_checks_every_package_one_way_or_the_other(tools):
    """A list of modules in a setting that names none of ours any more would check nothing."""
    (lenient,) = [override["module"] for override in tools["mypy"]["overrides"] if "disable_error_code" in override]
    ours = {package.split(".")[0] for package in get_setup()["options"]["packages"].split()}
    ours |= set(get_setup()["options"]["py_modules"].split())
    assert {module.removesuffix(".*") for module in lenient} <= ours | {"tools"}
    assert {"task_codes", "playground"} <= ours - {module.removesuffix(".*") for module in lenient}


def test_contributing_names_what_is_there():
    page = (REPOSITORY / "CONTRIBUTING.md").read_text()
    paths = [name for name in re.findall(r"`([\w./]+)`", page) if "/" in name or name.endswith((".py", ".txt", ".md"))]
    assert len(paths) > 20
    assert [path for path in paths if not (REPOSITORY / path).exists()] == []
    targets = set(re.findall(r"\bmake ([\w-]+)", page))
    assert {"test", "quality", "format", "test-oldest"} <= targets and all(map(get_recipe, targets))
    for folder in REPOSITORY.iterdir():  # a new package has its line
        assert not (folder / "__init__.py").is_file() or f"`{folder.name}/`" in page, folder.name


def test_the_changelog_knows_the_version():
    import task_codes

    versions = re.findall(r"^## (.+)$", (REPOSITORY / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert versions[:2] == ["Unreleased", task_codes.__version__] or versions[0] == task_codes.__version__
