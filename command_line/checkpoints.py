"""The tokenizer and the model that a run starts from, or a sentence about why they cannot be loaded."""

import json
import logging
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from command_line.errors import is_for_the_user, one_line
from command_line.logs import NewCodebook
from modeling_ctr import get_model_class
from modeling_ctr.hub_errors import loading_errors
from run_arguments import ModelArguments
from tasks import Task

# Small files of a checkpoint in JSON. Damaged, some of them end a load far from what is wrong, and some are passed over.
JSON_FILES = ("config.json", "generation_config.json", "tokenizer_config.json", "special_tokens_map.json")


@contextmanager
def checkpoint_errors(part: str, name_or_path: str) -> Iterator[None]:
    """Turn whatever a library raises while it reads a checkpoint into an OSError of one sentence.

    Args:
        part: What is loaded, to begin the sentence with, e.g. "The tokenizer".
        name_or_path: Folder or Hub name of the checkpoint.
    """
    try:
        with loading_errors(name_or_path):
            yield
    except Exception as error:
        if is_for_the_user(error):
            raise
        reason = textwrap.shorten(one_line(error), 300, placeholder=" ...")
        if not isinstance(error, (OSError, ValueError)):
            reason = f"a file of it is damaged, or made for something else ({type(error).__name__}: {reason})"
        raise OSError(f"{part} of '{name_or_path}' cannot be loaded: {reason}") from error


@contextmanager
def expected_new_codebook() -> Iterator[None]:
    """Load without the loader's report that the codebook is missing and made anew."""
    loader, keeps_back = logging.getLogger("transformers.modeling_utils"), NewCodebook()
    loader.addFilter(keeps_back)
    try:
        yield
    finally:
        loader.removeFilter(keeps_back)


def check_files(name_or_path: str) -> None:
    """Look whether a local folder is a checkpoint whose small files can be read; what is on the Hub is not looked at.

    Raises:
        OSError: It has no config, is a file, or holds a damaged file.
    """
    folder = Path(name_or_path)
    if folder.is_file():
        raise OSError(f"'{folder}' is a file; name the folder of the checkpoint.")
    if not folder.is_dir():
        return
    if not (folder / "config.json").is_file():
        raise OSError(f"'{folder}' is not a checkpoint: it has no config.json.")
    for path in (folder / name for name in JSON_FILES):
        try:
            content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        except ValueError:
            content = None
        if not isinstance(content, dict):
            raise OSError(f"'{path}' is damaged: it is no mapping in JSON. Save or download the checkpoint again.")


def load_config(args: ModelArguments) -> PreTrainedConfig:
    """Load the config of the model to start from.

    Raises:
        OSError: It cannot be loaded.
    """
    check_files(args.model_name_or_path)
    with checkpoint_errors("The config", args.model_name_or_path):
        return AutoConfig.from_pretrained(args.model_name_or_path, revision=args.model_revision)


def load_tokenizer(args: ModelArguments) -> PreTrainedTokenizerBase:
    """Load its tokenizer.

    Raises:
        OSError: It cannot be loaded.
    """
    check_files(args.model_name_or_path)
    with checkpoint_errors("The tokenizer", args.model_name_or_path):
        return AutoTokenizer.from_pretrained(args.model_name_or_path, revision=args.model_revision)


def load_model(args: ModelArguments, train_tasks: list[Task], trains: bool, dtype: str) -> PreTrainedModel:
    """Load the model that the method works on.

    With the method `ctr` a CTR model as it is, or a new one to be trained around a plain language model; with `t0` the
    plain language model.

    Raises:
        OSError: It cannot be loaded.
        ValueError: A CTR model was made for other training tasks, or one is needed or given where it should not be.
    """
    config = load_config(args)
    names = [task.name for task in train_tasks]
    weights = {"revision": args.model_revision, "dtype": dtype}
    if args.method == "t0":
        if config.model_type == "ctr":
            raise ValueError(
                f"'{args.model_name_or_path}' is a CTR model; `--method t0` takes the plain language model instead."
            )
        if names and not trains:
            raise ValueError("`--train_tasks` are named, but nothing was trained here: give `--do_train`, too.")
        with checkpoint_errors("The model", args.model_name_or_path):
            kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
            return kind.from_pretrained(args.model_name_or_path, **weights)
    if config.model_type == "ctr":
        if names and names != config.task_names:
            raise ValueError(
                f"'{args.model_name_or_path}' was trained on {config.num_tasks} tasks, which are not the "
                f"{len(names)} given: give the same training tasks in the same order, or start from a language model."
            )
        with checkpoint_errors("The model", args.model_name_or_path):
            return get_model_class(config).from_pretrained(args.model_name_or_path, **weights)
    if not (names and trains):
        raise ValueError(
            f"'{args.model_name_or_path}' is a plain language model without task codes: name `--train_tasks` and "
            "`--do_train`, or give a trained CTR model."
        )
    with checkpoint_errors("The language model", args.model_name_or_path), expected_new_codebook():
        return get_model_class(config).from_backbone(
            args.model_name_or_path,
            task_names=names,
            code_length=args.code_length,
            codebook_size=args.codebook_size,
            task_embedding_dim=args.task_embedding_dim,
            code_dim=args.code_dim,
            code_position=args.code_position,
            **weights,
        )
