"""Look at a checkpoint's codebook: `python -m evaluation.codebook_report CHECKPOINT` writes one HTML page, and PNGs."""

import argparse
import base64
import io
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
import numpy as np
from matplotlib.figure import Figure

from evaluation import codebook_analysis as analysis
from evaluation import codebook_figures as figures
from evaluation.search_course import SearchCourse, load_search
from modeling_ctr import CTRForConditionalGeneration
from modeling_ctr.configuration_ctr import check_code

PAGE_NAME = "codebook.html"
ADDED = "*"
LONGEST_TABLE = 15  # rows; the pictures show all


@dataclass(frozen=True)
class Codebook:
    """The codes of a model's tasks.

    Attributes:
        title: What the page is called after, e.g. the checkpoint's name.
        names: Training tasks, then tasks that were added; not tuned ones, which have no code.
        codes: `(num_tasks, code_length)`, in that order.
        num_trained: How many of them are training tasks.
        codebook_size: Values that each integer could take.
    """

    title: str
    names: list[str]
    codes: np.ndarray
    num_trained: int
    codebook_size: int

    @classmethod
    def of_model(cls, model: CTRForConditionalGeneration, title: str) -> "Codebook":
        config = model.config
        codes = config.codes_by_name(model.task_codes().tolist())
        return cls(title, list(codes), np.array(list(codes.values())), config.num_tasks, config.codebook_size)

    @property
    def labels(self) -> list[str]:
        """The names, with a mark behind the added ones."""
        return [*self.names[: self.num_trained], *(f"{name} {ADDED}" for name in self.names[self.num_trained :])]

    @property
    def trained(self) -> tuple[np.ndarray, list[str]]:
        """Codes and names of the training tasks."""
        return self.codes[: self.num_trained], self.names[: self.num_trained]


def load_model(checkpoint: str) -> CTRForConditionalGeneration:
    """A CTR model from a directory or from the Hub, in evaluation mode.

    Raises:
        ValueError: There is none; the message is one sentence.
    """
    if Path(checkpoint).exists() and not (Path(checkpoint) / "config.json").is_file():
        raise ValueError(f"'{checkpoint}' is not a checkpoint: it has no config.json; train one or name another.")
    try:
        return CTRForConditionalGeneration.from_pretrained(checkpoint).eval()
    except OSError as error:
        if Path(checkpoint).exists():
            raise ValueError(str(error)) from error
        raise ValueError(
            f"There is no checkpoint '{checkpoint}': no such directory, and the Hub does not have it or cannot be "
            "reached; train one or name another."
        ) from error


def write_codebook_report(
    book: Codebook,
    output_dir: Path,
    attributes: Mapping[str, Mapping[str, str]] | None = None,
    course: SearchCourse | None = None,
) -> Path:
    """Write the page, with all pictures inside, and the pictures as PNGs beside it.

    Args:
        book: The codes.
        output_dir: Made if it is not there.
        attributes: Known attributes of the tasks; default: what their names tell.
        course: A search for the code of a new task.

    Returns:
        The page's path.

    Raises:
        ValueError: The search's code does not fit the codebook.
    """
    if course is not None:
        check_code(course.code, book.codes.shape[1], book.codebook_size, "The code of the search trace")
    attributes = analysis.known_attributes(book.names) if attributes is None else attributes
    codes, names = book.trained
    information = analysis.attribute_information(codes, names, attributes)
    pictures = {
        "codes": figures.codes_figure(book.codes, book.labels, book.codebook_size),
        "usage": figures.usage_figure(codes, book.codebook_size),
        "similarity": figures.similarity_figure(book.codes, book.labels),
    }
    if information:
        pictures["information"] = figures.information_figure(information)
    if course is not None:
        pictures["search"] = figures.search_figure(course)
        pictures["sources"] = figures.sources_figure(course.code, codes, names)
    pngs = {name: _png(figure) for name, figure in pictures.items()}

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("codebook_report.html").render(
        book=book,
        usage=_usage_summary(codes, book.codebook_size),
        pairs=analysis.similar_pairs(book.codes, book.labels, LONGEST_TABLE),
        shared=analysis.shared_values(codes, names),
        longest=LONGEST_TABLE,
        information=information,
        by_common=analysis.similarity_by_common_attributes(codes, names, attributes),
        search=None if course is None else _search_summary(course, codes, names),
        pictures={name: base64.b64encode(png).decode() for name, png in pngs.items()},
    )
    output_dir.mkdir(parents=True, exist_ok=True)
    for name, png in pngs.items():
        (output_dir / f"codebook_{name}.png").write_bytes(png)
    path = output_dir / PAGE_NAME
    path.write_text(page, encoding="utf-8")
    return path


def _usage_summary(codes: np.ndarray, codebook_size: int) -> dict:
    counts = analysis.usage(codes, codebook_size)
    distinct = (counts > 0).sum(1)
    _, tasks_per_code = np.unique(codes, axis=0, return_counts=True)
    return {
        "in_use": int((counts.sum(0) > 0).sum()),
        "dead": np.flatnonzero(counts.sum(0) == 0).tolist(),
        "fewest": int(distinct.min()),
        "most": int(distinct.max()),
        "alone": float((counts == 1).sum() / codes.size),
        "same_code": int(tasks_per_code[tasks_per_code > 1].sum()),
    }


def _search_summary(course: SearchCourse, codes: np.ndarray, names: Sequence[str]) -> dict:
    start = course.start_code()
    owners = analysis.value_owners(course.code, codes, names)
    return {
        "code": course.code,
        "loss": course.loss,
        "objective": course.objective.replace("_", " "),
        "evaluations": course.num_codes(),
        "start_names": [name for name, code in zip(names, codes.tolist(), strict=True) if code == start],
        "start_loss": course.start_loss(),
        "rows": list(zip(range(1, len(start) + 1), start, course.code, owners, strict=True)),
        "num_changed": sum(a != b for a, b in zip(start, course.code, strict=True)),
    }


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m evaluation.codebook_report", description=__doc__)
    parser.add_argument("checkpoint", help="a CTR checkpoint: a directory or a Hub name")
    parser.add_argument("--output_dir", type=Path, default=Path("out/codebook"), help="default: %(default)s")
    parser.add_argument("--trace", help="the result or the trace of a Bitwise Search with this checkpoint")
    parser.add_argument(
        "--attributes", help='JSON file {"task name": {"attribute": "value"}} of what is known of tasks'
    )
    options = parser.parse_args(arguments)
    try:
        # The small files first: a wrong one is known before the weights are read.
        course = load_search(options.trace) if options.trace else None
        attributes = analysis.load_attributes(options.attributes) if options.attributes else None
        model = load_model(options.checkpoint)
        book = Codebook.of_model(model, Path(options.checkpoint).name)
        path = write_codebook_report(book, options.output_dir, attributes, course)
    except ValueError as error:
        sys.exit(f"Error: {error}")
    print(f"Wrote {path}, and its pictures as PNGs beside it.")


if __name__ == "__main__":
    main()
