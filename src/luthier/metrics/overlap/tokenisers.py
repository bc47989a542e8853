"""sacrebleu's tokenisers, applied once to each distinct word instead of once to each line.

The tokenisers 13a, intl and none depend only on a character and its neighbours and never cross white space, so that a
word with white space around it can be tokenised separately. All others are applied line by line.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from luthier.metrics.overlap.token_ids import (
    SeparatedWords,
    TokenSequences,
    join,
    number_separated_words,
    number_words,
    replace_words,
)

TOKENISERS = ("13a", "char", "flores101", "flores200", "intl", "ja-mecab", "ko-mecab", "none", "spBLEU-1K", "spm", "zh")

# White space as str.split() defines it: characters of one byte in UTF-8, and longer ones.
_MARKS = frozenset('.,;:?!)"')
WHITE_BYTES = bytes([0, *range(9, 14), *range(28, 33)])
_WIDE_SPACES = tuple(
    chr(point).encode()
    for point in (0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000)
)


class WordTokens(dict[bytes, list[str]]):
    """A cache of the tokens of each word; a word is tokenised when it is first accessed.

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
    """One of sacrebleu's tokenisers, created once for all texts.

    Attributes:
        name: One of `TOKENISERS`.
        call: Text to tokens, separated by white space.
        words: Cache of the tokens of single words, for 13a.
    """

    name: str
    call: Callable[[str], str]
    words: WordTokens


def make_tokeniser(name: str) -> Tokeniser:
    """Create the tokeniser ``name``; some of them load a file."""
    from sacrebleu.metrics.bleu import _get_tokenizer

    call = _get_tokenizer(name)()
    return Tokeniser(name, call, WordTokens(call))


def tokenise(texts: Sequence[str], tokeniser: Tokeniser, *, lowercase: bool = False) -> TokenSequences:
    """Tokenise texts as sacrebleu's BLEU does, and assign ids to the tokens.

    Args:
        texts: n texts.
        tokeniser: From `make_tokeniser`.
        lowercase: Lower-case first.
    """
    if lowercase:
        texts = [text.lower() for text in texts]
    name, call = tokeniser.name, tokeniser.call
    if name not in ("13a", "intl", "none") or any("-\n" in text or "\0" in text for text in texts):
        # 13a joins words that were hyphenated at the end of a line, so there it needs the whole line.
        return number_words([call(text.rstrip()).split() for text in texts])
    if name == "intl":
        return _at_edges(texts, call)
    words = _split_bytes(texts)
    if name == "none":
        return words.sequences
    return replace_words(words.sequences, [tokeniser.words[word] for word in words.dictionary.to_pylist()])


def split_tokens(texts: Sequence[str], tokeniser: Tokeniser) -> list[list[str]]:
    """Tokenise a few texts and return the tokens themselves."""
    return [tokeniser.call(text.rstrip()).split() for text in texts]


def split_words(texts: Sequence[str]) -> tuple[TokenSequences, list[str]]:
    """Split texts at white space, as ``str.split`` does.

    Args:
        texts: Texts without zero characters.

    Returns:
        The words as ids, and the distinct words in the order of their ids.
    """
    words = _split_bytes(texts)
    return words.sequences, words.words()


def _split_bytes(texts: Sequence[str]) -> SeparatedWords:
    data, starts = join([text.encode("utf-8", "surrogatepass") for text in texts])
    if not data.isascii():
        for space in _WIDE_SPACES:
            data = data.replace(space, b" " * len(space))
    return number_separated_words(data, starts, WHITE_BYTES)


def _at_edges(texts: Sequence[str], call: Callable[[str], str]) -> TokenSequences:
    """Tokenise by words where the edges of a line matter, as for intl, which finds no white space there."""
    words, vocabulary = split_words(texts)
    filled = words.lengths > 0
    indented = np.array([text[:1].isspace() for text in texts], dtype=bool)
    first, last = np.zeros(len(words.ids), dtype=bool), np.zeros(len(words.ids), dtype=bool)
    first[words.offsets[:-1][filled & ~indented]] = True
    last[words.offsets[1:][filled] - 1] = True
    kinds, which = np.unique(words.ids * 4 + first * 2 + last, return_inverse=True)
    parts = [_in_place(vocabulary[kind >> 2], call, bool(kind & 2), bool(kind & 1)) for kind in kinds.tolist()]
    return replace_words(TokenSequences(which.astype(np.int64), words.offsets, len(kinds)), parts)


def _in_place(word: str, call: Callable[[str], str], first: bool, last: bool) -> list[str]:
    return _plain_tokens(word) or call(("" if first else " ") + word + ("" if last else " ")).split()


def _plain_tokens(word: str) -> list[str]:
    """Return the tokens of simple words, on which 13a and intl agree in any position; [] for all others.

    Letters and digits stay together; one mark after letters is split off.
    """
    if word.isalnum():
        return [word]
    if word[-1] in _MARKS and word[:-1].isalpha():
        return [word[:-1], word[-1]]
    return []
