"""Arms that learn from what their own answers are worth: in a comparison, killed and gone on, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import luthier.training.own_answers as own_answers
from luthier.config.compare import CompareConfig
from luthier.errors import LuthierError, NoSignalError
from luthier.experiments.compare import compare
from luthier.experiments.forecast import forecast
from luthier.experiments.plan import read_plan
from luthier.experiments.questions import asked_in_draw
from luthier.experiments.trained_arms import entry_of, job_of, train
from luthier.objectives.grpo import GRPO
from luthier.results.records import read_results
from luthier.training.log import Line, read_log
from small_job import COLOUR, ECHO, luthier, write_job, write_task
from tiny_models import tiny_folder

REWARDS = '''
def letters(prompt, answer, targets):
    """More of the letter a."""
    return answer.count("a") - 0.01 * len(answer)


def short(prompt, answer, targets):
    return -len(answer)


def flat(prompt, answer, targets):
    return 1


def none(prompt, answer, targets):
    return None


def some(prompt, answer, targets):
    return len(answer) if len(answer) % 2 else None


def broken(prompt, answer, targets):
    raise ValueError("no such word")
'''
STOP = ["e", "t", "o", " ", "i", "5", "0"]
QUICK: dict[str, Any] = {"steps": 3, "batch_size": 3, "validations": 1, "learning_rate": 1e-2}


class BrokenOff(Exception):
    """Stands for a kill."""


def arm(name: str = "grpo", function: str = "letters", folder: Path | None = None, **settings: Any) -> dict[str, Any]:
    reward = settings.pop("reward", f"{folder}/my_rewards.py:{function}")
    kind = settings.pop("objective", "grpo")
    return {"name": name, "method": "lora", "objective": {kind: {"reward": reward, "samples": 4, **settings}}}


def asked(folder: Path, arms: list[Any], *, kind: str = "llama", **changes: Any) -> CompareConfig:
    write_job(folder)
    write_task(folder, ECHO, stop=STOP)  # a tiny model hardly ever writes its end token
    (folder / "my_rewards.py").write_text(REWARDS)
    settings: dict[str, Any] = {
        "model": str(tiny_folder(kind)),
        "task": str(folder / "echo.yaml"),
        "arms": arms,
        "retain": [],
        "retention_text": None,
        "runs": folder / "runs",
        "device": "cpu",
        "training": QUICK,
        "decoding": {"max_new_tokens": 12},
        "evaluation": {"resamples": 100},
    }
    return CompareConfig.model_validate({**settings, **changes})


def trained_log(config: CompareConfig) -> list[Line]:
    plan = read_plan(config)
    return steps_of(train(plan, plan.arms[0], plan.arms[0].seeds[0]).log)


def steps_of(path: Path) -> list[Line]:
    """Return the lines of the steps, without what a computer takes."""
    timed = {"tokens_per_second", "memory_bytes"}
    return [{key: line[key] for key in line.keys() - timed} for line in read_log(path) if "reward" in line]


@pytest.mark.parametrize("kind", ["llama", "t5"])
def test_arms_on_rewards_stand_beside_supervised_ones(kind: str, tmp_path: Path) -> None:
    start = {"name": "after", **arm(folder=tmp_path, objective="rloo", beta=0.1), "start": "lora"}
    config = asked(tmp_path, ["lora", arm(folder=tmp_path), start | {"name": "after"}], kind=kind)
    run = compare(config)
    results = read_results(run)
    assert [(own.name, own.failed, own.objective) for own in results.arms] == [
        ("lora", "", "cross_entropy"),
        ("grpo", "", "grpo"),
        ("after", "", "rloo"),
    ]
    assert results.arms[1].objective_settings["samples"] == 4
    lines = steps_of(run / results.arms[2].curve)
    assert lines[0]["kl"] == pytest.approx(0, abs=1e-5), "the reference is the start"
    assert {"reward", "cut", "flat_groups", "answer_tokens", "unscored", "without_signal", "kl"} <= lines[0].keys()


@pytest.mark.parametrize("method", ["full", "selective", "adapter", "prompt_tuning", "prefix_tuning"])
def test_every_method_learns_from_rewards(method: str, tmp_path: Path) -> None:
    lines = trained_log(asked(tmp_path, [{**arm(folder=tmp_path, beta=0.2), "method": method}]))
    assert len(lines) == 3
    assert float(lines[0]["kl"] or 0) == pytest.approx(0, abs=1e-5)
    assert float(lines[-1]["kl"] or 0) > 0, "it moved away from the start"


def test_the_reward_rises(tmp_path: Path) -> None:
    """Answers of random letters become shorter."""
    training = QUICK | {"steps": 12, "batch_size": 8, "validations": 0, "learning_rate": 1e-2}
    lines = trained_log(asked(tmp_path, [arm(function="short", folder=tmp_path, samples=8)], training=training))
    rewards = [float(line["reward"] or 0) for line in lines]
    assert sum(rewards[-3:]) / 3 > sum(rewards[:3]) / 3 + 1


def test_what_the_log_says_is_that_of_the_kept_answers(tmp_path: Path) -> None:
    config = asked(tmp_path, [arm(function="some", folder=tmp_path)])
    plan = read_plan(config)
    trained = train(plan, plan.arms[0], 0)
    line = steps_of(trained.log)[0]
    kept = [json.loads(text) for text in (trained.log.parent / "samples" / "00000000.jsonl").read_text().splitlines()]
    answers = {own["place"]: own for part in kept for own in part.get("answers", ())}
    rewards = kept[-1]["rewards"]
    assert sorted(answers) == list(range(12)), "four answers to each of three prompts"
    expected = [len(answers[place]["text"]) if len(answers[place]["text"]) % 2 else None for place in range(12)]
    assert rewards == expected
    scored = [value for value in rewards if value is not None]
    assert line["reward"] == pytest.approx(sum(scored) / len(scored))
    assert line["unscored"] == 12 - len(scored) > 0
    assert line["cut"] == sum(own["finish"] == "length" for own in answers.values()) / 12
    assert line["answer_tokens"] == sum(len(own["ids"]) for own in answers.values()) / 12
    flat = [len({value for value in rewards[at : at + 4] if value is not None}) < 2 for at in (0, 4, 8)]
    assert line["flat_groups"] == pytest.approx(sum(flat) / 3)


def test_answers_end_with_the_end_token_or_are_cut(tmp_path: Path) -> None:
    config = asked(tmp_path, [arm(folder=tmp_path)])
    plan = read_plan(config)
    folder = train(plan, plan.arms[0], 0).log.parent / "samples"
    ends, decode = plan.model.end_ids, plan.target.encoder.decode
    for path in sorted(folder.iterdir()):
        for line in path.read_text().splitlines():
            for own in json.loads(line).get("answers", ()):
                ended = own["ids"][-1] in ends or any(stop in decode(own["ids"]) for stop in STOP)
                assert ended == (own["finish"] == "stop")
                assert len(own["ids"]) == 12 if own["finish"] == "length" else 1 <= len(own["ids"]) <= 12


@pytest.mark.parametrize("settings", [{}, {"updates": 2, "beta": 0.1}])
@pytest.mark.parametrize("at", ["answers", "rewards", "step"])
def test_a_training_killed_at_any_place_goes_on_to_the_same_bits(
    at: str, settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers are drawn in several portions, of which the last is killed; or their rewards; or the step after."""
    more: dict[str, Any] = {"training": QUICK | {"steps": 5, "validations": 0, "checkpoint_seconds": 0}}
    more |= {"evaluation": {"resamples": 100, "batch_tokens": 32}}
    whole = trained_log(asked(tmp_path / "whole", [arm(folder=tmp_path / "whole", **settings)], **more))
    config = asked(tmp_path / "killed", [arm(folder=tmp_path / "killed", **settings)], **more)
    places: dict[str, tuple[Any, str]] = {
        "answers": (own_answers, "generate"),
        "rewards": (own_answers.OwnAnswers, "_rewards"),
        "step": (GRPO, "loss"),
    }
    where, name = places[at]
    count = counted(monkeypatch, where, name, lambda: trained_log(config.model_copy(update={"runs": tmp_path / "n"})))
    with monkeypatch.context() as patch:
        patch.setattr(where, name, broken(getattr(where, name), count - 1))
        with pytest.raises(BrokenOff):
            trained_log(config)
    assert trained_log(config) == whole


