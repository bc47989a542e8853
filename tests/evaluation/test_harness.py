"""Tasks of lm-eval beside our own: drawn, asked, kept in the store, judged, refused, and summed up by groups."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import yaml

pytest.importorskip("lm_eval")

from lm_eval.api import metrics as theirs
from lm_eval.tasks import TaskManager

from luthier.config.evaluate import EvaluateConfig
from luthier.config.relative_paths import relative_to
from luthier.errors import ConfigError, DataError, LuthierError, TaskError
from luthier.evaluation.harness import items, loading
from luthier.evaluation.harness import task as harness_task
from luthier.evaluation.harness.groups import HarnessGroup
from luthier.evaluation.harness.items import aggregated_metric
from luthier.evaluation.harness.library import Known, library, members_of
from luthier.evaluation.harness.task import HarnessTask
from luthier.experiments.against import evaluate_against
from luthier.experiments.evaluate import evaluate
from luthier.experiments.evaluated import Evaluation
from luthier.metrics.metric import Metric
from luthier.metrics.scoring import score_predictions
from luthier.metrics.significance import paired_difference
from luthier.records import Prediction
from luthier.report.displays import as_text
from luthier.tasks import names
from luthier.tasks.loader import load_task
from tiny_models import tiny_folder

ACC = {"metric": "acc", "aggregation": "mean", "higher_is_better": True}
CHOICE: dict[str, Any] = {
    "output_type": "multiple_choice",
    "test_split": "test",
    "doc_to_text": "{{question}}",
    "doc_to_choice": ["red", "dog", "the cat"],
    "doc_to_target": "label",
    "metric_list": [ACC],
    "metadata": {"version": 1.0},
}
WRITTEN: dict[str, Any] = {
    "output_type": "generate_until",
    "test_split": "test",
    "doc_to_text": "{{question}}",
    "doc_to_target": "{{label}}",
    "generation_kwargs": {"until": ["\n"], "max_gen_toks": 6, "do_sample": False},
    "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    "metadata": {"version": 1.0},
}


def rows(count: int, start: int = 0) -> list[dict[str, Any]]:
    words = ("the cat", "the dog", "sat red", "stop the", "a red dog")
    return [
        {"question": f"{number} {words[number % 5]}? ", "label": number % 3} for number in range(start, start + count)
    ]


def write(
    folder: Path, name: str, spec: Mapping[str, Any], content: Sequence[Mapping[str, Any]], **changes: Any
) -> Path:
    """Write a YAML and its rows, named relatively."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content))
    arguments = {"data_files": {"test": f"{name}.jsonl"}, "cache_dir": str(folder / "cache")}
    path = folder / f"{name}.yaml"
    path.write_text(
        yaml.safe_dump({"task": name, "dataset_path": "json", "dataset_kwargs": arguments, **spec, **changes})
    )
    return path


def run(folder: Path, *tasks: Path, **changes: Any) -> Evaluation:
    settings: dict[str, Any] = {"model": str(tiny_folder("llama")), "device": "cpu", "runs": folder / "runs"}
    settings |= {"evaluation": {"resamples": 100}}
    return evaluate(EvaluateConfig(tasks=tuple(f"lm_eval:{path}" for path in tasks), **(settings | changes)))


# What is asked.


def test_a_task_gives_score_interval_chance_and_signature(tmp_path: Path) -> None:
    (found,) = run(tmp_path, write(tmp_path, "colours", CHOICE, rows(12)))
    score = found.scores[0]
    assert (found.task.name, found.task.chance, score.metric, score.n) == ("lm_eval:colours", 1 / 3, "acc", 12)
    assert 0 <= score.low < score.value < score.high <= 1 or score.value in (0, 1)
    assert "metric:acc" in score.signature
    assert "ci:95%wilson|by:lm_eval-" in score.signature
    assert score.signature.endswith("|shots:0|split:test|task:lm_eval:colours-v1.0")
    assert [own.id for own in found.log.predictions] == [f"lm_eval:colours#{place}" for place in range(12)]


