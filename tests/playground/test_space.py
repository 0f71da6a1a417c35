"""What is put on a Space; tests/hub/test_space.py pushes and runs it."""

import re

import pytest

from playground import space


def test_a_space_holds_the_app_and_what_it_imports():
    files = space.space_files("me/ctr")
    assert {"app.py", "LICENSE", "README.md", "requirements.txt", "safe_files.py"} <= files.keys()
    app = [text.decode() for path, text in files.items() if path.startswith(("app.py", "playground/"))]
    imported = set(re.findall(r"^from (\w[\w.]*) import", "\n".join(app), re.MULTILINE))
    ours = {name for name in imported if (space.REPOSITORY / name.split(".")[0]).is_dir()}
    assert len(ours) >= 3
    for name in ours:
        assert {f"{name.replace('.', '/')}{end}" for end in (".py", "/__init__.py")} & files.keys(), name
    assert not [path for path in files if "__pycache__" in path or path.startswith(("/", "tests"))]


def test_what_has_no_app_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(space, "REPOSITORY", tmp_path)
    with pytest.raises(SystemExit, match="^Error: There is no app.py in .* run this in a clone of the project"):
        space.main(["me/app", "--model", "me/ctr"])
