"""The authors' DeepSpeed checkpoints -> ours, and back. Nothing in a checkpoint is executed.

    python -m modeling_ctr.convert_original_checkpoint SOURCE DESTINATION [--task_names FILE] [--reverse]

An original checkpoint is a folder with `latest` (the step), `<step>/mp_rank_00_model_states.pt`, and, beside them,
`t0_task_names.json` (the position is the task id) and `codebok_step<step>.json` (spelt so; codes as strings).
"""

import argparse
import ast
import json
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import T5Config
from transformers.utils.logging import get_logger

from .configuration_ctr import CTRConfig
from .modeling_ctr import CTRForConditionalGeneration

logger = get_logger(__name__)

WEIGHTS_FILE = "mp_rank_00_model_states.pt"
TASK_NAMES_FILE = "t0_task_names.json"
# The original takes `--layernorm-epsilon 1e-6`, but never passes it on.
LAYER_NORM_EPSILON = 1e-5
# Its T5 fixes this, and no tensor shows it.
RELATIVE_ATTENTION_MAX_DISTANCE = 128

LM_HEAD = "decoder.mixins.t5-final.lm_head.weight"
WORD_EMBEDDINGS = tuple(f"{stack}.transformer.word_embeddings.weight" for stack in ("encoder", "decoder"))
RELATIVE_BIAS = "encoder.mixins.t5-attention.relative_attention_bias.weight"
CODEBOOK = "encoder.mixins.vae_prompt."


def load_original_checkpoint(
    source: str | Path, task_names_file: str | Path | None = None
) -> CTRForConditionalGeneration:
    """Load the model of an original checkpoint, in its dtype (the codebook in float32), in evaluation mode.

    Args:
        source: The folder that holds `latest`, or the step folder itself.
        task_names_file: JSON list of task names; by default `t0_task_names.json` in or beside the step folder.

    Raises:
        OSError: A file is missing, truncated or damaged.
        ValueError: The file holds more than tensors and plain values, or tensors are missing, unexpected or misshaped.
    """
    step_folder = _step_folder(Path(source))
    path = step_folder / WEIGHTS_FILE
    if (step_folder / "mp_rank_01_model_states.pt").exists():
        raise ValueError(f"'{step_folder}' was saved with model parallelism; merge its parts into one file first.")
    original = _read_weights(path)
    config = _infer_config(original, path)
    names = _task_names(step_folder, task_names_file, config.num_tasks)
    config = CTRConfig.from_dict({**config.to_dict(), "task_names": names})

    layout = original_layout(config)
    with torch.device("meta"):
        shapes = {key: tensor.shape for key, tensor in CTRForConditionalGeneration(config).state_dict().items()}
    _check(original, layout, shapes, path)
    state_dict = {}
    for key, parts in layout.items():
        sizes = [shapes[part][0] for part in parts]
        state_dict.update(zip(parts, original[key].split(sizes), strict=True))
    # The word embeddings are in the file twice; the encoder's and the decoder's are one tensor in both models.
    state_dict = {key: tensor.clone() for key, tensor in state_dict.items()}
    model = CTRForConditionalGeneration.from_pretrained(
        None, config=config, state_dict=state_dict, dtype=original[WORD_EMBEDDINGS[0]].dtype
    )
    _read_codebook(step_folder, model)
    return model


def convert_original_checkpoint(
    source: str | Path, destination: str | Path, task_names_file: str | Path | None = None
) -> None:
    """Write the original checkpoint in `source` to `destination`, for `from_pretrained`. Raises as the above does."""
    load_original_checkpoint(source, task_names_file).save_pretrained(destination)