def test_a_limit_is_drawn_by_hash_and_not_the_first_rows(tmp_path: Path) -> None:
    path = write(tmp_path, "colours", CHOICE, rows(60))

    def drawn(seed: int) -> list[int]:
        (found,) = run(tmp_path, path, data={"test": 8}, seed=seed)
        return [int(own.id.rpartition("#")[2]) for own in found.log.predictions]

    assert len(drawn(0)) == 8
    assert drawn(0) == sorted(drawn(0)) != list(range(8))
    assert drawn(0) != drawn(1)
    more = write(tmp_path / "more", "colours", CHOICE, [*rows(60), *rows(20, start=60)])
    (found,) = run(tmp_path, more, data={"test": 8}, seed=0)
    kept = {own.id for own in found.log.predictions} & {f"lm_eval:colours#{place}" for place in drawn(0)}
    assert len(kept) >= 4, "rows that were added take the places of some, not of all"


def test_shots_are_the_tasks_own_unless_given_and_never_where_it_fixes_none(tmp_path: Path) -> None:
    train = {"training_split": "test"}
    own = write(tmp_path, "own", CHOICE, rows(6), num_fewshot=2, **train)
    fixed = write(tmp_path, "fixed", CHOICE, rows(6), num_fewshot=0, **train)
    free = write(tmp_path, "free", CHOICE, rows(6), **train)

    def shots(**given: Any) -> list[tuple[int, int]]:
        return [found.shots_used for found in run(tmp_path, own, fixed, free, **given)]

    assert shots() == [(2, 2), (0, 0), (0, 0)]
    assert shots(shots=1) == [(1, 1), (0, 0), (1, 1)]
    assert shots(shots=0) == [(0, 0), (0, 0), (0, 0)]


def test_several_answers_to_one_prompt_are_written_and_filtered(tmp_path: Path) -> None:
    """Self-consistency: the filter takes the most frequent of five."""
    majority = [{"name": "majority", "filter": [{"function": "majority_vote"}, {"function": "take_first"}]}]
    sampled = WRITTEN["generation_kwargs"] | {"do_sample": True, "temperature": 1.0}
    path = write(tmp_path, "voted", WRITTEN, rows(3), repeats=5, filter_list=majority, generation_kwargs=sampled)
    (found,) = run(tmp_path, path)
    assert isinstance(found.task, HarnessTask)
    for own in found.log.predictions:
        answers = json.loads(own.text)
        assert len(answers) == 5
        assert len(set(answers)) > 1, "each has its own random stream"
    assert found.scores[0].metric == "exact_match,majority"


def test_prompts_that_are_cut_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    long = [{"question": "the cat sat. " * 40, "label": 0}, *rows(3)]
    run(tmp_path, write(tmp_path, "long", CHOICE, long))
    assert "lm_eval:long: 1 of 4 prompts were too long, and cut on their left" in capsys.readouterr().err


def test_the_chat_template_is_used_where_it_is_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path, "colours", CHOICE, rows(3))
    with pytest.raises(ConfigError, match="the tokenizer has no chat template"):
        run(tmp_path, path, data={"chat": "always"})
    chatting = tmp_path / "chatting"
    shutil.copytree(tiny_folder("llama"), chatting)
    template = "{% for m in messages %}{{ m.role }}. {{ m.content }}\n{% endfor %}"
    (chatting / "chat_template.jinja").write_text(template + "{% if add_generation_prompt %}a. {% endif %}")
    (found,) = run(tmp_path, path, model=str(chatting), data={"chat": "always"})
    assert isinstance(found.task, HarnessTask)
    assert "prompt:chat-template" in found.scores[0].signature
    assert found.task.requests[0].request.example.prompt == "user. 0 the cat? \na. "
    assert found.task.requests[0].request.example.choices == ("red", "dog", "the cat"), "as lm-eval has it in a chat"
    begun = write(tmp_path, "begun", WRITTEN, rows(2), gen_prefix="well")
    (found,) = run(tmp_path, begun, model=str(chatting), data={"chat": "always"})
    assert isinstance(found.task, HarnessTask)
    assert found.task.requests[0].request.example.prompt == "user. 0 the cat? \nassistant. well"


