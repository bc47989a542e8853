"""What an arm can do against forgetting: replay of several kinds, anchors, weights of examples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from luthier.config.anchor import AnchorConfig
from luthier.config.arm_settings import ArmConfig
from luthier.config.arms import make_arms
from luthier.config.layers import read_settings
from luthier.config.replay import ReplayConfig
from luthier.config.training import TrainingConfig
from luthier.config.verbs import VERBS
from luthier.errors import ConfigError, LuthierError
from luthier.experiments.compare import compare
from luthier.experiments.plan import Plan, read_plan
from luthier.experiments.trained_arms import job_of
from luthier.experiments.tune import tune
from luthier.results.records import read_results
from luthier.training.log import read_log
from small_job import comparison, tuning, write_job

TRAINING = {"epochs": 2, "batch_size": 4, "validations": 1}
FIVE = {"share": 0.25, "from": "tasks"}


def arm(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "method": "full", **more}


def planned(folder: Path, **changes: Any) -> Plan:
    job = folder / "job"
    if not job.exists():
        write_job(job)
    return read_plan(comparison("llama", job, folder / "runs", **{"training": TRAINING, **changes}))


def test_a_bare_number_means_what_it_meant() -> None:
    """Half an example for each of the target's are a third of all, and training is that much longer."""
    found = ArmConfig.model_validate(arm("a", replay=0.5)).replay
    assert found == ReplayConfig(share=1 / 3, budget="add")
    assert found is not None
    assert found.beside(300) == 150
    assert ReplayConfig(share=0.05).beside(200) == 10
    assert ArmConfig.model_validate(arm("a", replay=0)).replay is None


def test_replay_replaces_examples_and_keeps_the_steps(tmp_path: Path) -> None:
    plan = planned(
        tmp_path, arms=[arm("plain"), arm("replace", replay=FIVE), arm("add", replay=FIVE | {"budget": "add"})]
    )
    plain, replaced, added = (job_of(plan, own, 0) for own in plan.arms)
    assert (plain.stream.steps, replaced.stream.steps, added.stream.steps) == (6, 6, 8)
    read = [record for step in range(6) for record in replaced.stream.records(step)]
    assert [sum(bool(record.origin) for record in read[k : k + 12]) for k in (0, 12)] == [3, 3], (
        "a quarter of each epoch"
    )
    assert len({record.id for record in read if record.origin}) == 6, "other ones in the second epoch"
    assert len({record.id for record in read if not record.origin}) == 12, "all of the target's within two epochs"
    assert len(added.stream.data.records) == 16
    assert plain.stream.digest != replaced.stream.digest != added.stream.digest


def test_text_that_is_replayed_is_not_measured_on(tmp_path: Path) -> None:
    every = planned(tmp_path, arms=[arm("plain")])
    plan = planned(tmp_path, arms=[arm("plain"), arm("text", replay={"share": 0.25, "from": "text"})])
    assert len(every.texts) == 2
    assert len(plan.texts) == 1
    replayed = [record for record in plan.training.of(plan.arms[1]).train.records if record.origin]
    decoded = plan.model.tokenizer.decode(replayed[0].target_ids)
    assert plan.texts[0] not in decoded
    assert next(text for text in every.texts if text not in plan.texts)[-10:] in decoded


