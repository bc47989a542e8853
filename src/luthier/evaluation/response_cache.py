"""The response cache: what a model was asked in earlier evaluations is not computed again.

    out/store/answers/<key>.jsonl     one file for each model, adapter and code

A line is the digest of all that an answer depends on besides (the tokens, and how it is generated), the answer as JSON,
and a digest of both. The first digest stands first, so that a file is searched without being parsed. Lines are only
ever appended, whole batches at a time; a line that a kill has cut in half, or that was changed since, is no answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from luthier.files.digests import digest
from luthier.files.jsonl import append_lines, read_lines
from luthier.records import Encoded, Prediction

_DIGITS = 32
_CHECK_DIGITS = 16
_FORMAT = 2


@dataclass(frozen=True, slots=True)
class CachedRequest:
    """One request to a model, as the cache knows it.

    Attributes:
        key: Digest of all that its answer depends on, besides the model; see :func:`request_key`.
        blank: The prediction without the answer.
    """

    key: str
    blank: Prediction


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a line holds: the fields of a prediction that come from the model.

    Attributes:
        text: The generated text; "" for choices.
        chosen: Place of the chosen choice; None for free text. The words of a choice are the asker's own.
    """

    text: str
    chosen: int | None
    choice_logprobs: tuple[float, ...]
    choice_tokens: tuple[int, ...]
    prompt_tokens: int
    generated_tokens: int
    seconds: float
    finish: str
    choice_greedy: tuple[bool, ...] = ()
    choice_priors: tuple[float, ...] = ()


_ANSWER = TypeAdapter(_Answer)


def request_key(items: Sequence[Encoded], how: Mapping[str, Any]) -> str:
    """Return the digest of a request.

    Args:
        items: Its sequences; only their tokens count.
        how: Whatever else the answer depends on, as JSON can hold it.
    """
    hashed = blake2b(json.dumps(how, sort_keys=True).encode(), digest_size=_DIGITS // 2)
    for item in items:
        for ids in (item.prompt_ids, item.target_ids):
            hashed.update(len(ids).to_bytes(8, "little"))
            hashed.update(np.ascontiguousarray(ids, dtype="<i4").tobytes())
    return hashed.hexdigest()


def cache_file(out: Path, inputs: Mapping[str, Any]) -> Path:
    """Return the file of all answers that share these inputs; it may not exist yet."""
    return out / "store" / "answers" / f"{digest({**inputs, 'format': _FORMAT})}.jsonl"


def recall(path: Path, asked: Iterable[CachedRequest]) -> dict[str, Prediction]:
    """Find what was answered before.

    Args:
        path: From :func:`cache_file`.
        asked: What is asked now.

    Returns:
        Predictions by the id of what is asked. Their seconds are those that were measured when they were answered.

    Raises:
        StoreError: When the file is there and cannot be read.
    """
    waiting: dict[bytes, list[Prediction]] = {}
    for item in asked:
        waiting.setdefault(item.key.encode(), []).append(item.blank)
    found: dict[str, Prediction] = {}
    for line in read_lines(path, torn=True):
        blanks = waiting.get(line[:_DIGITS])
        answer = _read(line) if blanks else None
        if blanks and answer is not None:
            found |= {blank.id: filled for blank in blanks if (filled := _fill(blank, answer))}
    return found


def remember(path: Path, answered: Iterable[tuple[str, Prediction]]) -> None:
    """Append answers with the keys of their requests.

    Raises:
        StoreError: When the file cannot be written.
    """
    append_lines(path, [_line(key, json.dumps(asdict(_answer(own)))) for key, own in answered])


def _line(key: str, answer: str) -> str:
    text = f"{key} {answer}"
    return f"{text} {_check(text.encode())}"


def _check(text: bytes) -> str:
    return blake2b(text, digest_size=_CHECK_DIGITS // 2).hexdigest()


def _read(line: bytes) -> _Answer | None:
    text, _, check = line.rstrip(b"\n").rpartition(b" ")
    if check.decode(errors="replace") != _check(text):
        return None  # cut in half by a kill, before other lines were appended, or changed by somebody
    return _ANSWER.validate_python(json.loads(text[_DIGITS:]))


def _answer(prediction: Prediction) -> _Answer:
    chosen = prediction.choices.index(prediction.text) if prediction.choices else None
    return _Answer(
        text="" if prediction.choices else prediction.text,
        chosen=chosen,
        choice_logprobs=prediction.choice_logprobs,
        choice_tokens=prediction.choice_tokens,
        prompt_tokens=prediction.prompt_tokens,
        generated_tokens=prediction.generated_tokens,
        seconds=prediction.seconds,
        finish=prediction.finish,
        choice_greedy=prediction.choice_greedy,
        choice_priors=prediction.choice_priors,
    )


def _fill(blank: Prediction, answer: _Answer) -> Prediction | None:
    """Return the prediction with its answer; None where the two do not fit together."""
    if len(blank.choices) != len(answer.choice_logprobs) or (answer.chosen is None) == bool(blank.choices):
        return None
    return replace(
        blank,
        text=answer.text if answer.chosen is None else blank.choices[answer.chosen],
        choice_logprobs=answer.choice_logprobs,
        choice_tokens=answer.choice_tokens,
        prompt_tokens=answer.prompt_tokens,
        generated_tokens=answer.generated_tokens,
        seconds=answer.seconds,
        finish=answer.finish,
        choice_greedy=answer.choice_greedy,
        choice_priors=answer.choice_priors,
    )