# What is kept.


def test_a_second_run_answers_from_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = write(tmp_path, "colours", CHOICE, rows(8)), write(tmp_path, "written", WRITTEN, rows(4))
    first = run(tmp_path, *paths)
    monkeypatch.setattr(harness_task, "answer_requests", lambda *_: pytest.fail("something was computed"))
    assert [own.log for own in run(tmp_path, *paths)] == [own.log for own in first]
    # Of other documents those that were asked before are known, and the task may be called otherwise.
    (other,) = run(tmp_path, write(tmp_path, "others", CHOICE, rows(6)))
    assert other.log.cached == 6
    expected = [own.choice_logprobs for own in first[0].log.predictions[:6]]
    assert [own.choice_logprobs for own in other.log.predictions] == expected
    assert [own.choice_greedy for own in other.log.predictions] == [
        own.choice_greedy for own in first[0].log.predictions[:6]
    ]


def test_a_killed_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "colours", CHOICE, rows(20))
    settings: dict[str, Any] = {"evaluation": {"resamples": 100, "batch_tokens": 16, "cache": False}}
    (whole,) = run(tmp_path / "whole", path, **settings)
    answer, calls = harness_task.answer_requests, 0

    def killed(*given: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return answer(*given)

    monkeypatch.setattr(harness_task, "answer_requests", killed)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, path, **settings)
    (found,) = run(tmp_path, path, **settings)
    without_time = [(own.id, own.choice_logprobs, own.choice_greedy) for own in found.log.predictions]
    assert without_time == [(own.id, own.choice_logprobs, own.choice_greedy) for own in whole.log.predictions]
    assert calls > 3


def test_what_is_judged_otherwise_needs_no_new_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path, write(tmp_path, "written", WRITTEN, rows(4)))
    find = [
        {"name": "digits", "filter": [{"function": "regex", "regex_pattern": r"(\d+)"}, {"function": "take_first"}]}
    ]
    changed = write(tmp_path, "written", WRITTEN, rows(4), filter_list=find)
    monkeypatch.setattr(harness_task, "answer_requests", lambda *_: pytest.fail("something was computed"))
    (found,) = run(tmp_path, changed)
    assert found.scores[0].metric == "exact_match,digits"


def test_answers_are_written_for_people(tmp_path: Path) -> None:
    path = write(tmp_path, "colours", CHOICE, rows(3))
    run(tmp_path, path, answers=tmp_path / "answers")
    lines = [json.loads(line) for line in (tmp_path / "answers" / "lm_eval-colours.jsonl").read_text().splitlines()]
    assert [line["prompt"] for line in lines] == ["0 the cat? ", "1 the dog? ", "2 sat red? "]
    assert [line["targets"] for line in lines] == [["red"], ["dog"], ["the cat"]]
    assert lines[0]["choices"] == [" red", " dog", " the cat"]
    assert lines[0]["numbers"].keys() == {"acc,none"}


# How it is judged.


def predictions(texts: Sequence[str]) -> list[Prediction]:
    return [Prediction(f"lm_eval:maths#{place}", "lm_eval:maths", text, ("1",)) for place, text in enumerate(texts)]


