"""Converts a folder of template files."""

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tasks.template_file import load_template_file

from .convert import convert, write_template_file


def main(argv: Sequence[str] | None = None) -> None:
    """Converts a folder of template files into another one, and says how many converted and why others did not."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.no_prompt", description="No-prompt templates derived from prompted ones."
    )
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
