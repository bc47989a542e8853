"""Detect negations on which prediction and reference disagree, by negation words and without a model.

ROUGE, BLEU and embeddings are nearly insensitive to "not". This check is sensitive to little else: it knows the
negation words of English, assumes that each denies the next two content words of its clause, and compares the words
that are denied with those that are affirmed. It knows neither antonyms ("hot" for "not cold") nor the true scope of a
negation.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from luthier.metrics.metric import FloatArray, Metric, mean_of, with_count
from luthier.metrics.overlap.porter import stem
from luthier.records import Prediction


def _words(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


CUES = _words(
    """no not never none nobody nothing nowhere neither nor cannot without hardly scarcely barely isnt arent wasnt
    werent dont doesnt didnt wont wouldnt cant couldnt shouldnt hasnt havent hadnt mustnt"""
)
_SMALL = _words(
    """a an the i you he she it we they me him her us them my your his its our their this that these those is are was
    were be been being am do does did have has had will would can could shall should may might must of to in on at by
    for with from as and or so very really quite too also any some much many there here"""
)
_REACH = 2
_PIECE = re.compile(r"[^\W_]+(?:'[^\W_]+)*|[.,;:!?\n]|\bbut\b")


def denied(text: str) -> dict[str, bool]:
    """Return for the stem of each content word whether it is denied; words both affirmed and denied are left out."""
    found: dict[str, bool] = {}
    both: set[str] = set()
    reach = 0
    for piece in _PIECE.findall(text.lower().replace("’", "'")):
        word = piece.replace("'", "")
        if not word.isalnum() or word == "but":
            reach = 0
        elif word in CUES or piece.endswith("n't"):
            reach = _REACH
        elif word not in _SMALL:
            root = stem(word) if word.isascii() else word
            if found.setdefault(root, reach > 0) != (reach > 0):
                both.add(root)
            reach = max(0, reach - 1)
    return {root: negative for root, negative in found.items() if root not in both}


def contradicted(prediction: str, reference: str) -> list[str]:
    """Return the stems of the words that one text denies and the other affirms, sorted."""
    said, meant = denied(prediction), denied(reference)
    return sorted(root for root in said.keys() & meant.keys() if said[root] != meant[root])


def negation_metric() -> Metric:
    """Share of predictions that agree with at least one reference on which words are denied."""

    def statistics(predictions: Sequence[Prediction]) -> FloatArray:
        return with_count([float(any(not contradicted(p.text, t) for t in p.targets)) for p in predictions])

    name = "negation_agreement"
    return Metric("negation", (name,), name, True, "language:en|reach:2", statistics, mean_of, proportion=True)
