"""A converted model answers as torch does, token for token in float32, or is refused with the reason."""

from __future__ import annotations

import atexit
import functools
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.config.compare import CompareConfig
from luthier.config.decoding import DecodingConfig
from luthier.config.evaluate import EvaluateConfig
from luthier.config.validation import validate
from luthier.data.encoding import Encoder
from luthier.errors import ConfigError, ModelError, StoreError
from luthier.experiments.evaluate import evaluate
from luthier.inference import ct2_convert as conversion
from luthier.inference.ct2_convert import open_converted
from luthier.inference.ct2_engine import CTranslate2, Precision, _batches, _worth_steps
from luthier.inference.generation import generate
from luthier.inference.scoring import answer_logprobs
from luthier.inference.static_prompts import CALL, group
from luthier.inference.stop_conditions import Generation, StopConditions
from luthier.methods.adapter_io import Card, save_adapter
from luthier.methods.registry import find_method, read_settings
from luthier.models.language_model import LanguageModel
from luthier.models.load import load_model
from luthier.records import Encoded, Example
from luthier.tasks.loader import load_examples, load_task
from small_job import write_job
from tiny_models import BOS, VOCABULARY, encoded, same_bits, state, tiny_folder, tiny_model

pytest.importorskip("ctranslate2", reason="the extra `deploy` (ctranslate2) is not installed")

NOTHING = np.zeros(0, dtype=np.int32)
HEAD = encoded(71, [(40, 1)])[0].prompt_ids
# Many end tokens, so that answers end at uneven places.
ENDS = set(range(5, 74, 8))
KINDS = ["llama-tied", "gpt2", "t5-untied", "bart"]


