"""Explain the score of one example: matching n-grams, clipped counts and the longest common subsequence."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from luthier.metrics.overlap.bleu import sentence_bleu
from luthier.metrics.overlap.porter import stem
from luthier.metrics.overlap.rouge import MEASURES, TYPES, rouge
from luthier.metrics.overlap.tokenisers import make_tokeniser, split_tokens

_WORD = re.compile(r"[a-z0-9]+")


def explain(prediction: str, references: Sequence[str], *, metric: str = "rouge") -> str:
    """Explain in plain text how ROUGE or BLEU is computed for one prediction.

    Args:
        prediction: The predicted text.
        references: The texts that it is compared with.
        metric: ``"rouge"``, ``"rouge:stemmer=yes"`` or ``"bleu"``; settings of BLEU are ignored.
    """
    if metric.startswith("bleu"):
        return _explain_bleu(prediction, references)
    stemmed = "stemmer=yes" in metric
    return "\n\n".join(_explain_rouge(prediction, reference, stemmed) for reference in references)


def _explain_rouge(prediction: str, reference: str, stemmed: bool) -> str:
    got, wanted = _words(prediction, stemmed), _words(reference, stemmed)
    table = rouge([prediction], [reference], stemmer=stemmed)[0]
    common = common_subsequence(got, wanted)
    lines = [f"prediction  {_spaced(got)}", f"reference   {_spaced(wanted)}"]
    for n in (1, 2):
        lines += ["", f"ROUGE-{n}: {n}-grams in both", *_matches(ngrams(got, n), [ngrams(wanted, n)])]
    lines += ["", f"ROUGE-L: longest common subsequence, {len(common)} words", f"  {_spaced(common)}", ""]
    for name, row in zip(TYPES, table, strict=True):
        lines.append(f"{name:<10}" + "  ".join(f"{m} {v:.4f}" for m, v in zip(MEASURES, row, strict=True)))
    return "\n".join(lines)


def _explain_bleu(prediction: str, references: Sequence[str]) -> str:
    got, *wanted = split_tokens([prediction, *references], make_tokeniser("13a"))
    lines = [f"prediction  {_spaced(got)}", *(f"reference   {_spaced(words)}" for words in wanted)]
    for n in (1, 2, 3, 4):
        lines += ["", f"{n}-grams in both", *_matches(ngrams(got, n), [ngrams(words, n) for words in wanted])]
    value = sentence_bleu([prediction], [list(references)])[0]
    return "\n".join([*lines, "", f"sentence BLEU  {value:.2f}"])


def ngrams(words: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    """Count the n-grams of a text."""
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def common_subsequence(first: Sequence[str], second: Sequence[str]) -> list[str]:
    """Return one longest common subsequence: words in both, in the same order, not necessarily side by side."""
    table = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i, word in enumerate(first):
        for j, other in enumerate(second):
            table[i + 1][j + 1] = table[i][j] + 1 if word == other else max(table[i][j + 1], table[i + 1][j])
    common: list[str] = []
    i, j = len(first), len(second)
    while i and j:
        if first[i - 1] == second[j - 1]:
            common.append(first[i - 1])
            i, j = i - 1, j - 1
        elif table[i][j - 1] > table[i - 1][j]:
            j -= 1
        else:
            i -= 1
    return common[::-1]


def _matches(got: Counter[tuple[str, ...]], wanted: Sequence[Counter[tuple[str, ...]]]) -> list[str]:
    lines, total = [], 0
    for gram, count in got.items():
        most = max(reference[gram] for reference in wanted)
        if not most:
            continue
        counted = min(count, most)
        total += counted
        clipped = f"  clipped: {count} times here, {most} in the reference" if count > most else ""
        lines.append(f"  {counted} × {' '.join(gram)}{clipped}")
    wanted_sizes = " or ".join(str(reference.total()) for reference in wanted)
    return [*(lines or ["  none"]), f"  {total} of {got.total()} in the prediction, of {wanted_sizes} in the reference"]


def _words(text: str, stemmed: bool) -> list[str]:
    words = _WORD.findall(text.lower())
    return [stem(word) if len(word) > 3 else word for word in words] if stemmed else words


def _spaced(words: Sequence[str]) -> str:
    return " ".join(words) if words else "(nothing)"
