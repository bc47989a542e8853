"""A whole comparison in miniature, for a decoder and an encoder-decoder: what it says can be checked by hand."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from luthier.config.arm_settings import ArmConfig
from luthier.config.evaluation import EvaluationConfig
from luthier.errors import LuthierError
from luthier.evaluation.prepared_task import task_metrics_of
from luthier.experiments.compare import compare
from luthier.experiments.evaluate import evaluate
from luthier.metrics.prediction_log import read_predictions
from luthier.models.load import load_model
from luthier.results.change import Change
from luthier.results.records import read_costs, read_results
from luthier.results.scores import change, corrected
from luthier.tasks.loader import load_task
from luthier.training.loop import train
from small_job import COLOUR, ECHO, Done, comparison, evaluation, rows, write_job, write_rows, write_task
from tiny_models import same_bits, state, tiny_model

# Rank 4: 4 x (inputs + outputs) of every linear layer but the head, in each of 2 layers.
# llama: q 32+32, k and v 32+16, o 32+32, gate and up 32+48, down 48+32.
# t5 encoder: q k v o 32+32, wi 32+48, wo 48+32; decoder the same and four more of cross-attention.
LORA_WEIGHTS = {
    "llama": 4 * 2 * (64 + 48 + 48 + 64 + 80 + 80 + 80),
    "t5": 4 * 2 * ((4 * 64 + 160) + (8 * 64 + 160)),
}


def log(done: Done, arm: str) -> list[Any]:
    return list(read_predictions(done.run / "predictions" / f"{arm}.jsonl"))


def test_what_every_arm_is(done: Done) -> None:
    arms = {arm.name: arm for arm in done.results.arms}
    assert [(arm.name, arm.method, arm.shots) for arm in arms.values()] == [
        ("zero_shot", None, 0),
        ("2_shot", None, 2),
        ("full", "full", 0),
        ("lora", "lora", 0),
    ]
    assert arms["zero_shot"].trainable_parameters == arms["2_shot"].trainable_parameters == 0
    assert arms["full"].trainable_parameters == done.results.model.parameters
    assert arms["lora"].trainable_parameters == LORA_WEIGHTS[done.kind]
    # float32: four bytes a weight, and the files around them.
    assert arms["zero_shot"].stored_bytes == 0
    assert 4 * LORA_WEIGHTS[done.kind] < arms["lora"].stored_bytes < arms["full"].stored_bytes
    assert arms["full"].training is not None
    assert arms["lora"].training is not None
    assert arms["full"].training.learning_rate == 3e-3
    assert arms["lora"].training.learning_rate == 1e-3, "LoRA's own"
    assert arms["2_shot"].shots_used == (2, 2)
    assert done.results.model.kind == {"llama": "decoder", "t5": "encoder-decoder"}[done.kind]
    assert done.results.task.splits == {"train": 12, "validation": 3, "test": 6}


def test_scores_are_those_of_the_log(done: Done) -> None:
    for arm in done.results.arms:
        predictions = log(done, arm.name)
        assert [item.id for item in predictions] == [f"test-{number}" for number in range(6)]
        scores = {score.metric: score for score in arm.scores}
        assert list(scores) == ["token_f1", "exact_match"], "the primary comes first"
        exact = sum(item.text.strip() == item.targets[0] for item in predictions) / 6
        assert scores["exact_match"].value == exact
        assert {score.n for score in arm.scores} == {6}
        assert arm.prompt_tokens == sum(item.prompt_tokens for item in predictions) / 6


def test_answers_are_counted_from_the_log(done: Done) -> None:
    for arm in done.results.arms:
        texts = [item.text.strip() for item in log(done, arm.name)]
        assert arm.answers is not None
        assert (arm.answers.n, arm.answers.distinct) == (6, len(set(texts)))
        assert {one.answer: one.given for one in arm.answers.counts if one.given} == {
            text: texts.count(text) for text in texts
        }
        alike = any("gives one answer" in note for note in arm.notes)
        assert alike == (len(set(texts)) == 1)


def test_shots_lengthen_the_prompt(done: Done) -> None:
    prompts = {arm.name: arm.prompt_tokens for arm in done.results.arms}
    assert prompts["zero_shot"] == prompts["full"] == prompts["lora"]
    # An exemplar is about as long as a prompt, and two of them stand before it.
    assert 2.5 * prompts["zero_shot"] < prompts["2_shot"] < 4.5 * prompts["zero_shot"]


def test_before_is_the_base_and_only_trained_arms_forget(done: Done, tmp_path: Path) -> None:
    colour = str(done.job / "colour.yaml")
    (alone,) = evaluate(evaluation(done.config, runs=tmp_path, tasks=[colour]))
    arms = {arm.name: arm for arm in done.results.arms}
    for name in ("zero_shot", "2_shot"):
        assert arms[name].retained == ()
        assert arms[name].token_loss is None
    losses = set()
    for name in ("full", "lora"):
        (kept,) = arms[name].retained
        assert kept.task == "colour"
        assert kept.chance == 0.2
        assert kept.before == alone.scores[0]
        assert kept.change.value == pytest.approx(kept.after.value - kept.before.value, abs=1e-12)
        loss = arms[name].token_loss
        assert loss is not None
        assert not loss.higher_is_better
        assert loss.change.value == pytest.approx(loss.after.value - loss.before.value, abs=1e-9)
        assert loss.after.value != loss.before.value, "training changed the model"
        losses.add(loss.before.value)
    assert len(losses) == 1, "every arm starts from the same base"


def test_training_log(done: Done) -> None:
    for arm in done.results.arms:
        if arm.method is None:
            assert (arm.steps, arm.best_step, arm.curve) == (0, None, "")
            continue
        lines = [json.loads(line) for line in (done.run / arm.curve).read_text().splitlines()]
        assert [line["step"] for line in lines if "loss" in line] == list(range(1, 9))
        assert [line["step"] for line in lines if "validation_loss" in line] == [4, 8]
        assert arm.steps == 8
        assert arm.best_step in (4, 8)
        # Supervised characters and an end token; a uniform guess over the vocabulary costs ln 73 = 4.29 nats each.
        learned = [line["loss"] for line in lines if "loss" in line]
        assert sum(learned[4:]) < sum(learned[:4])


def test_pairs_are_corrected_for_their_number(done: Done) -> None:
    results = done.results
    names = [arm.name for arm in results.arms]
    assert [(pair.b, pair.a) for pair in results.pairs] == list(itertools.combinations(names, 2))
    echo = task_metrics_of(load_task(str(done.job / "echo.yaml")))
    raw = [change(log(done, pair.a), log(done, pair.b), echo, done.config.evaluation) for pair in results.pairs]
    # Holm (1979): the smallest of 6 times 6, the next times 5 …, never falling, never above 1.
    order = sorted(range(6), key=lambda index: raw[index].p_value)
    worst = 0.0
    for rank, index in enumerate(order):
        worst = max(worst, min(1.0, raw[index].p_value * (6 - rank)))
        assert results.pairs[index].change.p_value == pytest.approx(worst)
        assert results.pairs[index].change.value == raw[index].value


def test_holm_by_hand() -> None:
    raw = [Change(0.1, 0.0, 0.2, p, 10, True) for p in (0.03, 0.01, 0.02)]
    found = corrected(raw, EvaluationConfig())
    # 0.01 x 3, 0.02 x 2, 0.03 x 1 but never below the one before it.
    assert [item.p_value for item in found] == pytest.approx([0.04, 0.03, 0.04])
    assert all(item.significant for item in found)
    strict = corrected([*raw, Change(0.1, 0.0, 0.2, 0.013, 10, True)], EvaluationConfig())
    # 0.01 x 4, then 0.013 x 3 = 0.039, which may not fall below it.
    assert [item.p_value for item in strict] == pytest.approx([0.04, 0.04, 0.04, 0.04])
    assert not any(item.significant for item in corrected(raw, EvaluationConfig(confidence=0.98)))


def test_costs_are_measured(done: Done) -> None:
    costs = read_costs(done.run)
    assert costs.threads == 1
    for name in ("full", "lora"):
        assert (costs.arms[name].training_seconds or 0) > 0
        assert (costs.arms[name].supervised_tokens_per_second or 0) > 0
    assert costs.arms["zero_shot"].training_seconds is None, "not measured is never 0"


def forbidden(*_: object, **__: object) -> Any:
    raise AssertionError("this was done before")


def test_a_second_run_does_nothing_again(done: Done, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (done.run / "results.json").read_bytes()
    (done.run / "results.json").unlink()
    monkeypatch.setattr("luthier.training.train_arm.train", forbidden)
    monkeypatch.setattr("luthier.evaluation.jobs.answer_batch", forbidden)
    monkeypatch.setattr("luthier.evaluation.text_loss.answer_logprobs", forbidden)
    assert compare(done.config) == done.run
    assert (done.run / "results.json").read_bytes() == before


def test_another_learning_rate_trains_that_arm_alone(done: Done, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[str] = []
    real = train

    def counting(*arguments: Any, label: str, **others: Any) -> Any:
        trained.append(label)
        return real(*arguments, label=label, **others)

    monkeypatch.setattr("luthier.training.train_arm.train", counting)
    arms = tuple(
        item.model_copy(update={"training": {"learning_rate": 2e-3}}) if isinstance(item, ArmConfig) else item
        for item in done.config.arms[:3]
    )
    run = compare(done.config.model_copy(update={"arms": (*arms, done.config.arms[3])}))
    assert trained == ["full: training"]
    assert run != done.run
    new, old = ({arm.name: arm for arm in read_results(folder).arms} for folder in (run, done.run))
    assert new["lora"].scores == old["lora"].scores
    assert new["full"].token_loss != old["full"].token_loss


def test_checkpoints_do_not_change_the_result(done: Done, tmp_path: Path) -> None:
    every_step = done.config.training.model_copy(update={"checkpoint_seconds": 0})
    run = compare(done.config.model_copy(update={"runs": tmp_path, "training": every_step}))
    for one, other in zip(read_results(run).arms, done.results.arms, strict=True):
        assert (one.scores, one.token_loss, one.best_step) == (other.scores, other.token_loss, other.best_step)


def test_the_base_is_left_as_it_was(done: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []

    def keeping(name: str, **options: Any) -> Any:
        loaded.append(load_model(name, **options))
        return loaded[-1]

    monkeypatch.setattr("luthier.experiments.inputs.load_model", keeping)
    compare(done.config.model_copy(update={"runs": tmp_path}))
    (model,) = loaded
    assert same_bits(state(model), state(tiny_model(done.kind)))
    assert not any(parameter.requires_grad for parameter in model.module.parameters())


def test_batches_do_not_matter(done: Done, tmp_path: Path) -> None:
    alone = done.config.evaluation.model_copy(update={"batch_tokens": 1})
    run = compare(done.config.model_copy(update={"runs": tmp_path, "evaluation": alone}))
    for arm in done.results.arms:
        one = read_predictions(run / arm.predictions)
        assert [item.text for item in one] == [item.text for item in log(done, arm.name)]
    for mine, many in zip(read_results(run).arms, done.results.arms, strict=True):
        assert [(score.metric, score.value) for score in mine.scores] == [(s.metric, s.value) for s in many.scores]
        assert [kept.after.value for kept in mine.retained] == [kept.after.value for kept in many.retained]
        if mine.token_loss and many.token_loss:
            assert mine.token_loss.after.value == pytest.approx(many.token_loss.after.value, abs=1e-5)


# ---- what is asked for decides what is needed


def test_prompting_needs_no_training_rows(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job")
    task = write_task(job, ECHO, source={"test": "test.jsonl"})
    config = comparison("llama", job, tmp_path / "runs", task=str(task), arms=["zero_shot"], retain=[])
    assert read_results(compare(config)).task.splits == {"train": 0, "validation": 0, "test": 6}


def test_validation_that_does_not_fit_is_left_out(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job")
    write_rows(job / "validation.jsonl", [{**row, "answer": "x" * 150} for row in rows("validation", 3)])
    config = comparison("llama", job, tmp_path / "runs", arms=["full"], retain=[], retention_text=None)
    results = read_results(compare(config))
    assert results.data.validation_dropped == 3
    assert results.arms[0].best_step is None, "nothing could be looked at, so the last weights are kept"


def test_retained_by_default_is_what_the_model_can_hold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = write_job(tmp_path / "job")
    few = {"arms": ["zero_shot"], "retain": None, "retention_text": None, "data": {"max_length": 24}}
    results = read_results(compare(comparison("llama", job, tmp_path / "runs", **few)))
    assert "reading_qa: not retained, 200 of 200 examples do not fit" in capsys.readouterr().err
    # "test 0: a red cat sat\nanimal:", a begin token and 4 tokens of answer are more than 24.
    assert results.arms[0].notes == ("zero_shot: echo: the input text of 6 of 6 examples was cut to fit",)


def test_two_retained_tasks_of_one_name(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job")
    other = write_task(tmp_path / "other", COLOUR)
    config = comparison("llama", job, tmp_path / "runs", retain=[str(job / "colour.yaml"), str(other)])
    with pytest.raises(LuthierError, match="retain: 2 tasks are called 'colour'"):
        compare(config)


def test_arms_may_differ_in_training(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job")
    arms = [{"name": f"lora-{rank}", "method": "lora", "settings": {"rank": rank}} for rank in (2, 4)]
    config = comparison("llama", job, tmp_path / "runs", arms=arms, retain=[], retention_text=None)
    two, four = read_results(compare(config)).arms
    assert 2 * two.trainable_parameters == four.trainable_parameters


# ---- seeds are an axis


def test_an_arm_is_trained_once_per_seed(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job")
    config = comparison("llama", job, tmp_path / "runs", seeds=3)
    run = compare(config)
    results = read_results(run)
    arms = {arm.name: arm for arm in results.arms}
    assert (arms["zero_shot"].seeds, arms["zero_shot"].per_seed) == ((), ()), "prompting trains nothing"
    for name in ("full", "lora"):
        arm = arms[name]
        assert arm.seeds == (0, 1, 2)
        assert [one.seed for one in arm.per_seed] == [0, 1, 2]
        for place, score in enumerate(arm.scores):
            values = [one.scores[place].value for one in arm.per_seed]
            assert score.value == pytest.approx(sum(values) / 3, abs=1e-12)
        losses = [one.token_loss.after.value for one in arm.per_seed if one.token_loss]
        assert len(set(losses)) == 3, "every seed is another training"
        assert arm.token_loss is not None
        assert arm.token_loss.after.value == pytest.approx(sum(losses) / 3, abs=1e-12)
        assert arm.token_loss.after.variance == "examples and training runs"
        befores = [one.retained[0].before for one in arm.per_seed]
        assert befores == [arm.retained[0].before] * 3, "all seeds meet the same 'before'"
        assert {path.name for path in (run / "predictions").glob(f"{name}-*")} == {
            f"{name}-seed-{seed}.jsonl" for seed in (0, 1, 2)
        }


def test_one_seed_of_several_is_found_again(done: Done, tmp_path: Path) -> None:
    """What one seed trained is the same whether it is alone or one of several."""
    out = tmp_path / "runs"
    shutil.copytree(done.config.runs, out)
    before = {path.name for path in (out / "store" / "models").iterdir()}
    one = compare(done.config.model_copy(update={"runs": out, "seeds": (0,)}))
    assert {path.name for path in (out / "store" / "models").iterdir()} == before
    (full,) = [arm for arm in read_results(one).arms if arm.name == "full"]
    assert full.scores == next(arm for arm in done.results.arms if arm.name == "full").scores


def test_the_seed_draws_and_the_seeds_train(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job")
    config = comparison("llama", job, tmp_path / "runs", arms=["lora"], seeds=(5,), seed=1, retain=[])
    (arm,) = read_results(compare(config)).arms
    assert arm.seeds == (5,)
