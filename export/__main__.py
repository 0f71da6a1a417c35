"""Export a CTR model as a plain one: python -m export CTR_MODEL FOLDER [--tasks NAME ...] [--push_to_hub USER/NAME]"""

import argparse
import sys

from export import export_model


def main(argv: list[str] | None = None) -> int:
    """Export a model; an error is one line, with exit code 1."""
    parser = argparse.ArgumentParser(prog="python -m export", description=__doc__.partition(":")[0])
    parser.add_argument("model", help="Folder or Hub name of a CTR model.")
    parser.add_argument("folder", help="Folder to make.")
    parser.add_argument("--tasks", nargs="+", help="Names of the tasks to list; by default, all.")
    parser.add_argument("--push_to_hub", metavar="USER/NAME", help="Repository to push to as well.")
    parser.add_argument("--private", action="store_true", help="Make a new repository a private one.")
    parser.add_argument("--revision", help="Branch, tag or commit of a model on the Hub.")
    parser.add_argument("--max_shard_size", default="50GB", help="Largest size of a weight file.")
    args = vars(parser.parse_args(argv))
    if args["revision"] is None:
        del args["revision"]
    args["private"] = args["private"] or None
    try:
        exported = export_model(args.pop("model"), args.pop("folder"), **args)
    except (OSError, ValueError) as error:
        print(f"python -m export: {error}", file=sys.stderr)
        return 1
    for name, task in exported.tasks.items():
        print(f"{name}: {task[exported.position]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
