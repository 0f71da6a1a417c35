"""The whole method on the embedded benchmark, whose composition is known: `python benchmarks/scenes.py --seeds 0 1 2`.

With `--decoder_only prefix` (or `suffix`) the language model is a tiny Llama instead of a tiny T5, and prompts stand in
front of the text (or behind it), those in words as well as those of codes. For each seed: a tiny language model
(`scenes_language_model.py`), stage 1, stage 2, then all 12 held-out tasks with 32 examples each. What `run_ctr.py`
reports is joined by what one wants to compare it with: the best training code by *test* accuracy (an oracle), Bitwise
Search with the paper's objective, the language model asked in words (T0), and prompt tuning on the same 32 examples
from a random start and from the best training code. A finished seed is not computed again.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a clone, installed or not

import torch
from scenes_language_model import train_language_model
from sklearn.metrics import adjusted_mutual_info_score
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

import run_ctr
from evaluation.aggregation import format_percent, get_seed_means, get_task_means
from evaluation.examples import Draws, TemplateExamples, draw_examples
from evaluation.judge import Judge
from evaluation.report import write_report
from evaluation.score import Score, load_scores, save_scores
from evaluation.tables import format_markdown_table
from evaluation.terminal import print_table
from modeling_ctr import CTRPreTrainedModel, load_model
from search import BitwiseSearch, CodeScorer, PromptScorer, task_code_space, tune_prompt
from tasks import FeatureBuilder, load_rows, load_tasks, select_tasks
from tasks.scenes import ALL_TASKS, TRAINING_TASKS, write_scenes

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
TUNING_STEPS, TUNING_RATE = 100, 0.03
TRAINING_ALONE = ("--do_code_ensemble", "false", "--do_bitwise_search", "false", "--do_eval", "false")
ORDER = (
    "majority class", "raw LM", "mean training code", "training code by loss", "training code by accuracy",
    "training code, oracle", "Code Ensemble", "Bitwise Search", "Bitwise Search, paper's loss",
    "prompt tuning, random start", "prompt tuning, from a code", "T0: asked in words",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--output_dir", type=Path, help="default: out/scenes, or out/scenes_prefix, out/scenes_suffix")
    parser.add_argument(
        "--decoder_only", choices=["prefix", "suffix"], help="a decoder-only model, with prompts there"
    )
    parser.add_argument("--models_only", action="store_true", help="train, and leave the methods to another benchmark")
    args = parser.parse_args()
    if args.output_dir is None:
        args.output_dir = Path("out", f"scenes_{args.decoder_only}" if args.decoder_only else "scenes")
    if args.models_only:
        for seed in args.seeds:
            start = time.process_time()
            train_models(seed, args.output_dir / f"seed_{seed}", code_position=args.decoder_only)
            print(f"seed {seed}: {time.process_time() - start:.0f} CPU seconds", flush=True)
        return
    scores: list[Score] = []
    facts = {}
    for seed in args.seeds:
        folder = args.output_dir / f"seed_{seed}"
        if not (folder / "all_scores.json").is_file():
            start = time.perf_counter()
            of_seed, codebook = run_seed(seed, folder, args.decoder_only)
            about = {"seed": seed, "seconds": round(time.perf_counter() - start), **codebook}
            save_scores(of_seed, folder / "all_scores.json", about)
        of_seed, facts[seed] = load_scores(folder / "all_scores.json")
        scores += sorted(of_seed, key=lambda score: ORDER.index(score.method))
    write_report(scores, args.output_dir, {"seeds": args.seeds, "few-shot examples": 32, "test rows per task": 250})
    summary = ["## Means over the 12 held-out tasks", "", *format_markdown_table(make_summary_table(scores)), ""]
    summary += ["## Codebooks", "", *format_markdown_table(make_codebook_table(facts)), ""]
    with (args.output_dir / "report.md").open("a", encoding="utf-8") as report:
        report.write("\n".join(summary))
    print_table(scores, args.output_dir / "report.md")


def train_models(
    seed: int, folder: Path, stage2_flags: Sequence[str] = TRAINING_ALONE, code_position: str | None = None
) -> None:
    """Train the language model and both stages; what is finished of them is not trained again.

    Args:
        seed: Random seed of everything.
        folder: Where tasks and models are kept.
        stage2_flags: Further flags of stage 2.
        code_position: Of a decoder-only model.
    """
    write_scenes(folder / "tasks", seed)
    train_language_model(folder / "lm", seed, code_position=code_position)
    position = ("--code_position", code_position) if code_position else ()
    tasks = ["--templates_dir", f"{folder}/tasks/templates", "--train_tasks", f"{folder}/tasks/training_tasks.yaml"]
    for stage, start, flags in ((1, "lm", position), (2, "stage1", stage2_flags)):
        run_ctr.main(
            [str(EXAMPLES / f"scenes_stage{stage}.yaml"), *tasks, "--seed", str(seed), "--few_shot_seeds", str(seed)]
            + ["--model_name_or_path", str(folder / start), "--output_dir", str(folder / f"stage{stage}"), *flags]
        )


def run_seed(seed: int, folder: Path, code_position: str | None = None) -> tuple[list[Score], dict[str, float]]:
    """Run language model, both stages and all methods; what is finished of them is not run again."""
    held_out_flags = ["--tasks", f"{folder}/tasks/held_out_tasks.yaml", "--mean_training_code"]
    train_models(seed, folder, held_out_flags, code_position)
    scores, _ = load_scores(folder / "stage2" / "report.json")
    language_model = (AutoModelForCausalLM if code_position else AutoModelForSeq2SeqLM).from_pretrained(folder / "lm")
    model = load_model(folder / "stage2")
    tokenizer = AutoTokenizer.from_pretrained(folder / "lm")
    builder = FeatureBuilder(
        tokenizer, max_source_length=32, max_target_length=4, decoder_only=code_position is not None
    )
    draws = Draws(num_unlabelled=0)
    by_name = {task.name: task for task in ALL_TASKS}
    held_out = select_tasks(load_tasks(folder / "tasks" / "templates"), [f"{folder}/tasks/held_out_tasks.yaml"])
    for task in held_out:
        rows = load_rows(task.dataset, task.source)
        (examples,) = draw_examples([task], rows, builder, draws, seed)
        prompts = by_name[task.name].prompts()
        scores += score_rivals(
            Judge(model, examples, builder), examples, [s for s in scores if s.task == task.dataset], seed
        )
        scores.append(score_words(language_model, tokenizer, examples, prompts, seed, code_position == "suffix"))
    return scores, compute_codebook_facts(model)


def score_rivals(judge: Judge, examples: TemplateExamples, known: Sequence[Score], seed: int) -> list[Score]:
    """Score the oracle, Bitwise Search with the paper's objective, and prompt tuning."""
    model = judge.model
    codes = model.task_codes()
    oracle = codes[int((judge.answer_with_codes(codes) == judge.answers).mean(1).argmax())]
    best = next(s.code for s in known if s.method == "training code by loss")
    scorer = CodeScorer(model, examples.few_shot)
    start = time.perf_counter()
    found = BitwiseSearch(
        scorer,
        task_code_space(model),
        objective="loss",
        search_order="cyclic",
        prune=False,
        seed=seed,
        max_evaluations=600,
        progress=False,
    ).run()
    seconds = time.perf_counter() - start
    scores = [
        judge.scored(
            "training code, oracle", judge.answer_with_codes([oracle.tolist()])[0], seed, code=oracle.tolist()
        ),
        judge.scored(
            "Bitwise Search, paper's loss",
            judge.answer_with_codes([found.code])[0],
            seed,
            code=found.code,
            labelled=32,
            evaluations=found.evaluations,
            seconds=seconds,
        ),
    ]
    generator = torch.Generator().manual_seed(seed)
    at_random = codes[torch.randint(len(codes), (1,), generator=generator)]
    random_start = torch.randn(model.prompt_vectors(at_random).shape, generator=generator) * 0.5
    for name, vectors in (
        ("prompt tuning, random start", random_start),
        ("prompt tuning, from a code", model.prompt_vectors(torch.tensor([best]))),
    ):
        start = time.perf_counter()
        tuned = tune_prompt(
            model, examples.few_shot, vectors[0], "loss", TUNING_STEPS, learning_rate=TUNING_RATE, progress=False
        )
        answers = judge.answer_with_prompt(tuned.vectors)
        cost = {"labelled": 32, "evaluations": TUNING_STEPS, "seconds": time.perf_counter() - start}
        scores.append(judge.scored(name, answers, seed, **cost))
    return scores


