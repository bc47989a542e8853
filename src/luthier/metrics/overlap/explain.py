"""Explain the score of one example: matching n-grams, clipped counts and the longest common subsequence."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence

from luthier.metrics.metric import FloatArray
from luthier.metrics.overlap.bleu import ORDER, SMOOTHINGS, bleu_of, bleu_statistics, brevity_penalty, precisions
from luthier.metrics.overlap.porter import stem
from luthier.metrics.overlap.rouge import MEASURES, TOKENISERS, TYPES, rouge
from luthier.metrics.overlap.tokenisers import make_tokeniser, split_tokens
from luthier.metrics.overlap.unicode_words import words

_WORD = re.compile(r"[a-z0-9]+")


def explain(prediction: str, references: Sequence[str], *, metric: str = "rouge") -> str:
    """Explain in plain text how ROUGE or BLEU is computed for one prediction.

    Args:
        prediction: The predicted text.
        references: The texts that it is compared with.
        metric: ``"rouge"`` or ``"bleu"``, with settings as `luthier.metrics.registry.get_metric` takes them.
    """
    head, *pairs = metric.split(":")
    settings = dict(pair.split("=", 1) for pair in pairs)
    if head == "bleu":
        return _explain_bleu(prediction, references, settings)
    return "\n\n".join(_explain_rouge(prediction, reference, settings) for reference in references)


def _explain_rouge(prediction: str, reference: str, settings: Mapping[str, str]) -> str:
    stemmed, tokenize = settings.get("stemmer") == "yes", settings.get("tokenize", TOKENISERS[0])
    got, wanted = (words(text) if tokenize == "unicode" else _words(text, stemmed) for text in (prediction, reference))
    table = rouge([prediction], [reference], stemmer=stemmed, tokenize=tokenize)[0]
    common = common_subsequence(got, wanted)
    lines = [f"prediction  {_spaced(got)}", f"reference   {_spaced(wanted)}"]
    for n in (1, 2):
        lines += ["", f"ROUGE-{n}: {n}-grams in both", *_matches(ngrams(got, n), [ngrams(wanted, n)])]
    lines += ["", f"ROUGE-L: longest common subsequence, {len(common)} words", f"  {_spaced(common)}", ""]
    for name, row in zip(TYPES, table, strict=True):
        lines.append(f"{name:<10}" + "  ".join(f"{m} {v:.4f}" for m, v in zip(MEASURES, row, strict=True)))
    return "\n".join(lines)


def _explain_bleu(prediction: str, references: Sequence[str], settings: Mapping[str, str]) -> str:
    tokenize, smooth = settings.get("tokenize", "13a"), settings.get("smooth", SMOOTHINGS[0])
    lowercase = settings.get("lowercase") == "yes"
    texts = [text.lower() if lowercase else text for text in (prediction, *references)]
    got, *wanted = split_tokens(texts, make_tokeniser(tokenize))
    lines = [f"prediction  {_spaced(got)}", *(f"reference   {_spaced(one)}" for one in wanted)]
    for n in (1, 2, 3, 4):
        lines += ["", f"{n}-grams in both", *_matches(ngrams(got, n), [ngrams(one, n) for one in wanted])]
    sums = bleu_statistics([prediction], [list(references)], tokenize=tokenize, lowercase=lowercase)[0]
    return "\n".join([*lines, "", *_bleu_by_hand(sums, smooth)])


def _bleu_by_hand(sums: FloatArray, smooth: str) -> list[str]:
    """Go from the counts ``(10,)`` of one sentence to its BLEU: precisions, their geometric mean, brevity penalty."""
    length, reference, *counts = (int(count) for count in sums)
    right, total = counts[:ORDER], counts[ORDER:]
    found = [float(value) for value in precisions(sums, smooth)]
    lines, missed = [], 0
    for n in range(ORDER):
        name = f"precision of {n + 1}-grams  "
        if not total[n]:
            lines.append(f"{name}none: the sentence has fewer than {n + 1} words, so the mean is of {n} precisions")
            break
        missed += right[n] == 0
        lines.append(f"{name}{_precision(n, right[n], total[n], missed, smooth)} = {found[n]:.2f}")
    used = found[: len([size for size in total if size])]
    if not any(right):
        return [*lines, "no n-gram of it is in a reference: BLEU is 0", "", "sentence BLEU  0.00"]
    if not all(used):
        return [*lines, "a precision is 0, and so is the geometric mean", "", "sentence BLEU  0.00"]
    mean = math.exp(sum(map(math.log, used)) / len(used))
    product = " · ".join(f"{value:.2f}" for value in used)
    penalty = float(brevity_penalty(sums))
    short = f"{length} words against {reference}: exp(1 - {reference}/{length}) = {penalty:.4f}"
    long = f"{length} words against {reference}, not shorter: 1"
    value = float(bleu_of(sums, smooth, effective_order=True))
    return [
        *lines,
        f"geometric mean         ({product})^(1/{len(used)}) = {mean:.2f}",
        f"brevity penalty        {short if length < reference else long}",
        "",
        f"sentence BLEU  {penalty:.4f} · {mean:.2f} = {value:.2f}",
    ]


def _precision(n: int, right: int, total: int, missed: int, smooth: str) -> str:
    """Write how the precision of (n + 1)-grams comes about, in percent."""
    if smooth == "add-k" and n:
        return f"100 · ({right} + 1)/({total} + 1), smoothed by add-k"
    if right:
        return f"100 · {right}/{total}"
    if smooth == "exp":
        return f"100 / (2^{missed} · {total}), smoothed by exp: precision {missed} without a match"
    return f"100 · 0.1/{total}, smoothed by floor" if smooth == "floor" else f"100 · 0/{total}"


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