def write_original_checkpoint(model: CTRForConditionalGeneration, destination: str | Path, step: int = 0) -> None:
    """Write `model` in the original's layout, as far as its `load_pretrained` reads it: no optimizer states.

    Raises:
        ValueError: The language model is no T5 v1.1, the only kind that the original knows.
    """
    text_config = model.config.text_config
    if text_config.model_type != "t5" or not text_config.is_gated_act or text_config.dense_act_fn != "gelu_new":
        raise ValueError("The original implementation knows only T5 v1.1 models (gated GELU); this is another kind.")
    untied = model.get_output_embeddings().weight is not model.get_input_embeddings().weight
    if untied == text_config.scale_decoder_outputs:
        raise ValueError(
            "The original implementation scales the decoder's output just where the head is tied to the word "
            "embeddings; this model does otherwise."
        )
    if (text_config.layer_norm_epsilon, text_config.relative_attention_max_distance) != (
        LAYER_NORM_EPSILON,
        RELATIVE_ATTENTION_MAX_DISTANCE,
    ):
        logger.warning(
            "The original implementation always uses a layer-norm epsilon of %g and a maximum distance of %d, this "
            "model has %g and %d: it will give slightly other results there.",
            LAYER_NORM_EPSILON,
            RELATIVE_ATTENTION_MAX_DISTANCE,
            text_config.layer_norm_epsilon,
            text_config.relative_attention_max_distance,
        )
    if model.config.tuned_tasks:
        logger.warning(
            "The original implementation knows codes alone: the tuned tasks %s are left out.",
            ", ".join(model.config.tuned_tasks),
        )
    state_dict = model.state_dict()
    module = {
        key: torch.cat([state_dict[part].cpu() for part in parts])
        for key, parts in original_layout(model.config).items()
    }
    module[WORD_EMBEDDINGS[1]] = module[WORD_EMBEDDINGS[0]]

    destination = Path(destination)
    step_folder = destination / str(step)
    step_folder.mkdir(parents=True, exist_ok=True)
    torch.save({"module": module, "iteration": step}, step_folder / WEIGHTS_FILE)
    for name in ("latest", "latest_checkpointed_iteration.txt"):
        (destination / name).write_text(str(step))
    (destination / TASK_NAMES_FILE).write_text(json.dumps(model.config.task_names, indent=4))
    codes = model.config.codes_by_name(model.task_codes().tolist())
    (destination / f"codebok_step{step}.json").write_text(
        json.dumps({name: str(code) for name, code in codes.items()}, indent=4)
    )


def original_layout(config: CTRConfig) -> dict[str, tuple[str, ...]]:
    """Map each original key to our keys, several where the original keeps their rows in one tensor, in this order.

    Every weight is `[out_features, in_features]` on both sides, so nothing is transposed.
    """
    layout = dict.fromkeys(WORD_EMBEDDINGS, ("backbone.shared.weight",))
    if not config.text_config.scale_decoder_outputs:
        layout[LM_HEAD] = ("backbone.lm_head.weight",)
    for stack, num_layers in (
        ("encoder", config.text_config.num_layers),
        ("decoder", config.text_config.num_decoder_layers),
    ):
        last = 1 if stack == "encoder" else 2  # the feed-forward's place in a Hugging Face block
        bias = "block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        layout[f"{stack}.mixins.t5-attention.relative_attention_bias.weight"] = (f"backbone.{stack}.{bias}",)
        layout[f"{stack}.transformer.final_layernorm.weight"] = (f"backbone.{stack}.final_layer_norm.weight",)
        for i in range(num_layers):
            theirs, ours = f"{stack}.transformer.layers.{i}.", f"backbone.{stack}.block.{i}.layer."
            attention, feed_forward = f"{ours}0.SelfAttention.", f"{ours}{last}.DenseReluDense."
            layout |= {
                f"{theirs}input_layernorm.weight": (f"{ours}0.layer_norm.weight",),
                f"{theirs}attention.query_key_value.weight": tuple(f"{attention}{m}.weight" for m in "qkv"),
                f"{theirs}attention.dense.weight": (f"{attention}o.weight",),
                f"{theirs}post_attention_layernorm.weight": (f"{ours}1.layer_norm.weight",),
                f"{theirs}mlp.dense_h_to_4h.weight": (f"{feed_forward}wi_0.weight",),
                f"{stack}.mixins.gated-mlp.gated_h_to_4h_list.{i}.weight": (f"{feed_forward}wi_1.weight",),
                f"{theirs}mlp.dense_4h_to_h.weight": (f"{feed_forward}wo.weight",),
            }
            if stack == "decoder":
                attention = f"{ours}1.EncDecAttention."
                layout |= {
                    f"{theirs}cross_attention.query.weight": (f"{attention}q.weight",),
                    f"{theirs}cross_attention.key_value.weight": (f"{attention}k.weight", f"{attention}v.weight"),
                    f"{theirs}cross_attention.dense.weight": (f"{attention}o.weight",),
                    f"{theirs}post_cross_attention_layernorm.weight": (f"{ours}2.layer_norm.weight",),
                }
    return layout | {
        f"{CODEBOOK}task_embeddings.weight": ("task_codebook.task_embedding.weight",),
        f"{CODEBOOK}vae_encoder": ("task_codebook.position_maps.weight",),
        f"{CODEBOOK}quantizer._embedding.weight": ("task_codebook.code_vectors.weight",),
        f"{CODEBOOK}vae_decoder.weight": ("task_codebook.prompt_decoder.weight",),
    }


