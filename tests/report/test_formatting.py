"""Numbers as they are written, worked out by hand."""

from __future__ import annotations

import math

import pytest

from luthier.report import formatting


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (formatting.decimal(0.41249, 3), "0.412"),
        (formatting.decimal(-0.5, 2), "−0.50"),
        (formatting.decimal(-0.0004, 3), "0.000"),
        (formatting.decimal(math.nan, 3), "–"),
        (formatting.decimal(None, 3), "–"),
        (formatting.decimal(1234.5, 1), "1,234.5"),
        (formatting.signed(0.031, 3), "+0.031"),
        (formatting.signed(-0.031, 3), "−0.031"),
        (formatting.signed(0.0001, 3), "0.000"),
        (formatting.signed(math.nan, 3), "–"),
        (formatting.interval(0.391, 0.433, 3), "[0.391, 0.433]"),
        (formatting.interval(-0.01, 0.02, 2, sign=True), "[−0.01, +0.02]"),
        (formatting.interval(math.nan, 0.4, 3), ""),
        (formatting.count(0), "0"),
        (formatting.count(999), "999"),
        (formatting.count(8192), "8.19 k"),
        (formatting.count(999_600), "1.00 M"),
        (formatting.count(1_540_096), "1.54 M"),
        (formatting.size(None), "–"),
        (formatting.size(512), "512 B"),
        (formatting.size(6_160_384), "6.16 MB"),
        (formatting.share(32_768, 1_540_096), "2.13 %"),
        (formatting.share(5, 5), "100 %"),
        (formatting.share(1, 7_000_000_000), "< 0.001 %"),
        (formatting.share(5, None), ""),
        (formatting.seconds(12.42), "12.4 s"),
        (formatting.seconds(744), "12.4 min"),
        (formatting.seconds(12_240), "3.40 h"),
        (formatting.seconds(None), "–"),
        (formatting.moment(0.0412), "41.2 ms"),
        (formatting.moment(0.9996), "1.00 s"),
        (formatting.moment(744), "12.4 min"),
        (formatting.moment(None), "–"),
        (formatting.rate(937.44), "937"),
        (formatting.rate(12_345.6), "12,346"),
        (formatting.rate(0.1234), "0.123"),
    ],
)
def test_numbers_are_written_as_people_read_them(written: str, expected: str) -> None:
    assert written == expected


def test_a_column_has_as_many_decimals_as_its_largest_number_allows() -> None:
    assert formatting.digits_for([0.1, 0.99, None]) == 3
    assert formatting.digits_for([0.1, 2.5]) == 2
    assert formatting.digits_for([14.2, math.nan]) == 1
    assert formatting.digits_for([math.nan]) == 3
