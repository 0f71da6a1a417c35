"""Export a CTR model: python -m export CTR_MODEL FOLDER [--format transformers|onnx|lm_eval] [--tasks NAME ...]"""

import argparse
import sys
from typing import Any

from export import export_model
from export.lm_eval_export import export_to_lm_eval
from export.lm_eval_questions import find_questions
from export.loading import load_parts
from export.onnx_model import export_to_onnx
from export.whole_folder import check_new

FORMATS = ("transformers", "onnx", "lm_eval")


def main(argv: list[str] | None = None) -> int:
    """Export a model; an error is one line, with exit code 1."""
    parser = argparse.ArgumentParser(prog="python -m export", description=__doc__.partition(":")[0])
    parser.add_argument("model", help="Folder or Hub name of a CTR model.")
    parser.add_argument("folder", help="Folder to make.")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default=FORMATS[0],
        help="What to make: a plain checkpoint, ONNX graphs, or a plain checkpoint and tasks for lm-evaluation-harness.",
    )
    parser.add_argument("--tasks", nargs="+", help="Names of the tasks to list; by default, all.")
    parser.add_argument("--revision", help="Branch, tag or commit of a model on the Hub.")
    plain = parser.add_argument_group("plain checkpoints")
    plain.add_argument("--push_to_hub", metavar="USER/NAME", help="Repository to push to as well.")
    plain.add_argument("--private", action="store_true", help="Make a new repository a private one.")
    plain.add_argument("--max_shard_size", default="50GB", help="Largest size of a weight file.")
    harness = parser.add_argument_group("tasks for lm-evaluation-harness")
    harness.add_argument("--data_dir", help="Folder with a folder of rows for each data set.")
    harness.add_argument(
        "--templates_dir", nargs="+", default=[], help="Template files or folders, beside the shipped."
    )
    harness.add_argument("--test_file", help="File of labeled rows, for one task whose template the model keeps.")
    harness.add_argument("--label_column", default="label", help="Its column of labels.")
    harness.add_argument("--max_eval_samples", type=int, help="Number of rows to draw where there are more.")
    args = parser.parse_args(argv)
    if args.format == "lm_eval" and args.tasks is None:
        parser.error("--format lm_eval needs --tasks: those that there are labeled rows for.")
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
    if args.format == "lm_eval":
        return _export_to_lm_eval(args)
    exported = export_model(
        args.model,
        args.folder,
        push_to_hub=args.push_to_hub,
        private=args.private or None,
        max_shard_size=args.max_shard_size,
        **options,
    )
    return [f"{name}: {task[exported.position]}" for name, task in exported.tasks.items()]


def _export_to_lm_eval(args: argparse.Namespace) -> list[str]:
    """Export with tasks for the harness; returns the command that runs them."""
    check_new(args.folder)
    model, tokenizer = load_parts(args.model, **({} if args.revision is None else {"revision": args.revision}))
    names = ("templates_dir", "data_dir", "test_file", "label_column", "max_eval_samples")
    questions = find_questions(model, args.tasks, **{name: getattr(args, name) for name in names})
    return [export_to_lm_eval(model, args.folder, questions, tokenizer=tokenizer).command]


if __name__ == "__main__":
    sys.exit(main())
