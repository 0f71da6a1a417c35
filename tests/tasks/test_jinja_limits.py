import time
from concurrent.futures import ProcessPoolExecutor

import pytest

from tasks import jinja_limits
from tasks.errors import TemplateError
from tasks.template import Template

TOO_LONG = "more than 10,000,000 characters"
BOMBS = {
    "a large product": ("{{ 'x' * 10**10 }}", TOO_LONG),
    "a large product, folded": ("{{ 10**10 * 'x' }}", TOO_LONG),
    "a large list": ("{{ [0] * 10**9 }}", TOO_LONG),
    "a large power": ("{{ 9 ** (9 ** 9) }}", "a number of thousands of digits"),
    "a wide format": ("{{ '%999999999d' % 1 }}", TOO_LONG),
    "a wide format of a filter": ("{{ '%*d' | format(999999999, 1) }}", TOO_LONG),
    "a wide format of a method": ("{{ '{:>999999999}'.format(text) }}", TOO_LONG),
    "a width as an argument": ("{{ '{:>{}}'.format(text, 999999999) }}", TOO_LONG),
    "a wide center": ("{{ text.center(10**9) }}", TOO_LONG),
    "a wide center of a filter": ("{{ text | center(10**9) }}", TOO_LONG),
    "a deep indent": ("{{ ((text ~ '\n') * 10**5) | indent(10**5) }}", TOO_LONG),
    "doubling by ~": (
        "{% set n = namespace(x=text) %}{% for i in range(40) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
        TOO_LONG,
    ),
    "doubling by +": (
        "{% set n = namespace(x=text) %}{% for i in range(40) %}{% set n.x = n.x + n.x %}{% endfor %}",
        TOO_LONG,
    ),
    "doubling by replace": (
        "{% set n = namespace(x='xx') %}{% for i in range(40) %}{% set n.x = n.x.replace('x', 'xx') %}{% endfor %}",
        TOO_LONG,
    ),
    "a list of itself": (
        "{% set n = namespace(x=[text]) %}{% for i in range(30) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x }}",
        TOO_LONG,
    ),
    "a list of itself, nested deeply": (
        "{% set n = namespace(x=[text]) %}{% for i in range(60) %}{% set n.x = [n.x] %}{% endfor %}{{ n.x }}",
        "nested too deeply",
    ),
    "joined copies": ("{% set s = 'x' * 10**6 %}{{ ([s] * 1000) | join }}", TOO_LONG),
    "a joined long separator": ("{{ ('x' * 10**6).join(range(1000) | map('string') | list) }}", TOO_LONG),
    "loops within loops": (
        "{% for i in range(9999) %}{% for j in range(9999) %}{% for k in range(9999) %}{% endfor %}{% endfor %}{% endfor %}",
        "more than 300,000 steps",
    ),
    "much output": ("{% for i in range(99999) %}{{ 'x' * 1000 }}{% endfor %}", TOO_LONG),
    "an endless map": ("{{ range(99999) | map('string') | map('center', 9999) | list }}", TOO_LONG),
    "calls that double": ("{% macro m(n) %}{{ m(n) }}{{ m(n) }}{% endmacro %}{{ m(1) }}", "calls itself"),
    "deep brackets": ("{{ " + "(" * 10_000 + "text" + ")" * 10_000 + " }}", "nested too deeply"),
    "many loops within each other": ("{% for a in text %}" * 30 + "x" + "{% endfor %}" * 30, "template 't' fails"),
    "half of a character": ("{{ '\\ud83d' }} {{ text }}", "half of a character"),
}


def render(source: str) -> str:
    """The message of the error; for a process of its own."""
    try:
        return str(Template("t", f"{source} ||| x").render({"text": "xxx"}))
    except TemplateError as error:
        return str(error)


@pytest.mark.parametrize("name", BOMBS)
def test_a_template_that_does_too_much_is_stopped_with_a_sentence(name, monkeypatch):
    monkeypatch.setattr(jinja_limits, "MAX_STEPS", 50_000)  # to save time
    source, message = BOMBS[name]
    start = time.perf_counter()
    text = render(source).replace("50,000", "300,000")
    assert message in text
    assert len(text) < 500
    assert "\n" not in text
    assert time.perf_counter() - start < jinja_limits.MAX_SECONDS


def test_time_is_limited_in_worker_processes(monkeypatch):
    monkeypatch.setattr(jinja_limits, "MAX_SECONDS", 0.0)
    assert "takes more than 0 seconds" in render("{% for i in text %}{{ text }}{% endfor %}")
    monkeypatch.undo()
    with ProcessPoolExecutor(1) as pool:
        assert TOO_LONG in pool.submit(render, BOMBS["doubling by ~"][0]).result()


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ 'ab' * 3 }}{{ 2 ** 10 }}{{ 7 % 4 }}{{ 'a' + 'b' }}{{ 1 ~ none ~ 'x' }}", "ababab10243ab1Nonex"),
        (
            "{{ '%05.2f' % 3.14159 }} {{ '{:,}'.format(331002651) }} {{ '%s' | format(10**9) }}",
            "03.14 331,002,651 1000000000",
        ),
        ("{{ text | center(9) }}|{{ text.replace('x', 'yz') }}|{{ [1, 2] | join(', ') }}", "xxx   |yzyzyz|1, 2"),
        ("{% for i in range(3) %}{{ loop.index ~ '.' }}{% else %}none{% endfor %}", "1.2.3."),
        ("{% for k, v in {'a': 1}.items() %}{{ k }}={{ v }}{% endfor %}", "a=1"),
        ("{{ text | list | batch(2) | map('join') | join('-') }}", "xx-x"),
    ],
)
def test_what_ordinary_templates_do_is_as_ever(source, text):
    assert Template("t", f"{source} ||| y").render({"text": "xxx"}).input_text == text
