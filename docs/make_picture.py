"""Draws docs/idea.svg, the idea in one picture: `python docs/make_picture.py`."""

import colorsys
from collections.abc import Iterator
from pathlib import Path

WIDTH, HEIGHT = 900, 330
CODE = (93, 4, 71, 12, 120, 58, 33, 7, 101, 26)
CODEBOOK_SIZE = 128
WORDS = ("ann", "small", "red", "wood", "cube", "…")
ANSWERS = (("large", 0.93), ("huge", 0.04), ("tiny", 0.02))
CELL, INK, LINE, SOFT = 30, "#1a202c", "#4a5568", "#718096"


def draw_picture() -> str:
    """Draw the picture as SVG."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="14" fill="{INK}">',
        "<title>A task is a code of ten integers; the code's vectors stand in front of the input of a language model"
        "</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="12" fill="#ffffff" stroke="#e2e8f0"/>',
        *_draw_task(),
        *_draw_code(180, 40),
        *_draw_vectors(180, 118),
        *_draw_words(488, 118),
        *_draw_model(),
        *_draw_answers(),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _draw_task() -> Iterator[str]:
    yield _box(24, 34, 110, 42, "#edf2f7")
    yield _text(79, 52, "a task", anchor="middle", weight="bold")
    yield _text(79, 68, "trained or new", anchor="middle", size=11, color=SOFT)
    yield _arrow(136, 55, 174, 55)


def _draw_code(x: int, y: int) -> Iterator[str]:
    for i, value in enumerate(CODE):
        yield _box(x + i * CELL, y, CELL - 3, CELL, _get_color(value, 0.86))
        yield _text(x + i * CELL + CELL / 2 - 1.5, y + 20, str(value), anchor="middle", size=12)
    yield _text(x + 10 * CELL + 14, y + 12, "task code", weight="bold")
    yield _text(
        x + 10 * CELL + 14, y + 28, "ten integers from 0 to 127: learned for a training task,", size=11, color=SOFT
    )
    yield _text(x + 10 * CELL + 14, y + 42, "searched for a new one", size=11, color=SOFT)
    for i in range(10):
        middle = x + i * CELL + CELL / 2 - 1.5
        yield _arrow(middle, y + CELL + 2, middle, y + CELL + 44)


def _draw_vectors(x: int, y: int) -> Iterator[str]:
    for i, value in enumerate(CODE):
        for row in range(4):
            shade = 0.62 + 0.3 * ((value * (row + 3) * 37) % 97) / 97
            yield _box(x + i * CELL, y + row * 11, CELL - 3, 10, _get_color(value, shade), radius=1)
    yield _text(x - 14, y + 20, "prompt", anchor="end", weight="bold")
    yield _text(x - 14, y + 37, "vectors", anchor="end", weight="bold")


def _draw_words(x: int, y: int) -> Iterator[str]:
    for i, word in enumerate(WORDS):
        yield _box(x + i * 62, y, 58, 43, "#f7fafc")
        yield _text(x + i * 62 + 29, y + 26, word, anchor="middle", size=13)
    yield _text(x + 6 * 62, y - 8, "the input: a text, no prompt", anchor="end", size=11, color=SOFT)


def _draw_model() -> Iterator[str]:
    for middle in (330, 672):
        yield _arrow(middle, 164, middle, 192)
    yield _box(180, 196, 680, 48, "#2b6cb0", line="#2c5282")
    yield _text(520, 225, "one language model for all tasks", "middle", "bold", color="#ffffff")
    yield _arrow(520, 246, 520, 270)


def _draw_answers() -> Iterator[str]:
    for i, (answer, share) in enumerate(ANSWERS):
        x = 330 + i * 150
        yield _text(x, 292, f"{answer}  {share:.0%}", weight="bold" if i == 0 else "normal")
        yield f'<rect x="{x}" y="298" width="{110 * share:.0f}" height="7" rx="2" fill="#2b6cb0"/>'
    yield _text(314, 292, "answers", anchor="end", size=12, color=SOFT)


def _box(x: float, y: float, width: float, height: float, fill: str, line: str = LINE, radius: int = 4) -> str:
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{radius}" fill="{fill}" stroke="{line}" '
        'stroke-width="0.8"/>'
    )


def _text(
    x: float, y: float, text: str, anchor: str = "start", weight: str = "normal", size: int = 14, color: str = INK
) -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" font-weight="{weight}" font-size="{size}" fill="{color}">'
        f"{text}</text>"
    )


def _arrow(x1: float, y1: float, x2: float, y2: float) -> str:
    """A horizontal or vertical line, with a head at its end."""
    heads = ((x2 - 3.5, y2 - 6), (x2 + 3.5, y2 - 6)) if x1 == x2 else ((x2 - 6, y2 - 3.5), (x2 - 6, y2 + 3.5))
    head = " ".join(f"{x:g},{y:g}" for x, y in ((x2, y2), *heads))
    return (
        f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{LINE}" stroke-width="1.2"/>'
        f'<polygon points="{head}" fill="{LINE}"/>'
    )


def _get_color(value: int, lightness: float) -> str:
    """A color of its own for each integer."""
    rgb = colorsys.hls_to_rgb(value / CODEBOOK_SIZE, lightness, 0.6)
    return "#" + "".join(f"{round(255 * part):02x}" for part in rgb)


if __name__ == "__main__":
    Path(__file__).with_name("idea.svg").write_text(draw_picture(), encoding="utf-8")
