"""The one import for users: complete, lazy, and the same to a type checker as at run time."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import task_codes


def test_importing_it_imports_no_library():
    code = (
        "import sys, task_codes; print(task_codes.__version__, sorted({'torch', 'transformers'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split(maxsplit=1) == [task_codes.__version__, "[]\n"]


def test_every_name_is_that_of_its_package():
    for name, module in task_codes._MODULES.items():
        assert getattr(task_codes, name) is getattr(import_module(module), name)
    assert set(dir(task_codes)) == {"__version__", *task_codes._MODULES}


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(task_codes.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.asname: node.module for node in block.body for alias in node.names}
    assert seen == task_codes._MODULES


def test_another_name_is_an_error():
    with pytest.raises(AttributeError, match="'task_codes' has no attribute 'CTRModel'"):
        _ = task_codes.CTRModel
    with pytest.raises(ImportError, match="cannot import name 'CTRModel'"):
        from task_codes import CTRModel  # noqa: F401
