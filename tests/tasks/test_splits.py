"""Splits by hash, duplicates and overlaps, draws."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.records import Example, Turn
from luthier.tasks.rows.duplicates import DuplicateIndex
from luthier.tasks.rows.splits import Fractions, assign, digest_examples, position, subset

NONE: frozenset[str] = frozenset()


def example(key: str, prompt: str = "p", target: str = "t", **others: object) -> Example:
    return Example(key, "task", "template", prompt, (target,), **others)  # type: ignore[arg-type]


def test_shares_are_those_asked_for() -> None:
    counts = Counter(assign(f"row {number}", Fractions(0.7, 0.1, 0.2), NONE) for number in range(20_000))
    # Three standard deviations of a binomial with p = 0.2 and n = 20,000 are 170.
    assert abs(counts["test"] - 4000) < 170
    assert abs(counts["validation"] - 2000) < 170


def test_place_of_an_id_never_changes() -> None:
    # Stored runs depend on these: a change here is a change of every split.
    assert [round(position(key), 6) for key in ("a", "train_0", "é")] == [0.12415, 0.701698, 0.086719]


def test_given_splits_get_nothing_added() -> None:
    for given_ in (frozenset({"test"}), frozenset({"validation"}), frozenset({"validation", "test"})):
        found = {assign(str(number), Fractions(), given_) for number in range(500)}
        assert found == {"train", "validation", "test"} - given_


def test_other_examples_keep_their_split_where_one_is_given() -> None:
    for number in range(500):
        alone = assign(str(number), Fractions(), NONE)
        beside = assign(str(number), Fractions(), frozenset({"test"}))
        assert beside == (alone if alone != "test" else "train")


@settings(max_examples=50)
@given(small=st.integers(0, 40), more=st.integers(0, 40), seed=st.integers(0, 5))
def test_larger_draw_contains_the_smaller(small: int, more: int, seed: int) -> None:
    examples = [example(str(number)) for number in range(60)]
    few, many = subset(examples, small, seed), subset(examples, small + more, seed)
    assert len(few) == small
    assert set(few) <= set(many)
    assert list(few) == [item for item in examples if item in set(few)]


def test_draw_does_not_depend_on_the_order_of_the_rows_but_on_the_seed() -> None:
    examples = [example(str(number)) for number in range(100)]
    assert set(subset(examples, 10, 0)) == set(subset(examples[::-1], 10, 0))
    assert set(subset(examples, 10, 0)) != set(subset(examples, 10, 1))


def index_of(*items: tuple[str, str, str]) -> DuplicateIndex:
    made = DuplicateIndex()
    for number, (split, prompt, target) in enumerate(items):
        made.add(split, example(str(number), prompt, target))
    return made


def test_duplicates_and_overlaps_leave_training_only() -> None:
    found = index_of(
        ("train", "a", "1"),
        ("train", "a", "1"),  # again in training
        ("train", "a", "2"),  # another answer: kept
        ("train", "b", "1"),  # stands in test
        ("train", "b", "2"),  # its prompt stands in test
        ("train", "c", "1"),  # its prompt stands in validation
        ("validation", "c", "9"),
        ("validation", "b", "9"),  # its prompt stands in test: reported
        ("test", "b", "1"),
        ("test", "b", "1"),  # repeated in test: reported
    ).overlaps()
    assert found.keep.tolist() == [True, False, True, False, False, False, True, True, True, True]
    assert (found.duplicates, found.prompts, found.held_out, found.repeated) == (2, 2, 1, 1)


def test_what_was_said_before_is_part_of_the_prompt() -> None:
    made = DuplicateIndex()
    made.add("train", example("1", turns=(Turn("a", "b"),)))
    made.add("train", example("2", turns=(Turn("a", "c"),)))
    made.add("train", example("3", system="s"))
    assert made.overlaps().keep.all()


def test_examples_of_nothing() -> None:
    assert DuplicateIndex().overlaps().keep.tolist() == []
    assert subset([], 3, 0) == ()


def test_repeated_ids_are_known() -> None:
    made = DuplicateIndex()
    for key in ("a", "b", "a"):
        made.add("train", example(key))
    assert len(made.repeated_ids()) == 1


@pytest.mark.parametrize("changed", ["id", "prompt", "target"])
def test_digest_changes_with_anything(changed: str) -> None:
    values = {"id": "1", "prompt": "p", "target": "t"}
    before = digest_examples([example(values["id"], values["prompt"], values["target"])])
    values[changed] += "x"
    assert digest_examples([example(values["id"], values["prompt"], values["target"])]) != before
