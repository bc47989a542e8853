"""Shares of several sources: rates, quotas, and the order in which their examples are read."""

from __future__ import annotations

from collections import Counter

import pytest

from luthier.data.quotas import QuotaOrder, mixing_rates, normalised, quotas

SIZES = (100_000, 30_000, 3_000, 500)


def rounded(rates: tuple[float, ...]) -> list[float]:
    return [round(rate, 4) for rate in rates]


def test_first_the_cap_then_the_temperature() -> None:
    # 3000 / 9500 three times, and 500 / 9500.
    assert rounded(mixing_rates(SIZES, cap=3_000, temperature=1)) == [0.3158, 0.3158, 0.3158, 0.0526]
    # sqrt(30000) = 173.21 twice, sqrt(3000) = 54.77, sqrt(500) = 22.36, of 423.55 together.
    assert rounded(mixing_rates(SIZES, cap=30_000, temperature=2)) == [0.4089, 0.4089, 0.1293, 0.0528]
    assert mixing_rates((3, 1), cap=None, temperature=1) == (0.75, 0.25)


def test_a_quota_is_within_one_example_of_its_share() -> None:
    rates = mixing_rates(SIZES, cap=3_000, temperature=1)
    found = quotas(rates, SIZES, 1_001)
    assert sum(found) == 1_001
    assert all(abs(own - rate * 1_001) < 1 for own, rate in zip(found, rates, strict=True))
    assert quotas((0.5, 0.25, 0.25), (9, 9, 9), 10) == (5, 3, 2), "of equal remainders the first is rounded up"


def test_what_a_source_cannot_give_goes_to_the_others() -> None:
    # The second may give 2 * 5 = 10 of its 30; the 20 are shared 2 : 1.
    assert quotas((0.5, 0.25, 0.25), (1_000, 5, 1_000), 120, repeat=2) == (73, 10, 37)
    assert quotas((0.5, 0.5), (10, 10), 100, repeat=2) == (20, 20), "an epoch is shorter where nobody has more"
    assert quotas((0.5, 0.5, 0.0), (10, 0, 10), 8) == (8, 0, 0), "an empty source gives nothing, nor one of rate 0"


def order(steps: int = 60) -> QuotaOrder:
    return QuotaOrder(sizes=(1_000, 40), quotas=(90, 10), batch_size=10, steps=steps, seed=3)


def test_every_epoch_has_the_quotas_and_other_examples_of_a_large_source() -> None:
    plan = order()
    epochs = [[place for step in range(10 * k, 10 * k + 10) for place in plan.indices(step)] for k in range(6)]
    for epoch in epochs:
        assert sum(place >= 1_000 for place in epoch) == 10
        assert len(set(epoch)) == 100, "none stands twice in an epoch"
    large = [place for epoch in epochs for place in epoch if place < 1_000]
    assert len(set(large)) == 540, "nothing is repeated before all of it was read"
    small = Counter(place for epoch in epochs[:4] for place in epoch if place >= 1_000)
    assert set(small.values()) == {1}
    assert len(small) == 40, "4 epochs of 10 read the small source exactly once"
    assert epochs[0] != epochs[1]


def test_a_place_says_how_often_its_source_was_read_before() -> None:
    plan = order()
    visits = [visit for step in range(60) for place, visit in plan.visits(step) if place >= 1_000]
    assert visits == [0] * 40 + [1] * 20


def test_any_stretch_has_about_its_share() -> None:
    plan = QuotaOrder(sizes=(5_000, 3_000, 900, 100), quotas=(4_000, 3_000, 900, 100), batch_size=8, steps=1000, seed=1)
    places = [place for step in range(1_000) for place in plan.indices(step)]
    kinds = [sum(place >= start for start in (5_000, 8_000, 8_900)) for place in places]
    for start in range(0, 7_000, 50):
        counts = Counter(kinds[start : start + 1_000])
        for kind, share in enumerate((0.5, 0.375, 0.1125, 0.0125)):
            assert abs(counts[kind] / 1_000 - share) < 0.02


def test_a_step_is_found_from_its_number_alone() -> None:
    forwards = [order().indices(step) for step in range(30)]
    assert [order().indices(step) for step in reversed(range(30))] == forwards[::-1]
    assert order().digest != QuotaOrder((1_000, 40), (90, 10), 10, 60, 4).digest
    assert order().passes == pytest.approx(600 / 1_040)


def test_normalised_weights_sum_to_one() -> None:
    assert normalised([2, 1, 1]) == (0.5, 0.25, 0.25)
