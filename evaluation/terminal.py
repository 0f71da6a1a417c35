"""Scores on the terminal."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from evaluation.plain_text import get_plain
from evaluation.score import Score
from evaluation.tables import make_accuracy_table, make_generation_table
from evaluation.trust import describe_trust, summarize_trust

MOST_COLUMNS = 5


def print_table(scores: Sequence[Score], where: Path) -> None:
    """Print the accuracies, a line per method, and a verdict for each task; of many tasks their mean, and counts.

    Args:
        scores: At least one.
        where: The file that has the rest.
    """
    ranked = any(score.accuracy is not None for score in scores)
    header, *rows = make_accuracy_table(scores) if ranked else make_generation_table(scores)
    are_many = len(rows) > MOST_COLUMNS
    if are_many:
        rows = rows[-1:]
    title = f"{'Accuracy' if ranked else 'ROUGE-L'} on held-out tasks (%)"
    table = Table(title=title, caption=Text(get_plain(f"more in {where}")))
    for i, name in enumerate([header[0], *(row[0].replace("**", "") for row in rows)]):
        # As `Text`: in a plain string, rich reads words in brackets as its own markup.
        table.add_column(Text("method" if i == 0 else get_plain(name)), justify="left" if i == 0 else "right")
    for column, method in enumerate(header[1:], start=1):
        table.add_row(Text(get_plain(method)), *(row[column] for row in rows))
    console = Console()
    console.print(table)
    for sentence in summarize_trust(scores) if are_many else describe_trust(scores):
        console.print(Text(get_plain(sentence)))
