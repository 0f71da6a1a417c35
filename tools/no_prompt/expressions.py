"""What Jinja expressions read, change and say, and how parts of them are joined."""

from collections.abc import Iterator, Sequence

from jinja2 import nodes

# Methods that templates call for what they do to a list or mapping, inside `{{ }}` or `{% set _ = ... %}`.
_MUTATORS = frozenset({"append", "extend", "insert", "update", "pop", "remove", "setdefault"})


def find_names(node: nodes.Node) -> Iterator[str]:
    """Names that an expression reads, itself included."""
    if isinstance(node, nodes.Name):
        yield node.name
    for name in node.find_all(nodes.Name):
        yield name.name


def find_stored(target: nodes.Node) -> set[str]:
    refs = [target] if isinstance(target, nodes.NSRef) else target.find_all(nodes.NSRef)
    return {*find_names(target), *(ref.name for ref in refs)}


def is_wordy(text: str) -> bool:
    return any(character.isalnum() for character in text)


def is_words(node: nodes.Expr) -> bool:
    return isinstance(node, nodes.Const) and isinstance(node.value, str)


def find_mutated(node: nodes.Node) -> set[str]:
    """Variables that calls such as `seen.append(x)` in an expression change."""
    changed = set()
    for call in [node, *node.find_all(nodes.Call)]:
        if isinstance(call, nodes.Call) and isinstance(call.node, nodes.Getattr) and call.node.attr in _MUTATORS:
            changed |= set(find_names(call.node.node))
    return changed


def find_texts(node: nodes.Node) -> Iterator[str]:
    for constant in [node, *node.find_all(nodes.Const)]:
        if isinstance(constant, nodes.Const) and isinstance(constant.value, str):
            yield constant.value


def make_plain(between: str) -> str:
    """A separator without words: those of one line become a comma, those of more a new line."""
    if "\n" in between:
        return "\n"
    return ", " if is_wordy(between) else between


def split_sum(node: nodes.Expr) -> list[nodes.Expr]:
    return [*split_sum(node.left), *split_sum(node.right)] if isinstance(node, nodes.Add) else [node]


def join_parts(parts: Sequence[nodes.Expr], kind: type[nodes.Expr], between: str | None = None) -> nodes.Expr:
    """Parts in one expression, without words at its ends."""
    parts = list(parts)
    while is_words(parts[0]):
        parts.pop(0)
    while is_words(parts[-1]):
        parts.pop()
    if between is not None:
        parts = [item for part in parts for item in (nodes.Const(between), part)][1:]
    if len(parts) == 1:
        return parts[0]
    if kind is nodes.Concat:
        return nodes.Concat(parts)
    total = parts[0]
    for part in parts[1:]:
        total = nodes.Add(total, part)
    return total