def test_each_filter_gives_numbers_of_its_own(tmp_path: Path) -> None:
    filters = [
        {
            "name": "strict",
            "filter": [{"function": "regex", "regex_pattern": r"#### (\d+)"}, {"function": "take_first"}],
        },
        {
            "name": "flexible",
            "filter": [
                {"function": "regex", "group_select": -1, "regex_pattern": r"(\d+)"},
                {"function": "take_first"},
            ],
        },
    ]
    (found,) = run(tmp_path, write(tmp_path, "maths", WRITTEN, rows(4), filter_list=filters))
    assert isinstance(found.task, HarnessTask)
    log = predictions(["#### 0", "so 1", "#### 2 or 3", "none"])  # golds are 0, 1, 2, 0
    by_name = {own.primary: own for own in found.task.metrics_of(log).metrics if isinstance(own, Metric)}
    values = {name: float(own.evaluate(own.statistics(log))[0]) for name, own in by_name.items()}
    assert values == {"exact_match,strict": 2 / 4, "exact_match,flexible": 2 / 4}
    rights = {name: own.statistics(log)[:, 1].tolist() for name, own in by_name.items()}
    assert rights == {"exact_match,strict": [1, 0, 1, 0], "exact_match,flexible": [1, 1, 0, 0]}
    strict = by_name["exact_match,strict"]
    assert strict.details(strict.statistics(log).sum(axis=0)) == ({"unparsed": 2 / 4},)


def test_answers_that_no_filter_finds_are_counted(tmp_path: Path) -> None:
    find = [{"name": "find", "filter": [{"function": "regex", "regex_pattern": "(@+)"}, {"function": "take_first"}]}]
    (found,) = run(tmp_path, write(tmp_path, "written", WRITTEN, rows(4), filter_list=find))
    assert found.log.unparsed == 4, "the model has no such character"
    assert found.scores[0].detail == {"unparsed": 1.0}
    (found,) = run(tmp_path, write(tmp_path, "written", WRITTEN, rows(4)))
    assert found.log.unparsed == 0


def test_what_the_most_frequent_answer_scores(tmp_path: Path) -> None:
    """Of labels 0, 0, 0, 0, 1, 2 four are right; its MCC is 0, as of every constant answer."""
    content = [row | {"label": label} for row, label in zip(rows(6), (0, 0, 0, 0, 1, 2), strict=True)]
    (found,) = run(tmp_path, write(tmp_path, "often", CHOICE, content))
    assert found.majority == pytest.approx(4 / 6)
    (found,) = run(tmp_path, write(tmp_path, "mcc", CHOICE, content, metric_list=[{"metric": "mcc"}]))
    assert found.majority == 0.0
    (found,) = run(tmp_path, write(tmp_path, "written", WRITTEN, rows(4)))
    assert found.majority is None


def metric(aggregation: Any) -> Metric:
    """A metric whose items are the texts of predictions, as JSON."""
    plain = Metric("own", ("own",), "own", True, "", lambda log: np.zeros((len(log), 3)), lambda sums: sums)
    return aggregated_metric(plain, aggregation, lambda log: [json.loads(own.text) for own in log])


def logged(items: Sequence[Any]) -> list[Prediction]:
    return [Prediction(str(place), "t", json.dumps(item), ("",)) for place, item in enumerate(items)]


@pytest.mark.parametrize(
    ("aggregation", "given"),
    [
        (theirs.matthews_corrcoef, [(0, 0), (1, 1), (1, 0), (0, 0), (1, 1), (0, 1), (1, 1)]),
        (theirs.f1_score, [(0, 0), (1, 1), (1, 0), (0, 0), (1, 1), (0, 1), (1, 1)]),
        (
            theirs.bleu,
            [("the cat sat on a mat", "the cat sat on mats"), ("a red dog ran by", "a red dog ran off by")] * 2,
        ),
        (theirs.chrf, [("the cat sat", "the cat"), ("a red dog", "a dog"), ("no", "now")]),
        (theirs.perplexity, [-1.5, -0.25, -2.0, -3.0]),
        (theirs.weighted_perplexity, [(-10.0, 4), (-20.0, 9), (-3.0, 2)]),
        (theirs.bits_per_byte, [(-10.0, 4), (-20.0, 9), (-3.0, 2)]),
        (theirs.nanmean, [1.0, math.nan, 3.0, 5.0]),
        (theirs.brier_score, [(0, [0.5, 0.25, 0.25]), (2, [0.1, 0.1, 0.8]), (1, [0.7, 0.2, 0.1])]),
        (theirs.matthews_corrcoef, [(0, 2), (1, 1), (2, 2), (2, 1)] * 3),
        (theirs.chrfpp, [(["the cat sat", "a cat sat"], "the cat"), (["a red dog", "dogs"], "a dog")]),
        (theirs.ter, [("the cat sat", "the cat"), ("a red dog", "a dog"), ("no", "now")]),
        (theirs.median, [1.0, 4.0, 3.0, 5.0, 2.0]),
    ],
)
def test_an_aggregation_is_theirs_on_the_data_and_on_every_resample(aggregation: Any, given: list[Any]) -> None:
    own = metric(aggregation)
    stats = own.statistics(logged(given))
    assert float(own.evaluate(stats)[0]) == pytest.approx(float(aggregation(given)), abs=1e-12)
    counts = np.random.default_rng(0).multinomial(len(given), [1 / len(given)] * len(given), size=20)
    for row, found in zip(counts, own.evaluate(stats, counts.astype(float))[:, 0], strict=True):
        drawn = [item for item, count in zip(given, row, strict=True) for _ in range(count)]
        assert found == pytest.approx(float(aggregation(drawn)), abs=1e-12, nan_ok=True)


