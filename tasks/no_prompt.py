"""No-prompt templates derived from prompted ones, so that any collection of prompts becomes tasks for task codes.

    python -m tasks.no_prompt promptsource/templates my_templates

writes YAML files that `load_tasks` reads. Of a template's input, text and constant expressions go, and so do variables
that only they use; fields, answer choices, loops over them and conditions that choose among them stay, on lines of their
own. The target and the answer choices stay as they are. Words that a condition chooses by a field's text
(`{% if question == "cause" %} because {% endif %}`) give way to that field, which says the same, unless the target reads
it. Prompts that differ in words only become one template.
"""

import argparse
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import yaml
from jinja2 import meta, nodes

from .data_source import resolve_data
from .errors import TemplateError
from .jinja_sandbox import ANSWER_CHOICES, parse_jinja
from .jinja_source import UnsupportedSyntax, source_of
from .template import Template
from .template_file import TemplateFile, load_template_file
from .template_usage import SEPARATOR, find_names_in_target

# Methods that templates call for what they do to a list or mapping, inside `{{ }}` or `{% set _ = ... %}`.
_MUTATORS = frozenset({"append", "extend", "insert", "update", "pop", "remove", "setdefault"})
# Functions and filters whose result says how many there are, and nothing of what they are.
_COUNTERS = frozenset({"length", "count", "range"})
# What may stand between two fields; the later in this list wins over the earlier.
_BETWEEN = ("", " ", "\n")


class NotConvertible(ValueError):
    """A template that has no no-prompt counterpart; the message is the cause, in the form "its input shows no field"."""


def without_prompt(template: Template) -> Template:
    """The no-prompt counterpart of a prompted template, under the same name.

    Raises:
        NotConvertible: Nothing of its input would be left, or its syntax is beyond that of templates.
    """
    return _converted(template)[0]


def _converted(template: Template) -> tuple[Template, bool]:
    """The no-prompt counterpart, and whether a condition on a field is lost."""
    try:
        tree = parse_jinja(template.jinja)
        choices = None if template.answer_choices is None else parse_jinja(template.answer_choices)
        varying_choices = choices is not None and any(choices.find_all(nodes.Name))
        conversion = _Conversion(tree, varying_choices)
        jinja = source_of(conversion.body).strip()
        answer_choices = (
            None if choices is None else re.sub(r"\s*\|\|\|\s*", f" {SEPARATOR} ", source_of(choices)).strip()
        )
    except TemplateError as error:
        raise NotConvertible("it is not valid Jinja") from error
    except UnsupportedSyntax as error:
        raise NotConvertible(f"it has {str(error).partition(' (')[0]}") from error
    if not conversion.in_target:
        raise NotConvertible(f"its text has no {SEPARATOR}")
    if not conversion.shows_data:
        raise NotConvertible("its input shows no field")
    metadata = {**template.metadata, "choices_in_prompt": conversion.shows_choices}
    return Template(template.name, jinja, answer_choices, metadata=metadata), conversion.loses_condition


def _names(node: nodes.Node) -> Iterator[str]:
    """Names that an expression reads, itself included."""
    if isinstance(node, nodes.Name):
        yield node.name
    for name in node.find_all(nodes.Name):
        yield name.name


def _stored(target: nodes.Node) -> set[str]:
    refs = [target] if isinstance(target, nodes.NSRef) else target.find_all(nodes.NSRef)
    return {*_names(target), *(ref.name for ref in refs)}


def _is_wordy(text: str) -> bool:
    return any(character.isalnum() for character in text)


def _is_words(node: nodes.Expr) -> bool:
    return isinstance(node, nodes.Const) and isinstance(node.value, str)


def _mutated(node: nodes.Node) -> set[str]:
    """Variables that calls such as `seen.append(x)` in an expression change."""
    changed = set()
    for call in [node, *node.find_all(nodes.Call)]:
        if isinstance(call, nodes.Call) and isinstance(call.node, nodes.Getattr) and call.node.attr in _MUTATORS:
            changed |= set(_names(call.node.node))
    return changed


