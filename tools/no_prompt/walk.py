"""One walk over a template that leaves out its words and keeps what is made of the row's fields."""

from collections.abc import Sequence

from jinja2 import meta, nodes

from tasks.jinja_sandbox import ANSWER_CHOICES
from tasks.template_usage import SEPARATOR, find_names_in_target

from .dead_code import remove_dead_code, trim_end
from .expressions import (
    find_mutated,
    find_names,
    find_stored,
    find_texts,
    is_words,
    is_wordy,
    join_parts,
    make_plain,
    split_sum,
)
from .jinja_source import UnsupportedSyntax

# Functions and filters whose result says how many there are, and nothing of what they are.
_COUNTERS = frozenset({"length", "count", "range"})
# What may stand between two fields; the later in this list wins over the earlier.
_BETWEEN = ("", " ", "\n")


class PromptRemoval:
    """One walk over a template; `body` is the list of statements of its no-prompt counterpart.

    Args:
        tree: The template.
        varying_choices: Whether the answer choices are made of fields.
    """

    def __init__(self, tree: nodes.Template, varying_choices: bool):
        self.shows_data = self.shows_choices = self.loses_condition = self.in_target = False
        self._varying_choices = varying_choices
        # Text before the first field needs nothing in its place.
        self._started, self._between, self._loops, self._shown_count = False, "", 0, 0
        self._locals = self._local_variables(tree)
        self._data_variables = self._variables_of_data(tree)
        self._target_fields = self._fields_of_target(tree)
        self.body = trim_end(remove_dead_code(self._statements(tree.body), self._locals))

    # What is data: whatever is made of fields or answer choices, at any remove.

    @staticmethod
    def _local_variables(tree: nodes.Template) -> set[str]:
        stored = {"loop", "range", "zip", "namespace"}
        for node in tree.find_all((nodes.Assign, nodes.For)):
            stored |= find_stored(node.target)
        # A field may be changed under its own name: {% set actions = actions.split() %}.
        return stored - (meta.find_undeclared_variables(tree) - {"range", "zip", "namespace"})

    def _variables_of_data(self, tree: nodes.Template) -> set[str]:
        found: set[str] = set()
        self._data_variables = found
        size = -1
        while size < len(found):
            size = len(found)
            for node in tree.find_all((nodes.Assign, nodes.For)):
                if self._reads_data(node.node if isinstance(node, nodes.Assign) else node.iter):
                    found |= find_stored(node.target) - {"_"}
            for call in tree.find_all(nodes.Call):
                if any(self._reads_data(argument) for argument in call.args):
                    found |= find_mutated(call) & self._locals
        return found

    def _reads_data(self, node: nodes.Node) -> bool:
        if isinstance(node, nodes.Name):
            return node.name not in self._locals or node.name in self._data_variables
        if isinstance(node, nodes.Filter) and node.name in _COUNTERS:
            return False
        if isinstance(node, nodes.Call) and isinstance(node.node, nodes.Name) and node.node.name in _COUNTERS:
            return False
        if isinstance(node, nodes.CondExpr):  # what it depends on is not what it gives
            return any(self._reads_data(branch) for branch in (node.expr1, node.expr2) if branch is not None)
        return any(self._reads_data(child) for child in node.iter_child_nodes())

    def _fields_of_target(self, tree: nodes.Template) -> set[str]:
        """Fields, read after some separator, or kept by variables that are."""
        names = find_names_in_target(tree)
        size = -1
        while size < len(names):
            size = len(names)
            for assign in tree.find_all(nodes.Assign):
                if find_stored(assign.target) & names:
                    names.update(find_names(assign.node))
        return names

    # The walk.

    def _statements(self, body: Sequence[nodes.Node]) -> list[nodes.Node]:
        converted: list[nodes.Node] = []
        for node in body:
            match node:
                case nodes.Output():
                    converted += self._output(node)
                case nodes.If():
                    converted += self._condition(node)
                case nodes.For():
                    converted.append(self._loop(node))
                case nodes.Assign():
                    value = node.node
                    if not self.in_target and not find_stored(node.target) & self._target_fields:
                        value = self._kept(value) or value
                    converted.append(nodes.Assign(node.target, value))
                case _:
                    raise UnsupportedSyntax(f"a {type(node).__name__} statement (line {node.lineno})")
        return converted

    def _output(self, node: nodes.Output) -> list[nodes.Node]:
        parts: list[nodes.Expr] = []
        for part in node.nodes:
            if self.in_target:
                parts.append(part)
            elif isinstance(part, nodes.TemplateData):
                text, separator, target = part.data.partition(SEPARATOR)
                self._drop(text)
                if separator:
                    self.in_target = True
                    parts.append(nodes.TemplateData(f" {SEPARATOR} {target.lstrip()}"))
            elif find_mutated(part) & self._locals:
                parts.append(part)
            else:
                parts += self._shown(part)
        # An output each: some may turn out to be dead code.
        return [nodes.Output([part]) for part in parts]

    def _shown(self, expression: nodes.Expr) -> list[nodes.Expr]:
        """The expression without its words, and what goes before it."""
        kept = self._kept(expression)
        if kept is None and isinstance(expression, nodes.CondExpr):
            kept = self._deciding_field([expression.test])
        if kept is None:
            self.loses_condition |= isinstance(expression, nodes.CondExpr) and self._reads_data(expression.test)
            self._drop("".join(find_texts(expression)) or " ")
            return []
        between = [nodes.TemplateData(self._between)] if self._between and self._started else []
        self._started, self._between, self._shown_count = True, "", self._shown_count + 1
        names = set(find_names(kept))
        self.shows_choices |= ANSWER_CHOICES in names
        self.shows_data |= bool(names - {ANSWER_CHOICES} - (self._locals - self._data_variables)) or (
            ANSWER_CHOICES in names and self._varying_choices
        )
        return [*between, kept]

    def _drop(self, text: str) -> None:
        """Notes that text stood here. Spaces and marks between the rounds of a loop may run through one sentence."""
        if text:
            apart = not self._loops or is_wordy(text) or "," in text or "\n" in text
            self._between = max(self._between, "\n" if apart else " ", key=_BETWEEN.index)

    def _condition(self, node: nodes.If) -> list[nodes.Node]:
        entry = (self._started, self._between, self.in_target)
        ends = [entry]
        branches = []
        for body in (node.body, *(branch.body for branch in node.elif_), node.else_):
            self._started, self._between, self.in_target = entry
            branches.append(self._statements(body))
            ends.append((self._started, self._between, self.in_target))
        self._started = any(started for started, _, _ in ends)
        self._between = max((between for _, between, _ in ends), key=_BETWEEN.index)
        self.in_target = any(in_target for _, _, in_target in ends)
        tests = [node.test, *(branch.test for branch in node.elif_)]
        if not any(branches):
            field = None if entry[2] else self._deciding_field(tests)
            wordy = any(is_wordy(text.data) for text in node.find_all(nodes.TemplateData))
            self.loses_condition |= field is None and wordy and any(map(self._reads_data, tests))
            return [] if field is None else [nodes.Output([part]) for part in self._shown(field)]
        first, *others, last = branches
        elif_ = [nodes.If(test, body, [], []) for test, body in zip(tests[1:], others, strict=True)]
        return [nodes.If(node.test, first, elif_, last)]

    def _loop(self, node: nodes.For) -> nodes.For:
        entry = (self._started, self._between, self._shown_count)
        # Rounds are held apart; what that puts before the first one is white space, which rendering strips.
        self._started = True
        self._loops += 1
        body = self._statements(node.body)
        if self._between and not self.in_target:
            # A round after the first starts with what ends the one before it.
            self._between = max(entry[1], self._between, key=_BETWEEN.index)
            body = self._statements(node.body)
        if self._shown_count == entry[2]:
            self._started = entry[0]
        self._loops -= 1
        return nodes.For(node.target, node.iter, body, self._statements(node.else_), node.test, node.recursive)

    def _deciding_field(self, tests: Sequence[nodes.Expr]) -> nodes.Expr | None:
        """The one field that the tests compare with texts, if it is one and not read by the target."""
        compared: list[nodes.Expr] = []
        for test in tests:
            if not isinstance(test, nodes.Compare) or len(test.ops) != 1 or test.ops[0].op not in ("eq", "ne"):
                return None
            if not is_words(test.ops[0].expr) or not isinstance(test.expr, (nodes.Name, nodes.Getattr, nodes.Getitem)):
                return None
            compared.append(test.expr)
        names = set(find_names(compared[0]))
        if any(expression != compared[0] for expression in compared) or names & (self._target_fields | self._locals):
            return None
        return compared[0]

    # Expressions.

    def _kept(self, node: nodes.Expr) -> nodes.Expr | None:
        """What is left of an expression of the input without its words; None if it is not made of data."""
        if not self._reads_data(node):
            return None
        match node:
            case nodes.CondExpr():
                return nodes.CondExpr(
                    node.test,
                    self._kept(node.expr1) or nodes.Const(""),
                    None if node.expr2 is None else self._kept(node.expr2) or nodes.Const(""),
                )
            case nodes.Concat():
                return join_parts(self._kept_parts(node.nodes), nodes.Concat)
            case nodes.Add() if any(map(is_words, split_sum(node))):
                return join_parts(self._kept_parts(split_sum(node)), nodes.Add)
            case nodes.Filter(name="format") | nodes.Call(node=nodes.Getattr(node=nodes.Const(), attr="format")) if (
                any(map(self._reads_data, node.args))
            ):
                return join_parts(
                    [kept for argument in node.args if (kept := self._kept(argument))], nodes.Concat, " "
                )
            case nodes.Filter(name="join" | "choice" | "random", node=nodes.List()) if self._reads_data(node.node):
                items = [kept for item in node.node.items if (kept := self._kept(item))]
                return self._refiltered(node, nodes.List(items, ctx="load"))
            case nodes.Filter() if node.node is not None:
                return self._refiltered(node, self._kept(node.node) or node.node)
            case nodes.Call(node=nodes.Getattr(node=nodes.Const(value=str() as between), attr="join")):
                return nodes.Call(
                    nodes.Getattr(nodes.Const(make_plain(between)), "join", "load"), node.args, node.kwargs, None, None
                )
        return node

    def _kept_parts(self, parts: Sequence[nodes.Expr]) -> list[nodes.Expr]:
        kept = []
        for part in parts:
            if is_words(part):
                kept.append(nodes.Const(make_plain(part.value)))
            elif isinstance(part, nodes.CondExpr) and not self._reads_data(part):
                kept.append(nodes.Const(" "))
            else:
                # A number in a sum of texts would be an error; in a concatenation it is a count or a letter.
                kept.append(self._kept(part) or nodes.Const(" "))
        return kept

    def _refiltered(self, node: nodes.Filter, inner: nodes.Expr) -> nodes.Filter:
        arguments = node.args
        if node.name == "join" and arguments and is_words(arguments[0]):
            arguments = [nodes.Const(make_plain(arguments[0].value)), *arguments[1:]]
        return nodes.Filter(inner, node.name, arguments, node.kwargs, node.dyn_args, node.dyn_kwargs)