def score_words(
    language_model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: TemplateExamples,
    prompts: list[str],
    seed: int,
    behind: bool = False,
) -> Score:
    """Score the language model itself with prompts in words on the same rows, mean over the paraphrases.

    Args:
        language_model: A language model without codes.
        tokenizer: Its tokenizer.
        examples: Whose evaluation rows.
        prompts: The paraphrases.
        seed: Random seed to note.
        behind: Ask behind the scene instead of in front of it.
    """
    accuracies = []
    for prompt in prompts:
        words = tokenizer(prompt, add_special_tokens=False).input_ids
        asked = [
            {**row, "input_ids": row["input_ids"] + words if behind else words + row["input_ids"]}
            for row in examples.evaluation
        ]
        predictions = PromptScorer(language_model, asked).choice_log_likelihoods()[0].argmax(1)
        accuracies.append((predictions == torch.tensor(examples.evaluation["answer"])).double().mean().item())
    accuracy = statistics.mean(accuracies)
    return Score(
        task=examples.task.dataset,
        template=examples.task.template.name,
        method="T0: asked in words",
        accuracy=accuracy,
        macro_f1=accuracy,
        predicted_shares=[],
        num_examples=len(examples.evaluation),
        seed=seed,
    )


def compute_codebook_facts(model: CTRPreTrainedModel) -> dict[str, float]:
    """Compute how the training tasks' codes relate to what the tasks have in common, with chance beside it."""
    codes = model.task_codes()
    factors = {name: [getattr(task, name) for task in TRAINING_TASKS] for name in ("owner", "attribute", "form")}
    by_common: dict[int, list[float]] = {0: [], 1: [], 2: []}
    for a, b in combinations(range(len(codes)), 2):
        common = sum(values[a] == values[b] for values in factors.values())
        by_common[common].append((codes[a] == codes[b]).double().mean().item())
    columns = codes.T.tolist()
    shuffle = torch.Generator().manual_seed(0)
    shuffled = [codes[torch.randperm(len(codes), generator=shuffle), i].tolist() for i in range(len(columns))]

    def information(of: list[list[int]]) -> float:
        return max(adjusted_mutual_info_score(values, column) for values in factors.values() for column in of)

    return {
        "codes in use": codes.unique().numel(),
        "distinct values per position": statistics.mean(len(set(column)) for column in columns),
        **{f"equal positions, {k} factors in common": statistics.mean(v) for k, v in by_common.items()},
        "largest adjusted mutual information": information(columns),
        "the same, codes shuffled": information(shuffled),
    }


def make_summary_table(scores: Sequence[Score]) -> list[list[str]]:
    """Make a line per method: mean over tasks for each seed, then mean and deviation over seeds; mean cost of a task."""
    rows = [["method", "accuracy (%)", "lowest seed", "codes tried", "seconds a task"]]
    means = get_task_means(get_seed_means(scores, lambda score: score.accuracy))
    for method in ORDER:
        of_method = [s for s in scores if s.method == method]
        by_seed = list(means[method].values())
        cost = [statistics.mean(getattr(s, name) for s in of_method) for name in ("evaluations", "seconds")]
        rows.append(
            [
                method,
                format_percent(by_seed),
                f"{100 * min(by_seed):.1f}",
                f"{cost[0]:.0f}",
                f"{cost[1]:.1f}",
            ]
        )
    return rows


def make_codebook_table(facts: dict[int, dict]) -> list[list[str]]:
    names = [name for name in next(iter(facts.values())) if name != "seed"]
    return [["seed", *names], *([str(seed), *(f"{of_seed[n]:.3g}" for n in names)] for seed, of_seed in facts.items())]


if __name__ == "__main__":
    main()