@functools.cache
def opened(name: str, precision: Precision = "float32") -> tuple[LanguageModel, CTranslate2]:
    """A tiny model, and the same converted; once a session."""
    model, folder = tiny_model(name), tempfile.mkdtemp(prefix="converted-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return model, open_converted(model, Path(folder), precision)


def choices(head: bool) -> list[Encoded]:
    """Choices of one, two and many tokens after prompts that begin alike or not; prompts and answers shared by some."""
    items = encoded(3, [(5, 2), (20, 3), (33, 14), (20, 1), (7, 9)], bos=not head)
    prompts = [np.concatenate([HEAD, item.prompt_ids]) if head else item.prompt_ids for item in items]
    found = [Encoded(item.id, prompt, item.target_ids) for item, prompt in zip(items, prompts, strict=True)]
    for number, target in enumerate(([9, 2], [10, 2], [10, 12, 2], [10])):
        found += [Encoded(f"{place}-{number}", prompts[place], np.array(target, dtype=np.int32)) for place in (1, 2)]
    return found


@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize("name", KINDS)
def test_answers_have_the_same_log_probabilities(name: str, head: bool) -> None:
    model, engine = opened(name)
    items = choices(head)
    expected = answer_logprobs(model, items)
    for budget in (8192, 100, 1):
        assert engine.answer_logprobs(items, budget=budget) == pytest.approx(expected, abs=1e-4, rel=1e-6), budget
    backwards = engine.answer_logprobs(items[::-1], budget=100)
    assert backwards[::-1] == pytest.approx(expected, abs=1e-4, rel=1e-6)
    assert engine.answer_logprobs([], budget=1) == []


def prompts(head: bool) -> list[Encoded]:
    items = encoded(72, [(1, 1), (17, 1), (8, 1), (25, 1), (5, 1), (12, 1), (21, 1), (9, 1)], bos=not head)
    return [
        Encoded(item.id, np.concatenate([HEAD, item.prompt_ids]) if head else item.prompt_ids, NOTHING)
        for item in items
    ]


@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize("name", KINDS)
def test_answers_are_written_token_for_token(name: str, head: bool) -> None:
    model, engine = opened(name)
    ending = StopConditions(str, 14, ENDS)
    expected = generate(model, prompts(head), DecodingConfig(), ending)
    assert len({answer.text for answer in expected}) > 2
    for budget in (None, 150, 1):
        assert engine.generate(prompts(head), DecodingConfig(), ending, budget=budget) == expected, budget
    assert engine.generate([], DecodingConfig(), ending) == []


@pytest.mark.parametrize("name", ["gpt2", "bart"])
def test_stop_strings_end_answers(name: str) -> None:
    model, engine = opened(name)
    asked = prompts(head=False)

    def decode(ids: list[int]) -> str:
        return "".join(chr(97 + token % 3) for token in ids)

    ending = StopConditions(decode, 14, {2}, ("ab", "cca"))
    expected = generate(model, asked, DecodingConfig(), ending)
    assert {answer.finish for answer in expected} == {"stop", "length"}
    assert engine.generate(asked, DecodingConfig(), ending) == expected


def test_without_end_tokens_answers_are_as_long_as_they_may_be() -> None:
    _, engine = opened("gpt2")
    ending = StopConditions(str, 5)
    assert engine.generate(prompts(head=False)[:2], DecodingConfig(), ending) == generate(
        opened("gpt2")[0], prompts(head=False)[:2], DecodingConfig(), ending
    )


def test_mini_says_the_same(tmp_path: Path) -> None:
    model = load_model("mini", device="cpu")
    engine = open_converted(model, tmp_path, "float32")
    encoder = Encoder(model.tokenizer, encoder_decoder=False, max_length=model.max_length)
    asked: list[Encoded] = []
    for name in ("dialogue_summary", "translation_en_es", "counting"):
        for example in load_examples(load_task(name), "test", limit=12, seed=1, evaluation=True):
            prompt = encoder.encode_prompt(example, reserve=32)
            assert isinstance(prompt, Encoded)
            asked.append(prompt)
    ending = StopConditions(encoder.decode, 32, model.end_ids, ("\n\n",))
    expected = generate(model, asked, DecodingConfig(), ending)
    assert len({answer.text for answer in expected}) > 15
    assert engine.generate(asked, DecodingConfig(), ending, budget=2000) == expected


def test_stories260k_gives_its_published_text(stories260k: Path, tmp_path: Path) -> None:
    model = load_model(str(stories260k), device="cpu")
    engine = open_converted(model, tmp_path, "float32")
    encoder = Encoder(model.tokenizer, encoder_decoder=False, max_length=model.max_length)
    asked = [
        encoder.encode_prompt(Example(text, "stories", "plain", text, ("",)), reserve=256)
        for text in ("", "One day, a boy named Tim", "Lily had a red ball")
    ]
    prompts = [prompt for prompt in asked if isinstance(prompt, Encoded)]
    assert prompts[0].prompt_ids.tolist() == [1]
    ending = StopConditions(encoder.decode, 230, model.end_ids.union(encoder.stop_ids))
    found = engine.generate(prompts, DecodingConfig(), ending)
    assert found[0].text.startswith((stories260k / "expected_greedy.txt").read_text(encoding="utf-8"))
    assert found == generate(model, prompts, DecodingConfig(), ending)


def test_eight_bits_are_near_and_not_the_same() -> None:
    model, engine = opened("llama-tied", "int8")
    items = choices(head=False)
    apart = np.abs(np.array(engine.answer_logprobs(items, budget=999)) - answer_logprobs(model, items))
    per_token = apart / [len(item.target_ids) for item in items]
    assert 1e-4 < per_token.max() < (1 if _adds_in_32_bits() else 5)
    assert engine.signature != opened("llama-tied")[1].signature


def _adds_in_32_bits() -> bool:
    """Whether the processor has VNNI; without it, sums of two products are cut at 16 bits (VPMADDUBSW)."""
    info = Path("/proc/cpuinfo")
    return not info.exists() or "vnni" in info.read_text()


# The conversion and its place in the store.


def test_a_conversion_is_found_again_and_leaves_the_model_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tiny_model("gpt2")
    before, config = state(model), model.module.config.to_dict()
    first = open_converted(model, tmp_path, "float32").answer_logprobs(choices(head=False), budget=999)
    assert "is converted" in capsys.readouterr().err
    assert same_bits(before, state(model))
    assert model.module.config.to_dict() == config

    def refuse(*_: object) -> None:
        raise AssertionError("converted twice")

    monkeypatch.setattr(conversion, "_convert", refuse)
    again = open_converted(model, tmp_path, "float32").answer_logprobs(choices(head=False), budget=999)
    assert again == first
    assert "found in the store" in capsys.readouterr().err
    for other in ({"precision": "int8"}, {"precision": "float32", "adapter": "another"}):
        with pytest.raises(AssertionError, match="converted twice"):
            open_converted(model, tmp_path, **other)  # type: ignore[arg-type]


def test_a_killed_conversion_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("gpt2")
    real = conversion._convert

    def killed(model: LanguageModel, work: Path, precision: Precision) -> None:
        real(model, work, precision)
        (work / "model" / "model.bin").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(conversion, "_convert", killed)
    with pytest.raises(KeyboardInterrupt):
        open_converted(model, tmp_path, "float32")
    (work,) = (tmp_path / "store" / "ctranslate2").glob("*.work")
    monkeypatch.setattr(conversion, "_convert", real)
    engine = open_converted(model, tmp_path, "float32")
    assert not work.exists()
    expected = answer_logprobs(model, choices(head=False))
    assert engine.answer_logprobs(choices(head=False), budget=999) == pytest.approx(expected, abs=1e-4)


def test_a_damaged_conversion_is_an_error_that_names_the_folder(tmp_path: Path) -> None:
    model = tiny_model("gpt2")
    open_converted(model, tmp_path, "float32")
    (weights,) = tmp_path.rglob("model.bin")
    weights.write_bytes(b"half")
    with pytest.raises(StoreError, match=r"damaged.*\n.*Remove this folder") as fault:
        open_converted(model, tmp_path, "float32")
    assert str(weights.parent.parent) in str(fault.value)


def test_a_conversion_that_gives_other_numbers_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversion, "_name_as_before", lambda config: None)
    with pytest.raises(ModelError, match=r"gives other log-probabilities: -.* instead of -.*\n.*engine torch"):
        open_converted(tiny_model("t5-untied"), tmp_path, "float32")
    assert not [path for path in (tmp_path / "store" / "ctranslate2").iterdir() if path.suffix != ".work"]


