"""Pictures of a codebook and of searches in it.

Figures are made without pyplot, which keeps global state: the app draws from several threads.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap, PowerNorm, hsv_to_rgb, to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from codebook_report.analysis import (
    AttributeInformation,
    build_tree,
    compute_similarity,
    count_usage,
    find_value_owners,
    get_cluster_order,
)
from codebook_report.search_course import SearchCourse
from evaluation.plain_text import escape_math

# Cells are numbered, and rows named, up to so many tasks; pictures of more are no taller.
MOST_NUMBERED_TASKS = 80
MOST_NAMED_TASKS = 400
MOST_SOURCE_TASKS = 30
LONGEST_LABEL = 48
BLUE, ORANGE, GRAY = "#2b6cb0", "#dd6b20", "#e7e9ee"
SEQUENTIAL = colormaps["YlGnBu"]


def draw_codes(codes: np.ndarray, names: Sequence[str], codebook_size: int) -> Figure:
    """Draw tasks x positions. Values that no other task has at that position are gray, shared ones have a color each."""
    order = get_cluster_order(codes)
    counts = count_usage(codes, codebook_size)
    shared = np.take_along_axis(counts, codes.T, axis=1).T > 1
    colors = _value_colors(codebook_size)(codes)
    colors[~shared] = to_rgba(GRAY)
    figure, axes = _matrix_figure(len(codes), codes.shape[1], names)
    axes.imshow(colors[order], aspect="auto", interpolation="none")
    _label(axes, [names[i] for i in order], codes.shape[1])
    if len(codes) <= MOST_NUMBERED_TASKS:
        for row, task in enumerate(order):
            for position in range(codes.shape[1]):
                color = "#1a202c" if shared[task, position] else "#a0a6b4"
                number = axes.text(
                    position, row, codes[task, position], ha="center", va="center", fontsize=7, color=color
                )
                number.set_in_layout(False)  # it fits: measuring it takes long
    return figure


def draw_usage(codes: np.ndarray, codebook_size: int) -> Figure:
    """Draw positions x values: by how many tasks a value is used; beside it the number of distinct values per position."""
    counts = count_usage(codes, codebook_size)
    length = len(counts)
    figure = Figure(figsize=(11, 1.6 + 0.28 * length), layout="constrained", dpi=110)
    axes, bars = figure.subplots(1, 2, width_ratios=[5, 1], sharey=True)
    image = axes.imshow(
        np.ma.masked_equal(counts, 0),
        aspect="auto",
        interpolation="none",
        cmap=SEQUENTIAL,
        norm=PowerNorm(0.4, vmin=0),
    )
    axes.set_facecolor("#f7f8fa")
    axes.set_xlabel("value (index of a code vector); white columns are dead codes")
    axes.set_ylabel("position")
    axes.set_yticks(range(length), range(1, length + 1))
    axes.xaxis.set_major_locator(MaxNLocator(16, integer=True))
    figure.colorbar(image, ax=axes, label="tasks", ticks=_integers(counts.max()), pad=0.01)
    distinct = (counts > 0).sum(1)
    bars.barh(range(length), distinct, color=BLUE, height=0.7)
    bars.bar_label(bars.containers[0], fontsize=8, padding=2)
    bars.set_xlim(0, 1.25 * distinct.max())
    bars.set_xlabel("distinct values")
    bars.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    bars.spines[["top", "right"]].set_visible(False)
    return figure


def draw_similarity(codes: np.ndarray, names: Sequence[str]) -> Figure:
    """Draw tasks x tasks: the share of equal positions, tasks in the order of the tree on the left."""
    order = get_cluster_order(codes)
    side = _height(len(codes))
    figure = Figure(figsize=(side + 3 + _label_width(names), side + 1.2), layout="constrained", dpi=110)
    tree_axes, axes = figure.subplots(1, 2, width_ratios=[1, max(3, side / 1.2)], sharey=True)
    tree = build_tree(codes)
    if tree is not None:
        tree_axes.add_collection(LineCollection(_branches(tree, order), colors="#4a5568", linewidths=0.8))
    tree_axes.set_xlim(1.02, 0)
    tree_axes.set_xlabel("different", fontsize=8)
    tree_axes.tick_params(left=False, labelleft=False, labelsize=7)
    tree_axes.spines[["top", "left", "right"]].set_visible(False)
    shares = np.ma.masked_array(compute_similarity(codes)[np.ix_(order, order)], mask=np.eye(len(order), dtype=bool))
    largest = max(shares.filled(0).max(), 1 / codes.shape[1])
    image = axes.imshow(shares, cmap=SEQUENTIAL, vmin=0, vmax=largest, aspect="auto", interpolation="none")
    axes.set_facecolor(GRAY)
    axes.yaxis.set_tick_params(labelleft=False, labelright=True, left=False)
    _name_rows(axes, [names[i] for i in order])
    axes.set_xticks([])
    axes.set_title("Share of positions with equal values", fontsize=9, loc="left")
    figure.colorbar(image, ax=axes, location="bottom", shrink=0.5, aspect=30, pad=0.01)
    return figure


def draw_information(information: Sequence[AttributeInformation]) -> Figure:
    """Draw a row of bars per attribute: adjusted mutual information by position, and its chance level."""
    rows = len(information)
    figure = Figure(figsize=(8, 0.8 + 1.5 * rows), layout="constrained", dpi=110)
    all_axes = figure.subplots(rows, 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for axes, of_attribute in zip(all_axes, information, strict=True):
        positions = np.arange(1, len(of_attribute.scores) + 1)
        above = of_attribute.scores > of_attribute.chance
        axes.bar(positions, of_attribute.scores, color=np.where(above, BLUE, "#a3bfdb"), width=0.7)
        axes.axhline(of_attribute.chance, color=ORANGE, linestyle="--", linewidth=1.2)
        axes.axhline(0, color="#4a5568", linewidth=0.6)
        axes.set_title(f"{_short(of_attribute.attribute)} ({of_attribute.num_values} values)", fontsize=9, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
    scores = np.concatenate([i.scores for i in information])
    all_axes[0].set_ylim(min(-0.05, 1.1 * scores.min()), max(0.4, 1.1 * scores.max()))
    all_axes[-1].set_xticks(positions)
    all_axes[-1].set_xlabel("position")
    figure.supylabel("adjusted mutual information", fontsize=9)
    return figure


def draw_search(course: SearchCourse, num_evaluations: int | None = None) -> Figure:
    """Draw the objective of every code evaluated, and the best so far; up to `num_evaluations` on the axis, if given."""
    figure = Figure(figsize=(8, 3.4), layout="constrained", dpi=110)
    axes = figure.subplots()
    values = np.array([np.nan if e.value is None else e.value for e in course.trace])
    is_start = np.array([e.step == -1 for e in course.trace])
    numbers = np.arange(1, len(values) + 1)
    axes.scatter(numbers[is_start], values[is_start], s=9, color=ORANGE, label="training tasks' codes")
    axes.scatter(numbers[~is_start], values[~is_start], s=7, color="#a3bfdb", label="one position varied")
    axes.step(numbers, course.compute_best_so_far(), where="post", color=BLUE, linewidth=1.8, label="best so far")
    beginnings = [i for i in range(1, len(values)) if course.trace[i].start != course.trace[i - 1].start]
    for i in beginnings:
        axes.axvline(numbers[i] - 0.5, color="#cbd5e0", linewidth=1, zorder=0)
    axes.set_xlim(0, max(num_evaluations or 0, len(values)) + 1)
    known = values[np.isfinite(values)]
    if known.min() > 0 and known.max() > 20 * known.min():
        axes.set_yscale("log")
    axes.set_xlabel("codes evaluated" + (" (vertical lines: a new start)" if beginnings else ""))
    axes.set_ylabel(course.objective.replace("_", " "))
    axes.legend(fontsize=8, frameon=False, loc="upper right")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def draw_sources(code: Sequence[int], codes: np.ndarray, names: Sequence[str]) -> Figure:
    """Draw training tasks x positions: where a task has the same value as `code`; the tasks with most in common first."""
    equal = codes == np.asarray(code)
    ranked = np.lexsort([equal.argmax(1), -equal.sum(1)])  # equally many: by position
    chosen = [i for i in ranked if equal[i].any()][:MOST_SOURCE_TASKS]
    owners = [len(tasks) for tasks in find_value_owners(code, codes, names)]
    figure, axes = _matrix_figure(len(chosen) + 1, codes.shape[1], names)
    colors = np.full((len(chosen) + 1, codes.shape[1], 4), to_rgba(GRAY))
    value_colors = _value_colors(max(int(codes.max()), max(code)) + 1)(np.asarray(code))
    colors[0] = value_colors
    for row, task in enumerate(chosen, start=1):
        colors[row, equal[task]] = value_colors[equal[task]]
    axes.imshow(colors, aspect="auto", interpolation="none")
    axes.axhline(0.5, color="white", linewidth=4)
    _label(axes, ["found code", *(f"{names[i]} ({equal[i].sum()})" for i in chosen)], codes.shape[1])
    for position, value in enumerate(code):
        axes.text(
            position, 0, value, ha="center", va="center", fontsize=8, weight="bold" if owners[position] else None
        )
    return figure


def _integers(largest: int) -> list[int]:
    """A few round numbers from 1 on, for a scale that spreads the small ones."""
    return [n for n in (1, 2, 5, 10, 20, 50, 100, 200, 500) if n <= largest]


def _value_colors(codebook_size: int) -> ListedColormap:
    """A light color per value; neighboring values get distant hues, since they have nothing to do with each other."""
    values = np.arange(codebook_size)
    hues = values * 0.618034 % 1
    return ListedColormap(hsv_to_rgb(np.stack([hues, 0.35 + 0.2 * (values % 3) / 2, np.full(len(values), 0.95)], 1)))


def _matrix_figure(rows: int, columns: int, names: Sequence[str]) -> tuple[Figure, Axes]:
    width = max(3.0, 0.45 * columns + _label_width(names) + 0.6)
    figure = Figure(figsize=(width, _height(rows) + 0.9), layout="constrained", dpi=110)
    return figure, figure.subplots()


def _label(axes: Axes, names: Sequence[str], columns: int) -> None:
    _name_rows(axes, names)
    axes.set_xticks(range(columns), range(1, columns + 1))
    axes.set_xlabel("position")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Rows that are thinner than a letter have no names."""
    if len(names) > MOST_NAMED_TASKS:
        axes.set_yticks([])
    else:
        axes.set_yticks(range(len(names)), [_short(name) for name in names], fontsize=_font_size(len(names)))


