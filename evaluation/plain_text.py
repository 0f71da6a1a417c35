"""Names of tasks, methods and folders as text in a report, whatever they hold."""

import html


def get_plain(text: object) -> str:
    """Return one line of printable text: line ends and tabs become spaces, half a surrogate pair its escape."""
    line = " ".join(str(text).encode("utf-8", "backslashreplace").decode("utf-8").split())
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


def escape_markdown(text: object) -> str:
    """Return text that stands in one line of Markdown, without HTML of its own."""
    return html.escape(get_plain(text), quote=False)


def escape_math(text: object) -> str:
    """Return text that matplotlib draws as it is, without reading formulas between dollar signs."""
    return get_plain(text).replace("$", r"\$")
