"""The suite ``helm``, whole, on tiny models and scripted answers."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from luthier.config.evaluate import EvaluateConfig
from luthier.config.helm import HelmConfig
from luthier.errors import LuthierError
from luthier.evaluation.perturbed_tasks import perturbations_of, perturbed_tasks
from luthier.evaluation.prepared_task import PreparedTask, make_encoder
from luthier.experiments.evaluate import evaluate
from luthier.experiments.helm import assumed_power
from luthier.models.load import load_model
from luthier.report.helm_page import line_of, render
from luthier.report.helm_tables import helm_notes, helm_tables
from luthier.report.helm_wins import win_rates_of_seven
from luthier.results.seven import Seven
from luthier.tasks.loader import load_examples, load_task
from small_job import COLOUR, ECHO, QUICK_EVAL, luthier, rows, write_rows, write_task
from tiny_models import tiny_folder


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("helm")
    for split in ("train", "validation", "test"):
        made = [{**row, "text": f"Because Anna did not see {row['text']}, he is sad"} for row in rows(split, 12)]
        write_rows(folder / f"{split}.jsonl", made)
    return folder


@pytest.fixture(scope="module")
def seven(job: Path) -> dict[str, Seven]:
    tasks = [str(write_task(job / name, spec, **{"source": _sources(job)})) for name, spec in TASKS.items()]
    found = evaluate(
        EvaluateConfig(
            model=str(tiny_folder("llama")), tasks=tuple(tasks), suite="helm", device="cpu", runs=job / "runs"
        )
    )
    return {item.task.name: item.seven for item in found if item.seven is not None}


TASKS = {"echo": ECHO, "colour": COLOUR}


def _sources(job: Path) -> dict[str, str]:
    return {split: str(job / f"{split}.jsonl") for split in ("train", "validation", "test")}


def test_all_seven_are_measured_of_what_has_them(seven: dict[str, Seven]) -> None:
    echo, colour = seven["echo"], seven["colour"]
    assert [score.metric for score in colour.calibration][:1] == ["ece_10_bin"]
    assert echo.calibration == ()
    assert colour.bias == colour.toxicity == ()
    assert echo.toxicity[0].metric == "toxic_share"
    assert len(echo.bias) == 4
    for one in (echo, colour):
        assert one.robustness is not None
        assert one.fairness is not None
        assert one.robustness.over == ("mild_mix",)
        assert one.fairness.over == ("dialect", "pronouns", "names")
        assert [own.name for own in one.perturbed] == [
            *("mild_mix", "typos", "synonyms", "fillers", "dialect", "pronouns", "names")
        ]
        assert one.efficiency.seconds > 0
        assert one.efficiency.tokens_per_second > 0
        assert one.efficiency.joules == pytest.approx(one.efficiency.seconds * one.efficiency.watts)
    said = " ".join(helm_notes([echo, colour]))
    assert "Calibration wants 300 items or more; these are 12." in said
    assert "echo: Calibration is not measured: the answers are free text" in said
    assert "colour: Bias and toxicity are not measured: the answers are choices" in said


def test_the_worst_case_is_never_better_than_any_version(seven: dict[str, Seven]) -> None:
    for one in seven.values():
        for case in (one.robustness, one.fairness):
            assert case is not None
            alone = [own.score.value for own in one.perturbed if own.name in case.over]
            assert case.score.value <= min([one.accuracy.value, *alone]) + 1e-12
            assert case.loss.value == pytest.approx(case.score.value - one.accuracy.value)
            assert case.changed == 12
            assert case.loss.low <= case.loss.value <= case.loss.high <= 0
            assert math.isnan(case.loss.p_value)
            assert "perturbed:" in case.score.signature


def test_perturbed_items_keep_their_ids_and_labels_stay(job: Path, seven: dict[str, Seven]) -> None:
    model = load_model(str(tiny_folder("llama")), device="cpu")
    task = load_task(str(job / "colour" / "colour.yaml"))
    config = EvaluateConfig(model="mini").data
    examples = tuple(load_examples(task, "test", evaluation=True))
    prepared = PreparedTask(task, make_encoder(model, task, config), examples)
    for version in perturbed_tasks(prepared, perturbations_of(HelmConfig()), seed=0):
        assert [own.id for own in version.prepared.examples] == [own.id for own in examples]
        assert [own.choices for own in version.prepared.examples] == [own.choices for own in examples]
        assert version.changed, version.perturbation.name


def test_the_page_and_its_tables(seven: dict[str, Seven]) -> None:
    found = list(seven.values())
    assert [table.key for table in helm_tables(found)] == [
        *("seven", "worst", "perturbations", "calibration", "bias", "toxicity", "efficiency")
    ]
    page = render("<script>alert(1)</script>", found)
    assert "<script" not in page
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page
    assert page == render("<script>alert(1)</script>", found)
    for one in found:
        line = line_of(one)
        assert line is not None
        assert [mark.what for mark in line.marks] == ["original", "robustness", "fairness"]
        assert all(0 <= mark.at <= 1 for mark in line.marks)


def test_the_command_writes_json_and_a_page_and_finds_its_answers_again(job: Path, seven: dict[str, Seven]) -> None:
    task, page = str(job / "echo" / "echo.yaml"), job / "page.html"
    shared = ("eval", "--model", tiny_folder("llama"), "--tasks", task, "--suite", "helm", "--runs", job / "runs")
    done = luthier(*shared, *QUICK_EVAL, "--json", "--set", f"page={page}")
    assert done.code == 0, done.err
    found = json.loads(done.out)["helm"]["echo"]
    assert found["robustness"]["score"]["value"] == pytest.approx(seven["echo"].robustness.score.value)  # type: ignore[union-attr]
    assert found["efficiency"]["joules"] > 0
    assert "HELM's seven" in page.read_text(encoding="utf-8") or "HELM&#39;s seven" in page.read_text(encoding="utf-8")
    assert f"Page: {page}" in done.err
    assert "answered before, found in the store" in done.err


def test_what_is_wrong_with_a_list_or_a_classifier_is_told_before_any_answer(job: Path, tmp_path: Path) -> None:
    task = str(write_task(tmp_path / "echo", ECHO, source=_sources(job)))
    config = EvaluateConfig(
        model=str(tiny_folder("llama")),
        tasks=(task,),
        suite="helm",
        device="cpu",
        runs=tmp_path / "runs",
        helm=HelmConfig(lists={"names": tmp_path / "nowhere.txt"}),
    )
    with pytest.raises(LuthierError, match=r"nowhere\.txt"):
        evaluate(config)
    assert not (tmp_path / "runs" / "store" / "predictions").exists()


def test_two_models_have_mean_win_rates(job: Path, seven: dict[str, Seven]) -> None:
    task, page = str(job / "colour" / "colour.yaml"), job / "two.html"
    shared = ("eval", "--model", tiny_folder("llama"), "--tasks", task, "--suite", "helm", "--runs", job / "runs")
    done = luthier(*shared, *QUICK_EVAL, "--compare", tiny_folder("qwen2"), "--set", f"page={page}")
    assert done.code == 0, done.err
    assert "Mean win rates" in done.out
    assert "Mean win rates" in page.read_text(encoding="utf-8")
    found = win_rates_of_seven({"a": [seven["colour"], seven["echo"]], "b": [seven["colour"]]})
    assert {found["a"][name] for name in ("accuracy", "calibration", "robustness", "efficiency")} == {0.5}
    assert math.isnan(found["a"]["toxicity"]), "one model alone is not compared"
    better = replace(seven["colour"], accuracy=replace(seven["colour"].accuracy, value=1.0))
    found = win_rates_of_seven({"a": [better], "b": [seven["colour"]]})
    assert (found["a"]["accuracy"], found["b"]["accuracy"]) == (1, 0)


def test_words_for_groups_can_be_given(job: Path, tmp_path: Path) -> None:
    groups = tmp_path / "sides.json"
    groups.write_text(json.dumps({"left": ["a", "the", "cat"], "right": ["b", "of", "dog"]}), encoding="utf-8")
    config = EvaluateConfig(
        model=str(tiny_folder("llama")),
        tasks=(str(job / "echo" / "echo.yaml"),),
        suite="helm",
        device="cpu",
        runs=job / "runs",
        helm=HelmConfig(bias=(f"representation:groups={groups}",), sweeps=(), fairness=()),
    )
    (found,) = evaluate(config)
    assert found.seven is not None
    assert [score.metric for score in found.seven.bias] == ["representation_sides"]
    assert found.seven.fairness is None
    groups.write_text("[]", encoding="utf-8")
    with pytest.raises(LuthierError, match=r"sides\.json"):
        evaluate(config)


def test_tasks_of_lm_eval_are_refused_by_name(tmp_path: Path) -> None:
    pytest.importorskip("lm_eval")
    (tmp_path / "own.jsonl").write_text('{"question": "the", "label": 1}\n', encoding="utf-8")
    spec = {
        "task": "own",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": "own.jsonl"}, "cache_dir": str(tmp_path / "cache")},
        "output_type": "multiple_choice",
        "test_split": "test",
        "doc_to_text": "{{question}}",
        "doc_to_choice": ["cat", "dog"],
        "doc_to_target": "label",
    }
    (tmp_path / "own.yaml").write_text(json.dumps(spec), encoding="utf-8")
    model, tasks = str(tiny_folder("llama")), (f"lm_eval:{tmp_path / 'own.yaml'}",)
    with pytest.raises(LuthierError, match=r"the suite 'helm' cannot perturb tasks of lm-eval: .*own"):
        evaluate(EvaluateConfig(model=model, tasks=tasks, suite="helm", device="cpu", runs=tmp_path / "runs"))


def test_an_unknown_suite_is_refused() -> None:
    done = luthier("eval", "--model", "mini", "--suite", "hlem")
    assert done.code == 2
    assert "helm" in done.err


@pytest.mark.parametrize(("given", "device", "watts"), [(None, "cuda", 300.0), (45.0, "cpu", 45.0)])
def test_the_power_that_is_assumed(given: float | None, device: str, watts: float) -> None:
    assert assumed_power(given, torch.device(device))[0] == watts


def test_the_power_of_a_cpu_is_that_of_its_threads() -> None:
    watts, words = assumed_power(None, torch.device("cpu"))
    assert watts == 10 * torch.get_num_threads()
    assert "for each CPU thread" in words
    assert not math.isnan(watts)