def _branches(tree: np.ndarray, order: np.ndarray) -> list[list[tuple[float, float]]]:
    """A line `(difference, row)` for each node of scipy's tree: from one child up, across, and down to the other.

    scipy's own drawing calls itself for each level, and long chains of equal codes are more levels than Python has.
    """
    rows = [*np.argsort(order).astype(float), *np.zeros(len(tree))]
    depths = np.zeros(len(rows))
    lines = []
    for node, (first, second, depth, _) in enumerate(tree, start=len(order)):
        a, b = int(first), int(second)
        lines.append([(depths[a], rows[a]), (depth, rows[a]), (depth, rows[b]), (depths[b], rows[b])])
        rows[node], depths[node] = (rows[a] + rows[b]) / 2, depth
    return lines


def _height(rows: int) -> float:
    """Inches for a matrix of so many rows: less per row, the more there are."""
    if rows > MOST_NAMED_TASKS:
        return 20
    return max(1.5, 0.2 * rows if rows <= MOST_NUMBERED_TASKS else 0.1 * rows + 8)


def _font_size(rows: int) -> float:
    return 8 if rows <= MOST_NUMBERED_TASKS else 6


def _label_width(names: Sequence[str]) -> float:
    return 0.07 * max(len(_short(name)) for name in names) + 0.3 if len(names) <= MOST_NAMED_TASKS else 0.3


def _short(name: str) -> str:
    """Long names lose their middle: data set and template stand at the ends. No formula, whatever the name holds."""
    half = LONGEST_LABEL // 2
    return escape_math(name if len(name) <= LONGEST_LABEL else f"{name[: half - 1]}…{name[-half:]}")
