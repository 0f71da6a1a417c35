"""The embedded benchmark's language model: a tiny T5 or Llama trained on the *training* tasks, asked in words.

To CTR it is what a pretrained language model is in the paper; asked in words it is the T0 baseline as well.
"""

from pathlib import Path
from typing import Any

import torch
from tqdm import trange
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    T5Config,
    T5ForConditionalGeneration,
)
from transformers.optimization import get_wsd_schedule

from tasks.scenes import TRAINING_TASKS, prompted_rows, scene_tokenizer
from tasks.tokenization import tokenize_answers, tokenize_openings
from trainers.causal_inputs import prepare_causal_inputs
from trainers.collators import CTRDataCollator

# By where a decoder-only model's prompts stand: in front of the text it answers two thirds of the training rows after 1,000
# steps and all after 2,500, behind it all after 1,000.
STEPS = {None: 1000, "prefix": 2500, "suffix": 1000}
BATCH_SIZE, LEARNING_RATE = 64, 0.002
# Which words are next to each other is nearly all there is to learn, and at the common rate it is not learned.
RELATIVE_BIAS_FACTOR = 30


def train_language_model(
    output_dir: Path, seed: int, steps: int | None = None, code_position: str | None = None
) -> None:
    """Train the model and save it with its tokenizer; half a minute on one core. A finished one is left as it is.

    Args:
        output_dir: Folder of the checkpoint.
        seed: Random seed of weights, rows and their order.
        steps: Number of training steps; `STEPS` by default.
        code_position: For a decoder-only model: where the words of a prompt stand, as a code's vectors will.
    """
    if (output_dir / "model.safetensors").is_file():
        return
    steps = STEPS[code_position] if steps is None else steps
    torch.manual_seed(seed)
    tokenizer = scene_tokenizer()
    model = make_t5(tokenizer) if code_position is None else make_llama(tokenizer)
    optimizer = torch.optim.AdamW(get_parameter_groups(model))
    scheduler = get_wsd_schedule(
        optimizer, num_warmup_steps=100, num_decay_steps=steps // 3, num_training_steps=steps, decay_type="linear"
    )
    rows = prompted_rows(TRAINING_TASKS, steps * BATCH_SIZE, seed, prompt_behind=code_position == "suffix")
    if code_position is None:
        inputs, targets = (tokenizer(list(rows[name])).input_ids for name in ("input", "target"))
    else:
        inputs = tokenize_openings(tokenizer, list(rows["input"]))
        targets = tokenize_answers(tokenizer, list(rows["target"]))
    collate = CTRDataCollator(tokenizer.pad_token_id, num_tasks=1)
    model.train()
    for step in trange(steps, desc="language model"):
        chosen = range(step * BATCH_SIZE, (step + 1) * BATCH_SIZE)
        batch = collate([{"input_ids": inputs[i], "labels": targets[i], "task_id": 0} for i in chosen])
        del batch["task_id"]
        optimizer.zero_grad()
        model(**(batch if code_position is None else prepare_causal_inputs(model, batch))).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
    model.eval().save_pretrained(output_dir)
    tokenizer.save_pretrained(output_dir)


def get_parameter_groups(model: PreTrainedModel) -> list[dict[str, Any]]:
    """Get the optimizer's groups; a Llama has one, for it has no relative biases."""
    biases = [p for name, p in model.named_parameters() if "relative_attention_bias" in name]
    others = [p for name, p in model.named_parameters() if "relative_attention_bias" not in name]
    groups = [{"params": others, "lr": LEARNING_RATE}]
    return groups + ([{"params": biases, "lr": LEARNING_RATE * RELATIVE_BIAS_FACTOR}] if biases else [])


def make_t5(tokenizer: PreTrainedTokenizerBase) -> T5ForConditionalGeneration:
    """Make a T5 of about 0.14 million parameters."""
    return T5ForConditionalGeneration(
        T5Config(
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
    )


def make_llama(tokenizer: PreTrainedTokenizerBase) -> LlamaForCausalLM:
    """Make a Llama of about 0.17 million parameters."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=4,
            num_attention_heads=4,
            tie_word_embeddings=True,
            max_position_embeddings=64,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
