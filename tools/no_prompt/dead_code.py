"""Statements that say nothing once the words are gone, and how they are left out."""

from collections.abc import Sequence

from jinja2 import nodes

from .expressions import find_mutated, find_names, find_stored


def remove_dead_code(body: Sequence[nodes.Node], local_variables: set[str]) -> list[nodes.Node]:
    """The statements without variables that nothing shown depends on, and blocks that are empty then."""
    live: set[str] = set()

    def collect(statements: Sequence[nodes.Node], around: set[str]) -> bool:
        """Adds what live statements read; whether there is one."""
        any_live = False
        for node in statements:
            match node:
                case nodes.If():
                    tests = {*around, *find_names(node.test)}.union(
                        *(find_names(branch.test) for branch in node.elif_)
                    )
                    for inner in (node.body, *(branch.body for branch in node.elif_), node.else_):
                        any_live |= collect(inner, tests)
                case nodes.For():
                    tests = {*around, *find_names(node.iter), *(find_names(node.test) if node.test else ())}
                    any_live |= collect(node.body, tests) | collect(node.else_, tests)
                case _ if is_live(node):
                    any_live = True
                    live.update(around, find_names(node))
        return any_live

    def is_live(node: nodes.Node) -> bool:
        if isinstance(node, nodes.Assign):
            return bool((find_stored(node.target) | find_mutated(node.node)) & live)
        changed = find_mutated(node) & local_variables
        return not changed or bool(changed & live)

    def sweep(statements: Sequence[nodes.Node]) -> list[nodes.Node]:
        kept: list[nodes.Node] = []
        for node in statements:
            if isinstance(node, nodes.If):
                branches = [sweep(inner) for inner in (node.body, *(branch.body for branch in node.elif_), node.else_)]
                if any(branches):
                    first, *others, last = branches
                    elif_ = [nodes.If(b.test, inner, [], []) for b, inner in zip(node.elif_, others, strict=True)]
                    kept.append(nodes.If(node.test, first, elif_, last))
            elif isinstance(node, nodes.For):
                inner, otherwise = sweep(node.body), sweep(node.else_)
                if inner or otherwise:
                    kept.append(nodes.For(node.target, node.iter, inner, otherwise, node.test, node.recursive))
            elif is_live(node):
                kept.append(node)
        return kept

    size = -1
    while size < len(live):
        size = len(live)
        collect(body, set())
    return sweep(body)


def trim_end(body: Sequence[nodes.Node]) -> list[nodes.Node]:
    """The statements without white space at the end of what they say, so that templates differ in what they say only."""
    body = list(body)
    match body[-1:]:
        case [nodes.Output(nodes=[nodes.TemplateData(data=text)])]:
            body[-1:] = [nodes.Output([nodes.TemplateData(text.rstrip())])] if text.strip() else []
            return body if text.strip() else trim_end(body)
        case [nodes.If(test=test, body=first, elif_=elif_, else_=last)]:
            elif_ = [nodes.If(branch.test, trim_end(branch.body), [], []) for branch in elif_]
            body[-1] = nodes.If(test, trim_end(first), elif_, trim_end(last))
    return body
