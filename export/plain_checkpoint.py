"""Write a CTR model as a plain checkpoint: all of it, or nothing."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from export.card import write_card
from export.exported_tasks import CODE_TOKEN, TUNED_TOKEN, ExportedTasks
from export.loading import describe_task, get_prompt_vectors, load_parts, select_names
from export.plain_model import make_plain_model
from export.prefix_tokenizer import SAMPLES, PrefixTokenizer
from export.whole_folder import check_new, write_whole
from modeling_ctr import CTRPreTrainedModel
from modeling_ctr.model_modes import evaluating
from modeling_ctr.task_code_file import codebook_hash
from trainers.hub import push_folder

# Greatest difference of logits, as a share of the greatest logit, between the CTR model and the plain one.
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-4}
HALF_TOLERANCE = 0.05


def export_model(
    model: CTRPreTrainedModel | str | os.PathLike,
    folder: str | os.PathLike,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    tasks: Sequence[str] | None = None,
    push_to_hub: str | None = None,
    private: bool | None = None,
    token: str | None = None,
    max_shard_size: str | int = "50GB",
    **hub_options: Any,
) -> ExportedTasks:
    """Write a CTR model as a plain checkpoint whose tasks are text prefixes; see [`get_task_prefix`].

    The folder holds the language model with the code vectors' prompt vectors in its word embedding, a tokenizer with a
    token for each, a generation config that never gives these as answers, `tasks.json` and a card. Weights keep their
    dtype.

    Args:
        model: CTR model, or its folder or name on the Hub.
        folder: Folder to make.
        tokenizer: Tokenizer of a model that is given as such; otherwise the checkpoint's.
        tasks: Names of the tasks to list; by default, all. Any code can be written with the tokens; a tuned task that is
            not among them is left out.
        push_to_hub: Repository to push to as well, "user/name".
        private: Whether a new repository is private.
        token: Hub token; by default, the one logged in with.
        max_shard_size: Largest size of a weight file.
        **hub_options: `revision` and `cache_dir` of a model on the Hub.

    Returns:
        What `tasks.json` holds.

    Raises:
        OSError: The model cannot be read, or the folder or the repository not be written.
        ValueError: The folder exists, a task is unknown, or the model or its tokenizer cannot be exported.
    """
    folder = check_new(folder)
    model, tokenizer = load_parts(model, tokenizer, token=token, **hub_options)
    plain, prefix_tokenizer, exported = make_parts(model, tokenizer, select_names(model, tasks))

    repo_id = push_to_hub or folder.resolve().name

    def write(target: Path) -> None:
        write_parts(target, repo_id, model, plain, prefix_tokenizer, exported, max_shard_size=max_shard_size)

    write_whole(folder, write)
    if push_to_hub is not None:
        push_folder(folder, push_to_hub, private=private, token=token, commit_message="Upload exported CTR model")
    return exported


def make_parts(
    model: CTRPreTrainedModel, tokenizer: PreTrainedTokenizerBase, names: Sequence[str]
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, ExportedTasks]:
    """Make the plain model, its tokenizer and its tasks, found to compute what the CTR model does.

    Raises:
        ValueError: The model or its tokenizer cannot be exported.
    """
    config = model.config
    tuned = [name for name in names if name in config.tuned_tasks]
    tokens = [CODE_TOKEN.format(value) for value in range(config.codebook_size)]
    tuned_tokens = {
        name: [TUNED_TOKEN.format(number, position) for position in range(config.code_length)]
        for number, name in enumerate(tuned)
    }
    tokens += [token for name in tuned for token in tuned_tokens[name]]
    num_rows = model.get_input_embeddings().num_embeddings
    limit = getattr(config.text_config.get_text_config(), "max_position_embeddings", None)
    place = "first" if config.is_encoder_decoder else "behind_start" if config.code_position == "prefix" else "last"
    prefixed = PrefixTokenizer(tokenizer, num_rows, tokens, config.code_length, limit, place)

    spare_row = num_rows - 1 if num_rows > len(tokenizer) else config.pad_token_id
    plain = make_plain_model(model, get_prompt_vectors(model, tuned), spare_row)
    exported = ExportedTasks(
        code_length=config.code_length,
        codebook_size=config.codebook_size,
        vocab_size=num_rows,
        start=prefixed.start,
        target_start=prefixed.start.strip(),
        codebook_hash=codebook_hash(model.task_codebook),
        position=config.code_position,
    )
    codes = config.codes_by_name(model.task_codes().tolist())
    for name in names:
        code = codes.get(name)
        prefix = exported.get_prefix(code) if code else "".join(tuned_tokens[name]) + prefixed.start
        exported.tasks[name] = {exported.position: prefix, "code": code, **describe_task(model, name)}
    with evaluating(model):
        check_same_logits(model, tokenizer, plain, prefixed.tokenizer, exported)
    return plain, prefixed.tokenizer, exported


def write_parts(
    folder: Path,
    repo_id: str,
    model: CTRPreTrainedModel,
    plain: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    exported: ExportedTasks,
    **options: Any,
) -> None:
    """Write what `make_parts` made of a CTR model, and the card of `repo_id`; options are `save_pretrained`'s."""
    plain.save_pretrained(folder, **options)
    tokenizer.save_pretrained(folder)
    exported.write(folder)
    write_card(folder, repo_id, exported, model)


@torch.no_grad()
def check_same_logits(
    model: CTRPreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    plain: PreTrainedModel,
    prefix_tokenizer: PreTrainedTokenizerBase,
    exported: ExportedTasks,
) -> None:
    """Raise a ValueError where the plain model answers otherwise than the CTR model."""
    extra = {}
    if model.config.is_encoder_decoder:
        extra["decoder_input_ids"] = torch.full((1, 1), model.config.decoder_start_token_id, device=model.device)
    for name in (next(iter(exported.tasks)), list(exported.tasks)[-1]):  # the last may be a tuned one
        ids = tokenizer(SAMPLES[0], return_tensors="pt")["input_ids"].to(model.device)
        ours = model(input_ids=ids, task=name, **extra).logits[0, -1].float()
        ids = prefix_tokenizer(exported.join(name, SAMPLES[0]), return_tensors="pt")["input_ids"].to(model.device)
        theirs = plain(input_ids=ids, **extra).logits[0, -1, : exported.vocab_size].float()
        error = ((ours - theirs).abs().max() / ours.abs().max()).item()
        if not error <= TOLERANCE.get(plain.dtype, HALF_TOLERANCE):
            raise ValueError(
                f"A {model.config.text_config.model_type} model cannot be exported: with the vectors of '{name}' in its "
                f"word embedding it answers otherwise (logits differ by {error:.2g} of the largest)."
            )
