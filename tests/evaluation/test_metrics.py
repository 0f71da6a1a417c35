import pytest

from evaluation.metrics import RankClassification, TextGeneration


def test_counts_what_it_says():
    values = RankClassification().compute(predictions=[0, 0, 1, 2, 0], references=[0, 1, 1, 2, 2], num_choices=4)
    assert values["accuracy"] == pytest.approx(3 / 5)
    # F1 of the classes 0, 1 and 2: 2·1/(3+1), 2·1/(1+2), 2·1/(1+2)
    assert values["macro_f1"] == pytest.approx((0.5 + 2 / 3 + 2 / 3) / 3)
    assert values["majority"] == pytest.approx(2 / 5)
    assert values["predicted_shares"] == pytest.approx([3 / 5, 1 / 5, 1 / 5, 0])


def test_batches_can_be_added():
    metric = RankClassification()
    metric.add_batch(predictions=[0, 1], references=[0, 0])
    metric.add_batch(predictions=[1], references=[1])
    assert metric.compute(num_choices=2)["accuracy"] == pytest.approx(2 / 3)


def test_generated_texts():
    values = TextGeneration().compute(
        predictions=["The cat, sat!", "dogs run fast", "a"],
        references=[["cat sat"], ["birds", "a dog runs"], ["the"]],
    )
    # Case, punctuation and articles do not count; of "dogs run fast" no word is in SQuAD's sense that of a reference, and
    # nothing is left of "a" and "the".
    assert values["exact_match"] == pytest.approx(2 / 3)
    assert values["f1"] == pytest.approx(2 / 3)
    # ROUGE counts articles and stems: 2·2/(3+2), 2·2/(3+3), 0; bigrams 2·1/(2+1), 2·1/(2+2), 0.
    assert values["rouge1"] == values["rougeL"] == pytest.approx((4 / 5 + 4 / 6) / 3)
    assert values["rouge2"] == pytest.approx((2 / 3 + 2 / 4) / 3)


def test_words_in_common_count_as_often_as_they_are_in_both():
    values = TextGeneration().compute(
        predictions=["rain rain wind", "sun rain"], references=[["rain sun"], ["rain sun"]]
    )
    assert values["f1"] == pytest.approx((2 * 1 / 5 + 1) / 2)
    assert values["exact_match"] == 0
    # The longest common subsequence of "sun rain" and "rain sun" is one word.
    assert values["rougeL"] == pytest.approx((2 * 1 / 5 + 2 * 1 / 4) / 2)


def test_a_generated_text_needs_an_accepted_one():
    with pytest.raises(ValueError, match="no accepted text for the prediction 'rain'"):
        TextGeneration().compute(predictions=["rain"], references=[[]])


@pytest.mark.parametrize(
    ("right", "half"),
    [
        ("кошка сидит", "кошка бежит"),  # Cyrillic
        ("बिल्ली बैठी", "बिल्ली दौड़ी"),  # Devanagari, with vowel signs
        ("قطة تجلس", "قطة تركض"),  # Arabic
        ("είναι ήλιος", "είναι άνεμος"),  # Greek
        ("晴れ", "晴天"),  # without spaces: one of two characters
    ],
)
def test_texts_of_any_script_are_compared(right, half):
    perfect = TextGeneration().compute(predictions=[right], references=[[f"{right}。"]])
    assert (perfect["exact_match"], perfect["f1"], perfect["rougeL"]) == (1, 1, 1)
    partly = TextGeneration().compute(predictions=[half], references=[[right]])
    assert (partly["exact_match"], partly["f1"], partly["rouge1"]) == (0, 0.5, 0.5)


def test_accents_count_however_they_are_encoded():
    same = TextGeneration().compute(predictions=["cafe\u0301"], references=[["caf\u00e9"]])
    assert (same["exact_match"], same["rouge1"]) == (1, 1)
    assert TextGeneration().compute(predictions=["cafe"], references=[["caf\u00e9"]])["rouge1"] == 0