def _step_folder(source: Path) -> Path:
    """Find the folder with the weights: `source` itself, or the step that its `latest` names."""
    if (source / WEIGHTS_FILE).is_file():
        return source
    for name in ("latest", "latest_checkpointed_iteration.txt"):
        if (source / name).is_file():
            folder = source / (source / name).read_text().strip()
            if (folder / WEIGHTS_FILE).is_file():
                return folder
            raise OSError(f"'{source / name}' names the step folder '{folder}', but that holds no {WEIGHTS_FILE}.")
    raise OSError(f"'{source}' is no original CTR checkpoint: it holds neither `latest` nor {WEIGHTS_FILE}.")


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    # Beside the weights the file holds NumPy's random state; these names are all that rebuilding an array needs.
    reconstruct = np._core.multiarray._reconstruct
    allowed = [reconstruct, (reconstruct, "numpy.core.multiarray._reconstruct")]
    allowed += [np.ndarray, np.dtype, type(np.dtype(np.uint32))]
    try:
        with torch.serialization.safe_globals(allowed):
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"'{path}' is damaged or holds more than tensors and plain values, and was not read further, since that "
            f"could run code: {error}"
        ) from error
    except (RuntimeError, EOFError, OSError) as error:
        raise OSError(f"'{path}' cannot be read ({error}): the file is truncated or damaged.") from error
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("module"), dict):
        raise ValueError(f"'{path}' is no DeepSpeed checkpoint: it holds no weights under 'module'.")
    return checkpoint["module"]


def _infer_config(original: dict[str, torch.Tensor], path: Path) -> CTRConfig:
    """Infer the dimensions, all of which the shapes give: the bias tables have a column for each head."""

    def shape(key: str, dimensions: int = 2) -> torch.Size:
        if key not in original:
            raise ValueError(f"'{path}' is no CTR checkpoint of the original implementation: it has no '{key}'.")
        if original[key].dim() != dimensions:
            raise ValueError(
                f"'{key}' in '{path}' has the shape {list(original[key].shape)}, but should have {dimensions} dimensions."
            )
        return original[key].shape

    def num_layers(stack: str) -> int:
        pattern = re.compile(rf"{stack}\.transformer\.layers\.(\d+)\.")
        return 1 + max((int(match[1]) for match in map(pattern.match, original) if match), default=0)

    vocab_size, d_model = shape(WORD_EMBEDDINGS[0])
    num_buckets, num_heads = shape(RELATIVE_BIAS)
    code_length, task_embedding_dim, code_dim = shape(f"{CODEBOOK}vae_encoder", dimensions=3)
    return CTRConfig(
        text_config=T5Config(
            vocab_size=vocab_size,
            d_model=d_model,
            d_kv=shape("encoder.transformer.layers.0.attention.dense.weight")[1] // num_heads,
            d_ff=shape("encoder.transformer.layers.0.mlp.dense_h_to_4h.weight")[0],
            num_layers=num_layers("encoder"),
            num_decoder_layers=num_layers("decoder"),
            num_heads=num_heads,
            relative_attention_num_buckets=num_buckets,
            relative_attention_max_distance=RELATIVE_ATTENTION_MAX_DISTANCE,
            layer_norm_epsilon=LAYER_NORM_EPSILON,
            feed_forward_proj="gated-gelu",  # in T5's config this means the tanh form, as in the original
            tie_word_embeddings=LM_HEAD not in original,  # means: scale the decoder's output
            decoder_start_token_id=0,
        ),
        num_tasks=shape(f"{CODEBOOK}task_embeddings.weight")[0],
        task_embedding_dim=task_embedding_dim,
        code_length=code_length,
        codebook_size=shape(f"{CODEBOOK}quantizer._embedding.weight")[0],
        code_dim=code_dim,
        commitment_cost=0.1,
    )