def test_a_document_without_the_number_does_not_count(tmp_path: Path) -> None:
    own = metric(theirs.matthews_corrcoef)
    found = [(0, 0), None, (1, 1), (1, 0), None]
    given = [item for item in found if item is not None]
    assert own.evaluate(own.statistics(logged(found)))[0] == pytest.approx(theirs.matthews_corrcoef(given))


def test_what_only_lm_eval_can_aggregate_is_not_resampled_where_it_would_take_minutes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = metric(theirs.median)
    log = logged([float(place % 7) for place in range(30)])
    (score,) = score_predictions(log, [own], resamples=100)
    assert score.low < 3 < score.high
    monkeypatch.setattr(items, "MOST_RESAMPLED", 29)
    (score,) = score_predictions(log, [own], resamples=100)
    assert score.value == 3.0
    assert math.isnan(score.low)
    assert math.isnan(paired_difference(log, log, own).p_value)


def test_two_models_are_compared_by_an_aggregation() -> None:
    """One is always right and the other never: the exchange of 40 documents cannot give this by chance."""
    golds = [place % 2 for place in range(40)]
    right, wrong = logged([(gold, gold) for gold in golds]), logged([(gold, 1 - gold) for gold in golds])
    found = paired_difference(right, wrong, metric(theirs.matthews_corrcoef))
    assert found.value == pytest.approx(2.0)
    assert found.p_value < 0.001


# Groups.


def grouped(folder: Path, *, by_size: bool) -> Path:
    tasks = folder / ("micro" if by_size else "macro")
    write(tasks, "few", CHOICE, rows(4))
    write(tasks, "many", CHOICE, rows(12, start=1))
    aggregate = [{"metric": "acc", "weight_by_size": by_size}]
    group = {"group": "both", "task": ["few", "many"], "aggregate_metric_list": aggregate, "metadata": {"version": 3}}
    (tasks / "both.yaml").write_text(yaml.safe_dump(group))
    return tasks


@pytest.mark.parametrize("by_size", [True, False])
def test_a_group_gives_its_members_and_their_aggregate(tmp_path: Path, by_size: bool) -> None:
    tasks = grouped(tmp_path, by_size=by_size)
    for path in (tasks, tasks / "both.yaml"):
        *members, group = run(tmp_path, path)
        few, many = (own.scores[0] for own in members)
        assert [own.task.name for own in (*members, group)] == ["lm_eval:few", "lm_eval:many", "lm_eval:both"]
        expected = (4 * few.value + 12 * many.value) / 16 if by_size else (few.value + many.value) / 2
        score = group.scores[0]
        assert isinstance(group.task, HarnessGroup)
        assert (score.metric, score.n) == ("acc", 16)
        assert score.value == pytest.approx(expected, abs=1e-12)
        assert group.task.chance == pytest.approx(1 / 3)
        assert score.low <= score.value <= score.high
        assert f"average:{'micro' if by_size else 'macro'}" in score.signature
        theirs_say = group.task.group.aggregate(
            {
                "few": {"acc,none": few.value, "sample_len": 4},
                "many": {"acc,none": many.value, "sample_len": 12},
            }
        )
        assert score.value == pytest.approx(theirs_say["acc,none"], abs=1e-12)


