import pytest
from jinja2 import nodes
from jinja2.sandbox import SandboxedEnvironment

from tasks.task import load_tasks
from tools.no_prompt.jinja_source import UnsupportedSyntax, write_source

environment = SandboxedEnvironment(keep_trailing_newline=True)


@pytest.mark.parametrize(
    "source",
    [
        "a {{ x }} b",
        "{{ {'a': 1}[x] }}",
        "{{ {'a': {'b': 1}} }}",
        "{{ (a + b) * -c ** 2 - (d - e) }}",
        "{{ a - (b - c) }}{{ a / b / c }}",
        "{{ -x | abs }}{{ -(x | abs) }} {{ -x }}{{ +x }}{{ (-x) | abs + (a + b) | round(2) }}",
        "{{ (a ~ 'b' ~ c) | upper }}{{ a ~ (b + c) }}{{ a ~ b * c }}",
        "{{ not (a or b) and c }}{{ (not a) == b }}{{ not a == b }}",
        "{{ a < b <= c }}{{ x not in [1, 2.5, none, true] }}{{ (a < b) < c }}",
        "{{ (a if b) ~ (c if d else e if f else g) }}{{ (a if b else c) if d else e }}",
        "{{ x is defined }}{{ x is divisibleby(3) }}{{ (a + b) is odd }}",
        "{{ x[1:] }}{{ x[:-1] }}{{ x[a:b:2] }}{{ x[::2] }}{{ x['a b'].c[0] }}",
        "{{ f(1, *a, b=2, **c) }}{{ (a, b) }}{{ (a,) }}{{ () }}",
        r"{{ 'é \n \"quoted\" \\ end' }}",
        "{% if a %}1{% elif b %}2{% elif c %}3{% else %}4{% endif %}",
        "{% for a, b in x | zip(y) if a recursive %}{{ loop.index }}{% else %}none{% endfor %}",
        "{% for x in (a if b else c) %}{{ x }}{% endfor %}",
        "{% set a, b = 1, 2 %}{% set ns = namespace(a=0) %}{% set ns.a = ns.a + 1 %}",
        "{% set x | upper | trim('a') %}a{{ b }}{% endset %}",
        "{% raw %}{{ not jinja }} {% endraw %}{# gone #}",
    ],
)
def test_parses_to_the_same_tree(source):
    tree = environment.parse(source)
    assert environment.parse(write_source(tree)) == tree


def test_values_stay(shared):
    source = "{{ 7 - (4 - 2) }} {{ -3 | abs }} {{ 2 ** 3 ** 2 }} {{ 'a\\n\\'b' ~ (1 + 2) }} {{ not 1 == 2 }}"
    assert environment.from_string(write_source(environment.parse(source))).render() == "5 3 64 a\n'b3 True"


def test_macros_are_refused():
    with pytest.raises(UnsupportedSyntax, match="a Macro statement"):
        write_source(environment.parse("{% macro a() %}{% endmacro %}"))


def test_all_of_promptsource(shared):
    # Neighbouring pieces of text are one piece after a round.
    def joined(tree: nodes.Template) -> nodes.Template:
        for output in tree.find_all(nodes.Output):
            parts: list[nodes.Expr] = []
            for part in output.nodes:
                if parts and isinstance(part, nodes.TemplateData) and isinstance(parts[-1], nodes.TemplateData):
                    parts[-1] = nodes.TemplateData(parts[-1].data + part.data)
                else:
                    parts.append(part)
            output.nodes = parts
        return tree

    for task in load_tasks(shared / "promptsource" / "templates").values():
        for source in (task.template.jinja, task.template.answer_choices or ""):
            tree = joined(environment.parse(source))
            assert joined(environment.parse(write_source(tree))) == tree, task.name
