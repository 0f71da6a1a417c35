"""What people would use instead, on the same 32 labels and rows: `python examples/known_kinds/rivals.py --data_dir data
--model_name_or_path google/flan-t5-small --sentence_model sentence-transformers/all-MiniLM-L6-v2`.

Logistic regression on TF-IDF, on the mean of the language model's encoder states and on sentence embeddings (the second
step of SetFit), and (IA)³ with the losses of T-Few, all from the plain language model. The examples are those that
`run_ctr.py` draws with the same seeds, so its reports and this one can be joined. A finished task is not computed again.
"""

import argparse
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run from a clone, installed or not

import numpy as np
import torch
from datasets import Dataset
from peft import IA3Config, TaskType, get_peft_model
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from torch.nn.utils.rnn import pad_sequence
from tqdm.auto import tqdm
from transformers import AutoModel, AutoModelForSeq2SeqLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from evaluation.protocol import Draws, Judge, TemplateExamples, held_out_examples
from evaluation.report import write_report
from evaluation.result_files import get_file_name
from evaluation.score import Score, load_scores, save_scores
from evaluation.weight_tuning import draw_batches
from prediction.linear_probe import compute_mean_states
from tasks import FeatureBuilder, load_rows, load_tasks, select_tasks

HERE = Path(__file__).parent
DRAWS = Draws(num_shots=32, num_unlabelled=0, max_eval_samples=250)
MAX_SOURCE_LENGTH = 80
# T-Few's, but for the steps (it takes 1,000); its learning rate is warmed up over the first 6% and decays to 0.
IA3_RATE, IA3_BATCH_SIZE, IA3_WARM_UP = 3e-3, 8, 0.06


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_name_or_path", required=True, help="the language model, as it was before training")
    parser.add_argument("--sentence_model", required=True, help="a sentence encoder whose tokens are averaged")
    parser.add_argument("--data_dir", required=True, help="what prepare.py wrote")
    parser.add_argument("--output_dir", type=Path, default=Path("out/known_kinds/rivals"))
    parser.add_argument("--few_shot_seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument(
        "--ia3_steps", type=int, default=100, help="0 leaves (IA)³ out, which takes nearly all the time"
    )
    args = parser.parse_args(arguments)
    model = AutoModelForSeq2SeqLM.from_pretrained(args.model_name_or_path, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(args.model_name_or_path)
    sentences = SentenceModel(args.sentence_model)
    builder = FeatureBuilder(tokenizer, MAX_SOURCE_LENGTH)
    tasks = select_tasks(load_tasks("no_prompt", HERE / "templates"), [str(HERE / "held_out_tasks.yaml")])
    scores = []
    for seed in args.few_shot_seeds:
        for task in tqdm(tasks, desc=f"few-shot seed {seed}"):
            path = args.output_dir / f"{get_file_name(task.dataset)}_{seed}.json"
            if not path.is_file():
                rows = load_rows(task.dataset, task.source, args.data_dir)
                (examples,) = held_out_examples([task], rows, builder, DRAWS, seed)
                judge = Judge(model, examples, builder)
                new = score_embeddings(judge, examples, sentences, tokenizer, seed)
                if args.ia3_steps:
                    new.append(score_ia3(judge, examples, args.ia3_steps, seed))
                path.parent.mkdir(parents=True, exist_ok=True)
                save_scores(new, path, {"seed": seed})
            scores += load_scores(path)[0]
    write_report(scores, args.output_dir, {"few-shot examples": 32, "language model": args.model_name_or_path})


# ---------------------------------------------------------------------------------------------- logistic regression


def score_embeddings(
    judge: Judge,
    examples: TemplateExamples,
    sentences: "SentenceModel",
    tokenizer: PreTrainedTokenizerBase,
    seed: int,
) -> list[Score]:
    """Score logistic regression on three kinds of features; none where every row has answers of its own."""
    if len({tuple(map(tuple, ids)) for ids in examples.few_shot["choice_ids"]}) > 1:
        return []
    few_shot, evaluation = examples.few_shot, examples.evaluation
    texts = [
        tokenizer.batch_decode(list(part["input_ids"]), skip_special_tokens=True) for part in (few_shot, evaluation)
    ]
    kinds: dict[str, tuple[object, Callable[[int], np.ndarray | list[str]]]] = {
        "TF-IDF + LR": (TfidfVectorizer(), lambda part: texts[part]),
        "encoder states + LR": (
            StandardScaler(),
            lambda part: compute_mean_states(judge.model.get_encoder(), (few_shot, evaluation)[part]["input_ids"]),
        ),
        "MiniLM + LR": (Normalizer(), lambda part: sentences.embed(texts[part])),
    }
    scores = []
    for method, (scaling, make_features) in kinds.items():
        start = time.perf_counter()
        classifier = make_pipeline(scaling, LogisticRegression(max_iter=1000))
        classifier.fit(make_features(0), few_shot["answer"])
        seconds = time.perf_counter() - start
        answers = classifier.predict(make_features(1))
        scores.append(judge.scored(method, answers, seed, labelled=len(few_shot), seconds=seconds))
    return scores


class SentenceModel:
    """A sentence encoder: the mean of its last states."""

    def __init__(self, name_or_path: str):
        self.model = AutoModel.from_pretrained(name_or_path)
        self.tokenizer = AutoTokenizer.from_pretrained(name_or_path)

    def embed(self, texts: list[str]) -> np.ndarray:
        """Return `(num_texts, width)`."""
        return compute_mean_states(self.model, self.tokenizer(texts, truncation=True, max_length=128)["input_ids"])


# ------------------------------------------------------------------------------------------------------------- T-Few


def score_ia3(judge: Judge, examples: TemplateExamples, steps: int, seed: int) -> Score:
    """Score (IA)³, tuned on the few-shot examples by T-Few's three losses."""
    start = time.perf_counter()
    with tuned_by_ia3(judge.model, examples.few_shot, steps, seed):
        seconds = time.perf_counter() - start
        answers = judge.answer_with_prompt(None)
    cost = {"labelled": len(examples.few_shot), "evaluations": steps, "seconds": seconds}
    return judge.scored("(IA)³, T-Few's losses", answers, seed, **cost)


@contextmanager
def tuned_by_ia3(model: PreTrainedModel, few_shot: Dataset, steps: int, seed: int) -> Iterator[None]:
    """Scale keys, values and feed-forward states by tuned vectors within the block; the model is itself afterwards."""
    torch.manual_seed(seed)
    adapted = get_peft_model(model, IA3Config(task_type=TaskType.SEQ_2_SEQ_LM))
    parameters = [parameter for parameter in adapted.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=IA3_RATE)
    warm_up = max(1, round(IA3_WARM_UP * steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm_up, (steps - step) / max(1, steps - warm_up))
    )
    rows = list(few_shot)
    batches = draw_batches(len(rows), IA3_BATCH_SIZE, random.Random(seed))
    try:
        for _ in tqdm(range(steps), desc="(IA)³", leave=False):
            optimizer.zero_grad()
            compute_tfew_loss(model, [rows[row] for row in next(batches)]).backward()
            optimizer.step()
            schedule.step()
        yield
    finally:
        adapted.unload()
        model.requires_grad_(True)


def compute_tfew_loss(model: PreTrainedModel, rows: Sequence[dict]) -> torch.Tensor:
    """Compute the mean over examples of T-Few's loss: likelihood, unlikelihood of wrong answers, normalized choice.

    (Liu et al., 2022, section 3.2.)
    """
    counts = [len(row["choice_ids"]) for row in rows]
    ids = [torch.tensor(row["input_ids"]) for row in rows]
    mask = pad_sequence([torch.ones_like(each) for each in ids], True)
    states = model.get_encoder()(input_ids=pad_sequence(ids, True), attention_mask=mask).last_hidden_state
    labels = pad_sequence([torch.tensor(choice) for row in rows for choice in row["choice_ids"]], True, -100)
    repeats = torch.tensor(counts)
    outputs = model(
        encoder_outputs=(states.repeat_interleave(repeats, 0),),
        attention_mask=mask.repeat_interleave(repeats, 0),
        labels=labels,
    )
    is_token = labels != -100
    log_probabilities = outputs.logits.log_softmax(-1).gather(2, labels.clamp(min=0)[..., None])[..., 0]
    means = (log_probabilities * is_token).sum(1) / is_token.sum(1)
    losses = []
    parts = (part.split(counts) for part in (means, log_probabilities, is_token))
    for row, of_choices, of_tokens, real in zip(rows, *parts, strict=True):
        wrong = real & (torch.arange(len(real)) != row["answer"])[:, None]
        unlikelihood = -torch.log1p(-of_tokens[wrong].exp().clamp(max=1 - 1e-6)).mean()
        losses.append(-of_choices[row["answer"]] + unlikelihood - of_choices.log_softmax(0)[row["answer"]])
    return torch.stack(losses).mean()


if __name__ == "__main__":
    main()