def test_a_macro_average_varies_as_its_members_do(tmp_path: Path) -> None:
    """Of a member of 4 documents and one of 12 the standard error is √Σ se² / 2, not that of 16 documents."""
    *_, group = run(tmp_path, grouped(tmp_path, by_size=False))
    assert isinstance(group.task, HarnessGroup)
    own = group.task.metrics_of(group.log.predictions).metrics[0]
    assert isinstance(own, Metric)
    stats = own.statistics(group.log.predictions)
    stats[:, 2] = [1, 0, 1, 0, *([1] * 6), *([0] * 6)]  # half right in both
    draws = np.random.default_rng(0).multinomial(16, [1 / 16] * 16, size=20_000).astype(float)
    spread = np.nanstd(own.evaluate(stats, draws))
    inside = math.sqrt(0.25 / 4 + 0.25 / 12) / 2
    assert inside < spread < 1.25 * inside, "the bootstrap also varies the number of documents of each"
    assert spread > 1.1 * math.sqrt(0.25 / 16)


def test_two_models_are_paired_on_tasks_and_groups(tmp_path: Path) -> None:
    tasks = grouped(tmp_path, by_size=True)
    surprise = {"metric": "likelihood_diff", "aggregation": "mean", "higher_is_better": False}
    write(tasks, "surprise", CHOICE, rows(12), metric_list=[surprise])
    (tasks / "own.py").write_text("def judge(doc, results):\n    return {'likelihood_diff': -results[0][0]}\n")
    path = tasks / "surprise.yaml"
    path.write_text(path.read_text() + "process_results: !function own.judge\n")
    settings: dict[str, Any] = {"device": "cpu", "runs": tmp_path / "runs", "evaluation": {"resamples": 100}}
    first, second = str(tiny_folder("llama")), str(tiny_folder("qwen3"))
    asked = {**settings, "model": first, "compare": second, "tasks": [f"lm_eval:{tasks}"]}
    found = evaluate_against(EvaluateConfig.model_validate(asked))
    other = {own.task.name: own.scores[0].value for own in run(tmp_path, tasks, model=second)}
    assert [own.task.name.removeprefix("lm_eval:") for own in found] == ["few", "many", "surprise", "both"]
    for own in found:
        assert own.compared is not None
        assert own.compared.score.value == other[own.task.name]
        assert own.compared.change.value == pytest.approx(own.scores[0].value - other[own.task.name])
        assert own.compared.higher_is_better == (own.task.name != "lm_eval:surprise")
    (line,) = [own for own in found if own.task.name == "lm_eval:surprise"]
    assert line.compared is not None
    for value, mark in ((1.0, "▼"), (-1.0, "▲")):
        change = replace(line.compared.change, value=value, significant=True)
        shown = as_text(Evaluation([replace(line, compared=replace(line.compared, change=change))]))
        assert mark in shown, "of a number where lower is better, more is worse"


# What a user can do wrong.


def fault(folder: Path, *tasks: Path, **changes: Any) -> LuthierError:
    with pytest.raises(LuthierError) as found:
        run(folder, *tasks, **changes)
    return found.value


def test_relative_files_are_those_of_the_folder_of_data_and_then_those_beside_the_yaml(tmp_path: Path) -> None:
    path = write(tmp_path / "tasks", "colours", CHOICE, rows(5))
    (beside,) = run(tmp_path, path)
    assert beside.scores[0].n == 5
    write(tmp_path / "data", "colours", CHOICE, rows(7))
    (found,) = run(tmp_path, path, data={"folder": tmp_path / "data"})
    assert found.scores[0].n == 7


