"""How fast training goes, without waiting for the device at any step."""

import resource
import sys
import time
from collections.abc import Mapping

import torch
from accelerate import Accelerator
from torch import nn

from modeling_ctr import CTRPreTrainedModel

# Dense bf16 (T4, V100: fp16) operations per second, from the makers' data sheets, by what the device's name contains.
PEAK_FLOPS = {
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "A10G": 70e12,
    "A10": 125e12,
    "L4": 121e12,
    "V100": 125e12,
    "T4": 65e12,
}


class Throughput:
    """Count the batches of one process between two reports.

    Args:
        model: Model whose parameters give the number of operations per token.
        device: Device that it trains on.
    """

    def __init__(self, model: nn.Module, device: torch.device):
        self.device = device
        self._prompt_length = model.config.code_length if isinstance(model, CTRPreTrainedModel) else 0
        self._token_flops = count_token_flops(model)
        self._restart()

    def _restart(self) -> None:
        self._start = time.perf_counter()
        self._examples = self._padded_tokens = self._flops = 0
        self._tokens: torch.Tensor | int = 0

    def count(self, batch: Mapping[str, torch.Tensor]) -> None:
        """Add a batch of `input_ids` and `attention_mask` `(batch, source_length)` and `labels`."""
        if not self._examples:
            self._start = time.perf_counter()
        self._examples += len(batch["labels"])
        self._padded_tokens += batch["input_ids"].numel() + batch["labels"].numel()
        self._tokens = self._tokens + batch["attention_mask"].sum() + (batch["labels"] != -100).sum()
        self._flops += count_batch_flops(batch, *self._token_flops, self._prompt_length)

    def leave_out(self, seconds: float) -> None:
        """Do not count time spent on something else, such as evaluation."""
        self._start += seconds

    def report(self, accelerator: Accelerator) -> dict[str, float]:
        """Report of all processes since the last report: `examples_per_second`, `tokens_per_second` (sources and targets
        without padding), `padding_share`, the first process's peak `memory_gib` and, where the device's peak is known, `mfu`.

        `mfu`, the first process's, counts the products with weights, of padded batches, and leaves out attention's own products.
        """
        if not self._examples:
            return {}
        counts = [torch.as_tensor(c, dtype=torch.float64) for c in (self._examples, self._tokens, self._padded_tokens)]
        totals = accelerator.reduce(torch.stack([count.to(self.device) for count in counts]), reduction="sum")
        examples, tokens, padded_tokens = totals.tolist()  # waits for the device, so before the clock is read
        seconds = time.perf_counter() - self._start
        report = {
            "examples_per_second": examples / seconds,
            "tokens_per_second": tokens / seconds,
            "padding_share": 1 - tokens / padded_tokens,
            "memory_gib": get_peak_memory(self.device) / 2**30,
        }
        if (peak := get_peak_flops(self.device)) is not None:
            report["mfu"] = self._flops / seconds / peak
        self._restart()
        return report


def count_token_flops(model: nn.Module) -> tuple[int, int]:
    """Count the operations per source token (prompt vectors included) and per target token, in products with weights.

    Two per weight forward, two backward, and two more for the gradients of weights that are trained. Keys and values
    of cross-attention are made from the source.
    """
    source = target = 0
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if "task_codebook" in name or "embed" in name or "shared" in name:
            continue
        size = getattr(parameter, "ds_numel", parameter.numel())  # DeepSpeed ZeRO-3 leaves the tensor itself empty
        flops = (6 if parameter.requires_grad else 4) * size
        crosses = any(
            part in name for part in ("EncDecAttention.k", "EncDecAttention.v", "encoder_attn.k_", "encoder_attn.v_")
        )
        if "encoder.block" in name or "encoder.layers" in name or crosses:
            source += flops
        else:
            target += flops
    return (
        (source, target) if model.config.is_encoder_decoder else (target, target)
    )  # one sequence, read by all weights


def count_batch_flops(
    batch: Mapping[str, torch.Tensor], source_flops: int, target_flops: int, prompt_length: int = 0
) -> int:
    """Count the operations of a training step on a padded batch, see `count_token_flops`, with `prompt_length` prompt vectors a row."""
    source_tokens = batch["input_ids"].numel() + prompt_length * len(batch["input_ids"])
    return source_flops * source_tokens + target_flops * batch["labels"].numel()


def get_peak_flops(device: torch.device) -> float | None:
    """Return the maker's dense bf16 operations per second, where the device is known."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for known, peak in PEAK_FLOPS.items() if known in name), None)


def get_peak_memory(device: torch.device) -> int:
    """Return the peak in bytes: of tensors on an accelerator, or of the whole process on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
