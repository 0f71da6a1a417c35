"""Write a CTR model as ONNX graphs that take task codes as an input and decode with a cache: all of it, or nothing."""

import os
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from export.loading import describe_task, get_prompt_vectors, load_parts, select_names
from export.onnx_generator import FORMAT, TASKS_NAME, OnnxGenerator
from export.onnx_graphs import get_dynamic_shapes, make_graphs
from export.prefix_tokenizer import SAMPLES
from export.whole_folder import check_new, write_whole
from modeling_ctr import CTRPreTrainedModel
from modeling_ctr.model_modes import evaluating
from safe_files import write_json

NEEDED = ("onnx", "onnxscript", "onnxruntime")
TOLERANCE = 1e-4  # greatest difference of logits, as a share of the greatest
STEPS = 3  # that the graphs are compared over


def export_to_onnx(
    model: CTRPreTrainedModel | str | os.PathLike,
    folder: str | os.PathLike,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    tasks: Sequence[str] | None = None,
    **hub_options: Any,
) -> dict[str, Any]:
    """Write a CTR model as two ONNX graphs, in float32; [`OnnxGenerator`] runs them.

    The first, `encoder_model.onnx` (`prompt_model.onnx` for decoder-only models), reads texts and `task_code`; the second,
    `decoder_model.onnx`, decodes with a cache that goes in and out. Batch and lengths may change. Both are traced by
    transformers' exporter, which it calls experimental, and compared with the model before the folder gets its name.

    Args:
        model: CTR model, in float32, or its folder or name on the Hub.
        folder: Folder to make.
        tokenizer: Tokenizer of a model that is given as such; otherwise the checkpoint's.
        tasks: Names of the tasks to list; by default, all. Any code can be given to the graphs; a tuned task that is not
            among them is left out.
        **hub_options: `token`, `revision` and `cache_dir` of a model on the Hub.

    Returns:
        What `tasks.json` holds. The `task_code` of a tuned task are the numbers of its own vectors.

    Raises:
        ImportError: A package that this needs is not installed.
        OSError: The model cannot be read, or the folder not be written.
        ValueError: The folder exists, a task is unknown, or the model cannot be exported.
    """
    exporter = _get_exporter()
    folder = check_new(folder)
    model, tokenizer = load_parts(model, tokenizer, dtype=torch.float32, **hub_options)
    if model.dtype != torch.float32 or model.device.type != "cpu":
        raise ValueError(f"The model is in {model.dtype} on {model.device}: load it in float32, on the CPU.")
    config = model.config
    names = select_names(model, tasks)
    tuned = [name for name in names if name in config.tuned_tasks]
    vectors = get_prompt_vectors(model, tuned)
    ends = model.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [] if ends is None else [ends]
    about = {
        "format": FORMAT,
        "reader": "encoder_model" if config.is_encoder_decoder else "prompt_model",
        "code_length": config.code_length,
        "codebook_size": config.codebook_size,
        "num_vectors": len(vectors),
        "start_token_id": config.decoder_start_token_id if config.is_encoder_decoder else None,
        "end_token_ids": ends,
        "pad_token_id": next((i for i in (config.pad_token_id, *ends) if i is not None), 0),
        "tasks": {},
    }
    codes = config.codes_by_name(model.task_codes().tolist())
    for name in names:
        if name in tuned:
            start = config.codebook_size + tuned.index(name) * config.code_length
            code = list(range(start, start + config.code_length))
        else:
            code = codes[name]
        about["tasks"][name] = {"task_code": code, **describe_task(model, name)}

    def write(target: Path) -> None:
        _write_graphs(exporter, model, vectors, target)
        tokenizer.save_pretrained(target)
        write_json(target / TASKS_NAME, about)
        _check_same_logits(model, tokenizer, target, names)

    with evaluating(model):
        write_whole(folder, write)
    return about


def _get_exporter() -> Any:
    """Make transformers' exporter to ONNX; an ImportError of one sentence where something is missing."""
    for name in NEEDED:
        try:
            import_module(name)
        except ImportError as error:
            raise ImportError(f"{name} is not installed: `pip install {' '.join(NEEDED)}`.") from error
    try:
        from transformers.exporters.exporter_onnx import OnnxExporter
    except ImportError as error:
        raise ImportError("This release of transformers has no exporter to ONNX: install 5.23 or later.") from error
    return OnnxExporter()


def _write_graphs(exporter: Any, model: CTRPreTrainedModel, vectors: torch.Tensor, folder: Path) -> None:
    """Trace both graphs and write them into the folder."""
    from transformers.exporters.exporter_onnx import OnnxConfig

    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(model.get_input_embeddings().num_embeddings, (2, 3), generator=generator)
    for name, (module, sample) in make_graphs(model, vectors, ids).items():
        try:
            exported = exporter.export(
                module.eval(), dict(sample), OnnxConfig(dynamic_shapes=get_dynamic_shapes(sample))
            )
        except Exception as error:  # whatever tracing stumbles over
            reason = (str(error) or type(error).__name__).strip().splitlines()[0]
            raise ValueError(
                f"A {model.config.text_config.model_type} model cannot be exported to ONNX: tracing '{name}' failed "
                f"({reason:.200})."
            ) from error
        exporter.save_program(exported.program, folder / f"{name}.onnx")


@torch.no_grad()
def _check_same_logits(
    model: CTRPreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path, names: Sequence[str]
) -> None:
    """Raise a ValueError where the graphs answer otherwise than the model."""
    onnx = OnnxGenerator(folder)
    for name in (names[0], names[-1]):  # the last may be a tuned one
        inputs = tokenizer(SAMPLES[0], return_tensors="pt")
        written = model.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            task=name,
            max_new_tokens=STEPS,
            do_sample=False,
            num_beams=1,
            output_logits=True,
            return_dict_in_generate=True,
        )
        state, theirs = onnx.read([SAMPLES[0]], name)
        steps = len(written.logits)
        for step, (ours, token) in enumerate(zip(written.logits, written.sequences[0, -steps:], strict=True), 1):
            error = np.abs(ours[0].numpy() - theirs[0]).max() / ours.abs().max().item()
            if not error <= TOLERANCE:
                raise ValueError(
                    f"A {model.config.text_config.model_type} model cannot be exported to ONNX: asked '{name}', the graphs "
                    f"answer otherwise (logits differ by {error:.2g} of the largest)."
                )
            if step < steps:
                theirs = onnx.decode(state, token[None].numpy())
