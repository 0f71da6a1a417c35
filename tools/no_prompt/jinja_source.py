"""Jinja's syntax tree written back as source: `parse(write_source(parse(x))) == parse(x)` for all that templates use."""

import json
import re
from collections.abc import Sequence

from jinja2 import nodes

# How tightly an expression binds, loosest first; operands that bind less tightly than their operator get parentheses.
_CONDITION, _OR, _AND, _NOT, _COMPARE, _ADD, _CONCAT, _MUL, _POW, _UNARY, _PRIMARY = range(11)
_BINARY = {
    nodes.Or: ("or", _OR),
    nodes.And: ("and", _AND),
    nodes.Add: ("+", _ADD),
    nodes.Sub: ("-", _ADD),
    nodes.Mul: ("*", _MUL),
    nodes.Div: ("/", _MUL),
    nodes.FloorDiv: ("//", _MUL),
    nodes.Mod: ("%", _MUL),
    nodes.Pow: ("**", _POW),
}
_UNARY_OPERATORS = {nodes.Neg: "-", nodes.Pos: "+"}
_COMPARISONS = {
    "eq": "==",
    "ne": "!=",
    "lt": "<",
    "lteq": "<=",
    "gt": ">",
    "gteq": ">=",
    "in": "in",
    "notin": "not in",
}


class UnsupportedSyntax(ValueError):
    """A part of Jinja's language that templates in the PromptSource format have no use for, such as macros."""


def write_source(node: nodes.Node | Sequence[nodes.Node]) -> str:
    """Source of a template, a statement, an expression, or a list of statements.

    Raises:
        UnsupportedSyntax: It has macros, blocks, imports or the like.
    """
    if isinstance(node, (list, tuple)):
        return "".join(map(write_source, node))
    if isinstance(node, nodes.Expr):
        return _expression(node)[0]
    match node:
        case nodes.Template():
            return write_source(node.body)
        case nodes.Output():
            return "".join(
                _text(part.data) if isinstance(part, nodes.TemplateData) else _braces(write_source(part))
                for part in node.nodes
            )
        case nodes.If():
            source = f"{{% if {write_source(node.test)} %}}{write_source(node.body)}"
            for branch in node.elif_:
                source += f"{{% elif {write_source(branch.test)} %}}{write_source(branch.body)}"
            return source + (f"{{% else %}}{write_source(node.else_)}" if node.else_ else "") + "{% endif %}"
        case nodes.For():
            source = f"{{% for {_target(node.target)} in {_operand(node.iter, _OR)}"
            source += f" if {write_source(node.test)}" if node.test else ""
            source += f"{' recursive' if node.recursive else ''} %}}{write_source(node.body)}"
            return source + (f"{{% else %}}{write_source(node.else_)}" if node.else_ else "") + "{% endfor %}"
        case nodes.Assign():
            return f"{{% set {_target(node.target)} = {write_source(node.node)} %}}"
        case nodes.AssignBlock():
            filters, inner = "", node.filter
            while inner is not None:
                arguments = _arguments(inner)
                filters = f" | {inner.name}{f'({arguments})' if arguments else ''}{filters}"
                inner = inner.node
            return f"{{% set {_target(node.target)}{filters} %}}{write_source(node.body)}{{% endset %}}"
    raise UnsupportedSyntax(f"a {type(node).__name__} statement (line {node.lineno})")


def _braces(expression: str) -> str:
    # A space where a brace or sign of the expression would run into our braces.
    left, right = (" " if expression[0] in "{-+" else ""), (" " if expression[-1] == "}" else "")
    return f"{{{{{left}{expression}{right}}}}}"


def _text(data: str) -> str:
    return f"{{% raw %}}{data}{{% endraw %}}" if re.search(r"\{[{%#]", data) else data


def _target(node: nodes.Expr) -> str:
    return ", ".join(map(_target, node.items)) if isinstance(node, nodes.Tuple) else write_source(node)