def test_a_data_set_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, "colours", CHOICE, rows(5))
    (tmp_path / "colours.jsonl").unlink()
    said = fault(tmp_path, path)
    assert isinstance(said, DataError)
    assert "colours.jsonl" in said.what
    assert "cannot be read" in said.what
    assert "--data" in said.fix


def test_a_task_that_runs_code_is_refused(tmp_path: Path) -> None:
    said = fault(tmp_path, write(tmp_path, "programs", WRITTEN, rows(3), unsafe_code=True))
    assert isinstance(said, TaskError)
    assert str(said).startswith(
        f"lm_eval:{tmp_path}/programs.yaml: the answers to 'programs' are programs, and judging"
    )
    assert "--run-code" in said.fix


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("task: broken\ndoc_to_text: [", "not a task of lm-eval"),
        ("dataset_path: json", "not a task of lm-eval: Unknown config shape"),
        ("task: broken\noutput_type: telepathy", "lm-eval cannot make it: ValueError: Got invalid output_type"),
        ("task: broken\nprocess_docs: !function absent.work", "lm-eval cannot make it without a package"),
        ("group: broken\ntask: 7", "no task is in this group"),
    ],
)
def test_a_yaml_that_is_none_is_told(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    assert message in str(fault(tmp_path, path))


def test_what_a_function_of_a_task_raises_is_told(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("def judge(doc, results):\n    return {'acc': 1 / 0}\n")
    path = write(tmp_path, "failing", CHOICE, rows(3))
    path.write_text(path.read_text() + "process_results: !function own.judge\n")
    said = fault(tmp_path, path)
    assert str(said) == "lm_eval:failing: lm-eval cannot judge the answers: ZeroDivisionError: division by zero"
    missing = write(tmp_path, "absent", CHOICE, rows(3), doc_to_text="{{question.strip('x', 'y', 'z')}}")
    assert "lm-eval cannot make it: TypeError" in str(fault(tmp_path, missing))


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    programs = write(tmp_path, "programs", WRITTEN, rows(3), unsafe_code=True)
    gone = write(tmp_path, "gone", CHOICE, rows(3))
    (tmp_path / "gone.jsonl").unlink()
    said = str(fault(tmp_path, programs, gone, tmp_path / "none.yaml", model=str(tmp_path / "no_model")))
    assert "none.yaml: there is no such file or folder" in said
    assert "no_model" in said
    said = str(fault(tmp_path, programs, gone))
    assert "are programs" in said
    assert "cannot be read" in said


def test_an_answer_that_leaves_no_room_for_a_prompt_is_told(tmp_path: Path) -> None:
    path = write(tmp_path, "written", WRITTEN, rows(3), generation_kwargs={"until": ["\n"], "max_gen_toks": 128})
    assert "answers of 128 tokens leave no room for a prompt in 128" in str(fault(tmp_path, path))
    (found,) = run(tmp_path, path, decoding={"max_new_tokens": 5})
    assert all(own.generated_tokens <= 5 for own in found.log.predictions)


def test_another_engine_is_refused_before_anything_is_answered(tmp_path: Path) -> None:
    path = write(tmp_path, "colours", CHOICE, rows(3))
    said = fault(tmp_path, path, evaluation={"engine": "ctranslate2"})
    assert "tasks of lm-eval ask which answers are the likeliest" in str(said)


def test_an_unknown_name_is_told_with_those_that_are_near(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "library", lambda: {"colours": Known("TASK", "colours.yaml", ())})
    with pytest.raises(TaskError, match="lm-eval has no task, group or tag 'colors'") as found:
        loading.load_tasks(["colors"], data=None)
    assert found.value.fix == "Did you mean 'colours'? `lm_eval ls tasks` lists them."


def test_without_lm_eval_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "find_spec", lambda name: None)
    with pytest.raises(
        TaskError, match=r"lm_eval:mmlu: lm-eval is not installed\n  → pip install 'luthier\[harness\]'"
    ):
        names.require_task("lm_eval:mmlu")


def test_an_older_lm_eval_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "version", lambda name: "0.4.9.1")
    with pytest.raises(TaskError, match=r"lm-eval 0\.4\.9\.1 is installed, and 0\.4\.13 or later is needed"):
        names.require_task("lm_eval:mmlu")


