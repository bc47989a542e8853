"""A key holds everything that its result depends on, and nothing else: every setting and every task key, listed.

A table says for each field which keys of a comparison change with it. A field without a line fails; so does one whose
line is wrong. The kinds of keys:

    train     a trained arm            search   the outcome of its search of hyper-parameters
    answer    in-context answers       tuned    answers of the trained arm
    retain    the base on a retained task        text     the base on plain text
    time      the timing of requests   run      the name of the run's folder
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from pydantic import BaseModel

from luthier.config.anchor import AnchorConfig
from luthier.config.arms import Arm
from luthier.config.assignments import nested, overlay
from luthier.config.compare import CompareConfig
from luthier.config.replay import ReplayConfig
from luthier.config.training import TrainingConfig
from luthier.experiments.plan import Plan, read_plan, run_name
from luthier.experiments.run_unit import retention_jobs, target_job, timing_of
from luthier.experiments.search import search_entry
from luthier.experiments.trained_arms import entry_of
from luthier.experiments.units import Unit
from luthier.tasks.spec import TaskSpec
from small_job import ECHO, rows, write_job, write_rows
from tiny_models import tiny_folder

LORA: dict[str, Any] = {"name": "lora", "method": "lora", "settings": {"rank": 4}}
BASE: dict[str, Any] = {
    "model": "tiny",
    "task": "echo.yaml",
    "arms": ["2_shot", LORA],
    "retain": ["colour.yaml"],
    "retention_text": "text.txt",
    "device": "cpu",
    "training": {"steps": 4, "batch_size": 4, "validations": 1},
    "search": {"trials": 0},
}
TASK: dict[str, Any] = ECHO | {"version": "1", "description": "Name the animal.", "stop": ["\n"]}
ANSWERS = frozenset({"answer", "tuned", "retain", "text", "time"})
TRAINED = frozenset({"train", "search", "tuned"})
"""What is trained, and the answers of what is trained: their keys hold that of the training."""
ASKED = frozenset({"answer", "tuned", "time"})
NOTHING = frozenset[str]()
ALL = TRAINED | ANSWERS


@dataclass(frozen=True)
class Case:
    """One change, and the keys that change with it; the run's own is expected unless it is said not to be."""

    value: Any
    changes: frozenset[str]
    run: bool = True
    and_also: Mapping[str, Any] | None = None


