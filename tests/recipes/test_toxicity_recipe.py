"""The recipe of the toxicity scorer: what is held out is held out, and it gives the weights that ship."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from recipes.toxicity.build import build, example_weights
from recipes.toxicity.card import area, card
from recipes.toxicity.data import Labelled, own_texts, posts, training_texts
from recipes.toxicity.identity import TERMS, held_out, sentences
from recipes.toxicity.scenes import scenes

from luthier.metrics.social.toxicity_scorer import WEIGHTS, shipped_scorer

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is absent")


def test_terms_and_sentences_of_the_test_are_in_no_sentence_of_the_training() -> None:
    learned, asked = sentences(test=False), sentences(test=True)
    terms = [term for own in TERMS.values() for term in own]
    assert len(set(terms)) == len(terms)
    unseen = [term for term in terms if held_out(term)]
    assert 0.2 * len(terms) < len(unseen) < 0.4 * len(terms)
    ours = [own.text for own in learned] + scenes() + own_texts("train")
    said = {word for text in ours for word in re.findall(r"[a-z-]+", text.lower())}
    assert not said & {term.lower() for term in unseen}
    assert not {own.text for own in learned} & {own.text for own in asked}
    assert {own.group for own in asked} == set(TERMS)


def test_an_article_fits_the_term() -> None:
    texts = [own.text for own in (*sentences(test=False), *sentences(test=True))]
    assert not [text for text in texts if " a a" in f" {text.lower()}" or "{term}" in text or " an c" in text.lower()]


def test_scenes_are_sentences_of_one_or_of_several() -> None:
    found = scenes()
    assert len(found) == len(set(found)) > 500
    assert not [text for text in found if "two girls is" in text.lower() or "a man are" in text.lower()]


def test_a_source_has_its_weight_whatever_the_number_of_its_texts() -> None:
    texts = [Labelled("a", source, toxic) for source, toxic in (("posts", True), ("posts", False), ("identity", True))]
    texts += [Labelled("b", "identity", False)] * 3 + [Labelled("c", "own", False)] * 10
    weights = example_weights(texts)
    assert weights.sum() == pytest.approx(1)
    assert weights[[text.source == "own" for text in texts]].sum() == pytest.approx(0.55 * 0.3)


def test_the_area_under_the_curve_by_hand() -> None:
    scores, toxic = np.array([0.9, 0.5, 0.5, 0.1]), np.array([True, True, False, False])
    assert area(scores, toxic) == pytest.approx((1 + 1 + 1 + 0.5) / 4)


@needs_data
def test_no_post_of_the_test_is_learned_from() -> None:
    learned = {text.text for text in training_texts(DATA)}
    asked = [post.text for post in posts(DATA, test=True)]
    assert len(asked) == 5087
    assert not learned & set(asked)


@needs_data
@pytest.mark.slow
def test_the_recipe_gives_the_weights_and_the_card_that_ship() -> None:
    made, shipped = build(DATA), shipped_scorer()
    steps = np.abs(made.weights.astype(int) - shipped.weights.astype(int))
    assert made.scale == pytest.approx(shipped.scale, rel=1e-3)
    assert steps.max() <= 1
    assert (steps > 0).mean() < 0.01
    assert card(shipped, DATA) == WEIGHTS.with_suffix(".md").read_text(encoding="utf-8")
