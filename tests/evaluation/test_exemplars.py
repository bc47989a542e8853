"""Few-shot exemplars: from the pool only, drawn by a seed or the first, as many as fit."""

from __future__ import annotations

from luthier.data.encoding import Encoder
from luthier.evaluation.exemplars import add_exemplars
from luthier.evaluation.requests import fits_whole
from luthier.records import Example, Turn
from tiny_models import make_tokenizer


def example(name: str, prompt: str, target: str) -> Example:
    return Example(name, "task", "plain", prompt, (target,), input_span=(0, len(prompt)))


POOL = [example(f"train-{index}", f"prompt {index}", f"answer {index}") for index in range(20)]
TEST = [example(f"test-{index}", f"question {index}", "unknown") for index in range(3)]


def everything(_: Example) -> bool:
    return True


def test_exemplars_come_from_the_pool_and_stand_before_every_prompt() -> None:
    shown = add_exemplars(TEST, POOL, 4, seed=0, fits=everything)
    assert shown.used == (4, 4)
    known = {Turn(item.prompt, item.targets[0]) for item in POOL}
    for before, after in zip(TEST, shown.examples, strict=True):
        assert (after.id, after.prompt, after.targets) == (before.id, before.prompt, before.targets)
        assert len(set(after.turns)) == 4
        assert set(after.turns) <= known
    assert len({item.turns for item in shown.examples}) == 1  # one prefix for all


def test_the_seed_alone_decides_which() -> None:
    def turns(seed: int, pool: list[Example]) -> tuple[Turn, ...]:
        return add_exemplars(TEST, pool, 4, seed=seed, fits=everything).examples[0].turns

    assert turns(0, POOL) == turns(0, POOL[::-1])
    assert turns(0, POOL) != turns(1, POOL)


def test_an_exemplar_is_never_what_is_asked() -> None:
    pool = [*POOL, example("train-leak", TEST[1].prompt, "the very answer")]
    for seed in range(20):
        for item in add_exemplars(TEST, pool, 20, seed=seed, fits=everything).examples:
            assert all(turn.reply != "the very answer" for turn in item.turns)


def test_as_many_as_fit() -> None:
    wanted = {"test-0": 3, "test-1": 0, "test-2": 5}
    shown = add_exemplars(TEST, POOL, 5, seed=0, fits=lambda item: len(item.turns) <= wanted[item.id])
    assert [len(item.turns) for item in shown.examples] == [3, 0, 5]
    assert shown.used == (0, 5)
    assert shown.examples[2].turns[:3] == shown.examples[0].turns  # the first ones stay


def test_a_small_pool_and_no_shots() -> None:
    assert add_exemplars(TEST, POOL[:2], 5, seed=0, fits=everything).used == (2, 2)
    assert add_exemplars(TEST, POOL, 0, seed=0, fits=everything).examples == tuple(TEST)
    assert add_exemplars([], POOL, 3, seed=0, fits=everything).used == (0, 0)
    assert add_exemplars(TEST, [], 3, seed=0, fits=everything).used == (0, 0)


def test_an_examples_own_turns_stay_next_to_its_prompt() -> None:
    history = (Turn("earlier", "reply"),)
    own = Example("chat", "task", "plain", "now", ("x",), turns=history)
    (shown,) = add_exemplars([own], POOL, 2, seed=0, fits=everything).examples
    assert len(shown.turns) == 3
    assert shown.turns[-1:] == history
    assert add_exemplars([own], POOL, 2, seed=0, fits=everything).used == (2, 2)


def test_by_tokens_nothing_is_cut_and_one_more_would_not_fit() -> None:
    encoder = Encoder(make_tokenizer(), encoder_decoder=False, max_length=100)
    shown = add_exemplars(TEST, POOL, 10, seed=0, fits=lambda item: fits_whole(item, encoder, new_tokens=20))
    more = add_exemplars(TEST, POOL, shown.used[1] + 1, seed=0, fits=everything)
    assert 0 < shown.used[0] < 10
    for item, larger in zip(shown.examples, more.examples, strict=True):
        assert encoder.length(item) + 20 <= 100 < encoder.length(larger) + 20


def test_the_first_of_the_pool_whatever_the_seed() -> None:
    known = tuple(Turn(item.prompt, item.targets[0]) for item in POOL)
    for seed in range(3):
        shown = add_exemplars(TEST, POOL, 3, seed=seed, fits=everything, order="first")
        assert {item.turns for item in shown.examples} == {known[:3]}
    backwards = add_exemplars(TEST, POOL[::-1], 3, seed=0, fits=everything, order="first")
    assert {item.turns for item in backwards.examples} == {known[:-4:-1]}


def test_the_first_exemplar_is_never_what_is_asked() -> None:
    pool = [example("leak", TEST[1].prompt, "the very answer"), *POOL]
    shown = add_exemplars(TEST, pool, 2, seed=0, fits=everything, order="first")
    assert shown.examples[0].turns == tuple(Turn(item.prompt, item.targets[0]) for item in POOL[:2])
