import json
import logging
import os

import pytest
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, ByT5Tokenizer, PreTrainedTokenizerFast

from tasks.data import DataError, DataSource, load_rows
from tasks.errors import TemplateError
from tasks.features import FeatureBuilder
from tasks.task import Task, load_tasks, select_tasks
from tasks.template import Template
from tasks.tokenization import (
    check_tokenizer,
    compute_tokenizer_fingerprint,
    tokenize_answers,
    tokenize_openings,
)

TEMPLATE = Template(
    "t",
    "{{context}} {{question}} {{answer_choices | join(' ')}} ||| {% if label != -1 %}{{answer_choices[label]}}{% endif %}",
    "{{first}} ||| {{second}}",
)
TASK = Task("animals/t", "animals", TEMPLATE)
FREE = Task("animals/free", "animals", Template("free", "{{context}} ||| {{first}}"))


def row(context: str = "the cat sat", label: int = 0, question: str = "what did it", **fields) -> dict:
    return {"context": context, "question": question, "first": "yes", "second": "no maybe", "label": label, **fields}


def tokens(tokenizer, ids: list[int]) -> str:
    return " ".join(tokenizer.convert_ids_to_tokens(ids))


@pytest.mark.parametrize("adds_eos", [True, False])
def test_training_columns_end_in_one_eos(adds_eos, build_tokenizer):
    tokenizer = build_tokenizer(adds_eos)
    features = FeatureBuilder(tokenizer).training(TASK, Dataset.from_list([row(), row(label=1)]), task_id=7)
    assert features.column_names == ["input_ids", "labels", "task_id"]
    assert tokens(tokenizer, features[0]["input_ids"]) == "the cat sat what did it yes no maybe </s>"
    assert [tokens(tokenizer, ids) for ids in features["labels"]] == ["yes </s>", "no maybe </s>"]
    assert features["task_id"][:] == [7, 7]


def test_evaluation_columns_hold_choices_answer_and_row(tokenizer):
    features = FeatureBuilder(tokenizer).evaluation(TASK, Dataset.from_list([row(), row(label=-1), row(label=1)]))
    assert [[tokens(tokenizer, ids) for ids in choices] for choices in features["choice_ids"]] == [
        ["yes </s>", "no maybe </s>"]
    ] * 3
    assert features["answer"][:] == [0, -1, 1]
    assert features["row"][:] == [0, 1, 2]
    assert features["task_id"][:] == [-1] * 3
    assert tokens(tokenizer, features[1]["labels"]) == "</s>"


def test_free_form_tasks_have_no_choice_column(tokenizer):
    features = FeatureBuilder(tokenizer).evaluation(FREE, Dataset.from_list([row()]))
    assert "choice_ids" not in features.column_names
    assert features["answer"][:] == [-1]


def test_unlabelled_rows_and_rows_that_do_not_apply_are_left_out_of_training(tokenizer):
    rows = Dataset.from_list([row(label=-1), row(), row(label=1)])
    assert len(FeatureBuilder(tokenizer).training(TASK, rows, 0)) == 2
    partial = Task("a/p", "a", Template("p", "{% if label == 1 %}{{context}} ||| {{first}}{% endif %}"))
    assert FeatureBuilder(tokenizer).evaluation(partial, rows)["row"][:] == [2]
    with pytest.raises(DataError, match="'animals/t' has no example: none of its 1 rows"):
        FeatureBuilder(tokenizer).training(TASK, rows.select([0]), 0)


def test_choices_that_the_tokenizer_cannot_tell_apart_are_warned_of(tokenizer, caplog):
    FeatureBuilder(tokenizer).evaluation(TASK, Dataset.from_list([row(), row()]))
    assert "the same tokens" not in caplog.text
    unknown = row(first="\N{THUMBS UP SIGN}", second="\N{THUMBS DOWN SIGN}")
    FeatureBuilder(tokenizer).evaluation(TASK, Dataset.from_list([unknown, row(), row()]))
    assert "'animals/t': in 1 of 3 rows some answer choices are the same tokens" in caplog.text


def test_numbers_of_choices_may_differ(tokenizer):
    task = Task("a/v", "a", Template("v", "{{context}} ||| {{choices[0]}}", "{{choices | join('|||')}}"))
    rows = Dataset.from_list([{"context": "the cat", "choices": c} for c in (["yes", "no"], ["yes", "no", "maybe"])])
    assert [len(choices) for choices in FeatureBuilder(tokenizer).evaluation(task, rows)["choice_ids"]] == [2, 3]


