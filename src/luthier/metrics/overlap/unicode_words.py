"""Words of every script, for ROUGE where the reference tokeniser, which reads a–z and 0–9 only, reads nothing.

A word is a run of letters, marks and digits (Unicode's categories L, M and N). In scripts that are written without
spaces between words (Chinese, Japanese, Thai, Lao, Khmer, Burmese) every character is a token, with the marks that
belong to it, as sacrebleu's tokeniser ``zh`` has it for Chinese. Texts are compared in Unicode's form NFKC, in small
letters.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from luthier.records import Prediction

_WITHOUT_SPACES = re.compile("CJK|IDEOGRAPH|HIRAGANA|KATAKANA|BOPOMOFO|THAI|LAO|KHMER|MYANMAR")
_READ = re.compile("[a-z]")


class _Places(dict[int, str]):
    """What becomes of each character: itself, itself after a space, or a space; asked for once each."""

    def __missing__(self, point: int) -> str:
        character = chr(point)
        kind = unicodedata.category(character)[0]
        if kind == "L" and _WITHOUT_SPACES.match(unicodedata.name(character, "")):
            place = f" {character} "
        else:
            place = character if kind in "LMN" else " "
        self[point] = place
        return place


_PLACES = _Places()


def words(text: str) -> list[str]:
    """Return the words of a text."""
    return _joined(unicodedata.normalize("NFKC", text.lower()).translate(_PLACES).split())


def _joined(tokens: list[str]) -> list[str]:
    """Return tokens with every mark that stands alone (a Thai vowel above its letter) joined to what is before it."""
    found: list[str] = []
    for token in tokens:
        if found and unicodedata.category(token[0])[0] == "M":
            found[-1] += token
        else:
            found.append(token)
    return found


def unread_references(predictions: Sequence[Prediction], metrics: Sequence[object]) -> str:
    """Say how many references ROUGE's reference tokeniser does not read; "" where it is not used, or reads them.

    Args:
        predictions: What is scored.
        metrics: Names of the metrics, with their settings; what is no name is not ROUGE.
    """
    names = [name for name in metrics if isinstance(name, str)]
    if not any(name.split(":")[0] == "rouge" and "tokenize=unicode" not in name for name in names):
        return ""
    unread = sum(all(map(_mostly_unread, prediction.targets)) for prediction in predictions)
    if not unread:
        return ""
    return (
        f"the references of {unread:,} of {len(predictions):,} examples are mostly letters that ROUGE's reference "
        "tokeniser does not read (it reads a-z and 0-9): take the metric rouge:tokenize=unicode"
    )


def _mostly_unread(text: str) -> bool:
    if text.isascii():
        return False
    letters = [letter for letter in "".join(words(text)) if not letter.isdigit()]
    return 2 * len(_READ.findall("".join(letters))) < len(letters)
