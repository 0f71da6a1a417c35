"""What a template's source uses: which fields of a row, and where."""

from functools import cache
from typing import NamedTuple

import jinja2
from jinja2 import meta, nodes

from .errors import TemplateError
from .jinja_sandbox import GLOBALS, parse_jinja

# Between input and target, and between answer choices.
SEPARATOR = "|||"


class Usage(NamedTuple):
    """Which fields of a row a Jinja source reads, by where; whether it draws, and counts answer choices from the end."""

    fields: frozenset[str]
    target_fields: frozenset[str]
    draws: bool
    counts_from_end: bool


@cache
def get_usage(source: str) -> Usage:
    """Finds out what a source uses.

    Raises:
        TemplateError: It is not valid Jinja.
    """
    tree = parse_jinja(source)
    # First, since what follows folds constants in the tree.
    counts_from_end = any(isinstance(node.arg, nodes.Neg) for node in tree.find_all(nodes.Getitem))
    # Jinja's own analysis takes them for its functions.
    shadowed = _find_shadowed_functions(tree)
    try:
        fields = meta.find_undeclared_variables(tree) | shadowed
    except RecursionError as error:
        raise TemplateError("is nested too deeply") from error
    except jinja2.TemplateError as error:  # such as a filter that does not exist
        raise TemplateError(f"is not valid Jinja: {error}") from error
    draws = any(node.name in ("choice", "random") for node in tree.find_all(nodes.Filter))
    return Usage(frozenset(fields), frozenset(find_names_in_target(tree) & fields), draws, counts_from_end)


def _find_shadowed_functions(tree: nodes.Template) -> set[str]:
    """Names of Jinja's functions that are read without being called, so that a field must be meant."""
    called = {id(call.node) for call in tree.find_all(nodes.Call)}
    names = list(tree.find_all(nodes.Name))
    read = {name.name for name in names if name.ctx == "load" and id(name) not in called}
    return (read & GLOBALS) - {name.name for name in names if name.ctx != "load"}


def find_names_in_target(tree: nodes.Template) -> set[str]:
    """Finds the names that are read after some separator."""
    names: set[str] = set()
    in_target = False

    def walk(node: nodes.Node) -> None:
        nonlocal in_target
        for child in node.iter_child_nodes():
            if isinstance(child, nodes.TemplateData) and SEPARATOR in child.data:
                in_target = True
            elif isinstance(child, nodes.Name) and in_target:
                names.add(child.name)
            walk(child)

    walk(tree)
    return names