CONFIG: dict[str, Case] = {
    "model": Case("qwen2", ALL),
    "task": Case("colour.yaml", ALL - {"text"}, and_also={"retain": ["echo.yaml"]}),
    "arms": Case(["3_shot", LORA | {"settings": {"rank": 2}}], TRAINED | {"answer", "time"}),
    "retain": Case([], NOTHING),
    "retain_at_least": Case(0.9, NOTHING),
    "extrapolate": Case(True, NOTHING),
    "retention_text": Case("other.txt", frozenset({"text"})),
    "runs": Case("elsewhere", NOTHING, run=False),
    "name": Case("called", NOTHING, run=False),
    "seed": Case(1, TRAINED | {"answer", "time"}),
    "seeds": Case((5,), TRAINED),
    "workers": Case(2, NOTHING, run=False),
    "remake_damaged": Case(True, NOTHING, run=False),
    # In place of the task and the retained tasks: what its stages depend on is tested in test_sequence.
    "sequence": Case(None, NOTHING, run=False),
    "dry_run": Case(True, NOTHING, run=False),
    "device": Case(None, NOTHING),
    "precision": Case("bf16", ALL),
    "kernels.matmul": Case("onednn", ALL),
    "kernels.attention": Case("fused", ALL),
    "trust_remote_code": Case(True, NOTHING),
    "data.folder": Case(".", NOTHING),  # rows of the files in it are in the digest of the examples
    "data.train": Case(6, TRAINED | {"answer", "time"}),
    "data.validation": Case(2, TRAINED),
    "data.test": Case(3, ASKED),
    "data.max_length": Case(100, TRAINED | (ANSWERS - {"text"})),
    "data.max_lost": Case(0.5, NOTHING),
    "data.overlaps": Case("keep", NOTHING),  # no prompt has two targets
    "data.reasoning": Case("learn", NOTHING),  # the rows are rendered by a template
    # The model has no chat template, so that answers stay; the adapter's card says how prompts became tokens.
    "data.chat": Case("never", TRAINED),
    "data.chat_arguments": Case({"enable_thinking": False}, TRAINED),  # see tests/data/test_chat_templates.py
    "training.learning_rate": Case(0.5, TRAINED),
    "training.epochs": Case(2, TRAINED),
    "training.steps": Case(6, TRAINED),
    "training.batch_size": Case(3, TRAINED),
    "training.micro_tokens": Case(64, TRAINED),
    "training.schedule": Case("linear", TRAINED),
    "training.warmup": Case(0.5, TRAINED),
    "training.final_learning_rate_fraction": Case(0.5, TRAINED),
    "training.weight_decay": Case(0.5, TRAINED),
    "training.betas": Case((0.8, 0.9), TRAINED),
    "training.epsilon": Case(1e-6, TRAINED),
    "training.clip_norm": Case(0.5, TRAINED),
    "training.validations": Case(2, TRAINED),
    "training.validation_examples": Case(2, TRAINED),
    "training.select": Case("mean", TRAINED),
    "training.patience": Case(1, TRAINED),
    "training.checkpoint_seconds": Case(0, NOTHING),
    "training.activation_checkpointing": Case(True, TRAINED),
    "training.frozen_cache_mib": Case(0, TRAINED),
    "training.trackers": Case(("tensorboard",), NOTHING),
    "search.trials": Case(3, frozenset({"search"})),
    "search.prune": Case(False, frozenset({"search"})),
    "decoding.max_new_tokens": Case(2, TRAINED | (ANSWERS - {"text"})),
    "decoding.temperature": Case(0.5, TRAINED | (ANSWERS - {"text"})),
    "decoding.top_k": Case(3, TRAINED | (ANSWERS - {"text"})),
    "decoding.top_p": Case(0.5, TRAINED | (ANSWERS - {"text"})),
    "decoding.seed": Case(1, TRAINED | (ANSWERS - {"text"})),
    "decoding.beams": Case(2, TRAINED | (ANSWERS - {"text"})),
    "decoding.length_penalty": Case(2.0, TRAINED | (ANSWERS - {"text"})),
    "evaluation.retain_examples": Case(3, frozenset({"retain"})),
    "evaluation.batch_tokens": Case(64, TRAINED | ANSWERS),
    "evaluation.cache": Case(False, NOTHING),
    "evaluation.confidence": Case(0.9, NOTHING),
    "evaluation.resamples": Case(200, NOTHING),
}

