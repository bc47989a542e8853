"""Arms that learn from preferences: beside supervised ones, on top of them, in one comparison and by themselves."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from luthier.config.compare import CompareConfig
from luthier.config.evaluate import EvaluateConfig
from luthier.errors import LuthierError
from luthier.experiments.compare import compare
from luthier.experiments.evaluate import evaluate
from luthier.experiments.plan import Plan, read_plan
from luthier.experiments.starts import folder_start
from luthier.experiments.trained_arms import entry_of, job_of, trained
from luthier.experiments.tune import tune
from luthier.experiments.units import in_training_order, plan_units
from luthier.methods.adapter_io import read_card
from luthier.report.displays import as_text
from luthier.report.evaluation import evaluation_json, row_of
from luthier.report.page import write_report
from luthier.results.records import ArmResult, RunResults, read_results
from luthier.training.log import read_log
from luthier.training.train_arm import start_weights
from small_job import Ran, luthier, tuning, write_rows
from tiny_models import tiny_folder

ANIMALS = ("cat", "dog", "hen", "cow", "fox", "owl")
DPO: dict[str, Any] = {"name": "dpo", "method": "lora", "objective": {"dpo": {"beta": 0.2, "nll": 0.1}}}
LORA: dict[str, Any] = {"name": "lora", "method": "lora", "settings": {"rank": 2}}


def write_pairs(folder: Path, count: int = 40) -> Path:
    rows = []
    for number in range(count):
        own, other = ANIMALS[number % 6], ANIMALS[(number + 2) % 6]
        rows.append({"prompt": f"{number} the {own}", "chosen": f"a {own} sat", "rejected": f"no {other}"})
    return write_rows(folder / "prefs.jsonl", rows)


def asked(folder: Path, *, kind: str = "llama", task: Path | None = None, **changes: Any) -> CompareConfig:
    settings: dict[str, Any] = {
        "model": str(tiny_folder(kind)),
        "task": str(task or write_pairs(folder)),
        "arms": [{**DPO, "start": "lora"}, LORA, "simpo", "kto"],
        "retain": [],
        "retention_text": None,
        "runs": folder / "runs",
        "device": "cpu",
        "training": {"steps": 4, "batch_size": 8, "validations": 1, "validation_examples": 2},
        "decoding": {"max_new_tokens": 3},
        "evaluation": {"resamples": 100},
    }
    return CompareConfig.model_validate({**settings, **changes})


@pytest.fixture(scope="module", params=["llama", "t5"])
def done(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[CompareConfig, Path]:
    config = asked(tmp_path_factory.mktemp(request.param), kind=request.param)
    return config, compare(config)


def arm(results: RunResults, name: str) -> ArmResult:
    return next(own for own in results.arms if own.name == name)


def test_every_trained_arm_is_measured_on_held_out_pairs(done: tuple[CompareConfig, Path]) -> None:
    results = read_results(done[1])
    names = [own.name for own in results.arms]
    assert names == ["dpo", "lora", "simpo", "kto"], "in the user's order, whatever is trained first"
    found = {own.name: own.preferences for own in results.arms}
    for own in found.values():
        assert own is not None
        assert 0 <= own.accuracy.value <= 1
        assert own.before == arm(results, "lora").preferences.before  # type: ignore[union-attr]
        assert own.margin.n == own.accuracy.n > 0
    assert len(results.preference_pairs) == 6
    assert len(arm(results, "dpo").scores) > 1, "the task's metrics of generated answers stay"


def test_eval_says_of_an_adapter_what_the_comparison_said(done: tuple[CompareConfig, Path]) -> None:
    config = done[0]
    plan = read_plan(config)
    adapter = trained(plan, plan.arm("dpo"), 0).adapter
    given = {"model": config.model, "tasks": [config.task], "adapter": adapter, "runs": config.runs, "device": "cpu"}
    settings = {"decoding": {"max_new_tokens": 3}, "evaluation": {"resamples": 100}}
    (found,) = evaluate(EvaluateConfig.model_validate(given | settings))
    expected = arm(read_results(done[1]), "dpo").preferences
    assert found.preferences == expected
    (alone,) = evaluate(EvaluateConfig.model_validate(given | settings | {"adapter": None}))
    assert alone.preferences is not None
    assert expected is not None
    assert alone.preferences.accuracy == alone.preferences.before == expected.before
    assert alone.preferences.margin.value == 0
    said = json.loads(json.dumps(evaluation_json([row_of(found)])))
    assert said["prefs"]["preferences"]["margin"]["value"] == pytest.approx(expected.margin.value)
    assert "Held-out pairs" in as_text(found)


def test_supervised_and_preference_arms_learn_from_the_same_prompts(done: tuple[CompareConfig, Path]) -> None:
    plan = read_plan(done[0])
    supervised = plan.training.of(plan.arm("lora")).train.records
    pairs = plan.training.of(plan.arm("dpo")).train.records
    assert [record.id for record in supervised] == [record.id for record in pairs]
    assert all(
        record.target_ids.tolist() == pair.chosen.target_ids.tolist()
        for record, pair in zip(supervised, pairs, strict=True)
    )
    judged = plan.training.of(plan.arm("kto")).train.records
    assert len(judged) == 2 * len(pairs)
    assert sum(record.good for record in judged) == len(pairs)


def test_an_arm_goes_on_where_another_ended(done: tuple[CompareConfig, Path]) -> None:
    """Its reference is the start: the first step's margin is 0, and its loss log 2 and the likelihood."""
    plan = read_plan(done[0])
    assert plan.arm("dpo").settings == {"rank": 2}, "the settings of what it begins with"
    first = read_log(done[1] / "curves" / "dpo.jsonl")[0]
    assert first["margin"] == pytest.approx(0, abs=1e-4)
    assert first["loss"] == pytest.approx(math.log(2) + 0.1 * float(first["chosen_nll"] or 0), abs=1e-5)
    start = job_of(plan, plan.arm("dpo"), 0).start
    assert start is not None
    assert start.key == entry_of(plan, plan.arm("lora"), 0).key
    begun = start_weights(plan.model, start)
    assert any(bool((weight != 0).any()) for name, weight in begun.items() if "lora_B" in name), "it is trained"


