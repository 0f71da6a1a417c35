"""Whether gradients come back through a quantized language model, and the right ones: tried out, not looked up."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from transformers import PreTrainedModel

from .answer_likelihoods import get_decoder_start_token
from .model_modes import frozen, keeping_modes
from .pretrained_ctr import CTRPreTrainedModel

TEXT_LENGTH = 6
# Steps of vectors, as shares of their size: the larger, the more they stand out from rounding, but the more they bend.
STEPS = (0.1, 0.03, 0.01, 0.003)
CLEAR_STEP = 0.5
# How far steps along the gradient are to move logits, as a share of their size.
GRADIENT_MOVES = (0.3, 0.1)

# From vectors `(1, length, width)` to the logits `(vocab_size,)` behind them, float32.
Reading = Callable[[torch.Tensor], torch.Tensor]


def check_gradients(model: PreTrainedModel, training: bool) -> None:
    """Compare a quantized language model's gradient by vectors in its input with what small changes of them do.

    Models that are not quantized are not looked at. Takes about a dozen passes over a few tokens, and leaves modes,
    gradients and random numbers as they were.

    Args:
        model: A CTR model, or a language model of either kind.
        training: Whether gradients will be asked for in training mode, or in evaluation mode.

    Raises:
        ValueError: There is no gradient, or a wrong one.
    """
    if not any(getattr(module, "is_quantized", False) for module in model.modules()):
        return
    language_model = model.backbone if isinstance(model, CTRPreTrainedModel) else model
    with keeping_modes(language_model), frozen(language_model), torch.inference_mode(False), torch.enable_grad():
        read, vectors = _make_reading(language_model)
        language_model.eval()
        with torch.no_grad():  # as evaluations do: some libraries then pack weights, for a product without gradient
            read(vectors)
        language_model.train(training)
        # Twice, at other vectors: a model may have a bend just here.
        fault = _find_fault(read, vectors) and _find_fault(read, vectors.flip(1))
    if fault is not None:
        raise ValueError(
            f"{fault} on the device '{vectors.device}', so that nothing in front of it would learn: train on another "
            "device, or load the language model with another quantization or none (predictions, and searches without "
            "gradients, work)."
        )


def _make_reading(language_model: PreTrainedModel) -> tuple[Reading, torch.Tensor]:
    """Make a function that reads vectors, always with the same dropout, and vectors that are no word's."""
    embeddings = language_model.get_input_embeddings()
    device = embeddings.weight.device if not embeddings.weight.is_meta else torch.device("cpu")  # offloaded
    vocab_size = language_model.config.get_text_config().vocab_size
    with torch.no_grad():
        words = embeddings(torch.linspace(1, vocab_size - 1, TEXT_LENGTH, device=device).long()[None])
    foreign = words + words.roll(1, 1)
    foreign = foreign * (words.norm() / foreign.norm().clamp(min=1e-6))
    options: dict[str, Any] = {"use_cache": False}
    if language_model.config.is_encoder_decoder:
        last = words[:, :0]
        options["decoder_input_ids"] = torch.tensor([[get_decoder_start_token(language_model)]], device=device)
    else:  # at a place of its own: to the same place gradients come past all layers, by their sum
        last = words[:, -1:]
    devices = {p.device for p in language_model.parameters() if p.device.type not in ("cpu", "meta")}

    def read(vectors: torch.Tensor) -> torch.Tensor:
        with torch.random.fork_rng(devices):
            inputs = torch.cat([vectors, last], 1)
            return language_model(inputs_embeds=inputs, **options).logits[0, -1].float().to(device)

    return read, foreign[:, :-1]


def _find_fault(read: Reading, vectors: torch.Tensor) -> str | None:
    """Compare the gradient with a small random step, where rounding leaves room for one, and with steps along itself."""
    direction = torch.randn(vectors.shape, generator=torch.Generator().manual_seed(0)).to(vectors.device)
    direction *= vectors.float().norm() / direction.norm()
    found = _find_steady_step(read, vectors, direction)
    # A large step says at least which logits there are to move.
    movement, step = found or _move(read, vectors, CLEAR_STEP * direction)
    distance = movement.norm()
    if not distance.isfinite() or not distance:
        return None  # nothing to learn from, for other reasons
    along = movement / distance
    leaf = vectors.clone().requires_grad_()
    logits = read(leaf)
    if logits.requires_grad:
        with suppress(NotImplementedError):  # what PyTorch raises where an operation has no derivative
            (logits @ along).backward()
    if leaf.grad is None or not leaf.grad.any():
        return "No gradient comes back through the quantized language model"
    gradient = leaf.grad.float()
    wrong = "A wrong gradient comes back through the quantized language model"
    if found and not 0.5 <= float((gradient * step).sum() / distance) <= 1.5:
        return wrong
    # Along the gradient logits move so much that rounding covers little of it: these steps tell in any precision.
    for share in GRADIENT_MOVES:
        length = share * logits.detach().norm() / (2 * gradient.norm())
        movement, step = _move(read, vectors, gradient * (length / gradient.norm()))
        if 0.25 <= float((movement @ along) / (gradient * step).sum()) <= 4:
            return None
    return wrong


def _find_steady_step(
    read: Reading, vectors: torch.Tensor, direction: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Find a step that moves logits as a longer one does, but for its length: neither bent nor covered by rounding."""
    longer = _move(read, vectors, STEPS[0] * direction)
    for before, now in zip(STEPS, STEPS[1:], strict=False):
        shorter = _move(read, vectors, now * direction)
        if (longer[0] - shorter[0] * (before / now)).norm() < 0.25 * longer[0].norm():
            return shorter
        longer = shorter
    return None


@torch.no_grad()
def _move(read: Reading, vectors: torch.Tensor, step: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute how logits differ between two sides of `vectors`, and how these differ, float32."""
    ahead, behind = vectors + step.to(vectors.dtype), vectors - step.to(vectors.dtype)
    return read(ahead) - read(behind), (ahead - behind).float()