def test_what_cannot_be_converted_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"cannot convert this model \(olmo2\): No conversion.*\n.*engine torch"):
        open_converted(tiny_model("olmo2"), tmp_path, "float32")


def test_what_cannot_be_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"the model \(mistral\) (cannot be run|gives other).*\n.*engine torch"):
        open_converted(tiny_model("mistral"), tmp_path, "float32")  # layers that see eight tokens


def test_where_it_is_not_installed_the_error_says_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"not installed\n.*pip install ctranslate2`, or use --engine torch"):
        open_converted(tiny_model("gpt2"), tmp_path, "float32")


def test_a_window_is_not_overstepped(monkeypatch: pytest.MonkeyPatch) -> None:
    _, engine = opened("gpt2")
    monkeypatch.setattr(engine, "window", 8)
    short, long = encoded(5, [(4, 2), (12, 2)])
    assert len(engine.answer_logprobs([short], budget=99)) == 1
    with pytest.raises(
        ModelError,
        match=r"14 tokens do not fit the window of 8 tokens .*\n.*--set data.max_length=8, or use --engine torch",
    ):
        engine.answer_logprobs([short, long], budget=99)
    with pytest.raises(ModelError, match="9 tokens do not fit"):
        engine.generate([short], DecodingConfig(), StopConditions(str, 5))


def test_sampling_and_beams_are_refused() -> None:
    _, engine = opened("gpt2")
    for decoding, told in (({"temperature": 0.7}, "temperature is 0.7"), ({"beams": 3}, "beams is 3")):
        with pytest.raises(ConfigError, match=rf"greedily, and decoding.{told}\n.*engine torch"):
            engine.generate(prompts(False), DecodingConfig(**decoding), StopConditions(str, 5))


