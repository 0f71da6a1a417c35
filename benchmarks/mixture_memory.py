"""Resident memory of a training mixture, stored and streamed, of few examples and of many. For Linux.

    python benchmarks/mixture_memory.py --examples 10000 100000

Rows are written to JSON lines, turned into features and read in training order, as `run_ctr.py` does, each time in a
process of its own. What counts is memory of the process itself (RssAnon): pages of mapped files, which the system takes
back when it needs them, are not in it.
"""

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
from itertools import islice
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tasks import FeatureBuilder, Task, Template, load_rows, streaming_mixture, training_mixture
from trainers.collators import CTRDataCollator
from trainers.sampler import LengthGroupedBatchOrder, count_tokens
from trainers.streaming import StreamedBatches

BATCH_SIZE = 64


def own_memory() -> float:
    """MiB of this process that no file stands behind."""
    return int(re.search(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


def measure(folder: str, streaming: bool, num_batches: int) -> None:
    """Print MiB before there are rows, and after batches of them."""
    words = {"<pad>": 0, "</s>": 1, "<unk>": 2} | {f"w{i}": i for i in range(3, 1000)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    builder = FeatureBuilder(PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>"))
    collate = CTRDataCollator(0, 1)
    tasks = [Task("rows/text", "rows", Template("text", "{{text}} ||| {{label}}"))]
    before = own_memory()
    rows = {"rows": load_rows("rows", data_dir=folder, streaming=streaming).train}
    if streaming:
        for _ in islice(
            StreamedBatches(streaming_mixture(tasks, rows, builder), collate, BATCH_SIZE, 1, 0), num_batches
        ):
            pass
    else:
        mixture = training_mixture(tasks, rows, builder, cap=10**9)
        order = iter(LengthGroupedBatchOrder(count_tokens(mixture, "input_ids"), BATCH_SIZE, 0))
        for _ in range(num_batches):
            collate([mixture[i] for i in islice(order, BATCH_SIZE)])
    print(f"{before:.0f} {own_memory():.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--batches", type=int, default=150, help=f"of {BATCH_SIZE}, to read")
    parser.add_argument("--measure", nargs=2, metavar=("FOLDER", "HOW"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        measure(args.measure[0], args.measure[1] == "streamed", args.batches)
        return
    print("| examples | file (MiB) | | before (MiB) | after (MiB) |\n|---|---|---|---|---|")
    for count in args.examples:
        with tempfile.TemporaryDirectory() as folder:
            draw = random.Random(0)
            path = Path(folder) / "rows" / "train.jsonl"
            path.parent.mkdir()
            with path.open("w") as file:
                for _ in range(count):
                    text = " ".join(f"w{draw.randrange(3, 1000)}" for _ in range(draw.randrange(50, 250)))
                    file.write(json.dumps({"text": text, "label": f"w{draw.randrange(3, 9)}"}) + "\n")
            for how in ("stored", "streamed"):
                command = [sys.executable, __file__, "--batches", str(args.batches), "--measure", folder, how]
                made = subprocess.run(
                    command,
                    env={**os.environ, "HF_DATASETS_CACHE": folder},
                    capture_output=True,
                    text=True,
                    check=True,
                )
                before, after = made.stdout.split()[-2:]
                size = path.stat().st_size / 2**20
                print(f"| {count:,} | {size:.0f} | {how} | {before} | {after} |", flush=True)


if __name__ == "__main__":
    main()
