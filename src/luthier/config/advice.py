"""What messages advise users to set, in the words in which it is given: a flag, or ``--set`` with the key.

Messages of rooms below this one, which may not import it, write the flag out; a test reads them all.
"""

from __future__ import annotations

import math
import shlex

from luthier.config.validation import has_key
from luthier.config.verbs import VERBS, settings_class


def how_to_set(key: str, value: str = "") -> str:
    """Say how a user gives a setting: by its flag where every verb that has it has one, else by ``--set``.

    Args:
        key: Dotted name, as in a configuration.
        value: As it is typed; a word in capitals stands for what the user chooses. Nothing for a switch.

    Raises:
        KeyError: No verb has such a setting.
    """
    having = [verb for verb in VERBS if verb.settings and has_key(settings_class(verb), tuple(key.split(".")))]
    flags = [flag for verb in having for flag in verb.flags if flag.key == key]
    if not having:
        raise KeyError(key)
    if len(flags) < len(having):
        return f"--set {shlex.quote(f'{key}={value}')}"
    in_words = f"{flags[0].option} {value}".strip()
    return in_words if flags[0].name == "" and "." not in key else f"{in_words} (`{key}`)"


def or_allow_lost(lost: int, of: int) -> str:
    """Return the advice to allow that so many rows or examples are lost, to be added to other advice; "" for all."""
    share = f"{math.ceil(100 * lost / of) / 100:g}"
    return f", or allow that so many are lost: {how_to_set('data.max_lost', share)}" if lost < of else ""


def lower_rate() -> str:
    """Return the advice to a training that diverged, without the stop at its end."""
    return f"Lower the learning rate: {how_to_set('training.learning_rate', 'RATE')}"


def shorter_answers() -> str:
    """Return the advice where prompts and answers do not fit, without the stop at its end."""
    return f"Use a model that holds longer texts, or have shorter answers: {how_to_set('decoding.max_new_tokens', 'N')}"


def without_chat() -> str:
    """Return the advice where a chat template fails, in the middle of a sentence."""
    return f"do without the template: {how_to_set('data.chat', 'never')}"


def use_torch() -> str:
    """Return the advice to use the engine that computes everything, in the middle of a sentence."""
    return f"use {how_to_set('evaluation.engine', 'torch')}"
