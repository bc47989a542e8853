"""A sequence of tasks with a tiny model: stages begin where the one before ended, and lie in the store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from killing import stop_in_the_third_part
from luthier.config.compare import CompareConfig
from luthier.errors import LuthierError
from luthier.experiments.compare import compare
from luthier.experiments.stages import read_stages
from luthier.experiments.trained_arms import entry_of, job_of, trained
from luthier.methods.adapter_io import load_adapter
from luthier.methods.base import snapshot
from luthier.models.language_model import LanguageModel
from luthier.objectives.elastic_weights import ElasticWeights
from luthier.report.page import write_report
from luthier.results.sequence_records import SequenceResults, read_sequence
from luthier.training.start import finished_training
from luthier.training.train_arm import start_weights
from luthier.training.trained import adapter_folder
from small_job import COLOUR, ECHO, Ran, luthier, rows, write_rows, write_task
from tiny_models import tiny_folder

LORA = {"name": "lora", "method": "lora", "settings": {"rank": 2, "dropout": 0.1}}
FULL = {"name": "full", "method": "full", "training": {"learning_rate": 1e-3}}
TASKS = ("first", "second", "third")


def write_tasks(folder: Path) -> list[str]:
    """Three tasks whose rows are not the same."""
    paths = []
    for name, spec in zip(TASKS, (ECHO, COLOUR, ECHO), strict=True):
        for split, count in (("train", 8), ("validation", 2), ("test", 6)):
            write_rows(folder / name / f"{split}.jsonl", [
                {**row, "text": f"{name} {row['text']}"} for row in rows(split, count)
            ])  # fmt: skip
        paths.append(str(write_task(folder / name, spec, name=name)))
    return paths


def asked(folder: Path, tasks: int = 2, **changes: Any) -> CompareConfig:
    settings: dict[str, Any] = {
        "model": str(tiny_folder("llama")),
        "sequence": write_tasks(folder / "tasks")[:tasks],
        "arms": [LORA],
        "runs": folder / "runs",
        "device": "cpu",
        "training": {"steps": 3, "batch_size": 2, "validations": 1},
        "evaluation": {"resamples": 100},
    }
    return CompareConfig.model_validate({**settings, **changes})


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[CompareConfig, Path, SequenceResults]:
    config = asked(tmp_path_factory.mktemp("sequence"), tasks=3, arms=[FULL, LORA], seeds=2)
    run = compare(config)
    return config, run, read_sequence(run)


def test_every_task_is_measured_after_every_stage(done: tuple[CompareConfig, Path, SequenceResults]) -> None:
    _, run, results = done
    assert [task.name for task in results.tasks] == list(TASKS)
    assert [arm.name for arm in results.arms] == ["full", "lora"]
    for arm in results.arms:
        assert [len(row) for row in arm.matrix] == [3, 3, 3, 3]
        assert arm.steps == (3, 3, 3)
        assert [one.seed for one in arm.runs] == [0, 1]
        for place in range(3):
            mean = sum(one.matrix[2][place] for one in arm.runs) / 2
            assert arm.matrix[2][place].value == pytest.approx(mean)
        assert arm.numbers["acc"].value == pytest.approx(sum(item.value for item in arm.matrix[3]) / 3)
    full, lora = results.arms
    assert full.matrix[0] == lora.matrix[0], "one base"
    names = {path.name for path in (run / "predictions").iterdir()}
    assert len(names) == 3 + 2 * 2 * 3 * 3
    assert {"base-task-1.jsonl", "full-seed-1-stage-3-task-2.jsonl"} <= names


def weights_of(model: LanguageModel, folder: Path) -> dict[str, torch.Tensor]:
    attached = load_adapter(model, folder)
    try:
        return snapshot(attached)
    finally:
        attached.detach()


METHODS: dict[str, dict[str, Any]] = {
    "full": FULL,
    "selective": {"name": "selective", "method": "selective"},
    "lora": LORA,
    "dora": {"name": "dora", "method": "lora", "settings": {"rank": 2, "dora": True}},
    "adapter": {"name": "adapter", "method": "adapter"},
    "prompt_tuning": {"name": "prompt_tuning", "method": "prompt_tuning", "settings": {"virtual_tokens": 2}},
    "prefix_tuning": {"name": "prefix_tuning", "method": "prefix_tuning", "settings": {"virtual_tokens": 2}},
    "ia3": {"name": "ia3", "method": "peft", "settings": {"peft_type": "IA3"}},
}


@pytest.mark.parametrize("method", METHODS)
def test_a_stage_begins_with_the_weights_that_the_one_before_ended_with(tmp_path: Path, method: str) -> None:
    """With a learning rate that moves nothing, the second stage ends with the first one's weights, bit for bit."""
    still = {"training": {"learning_rate": 1e-30, "weight_decay": 0.0}}
    moving = {"training": {"learning_rate": 1e-2}}
    first = asked(tmp_path, arms=[{**METHODS[method], **moving}])
    compare(first)
    stages = read_stages(first)
    model, arm = stages[0].model, stages[0].arms[0]
    before = weights_of(model, trained(stages[0], arm, 0).adapter)
    begun = start_weights(model, finished_training(entry_of(stages[0], arm, 0)))
    assert begun.keys() == before.keys()
    assert all(torch.equal(begun[name], before[name]) for name in before)
    after = weights_of(model, trained(stages[1], stages[1].arms[0], 0).adapter)
    assert any(not torch.equal(after[name], before[name]) for name in before), "it learns"

    import dataclasses

    from luthier.training.train_arm import train_arm

    job = job_of(stages[1], stages[1].arms[0], 0)
    config = job.recipe.config.model_copy(update=still["training"])
    unmoved = dataclasses.replace(job, recipe=dataclasses.replace(job.recipe, config=config))
    found = weights_of(model, adapter_folder(train_arm(model, unmoved, out=first.runs).entry))
    # A step of 1e-30 moves nothing but an exact zero.
    assert all(torch.allclose(found[name], before[name], rtol=0, atol=1e-20) for name in before)