TEXTS = TRAINED | ASKED
TASK_KEYS: dict[str, Case] = {
    "name": Case("other", TEXTS),
    "version": Case("2", NOTHING),  # it stands in the signature of scores, which are made from the answers anew
    "description": Case("Say the animal.", NOTHING),
    "licence": Case("CC0", NOTHING),
    "citation": Case("somebody", NOTHING),
    "language": Case("es", NOTHING),
    "source": Case({"train": "others.jsonl", "validation": "validation.jsonl", "test": "test.jsonl"}, TEXTS),
    "id": Case(None, TEXTS),
    "group": Case("colour", TEXTS),
    "part": Case("{{ colour }}", TEXTS),
    "input": Case(None, TRAINED),  # answers stay: it is found, the longest text of the prompt; the adapter names it
    "target": Case("{{ answer }}!", TEXTS),
    "targets": Case(["{{ answer }}", "a {{ answer }}"], TEXTS, and_also={"target": None}),
    "targets_column": Case("answers", TEXTS, and_also={"target": None}),
    "wrong_lines": Case("no {{ answer }}\nnor {{ colour }}", TEXTS),
    "targets_lines": Case("{{ answer }}\na {{ answer }}", TEXTS, and_also={"target": None}),
    "splits": Case({"validation": {"target": "a {{ answer }}"}}, TRAINED),
    "choices": Case(["cat", "dog", "hen", "cow", "fox", "owl"], TEXTS),
    "choices_column": Case("names", TEXTS),
    "choices_lines": Case("{{ answer }}\nelephant", TEXTS),
    "chance": Case(0.1, NOTHING),
    "metrics": Case(["token_f1", "exact_match", "rouge"], NOTHING),  # the first is the one that chooses the weights
    "primary": Case("exact_match", TRAINED),
    "stop": Case([], TRAINED | ASKED),
    "special_tokens": Case(["<unk>"], TRAINED | ASKED),
    "max_new_tokens": Case(6, TRAINED | ASKED),
    "preamble": Case("Name the animals.\n", TEXTS),
    "preamble_file": Case({"path": "other.txt", "then": "\n"}, TEXTS),
    "joint": Case("=", TEXTS),
    "extracts": Case({"first": {"find": r"(\w+)"}}, TRAINED),
    "protocol": Case("published", NOTHING),
    "extract": Case({"find": r"(\w+)"}, TRAINED),  # answers are logged whole; extraction chooses the weights
    "few_shot": Case({"shots": 1}, NOTHING),  # the arm says how many: 2_shot
    "split": Case({"train": 0.6, "validation": 0.2, "test": 0.2}, NOTHING),  # the source has all three splits
    "overlaps": Case("keep", NOTHING),  # no prompt has two targets
    "chat": Case(False, TRAINED),  # the model has no chat template, and the adapter says that none is wanted
    "templates": Case([{"name": "plain", "prompt": "{{ text }}\nwhich animal:"}], TEXTS),
}


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_job(tmp_path_factory.mktemp("keys"))
    for split, count in (("train", 12), ("validation", 3), ("test", 6)):
        more = [
            row | {"answers": [row["answer"], "it"], "names": [row["answer"], "elephant"]} for row in rows(split, count)
        ]
        write_rows(folder / f"{split}.jsonl", more)
    write_rows(folder / "others.jsonl", rows("other", 9))
    (folder / "other.txt").write_text("an owl sat by the red sea.\n")
    return folder


def plan_of(job: Path, task: Mapping[str, Any] = TASK, changes: Mapping[str, Any] | None = None) -> Plan:
    given = overlay(BASE, nested(changes or {}))
    (job / "echo.yaml").write_text(yaml.safe_dump({key: value for key, value in task.items() if value is not None}))
    places = {key: str(job / given[key]) for key in ("task", "retention_text")}
    places |= {"runs": str(job / given.get("runs", "runs"))}
    names = {"tiny": "llama"}
    settings = (
        given
        | places
        | {
            "model": str(tiny_folder(names.get(given["model"], given["model"]))),
            "retain": [str(job / name) for name in given["retain"]],
        }
    )
    return read_plan(CompareConfig.model_validate(settings))


def keys_of(plan: Plan) -> dict[str, str]:
    """The key of every kind of result of a plan."""
    prompted, tuned = plan.arms
    (seed,) = tuned.seeds
    base = retention_jobs(plan, Unit("retain", ""))
    found = {
        "train": entry_of(plan, tuned, seed).key,
        "search": search_entry(plan, tuned).key,
        "answer": target_job(plan, Unit("evaluate", prompted.name))[0].entry.key,
        "tuned": target_job(unsearched(plan), Unit("evaluate", tuned.name, seed))[0].entry.key,
        "time": timing_of(plan, Unit("time", prompted.name)).entry.key,
        "text": base[-1].entry.key,
        "run": run_name(plan),
    }
    return found | ({"retain": base[0].entry.key} if plan.retained else {})


def unsearched(plan: Plan) -> Plan:
    """The same plan without a search, whose outcome would have to be there."""
    search = plan.config.search.model_copy(update={"trials": 0})
    return replace(plan, config=plan.config.model_copy(update={"search": search}))


def differing(one: Mapping[str, str], other: Mapping[str, str]) -> frozenset[str]:
    return frozenset(kind for kind in one.keys() & other.keys() if one[kind] != other[kind])


def fields(settings: type[BaseModel], above: str = "") -> Iterator[str]:
    """Every field of a settings class, those of the classes in it included, as dotted keys."""
    for name, field in settings.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from fields(inner, f"{above}{name}.")
        else:
            yield above + name