def counted(monkeypatch: pytest.MonkeyPatch, where: Any, name: str, work: Callable[[], object]) -> int:
    calls = [0]
    original = getattr(where, name)

    def counting(*arguments: Any, **named: Any) -> Any:
        calls[0] += 1
        return original(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(where, name, counting)
        work()
    assert calls[0] > 2
    return calls[0]


def broken(original: Callable[..., Any], after: int) -> Callable[..., Any]:
    left = [after]

    def called(*arguments: Any, **named: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise BrokenOff
        return original(*arguments, **named)

    return called


def test_answers_depend_on_seed_step_example_and_number_alone(tmp_path: Path) -> None:
    """Fewer samples are the first of more, and passes and portions of another size draw the same ones."""

    def first(name: str, samples: int, **changes: Any) -> dict[str, list[str]]:
        config = asked(tmp_path / name, [arm(folder=tmp_path / name, samples=samples)], **changes)
        plan = read_plan(config)
        folder = train(plan, plan.arms[0], plan.arms[0].seeds[0]).log.parent / "samples"
        lines = [json.loads(text) for text in (folder / "00000000.jsonl").read_text().splitlines()]
        texts = {own["place"]: own["text"] for line in lines for own in line.get("answers", ())}
        asked_of = [record.id for record in job_of(plan, plan.arms[0], 0).stream.records(0)]
        return {key: [texts[at * samples + k] for k in range(samples)] for at, key in enumerate(asked_of)}

    four = first("four", 4)
    assert first("two", 2) == {key: texts[:2] for key, texts in four.items()}
    assert first("small", 4, evaluation={"resamples": 100, "batch_tokens": 16}) == four
    assert len({tuple(texts) for texts in four.values()}) == 3
    assert all(len(set(texts)) > 1 for texts in four.values())
    assert first("other", 4, seeds=(7,)) != four


def test_keys_hold_the_reward_itself_and_the_settings(tmp_path: Path) -> None:
    config = asked(tmp_path, [arm(folder=tmp_path)])
    plan = read_plan(config)
    own = plan.arms[0]
    keys = {entry_of(plan, own, 0).key}
    for changed in ({"samples": 3}, {"beta": 0.1}, {"clip": 0.3}, {"updates": 2}, {"reward": "rougeL"}):
        keys.add(entry_of(plan, replace(own, objective_settings={**own.objective_settings, **changed}), 0).key)
    longer = replace(
        plan, config=config.model_copy(update={"decoding": config.decoding.model_copy(update={"max_new_tokens": 5})})
    )
    keys.add(entry_of(longer, own, 0).key)
    (tmp_path / "my_rewards.py").write_text(REWARDS.replace("0.01", "0.02"))
    keys.add(entry_of(plan, own, 0).key)
    assert len(keys) == 8


def fruitless(config: CompareConfig) -> str:
    plan = read_plan(config)
    with pytest.raises(NoSignalError) as fault:
        train(plan, plan.arms[0], 0)
    return str(fault.value)


def test_steps_without_signal_are_an_error_that_says_why(tmp_path: Path) -> None:
    """Of three steps, two are more than half."""
    said = fruitless(asked(tmp_path, [arm(function="flat", folder=tmp_path)]))
    assert "arm 'grpo', step 2: 2 of the first 3 steps have nothing to learn from: " in said
    assert "all answers to a prompt are worth the same by" in said
    assert "begin with a supervised adapter (`start`)" in said
    said = fruitless(asked(tmp_path, [arm(function="none", folder=tmp_path)]))
    assert "100 % of answers have no reward" in said
    said = fruitless(asked(tmp_path, [arm(folder=tmp_path)], decoding={"max_new_tokens": 1}))
    assert "% of answers reached max_new_tokens 1" in said
    assert "decoding.max_new_tokens=2" in said


def test_a_fruitless_arm_is_left_out_of_a_comparison(tmp_path: Path) -> None:
    results = read_results(compare(asked(tmp_path, ["lora", arm(function="flat", folder=tmp_path)])))
    assert "steps have nothing to learn from" in results.arms[1].failed
    assert not results.arms[0].failed


def test_steps_without_signal_before_a_kill_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    more = QUICK | {"steps": 5, "validations": 0, "checkpoint_seconds": 0}
    config = asked(tmp_path, [arm(function="flat", folder=tmp_path)], training=more)
    plan = read_plan(config)
    with monkeypatch.context() as patch:
        patch.setattr(GRPO, "loss", broken(GRPO.loss, 1))
        with pytest.raises(BrokenOff):
            train(plan, plan.arms[0], 0)
    assert "step 3: 3 of the first 5 steps" in fruitless(config)


def refused(config: CompareConfig) -> str:
    with pytest.raises(LuthierError) as fault:
        read_plan(config)
    return str(fault.value)


def test_what_cannot_be_rewarded_is_said_before_the_first_step(tmp_path: Path) -> None:
    arms = [
        arm("a", reward="bleu"),
        arm("b", reward="rouge_x"),
        arm("c", samples=1, reward="rougeL"),
        arm("d", beta=-1, reward="rougeL"),
        arm("e", clip=0, objective="rloo", reward="rougeL"),
        {"name": "f", "method": "lora", "objective": "grpo"},
        {**arm("g", reward="rougeL"), "replay": {"share": 0.5}},
        arm("h", reward="nowhere.py:brevity"),
        {**arm("i", reward="rougeL"), "anchor": {"kl": 0.1, "on": "target"}},
    ]
    said = refused(asked(tmp_path, arms))
    assert "arm 'a', objective.reward: bleu is a number of many answers together" in said
    assert "Take chrf." in said
    assert "arm 'b', objective.reward: Unknown metric 'rouge_x'" in said
    for name, key in (("c", "samples"), ("d", "beta"), ("e", "clip"), ("f", "reward")):
        assert f"arm '{name}', objective: key '{key}'" in said
    assert "arm 'g', replay: the objective grpo learns from prompts, and has no `replay`" in said
    assert "arm 'h', objective.reward, nowhere.py: there is no such file" in said
    assert "arm 'i', anchor.kl: the objective grpo learns from prompts" in said


def test_a_reward_that_fails_is_said_before_the_first_step(tmp_path: Path) -> None:
    said = refused(asked(tmp_path, [arm(function="broken", folder=tmp_path)]))
    assert "the reward raised ValueError: no such word" in said


def test_choices_are_refused(tmp_path: Path) -> None:
    config = asked(tmp_path, [arm(folder=tmp_path)])
    said = refused(config.model_copy(update={"task": str(write_task(tmp_path, COLOUR))}))
    assert "the objective grpo rewards answers that are written, and this task's are chosen from a list" in said


def test_prompts_without_room_for_an_answer_are_left_out(tmp_path: Path) -> None:
    """The model holds 128 tokens."""
    said = refused(asked(tmp_path, [arm(folder=tmp_path)], decoding={"max_new_tokens": 200}))
    assert "the training split has no prompts" in said
    assert "leave room for answers" in said


def test_the_presets_take_rouge(tmp_path: Path) -> None:
    write_job(tmp_path)
    ran = luthier(
        *(
            "tune",
            "--model",
            tiny_folder("llama"),
            "--task",
            tmp_path / "echo.yaml",
            "--arm",
            "rloo",
            "--device",
            "cpu",
        ),
        *("--runs", tmp_path / "runs", "--save", tmp_path / "out", "--set", "training.steps=1"),
        *("--set", "training.batch_size=2", "--set", "training.validations=0", "--set", "decoding.max_new_tokens=3"),
    )
    assert ran.code in (0, 2), ran.err
    assert ran.code == 0 or "nothing to learn from" in ran.err


def test_a_forecast_counts_the_answers_that_are_drawn(tmp_path: Path) -> None:
    """Each answer counts as long as the target, and three prompts are answered at each step."""
    found = {}
    for samples in (2, 8):
        folder = tmp_path / str(samples)
        plan = read_plan(asked(folder, ["lora", arm(folder=folder, samples=samples)]))
        lora, own = forecast(plan).arms
        assert own.counts.training is not None
        assert lora.counts.training is not None
        assert own.counts.training.tokens == samples * lora.counts.training.tokens
        drawn, updates = asked_in_draw(plan, job_of(plan, plan.arms[1], 0))
        assert updates == 1
        found[samples] = sum(len(questions.items) for questions in drawn)
        assert asked_in_draw(plan, job_of(plan, plan.arms[0], 0)) == ([], 1)
    assert found == {2: 6, 8: 24}