def test_what_a_stage_begins_with_is_in_its_key(tmp_path: Path) -> None:
    stages = read_stages(asked(tmp_path))
    other = read_stages(asked(tmp_path, seeds=[1]))
    one, two = (job_of(own[1], own[1].arms[0], 0 if own is stages else 1) for own in (stages, other))
    assert one.start is not None
    assert one.key_inputs()["start"] == one.start.key
    assert two.key_inputs()["start"] != one.start.key
    assert job_of(stages[0], stages[0].arms[0], 0).key_inputs()["start"] == ""


def test_a_longer_sequence_trains_only_what_is_new(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = compare(asked(tmp_path, tasks=2))
    capsys.readouterr()
    long = compare(asked(tmp_path, tasks=3))
    said = capsys.readouterr().err
    assert said.count("trained before, found in the store") == 2
    assert "stage 3 of 3, third" in said
    found = read_sequence(long).arms[0].matrix
    assert [[item.value for item in row[:2]] for row in found[:3]] == [
        [item.value for item in row] for row in read_sequence(short).arms[0].matrix
    ]


def test_another_order_is_another_sequence(tmp_path: Path) -> None:
    config = asked(tmp_path)
    assert config.sequence is not None
    turned = config.model_copy(update={"sequence": config.sequence[::-1]})
    a, b = read_sequence(compare(config)), read_sequence(compare(turned))
    assert [task.name for task in b.tasks] == ["second", "first"]
    assert [item.value for item in a.arms[0].matrix[0]] == [item.value for item in b.arms[0].matrix[0]][::-1]


@pytest.mark.slow
def test_the_same_command_writes_the_same_bytes(
    done: tuple[CompareConfig, Path, SequenceResults], tmp_path: Path
) -> None:
    config, run, _ = done
    before = (run / "results.json").read_bytes()
    assert (compare(config) / "results.json").read_bytes() == before
    assert (compare(config.model_copy(update={"runs": tmp_path})) / "results.json").read_bytes() == before


@pytest.mark.slow
def test_a_killed_sequence_goes_on_to_the_same_bytes(
    done: tuple[CompareConfig, Path, SequenceResults], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, run, _ = done
    again = config.model_copy(update={"runs": tmp_path})
    # The base, the first stage, and a part of the second.
    with monkeypatch.context() as patch:
        stop_in_the_third_part(patch)
        with pytest.raises(KeyboardInterrupt):
            compare(again)
    assert (compare(again) / "results.json").read_bytes() == (run / "results.json").read_bytes()


@pytest.mark.slow
@pytest.mark.usefixtures("all_passes")
def test_workers_give_the_same_bytes(done: tuple[CompareConfig, Path, SequenceResults], tmp_path: Path) -> None:
    config, run, _ = done
    two = compare(config.model_copy(update={"runs": tmp_path, "workers": 2}))
    assert (two / "results.json").read_bytes() == (run / "results.json").read_bytes()


def test_an_arm_replays_the_tasks_that_it_has_learned(tmp_path: Path) -> None:
    replaying = {**LORA, "name": "replaying", "replay": {"share": 0.25}}
    stages = read_stages(asked(tmp_path, tasks=3, arms=[LORA, replaying]))
    counts = []
    for stage in stages:
        plain, with_others = (stage.training.of(arm).train for arm in stage.arms)
        counts.append(len(with_others.records) - len(plain.records))
        assert job_of(stage, stage.arms[0], 0).stream.steps == job_of(stage, stage.arms[1], 0).stream.steps
    assert counts[0] == 0, "nothing was learned before the first stage"
    assert counts[1] > 0
    assert counts[2] > 0


def test_an_arm_whose_stage_fails_is_named_and_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from luthier.errors import DivergenceError
    from luthier.experiments import run_unit
    from luthier.experiments.trained_arms import train as honest

    def failing(plan: Any, arm: Any, seed: int, **rest: Any) -> Any:
        if arm.name == "full" and plan.target.task.name == "second":
            raise DivergenceError("the loss is not finite", where="arm 'full', step 2", fix="")
        return honest(plan, arm, seed, **rest)

    monkeypatch.setattr(run_unit, "train", failing)
    full, lora = read_sequence(compare(asked(tmp_path, arms=[FULL, LORA]))).arms
    assert full.failed == "stage 2 (second): step 2: the loss is not finite"
    assert full.matrix == ()
    assert lora.failed == ""


def command(folder: Path, *words: object) -> Ran:
    write_tasks(folder)
    return luthier("compare", "--model", tiny_folder("llama"), "--runs", folder / "runs", *words)


REFUSED = [
    (("--sequence", "first"), "key 'sequence': a sequence needs two tasks at least, as in first,topic"),
    (("--sequence", "topic,topic"), "key 'sequence': the task topic is named twice; each is learned once"),
    (("--sequence", "topic,keywords", "--task", "topic"), "task: a sequence names its tasks itself"),
    (
        ("--sequence", "topic,keywords", "--retain", "none"),
        "retain: a sequence names the tasks that it",
    ),
    (("--sequence", "topic,keywords", "--dry-run"), "dry_run: this cannot be done for a sequence"),
    (("--sequence", "topic,keywords", "--search", "2"), "search.trials: this cannot be done for a sequence"),
    (
        ("--sequence", "topic,keywords", "--arms", "zero_shot,lora"),
        "arms: zero_shot trains nothing, so it",
    ),
    (("--sequence", "topic,no_such_task"), "no_such_task"),
]


@pytest.mark.parametrize(("words", "what"), REFUSED, ids=lambda item: str(item)[:50])
def test_bad_input_is_an_error_before_the_first_step(tmp_path: Path, words: tuple[str, ...], what: str) -> None:
    ran = command(tmp_path, *words)
    assert ran.code == 2
    assert what in ran.err
    assert "→" in ran.err
    assert "Traceback" not in ran.err
    assert not list((tmp_path / "runs").glob("store/models/*"))


def test_tasks_that_share_rows_or_names_are_refused(tmp_path: Path) -> None:
    first, second, _ = write_tasks(tmp_path / "tasks")
    shared = [{**row, "id": f"train-{row['id']}", "text": f"first {row['text']}"} for row in rows("test", 6)]
    write_rows(tmp_path / "tasks" / "second" / "train.jsonl", shared)
    with pytest.raises(LuthierError, match="test examples of 'first'"):
        read_stages(asked(tmp_path / "other", sequence=[first, second]))
    called = write_task(tmp_path / "tasks" / "second", COLOUR, name="first")
    with pytest.raises(LuthierError, match="two tasks are called 'first'"):
        read_stages(asked(tmp_path / "more", sequence=[first, str(called)]))


def test_a_stage_learns_one_task(tmp_path: Path) -> None:
    mixture = tmp_path / "mix.yaml"
    mixture.write_text("tasks: [topic, counting]\n")
    with pytest.raises(LuthierError, match=r"mix\.yaml is a mixture, and each stage learns one task"):
        compare(asked(tmp_path, sequence=["topic", str(mixture)]))
    with pytest.raises(LuthierError, match="what the arm 'lora' learns is a mixture"):
        compare(asked(tmp_path, arms=[{**LORA, "mixture": str(mixture)}]))


def test_a_divergence_from_a_base_that_is_gone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LuthierError, match=r"arm 'full', anchor\.kl: full changes the base's own weights"):
        compare(asked(tmp_path, arms=[{**FULL, "anchor": {"kl": 0.1, "on": "target"}}]))


def test_elastic_weights_hold_what_a_stage_begins_with(tmp_path: Path) -> None:
    config = asked(tmp_path, arms=[{**FULL, "anchor": {"ewc": 10.0, "fisher_examples": 4}}])
    first, second = read_stages(config)
    assert job_of(first, first.arms[0], 0).recipe.penalties == (), "nothing was learned before"
    (held,) = job_of(second, second.arms[0], 0).recipe.penalties
    elsewhere = second.training.of(second.arms[0]).elsewhere
    assert elsewhere is not None
    assert isinstance(held, ElasticWeights)
    assert len(held.records) == 4
    assert held.digest != elsewhere.digest, "the Fisher information is not that of the base"
    assert read_sequence(compare(config)).arms[0].failed == ""


def test_the_terminal_and_the_pages_say_the_same(done: tuple[CompareConfig, Path, SequenceResults]) -> None:
    _, run, results = done
    write_report(run)
    page = (run / "report.html").read_bytes()
    write_report(run)
    assert (run / "report.html").read_bytes() == page
    ran = luthier("report", run)
    assert ran.code == 0
    printed, text = " ".join(ran.out.split()), (run / "report.md").read_text()
    for arm in results.arms:
        acc = f"{arm.name}: {arm.numbers['acc'].value:.3f} on average after the last stage"
        assert acc in printed
        assert acc in text
        assert f"Scores of {arm.name}, stage by stage" in text
    assert {path.name for path in (run / "charts").iterdir()} == {"matrix-full.png", "matrix-lora.png"}
    assert json.loads((run / "results.json").read_text())["kind"] == "sequence"
