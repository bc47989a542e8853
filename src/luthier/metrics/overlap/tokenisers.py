"""sacrebleu's tokenisers, applied once to each different word instead of once to each line.

The tokenisers 13a, intl and none look at a character and its neighbours only and never across white space, so that a
word can be tokenised on its own, given white space around it. All others are applied line by line.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from luthier.metrics.overlap.token_ids import Runs, TextIds, code_runs, code_words, expand, join

TOKENISERS = ("13a", "char", "flores101", "flores200", "intl", "ja-mecab", "ko-mecab", "none", "spBLEU-1K", "spm", "zh")

# What str.split() takes for white space: one byte each in UTF-8, and the rest.
_MARKS = frozenset('.,;:?!)"')
WHITE_BYTES = bytes([0, *range(9, 14), *range(28, 33)])
_WIDE_SPACES = tuple(
    chr(point).encode()
    for point in (0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000)
)


class WordTokens(dict[bytes, list[str]]):
    """Tokens of each word met so far; a new word is tokenised when it is first looked up.

    Args:
        call: The tokeniser 13a: text to tokens, separated by white space.
    """

    def __init__(self, call: Callable[[str], str]) -> None:
        super().__init__()
        self.call = call

    def __missing__(self, word: bytes) -> list[str]:
        text = word.decode("utf-8", "surrogatepass")
        tokens = self[word] = _plain_tokens(text) or self.call(text).split()
        return tokens


@dataclass(frozen=True)
class Tokeniser:
    """One of sacrebleu's tokenisers, made once and used for all texts.

    Attributes:
        name: One of `TOKENISERS`.
        call: Text to tokens, separated by white space.
        words: What 13a makes of single words.
    """

    name: str
    call: Callable[[str], str]
    words: WordTokens


def make_tokeniser(name: str) -> Tokeniser:
    """Make the tokeniser called ``name``; some load a file for it."""
    from sacrebleu.metrics.bleu import _get_tokenizer

    call = _get_tokenizer(name)()
    return Tokeniser(name, call, WordTokens(call))


def tokenise(texts: Sequence[str], tokeniser: Tokeniser, *, lowercase: bool = False) -> TextIds:
    """Tokenise texts as sacrebleu's BLEU does, and number the tokens.

    Args:
        texts: n texts.
        tokeniser: From `make_tokeniser`.
        lowercase: Lower-case first.
    """
    if lowercase:
        texts = [text.lower() for text in texts]
    name, call = tokeniser.name, tokeniser.call
    if name not in ("13a", "intl", "none") or any("-\n" in text or "\0" in text for text in texts):
        # 13a joins words that were hyphenated at the end of a line, so there it must see the line.
        return code_words([call(text.rstrip()).split() for text in texts])
    if name == "intl":
        return _at_edges(texts, call)
    runs = _runs(texts)
    if name == "none":
        return runs.coded
    return expand(runs.coded, [tokeniser.words[word] for word in runs.dictionary.to_pylist()])


def split_tokens(texts: Sequence[str], tokeniser: Tokeniser) -> list[list[str]]:
    """Tokenise a few texts, and show the tokens."""
    return [tokeniser.call(text.rstrip()).split() for text in texts]


def split_words(texts: Sequence[str]) -> tuple[TextIds, list[str]]:
    """Split texts at white space, as ``str.split`` does.

    Args:
        texts: Texts without zero characters.

    Returns:
        The words, and the different words in the order of their numbers.
    """
    runs = _runs(texts)
    return runs.coded, runs.words()


def _runs(texts: Sequence[str]) -> Runs:
    data, starts = join([text.encode("utf-8", "surrogatepass") for text in texts])
    if not data.isascii():
        for space in _WIDE_SPACES:
            data = data.replace(space, b" " * len(space))
    return code_runs(data, starts, WHITE_BYTES)


def _at_edges(texts: Sequence[str], call: Callable[[str], str]) -> TextIds:
    """Tokenise by words where the edges of a line count: intl sees no white space there."""
    words, vocabulary = split_words(texts)
    filled = words.lengths > 0
    indented = np.array([text[:1].isspace() for text in texts], dtype=bool)
    first, last = np.zeros(len(words.ids), dtype=bool), np.zeros(len(words.ids), dtype=bool)
    first[words.offsets[:-1][filled & ~indented]] = True
    last[words.offsets[1:][filled] - 1] = True
    kinds, which = np.unique(words.ids * 4 + first * 2 + last, return_inverse=True)
    parts = [_in_place(vocabulary[kind >> 2], call, bool(kind & 2), bool(kind & 1)) for kind in kinds.tolist()]
    return expand(TextIds(which.astype(np.int64), words.offsets, len(kinds)), parts)


def _in_place(word: str, call: Callable[[str], str], first: bool, last: bool) -> list[str]:
    return _plain_tokens(word) or call(("" if first else " ") + word + ("" if last else " ")).split()


def _plain_tokens(word: str) -> list[str]:
    """Tokens of the commonest words, on which 13a and intl agree wherever they stand; none for all others.

    Letters and digits stay together; one mark behind letters is cut off.
    """
    if word.isalnum():
        return [word]
    if word[-1] in _MARKS and word[:-1].isalpha():
        return [word[:-1], word[-1]]
    return []
