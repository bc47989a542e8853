"""What a perturbation is: a deterministic change of what an example asks, and never of its id."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Literal, TypeAlias

from luthier.records import Example

Rewrite: TypeAlias = Callable[[str], str]
"""Changes a text of one example. It may remember what it changed, so that a name is the same name everywhere."""
Kind: TypeAlias = Literal["robustness", "fairness"]


@dataclass(frozen=True)
class Perturbation:
    """One perturbation.

    Attributes:
        name: As tables and signatures show it.
        kind: What it asks after: whether a model stands noise, or treats groups of people alike.
        signature: Its settings and the digest of its word list: part of what a perturbed score depends on.
        rewriter: Makes the rewriting of one example from that example's own random numbers.
        whole_prompt: Whether all of the prompt is rewritten, not its input text alone: a person who is renamed in a
            passage is renamed in the question about it.
        references: Where targets and a row's own choices are rewritten too, as HELM does for groups of people
            (``should_perturb_references``): nowhere, in English tasks, or in tasks of ``any`` language.
    """

    name: str
    kind: Kind
    signature: str
    rewriter: Callable[[Random], Rewrite]
    whole_prompt: bool = False
    references: Literal["nowhere", "english", "any"] = "nowhere"


def perturb(
    example: Example, perturbation: Perturbation, *, seed: int = 0, labels: bool = False, language: str = "en"
) -> Example:
    """Return a perturbed copy of an example, with the same id; the same one for the same seed and id, always.

    The input text changes, the part of the prompt that `Example.input_span` holds: not the instructions, not the
    exemplars, and not the answers unless the perturbation says so. An example whose prompt has no input text that could
    be found, whose choices have prompts of their own, or whose conversation is held message by message, is returned as
    it is.

    Args:
        example: The original.
        perturbation: What to do.
        seed: Another seed gives another draw.
        labels: Whether choices are the labels of a class, the same for every row: then answers are never rewritten.
        language: Of the answers.
    """
    if example.input_span is None or example.choice_prompts or example.messages:
        return example
    rewrite = perturbation.rewriter(_random(perturbation, seed, example.id))
    start, end = example.input_span
    before, text, after = example.prompt[:start], rewrite(example.prompt[start:end]), example.prompt[end:]
    if perturbation.whole_prompt:
        before, after = rewrite(before), rewrite(after)
    changed = replace(example, prompt=before + text + after, input_span=(len(before), len(before) + len(text)))
    where = perturbation.references
    answers = not labels and (where == "any" or (where == "english" and language.split("-")[0] == "en"))
    return _with_references(changed, rewrite) if answers else changed


def _with_references(example: Example, rewrite: Rewrite) -> Example:
    """Rewrite targets and choices, each text once, so that a target stays among the choices.

    Two choices that would become one (``he`` and ``she``) would leave no right answer: then all stay as they are.
    """
    texts = dict.fromkeys((*example.choices, *example.targets))
    rewritten = {text: rewrite(text) for text in texts}
    choices = tuple(rewritten[text] for text in example.choices)
    if len(set(choices)) < len(set(example.choices)):
        return example
    return replace(example, choices=choices, targets=tuple(rewritten[text] for text in example.targets))


def _random(perturbation: Perturbation, seed: int, key: str) -> Random:
    """Return the random numbers of one example: not Python's hash, which differs between processes."""
    text = f"{perturbation.name}|{perturbation.signature}|{seed}|{key}"
    return Random(int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()))