def _check(
    original: dict[str, torch.Tensor], layout: dict[str, tuple[str, ...]], shapes: dict[str, torch.Size], path: Path
) -> None:
    """Raise a ValueError that names whatever keeps the original tensors from being this model."""
    missing, unexpected = [k for k in layout if k not in original], [k for k in original if k not in layout]
    if missing or unexpected:
        told = [
            f"{what} {', '.join(keys)}" for what, keys in (("lacks", missing), ("has too much", unexpected)) if keys
        ]
        raise ValueError(f"'{path}' does not fit the layout of the original CTR: it {' and '.join(told)}.")
    for key, parts in layout.items():
        expected = [sum(shapes[part][0] for part in parts), *shapes[parts[0]][1:]]
        if list(original[key].shape) != expected:
            raise ValueError(
                f"'{key}' in '{path}' has the shape {list(original[key].shape)}, but beside the other tensors it "
                f"should have {expected}."
            )
    if not torch.equal(*(original[key] for key in WORD_EMBEDDINGS)):
        raise ValueError(f"The encoder's and the decoder's word embeddings in '{path}' differ, but must be the same.")


def _task_names(step_folder: Path, file: str | Path | None, num_tasks: int) -> list[str] | None:
    if file is None:
        found = [folder / TASK_NAMES_FILE for folder in (step_folder, step_folder.parent)]
        file = next((path for path in found if path.is_file()), None)
    if file is None:
        logger.warning("There is no %s beside the weights: the tasks are called task_0, task_1, ...", TASK_NAMES_FILE)
        return None
    names = _read_json(Path(file))
    if not isinstance(names, list) or len(names) != num_tasks:
        raise ValueError(f"'{file}' should be a list of {num_tasks} task names, one for each task of the checkpoint.")
    return names


def _read_codebook(step_folder: Path, model: CTRForConditionalGeneration) -> None:
    """Take over codes of tasks that have no id. Those of training tasks come from the weights."""
    files = [*step_folder.glob("codebok_step*.json"), *step_folder.parent.glob(f"codebok_step{step_folder.name}.json")]
    if not files:
        return
    recorded = _read_json(files[0])
    if not isinstance(recorded, dict):
        raise ValueError(f"'{files[0]}' should be a JSON object of tasks and their codes.")
    for name, code in recorded.items():
        try:
            recorded[name] = ast.literal_eval(code) if isinstance(code, str) else code
        except (ValueError, SyntaxError) as error:
            raise ValueError(f"The code of '{name}' in '{files[0]}' is no list of integers: {code!r}.") from error
    codes = dict(zip(model.config.task_names, model.task_codes().tolist(), strict=True))
    # The original notes the code that one of its processes last saw, so an entry may be older than the weights.
    stale = [name for name, code in codes.items() if name in recorded and recorded[name] != code]
    if stale:
        logger.warning(
            "'%s' gives other codes than the weights for %d tasks (the first is '%s'); the weights are right.",
            files[0],
            len(stale),
            stale[0],
        )
    for name, code in recorded.items():
        if name not in codes:
            model.add_task(name, code)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"'{path}' is not valid JSON ({error}).") from error


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m modeling_ctr.convert_original_checkpoint",
        description="Convert a checkpoint of the authors' CTR implementation for this library, or back.",
    )
    parser.add_argument("source", help="the original checkpoint's folder (with --reverse: ours)")
    parser.add_argument("destination", help="the folder to write")
    parser.add_argument("--task_names", help="JSON list of task names, if not beside the weights")
    parser.add_argument("--reverse", action="store_true", help="write a checkpoint of ours in the original's layout")
    arguments = parser.parse_args()
    try:
        if arguments.reverse:
            model = CTRForConditionalGeneration.from_pretrained(arguments.source)
            write_original_checkpoint(model, arguments.destination)
        else:
            convert_original_checkpoint(arguments.source, arguments.destination, arguments.task_names)
    except (OSError, ValueError) as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
