"""Answers of earlier evaluations: found whenever nothing that they depend on has changed, and never otherwise."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from luthier.config.decoding import DecodingConfig
from luthier.config.evaluate import EvaluateConfig
from luthier.evaluation import jobs as job
from luthier.evaluation import requests as answering
from luthier.evaluation import text_loss
from luthier.evaluation.context import EvaluationContext
from luthier.evaluation.response_cache import CachedRequest, recall, remember, request_key
from luthier.evaluation.run import read_log, run
from luthier.experiments.compare import compare
from luthier.experiments.evaluate import evaluate
from luthier.experiments.evaluated import Evaluated
from luthier.inference.scoring import answer_logprobs
from luthier.records import Prediction
from luthier.report.page import write_report
from luthier.results.records import read_costs
from small_job import COLOUR, ECHO, QUICK_TRAINING, comparison, luthier, write_job, write_task
from tiny_models import encoded, tiny_folder, tiny_model, write_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_job(tmp_path / "job", test=10)


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of the examples that a model was really asked."""
    ids: list[str] = []
    real = answering.answer_batch

    def counting(model: Any, encoder: Any, requests: Any, how: Any, **others: Any) -> list[Prediction]:
        ids.extend(request.example.id for request in requests)
        return real(model, encoder, requests, how, **others)

    monkeypatch.setattr(job, "answer_batch", counting)
    return ids


def ask(folder: Path, tasks: tuple[str, ...] = ("echo", "colour"), **changes: Any) -> list[Evaluated]:
    settings: dict[str, Any] = {
        "model": str(tiny_folder("llama")),
        "runs": folder / "runs",
        "device": "cpu",
        "evaluation": {"resamples": 100, **changes.pop("evaluation", {})},
        **changes,
    }
    settings["tasks"] = [str(folder / f"{name}.yaml") for name in tasks]
    return evaluate(EvaluateConfig.model_validate(settings))


def same_log(ones: list[Evaluated], others: list[Evaluated]) -> None:
    """The same answers; log-probabilities as close as batches of another make let them be."""
    for one, other in zip(ones, others, strict=True):
        assert [score.value for score in one.scores] == [score.value for score in other.scores]
        for left, right in zip(one.log.predictions, other.log.predictions, strict=True):
            assert left.choice_logprobs == pytest.approx(right.choice_logprobs, abs=1e-4)
            fixed: dict[str, Any] = {"seconds": 0.0, "choice_logprobs": ()}
            assert replace(left, **fixed) == replace(right, **fixed)


