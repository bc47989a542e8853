"""Law 5 for the tree of prefixes: whatever shares a pass, each answer has the log-probability that it has alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.inference import scoring
from luthier.inference.capabilities import Capabilities, capabilities_of
from luthier.inference.prefix_tree import MIN_SHARED, build_prefix_tree
from luthier.inference.scoring import answer_logprobs, score_answers
from luthier.inference.tree_scoring import _rows, count_tokens, plan_passes, tree_logprobs
from luthier.kernels.branches import common_prefix
from luthier.models.language_model import LanguageModel
from luthier.records import Encoded, TokenIds
from tiny_models import BOS, DECODERS, ENCODER_DECODERS, FURTHER, VOCABULARY, tiny_model

MODELS = {name: tiny_model(name) for name in ("llama", "gpt2", "t5", "bart", "gemma3")}


def ids(*tokens: int) -> TokenIds:
    return np.array(tokens, dtype=np.int32)


@st.composite
def request_sets(draw: st.DrawFn) -> list[Encoded]:
    """Few-shot blocks, questions behind each, options behind each question; in any order, some of them twice."""
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    items: list[Encoded] = []

    def text(most: int, least: int = 1) -> TokenIds:
        return rng.integers(4, VOCABULARY, rng.integers(least, most + 1)).astype(np.int32)

    for _ in range(draw(st.integers(1, 3))):
        block = np.concatenate([ids(BOS), text(60, 0)])
        for _ in range(draw(st.integers(1, 4))):
            prompt = np.concatenate([block, text(20, 0)])
            options = [text(5) for _ in range(draw(st.integers(1, 4)))]
            items += [Encoded("", prompt, option) for option in options]
    order = draw(st.permutations(range(len(items))))
    return [replace(items[index], id=str(place)) for place, index in enumerate([*order, *order[:2]])]


def naive(model: LanguageModel, items: list[Encoded]) -> list[float]:
    with torch.no_grad():
        return [float(model.target_logprobs([item]).double().sum()) for item in items]


def agrees(name: str, items: list[Encoded], budget: int) -> None:
    model = MODELS[name]
    expected = naive(model, items)
    assert answer_logprobs(model, items, budget=budget) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", MODELS)
@given(items=request_sets(), budget=st.sampled_from([1, 40, 150, 10_000]))
@settings(max_examples=8, deadline=None)
def test_tree_scoring_is_naive_scoring(name: str, items: list[Encoded], budget: int) -> None:
    agrees(name, items, budget)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
@given(items=request_sets(), budget=st.integers(1, 500))
@settings(max_examples=200, deadline=None)
def test_tree_scoring_is_naive_scoring_on_two_hundred_sets(name: str, items: list[Encoded], budget: int) -> None:
    agrees(name, items, budget)


@given(items=request_sets(), budget=st.integers(1, 300))
@settings(max_examples=30, deadline=None)
def test_the_order_of_requests_changes_no_pass(items: list[Encoded], budget: int) -> None:
    def passes(chosen: list[Encoded]) -> list[tuple[int, list[tuple[list[int], list[int]]]]]:
        return [
            (step.skip, [(row.tokens.tolist(), row.targets.tolist()) for row in step.rows])
            for step in plan_passes(_rows(chosen), budget)
        ]

    assert passes(items[::-1]) == passes(items)


@pytest.mark.parametrize("name", ["llama", "t5", "gemma3"])
def test_greedy_answers_are_told_from_others(name: str) -> None:
    model = MODELS[name]
    prompt = ids(BOS, 9, 12, 30, 7, 21, 40, 8, 33, 17, 11)
    with torch.no_grad():
        continuation = model.begin([prompt])
        first = int(continuation.logits.argmax())
        continuation.advance(torch.tensor([first]))
        second = int(continuation.logits.argmax())
    answers = [ids(first, second), ids(first), ids(first, (second + 1) % 60), ids((first + 1) % 60, second)]
    items = [Encoded(str(number), prompt, answer) for number, answer in enumerate(answers)]
    found = score_answers(model, items)
    assert [score.greedy for score in found] == [True, True, False, False]
    assert [score.logprob for score in found] == pytest.approx(naive(model, items), abs=1e-4)


WINDOWED_OR_OTHERWISE_ODD = {"gemma2", "gemma3", "mistral", "bloom", "falcon", "stablelm"}


@pytest.mark.parametrize("score", [answer_logprobs, score_answers])
def test_one_item_beyond_the_window_leaves_the_others_in_the_tree(
    score: Callable[..., Sequence[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 9 tokens the last is predicted and not read, so that they fit a window of 8."""
    model = MODELS["llama"]
    monkeypatch.setitem(model.__dict__, "window", 8)
    rng = np.random.default_rng(0)
    lengths = [(4, 2), (20, 3), (7, 2), (5, 1), (8, 2)]
    items = [
        Encoded(str(place), ids(*rng.integers(4, VOCABULARY, prompt)), ids(*rng.integers(4, VOCABULARY, target)))
        for place, (prompt, target) in enumerate(lengths)
    ]
    asked: list[str] = []

    def tree(model: LanguageModel, batch: Sequence[Encoded], *rest: Any, **more: Any) -> Any:
        asked.extend(item.id for item in batch)
        return tree_logprobs(model, batch, *rest, **more)

    monkeypatch.setattr(scoring, "tree_logprobs", tree)
    found = [own if isinstance(own, float) else own.logprob for own in score(model, items, budget=64)]
    assert found == pytest.approx(naive(model, items), abs=1e-4)
    assert asked == ["0", "2", "3"]