@pytest.mark.parametrize(
    "template",
    [
        "{{context}} {{question}} {{answer_choices | join(' ')}}",
        "{{answer_choices | join(' ')}} {{question}} {{context}}",
    ],
)
@pytest.mark.parametrize("length", [8, 10, 12, 15])
def test_a_long_input_loses_the_end_of_its_context_only(tokenizer, template, length, words):
    task = Task("a/t", "a", Template("t", template + " ||| {{answer_choices[label]}}", TEMPLATE.answer_choices))
    long = row(" ".join(words[:20]))
    full = tokens(tokenizer, FeatureBuilder(tokenizer).training(task, Dataset.from_list([long]), 0)[0]["input_ids"])
    kept = tokens(
        tokenizer, FeatureBuilder(tokenizer, length).training(task, Dataset.from_list([long]), 0)[0]["input_ids"]
    )
    # 3 words of question, 3 of choices and EOS stay; the context fills what is left to the token.
    assert kept == full.replace(" ".join(words[:20]), " ".join(words[: length - 7]))


def test_the_longest_of_several_fields_is_cut_first_and_lists_are_reached(tokenizer):
    task = Task("a/t", "a", Template("t", "{{title}} {{parts.text | join(' ')}} ||| {{first}}"))
    rows = Dataset.from_list([{"title": "cat dog", "parts": {"text": ["the " * 9, "sky sea"]}, "first": "yes"}])
    features = FeatureBuilder(tokenizer, 8).training(task, rows, 0)
    assert tokens(tokenizer, features[0]["input_ids"]) == "cat dog the the the the the </s>"
    longer = FeatureBuilder(tokenizer, 13).training(task, rows, 0)
    assert tokens(tokenizer, longer[0]["input_ids"]) == "cat dog the the the the the the the the the sky </s>"


def test_a_field_that_stands_twice_is_cut_until_it_fits(tokenizer, words):
    task = Task("a/t", "a", Template("t", "{{context}} {{question}} {{context}} ||| {{first}}"))
    features = FeatureBuilder(tokenizer, 12).training(task, Dataset.from_list([row(" ".join(words[:20]))]), 0)
    assert tokens(tokenizer, features[0]["input_ids"]) == "the a cat dog what did it the a cat dog </s>"


@pytest.mark.parametrize(
    "template",
    [
        "{{answer_choices | join(' ')}} {{question}} ||| {{answer_choices[label]}}",  # nothing but question and choices
        "{{context.split('tree')[1]}} {{context}} ||| {{answer_choices[label]}}",  # fails once the context is cut
    ],
)
def test_what_cannot_be_shortened_is_cut_at_the_end(tokenizer, template, words):
    task = Task("a/t", "a", Template("t", template, TEMPLATE.answer_choices))
    rows = Dataset.from_list([row(" ".join(words), question="what " * 9)])
    full = FeatureBuilder(tokenizer).training(task, rows, 0)[0]["input_ids"]
    cut = FeatureBuilder(tokenizer, 5).training(task, rows, 0)[0]["input_ids"]
    if "question" in template:
        # The question is all there is to shorten.
        assert tokens(tokenizer, cut) == "yes no maybe what </s>"
    else:
        assert cut == [*full[:4], tokenizer.eos_token_id]


def test_target_and_choices_keep_their_eos_when_cut(tokenizer):
    features = FeatureBuilder(tokenizer, max_target_length=2).evaluation(TASK, Dataset.from_list([row(label=1)]))
    assert [tokens(tokenizer, ids) for ids in features[0]["choice_ids"]] == ["yes </s>", "no </s>"]
    assert tokens(tokenizer, features[0]["labels"]) == "no </s>"


def test_a_slow_tokenizer_shortens_too():
    features = FeatureBuilder(ByT5Tokenizer(), 30).training(TASK, Dataset.from_list([row("the cat " * 20)]), 0)
    text = ByT5Tokenizer().decode(features[0]["input_ids"])
    assert text.endswith("what did it yes no maybe</s>") and text.startswith("t")
    assert len(features[0]["input_ids"]) <= 30