def _operand(node: nodes.Expr, level: int) -> str:
    source, binds = _expression(node)
    return source if binds >= level else f"({source})"


def _expression(node: nodes.Expr) -> tuple[str, int]:
    """Source of an expression, and how tightly it binds."""
    kind = type(node)
    if kind in _BINARY:
        operator, level = _BINARY[kind]
        # All of these group to the left.
        return f"{_operand(node.left, level)} {operator} {_operand(node.right, level + 1)}", level
    if kind in _UNARY_OPERATORS:
        return _UNARY_OPERATORS[kind] + _operand(node.node, _PRIMARY), _UNARY
    match node:
        case nodes.Const():
            return _constant(node.value), _PRIMARY
        case nodes.TemplateData():
            return json.dumps(node.data, ensure_ascii=False), _PRIMARY
        case nodes.Name():
            return node.name, _PRIMARY
        case nodes.NSRef():
            return f"{node.name}.{node.attr}", _PRIMARY
        case nodes.Not():
            return f"not {_operand(node.node, _NOT)}", _NOT
        case nodes.CondExpr():
            source = f"{_operand(node.expr1, _OR)} if {_operand(node.test, _OR)}"
            return source + (f" else {_operand(node.expr2, _CONDITION)}" if node.expr2 else ""), _CONDITION
        case nodes.Compare():
            rest = "".join(f" {_COMPARISONS[op.op]} {_operand(op.expr, _ADD)}" for op in node.ops)
            return _operand(node.expr, _ADD) + rest, _COMPARE
        case nodes.Concat():
            return " ~ ".join(_operand(part, _MUL) for part in node.nodes), _CONCAT
        case nodes.Tuple():
            inner = ", ".join(map(write_source, node.items))
            return f"({inner}{',' if len(node.items) == 1 else ''})", _PRIMARY
        case nodes.List():
            return f"[{', '.join(map(write_source, node.items))}]", _PRIMARY
        case nodes.Dict():
            pairs = ", ".join(f"{write_source(pair.key)}: {write_source(pair.value)}" for pair in node.items)
            return f"{{{pairs}}}", _PRIMARY
        case nodes.Getattr():
            return f"{_operand(node.node, _PRIMARY)}.{node.attr}", _PRIMARY
        case nodes.Getitem():
            return f"{_operand(node.node, _PRIMARY)}[{write_source(node.arg)}]", _PRIMARY
        case nodes.Slice():
            parts = ["" if part is None else write_source(part) for part in (node.start, node.stop, node.step)]
            return ":".join(parts if parts[2] else parts[:2]), _PRIMARY
        case nodes.Call():
            return f"{_operand(node.node, _PRIMARY)}({_arguments(node)})", _PRIMARY
        case nodes.Filter():
            arguments = _arguments(node)
            # The filters of a unary expression apply to the whole of it.
            source = f"{_operand(node.node, _UNARY)} | {node.name}"
            return source + (f"({arguments})" if arguments else ""), _UNARY
        case nodes.Test():
            arguments = _arguments(node)
            return f"{_operand(node.node, _UNARY)} is {node.name}" + (f"({arguments})" if arguments else ""), _UNARY
    raise UnsupportedSyntax(f"a {kind.__name__} expression (line {node.lineno})")


def _constant(value: object) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return (
        {None: "none", True: "true", False: "false"}[value]
        if value is None or isinstance(value, bool)
        else repr(value)
    )


def _arguments(node: nodes.Call | nodes.Filter | nodes.Test) -> str:
    parts = [write_source(argument) for argument in node.args]
    parts += [f"{keyword.key}={write_source(keyword.value)}" for keyword in node.kwargs]
    parts += [] if node.dyn_args is None else [f"*{write_source(node.dyn_args)}"]
    parts += [] if node.dyn_kwargs is None else [f"**{write_source(node.dyn_kwargs)}"]
    return ", ".join(parts)
