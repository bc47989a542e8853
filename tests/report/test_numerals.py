"""Numbers as they are written, worked out by hand."""

from __future__ import annotations

import math

import pytest

from luthier.report import numerals


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (numerals.decimal(0.41249, 3), "0.412"),
        (numerals.decimal(-0.5, 2), "−0.50"),
        (numerals.decimal(-0.0004, 3), "0.000"),
        (numerals.decimal(math.nan, 3), "–"),
        (numerals.decimal(None, 3), "–"),
        (numerals.decimal(1234.5, 1), "1,234.5"),
        (numerals.signed(0.031, 3), "+0.031"),
        (numerals.signed(-0.031, 3), "−0.031"),
        (numerals.signed(0.0001, 3), "0.000"),
        (numerals.signed(math.nan, 3), "–"),
        (numerals.interval(0.391, 0.433, 3), "[0.391, 0.433]"),
        (numerals.interval(-0.01, 0.02, 2, sign=True), "[−0.01, +0.02]"),
        (numerals.interval(math.nan, 0.4, 3), ""),
        (numerals.count(0), "0"),
        (numerals.count(999), "999"),
        (numerals.count(8192), "8.19 k"),
        (numerals.count(999_600), "1.00 M"),
        (numerals.count(1_540_096), "1.54 M"),
        (numerals.size(None), "–"),
        (numerals.size(512), "512 B"),
        (numerals.size(6_160_384), "6.16 MB"),
        (numerals.share(32_768, 1_540_096), "2.13 %"),
        (numerals.share(5, 5), "100 %"),
        (numerals.share(1, 7_000_000_000), "< 0.001 %"),
        (numerals.share(5, None), ""),
        (numerals.seconds(12.42), "12.4 s"),
        (numerals.seconds(744), "12.4 min"),
        (numerals.seconds(12_240), "3.40 h"),
        (numerals.seconds(None), "–"),
        (numerals.moment(0.0412), "41.2 ms"),
        (numerals.moment(0.9996), "1.00 s"),
        (numerals.moment(744), "12.4 min"),
        (numerals.moment(None), "–"),
        (numerals.rate(937.44), "937"),
        (numerals.rate(12_345.6), "12,346"),
        (numerals.rate(0.1234), "0.123"),
    ],
)
def test_numbers_are_written_as_people_read_them(written: str, expected: str) -> None:
    assert written == expected


def test_a_column_has_as_many_decimals_as_its_largest_number_allows() -> None:
    assert numerals.digits_for([0.1, 0.99, None]) == 3
    assert numerals.digits_for([0.1, 2.5]) == 2
    assert numerals.digits_for([14.2, math.nan]) == 1
    assert numerals.digits_for([math.nan]) == 3
