"""Convert an exported model for CTranslate2: python -m export.ctranslate2_model FOLDER OUTPUT [--quantization int8]

CTranslate2's own converter does it as well, but leaves code tokens a share of every probability, which `score_batch`
counts, and scales the outputs of T5 v1.1 and mT5, which transformers does not.
"""

import argparse
import os
import sys

import torch
from torch import nn
from transformers import PreTrainedModel

from export.exported_tasks import load_exported_tasks
from export.plain_model import NEVER


def convert_to_ctranslate2(
    folder: str | os.PathLike, output: str | os.PathLike, quantization: str | None = None
) -> None:
    """Convert an exported model into a folder that `ctranslate2.Translator` loads.

    Args:
        folder: Folder of the exported model.
        output: Folder to make.
        quantization: Type of the weights, e.g. "int8"; by default, as they are.

    Raises:
        ImportError: CTranslate2 is not installed.
        OSError: There is no exported model.
        ValueError: CTranslate2 has no such model or type of weights, or `output` exists.
    """
    try:
        from ctranslate2.converters import TransformersConverter
    except ImportError as error:
        raise ImportError("CTranslate2 is not installed: `pip install ctranslate2`.") from error
    if os.path.exists(output):
        raise ValueError(f"'{output}' exists already: choose another folder, or delete that one.")
    vocab_size = load_exported_tasks(folder).vocab_size

    class Converter(TransformersConverter):
        def load_model(self, model_class: type[PreTrainedModel], name: str, **kwargs: object) -> PreTrainedModel:
            model = super().load_model(model_class, name, **kwargs)
            config, head = model.config, model.get_output_embeddings()
            if not hasattr(model, "final_logits_bias"):
                bias = torch.zeros(config.vocab_size, dtype=head.weight.dtype)
                bias[vocab_size:] = NEVER
                head.bias = nn.Parameter(bias)
            if config.model_type == "bart":  # it reads this of configs, and new ones lack it
                config.normalize_before = getattr(config, "normalize_before", False)
            if config.model_type in ("t5", "mt5", "umt5"):
                # It scales outputs where heads are tied, which transformers 5 says of all T5s, whether it scales or not.
                config.tie_word_embeddings = config.model_type != "mt5" and getattr(
                    config, "scale_decoder_outputs", True
                )
            return model

    Converter(str(folder)).convert(str(output), quantization=quantization)


def main(argv: list[str] | None = None) -> int:
    """Convert a model; an error is one line, with exit code 1."""
    parser = argparse.ArgumentParser(prog="python -m export.ctranslate2_model")
    parser.add_argument("folder", help="Folder of an exported model.")
    parser.add_argument("output", help="Folder to make.")
    parser.add_argument("--quantization", help="Type of the weights, e.g. int8; by default, as they are.")
    args = parser.parse_args(argv)
    try:
        convert_to_ctranslate2(args.folder, args.output, args.quantization)
    except (ImportError, OSError, ValueError) as error:
        print(f"python -m export.ctranslate2_model: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
