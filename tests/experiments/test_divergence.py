"""How far arms went from the base, and what else changed: measured beside the scores, and shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from luthier.errors import StoreError
from luthier.evaluation.context import EvaluationContext
from luthier.evaluation.divergence import divergence_job
from luthier.evaluation.run import read_log, run
from luthier.experiments.compare import compare
from luthier.experiments.plan import read_plan
from luthier.methods.registry import find_method, read_settings
from luthier.objectives.base_distribution import kl_from_logits
from luthier.report.change_table import change_table
from luthier.report.tables import retention_table
from luthier.results.records import read_results
from small_job import comparison, write_job

TRAINING = {"steps": 6, "batch_size": 4, "validations": 1, "learning_rate": 3e-3}


@pytest.mark.slow
def test_an_arm_has_its_divergence_and_what_its_answers_became(tmp_path: Path) -> None:
    arms = [
        "zero_shot",
        {"name": "full", "method": "full", "replay": {"share": 0.25}},
        {"name": "still", "method": "lora", "training": {"learning_rate": 1e-12}},
    ]
    job = write_job(tmp_path / "job")
    results = read_results(compare(comparison("llama", job, tmp_path / "runs", arms=arms, training=TRAINING, seeds=2)))
    zero, full, still = results.arms
    assert zero.divergence is None
    assert full.divergence is not None
    assert still.divergence is not None
    assert full.divergence.value > 1e-3
    assert still.divergence.value == pytest.approx(0, abs=1e-6)
    assert full.divergence.n == 3, "validation examples"
    assert full.changes is not None
    assert full.changes.answers == 2 * 6
    assert still.changes is not None
    assert still.changes.changed == 0
    assert [item.seen for item in full.retained] == [True]
    assert [item.seen for item in still.retained] == [False]
    table = change_table(results)
    assert table is not None
    assert [row[0].main for row in table.rows] == ["full", "still"]
    retained = retention_table(results)
    assert retained is not None
    assert [("seen in training" in row[1].below) for row in retained.rows[:2]] == [True, False]


def test_the_divergence_is_that_of_the_distributions(tmp_path: Path) -> None:
    plan = read_plan(comparison("llama", write_job(tmp_path / "job"), tmp_path / "runs", training=TRAINING))
    model, records = plan.model, plan.training.validation.records
    base = model.target_logits(records).detach()
    before = divergence_job(model, records, _context(tmp_path, ""), label="base")
    run(before)
    assert all(abs(item.choice_logprobs[0]) < 1e-5 for item in read_log(before).predictions)
    method = find_method("lora")
    attached = method.attach(model, read_settings(method, {"rank": 2}, where="test"), seed=0)
    for weight in attached.trainable().values():
        weight.data.add_(0.05)
    job = divergence_job(model, records, _context(tmp_path, "moved"), label="moved")
    run(job)
    found = read_log(job).predictions
    nats = -sum(item.choice_logprobs[0] for item in found)
    whole = kl_from_logits(base, model.target_logits(records).detach()).sum().item()
    assert 0.5 * whole < nats <= whole + 1e-6, "64 tokens and the rest, of a vocabulary of more"
    assert sum(item.choice_tokens[0] for item in found) == sum(len(record.target_ids) for record in records)
    attached.detach()


def test_an_arm_cannot_stand_in_for_the_base(tmp_path: Path) -> None:
    plan = read_plan(comparison("llama", write_job(tmp_path / "job"), tmp_path / "runs", training=TRAINING))
    job = divergence_job(plan.model, plan.training.validation.records, _context(tmp_path, "an arm"), label="arm")
    with pytest.raises(StoreError, match="the base's distributions are not in the store"):
        run(job)


def _context(folder: Path, adapter: str) -> EvaluationContext:
    plan = comparison("llama", folder / "job", folder / "runs")
    return EvaluationContext(folder / "store", adapter, plan.decoding, 512)