def test_more_examples_answer_the_new_ones_alone(
    folder: Path, answered: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    first = ask(folder, data={"test": 4})
    assert len(answered) == 8, "four examples of two tasks"
    assert "known" not in capsys.readouterr().err
    asked_before = set(answered)
    answered.clear()
    second = ask(folder, data={"test": 10})
    assert len(answered) == 12
    assert not asked_before & {name for name in answered if answered.count(name) == 2}
    said = capsys.readouterr().err
    assert "echo: 4 of 10 answers were known from earlier evaluations" in said
    assert "colour: 4 of 10 answers were known from earlier evaluations" in said
    assert [item.log.cached for item in first] == [0, 0]
    assert [item.log.cached for item in second] == [4, 4]
    same_log(second, ask(folder, data={"test": 10}, runs=folder / "anew"))


def test_with_and_without_the_cache_the_log_is_the_same(folder: Path, answered: list[str]) -> None:
    ask(folder, data={"test": 4})
    known = ask(folder)
    answered.clear()
    anew = ask(folder, runs=folder / "anew", evaluation={"cache": False})
    assert len(answered) == 20
    assert not (folder / "anew" / "store" / "answers").exists(), "nothing is kept either"
    same_log(known, anew)


def test_no_answer_of_other_evaluations_when_it_is_off(folder: Path, answered: list[str]) -> None:
    ask(folder, data={"test": 4})
    answered.clear()
    off = ask(folder, evaluation={"cache": False})
    assert len(answered) == 20
    assert [item.log.cached for item in off] == [0, 0]


def test_the_size_of_batches_and_the_name_of_the_task_do_not_matter(folder: Path, answered: list[str]) -> None:
    first = ask(folder)
    answered.clear()
    again = ask(folder, evaluation={"batch_tokens": 64})
    write_task(folder, {**ECHO, "name": "mocking", "metrics": ["exact_match"], "primary": "exact_match"})
    write_task(folder, {**COLOUR, "name": "paint"})
    other = ask(folder, ("mocking", "paint"))
    assert answered == []
    same_log(first, again)
    for one, renamed in zip(first, other, strict=True):
        assert [item.text for item in one.log.predictions] == [item.text for item in renamed.log.predictions]
        assert {item.task for item in renamed.log.predictions} == {renamed.task.name}


def test_choices_have_their_own_words(folder: Path, answered: list[str]) -> None:
    """An answer is kept by what was read: another example of the same tokens brings its own id, words and targets."""
    rows = [json.loads(line) for line in (folder / "test.jsonl").read_text().splitlines()]
    first = ask(folder, ("colour",))
    for row in rows:
        row["id"], row["colour"] = f"new-{row['id']}", "white"
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    answered.clear()
    second = ask(folder, ("colour",))
    assert answered == []
    for left, right in zip(first[0].log.predictions, second[0].log.predictions, strict=True):
        assert right.id == f"new-{left.id}"
        assert right.targets == ("white",)
        assert (right.text, right.choice_logprobs, right.seconds) == (left.text, left.choice_logprobs, left.seconds)


@pytest.mark.parametrize(
    "change",
    [
        {"decoding": {"max_new_tokens": 3}},
        {"decoding": {"temperature": 1.0}},
        {"shots": 2},
        {"model": "qwen3"},
        {"model": "other weights"},
        {"code": "changed"},
        {"stop": ["a"]},
        {"template": "{{ text }}!\nanimal:"},
    ],
    ids=str,
)
def test_whatever_changes_an_answer_is_asked_anew(
    change: dict[str, Any], folder: Path, answered: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(folder, ("echo",))
    answered.clear()
    settings = dict(change)
    if name := settings.pop("model", None):
        other = (
            write_folder(folder / "model", "llama", hidden_act="relu") if name == "other weights" else tiny_folder(name)
        )
        settings["model"] = str(other)
    if code := settings.pop("code", None):
        monkeypatch.setattr("luthier.evaluation.context.code_digest", lambda *modules: code)
    if stop := settings.pop("stop", None):
        write_task(folder, ECHO, stop=stop)
    if template := settings.pop("template", None):
        write_task(folder, ECHO, templates=[{"name": "plain", "prompt": template}])
    found = ask(folder, ("echo",), **settings)
    assert len(answered) == 10
    assert found[0].log.cached == 0
    same_log(found, ask(folder, ("echo",), runs=folder / "anew", **settings))


def test_an_adapter_answers_for_itself(folder: Path, answered: list[str]) -> None:
    ask(folder, ("echo",))
    train = ("tune", "-m", tiny_folder("llama"), "-t", folder / "echo.yaml", "--save", folder / "adapter")
    assert luthier(*train, "--runs", folder / "runs", *QUICK_TRAINING).code == 0
    answered.clear()
    first = ask(folder, ("echo",), adapter=folder / "adapter", data={"test": 4})
    second = ask(folder, ("echo",), adapter=folder / "adapter")
    assert len(answered) == 10
    assert [first[0].log.cached, second[0].log.cached] == [0, 4]


def test_what_choices_do_not_depend_on_does_not_ask_them_anew(folder: Path, answered: list[str]) -> None:
    ask(folder, ("colour",))
    answered.clear()
    ask(folder, ("colour",), decoding={"max_new_tokens": 9, "temperature": 0.5})
    assert answered == []


def test_a_greedy_answer_does_not_depend_on_the_seed_and_a_sampled_one_does(folder: Path, answered: list[str]) -> None:
    ask(folder, ("echo",))
    answered.clear()
    ask(folder, ("echo",), decoding={"seed": 5})
    assert answered == []
    hot = {"temperature": 1.0}
    first = ask(folder, ("echo",), decoding=hot, data={"test": 4})
    assert len(answered) == 4
    second = ask(folder, ("echo",), decoding=hot)
    assert len(answered) == 10, "the four that were drawn before are found"
    shared = {item.id: item for item in first[0].log.predictions}
    assert [item for item in second[0].log.predictions if item.id in shared] == list(first[0].log.predictions)
    ask(folder, ("echo",), decoding=hot | {"seed": 1})
    assert len(answered) == 20


def test_a_sampled_answer_belongs_to_its_example(folder: Path, answered: list[str]) -> None:
    """Its random stream is made of the seed and the example's id."""
    ask(folder, ("echo",), decoding={"temperature": 1.0})
    rows = [json.loads(line) for line in (folder / "test.jsonl").read_text().splitlines()]
    renamed = "".join(json.dumps({**row, "id": f"new-{row['id']}"}) + "\n" for row in rows)
    (folder / "test.jsonl").write_text(renamed)
    answered.clear()
    ask(folder, ("echo",), decoding={"temperature": 1.0})
    assert len(answered) == 10


def test_time_is_counted_as_it_was_measured(folder: Path) -> None:
    """Looking up is not speed: the seconds are those of the answers, and memory was not measured."""
    first = ask(folder, ("echo",), data={"test": 9})[0].log
    second = ask(folder, ("echo",))[0].log
    then = {item.id: item.seconds for item in first.predictions}
    assert all(seconds > 0 for seconds in then.values())
    assert {item.id: item.seconds for item in second.predictions if item.id in then} == then
    assert second.seconds >= sum(then.values())
    assert first.peak_memory_bytes is not None
    assert second.peak_memory_bytes is None
    all_known = ask(folder, ("echo",), data={"test": 5})[0].log
    assert all_known.cached == 5
    assert all_known.seconds == pytest.approx(sum(item.seconds for item in all_known.predictions))


class Killed(BaseException):
    """Ends an evaluation as a signal does: nothing is tidied up."""


def ask_and_kill(folder: Path, *tasks: str, after: int, **changes: Any) -> None:
    """Ask, and end the evaluation when so many batches were answered."""
    inner, left = vars(job)["answer_batch"], [after]  # counted by a fixture perhaps

    def until(*given: Any, **others: Any) -> list[Prediction]:
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        found: list[Prediction] = inner(*given, **others)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "answer_batch", until)
        with pytest.raises(Killed):
            ask(folder, tasks, **changes)


def test_half_an_evaluation_is_known_to_another(
    folder: Path, answered: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    ask_and_kill(folder, "colour", after=4, evaluation={"batch_tokens": 1})
    assert len(answered) == 4, "each batch is one example"
    capsys.readouterr()
    ask(folder, ("colour",))
    assert "colour: 4 of 10 answers were known" in capsys.readouterr().err
    assert sorted(answered) == sorted(set(answered)), "none was asked twice"
    assert len(answered) == 10


@pytest.mark.parametrize("after", [0, 1, 4])
def test_an_evaluation_that_began_with_known_answers_goes_on_in_the_same_batches(
    after: int, folder: Path, answered: list[str]
) -> None:
    """What it kept itself, before it was killed, does not come to it as known: it is in its log already."""
    small = {"batch_tokens": 24}
    ask(folder, data={"test": 4})
    uninterrupted = shutil.copytree(folder, folder.with_name("uninterrupted"))
    whole = ask(uninterrupted, evaluation=small)
    order, answered[:] = answered[8:], []
    for _ in range(2):
        ask_and_kill(folder, "echo", "colour", after=after, evaluation=small)
    found = ask(folder, evaluation=small)
    assert answered == order
    assert [item.log.cached for item in found] == [item.log.cached for item in whole] == [4, 4]
    for one, other in zip(found, whole, strict=True):
        assert [replace(own, seconds=0.0) for own in one.log.predictions] == [
            replace(own, seconds=0.0) for own in other.log.predictions
        ], "to the last bit"


def test_the_report_of_a_comparison_says_what_was_known(folder: Path) -> None:
    changes: dict[str, Any] = {"arms": ["zero_shot", "2_shot"]}
    first = compare(comparison("llama", folder, folder / "runs", data={"test": 4}, **changes))
    second = compare(comparison("llama", folder, folder / "runs", data={"test": 10}, **changes))
    costs = [read_costs(run).arms for run in (first, second)]
    assert [{name: arm.known_answers for name, arm in one.items()} for one in costs] == [
        {"zero_shot": 0, "2_shot": 0},
        {"zero_shot": 4, "2_shot": 4},
    ]
    said = "Answers known from earlier evaluations, with the seconds that they took then: zero_shot 4, 2_shot 4."
    for folder, known in ((first, False), (second, True)):
        write_report(folder)
        assert (said in (folder / "report.md").read_text()) is known
    assert (costs[1]["zero_shot"].evaluation_seconds or 0) > 0


def test_plain_text_is_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama")
    scored: list[int] = []
    real = answer_logprobs

    def counting(given: Any, windows: Any, **others: Any) -> list[float]:
        scored.append(len(windows))
        found: list[float] = real(given, windows, **others)
        return found

    monkeypatch.setattr(text_loss, "answer_logprobs", counting)
    texts = ["the cat sat on the red mat.", "a dog and a fox " * 12, "an owl sat by the sea."]

    def losses(chosen: list[str], out: str) -> list[Prediction]:
        context = EvaluationContext(folder / out, "", DecodingConfig(), 8192)
        work = text_loss.text_job(model, chosen, context, label="text")
        run(work)
        return list(read_log(work).predictions)

    losses(texts[:2], "runs")
    assert sum(scored) > 2, "the second text takes several windows"
    scored.clear()
    found = losses(texts[1:], "runs")
    assert scored == [1]
    for one, other in zip(found, losses(texts[1:], "anew"), strict=True):
        assert one.choice_logprobs == pytest.approx(other.choice_logprobs, abs=1e-4)
        assert (one.id, one.text, one.choice_tokens) == (other.id, other.text, other.choice_tokens)
        assert one.seconds > 0


# ---- the file


def prediction(name: str, text: str = "yes", **others: Any) -> Prediction:
    return Prediction(name, "task", text, ("yes",), finish="stop", seconds=0.25, **others)


def asked(name: str, **others: Any) -> CachedRequest:
    return CachedRequest(key(name), Prediction(name, "task", "", ("yes",), **others))


def key(name: str) -> str:
    return request_key(encoded(ord(name), [(5, 2)]), {"kind": "text"})


def test_a_line_that_was_cut_in_half_is_no_answer_and_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "store" / "answers" / "a.jsonl"
    remember(path, [(key("a"), prediction("a", "one")), (key("b"), prediction("b", "two"))])
    whole = path.read_bytes()
    for cut in range(len(whole) - 1):
        path.write_bytes(whole[:cut])
        found = recall(path, [asked("a"), asked("b"), asked("c")])
        first = len(whole.splitlines()[0])
        assert found.keys() == ({"a"} if cut >= first else set())
        remember(path, [(key("c"), prediction("c", "three"))])
        found = recall(path, [asked("a"), asked("b"), asked("c")])
        assert found["c"] == prediction("c", "three"), f"cut after {cut} bytes"
        assert found.get("a", prediction("a", "one")) == prediction("a", "one")


def test_an_answer_that_was_changed_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    remember(path, [(key("a"), prediction("a", "one")), (key("b"), prediction("b", "two"))])
    path.write_text(path.read_text().replace('"one"', '"won"'))
    assert recall(path, [asked("a"), asked("b")]).keys() == {"b"}


def test_everything_comes_back_to_the_last_bit(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    odd = prediction("a", "b \u2028\ud83d", choices=("a", "b \u2028\ud83d"), choice_logprobs=(-0.1, float("-inf")))
    remember(path, [(key("a"), odd)])
    assert recall(path, [asked("a", choices=odd.choices)]) == {"a": odd}
    assert recall(path, [asked("a")]) == {}, "an answer to choices is none to a question without"
    assert recall(path, [asked("a", choices=("a",))]) == {}
    assert recall(tmp_path / "none.jsonl", [asked("a")]) == {}


@pytest.mark.parametrize(
    "change",
    [
        lambda item: replace(item, prompt_ids=item.prompt_ids[1:]),
        lambda item: replace(item, target_ids=item.target_ids[1:]),
        lambda item: replace(item, prompt_ids=item.prompt_ids[::-1]),
        # The same tokens, but the target begins elsewhere.
        lambda item: replace(item, prompt_ids=item.prompt_ids[:0], target_ids=[*item.prompt_ids, *item.target_ids]),
    ],
)
def test_the_key_is_made_of_the_tokens(change: Callable[[Any], Any]) -> None:
    (item,) = encoded(1, [(6, 3)])
    how = {"decoding": DecodingConfig().model_dump(), "stop": ["a"]}
    assert request_key([item], how) == request_key([replace(item, id="other")], how)
    assert request_key([change(item)], how) != request_key([item], how)
    assert request_key([item], how | {"stop": []}) != request_key([item], how)
    assert request_key([item, item], how) != request_key([item], how)
