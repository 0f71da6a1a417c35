import pytest
import torch

from search import PromptScorer


@pytest.mark.parametrize(
    "settings", [{"num_beams": 3}, {"num_beams": 2, "num_return_sequences": 2, "return_dict_in_generate": True}]
)
def test_generation_follows_the_checkpoints_generation_config(tiny_ctr_model, settings):
    model = tiny_ctr_model()
    model.generation_config.update(no_repeat_ngram_size=1, min_new_tokens=3, **settings)
    rows = [{"input_ids": [5, 6, 1], "labels": [7, 1]}, {"input_ids": [8, 9, 10, 1], "labels": [7, 1]}]
    scored = PromptScorer(model, rows).generate(model.prompt_vectors(model.task_codes()[:1]), max_new_tokens=6)[0]
    for row, ids in zip(rows, scored, strict=True):
        called = model.generate(
            input_ids=torch.tensor([row["input_ids"]]),
            task_code=model.task_codes()[:1],
            max_new_tokens=6,
            num_return_sequences=1,
            return_dict_in_generate=False,
        )[0].tolist()[1:]
        assert ids == [token for token in called if token != 1]
        assert len(set(ids)) == len(ids) >= 3