@pytest.mark.parametrize("name", [*DECODERS, *FURTHER])
def test_only_decoders_that_show_it_are_asked_in_a_tree(name: str) -> None:
    shown = capabilities_of(tiny_model(name))
    able = name not in WINDOWED_OR_OTHERWISE_ODD
    assert (shown.tree, shown.slots, shown.encoder_once) == (able, able, False)


@pytest.mark.parametrize("name", ENCODER_DECODERS)
def test_encoder_decoders_encode_once(name: str) -> None:
    assert capabilities_of(tiny_model(name)) == Capabilities(encoder_once=True)


def test_a_model_is_tried_again_when_its_parts_have_changed() -> None:
    model = tiny_model("llama")
    assert capabilities_of(model).tree
    layer = model.module.model.layers[0].self_attn
    kind = type(layer)

    class Other(kind):  # type: ignore[misc, valid-type]
        """Attends by a rule of its own, whatever layout it is given."""

        def forward(self, *args: object, **options: object) -> object:
            options.pop("luthier_layout", None)
            before, self.config._attn_implementation = self.config._attn_implementation, "sdpa"
            try:
                return super().forward(*args, **options)
            finally:
                self.config._attn_implementation = before

    layer.__class__ = Other
    assert capabilities_of(model) == Capabilities(own_output_layer=True)
    layer.__class__ = kind
    assert capabilities_of(model).tree


# What is computed, counted by hand.


def test_what_rows_begin_with_in_common_stands_once() -> None:
    block, question, other = range(10, 20), range(30, 36), range(40, 45)
    rows = [ids(*block, *question, 7), ids(*block, *other), ids(*block, *question, 8, 9), ids(*block, *question)]
    tree = build_prefix_tree(rows)
    # 10 of the block, 6 and 5 of the questions, and 7, 8, 9.
    assert sorted(tree.tokens.tolist()) == sorted([*block, *question, *other, 7, 8, 9])
    for index, row in enumerate(rows):
        places = tree.places(index, 0, len(row))
        assert tree.tokens[places].tolist() == row.tolist()
        assert tree.positions[places].tolist() == list(range(len(row)))
    assert tree.ends()[tree.places(0, 0, 1)].tolist() == [24]  # all 24 tokens see the block


