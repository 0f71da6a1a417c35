"""Export a CTR model: python -m export CTR_MODEL FOLDER [--format transformers|onnx] [--tasks NAME ...]"""

import argparse
import sys
from typing import Any

from export import export_model
from export.onnx_model import export_to_onnx

FORMATS = ("transformers", "onnx")


def main(argv: list[str] | None = None) -> int:
    """Export a model; an error is one line, with exit code 1."""
    parser = argparse.ArgumentParser(prog="python -m export", description=__doc__.partition(":")[0])
    parser.add_argument("model", help="Folder or Hub name of a CTR model.")
    parser.add_argument("folder", help="Folder to make.")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default=FORMATS[0],
        help="What to make: a plain checkpoint, or ONNX graphs.",
    )
    parser.add_argument("--tasks", nargs="+", help="Names of the tasks to list; by default, all.")
    parser.add_argument("--revision", help="Branch, tag or commit of a model on the Hub.")
    plain = parser.add_argument_group("plain checkpoints")
    plain.add_argument("--push_to_hub", metavar="USER/NAME", help="Repository to push to as well.")
    plain.add_argument("--private", action="store_true", help="Make a new repository a private one.")
    plain.add_argument("--max_shard_size", default="50GB", help="Largest size of a weight file.")
    args = parser.parse_args(argv)
    if args.format != "transformers" and args.push_to_hub is not None:
        parser.error("--push_to_hub is for plain checkpoints; push another folder with `hf upload`.")
    try:
        lines = _export(args)
    except (ImportError, OSError, ValueError) as error:
        print(f"python -m export: {error}", file=sys.stderr)
        return 1
    print("\n".join(lines))
    return 0


def _export(args: argparse.Namespace) -> list[str]:
    """Export as the flags say; returns what to print."""
    options: dict[str, Any] = {"tasks": args.tasks}
    if args.revision is not None:
        options["revision"] = args.revision
    if args.format == "onnx":
        about = export_to_onnx(args.model, args.folder, **options)
        return [f"{name}: {task['task_code']}" for name, task in about["tasks"].items()]
    exported = export_model(
        args.model,
        args.folder,
        push_to_hub=args.push_to_hub,
        private=args.private or None,
        max_shard_size=args.max_shard_size,
        **options,
    )
    return [f"{name}: {task[exported.position]}" for name, task in exported.tasks.items()]


if __name__ == "__main__":
    sys.exit(main())