def test_every_method_learns_from_preferences(tmp_path: Path) -> None:
    """A whole model has no untrained state to come back to; a soft prompt is not the base before it is trained."""
    methods = {"full": {}, "selective": {}, "adapter": {}, "prompt_tuning": {"virtual_tokens": 3}}
    arms = [{**DPO, "name": name, "method": name, "settings": settings} for name, settings in methods.items()]
    results = read_results(compare(asked(tmp_path, arms=arms, training={"steps": 2, "validations": 1})))
    assert not [own.failed for own in results.arms if own.failed]
    for own in results.arms:
        first = read_log(tmp_path / "runs" / results.run / own.curve)[0]
        assert first["margin"] == pytest.approx(0, abs=1e-4), own.name


def test_arms_of_one_start_share_their_reference(done: tuple[CompareConfig, Path], tmp_path: Path) -> None:
    config = asked(tmp_path, arms=["dpo", "ipo", "apo_zero"], training={"steps": 1, "validations": 0})
    compare(config)
    assert len(list((tmp_path / "runs").rglob("references/*/reference.safetensors"))) == 2, (
        "of training and of validation"
    )


def test_the_page_shows_the_pairs(done: tuple[CompareConfig, Path]) -> None:
    from luthier.report.contents import all_tables

    results = read_results(done[1])
    tables = {table.key: table for table in all_tables(results, None)}
    assert [row[0].main for row in tables["preferences"].rows] == ["base", "dpo", "lora", "simpo", "kto"]
    assert tables["preference-pairs"].rows[0][0].main == "lora − dpo"
    write_report(done[1])
    page = (done[1] / "report.html").read_text(encoding="utf-8")
    assert "Held-out pairs" in page
    assert "Training loss on targets" in page
    assert arm(results, "dpo").objective_settings == {"beta": 0.2, "nll": 0.1, "label_noise": 0.0}


def test_what_is_trained_first_comes_first() -> None:
    from luthier.config.arms import Arm

    arms = [Arm("c", "lora", 0, start="b"), Arm("a", "lora", 0), Arm("b", "lora", 0, start="a")]
    assert [own.name for own in in_training_order(arms)] == ["a", "b", "c"]
    units = plan_units(arms, searching=False, retaining=False, preferring=True)
    needs = {unit.name: unit.needs for unit in units}
    assert needs["train c, seed 0"] == ("train b, seed 0",)
    assert needs["pairs c, seed 0"] == ("train c, seed 0",)
    assert "pairs base" in needs


