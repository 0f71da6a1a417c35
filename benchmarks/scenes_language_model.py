"""The embedded benchmark's language model: a tiny T5 trained on the *training* tasks, asked in words.

To CTR it is what a pretrained language model is in the paper; asked in words it is the T0 baseline as well.
"""

from pathlib import Path

import torch
from tqdm import trange
from transformers import PreTrainedTokenizerBase, T5Config, T5ForConditionalGeneration
from transformers.optimization import get_wsd_schedule

from tasks.scenes import TRAINING_TASKS, prompted_rows, scene_tokenizer
from trainers.collators import CTRDataCollator

STEPS, BATCH_SIZE, LEARNING_RATE = 1000, 64, 0.002
# Which words are next to each other is nearly all there is to learn, and at the common rate it is not learned.
RELATIVE_BIAS_FACTOR = 30


def train_language_model(output_dir: Path, seed: int, steps: int = STEPS) -> None:
    """Train the model and save it with its tokenizer; half a minute on one core. A finished one is left as it is."""
    if (output_dir / "model.safetensors").is_file():
        return
    torch.manual_seed(seed)
    tokenizer = scene_tokenizer()
    model = T5ForConditionalGeneration(config(tokenizer))
    biases = [p for name, p in model.named_parameters() if "relative_attention_bias" in name]
    others = [p for name, p in model.named_parameters() if "relative_attention_bias" not in name]
    optimizer = torch.optim.AdamW(
        [{"params": others, "lr": LEARNING_RATE}, {"params": biases, "lr": LEARNING_RATE * RELATIVE_BIAS_FACTOR}]
    )
    scheduler = get_wsd_schedule(
        optimizer, num_warmup_steps=100, num_decay_steps=steps // 3, num_training_steps=steps, decay_type="linear"
    )
    rows = prompted_rows(TRAINING_TASKS, steps * BATCH_SIZE, seed)
    inputs, targets = (tokenizer(list(rows[name])).input_ids for name in ("input", "target"))
    collate = CTRDataCollator(tokenizer.pad_token_id, num_tasks=1)
    model.train()
    for step in trange(steps, desc="language model"):
        chosen = range(step * BATCH_SIZE, (step + 1) * BATCH_SIZE)
        batch = collate([{"input_ids": inputs[i], "labels": targets[i], "task_id": 0} for i in chosen])
        del batch["task_id"]
        optimizer.zero_grad()
        model(**batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
    model.eval().save_pretrained(output_dir)
    tokenizer.save_pretrained(output_dir)


def config(tokenizer: PreTrainedTokenizerBase) -> T5Config:
    """About 0.14 million parameters."""
    return T5Config(
        vocab_size=len(tokenizer),
        d_model=64,
        d_kv=16,
        num_heads=4,
        d_ff=128,
        num_layers=2,
        dropout_rate=0.0,
        relative_attention_num_buckets=64,
        relative_attention_max_distance=64,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
    )
