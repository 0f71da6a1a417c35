"""Look at a checkpoint's codebook: `python -m codebook_report CHECKPOINT` writes one HTML page, and PNGs."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m codebook_report", description=__doc__)
    parser.add_argument("checkpoint", help="a CTR checkpoint: a directory or a Hub name")
    parser.add_argument("--output_dir", type=Path, default=Path("out/codebook"), help="default: %(default)s")
    parser.add_argument("--trace", help="the result or the trace of a Bitwise Search with this checkpoint")
    parser.add_argument(
        "--attributes", help='JSON file {"task name": {"attribute": "value"}} of what is known of tasks'
    )
    options = parser.parse_args(arguments)
    # Only now: `--help` needs no matplotlib.
    from codebook_report.attributes import load_attributes
    from codebook_report.codebook import Codebook, load_checkpoint
    from codebook_report.page import write_codebook_report
    from codebook_report.search_course import load_search

    try:
        # The small files first: a wrong one is known before the weights are read.
        course = load_search(options.trace) if options.trace else None
        attributes = load_attributes(options.attributes) if options.attributes else None
        model = load_checkpoint(options.checkpoint)
        book = Codebook.from_model(model, Path(options.checkpoint).name)
        path = write_codebook_report(book, options.output_dir, attributes, course)
    except ValueError as error:
        sys.exit(f"Error: {error}")
    print(f"Wrote {path}, and its pictures as PNGs beside it.")


if __name__ == "__main__":
    main()
