"""Porter's stemmer (1980) with NLTK's extensions: word for word what rouge-score uses, and faster."""

from __future__ import annotations

_IRREGULAR = {
    "sky": "sky",
    "skies": "sky",
    "dying": "die",
    "lying": "lie",
    "tying": "tie",
    "news": "news",
    "innings": "inning",
    "inning": "inning",
    "outings": "outing",
    "outing": "outing",
    "cannings": "canning",
    "canning": "canning",
    "howe": "howe",
    "proceed": "proceed",
    "exceed": "exceed",
    "succeed": "succeed",
}

# Suffixes are tried in this order; the first that fits decides, whether or not its condition holds.
_STEP2 = (
    ("ational", "ate"),
    ("tional", "tion"),
    ("enci", "ence"),
    ("anci", "ance"),
    ("izer", "ize"),
    ("bli", "ble"),
    ("alli", "al"),
    ("entli", "ent"),
    ("eli", "e"),
    ("ousli", "ous"),
    ("ization", "ize"),
    ("ation", "ate"),
    ("ator", "ate"),
    ("alism", "al"),
    ("iveness", "ive"),
    ("fulness", "ful"),
    ("ousness", "ous"),
    ("aliti", "al"),
    ("iviti", "ive"),
    ("biliti", "ble"),
    ("fulli", "ful"),
)
_STEP3 = (
    ("icate", "ic"),
    ("ative", ""),
    ("alize", "al"),
    ("iciti", "ic"),
    ("ical", "ic"),
    ("ful", ""),
    ("ness", ""),
)
_STEP4 = (
    "al",
    "ance",
    "ence",
    "er",
    "ic",
    "able",
    "ible",
    "ant",
    "ement",
    "ment",
    "ent",
    "ion",
    "ou",
    "ism",
    "ate",
    "iti",
    "ous",
    "ive",
    "ize",
)

_STEP2_ANY = tuple(suffix for suffix, _ in _STEP2)
_STEP3_ANY = tuple(suffix for suffix, _ in _STEP3)

# Everything but a vowel is a consonant, digits too; y is one at the start and after a vowel.
_SHAPE = str.maketrans("abcdefghijklmnopqrstuvwxyz0123456789", "vcccvcccvcccccvcccccvcccyccccccccccc")


def stem(word: str) -> str:
    """Stem one lower-case word of ASCII letters and digits."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) <= 2:
        return word
    return _step5(_step4(_step3(_step2(_step1c(_step1b(_step1a(word)))))))


def _shape(word: str) -> str:
    """Consonants as c, vowels as v."""
    shape = word.translate(_SHAPE)
    if "y" not in shape:
        return shape
    letters: list[str] = []
    for letter in shape:
        if letter == "y":
            letter = "v" if letters and letters[-1] == "c" else "c"
        letters.append(letter)
    return "".join(letters)


def _measure(word: str) -> int:
    """Porter's m: how often a consonant follows a vowel."""
    return _shape(word).count("vc")


def _ends_short(word: str) -> bool:
    """Porter's *o: consonant, vowel, consonant other than w, x, y; with NLTK's extension for words of two letters."""
    shape = _shape(word)
    return (shape.endswith("cvc") and word[-1] not in "wxy") or shape == "vc"


def _step1a(word: str) -> str:
    if not word.endswith("s"):
        return word
    if word.endswith("sses"):
        return word[:-2]
    if word.endswith("ies"):
        return word[:-1] if len(word) == 4 else word[:-2]
    return word if word.endswith("ss") else word[:-1]


def _step1b(word: str) -> str:
    if word.endswith("ied"):
        return word[:-1] if len(word) == 4 else word[:-2]
    if word.endswith("eed"):
        return word[:-1] if _measure(word[:-3]) > 0 else word
    if word.endswith("ed"):
        root = word[:-2]
    elif word.endswith("ing"):
        root = word[:-3]
    else:
        return word
    if "v" not in _shape(root):
        return word
    return _step1b_mended(root)


def _step1b_mended(root: str) -> str:
    if root.endswith(("at", "bl", "iz")):
        return root + "e"
    if len(root) >= 2 and root[-1] == root[-2] and _shape(root)[-1] == "c":
        return root if root[-1] in "lsz" else root[:-1]
    return root + "e" if _measure(root) == 1 and _ends_short(root) else root


def _step1c(word: str) -> str:
    if word.endswith("y") and len(word) > 2 and _shape(word[:-1])[-1] == "c":
        return word[:-1] + "i"
    return word


def _step2(word: str) -> str:
    if word.endswith("alli") and _measure(word[:-4]) > 0:
        return _step2(word[:-2])
    if word.endswith("logi"):
        # The l counts with the root here, so that "geologi" and "archaeologi" go the same way.
        return word[:-1] if _measure(word[:-3]) > 0 else word
    if not word.endswith(_STEP2_ANY):
        return word
    for suffix, replacement in _STEP2:
        if word.endswith(suffix):
            root = word[: -len(suffix)]
            return root + replacement if _measure(root) > 0 else word
    return word


def _step3(word: str) -> str:
    if not word.endswith(_STEP3_ANY):
        return word
    for suffix, replacement in _STEP3:
        if word.endswith(suffix):
            root = word[: -len(suffix)]
            return root + replacement if _measure(root) > 0 else word
    return word


def _step4(word: str) -> str:
    if not word.endswith(_STEP4):
        return word
    for suffix in _STEP4:
        if word.endswith(suffix):
            root = word[: -len(suffix)]
            fits = _measure(root) > 1 and (suffix != "ion" or root[-1] in "st")
            return root if fits else word
    return word


def _step5(word: str) -> str:
    if word.endswith("e"):
        measure = _measure(word[:-1])
        if measure > 1 or (measure == 1 and not _ends_short(word[:-1])):
            word = word[:-1]
    return word[:-1] if word.endswith("ll") and _measure(word[:-1]) > 1 else word
