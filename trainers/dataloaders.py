"""Data loaders that transformers' Trainer has none for: of streams, and of batches with a budget of tokens."""

from collections.abc import Callable
from typing import Any

import datasets
import torch
from accelerate.data_loader import prepare_data_loader
from torch.utils.data import DataLoader

from trainers.sampler import TokenBudgetBatches, count_tokens
from trainers.streaming import StreamedBatches
from trainers.training_args import CTRTrainingArguments


def make_stream_loader(
    stream: datasets.IterableDataset,
    collate: Callable,
    args: CTRTrainingArguments,
    batch_size: int,
    position: str | None,
) -> DataLoader:
    """Make the loader of one process's batches of a stream, from where it stood.

    Args:
        batch_size: Examples of a batch of this process.
        position: Where the stream stood, as `StreamedBatches` takes it.

    Raises:
        ValueError: The arguments ask for what streams do not have.
    """
    if args.per_device_train_tokens is not None or args.dataloader_num_workers > 1:
        raise ValueError(
            "Streaming has neither `per_device_train_tokens` nor more than one of `dataloader_num_workers`."
        )
    batches = StreamedBatches(
        stream,
        collate,
        batch_size,
        args.gradient_accumulation_steps,
        get_data_seed(args),
        args.process_index,
        args.world_size,
        position,
    )
    # Its own generator: the global one must not be drawn from between loading its state and going on.
    loader = DataLoader(batches, batch_size=None, generator=torch.Generator(), **_loader_settings(args))
    # Each process has its own stream already, so accelerate must split nothing.
    return prepare_data_loader(
        loader, args.device, num_processes=1, process_index=0, put_on_device=True, dispatch_batches=False
    )


def make_token_budget_loader(dataset: Any, collate: Callable, args: CTRTrainingArguments) -> DataLoader:
    """Make a loader of batches with at most `per_device_train_tokens` tokens; its sampler is a `TokenBudgetBatches`."""
    sampler = TokenBudgetBatches(
        count_tokens(dataset, "input_ids"),
        count_tokens(dataset, "labels"),
        args.per_device_train_tokens,
        args.gradient_accumulation_steps * args.world_size,
        get_data_seed(args),
    )
    return DataLoader(dataset, batch_sampler=sampler, collate_fn=collate, **_loader_settings(args))


def get_data_seed(args: CTRTrainingArguments) -> int:
    """Return the random seed of the order of examples."""
    return args.seed if args.data_seed is None else args.data_seed


def _loader_settings(args: CTRTrainingArguments) -> dict[str, Any]:
    return {
        "num_workers": args.dataloader_num_workers,
        "pin_memory": args.dataloader_pin_memory,
        "persistent_workers": args.dataloader_persistent_workers,
        "prefetch_factor": args.dataloader_prefetch_factor,
    }
