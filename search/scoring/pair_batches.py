"""Pairs of a prompt and an example in batches: by length, within a budget of tokens, shared out over processes."""

from collections.abc import Callable

import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from tqdm.auto import tqdm

from modeling_ctr.model_modes import evaluating

from .processes import is_main_process, own_share
from .token_budget import TokenBudget

# A batch ends where the next text is shorter than this share of its longest, once it holds this share of the budget.
MAX_PADDING, MIN_FILL = 0.1, 0.25


class PairBatches:
    """Runs a function over batches of pairs.

    Args:
        model: Put into evaluation mode meanwhile.
        device: Device that it computes on.
        autocast_dtype: Dtype of the `torch.autocast` to run under; None for none.
        progress: Whether to show a bar over the pairs.

    Attributes:
        pairs_run (`int`): Pairs so far, in all processes.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        device: torch.device,
        autocast_dtype: torch.dtype | None = None,
        progress: bool = False,
    ):
        self.model, self.device, self.autocast_dtype, self.progress = model, device, autocast_dtype, progress
        self.pairs_run = 0

    def run(
        self,
        wanted: torch.BoolTensor,
        lengths: torch.LongTensor,
        run_batch: Callable[[torch.LongTensor, torch.LongTensor], None],
        budget: TokenBudget,
        shared: bool = True,
    ) -> None:
        """Call `run_batch(prompt_ids, example_ids)` until all wanted pairs are done; halve the budget without memory.

        Args:
            wanted: `(num_prompts, num_examples)`.
            lengths: `(num_examples,)`: tokens of a pair with each example.
            run_batch: Takes numbers of prompts and of examples, `(pairs,)` each, on the CPU.
            budget: Tokens of a batch.
            shared: Whether the processes share the pairs; else each runs all of them.
        """
        # By length, so that batches need little padding and the largest comes first; all prompts of an example
        # stand together and have one length.
        order = lengths.argsort(descending=True, stable=True)
        example_rank, prompt_ids = wanted[:, order].T.nonzero(as_tuple=True)
        example_ids = order[example_rank]
        self.pairs_run += len(example_ids)
        if shared:
            prompt_ids, example_ids = prompt_ids[own_share()], example_ids[own_share()]
        widths = lengths[example_ids]
        done = 0
        with (
            evaluating(self.model),
            torch.autocast(self.device.type, self.autocast_dtype, enabled=self.autocast_dtype is not None),
            tqdm(
                total=len(widths), unit="pair", disable=not (self.progress and is_main_process()), leave=False
            ) as bar,
        ):
            while done < len(widths):
                end = find_batch_end(widths, done, budget.tokens)
                out_of_memory = False
                try:
                    start = budget.clock()
                    run_batch(prompt_ids[done:end], example_ids[done:end])
                    budget.note(int(widths[done]) * (end - done), budget.clock() - start)
                except RuntimeError as error:
                    if not should_reduce_batch_size(error) or end - done == 1:
                        raise
                    out_of_memory = True  # freed outside this block, where the error no longer holds the tensors
                if out_of_memory:
                    budget.out_of_memory(int(widths[done]) * (end - done))
                    clear_device_cache(garbage_collection=True)
                    continue
                bar.update(end - done)
                done = end


def find_batch_end(widths: torch.LongTensor, start: int, budget: int) -> int:
    """Find where the batch that begins at `start` ends: its budget is full, or the texts get too short for its longest.

    Args:
        widths: `(pairs,)`: tokens of each pair, descending.
        start: Number of the first pair of the batch.
        budget: Tokens of a batch, padding included.
    """
    width = int(widths[start])
    end = min(len(widths), start + max(1, budget // width))
    long_enough = start + int((widths[start:end] >= (1 - MAX_PADDING) * width).sum())
    # A batch that is nearly empty without the shorter texts takes them, padding and all.
    return long_enough if (long_enough - start) * width >= MIN_FILL * budget else end