# How the work is laid out.


def cost(contexts: Sequence[np.ndarray[Any, Any]]) -> int:
    """What the groups cost, counted anew: shared beginnings once, the rest for each, and a call for each length."""
    total = 0
    for own in group(contexts):
        rows = [contexts[row] for row in own.rows]
        assert len({tuple(row[: own.shared]) for row in rows}) == 1
        assert all(len(row) > own.shared for row in rows)
        total += own.shared + sum(len(row) - own.shared for row in rows) + CALL * len({len(row) for row in rows})
    return total


@settings(max_examples=200, deadline=None)
@given(st.sets(st.lists(st.integers(0, 2), min_size=1, max_size=9).map(tuple), min_size=1, max_size=12))
def test_every_context_is_read_once_and_no_dearer_than_alone(drawn: set[tuple[int, ...]]) -> None:
    contexts = [np.array(row, dtype=np.int32) for row in sorted(drawn, key=hash)]
    assert sorted(row for own in group(contexts) for row in own.rows) == list(range(len(contexts)))
    assert cost(contexts) <= sum(len(row) + CALL for row in contexts)


def test_exemplars_are_read_once_and_so_is_a_prompt_of_many_answers() -> None:
    exemplars, questions = list(range(100, 600)), [[number] * 40 for number in range(1, 5)]
    after_exemplars = [np.array(exemplars + question, dtype=np.int32) for question in questions]
    assert [(own.shared, len(own.rows)) for own in group(after_exemplars)] == [(500, 4)]
    apart = [np.array([*([number] * 90), answer], dtype=np.int32) for number in (1, 2) for answer in range(10, 14)]
    assert [(own.shared, len(own.rows)) for own in group(apart)] == [(90, 4), (90, 4)]


def test_short_answers_are_scored_by_step_and_long_ones_by_row() -> None:
    prompt = np.arange(100, dtype=np.int32)
    short = [Encoded("a", prompt, np.arange(2, dtype=np.int32)) for _ in range(4)]
    text = [Encoded("b", prompt[:1], np.arange(90, dtype=np.int32))]
    assert _worth_steps(short + text) == {0, 1, 2, 3}
    alone = [Encoded("c", np.arange(200, 300 + place, dtype=np.int32), short[0].target_ids) for place in (0, 1)]
    assert _worth_steps(alone[:1]) == set()
    assert _worth_steps(alone) == {0, 1}, "they begin alike"


def test_batches_hold_what_the_budget_allows_and_like_lengths() -> None:
    # Half of eight new tokens is what prompts may differ in length.
    assert list(_batches([10, 30, 29, 12, 11], 0, 8, None)) == [[1, 2], [3, 4, 0]]
    assert list(_batches([10, 30, 29, 12, 11], 9, 8, None)) == [[1, 2], [3, 4], [0]], "one token after nine shared ones"
    assert list(_batches([10, 10, 10], 0, 5, 30)) == [[0, 1], [2]]
    assert list(_batches([10, 10], 0, 5, 1)) == [[0], [1]]


# Evaluation.


def ask(folder: Path, engine: str, **changes: Any) -> list[Any]:
    given_: dict[str, Any] = {
        "model": str(tiny_folder("llama-tied")),
        "tasks": [str(folder / f"{name}.yaml") for name in ("echo", "colour")],
        "runs": folder / "runs",
        "evaluation": {"resamples": 100, "engine": engine},
        **changes,
    }
    return evaluate(EvaluateConfig.model_validate(given_))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_job(tmp_path / "job", test=8)


def write_adapter(folder: Path, name: str, **given_: Any) -> Path:
    """An adapter that changes answers."""
    model = tiny_model("llama-tied")
    method = find_method(name)
    attached = method.attach(model, read_settings(method, given_, where="test"), seed=0)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in attached.trainable().values():
            weight.add_(0.2 * torch.randn(weight.shape, generator=draw))
    card = Card("0", name, given_, "tiny", model.digest)
    save_adapter(model, attached, folder / name, card)
    return folder / name