@pytest.mark.slow
@pytest.mark.usefixtures("all_passes")
def test_workers_give_the_same_bytes(tmp_path: Path) -> None:
    config = asked(tmp_path)
    one = compare(config)
    other = compare(config.model_copy(update={"runs": tmp_path / "others", "workers": 2}))
    found = [json.loads((run / "results.json").read_text()) for run in (one, other)]
    assert [own["preferences"] for own in found[0]["arms"]] == [own["preferences"] for own in found[1]["arms"]]


def test_keys_hold_objective_settings_and_start(tmp_path: Path) -> None:
    plan = read_plan(asked(tmp_path, arms=[LORA, {**DPO, "settings": {"rank": 2}}]))
    own = plan.arm("dpo")
    changed = [
        replace(own, objective="hinge", objective_settings={}),
        replace(own, objective_settings={"beta": 0.3, "nll": 0.1}),
        replace(own, start="lora"),
    ]
    keys = {entry_of(plan, one, 0).key for one in (own, *changed)}
    assert len(keys) == 4
    other = replace(plan, arms=(replace(plan.arm("lora"), settings={"rank": 2, "alpha": 7.0}), own))
    assert entry_of(other, replace(own, start="lora"), 0).key not in keys, "the start's own key"


@pytest.fixture(scope="module")
def supervised(tmp_path_factory: pytest.TempPathFactory) -> tuple[CompareConfig, Path]:
    folder = tmp_path_factory.mktemp("supervised")
    config = asked(folder, arms=[LORA])
    return config, tune(tuning(config, save=folder / "sft")).folder


def test_tune_goes_on_in_an_adapter(supervised: tuple[CompareConfig, Path], tmp_path: Path) -> None:
    config, sft = supervised
    ran = luthier(
        *("tune", "--model", config.model, "--task", config.task, "--arm", "dpo", "--start", sft),
        *("--save", tmp_path / "out", "--runs", config.runs, "--device", "cpu"),
        *("--set", "training.steps=2", "--set", "training.validations=0", "--set", "decoding.max_new_tokens=3"),
    )
    assert ran.code == 0, ran.err
    card = read_card(tmp_path / "out")
    assert (card.method, card.settings["rank"]) == ("lora", 2)
    assert card.training["learning_rate"] == pytest.approx(1e-3 * 0.05), "a rate of its own"


def test_a_learning_rate_of_nothing_ends_with_the_weights_of_the_start(
    supervised: tuple[CompareConfig, Path], tmp_path: Path
) -> None:
    config, sft = supervised
    still = {"learning_rate": 1e-30, "steps": 2, "validations": 0}
    plan = read_plan(config.model_copy(update={"arms": read_arms(start=str(sft), training=still)}))
    begun = start_weights(plan.model, folder_start(plan.arm("dpo")))
    compare(plan.config.model_copy(update={"runs": tmp_path / "runs"}))
    plan = read_plan(plan.config.model_copy(update={"runs": tmp_path / "runs"}))
    ended = ending(plan)
    assert begun.keys() == ended.keys()
    assert all(torch.equal(begun[name], ended[name]) for name in begun)


def read_arms(**changes: Any) -> Any:
    return asked(Path(), task=Path("x"), arms=[{**DPO, **changes}]).arms


def ending(plan: Plan) -> dict[str, torch.Tensor]:
    from luthier.training.start import StartingPoint

    return start_weights(plan.model, StartingPoint(trained(plan, plan.arm("dpo"), 0).adapter, ""))


def refused(config: CompareConfig) -> str:
    with pytest.raises(LuthierError) as fault:
        read_plan(config)
    return str(fault.value)


