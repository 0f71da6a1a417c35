import pytest
import torch
from transformers import T5ForConditionalGeneration

from evaluation.examples import Draws, draw_examples
from evaluation.prompt_choice import choose_prompt_by_loss, choose_prompt_by_vote
from search import PromptScorer
from tasks import Task, Template


@pytest.fixture
def examples(tasks, rows, builder):
    prompts = [
        Task(
            f"sizes/p{i}",
            "sizes",
            Template(f"p{i}", f"w{i} {{{{text}}}} ||| {{{{answer_choices[label]}}}}", "w10 ||| w11"),
        )
        for i in range(4, 9)
    ]
    # Applies to some rows only, as templates for one kind of question do.
    prompts.append(
        Task("sizes/some", "sizes", Template("some", "{% if label %}{{text}} ||| w11{% endif %}", "w10 ||| w11"))
    )
    return draw_examples(prompts, rows, builder, Draws(16, 20), seed=0)


@pytest.fixture
def language_model(tiny_t5_config):
    torch.manual_seed(0)
    return T5ForConditionalGeneration(tiny_t5_config()).eval()


def test_the_prompt_of_least_loss_among_those_for_all_rows(language_model, examples):
    losses = {}
    for each in examples[:-1]:
        scores = PromptScorer(language_model, each.few_shot).choice_log_likelihoods()[0].log_softmax(1)
        gold = scores[torch.arange(16), torch.tensor(each.few_shot["answer"])]
        losses[each.task.template.name] = -gold.mean().item()
    chosen = choose_prompt_by_loss(language_model, examples)
    assert chosen.template == min(losses, key=losses.get)
    assert (chosen.cost["labelled"], chosen.cost["evaluations"]) == (16, 5)


def test_the_vote_looks_at_no_label(language_model, examples):
    chosen = choose_prompt_by_vote(language_model, examples, num_prompts=3)
    assert (chosen.cost["unlabelled"], chosen.cost["evaluations"]) == (20, 5)

    def without_labels(each):
        unlabelled = each.unlabelled.map(lambda row: {"answer": -1, "labels": [1]})
        return type(each)(each.task, None, unlabelled, None)

    again = choose_prompt_by_vote(language_model, [without_labels(each) for each in examples], 3)
    assert again.template == chosen.template
