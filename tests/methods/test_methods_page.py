"""The worked example of docs/methods.md runs, on real code."""

from __future__ import annotations

import doctest
from pathlib import Path

import luthier.methods.adapter

PAGE = Path(__file__).resolve().parents[2] / "docs" / "methods.md"


def test_the_worked_example_of_the_page() -> None:
    found = doctest.testfile(str(PAGE), module_relative=False)
    assert found.attempted >= 9
    assert found.failed == 0


def test_the_examples_of_docstrings() -> None:
    found = doctest.testmod(luthier.methods.adapter)
    assert found.attempted
    assert found.failed == 0
