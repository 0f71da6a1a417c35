import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import safe_files
from safe_files import write_json, write_text


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_folder_is_made_and_nothing_else_is_left(tmp_path):
    write_text(tmp_path / "a" / "b.md", "two\nlines")
    assert (tmp_path / "a" / "b.md").read_text() == "two\nlines" and names(tmp_path / "a") == ["b.md"]
    write_json(tmp_path / "c.json", {"path": Path("x"), "text": "\udc80 é"}, default=str)
    assert json.loads((tmp_path / "c.json").read_text()) == {"path": "x", "text": "\udc80 é"}


def test_longest_name_and_a_link(tmp_path):
    long = tmp_path / ("n" * 250 + ".json")
    write_json(long, 1)
    (tmp_path / "link.json").symlink_to(long)
    write_json(tmp_path / "link.json", 2)
    assert json.loads(long.read_text()) == 2 and (tmp_path / "link.json").is_symlink()


def test_text_that_is_no_unicode_is_escaped(tmp_path):
    write_text(tmp_path / "a.md", "name \udc80")
    assert (tmp_path / "a.md").read_text(encoding="utf-8") == r"name \udc80"


@pytest.mark.parametrize("fails_in", ["fsync", "replace"])
def test_failing_write_leaves_what_was_there(tmp_path, monkeypatch, fails_in):
    write_text(tmp_path / "a.json", "before")

    def no_space(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(safe_files.os, fails_in, no_space)
    with pytest.raises(OSError, match="No space"):
        write_text(tmp_path / "a.json", "after")
    assert (tmp_path / "a.json").read_text() == "before" and names(tmp_path) == ["a.json"]
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", object())
    assert (tmp_path / "a.json").read_text() == "before"


def test_killed_in_writing(tmp_path):
    write_text(tmp_path / "a.json", "before")
    program = (
        "import os, signal, sys, safe_files\n"
        "safe_files.os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
        "safe_files.write_text(sys.argv[1], 'after ' * 1000)"
    )
    root = Path(safe_files.__file__).parent
    killed = subprocess.run([sys.executable, "-c", program, tmp_path / "a.json"], cwd=root, env=os.environ)
    assert killed.returncode == -signal.SIGKILL and (tmp_path / "a.json").read_text() == "before"
    write_text(tmp_path / "a.json", "after")
    assert names(tmp_path) == ["a.json"]
