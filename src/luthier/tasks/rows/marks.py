"""Marks that say whether an answer is to be learned: of a row, or of a message.

    label, kto_tag, desirable       true or false, as rows for KTO have them: an answer that nobody wants
    train, training, trainable      true or false, or 1 or 0
    loss                            the same, of a message alone
    weight, loss_weight             1 or 0: a loss weighs all its tokens alike

An answer that is marked as bad is never learned, and is no reference either. Every other value of such a column is an
error, because to pass it over would be to learn something else than the file says.
"""

from __future__ import annotations

from collections.abc import Mapping

from luthier.errors import DataError
from luthier.files.value_text import is_missing, value_text

VERDICTS = ("label", "kto_tag", "desirable")
"""Columns that say of an answer whether it is good."""
_SWITCHES = ("train", "training", "trainable")
_WEIGHTS = ("weight", "loss_weight")
ROW_MARKS = frozenset((*VERDICTS, *_SWITCHES, *_WEIGHTS))
"""Columns of a row that say whether its answer is learned."""
MESSAGE_MARKS = ROW_MARKS | {"loss"}
"""Keys of a message that do."""


def is_learned(values: Mapping[str, object], names: frozenset[str], where: str) -> bool:
    """Say whether a row or a message is to be learned.

    Args:
        values: The row or the message.
        names: :data:`ROW_MARKS` or :data:`MESSAGE_MARKS`.
        where: File and row, for messages.

    Raises:
        DataError: When a mark holds what cannot be obeyed.
    """
    verdicts = [_obeyed(name, values[name], where) for name in sorted(names & values.keys())]
    return all(verdicts)


def _obeyed(name: str, value: object, where: str) -> bool:
    if is_missing(value) or value == "":
        return True
    if isinstance(value, bool):
        return value
    text = value_text(value).strip().lower()
    known = {"true": True, "false": False}
    if name not in VERDICTS:
        known |= {"1": True, "0": False, "1.0": True, "0.0": False}
    if text in known:
        return known[text]
    if name in _WEIGHTS:
        what = f"'{name}' is {text}: an answer is learned (1) or left out (0), and not weighed"
        raise DataError(what, where=where, fix=f"Write 1 or 0, or rename the column '{name}'.")
    what = f"'{name}' is {text}: it says whether an answer is learned, and must be true or false"
    fix = "Where it means something else, rename it; where it is the answer, write a task YAML (`luthier tasks new`)."
    raise DataError(what, where=where, fix=fix)