def test_errors_name_task_and_row(tokenizer):
    rows = Dataset.from_list([row(), row(label=5)])
    with pytest.raises(TemplateError, match=r"'animals/t', row 1: .*5 is no position"):
        FeatureBuilder(tokenizer).training(TASK, rows, 0)
    with pytest.raises(TemplateError, match=r"'animals/t', row 0: .*no field 'context'"):
        FeatureBuilder(tokenizer).training(TASK, rows.remove_columns("context"), 0)


def test_several_processes_give_the_same(tokenizer):
    rows = Dataset.from_list([row(label=i % 2) for i in range(8)])
    one = FeatureBuilder(tokenizer).evaluation(TASK, rows)
    two = FeatureBuilder(tokenizer, num_proc=2).evaluation(TASK, rows)
    assert one.to_list() == two.to_list()


@pytest.fixture
def stored_rows(tmp_path, write_json_lines):
    path = write_json_lines(tmp_path / "rows.jsonl", [row(), row(label=1)])
    return load_rows("animals", DataSource("json", data_files=str(path))).train


def test_features_are_cached_and_a_change_makes_new_ones_of_what_it_touches(
    stored_rows, tokenizer, monkeypatch, words, build_tokenizer
):
    def file_of(task=TASK, tokenizer=tokenizer, task_id=0, rows=stored_rows, **lengths):
        return FeatureBuilder(tokenizer, **lengths).training(task, rows, task_id).cache_files[0]["filename"]

    first = file_of()
    # From the cache: nothing is rendered again.
    monkeypatch.setattr(Task, "example", lambda *_: pytest.fail("rendered again"))
    assert file_of() == first
    # The same by content: a new tokenizer object, one that has been called with truncation, another task name.
    used = build_tokenizer()
    used("the cat", truncation=True, max_length=1, padding="max_length")
    assert file_of(tokenizer=used) == first
    assert file_of(task=Task("other/t", "other", TEMPLATE)) == first
    monkeypatch.undo()
    changed = [
        file_of(task=Task("animals/t", "animals", Template("t", TEMPLATE.jinja + " ", TEMPLATE.answer_choices))),
        file_of(task=Task("animals/t", "animals", Template("t", TEMPLATE.jinja, "{{second}} ||| {{first}}"))),
        file_of(tokenizer=build_tokenizer(words=words[::-1])),
        file_of(tokenizer=build_tokenizer(adds_eos=False)),
        file_of(task_id=1),
        file_of(max_source_length=5),
        file_of(max_target_length=5),
        file_of(rows=stored_rows.select([1])),
        FeatureBuilder(tokenizer).evaluation(TASK, stored_rows, 0).cache_files[0]["filename"],
    ]
    assert len({first, *changed}) == len(changed) + 1


def test_slow_tokenizers_have_fingerprints():
    assert compute_tokenizer_fingerprint(ByT5Tokenizer()) == compute_tokenizer_fingerprint(ByT5Tokenizer())
    assert compute_tokenizer_fingerprint(ByT5Tokenizer()) != compute_tokenizer_fingerprint(ByT5Tokenizer(extra_ids=5))


def test_a_tokenizer_that_does_not_fit_says_why(tokenizer, words):
    check_tokenizer(tokenizer, len(tokenizer))
    with pytest.raises(
        ValueError, match=f"'words' makes ids up to {len(tokenizer) - 1}, but the model has embeddings for 9"
    ):
        check_tokenizer(tokenizer, 9)
    bare = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(json.loads(tokenizer.backend_tokenizer.to_str())))
    )
    with pytest.raises(ValueError, match="no EOS token"):
        check_tokenizer(bare, 100)
    with pytest.raises(ValueError, match="no EOS token"):
        FeatureBuilder(bare)
    bare.eos_token = "</s>"
    with pytest.raises(ValueError, match="no padding token"):
        check_tokenizer(bare, 100)


def test_skipped_rows_are_logged(tokenizer, caplog):
    logger = logging.getLogger("tasks.features")
    logger.setLevel(logging.INFO)
    logger.propagate = True
    with caplog.at_level(logging.INFO, "tasks.features"):
        FeatureBuilder(tokenizer).training(TASK, Dataset.from_list([row(), row(label=-1)]), 0)
    assert "1 of 2 rows have no example" in caplog.text


@pytest.fixture(scope="module")
def t5_tokenizer():
    """The real T5 tokenizer, where the environment variable FLAN_T5_SMALL names a folder with it."""
    folder = os.environ.get("FLAN_T5_SMALL")
    if folder is None:
        pytest.skip("FLAN_T5_SMALL names no folder with the real T5 and its tokenizer")
    return AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("name", ["super_glue/rte", "cosmos_qa", "dream", "winogrande/winogrande_debiased"])