class _Conversion:
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
        self.body = _trimmed(_without_dead_code(self._statements(tree.body), self._locals))

    # What is data: whatever is made of fields or answer choices, at any remove.

    @staticmethod
    def _local_variables(tree: nodes.Template) -> set[str]:
        stored = {"loop", "range", "zip", "namespace"}
        for node in tree.find_all((nodes.Assign, nodes.For)):
            stored |= _stored(node.target)
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
                    found |= _stored(node.target) - {"_"}
            for call in tree.find_all(nodes.Call):
                if any(self._reads_data(argument) for argument in call.args):
                    found |= _mutated(call) & self._locals
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
                if _stored(assign.target) & names:
                    names.update(_names(assign.node))
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
                    if not self.in_target and not _stored(node.target) & self._target_fields:
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
            elif _mutated(part) & self._locals:
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
            self._drop("".join(_texts(expression)) or " ")
            return []
        between = [nodes.TemplateData(self._between)] if self._between and self._started else []
        self._started, self._between, self._shown_count = True, "", self._shown_count + 1
        names = set(_names(kept))
        self.shows_choices |= ANSWER_CHOICES in names
        self.shows_data |= bool(names - {ANSWER_CHOICES} - (self._locals - self._data_variables)) or (
            ANSWER_CHOICES in names and self._varying_choices
        )
        return [*between, kept]

    def _drop(self, text: str) -> None:
        """Notes that text stood here. Spaces and marks between the rounds of a loop may run through one sentence."""
        if text:
            apart = not self._loops or _is_wordy(text) or "," in text or "\n" in text
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
            wordy = any(_is_wordy(text.data) for text in node.find_all(nodes.TemplateData))
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
            if not _is_words(test.ops[0].expr) or not isinstance(
                test.expr, (nodes.Name, nodes.Getattr, nodes.Getitem)
            ):
                return None
            compared.append(test.expr)
        names = set(_names(compared[0]))
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
                return _joined(self._kept_parts(node.nodes), nodes.Concat)
            case nodes.Add() if any(map(_is_words, _summands(node))):
                return _joined(self._kept_parts(_summands(node)), nodes.Add)
            case nodes.Filter(name="format") | nodes.Call(node=nodes.Getattr(node=nodes.Const(), attr="format")) if (
                any(map(self._reads_data, node.args))
            ):
                return _joined([kept for argument in node.args if (kept := self._kept(argument))], nodes.Concat, " ")
            case nodes.Filter(name="join" | "choice" | "random", node=nodes.List()) if self._reads_data(node.node):
                items = [kept for item in node.node.items if (kept := self._kept(item))]
                return self._refiltered(node, nodes.List(items, ctx="load"))
            case nodes.Filter() if node.node is not None:
                return self._refiltered(node, self._kept(node.node) or node.node)
            case nodes.Call(node=nodes.Getattr(node=nodes.Const(value=str() as between), attr="join")):
                return nodes.Call(
                    nodes.Getattr(nodes.Const(_plain(between)), "join", "load"), node.args, node.kwargs, None, None
                )
        return node

    def _kept_parts(self, parts: Sequence[nodes.Expr]) -> list[nodes.Expr]:
        kept = []
        for part in parts:
            if _is_words(part):
                kept.append(nodes.Const(_plain(part.value)))
            elif isinstance(part, nodes.CondExpr) and not self._reads_data(part):
                kept.append(nodes.Const(" "))
            else:
                # A number in a sum of texts would be an error; in a concatenation it is a count or a letter.
                kept.append(self._kept(part) or nodes.Const(" "))
        return kept

    def _refiltered(self, node: nodes.Filter, inner: nodes.Expr) -> nodes.Filter:
        arguments = node.args
        if node.name == "join" and arguments and _is_words(arguments[0]):
            arguments = [nodes.Const(_plain(arguments[0].value)), *arguments[1:]]
        return nodes.Filter(inner, node.name, arguments, node.kwargs, node.dyn_args, node.dyn_kwargs)


def _texts(node: nodes.Node) -> Iterator[str]:
    for constant in [node, *node.find_all(nodes.Const)]:
        if isinstance(constant, nodes.Const) and isinstance(constant.value, str):
            yield constant.value


def _plain(between: str) -> str:
    """A separator without words: those of one line become a comma, those of more a new line."""
    if "\n" in between:
        return "\n"
    return ", " if _is_wordy(between) else between


def _summands(node: nodes.Expr) -> list[nodes.Expr]:
    return [*_summands(node.left), *_summands(node.right)] if isinstance(node, nodes.Add) else [node]


def _joined(parts: Sequence[nodes.Expr], kind: type[nodes.Expr], between: str | None = None) -> nodes.Expr:
    """Parts in one expression, without words at its ends."""
    parts = list(parts)
    while _is_words(parts[0]):
        parts.pop(0)
    while _is_words(parts[-1]):
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