def test_few_tokens_in_common_are_repeated() -> None:
    assert len(build_prefix_tree([ids(1, 2, 3, 4, 5), ids(1, 2, 3, 6, 7)]).tokens) == 10
    assert len(build_prefix_tree([ids(1, 2, 3, 4, 5), ids(1, 2, 3, 4, 7)]).tokens) == 6
    assert len(build_prefix_tree([ids(1, 2), ids(1, 2), ids(1, 2)]).tokens) == 2  # the same row is one row


@given(st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=14), min_size=1, max_size=12), st.integers(1, 5))
@settings(max_examples=200, deadline=None)
def test_a_tree_holds_every_row(rows: list[list[int]], worth: int) -> None:
    tree = build_prefix_tree([ids(*row) for row in rows], min_shared=worth)
    ends = tree.ends()
    for index, row in enumerate(rows):
        places = tree.places(index, 0, len(row))
        assert tree.tokens[places].tolist() == row
        # Among the tokens, those of the row alone are seen from its last one.
        last = int(places[-1])
        seen = [place for place in range(len(tree.tokens)) if place <= last < ends[place]]
        assert seen == places.tolist()
    if worth == 1:
        prefixes = {tuple(row[:cut]) for row in rows for cut in range(1, len(row) + 1)}
        assert len(tree.tokens) == len(prefixes) == count_tokens([ids(*row) for row in rows])


@given(request_sets(), st.integers(1, 400))
@settings(max_examples=60, deadline=None)
def test_no_pass_reads_more_than_its_budget(items: list[Encoded], budget: int) -> None:
    rows = _rows(items)
    passes = plan_passes(rows, budget)
    assert sorted(row.index for step in passes for row in step.rows) == list(range(len(items)))
    before: TokenIds | None = None
    for step in passes:
        tokens = [row.tokens for row in step.rows]
        assert (
            len(step.rows) == 1
            or len(build_prefix_tree(tokens, skip=step.skip, min_shared=MIN_SHARED).tokens) <= budget
        )
        if step.skip:
            assert before is not None
            assert all(common_prefix(before, row) >= step.skip for row in tokens)
            assert all(row.first >= step.skip for row in step.rows)
        before = step.rows[-1].tokens


def counting(model: LanguageModel) -> Callable[[], int]:
    """Count the tokens that a model reads."""
    read: list[int] = []
    model.module.get_input_embeddings().register_forward_hook(lambda _, given, out: read.append(given[0].numel()))
    return lambda: sum(read)


def test_a_block_is_read_once_over_all_passes() -> None:
    model = tiny_model("llama")
    rng = np.random.default_rng(5)
    block = rng.integers(4, 60, 80).astype(np.int32)
    questions = [rng.integers(4, 60, 10).astype(np.int32) for _ in range(12)]
    items = [
        Encoded(f"{number}-{option}", np.concatenate([block, question]), ids(option, 2))
        for number, question in enumerate(questions)
        for option in (20, 21, 22, 23)
    ]
    capabilities_of(model)
    read = counting(model)
    found, _ = tree_logprobs(model, items, 130)
    # The block, and each question with its four options; a pass may repeat what is not worth a node.
    assert 80 + 12 * 14 <= read() <= 80 + 12 * 14 + 12 * MIN_SHARED
    assert len(plan_passes(_rows(items), 130)) > 1
    whole, _ = tree_logprobs(model, items, 10_000)
    torch.testing.assert_close(found, whole, atol=1e-5, rtol=1e-5)


def test_an_encoder_reads_each_prompt_once() -> None:
    model = tiny_model("t5")
    rng = np.random.default_rng(6)
    prompts = [rng.integers(4, 60, 30).astype(np.int32) for _ in range(3)]
    items = [
        Encoded(f"{row}-{option}", prompt, ids(option, 2)) for row, prompt in enumerate(prompts) for option in range(5)
    ]
    capabilities_of(model)
    read: list[int] = []
    model.module.get_encoder().register_forward_hook(
        lambda _, args, options, out: read.append(options["input_ids"].numel()), with_kwargs=True
    )
    assert answer_logprobs(model, items) == pytest.approx(naive(tiny_model("t5"), items), abs=1e-4)
    assert sum(read) == 3 * 30