@pytest.mark.parametrize("length", [64, 96])
def test_real_rows_keep_question_and_choices(shared, t5_tokenizer, name, length):
    rows = load_rows(name, data_dir=shared / "t0_data").evaluation.select(range(100))
    for task in select_tasks(load_tasks(), [name]):
        features = FeatureBuilder(t5_tokenizer, length).evaluation(task, rows)
        assert max(map(len, features["input_ids"])) <= length
        for row, ids in zip(rows, features["input_ids"], strict=True):
            example = task.example(row)
            assert ids[-1] == t5_tokenizer.eos_token_id
            full = t5_tokenizer(example.input_text).input_ids
            if len(full) <= length:
                assert ids == full
                continue
            assert len(ids) > length - 8
            text = "".join(t5_tokenizer.decode(ids).split())
            kept = [row[field] for field in ("question", "hypothesis") if field in row]
            if task.template.metadata["choices_in_prompt"]:
                kept += example.choices
            needed = sum(len(t5_tokenizer(words).input_ids) for words in kept)
            if needed < length - 8:
                for words in kept:
                    assert "".join(t5_tokenizer.decode(t5_tokenizer(words).input_ids[:-1]).split()) in text


# ------------------------------------------------------------------------------------------- decoder-only models


@pytest.mark.parametrize("adds_eos", [True, False])
def test_decoder_only_inputs_do_not_end(adds_eos, build_tokenizer):
    tokenizer = build_tokenizer(adds_eos)
    builder = FeatureBuilder(tokenizer, max_source_length=12, decoder_only=True)
    rows = Dataset.from_list([row(), row(label=1), row(context="the long cat sat " * 9)])
    features = builder.evaluation(TASK, rows)
    assert tokens(tokenizer, features[0]["input_ids"]) == "the cat sat what did it yes no maybe"
    assert tokens(tokenizer, features[1]["labels"]) == "no maybe </s>"
    assert [tokens(tokenizer, ids) for ids in features[0]["choice_ids"]] == ["yes </s>", "no maybe </s>"]
    shortened = tokens(tokenizer, features[2]["input_ids"])
    assert shortened == "the long cat sat the long what did it yes no maybe"
    whole = FeatureBuilder(tokenizer, max_source_length=4, decoder_only=True).evaluation(FREE, rows)
    assert tokens(tokenizer, whole[2]["input_ids"]) == "the long cat sat"


@pytest.mark.parametrize("kind", ["byte pairs", "word pieces"])
def test_decoder_only_answers_go_on_behind_a_text(kind):
    """Text and answer together are the ids of both in one string, whatever the tokenizer does with spaces."""
    corpus = ["the cat sat on a mat", "yes no maybe", "a good dog"] * 5
    if kind == "byte pairs":
        backend = Tokenizer(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = trainers.BpeTrainer(special_tokens=["<s>", "</s>"])
        trainer.initial_alphabet = pre_tokenizers.ByteLevel.alphabet()
    else:
        backend = Tokenizer(models.Unigram())
        backend.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(special_tokens=["<s>", "</s>", "<unk>"], unk_token="<unk>", vocab_size=60)
    backend.train_from_iterator(corpus, trainer)
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")
    (text,) = tokenize_openings(tokenizer, ["the cat sat on"])
    answers = tokenize_answers(tokenizer, ["a good mat", "yes", ""])
    assert text + answers[0] == [*tokenizer("the cat sat on a good mat").input_ids, tokenizer.eos_token_id]
    assert text + answers[1] == [*tokenizer("the cat sat on yes").input_ids, tokenizer.eos_token_id]
    assert answers[2] == [tokenizer.eos_token_id]
    check_tokenizer(tokenizer, 1000, decoder_only=True)  # without a padding token
    with pytest.raises(ValueError, match="has no padding token"):
        check_tokenizer(tokenizer, 1000)


def test_features_of_decoder_only_models_are_others(tokenizer):
    rows = Dataset.from_list([row()])
    plain, decoder_only = (
        FeatureBuilder(tokenizer, decoder_only=only).training(TASK, rows, 0) for only in (False, True)
    )
    assert plain["input_ids"][0] == [*decoder_only["input_ids"][0], tokenizer.eos_token_id]
    assert plain._fingerprint != decoder_only._fingerprint
