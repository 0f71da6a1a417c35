"""Write a codebook as one HTML page with all pictures inside, and the pictures as PNGs beside it."""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2
import numpy as np
from matplotlib.figure import Figure

from codebook_report import analysis, figures
from codebook_report.attributes import get_known_attributes
from codebook_report.codebook import Codebook
from codebook_report.search_course import SearchCourse
from modeling_ctr.check_codes import check_codes
from safe_files import write_text

PAGE_NAME = "codebook.html"
LONGEST_TABLE = 15  # rows; the pictures show all


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
        check_codes(course.code, book.codes.shape[1], book.codebook_size, "The code of the search trace")
    attributes = get_known_attributes(book.names) if attributes is None else attributes
    codes, names = book.trained
    information = analysis.compute_attribute_information(codes, names, attributes)
    pictures = {
        "codes": figures.draw_codes(book.codes, book.labels, book.codebook_size),
        "usage": figures.draw_usage(codes, book.codebook_size),
        "similarity": figures.draw_similarity(book.codes, book.labels),
    }
    if information:
        pictures["information"] = figures.draw_information(information)
    if course is not None:
        pictures["search"] = figures.draw_search(course)
        pictures["sources"] = figures.draw_sources(course.code, codes, names)
    pngs = {name: _png(figure) for name, figure in pictures.items()}

    page = _load_template().render(
        book=book,
        usage=_usage_summary(codes, book.codebook_size),
        pairs=analysis.find_similar_pairs(book.codes, book.labels, LONGEST_TABLE),
        shared=analysis.find_shared_values(codes, names),
        longest=LONGEST_TABLE,
        named=len(book.names) <= figures.MOST_NAMED_TASKS,
        information=information,
        by_common=analysis.compute_similarity_by_common_attributes(codes, names, attributes),
        search=None if course is None else _search_summary(course, codes, names),
        pictures={name: base64.b64encode(png).decode() for name, png in pngs.items()},
    )
    output_dir.mkdir(parents=True, exist_ok=True)
    for name, png in pngs.items():
        (output_dir / f"codebook_{name}.png").write_bytes(png)
    path = output_dir / PAGE_NAME
    write_text(path, page)
    return path


def _load_template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html")


def _usage_summary(codes: np.ndarray, codebook_size: int) -> dict:
    counts = analysis.count_usage(codes, codebook_size)
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
    start = course.find_start_code()
    owners = analysis.find_value_owners(course.code, codes, names)
    return {
        "code": course.code,
        "loss": course.loss,
        "objective": course.objective.replace("_", " "),
        "evaluations": course.count_codes(),
        "start_names": [name for name, code in zip(names, codes.tolist(), strict=True) if code == start],
        "start_loss": course.get_start_loss(),
        "rows": list(zip(range(1, len(start) + 1), start, course.code, owners, strict=True)),
        "num_changed": sum(a != b for a, b in zip(start, course.code, strict=True)),
    }


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
