"""One of the processes of test_processes.py: every search, as a user of one process would write it."""

import importlib.util
import json
import sys
from pathlib import Path

import torch
from accelerate import PartialState

from search import (
    BitwiseSearch,
    CodeEnsemble,
    CodeScorer,
    PopulationSearch,
    best_training_code,
    pruning,
    tune_prompt,
)
from search.scoring.processes import num_processes

spec = importlib.util.spec_from_file_location("shared_models", Path(__file__).parent / "conftest.py")
shared_models = importlib.util.module_from_spec(spec)
spec.loader.exec_module(shared_models)
full_code_space = shared_models.full_code_space

folder = Path(sys.argv[1])
pruning.WORTHWHILE = 0.0
model = shared_models.make_model(shared_models.T5Config(
    vocab_size=64, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, decoder_start_token_id=0
)).eval()  # fmt: skip
rows = shared_models.make_examples(30)
# What the model answers under one code: there is something to find, and most other codes can be dropped early.
answers = CodeScorer(model, rows).predictions([[1, 2, 3]])[0].tolist()
rows = [{**row, "answer": a, "labels": row["choice_ids"][a]} for row, a in zip(rows, answers, strict=True)]


def scorer() -> CodeScorer:
    return CodeScorer(model, rows, token_budget=300)


best_training_code(scorer()).save(folder / "training_code.json")
CodeEnsemble(scorer(), num_codes=3).run().save(folder / "ensemble.json")
for name, arguments in {
    "plain": {"prune": False, "num_starts": 2, "search_epochs": 3},
    "pruned": {"prune": True, "start_codes": [[1, 2, 4], [9, 9, 9]], "search_epochs": 3},
    "loss": {"prune": False, "objective": "loss", "search_order": "cyclic", "max_evaluations": 50},
    "gradient": {"prune": False, "search_order": "gradient", "num_starts": 2, "max_evaluations": 80},
}.items():
    search = BitwiseSearch(
        scorer(), full_code_space(3, 12), trace_path=folder / f"{name}.jsonl", progress=False, **arguments
    )
    search.run().save(folder / f"{name}.json")

population = PopulationSearch(
    scorer(), full_code_space(3, 12), population_generations=4, trace_path=folder / "population.jsonl", progress=False
)
population.run().save(folder / "population.json")

of_one = scorer()
start = model.prompt_vectors(torch.tensor([[1, 2, 3]]))[0].detach()
tuned = tune_prompt(model, rows, start, steps=5, held_back=6, evaluate_every=2, progress=False)
tuned.record.save(folder / "tuned.json")
seen_here = {
    "processes": num_processes(),
    "gold": of_one.gold_losses([[1, 2, 3]]).tolist(),  # one code: its examples are shared out
    "raw": of_one.prompt_scorer.gold_losses()[0].tolist(),
    "generated": of_one.generate([[1, 2, 3], [4, 5, 6]], max_new_tokens=4),
    "tuned": tuned.vectors.tolist(),
    "pairs": of_one.prompt_scorer.pairs_scored,
}
(folder / f"rank_{PartialState().process_index}.json").write_text(json.dumps(seen_here))
