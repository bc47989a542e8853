"""The data of an arm as a stream of steps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from rows import HELD_OUT, ROWS

from luthier.config.training import TrainingConfig
from luthier.training.stream import Origin, digest_records, shuffled_stream, training_set, with_replay

CONFIG = TrainingConfig(epochs=3, batch_size=3)


def test_a_step_is_found_from_its_number_alone() -> None:
    stream = shuffled_stream(training_set("rows", ROWS), CONFIG, seed=1)
    forwards = [list(stream.indices(step)) for step in range(stream.steps)]
    again = shuffled_stream(training_set("rows", ROWS), CONFIG, seed=1)
    assert [list(again.indices(step)) for step in reversed(range(again.steps))] == forwards[::-1]
    assert stream.order.passes == 3


def test_replayed_records_follow_the_targets_and_are_shuffled_among_them() -> None:
    both = with_replay(training_set("target", ROWS), training_set("retained tasks", HELD_OUT))
    assert both.records == (*ROWS, *HELD_OUT)
    assert both.origins == (Origin("target", 8), Origin("retained tasks", 2))
    stream = shuffled_stream(both, TrainingConfig(epochs=1, batch_size=5), seed=1)
    first, second = (set(stream.indices(step)) for step in range(2))
    assert first | second == set(range(10))
    assert first & {8, 9}


def test_the_digest_holds_records_and_order() -> None:
    rows = training_set("rows", ROWS)
    digests = [
        shuffled_stream(rows, CONFIG, seed=1).digest,
        shuffled_stream(rows, CONFIG, seed=2).digest,
        shuffled_stream(rows, CONFIG.model_copy(update={"batch_size": 4}), seed=1).digest,
        shuffled_stream(rows, CONFIG.model_copy(update={"epochs": 1}), seed=1).digest,
        shuffled_stream(with_replay(rows, training_set("more", HELD_OUT)), CONFIG, seed=1).digest,
        shuffled_stream(training_set("rows", ROWS[::-1]), CONFIG, seed=1).digest,
    ]
    assert len(set(digests)) == len(digests)
    assert shuffled_stream(training_set("other name", ROWS), CONFIG, seed=1).digest == digests[0]


def test_every_part_of_a_record_is_in_its_digest() -> None:
    row = ROWS[0]
    changed = [
        row,
        replace(row, id="other"),
        replace(row, prompt_ids=row.prompt_ids[:-1]),
        replace(row, prompt_ids=row.prompt_ids.astype(np.int64)),
        replace(row, target_ids=row.target_ids[::-1]),
        # The same numbers in a row, with the border elsewhere.
        replace(row, prompt_ids=np.concatenate([row.prompt_ids, row.target_ids[:1]]), target_ids=row.target_ids[1:]),
        replace(row, cut_tokens=1),
    ]
    assert len({digest_records([item]) for item in changed}) == len(changed)
    assert digest_records([row, row]) != digest_records([row])


def test_what_has_no_digest_is_refused() -> None:
    @dataclass(frozen=True)
    class Loose:
        id: str
        more: Any

    with pytest.raises(TypeError, match="a record holds a dict"):
        digest_records([Loose("a", {})])
    assert digest_records([Loose("a", ("b", None, 1.5, True))]) != digest_records([Loose("a", ("b", None, 1.5, False))])