def test_files_and_other_tasks_are_replayed(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job")
    (job / "more.txt").write_text("one two three four\n\nfive six seven eight\n")
    arms = [arm("text", replay={"share": 0.25, "from": str(job / "more.txt")})]
    arms += [arm("task", replay={"share": 0.25, "from": str(job / "colour.yaml")})]
    plan = planned(tmp_path, arms=arms, retain=[])
    text, task = ([own for own in plan.training.of(one).train.records if own.origin] for one in plan.arms)
    assert [own.id for own in text] == ["text-0#0", "text-1#0"]
    assert len(task) == 6


def test_the_base_s_own_answers_are_replayed(tmp_path: Path) -> None:
    asked = arm("self", replay={"share": 0.25, "from": "self"})
    plan = planned(tmp_path, arms=[asked])
    replayed = [own for own in plan.training.of(plan.arms[0]).train.records if own.origin]
    again = planned(tmp_path, arms=[asked])
    assert replayed
    assert [list(own.target_ids) for own in again.training.of(again.arms[0]).train.records if own.origin] == [
        list(own.target_ids) for own in replayed
    ]
    tasks = planned(tmp_path, arms=[arm("tasks", replay=FIVE)])
    theirs = {own.id: own for own in tasks.training.of(tasks.arms[0]).train.records if own.origin}
    assert all(list(own.prompt_ids) == list(theirs[own.id].prompt_ids) for own in replayed), "of the training split"


def test_what_the_base_writes_by_itself_is_replayed_without_other_tasks(tmp_path: Path) -> None:
    asked = arm("self", replay={"share": 0.25, "from": "self"})
    plan = planned(tmp_path, arms=[asked], retain=[], decoding={"max_new_tokens": 4})
    replayed = [own for own in plan.training.of(plan.arms[0]).train.records if own.origin]
    assert 1 <= len(replayed) <= 6
    tokenizer = plan.model.tokenizer
    assert all(own.prompt_ids[0] == tokenizer.bos_token_id and len(own.prompt_ids) == 2 for own in replayed)
    assert len({int(own.prompt_ids[1]) for own in replayed}) == len(replayed), "each begins with a token of its own"
    assert all(1 <= len(own.target_ids) <= 64 for own in replayed)
    assert max(len(own.target_ids) for own in replayed) > 4, "the task's limit of an answer is not theirs"
    again = planned(tmp_path, arms=[asked], retain=[], decoding={"max_new_tokens": 4})
    records = [own for own in again.training.of(again.arms[0]).train.records if own.origin]
    assert [own.target_ids.tolist() for own in records] == [own.target_ids.tolist() for own in replayed]
    other = planned(tmp_path, arms=[asked], retain=[], seed=1)
    drawn = [own.target_ids.tolist() for own in other.training.of(other.arms[0]).train.records if own.origin]
    assert drawn != [own.target_ids.tolist() for own in replayed]
    dry = planned(tmp_path / "dry", arms=[asked], retain=[], dry_run=True)
    assert [len(own.target_ids) for own in dry.training.of(dry.arms[0]).train.records if own.origin] == [64] * 6
    assert not (tmp_path / "dry" / "runs").exists()


@pytest.mark.slow
def test_every_cure_trains_and_is_repeated_to_the_byte(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job")
    arms = [
        arm("replay", replay=FIVE),
        arm("self", replay={"share": 0.25, "from": "self"}),
        arm("kl", replay=FIVE, anchor={"kl": 0.5}),
        {"name": "lora_kl", "method": "lora", "anchor": {"kl": 0.5, "on": "target"}},
        arm("l2", anchor={"l2": 0.1}),
        arm("ewc", anchor={"ewc": 100, "fisher_examples": 4}),
        arm("easy", weight_examples="easy"),
    ]
    written = []
    for name in ("first", "second"):
        config = comparison("llama", job, tmp_path / name, arms=arms, training=TRAINING, name="run")
        run = compare(config)
        written.append((run / "results.json").read_bytes())
    assert written[0] == written[1]
    results = read_results(tmp_path / "first" / "run")
    curves = {own.name: read_log(tmp_path / "first" / "run" / own.curve) for own in results.arms}
    for name, term in (("kl", "kl"), ("lora_kl", "kl"), ("l2", "l2_sp"), ("ewc", "ewc"), ("easy", "unweighted_loss")):
        assert term in curves[name][-1] or term in curves[name][-2], name
    assert {own.steps for own in results.arms} == {6}, "all have as many steps"
    assert "3 of the 12 examples of each epoch" in " ".join(results.arms[0].notes)


def test_tune_trains_an_arm_with_cures_as_compare_does(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job")
    config = comparison("llama", job, tmp_path / "runs", arms=[arm("ewc", anchor={"ewc": 10})], training=TRAINING)
    plan = read_plan(config)
    entry = job_of(plan, plan.arms[0], 0).entry(config.runs)
    tune(tuning(config, retain=config.retain))
    assert entry.finished


def test_on_may_stand_unquoted_in_a_file(tmp_path: Path) -> None:
    """YAML reads the word as a truth value."""
    (tmp_path / "run.yaml").write_text("arms: [{name: a, method: lora, anchor: {kl: 0.1, on: target}}]\n")
    found: Any = read_settings(next(verb for verb in VERBS if verb.name == "compare"), {}, file=tmp_path / "run.yaml")
    assert found.arms[0].anchor == AnchorConfig(kl=0.1, on="target")


def faults(*arms: dict[str, Any]) -> str:
    with pytest.raises(LuthierError) as caught:
        make_arms([ArmConfig.model_validate(own) for own in arms], training=TrainingConfig(), few_shots=0, seeds=(0,))
    return str(caught.value)


def test_what_cannot_be_cured_is_an_error_before_anything_runs(tmp_path: Path) -> None:
    nothing = {"name": "zero", "method": None}
    said = faults(nothing | {"replay": 0.5}, {"name": "more", "weight_examples": "easy"}, arm("kl", anchor={"kl": 1}))
    assert "arm 'zero', replay: the arm trains nothing, so there is nothing to keep from forgetting" in said
    assert "arm 'more', weight_examples: the arm trains nothing" in said
    assert "arm 'kl', anchor.kl: nothing is replayed on which the divergence" in said
    assert "or write `on: target`" in said
    for share in (1, 1.5, 0, -0.1):
        with pytest.raises(ConfigError, match="share"):
            ArmConfig.model_validate(arm("a", replay={"share": share}))
    with pytest.raises(ConfigError, match="above 0"):
        ArmConfig.model_validate(arm("a", replay=-1))
    for given, message in (
        ({"arms": [arm("a", anchor={"ewc": 1})], "retain": []}, "no task is retained, on which the Fisher information"),
        ({"arms": [{"name": "a", "method": "lora", "anchor": {"ewc": 1}}]}, "lora trains none of them in place"),
        ({"arms": [arm("a", replay=FIVE)], "retain": []}, "no task is retained, so there is nothing to replay"),
        ({"arms": [arm("a", replay={"share": 0.1, "from": "text"})], "retention_text": None}, "no plain text is named"),
    ):
        with pytest.raises(LuthierError, match=message):
            planned(tmp_path, **given)
    job = tmp_path / "job"
    with pytest.raises(LuthierError, match="the target would be replayed to itself"):
        planned(tmp_path, arms=[arm("a", replay={"share": 0.1, "from": str(job / "echo.yaml")})])


def test_a_retained_task_must_be_apart_from_the_target(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job")
    with pytest.raises(LuthierError, match="the target 'echo' is retained too"):
        planned(tmp_path, arms=[arm("a")], retain=[str(job / "echo.yaml")])
    renamed = (job / "echo.yaml").read_text().replace("name: echo", "name: other")
    (job / "other.yaml").write_text(renamed.replace("test.jsonl", "train.jsonl"))
    with pytest.raises(
        LuthierError, match="test examples of 'other' have the text of a training example of the target"
    ):
        planned(tmp_path, arms=[arm("a")], retain=[str(job / "other.yaml")])


def test_a_continual_method_of_peft_is_an_arm(tmp_path: Path) -> None:
    """Orthogonal subspace fine-tuning keeps the directions with the largest singular values, and trains the others."""
    job = write_job(tmp_path / "job")
    osf = {"name": "osf", "method": {"peft": {"peft_type": "OSF"}}}
    config = comparison("llama", job, tmp_path / "runs", arms=["zero_shot", osf], training=TRAINING)
    zero, trained = read_results(compare(config)).arms
    assert trained.trainable_parameters > 0
    assert trained.retained[0].after.n == zero.scores[0].n
    assert trained.divergence is not None
    assert trained.divergence.value > 0