def test_paths_in_a_configuration_are_relative_to_it(tmp_path: Path) -> None:
    write(tmp_path / "tasks", "colours", CHOICE, rows(3))
    file = tmp_path / "eval.yaml"
    given = {"tasks": ["lm_eval:tasks/colours.yaml", "lm_eval:mmlu", "lm_eval:none/x.yaml", f"lm_eval:{tmp_path}"]}
    found = relative_to(file, given)["tasks"]
    assert found == [f"lm_eval:{tmp_path}/tasks/colours.yaml", *given["tasks"][1:]]


def test_it_is_no_task_to_train_on() -> None:
    with pytest.raises(TaskError, match="can be evaluated and retained, not trained on"):
        load_task("lm_eval:mmlu")


@pytest.mark.slow
def test_tasks_of_its_own_library_are_found_and_refused_by_name() -> None:
    """Its index takes seconds to make."""
    with pytest.raises(LuthierError) as found:
        loading.load_tasks(["humaneval", "mbpp", "gsm8kk"], data=None)
    said = str(found.value)
    assert "the answers to 'humaneval' are programs" in said
    assert "the answers to 'mbpp' are programs" in said
    assert "Did you mean 'gsm8k'" in said


@pytest.mark.slow
def test_the_index_is_lm_evals_own_and_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every name, kind, file and member; a second reading makes nothing."""
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path))
    made, own = library.__wrapped__(), TaskManager().task_index
    assert made.keys() == own.keys()
    for name in ("mmlu", "ai2_arc", "gsm8k", "bbh", "mmlu_stem_tasks", "humaneval", "super-glue-lm-eval-v1"):
        entry = made[name].entry(name)
        assert (entry.kind, entry.yaml_path) == (own[name].kind, own[name].yaml_path)
        assert list(members_of(entry)) == list(members_of(own[name])) == list(made[name].members)
        assert entry.cfg == own[name].cfg
    monkeypatch.setattr("luthier.evaluation.harness.library.TaskManager", lambda: pytest.fail("it was made again"))
    assert library.__wrapped__() == made
    (kept,) = (tmp_path / "lm_eval").glob("index-*.json")
    kept.write_text("{")
    with pytest.raises(pytest.fail.Exception, match="it was made again"):
        library.__wrapped__()


@pytest.mark.slow
def test_a_copy_of_the_hubs_data_set_is_found_in_the_folder_of_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """lm-eval's own GSM8K, its data set as the hub has it: a folder for the configuration, a file for each split."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    copy = tmp_path / "data" / "openai" / "gsm8k"
    (copy / "main").mkdir(parents=True)
    sums = [{"question": f"{one} and {one}?", "answer": f"It is {2 * one}. #### {2 * one}"} for one in range(1, 9)]
    for split in ("train", "test"):
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(sums), copy / "main" / f"{split}-00000-of-00001.parquet")
    files = [{"split": split, "path": f"main/{split}-*"} for split in ("train", "test")]
    card = yaml.safe_dump({"configs": [{"config_name": "main", "data_files": files}]})
    (copy / "README.md").write_text(f"---\n{card}---\n")
    settings: dict[str, Any] = {"model": str(tiny_folder("llama")), "device": "cpu", "runs": tmp_path / "runs"}
    settings |= {"tasks": ["lm_eval:gsm8k"], "data": {"folder": tmp_path / "data"}, "decoding": {"max_new_tokens": 8}}
    (found,) = evaluate(EvaluateConfig.model_validate(settings | {"shots": 1}))
    assert (found.scores[0].metric, found.scores[0].n) == ("exact_match,strict-match", 8)
    assert isinstance(found.task, HarnessTask)
    assert found.task.requests[0].request.example.prompt.count("Question:") == 2