def test_starts_that_do_not_fit_are_said_at_once(supervised: tuple[CompareConfig, Path], tmp_path: Path) -> None:
    _, sft = supervised
    arms = [
        LORA,
        {**DPO, "name": "a", "start": "loro"},
        {**DPO, "name": "b", "start": "c"},
        {**DPO, "name": "c", "start": "b"},
        {**DPO, "name": "d", "start": "lora", "settings": {"rank": 4}},
        {**DPO, "name": "e", "start": "lora", "method": "full"},
        {**DPO, "name": "f", "start": str(sft), "settings": {"rank": 3}},
    ]
    said = refused(asked(tmp_path, arms=arms))
    assert "arm 'a', start: 'loro' is neither another arm nor a folder\n" in said
    assert "Did you mean 'lora'?" in said
    assert "arm 'b', start: the arm begins with 'c', and in the end with itself" in said
    assert "arm 'd', start: the arm 'lora' has other settings: rank 2 and not 4" in said
    assert "arm 'e', start: the arm 'lora' was trained with the method lora, and this arm has full" in said
    assert f"arm 'f', start: the adapter in {sft} has other settings: rank 2 and not 3" in said
    other = refused(asked(tmp_path, kind="qwen3", arms=[{**DPO, "start": str(sft)}]))
    assert f"arm 'dpo', start: the adapter in {sft} was trained on" in other
    searching = refused(asked(tmp_path, arms=[LORA, {**DPO, "start": "lora"}], search={"trials": 2}))
    assert "hyper-parameters cannot be searched where an arm begins with another one" in searching


def test_what_an_objective_cannot_be_with_is_said_at_once(tmp_path: Path) -> None:
    arms = [
        {**DPO, "name": "a", "replay": {"share": 0.5}},
        {**DPO, "name": "b", "anchor": {"kl": 0.1, "on": "target"}},
        {"name": "d", "method": "lora", "objective": {"dpo": {"beta": 0}}},
        {"name": "e", "method": "lora", "objective": "dpoo"},
    ]
    said = refused(asked(tmp_path, arms=arms))
    for name, key in (("a", "replay"), ("b", "anchor.kl")):
        assert f"arm '{name}', {key}: the objective dpo learns from" in said
    assert "arm 'd', objective: key 'beta'" in said
    assert "arm 'e', objective: unknown objective 'dpoo'" in said
    others = [{"name": "zero", "objective": "dpo"}, {**DPO, "name": "c", "weight_examples": "easy"}]
    said = refused(asked(tmp_path, arms=others))
    assert "arm 'zero', objective: the arm trains nothing" in said
    assert "arm 'c', weight_examples: the objective dpo weighs no examples" in said


def test_rows_without_what_an_objective_needs_are_refused(tmp_path: Path) -> None:
    plain = write_rows(tmp_path / "plain.jsonl", [{"prompt": f"{k} the cat", "completion": "sat"} for k in range(40)])
    said = refused(asked(tmp_path, task=plain, arms=["dpo"]))
    assert "the training split has no pairs" in said
    assert "Give rows with chosen and rejected" in said
    good = [{"prompt": f"{k} the cat", "completion": "sat", "label": True} for k in range(40)]
    said = refused(asked(tmp_path, task=write_rows(tmp_path / "good.jsonl", good), arms=["kto"]))
    assert "judged answers are good, and kto learns from the difference" in said


def test_kto_learns_from_answers_that_were_judged_one_by_one(tmp_path: Path) -> None:
    rows = [{"prompt": f"{k} the cat", "completion": f"sat {k}", "label": k % 3 > 0} for k in range(60)]
    config = asked(tmp_path, task=write_rows(tmp_path / "judged.jsonl", rows), arms=["lora", "kto"])
    plan = read_plan(config)
    judged = plan.training.of(plan.arm("kto")).train.records
    learned = plan.training.of(plan.arm("lora")).train.records
    assert {record.good for record in judged} == {True, False}
    assert sorted(record.id for record in judged if record.good) == sorted(record.id for record in learned)
    assert all(example.targets for example in (*plan.data.validation, *plan.data.test))
    results = read_results(compare(config))
    assert results.arms[1].steps > 0
    assert results.arms[0].preferences is None, "there are no pairs"


def test_an_arm_whose_start_fails_is_named_and_left_out(tmp_path: Path) -> None:
    wild = {**LORA, "training": {"learning_rate": 1e30}}
    config = asked(tmp_path, arms=[wild, {**DPO, "start": "lora"}, "simpo"])
    results = read_results(compare(config))
    assert "not finite" in arm(results, "lora").failed
    assert arm(results, "dpo").failed == "start: the arm 'lora', which it begins with, has failed"
    assert not arm(results, "simpo").failed


def test_the_flag_is_refused_where_nothing_is_trained() -> None:
    ran: Ran = luthier("eval", "--start", "x")
    assert ran.code == 2
    assert "'--start' belongs to `luthier tune`" in ran.err
