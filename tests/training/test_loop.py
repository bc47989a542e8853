"""The training loop's arithmetic, against numbers that can be followed by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from rows import HELD_OUT, ROWS, held_out, losses, run, scripted, start, validations
from safetensors.torch import load_file

from luthier.config.training import TrainingConfig
from luthier.data.batching import plan_steps
from luthier.errors import StoreError, TrainingError
from luthier.kernels.activation_checkpointing import recomputes
from luthier.methods.adapter_io import Card, save_adapter
from luthier.methods.base import snapshot
from luthier.models.language_model import LanguageModel
from luthier.objectives.cross_entropy import CrossEntropy, cross_entropy
from luthier.objectives.objective import mean_loss
from luthier.records import Encoded
from luthier.training.log import read_log
from luthier.training.optimizer import learning_rate, make_optimizer, optimizer_tensors
from luthier.training.pass_size import busy_tokens
from luthier.training.validation import Validation, validation_steps
from tiny_models import PAD, same_bits, tiny_model


def nats_by_hand(model: LanguageModel, item: Encoded) -> float:
    """Sum over the target tokens of -log softmax, one token at a time."""
    with torch.no_grad():
        if model.encoder_decoder:
            read = torch.tensor([[PAD, *item.target_ids[:-1].tolist()]])
            logits = model.module(input_ids=torch.tensor([item.prompt_ids.tolist()]), decoder_input_ids=read).logits[0]
        else:
            row = [*item.prompt_ids.tolist(), *item.target_ids.tolist()]
            logits = model.module(input_ids=torch.tensor([row])).logits[0, len(item.prompt_ids) - 1 : -1]
    total = 0.0
    for scores, token in zip(logits.double().tolist(), item.target_ids.tolist(), strict=True):
        total += math.log(sum(math.exp(score) for score in scores)) - scores[token]
    return total


@pytest.mark.parametrize("name", ["llama", "t5"])
@pytest.mark.parametrize("micro_tokens", [1, 20, 8192])
def test_the_loss_is_the_sum_over_the_steps_supervised_tokens(name: str, micro_tokens: int, tmp_path: Path) -> None:
    model, attached = start("full", name)
    expected = sum(nats_by_hand(model, item) for item in ROWS) / (4 + 2 + 7 + 5 + 1 + 3 + 6 + 4)
    run(model, attached, tmp_path, steps=1, batch_size=8, micro_tokens=micro_tokens)
    assert losses(tmp_path) == [pytest.approx(expected, rel=1e-5)]


@pytest.mark.parametrize("name", ["llama", "t5"])
@pytest.mark.parametrize("method", ["full", "lora"])
def test_eight_times_one_is_one_times_eight(name: str, method: str, tmp_path: Path) -> None:
    """Accumulation changes neither loss nor gradient nor weights."""
    found = {}
    for micro_tokens in (1, 25, 8192):
        model, attached = start(method, name, **({"dropout": 0.0} if method == "lora" else {}))
        folder = tmp_path / str(micro_tokens)
        # A large epsilon: Adam must not blow rounding in vanishing gradients up to whole steps.
        run(model, attached, folder, steps=4, batch_size=8, micro_tokens=micro_tokens, epsilon=1e-2)
        norms = [line["gradient_norm"] for line in read_log(folder / "log.jsonl")]
        found[micro_tokens] = (snapshot(attached), losses(folder), norms)
    weights, curve, norms = found[8192]
    for micro_tokens in (1, 25):
        other_weights, other_curve, other_norms = found[micro_tokens]
        assert other_curve == pytest.approx(curve, rel=1e-6)
        assert other_norms == pytest.approx(norms, rel=1e-5)
        for key, weight in weights.items():
            torch.testing.assert_close(other_weights[key], weight, atol=1e-6, rtol=1e-5)


def test_the_first_step_is_adamw_by_hand(tmp_path: Path) -> None:
    """At step one both averages equal the clipped gradient g: w becomes w(1 - lr·decay) - lr·g / (|g| + eps)."""
    model, attached = start("full")
    before = snapshot(attached)
    (cross_entropy(model, ROWS) / 32).backward()
    gradients = {key: weight.grad.clone() for key, weight in attached.trainable().items() if weight.grad is not None}
    norm = math.sqrt(sum(float((gradient.double() ** 2).sum()) for gradient in gradients.values()))
    assert norm > 0.5
    run(
        model,
        attached,
        tmp_path,
        steps=1,
        batch_size=8,
        warmup=0,
        weight_decay=0.1,
        clip_norm=0.5,
        epsilon=1e-2,
        validations=0,
    )
    (line,) = read_log(tmp_path / "log.jsonl")
    assert line["gradient_norm"] == pytest.approx(norm, rel=1e-5)  # measured before the clip
    assert line["learning_rate"] == pytest.approx(1e-2)
    after = snapshot(attached)
    for key, gradient in gradients.items():
        clipped = gradient * (0.5 / norm)
        kept = before[key] * (1 - 1e-2 * 0.1) if before[key].ndim >= 2 else before[key]
        torch.testing.assert_close(after[key], kept - 1e-2 * clipped / (clipped.abs() + 1e-2), atol=1e-6, rtol=1e-5)


def test_the_learning_rate_by_hand() -> None:
    """Ten steps, two of warm-up: thirds of the peak on the way up, then down to a tenth at the last step."""

    def rates(**options: object) -> list[float]:
        config = TrainingConfig(warmup=0.2, final_learning_rate_fraction=0.1, **options)  # type: ignore[arg-type]
        return [learning_rate(step, 10, 3.0, config) for step in range(10)]

    assert rates(schedule="constant") == pytest.approx([1, 2, 3, 3, 3, 3, 3, 3, 3, 3])
    # After the warm-up seven intervals from 3 to 0.3.
    assert rates(schedule="linear") == pytest.approx([1, 2, *[3 - 2.7 * done / 7 for done in range(8)]])
    cosine = rates(schedule="cosine")
    assert cosine[2] == 3
    assert cosine[9] == pytest.approx(0.3)
    assert cosine[5] == pytest.approx(0.3 + 2.7 * (1 + math.cos(math.pi * 3 / 7)) / 2)
    single = TrainingConfig(warmup=0.0)
    assert learning_rate(0, 1, 3.0, single) == 3.0


def test_the_log_has_every_steps_rate_and_numbers(tmp_path: Path) -> None:
    model, attached = start()
    done = run(
        model,
        attached,
        tmp_path,
        validate=held_out(model),
        schedule="linear",
        warmup=0.25,
        final_learning_rate_fraction=0.0,
    )
    lines = [line for line in read_log(tmp_path / "log.jsonl") if "loss" in line]
    assert [line["step"] for line in lines] == list(range(1, 9))
    thirds = [1 / 3, 2 / 3, 1, 0.8, 0.6, 0.4, 0.2, 0]
    assert [line["learning_rate"] for line in lines] == pytest.approx([1e-2 * part for part in thirds])
    assert [step for step, _ in validations(tmp_path)] == [2, 4, 6, 8]
    assert all(math.isfinite(float(line[key] or 0)) for line in lines for key in ("tokens_per_second", "gradient_norm"))
    plan = plan_steps(8, TrainingConfig(steps=8, batch_size=3), seed=3)
    expected = sum(len(ROWS[index].target_ids) for step in range(8) for index in plan.indices(step))
    assert done.supervised_tokens == expected
    assert done.step == 8


@pytest.mark.parametrize(
    ("steps", "count", "expected"),
    [(8, 4, {2, 4, 6, 8}), (10, 3, {3, 7, 10}), (2, 5, {1, 2}), (100, 1, {100}), (5, 0, set())],
)
def test_validations_are_spread_and_the_last_step_is_one(steps: int, count: int, expected: set[int]) -> None:
    assert validation_steps(steps, count) == expected


def test_no_dropout_while_validating(tmp_path: Path) -> None:
    model, attached = start(dropout=0.5)
    modes = []

    def validate() -> Validation:
        modes.append(model.module.training)
        return Validation(1.0, "none", 0.0, higher_is_better=True)

    def objective(model: LanguageModel, batch: Sequence[Encoded]) -> torch.Tensor:
        modes.append(model.module.training)
        return cross_entropy(model, batch)

    run(model, attached, tmp_path, validate=validate, objective=objective, steps=2, validations=2)
    assert modes == [True, False, True, False]
    assert not model.module.training


def test_the_best_weights_are_those_of_the_best_metric(tmp_path: Path) -> None:
    for values, higher, best in (
        ([1.0, 3.0, 2.0, 2.9], True, 4),
        ([1.0, 3.0, 0.5, 2.9], False, 6),
        ([1.0, 1.0, 1.0, 1.0], True, 2),  # a tie is not a gain
        ([1.0, 2.0, 3.0, 4.0], True, 8),
        ([math.nan, 2.0, 1.0, math.nan], True, 4),  # what was not measured is never the best
    ):
        model, attached = start()
        seen: dict[int, dict[str, torch.Tensor]] = {}
        measure = scripted(values, higher_is_better=higher)

        def validate() -> Validation:
            seen[len(seen)] = snapshot(attached)  # noqa: B023 - called within this pass
            return measure()  # noqa: B023

        folder = tmp_path / f"{values}{higher}"
        done = run(model, attached, folder, validate=validate)
        assert done.best_step == best
        assert same_bits(snapshot(attached), seen[best // 2 - 1])
        assert len(list(folder.glob("best-*"))) <= 2


def test_without_validation_the_last_weights_stay(tmp_path: Path) -> None:
    model, attached = start()
    done = run(model, attached, tmp_path)
    assert (done.best_step, done.best_score, done.validation_loss) == (None, None, None)
    assert not list(tmp_path.glob("best-*"))
    assert not [name for name, weight in model.module.named_parameters() if weight.grad is not None], "given back"


def test_patience_stops_and_keeps_the_best(tmp_path: Path) -> None:
    model, attached = start()
    values = [1.0, 2.0, 1.5, 1.0, 9.0, 9.0, 9.0, 9.0]
    done = run(model, attached, tmp_path, validate=scripted(values), validations=8, patience=2)
    assert done.step == 4
    assert done.best_step == 2
    assert len(losses(tmp_path)) == 4
    # The same command again does nothing more.
    again, fresh = start()
    done = run(again, fresh, tmp_path, validate=scripted([]), validations=8, patience=2)
    assert done.step == 4
    assert same_bits(snapshot(fresh), snapshot(attached))


@pytest.mark.parametrize("broken", ["loss", "gradient"])
def test_a_loss_that_is_not_finite_names_its_examples(broken: str, tmp_path: Path) -> None:
    model, attached = start()
    calls = 0

    def objective(model: LanguageModel, batch: Sequence[Encoded]) -> torch.Tensor:
        nonlocal calls
        calls += 1
        loss = cross_entropy(model, batch)
        if calls < 3:
            return loss
        return loss * math.nan if broken == "loss" else loss + (loss - loss).sqrt()  # d sqrt(0) is infinite

    with pytest.raises(TrainingError) as caught:
        run(model, attached, tmp_path, objective=objective, checkpoint_seconds=0)
    before = snapshot(attached)
    plan = plan_steps(8, TrainingConfig(steps=8, batch_size=3), seed=3)
    assert str(caught.value).startswith("step 3: ")
    for index in plan.indices(2):
        assert f"example-{index}" in str(caught.value)
    assert "--set training.learning_rate=RATE" in str(caught.value)
    assert all(weight.isfinite().all() for weight in before.values())  # no step was taken with it
    assert not model.module.training
    (kept,) = tmp_path.glob("step-*")
    assert kept.name == "step-00000002"


def test_the_optimizer_keeps_state_only_for_what_is_trained(tmp_path: Path) -> None:
    model, attached = start()
    run(model, attached, tmp_path, checkpoint_seconds=0)
    (newest,) = tmp_path.glob("step-*")
    stored = load_file(newest / "optimizer.safetensors")
    names = attached.trainable().keys()
    assert stored.keys() == {f"{name}/{key}" for name in names for key in ("step", "exp_avg", "exp_avg_sq")}
    assert {tensor.item() for key, tensor in stored.items() if key.endswith("/step")} == {8.0}
    assert load_file(newest / "weights.safetensors").keys() == names


def test_weight_decay_acts_on_matrices_only() -> None:
    _, attached = start("full")
    optimizer = make_optimizer(attached.trainable(), TrainingConfig(weight_decay=0.1))
    matrices, vectors = optimizer.param_groups
    assert (matrices["weight_decay"], vectors["weight_decay"]) == (0.1, 0.0)
    assert all(weight.ndim == 1 for weight in vectors["params"])
    assert len(matrices["params"]) + len(vectors["params"]) == len(attached.trainable())
    assert optimizer_tensors(optimizer, attached.trainable()) == {}


def test_the_same_seed_gives_the_same_bits_and_another_does_not(tmp_path: Path) -> None:
    curves: dict[str, list[float]] = {}
    for label, seed in (("first", 3), ("again", 3), ("other", 4)):
        torch.manual_seed(len(curves))  # whatever was drawn before does not matter
        model, attached = start()
        run(model, attached, tmp_path / label, seed=seed)
        curves[label] = losses(tmp_path / label)
    assert curves["first"] == curves["again"]
    assert curves["first"] != curves["other"]


def test_golden_losses(tmp_path: Path) -> None:
    """A change of these is a change of what training computes: it must be meant."""
    for name, expected in GOLDEN.items():
        method, _, architecture = name.partition(" ")
        model, attached = start(method, architecture)
        run(model, attached, tmp_path / name, steps=5)
        assert losses(tmp_path / name) == pytest.approx(expected, rel=2e-4), name


GOLDEN: dict[str, list[float]] = {
    "full llama": [8.95054, 7.64422, 5.26205, 3.61229, 4.42611],
    "lora llama": [8.95054, 7.89491, 7.47776, 6.58757, 8.63665],
    "full t5": [5.87324, 5.63228, 4.629, 2.94883, 3.27506],
    "lora t5": [5.87324, 5.88619, 5.87754, 5.29112, 5.00971],
}


def test_activation_checkpointing_changes_nothing(tmp_path: Path) -> None:
    for method in ("full", "lora"):
        found = []
        for switch in (False, True):
            model, attached = start(method)
            run(model, attached, tmp_path / f"{method}{switch}", activation_checkpointing=switch, steps=3)
            found.append(snapshot(attached))
            assert not recomputes(model.module)
        for key, weight in found[0].items():
            torch.testing.assert_close(found[1][key], weight, atol=5e-6, rtol=1e-5)


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    model, attached = start()
    with pytest.raises(StoreError, match="cannot write"):
        run(model, attached, tmp_path / "file" / "work")


def test_steps_take_every_example_once_an_epoch() -> None:
    plan = plan_steps(8, TrainingConfig(epochs=3, batch_size=3), seed=1)
    assert plan.steps == 8  # 24 examples in threes
    flat = [index for step in range(plan.steps) for index in plan.indices(step)]
    epochs = [flat[start : start + 8] for start in (0, 8, 16)]
    assert all(sorted(epoch) == list(range(8)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert plan_steps(2, TrainingConfig(epochs=0.1, batch_size=16), seed=1).steps == 1
    assert plan_steps(2, TrainingConfig(steps=7, batch_size=16), seed=1).batch_size == 2


def test_half_a_line_of_the_log_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(json.dumps({"step": 1, "loss": 2.0}) + '\n{"step": 2, "lo')
    assert read_log(path) == [{"step": 1, "loss": 2.0}]
    assert read_log(tmp_path / "none.jsonl") == []


def test_a_loss_over_nothing_is_not_measured() -> None:
    assert math.isnan(mean_loss(CrossEntropy(), tiny_model("llama"), []))


def test_the_held_out_rows_are_not_trained_on() -> None:
    trained = {tuple(item.prompt_ids.tolist()) for item in ROWS}
    assert not trained & {tuple(item.prompt_ids.tolist()) for item in HELD_OUT}
    assert np.concatenate([item.target_ids for item in ROWS]).size == 32
    assert tiny_model("llama").end_ids == frozenset({2})


def test_narrow_models_take_more_tokens_in_a_pass() -> None:
    """5 times 2^16 numbers in a hidden state; no fewer than 512 tokens; and 512 where batches are padded."""
    model, _ = start("full")  # 32 wide
    assert busy_tokens(model) == 5 * 2**16 // 32
    model.module.config.hidden_size = 576
    assert busy_tokens(model) == 568
    model.module.config.hidden_size = 4096
    assert busy_tokens(model) == 512
    padded, _ = start("full", "bloom")
    assert padded.why_padded() is not None
    assert busy_tokens(padded) == 512


def test_weights_that_the_last_step_made_infinite_are_found(tmp_path: Path) -> None:
    """The loss of the last step is finite: it was computed before the step."""
    model, attached = start("full")
    with pytest.raises(TrainingError, match=r"step 1: the weights are not finite after the step") as caught:
        run(model, attached, tmp_path, steps=1, batch_size=8, rate=1e38, clip_norm=None, validate=held_out(model))
    assert "--set training.learning_rate=RATE" in str(caught.value)


def test_weights_so_large_that_they_give_no_numbers_are_never_stored(tmp_path: Path) -> None:
    model, attached = start("full")
    run(model, attached, tmp_path, steps=1, batch_size=8, rate=1e30)
    assert all(weight.isfinite().all() for weight in attached.trainable().values())
    card = Card(luthier="0", method="full", settings={}, base_name="tiny", base_digest="")
    with pytest.raises(TrainingError, match=r"the trained model gives numbers that are not finite"):
        save_adapter(model, attached, tmp_path / "adapter", card)


def test_training_that_ends_worse_than_it_began_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, attached = start("full")
    run(model, attached, tmp_path / "better", steps=20, batch_size=8, rate=0.01)
    assert "worse than it began" not in capsys.readouterr().err
    run(model, attached, tmp_path / "worse", steps=10, batch_size=8, rate=3.0)
    assert "training ended worse than it began (loss" in capsys.readouterr().err
