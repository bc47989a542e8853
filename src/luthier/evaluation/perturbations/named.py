"""Which perturbations there are, each with its settings as HELM's canonical runs have them and a word list."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from luthier.evaluation.perturbations.contractions import contract
from luthier.evaluation.perturbations.dialect import change_dialect
from luthier.evaluation.perturbations.fillers import insert_fillers
from luthier.evaluation.perturbations.lower_case import lower_case
from luthier.evaluation.perturbations.mild_mix import MOST_SPACES, SHARE, mild_mix
from luthier.evaluation.perturbations.misspellings import misspell
from luthier.evaluation.perturbations.names import rename, renaming
from luthier.evaluation.perturbations.perturbation import Perturbation
from luthier.evaluation.perturbations.pronouns import change_gender
from luthier.evaluation.perturbations.spaces import more_spaces
from luthier.evaluation.perturbations.synonyms import use_synonyms
from luthier.evaluation.perturbations.typos import mistype
from luthier.evaluation.perturbations.word_lists import (
    OWN,
    list_signature,
    read_contractions,
    read_gender_words,
    read_names,
    read_phrases,
    read_replacements,
)

LISTS = {
    "misspellings": "misspellings.json",
    "contractions": "contractions.json",
    "synonyms": "synonyms.json",
    "fillers": "fillers.json",
    "dialect": "dialect_sae_aave.json",
    "pronouns": "pronouns.json",
    "names": "names.txt",
}
"""The word lists, and our own file of each."""
ROBUSTNESS = ("mild_mix",)
"""What the worst case of robustness is taken over: HELM's canonical choice."""
SWEEPS = ("typos", "synonyms", "fillers")
"""Further kinds of noise, each measured by itself."""
FAIRNESS = ("dialect", "pronouns", "names")
"""What the worst case of fairness is taken over."""
PARTS = ("lower_case", "contractions", "misspellings", "spaces")
"""What ``mild_mix`` is made of, each by itself."""
NAMES = (*ROBUSTNESS, *SWEEPS, *FAIRNESS, *PARTS)


def perturbation_named(name: str, lists: Mapping[str, Path] | None = None) -> Perturbation:
    """Return a perturbation.

    Args:
        name: One of `NAMES`.
        lists: Files that stand for our own word lists, by the names in `LISTS`.

    Raises:
        DataError: A word list is missing or is something else.
    """
    path = {key: (lists or {}).get(key, OWN / file) for key, file in LISTS.items()}
    return _BUILD[name](path)


def _mild_mix(path: Mapping[str, Path]) -> Perturbation:
    short, wrong = read_contractions(path["contractions"]), read_replacements(path["misspellings"])
    signature = f"{SHARE}+{MOST_SPACES}+{list_signature(path['contractions'])}+{list_signature(path['misspellings'])}"
    return Perturbation("mild_mix", "robustness", signature, partial(mild_mix, short, wrong))


def _typos(_: Mapping[str, Path]) -> Perturbation:
    return Perturbation("typos", "robustness", "0.1", partial(mistype, 0.1))


def _synonyms(path: Mapping[str, Path]) -> Perturbation:
    rewriter = partial(use_synonyms, read_replacements(path["synonyms"]), 0.5)
    return Perturbation("synonyms", "robustness", f"0.5+{list_signature(path['synonyms'])}", rewriter)


def _fillers(path: Mapping[str, Path]) -> Perturbation:
    rewriter = partial(insert_fillers, read_phrases(path["fillers"]), 0.3)
    return Perturbation("fillers", "robustness", f"0.3+{list_signature(path['fillers'])}", rewriter)


def _dialect(path: Mapping[str, Path]) -> Perturbation:
    rewriter = partial(change_dialect, read_replacements(path["dialect"]))
    signature = f"1+{list_signature(path['dialect'])}"
    return Perturbation("dialect", "fairness", signature, rewriter, references="english")


def _pronouns(path: Mapping[str, Path]) -> Perturbation:
    rewriter = partial(change_gender, read_gender_words(path["pronouns"]), "male", "female")
    signature = f"male-female+{list_signature(path['pronouns'])}"
    return Perturbation("pronouns", "fairness", signature, rewriter, whole_prompt=True, references="english")


def _names(path: Mapping[str, Path]) -> Perturbation:
    rewriter = partial(rename, renaming(read_names(path["names"]), str(path["names"])))
    signature = f"1+{list_signature(path['names'])}"
    return Perturbation("names", "fairness", signature, rewriter, whole_prompt=True, references="any")


def _lower_case(_: Mapping[str, Path]) -> Perturbation:
    return Perturbation("lower_case", "robustness", "1", lower_case)


def _contractions(path: Mapping[str, Path]) -> Perturbation:
    rewriter = partial(contract, read_contractions(path["contractions"]))
    return Perturbation("contractions", "robustness", list_signature(path["contractions"]), rewriter)


def _misspellings(path: Mapping[str, Path]) -> Perturbation:
    rewriter = partial(misspell, read_replacements(path["misspellings"]), SHARE)
    return Perturbation("misspellings", "robustness", f"{SHARE}+{list_signature(path['misspellings'])}", rewriter)


def _spaces(_: Mapping[str, Path]) -> Perturbation:
    return Perturbation("spaces", "robustness", str(MOST_SPACES), partial(more_spaces, MOST_SPACES))


_BUILD = {
    "mild_mix": _mild_mix,
    "typos": _typos,
    "synonyms": _synonyms,
    "fillers": _fillers,
    "dialect": _dialect,
    "pronouns": _pronouns,
    "names": _names,
    "lower_case": _lower_case,
    "contractions": _contractions,
    "misspellings": _misspellings,
    "spaces": _spaces,
}
