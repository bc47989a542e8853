"""The best of n samples from one pool, by hand."""

from __future__ import annotations

import math

import pytest

from luthier.results.best_of_n import best_of_n, expected_best, weights

NAN = math.nan


def test_the_best_of_two_of_three() -> None:
    """Of three samples there are three pairs: {1,2}, {1,3}, {2,3}. The best is the second once and the third twice."""
    assert weights(3, 2).tolist() == pytest.approx([0, 1 / 3, 2 / 3])
    proxy, gold = expected_best([2.0, 1.0, 6.0], [10.0, 0.0, 40.0], 2)
    assert proxy == pytest.approx((2 + 6 + 6) / 3)
    assert gold == pytest.approx((10 + 40 + 40) / 3)


def test_the_best_of_one_is_the_mean_and_the_best_of_all_the_maximum() -> None:
    assert expected_best([3.0, 1.0, 2.0], [0.0, 0.0, 3.0], 1) == pytest.approx((2.0, 1.0))
    assert expected_best([3.0, 1.0, 2.0], [0.0, 0.0, 3.0], 3) == pytest.approx((3.0, 0.0))


def test_equal_samples_share_the_choice() -> None:
    """Both rewards are 1: either may be taken, so the gold of the best is the mean of both, for every k."""
    for k in (1, 2):
        assert expected_best([1.0, 1.0], [0.0, 8.0], k) == pytest.approx((1.0, 4.0))


def test_the_curve_goes_by_powers_of_two_to_the_smallest_pool() -> None:
    """A sample without a reward is not there: the second prompt has five."""
    pools = [[0.0, 1.0, 2.0, 3.0, 4.0, 5.0], [1.0, NAN, 1.0, 1.0, 1.0, 1.0], [NAN] * 6]
    curve = best_of_n(pools)
    assert [own.k for own in curve] == [1, 2, 4, 5]
    assert curve[0].proxy == pytest.approx((2.5 + 1) / 2)
    assert curve[0].kl_bound == 0
    assert curve[2].kl_bound == pytest.approx(math.log(4) - 3 / 4)
    assert curve[-1].proxy == pytest.approx((5 * 5 / 6 + 4 * 1 / 6 + 1) / 2), "the best of 5 of 6 is missed once in 6"
    assert all(own.proxy_interval[0] <= own.proxy <= own.proxy_interval[1] for own in curve)
    assert curve[0].gold is None


def test_more_of_the_proxy_can_be_less_of_the_gold() -> None:
    """The longer the better, says the proxy; the gold falls with it."""
    curve = best_of_n([[1.0, 2.0, 3.0, 4.0]] * 3, [[4.0, 3.0, 2.0, 1.0]] * 3)
    assert [own.gold for own in curve] == pytest.approx([2.5, 5 - 10 / 3, 1.0])
    assert [own.proxy for own in curve] == pytest.approx([2.5, 10 / 3, 4.0])


def test_nothing_scored_has_no_curve() -> None:
    assert best_of_n([[NAN, NAN]]) == ()