def _without_dead_code(body: Sequence[nodes.Node], local_variables: set[str]) -> list[nodes.Node]:
    """The statements without variables that nothing shown depends on, and blocks that are empty then."""
    live: set[str] = set()

    def collect(statements: Sequence[nodes.Node], around: set[str]) -> bool:
        """Adds what live statements read; whether there is one."""
        any_live = False
        for node in statements:
            match node:
                case nodes.If():
                    tests = {*around, *_names(node.test)}.union(*(_names(branch.test) for branch in node.elif_))
                    for inner in (node.body, *(branch.body for branch in node.elif_), node.else_):
                        any_live |= collect(inner, tests)
                case nodes.For():
                    tests = {*around, *_names(node.iter), *(_names(node.test) if node.test else ())}
                    any_live |= collect(node.body, tests) | collect(node.else_, tests)
                case _ if is_live(node):
                    any_live = True
                    live.update(around, _names(node))
        return any_live

    def is_live(node: nodes.Node) -> bool:
        if isinstance(node, nodes.Assign):
            return bool((_stored(node.target) | _mutated(node.node)) & live)
        changed = _mutated(node) & local_variables
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


def _trimmed(body: Sequence[nodes.Node]) -> list[nodes.Node]:
    """The statements without white space at the end of what they say, so that templates differ in what they say only."""
    body = list(body)
    match body[-1:]:
        case [nodes.Output(nodes=[nodes.TemplateData(data=text)])]:
            body[-1:] = [nodes.Output([nodes.TemplateData(text.rstrip())])] if text.strip() else []
            return body if text.strip() else _trimmed(body)
        case [nodes.If(test=test, body=first, elif_=elif_, else_=last)]:
            elif_ = [nodes.If(branch.test, _trimmed(branch.body), [], []) for branch in elif_]
            body[-1] = nodes.If(test, _trimmed(first), elif_, _trimmed(last))
    return body


@dataclass(frozen=True)
class Conversion:
    """A template file's no-prompt templates.

    Args:
        templates: One of each kind; `reference` names the prompts that it comes from.
        folded: How many others have become the same as one of them.
        weakened: Names of those that lost words which a condition chose by a field that is shown no more.
        causes: Why the others could not be converted, by name.
    """

    templates: tuple[Template, ...]
    folded: int
    weakened: tuple[str, ...]
    causes: dict[str, str]


def convert(templates: Sequence[Template]) -> Conversion:
    """Converts the templates of one data set."""
    kinds: dict[tuple[str, str | None], list[Template]] = {}
    causes = {}
    weakened = []
    for template in templates:
        try:
            converted, loses_condition = _converted(template)
        except NotConvertible as error:
            causes[template.name] = str(error)
        else:
            weakened += [template.name] if loses_condition else []
            kinds.setdefault((converted.jinja, converted.answer_choices), []).append(converted)
    kept = tuple(
        replace(same[0], reference="Without the prompt of: " + "; ".join(template.name for template in same))
        for same in kinds.values()
    )
    return Conversion(kept, sum(map(len, kinds.values())) - len(kinds), tuple(weakened), causes)


def write_template_file(path: str | Path, source: TemplateFile, templates: Sequence[Template]) -> None:
    """Writes templates of the data set of another template file; paths of its rows become absolute."""
    content: dict = {"dataset": source.dataset}
    if source.subsets != (None,):
        content["subset"] = source.subsets[0] if len(source.subsets) == 1 else list(source.subsets)
    if source.data:
        content["data"] = resolve_data(source)
    content["templates"] = {
        template.name: {
            **({} if template.answer_choices is None else {"answer_choices": template.answer_choices}),
            "jinja": template.jinja,
            "metadata": dict(template.metadata),
            "reference": template.reference,
        }
        for template in templates
    }
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120), encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> None:
    """Converts a folder of template files into another one, and says how many converted and why others did not."""
    parser = argparse.ArgumentParser(prog="python -m tasks.no_prompt", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("input", type=Path, metavar="IN_DIR", help="Folder of template files with prompts.")
    parser.add_argument("output", type=Path, metavar="OUT_DIR", help="Folder for those without.")
    arguments = parser.parse_args(argv)
    paths = sorted(arguments.input.rglob("*.yaml"))
    if not paths:
        parser.error(f"there are no template files (*.yaml) at {arguments.input}")
    found = kept = folded = weakened = 0
    causes: Counter[str] = Counter()
    for path in paths:
        template_file = load_template_file(path)
        conversion = convert(template_file.templates)
        if conversion.templates:
            write_template_file(
                arguments.output / path.relative_to(arguments.input), template_file, conversion.templates
            )
        found += len(template_file.templates)
        kept += len(conversion.templates)
        folded += conversion.folded
        weakened += len(conversion.weakened)
        causes.update(conversion.causes.values())
    print(f"{found} templates in {len(paths)} files: {kept + folded} convert, to {kept} different ones.")
    print(f"{weakened} of them lose words that a condition chose by a field which is not shown otherwise.")
    for cause, count in causes.most_common():
        print(f"{count} do not convert: {cause}.")


if __name__ == "__main__":
    main()
