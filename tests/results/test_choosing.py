"""Which candidate is chosen on validation, and what is said of it on the test: by hand."""

from __future__ import annotations

import math
from dataclasses import replace

from luthier.results.choice import Candidate, choose, judged, nothing_known
from luthier.results.retention_ratio import RetentionRatio

NAN = math.nan
KEEPING = Candidate("lora", 0.5, 0.60, 0.995, 0.985)
BEST = Candidate("lora", 1.0, 0.80, 0.95, 0.93)
WORSE = Candidate("full", 0.25, 0.55, 1.0, 0.99)
UNKNOWN = Candidate("full", 1.0, 0.90, NAN, NAN)
RATIO = RetentionRatio(0.99, 0.982, ("a", "b"), ("c",), {"a": 1.0, "b": 0.98}, 3, 200, 1e-5, 1e-5)


def test_the_best_on_the_target_of_those_that_keep_enough_is_chosen() -> None:
    assert choose([BEST, WORSE, KEEPING, UNKNOWN], 0.98, higher_is_better=True) == KEEPING
    assert choose([BEST, WORSE, KEEPING], 0.98, higher_is_better=False) == WORSE
    assert choose([BEST, WORSE, KEEPING], 0.9, higher_is_better=True) == BEST


def test_where_none_keeps_enough_the_nearest_is_looked_at() -> None:
    assert choose([BEST, KEEPING], 0.999, higher_is_better=True) == KEEPING
    assert choose([UNKNOWN], 0.9, higher_is_better=True) is None


def test_what_is_kept_is_said_with_its_bound() -> None:
    found = judged(KEEPING, RATIO, 0.98, [KEEPING])
    assert found.kept
    assert (found.arm, found.at, found.name) == ("lora", 0.5, "lora at 0.5")
    assert found.sentence == (
        "Use lora at 0.5: of what the base could do on 2 other tasks it keeps 0.990, at least 0.982 (one-sided 95 % "
        "bound over 3 seeds and 200 examples of each task). Left out, because the base cannot do them: c."
    )


def test_what_is_not_shown_to_be_kept_says_what_would_decide() -> None:
    one_seed = replace(RATIO, low=0.97, seeds=1, left_out=(), run_variance=0.0, example_variance=1e-4)
    found = judged(KEEPING, one_seed, 0.98, [KEEPING])
    assert not found.kept
    # A standard error of 0.01 at 200 examples; 0.01 / (1.645 + 0.842) = 0.00402 is wanted: 6.18 times as many.
    assert found.sentence == (
        "No arm is shown to keep 0.98 of what the base could do on 2 other tasks: the nearest, lora at 0.5, keeps "
        "0.990, at least 0.970 (one-sided 95 % bound over 200 examples of each task, for this one seed); about 1,300 "
        "examples of each task would decide."
    )
    lost = replace(one_seed, value=0.9, low=0.88)
    assert "; that is less than was asked for." in judged(KEEPING, lost, 0.98, [KEEPING]).sentence


def test_what_the_base_cannot_do_decides_nothing() -> None:
    found = nothing_known(0.98, [UNKNOWN], ["a", "b"])
    assert (found.arm, found.kept) == ("", False)
    assert "the base can do no retained task." in found.sentence
    assert found.sentence.endswith("Left out, because the base cannot do them: a, b.")
    assert "every arm that trains has failed" in nothing_known(0.98, [], []).sentence
    empty = RetentionRatio(NAN, NAN, (), ("a",), {}, 1, 0)
    assert judged(KEEPING, empty, 0.98, [KEEPING]).sentence.startswith("It is not known what lora at 0.5 keeps")
