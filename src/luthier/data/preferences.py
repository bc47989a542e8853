"""What people prefer, as token ids: pairs of answers to one prompt, and single answers that were judged.

The answers of a pair stand after the same prompt, cut alike; no answer is ever cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from luthier.data.encoding import Encoder
from luthier.data.long_texts import in_batches
from luthier.records import Dropped, Encoded, Example, TokenIds

TIE = "the two answers are the same tokens"
OTHER_PROMPT = "the chat template words the prompt in another way for each of the two answers"
NO_PAIR = "it has no two answers, of which one is better"
_TOGETHER = 256
"""Examples that are encoded together."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one prompt, of which the first is the better one.

    Attributes:
        id: Of the example, and the number of the rejected answer where there are several.
        chosen: The prompt with the better answer.
        rejected: The same prompt with the other one.
        margin: By how much the first is better, where that is known; else 0.
        group: Pairs of one prompt have the same.
    """

    id: str
    chosen: Encoded
    rejected: Encoded
    margin: float = 0.0
    group: str = ""


@dataclass(frozen=True, slots=True)
class Judged:
    """An answer that was found good or bad.

    Attributes:
        id: Of the example, and the number of the answer where there are several.
        answer: The prompt with the answer.
        mismatched: The prompt with the answer of another record, by which the divergence from the reference is
            estimated.
        good: The verdict.
    """

    id: str
    answer: Encoded
    mismatched: Encoded
    good: bool


def pairs_of(examples: Iterable[Example], encoder: Encoder) -> Iterator[Pair | Dropped]:
    """Encode each pair of the first target and a rejected answer, or say why it cannot be learned from."""
    for batch in in_batches(examples, _TOGETHER):
        whole = [example for example in batch if example.targets and example.rejected]
        chosen = encoder.stream(whole)
        rejected = encoder.stream(_with_answer(example, text) for example in whole for text in example.rejected)
        for example in batch:
            if not (example.targets and example.rejected):
                yield Dropped(example.id, NO_PAIR)
                continue
            better = next(chosen)
            for number in range(len(example.rejected)):
                yield _pair(example, number, better, next(rejected))


def judged_of(examples: Iterable[Example], encoder: Encoder) -> Iterator[Judged | Dropped]:
    """Encode each judged answer: both of a pair, or one that was judged alone; or say why it cannot be learned from.

    The mismatched answer is that of the record before; of the first record, that of the last.
    """
    found: list[tuple[Encoded, bool]] = []
    for batch in in_batches(examples, _TOGETHER):
        asked = [own for example in batch for own in _answers(example)]
        for (_, good), item in zip(asked, encoder.stream(own for own, _ in asked), strict=True):
            if isinstance(item, Dropped):
                yield item
            else:
                found.append((item, good))
    for place, (item, good) in enumerate(found):
        yield Judged(item.id, item, _mismatched(item, found[place - 1][0].target_ids, encoder), good)


def _pair(example: Example, number: int, better: Encoded | Dropped, worse: Encoded | Dropped) -> Pair | Dropped:
    """Return a pair whose sides have one prompt, cut to fit the longer answer."""
    key = f"{example.id}~{number + 1}" if len(example.rejected) > 1 else example.id
    if isinstance(better, Dropped) or isinstance(worse, Dropped):
        reason = better.reason if isinstance(better, Dropped) else worse.reason if isinstance(worse, Dropped) else ""
        return Dropped(key, reason)
    if np.array_equal(better.target_ids, worse.target_ids):
        return Dropped(key, TIE)
    if len(better.prompt_ids) + better.cut_tokens != len(worse.prompt_ids) + worse.cut_tokens:
        return Dropped(key, OTHER_PROMPT)
    most_cut = max(better, worse, key=lambda own: own.cut_tokens)
    if better.cut_tokens == worse.cut_tokens and not np.array_equal(better.prompt_ids, worse.prompt_ids):
        return Dropped(key, OTHER_PROMPT)
    sides = [
        replace(own, id=key, prompt_ids=most_cut.prompt_ids, cut_tokens=most_cut.cut_tokens) for own in (better, worse)
    ]
    return Pair(key, sides[0], sides[1], example.margins[number] if example.margins else 0.0, example.group)


def _answers(example: Example) -> Iterator[tuple[Example, bool]]:
    """Yield an example once for each of its answers, with the verdict."""
    answers = [*example.targets[:1], *example.rejected]
    for number, text in enumerate(answers):
        key = f"{example.id}~{number + 1}" if len(answers) > 1 else example.id
        good = number < len(example.targets[:1])
        yield replace(example if good else _with_answer(example, text), id=key), good


def _with_answer(example: Example, text: str) -> Example:
    """Return an example that is answered by another text."""
    return replace(example, targets=(text,), answer=None)


def _mismatched(item: Encoded, answer: TokenIds, encoder: Encoder) -> Encoded:
    """Return a prompt with the answer of another, of which the end is cut where it does not fit."""
    room = encoder.max_length - (0 if encoder.encoder_decoder else len(item.prompt_ids))
    return replace(item, target_ids=answer[:room])
