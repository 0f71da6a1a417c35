"""A tokenizer that puts code tokens, written in front of a text, in front of all that it makes of the text."""

import copy
from collections.abc import Sequence

from tokenizers.processors import TemplateProcessing
from transformers import AddedToken, PreTrainedTokenizerBase, PreTrainedTokenizerFast

# Rows of the table that the tokenizer has no token for (T5: 32,128 for 32,100) get one, so that new ones come behind.
SPARE_TOKEN = "<spare_row_{}>"
# What texts may begin with, where tokenizers differ after an added token.
SAMPLES = (
    "A text, with words.", "lower case 12 3.5", "'quoted' text", "(x) - y", "Ünïcode ßtraße", "数字 和 文字", "new\nlines", "w5 w9",
)  # fmt: skip


class PrefixTokenizer:
    """Builds on a copy of a tokenizer.

    Args:
        tokenizer: Tokenizer of the CTR model.
        num_rows: Rows of the language model's word embedding; new tokens come behind them.
        tokens: New tokens.
        code_length: Number of them in front of a text; the maximum length grows by it.
        max_positions: Positions that the language model has at most, or None.
        place: Where codes stand: "first", before all that the tokenizer makes of a text; "behind_start", behind its
            start token, where it puts one; "last", behind the text.

    Attributes:
        tokenizer: The copy with the new tokens.
        start: Text between the code and the input: a start token, which the tokenizer would otherwise put before the
            code, or a space, or nothing.

    Raises:
        ValueError: The tokenizer has one of the tokens, or more tokens than rows, or makes something else of a text
            behind code tokens than of the text alone.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        num_rows: int,
        tokens: Sequence[str],
        code_length: int,
        max_positions: int | None,
        place: str = "first",
    ):
        known = set(tokenizer.get_vocab())
        if taken := sorted(known & {*tokens}):
            raise ValueError(f"The tokenizer has the token '{taken[0]}' already, which codes are to be written with.")
        if len(tokenizer) > num_rows:
            raise ValueError(
                f"The tokenizer has {len(tokenizer)} tokens, but the word embedding {num_rows} rows: they do not belong together."
            )
        self.tokenizer = _copy_as_saved(tokenizer)
        spare = [SPARE_TOKEN.format(row) for row in range(len(tokenizer), num_rows)]
        self.tokenizer.add_tokens([_literal(token) for token in [*spare, *tokens]], special_tokens=True)
        assert self.tokenizer.convert_tokens_to_ids(list(tokens)) == list(range(num_rows, num_rows + len(tokens)))
        longest = tokenizer.model_max_length + code_length
        self.tokenizer.model_max_length = longest if max_positions is None else min(longest, max_positions)
        # Where the code is not cut; what a tokenizer was made with is what it saves.
        side = "left" if place == "last" else "right"
        self.tokenizer.truncation_side = self.tokenizer.init_kwargs["truncation_side"] = side
        first, last = _special_tokens_around(tokenizer)
        if place == "first":
            self._surround_texts(tokenizer, [], last)
            self.start = self._find_start(tokenizer, tokens, first, 0)
        elif place == "behind_start":
            self._surround_texts(tokenizer, first, last)
            self.start = self._find_start(tokenizer, tokens, [], len(first))
        else:
            self.start = ""
            self._check_end(tokenizer, tokens)

    def _surround_texts(self, tokenizer: PreTrainedTokenizerBase, first: list[int], last: list[int]) -> None:
        """Let a text, and a code and its text given as a pair, begin with `first` and end with `last`."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is None:
            if _special_tokens_around(tokenizer) != (first, last):
                raise ValueError(
                    f"{type(self.tokenizer).__name__} begins texts with a special token and is not of the library "
                    "`tokenizers`: codes cannot be put before it. Load a fast tokenizer."
                )
            return
        names = {i: name for i in (*first, *last) for name in self.tokenizer.convert_ids_to_tokens([i])}
        begin, end = ([f"{names[i]}:0" for i in part] for part in (first, last))
        backend.post_processor = TemplateProcessing(
            single=[*begin, "$A:0", *end],
            pair=[*begin, "$A:0", "$B:0", *end],
            special_tokens=[(name, i) for i, name in names.items()],
        )

    def _find_start(
        self, tokenizer: PreTrainedTokenizerBase, tokens: Sequence[str], moved: list[int], place: int
    ) -> str:
        """Find what must stand between code and text for the text's tokens to be what they are without a code.

        Args:
            moved: Special tokens that the tokenizer puts before a text by itself, and the copy does not.
            place: Number of special tokens that both put before it.
        """
        begin = "".join(tokenizer.convert_ids_to_tokens(moved))
        code = list(tokens[:1]) * 2
        ids = self.tokenizer.convert_tokens_to_ids(code)
        expected = [row[:place] + ids + row[place:] for row in tokenizer(list(SAMPLES))["input_ids"]]
        for start in (begin, f"{begin} "):
            texts = ["".join(code) + start + sample for sample in SAMPLES]
            if self.tokenizer(texts)["input_ids"] == expected:
                return start
        raise self._refusal(tokenizer)

    def _check_end(self, tokenizer: PreTrainedTokenizerBase, tokens: Sequence[str]) -> None:
        """Raise a ValueError where a text's tokens are others with a code behind it."""
        code = list(tokens[:1]) * 2
        ids = self.tokenizer.convert_tokens_to_ids(code)
        expected = [row + ids for row in tokenizer(list(SAMPLES))["input_ids"]]
        if self.tokenizer([sample + "".join(code) for sample in SAMPLES])["input_ids"] != expected:
            raise self._refusal(tokenizer)

    @staticmethod
    def _refusal(tokenizer: PreTrainedTokenizerBase) -> ValueError:
        return ValueError(
            f"{type(tokenizer).__name__} makes something else of a text beside added tokens than of the text alone: codes "
            "cannot be written there."
        )


def _copy_as_saved(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """Copy a tokenizer such that it is loaded as it is saved: a family's own class makes its post-processor anew."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return copy.deepcopy(tokenizer)
    names = (
        "bos_token",
        "eos_token",
        "unk_token",
        "sep_token",
        "pad_token",
        "cls_token",
        "mask_token",
        "chat_template",
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=copy.deepcopy(backend),
        model_input_names=tokenizer.model_input_names,
        padding_side=tokenizer.padding_side,
        clean_up_tokenization_spaces=tokenizer.clean_up_tokenization_spaces,
        **{name: value for name in names if (value := getattr(tokenizer, name, None)) is not None},
    )


def _literal(token: str) -> AddedToken:
    """Make a token that takes no space from beside it and is found whatever stands around it."""
    return AddedToken(token, normalized=False, special=True, lstrip=False, rstrip=False, single_word=False)


def _special_tokens_around(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """The special tokens that the tokenizer puts before and after a text."""
    text = SAMPLES[0]
    inner = tokenizer(text, add_special_tokens=False)["input_ids"]
    outer = tokenizer(text)["input_ids"]
    for before in range(len(outer) - len(inner) + 1):
        if outer[before : before + len(inner)] == inner:
            return outer[:before], outer[before + len(inner) :]
    raise ValueError(f"{type(tokenizer).__name__} puts special tokens into the midst of a text.")