def alike(ones: Sequence[Any], others: Sequence[Any]) -> None:
    for one, other in zip(ones, others, strict=True):
        for left, right in zip(one.log.predictions, other.log.predictions, strict=True):
            assert (left.id, left.text, left.finish) == (right.id, right.text, right.finish)
            assert left.choice_logprobs == pytest.approx(right.choice_logprobs, abs=1e-4)
        assert [score.value for score in one.scores] == [score.value for score in other.scores]


def test_an_evaluation_answers_as_torch_does_with_an_adapter_or_without(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = ask(folder, "ctranslate2")
    assert plain[0].coarser is None
    alike(plain, ask(folder, "torch"))
    assert "engine:ctranslate2" in plain[0].scores[0].signature
    capsys.readouterr()
    adapter = write_adapter(folder, "lora")
    tuned = ask(folder, "ctranslate2", adapter=adapter)
    assert "is converted" in capsys.readouterr().err, "the base's conversion is not the adapter's"
    alike(tuned, ask(folder, "torch", adapter=adapter))
    logs = [[own.text for own in item.log.predictions] for item in (*plain, *tuned)]
    assert logs[:2] != logs[2:]


def test_eight_bits_are_measured_against_float32(folder: Path) -> None:
    found = ask(folder, "ctranslate2-int8")
    exact = ask(folder, "ctranslate2")
    for item, other in zip(found, exact, strict=True):
        assert item.coarser.value == pytest.approx(item.scores[0].value - other.scores[0].value)
        assert item.coarser.low <= item.coarser.value <= item.coarser.high
        texts = [[own.text for own in one.log.predictions] for one in (item, other)]
        assert item.same == sum(a == b for a, b in zip(*texts, strict=True)) / 8


def test_what_stands_beside_the_weights_is_refused(folder: Path) -> None:
    adapter = write_adapter(folder, "adapter", bottleneck=4)
    with pytest.raises(
        ModelError, match=r"needs the adapter in the weights, and .*beside the weights.*\n.*engine torch"
    ):
        ask(folder, "ctranslate2", adapter=adapter)


def test_another_device_and_a_comparison_are_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"computes on the CPU, and device is 'cuda'\n.*Leave --device out"):
        ask(folder, "ctranslate2", device="cuda")
    with pytest.raises(
        ConfigError, match=r"'evaluation\.engine' belongs to `luthier eval`; `luthier compare` does not use"
    ):
        validate(CompareConfig, {"evaluation": {"engine": "ctranslate2-int8"}}, source="c.yaml")


def test_table_and_json_show_what_eight_bits_cost(folder: Path) -> None:
    from luthier.report.evaluation import evaluation_json, evaluation_table, row_of

    rows = [row_of(item) for item in ask(folder, "ctranslate2-int8")]
    table = evaluation_table(rows).table
    assert len(table.rows) == 4
    assert table.rows[1][0].main == "  less float32"
    assert f"{rows[1].task} {100 * (rows[1].same or 0):.0f} %" in table.note
    told = json.loads(json.dumps(evaluation_json(rows)))[rows[0].task]
    assert told["less_float32"]["n"] == 8
    assert told["same_answers"] == rows[0].same


def test_the_names_of_tokens_are_their_ids() -> None:
    model, engine = opened("gpt2")
    assert len(model.tokenizer) == VOCABULARY
    every = [Encoded("x", np.array([BOS], np.int32), np.array([token], np.int32)) for token in range(VOCABULARY)]
    total = np.exp(engine.answer_logprobs(every, budget=999)).sum()
    assert total == pytest.approx(1, abs=1e-4)
    assert isinstance(engine.generate(prompts(False)[:1], DecodingConfig(), StopConditions(str, 1))[0], Generation)