def test_every_setting_has_a_line() -> None:
    assert set(CONFIG) == set(fields(CompareConfig))


def test_every_key_of_a_task_has_a_line() -> None:
    assert set(TASK_KEYS) == set(TaskSpec.model_fields)


@pytest.fixture(scope="module")
def before(job: Path) -> dict[str, str]:
    return keys_of(plan_of(job))


@pytest.mark.parametrize("key", CONFIG)
def test_a_setting_changes_the_keys_that_depend_on_it(job: Path, before: dict[str, str], key: str) -> None:
    case = CONFIG[key]
    after = keys_of(plan_of(job, changes={key: case.value} | dict(case.and_also or {})))
    found = differing(before, after)
    assert found - {"run"} == case.changes & (before.keys() & after.keys())
    assert ("run" in found) is case.run


@pytest.mark.parametrize("key", TASK_KEYS)
def test_a_key_of_a_task_changes_the_keys_that_depend_on_it(job: Path, before: dict[str, str], key: str) -> None:
    case = TASK_KEYS[key]
    assert keys_of(plan_of(job)) == before
    after = keys_of(plan_of(job, {**TASK, key: case.value, **(case.and_also or {})}))
    assert differing(before, after) - {"run"} == case.changes


def test_another_way_to_judge_is_another_training(job: Path) -> None:
    """Found in the store before: a training whose weights were chosen by BLEU of another letter case."""
    bleu = TASK | {"metrics": ["bleu"], "primary": "bleu"}
    before = keys_of(plan_of(job, bleu))
    after = keys_of(plan_of(job, bleu | {"metrics": ["bleu:lowercase=yes"]}))
    assert differing(before, after) - {"run"} == TRAINED


def test_other_exemplars_are_other_questions(job: Path, before: dict[str, str]) -> None:
    """Where exemplars come from: the first rows of the training split, or fixed ones, instead of drawn ones."""
    fixed = [{"text": "a red owl sat", "answer": "owl"}, {"text": "a blue hen sat", "answer": "hen"}]
    for few_shot in ({"order": "first"}, {"rows": fixed}):
        after = keys_of(plan_of(job, TASK | {"few_shot": few_shot}))
        assert differing(before, after) - {"run"} == {"answer", "time"}


def test_threads_are_in_every_key(job: Path, before: dict[str, str]) -> None:
    """The number of threads changes the last bits of sums on a CPU."""
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        assert differing(before, keys_of(plan_of(job))) == ALL
    finally:
        torch.set_num_threads(threads)


def test_an_arm_says_everything_that_it_is_trained_with(job: Path, before: dict[str, str]) -> None:
    plan = plan_of(job)
    _, arm = plan.arms
    pools = {"tasks": plan.training.validation.records}
    plan = replace(plan, training=replace(plan.training, replayable=pools))
    changed: dict[str, Any] = {
        "method": "adapter",
        "settings": {"rank": 3},
        "training": TrainingConfig(steps=9),
        "replay": ReplayConfig(share=0.5),
        "anchor": AnchorConfig(kl=0.1, on="target"),
        "weight_examples": "easy",
    }
    # Objectives learn from preferences, which this task has not: see test_preference_arms.
    elsewhere = {"objective", "objective_settings", "start"}
    kept: dict[str, Any] = {"name": "another", "shots": 1, "seeds": (0, 1), "interpolate": (0.5,)}
    # A mixture's key is that of its sources and quotas: see test_mixture_arms.
    assert set(changed | kept) | elsewhere | {"mixture"} == set(Arm.__dataclass_fields__), (
        "a new field of an arm needs a line"
    )
    for name, value in changed.items():
        other = replace(arm, **{name: value} | ({"settings": {}} if name == "method" else {}))
        assert entry_of(plan, other, 0).key != before["train"], name
    for name, value in kept.items():
        assert entry_of(plan, replace(arm, **{name: value}), 0).key == before["train"], name
    assert entry_of(plan, arm, 1).key != before["train"]
