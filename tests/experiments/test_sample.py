"""``luthier sample``: several answers to each prompt, and what is kept of them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from luthier.config.data import DataConfig
from luthier.config.sample import SampleConfig
from luthier.errors import LuthierError
from luthier.experiments.sample import sample
from luthier.results.samples import Sampled
from luthier.tasks.loader import load_splits, load_task
from small_job import luthier, write_job, write_rows, write_task
from tiny_models import tiny_folder

LENGTH = "def length(prompt, answer, targets):\n    return len(answer)\n"


def asked(folder: Path, **changes: Any) -> SampleConfig:
    job = folder / "job"
    if not job.exists():
        write_job(job, train=6)
        (job / "mine.py").write_text(LENGTH)
    settings: dict[str, Any] = {
        "model": str(tiny_folder("llama")),
        "task": str(job / "echo.yaml"),
        "n": 4,
        "reward": f"{job}/mine.py:length",
        "runs": folder / "runs",
        "device": "cpu",
        "decoding": {"max_new_tokens": 6},
    }
    return SampleConfig.model_validate({**settings, **changes})


def texts(found: Sampled) -> list[list[str]]:
    return [[own.text for own in row] for row in found.samples]


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_samples_differ_and_come_again(tmp_path: Path) -> None:
    """They depend on the seed, the prompt and their number alone; the second time they are read from the store."""
    first = sample(asked(tmp_path))
    assert len(first.samples) == 6
    assert {len(row) for row in first.samples} == {4}
    assert max(len(set(row)) for row in texts(first)) > 1
    assert texts(sample(asked(tmp_path))) == texts(first)
    fewer = sample(asked(tmp_path, n=2, runs=tmp_path / "other"))
    assert texts(fewer) == [row[:2] for row in texts(first)]
    reseeded = sample(asked(tmp_path, decoding={"max_new_tokens": 6, "seed": 1}))
    assert texts(reseeded) != texts(first)


def test_the_reward_is_of_each_answer(tmp_path: Path) -> None:
    found = sample(asked(tmp_path))
    assert [[own.reward for own in row] for row in found.samples] == [
        [float(len(own.answer.text)) for own in row] for row in found.samples
    ]
    assert [own.k for own in found.best_of] == [1, 2, 4]
    mean = sum(own.reward for row in found.samples for own in row) / 24
    assert found.best_of[0].proxy == pytest.approx(mean)
    assert found.best_of[-1].proxy == pytest.approx(sum(max(own.reward for own in row) for row in found.samples) / 6)


@pytest.fixture(scope="module")
def finishing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which answers end: the stop string is a frequent character of the tiny model's."""
    folder = tmp_path_factory.mktemp("sample")
    asked(folder)
    found = sample(asked(folder, prompt_count=2))
    letters = "".join(own.text for row in found.samples for own in row)
    stop = max(sorted(set(letters) - {" "}), key=letters.count)
    write_task(folder / "job", {**read_task(folder), "stop": [stop]})
    return folder


def read_task(folder: Path) -> dict[str, Any]:
    import yaml

    found = yaml.safe_load((folder / "job" / "echo.yaml").read_text())
    assert isinstance(found, dict)
    return found


def test_the_best_answer_that_ends_is_kept_and_can_be_learned(finishing: Path, tmp_path: Path) -> None:
    save = tmp_path / "best.jsonl"
    found = sample(asked(finishing, n=16, save=save))
    rows = {row["id"]: row for row in read(save)}
    for example, own in zip(found.examples, found.samples, strict=True):
        usable = [one for one in own if one.answer.finish == "stop" and one.text.strip()]
        if not usable:
            assert example.id not in rows
            continue
        assert rows[example.id]["reward"] == max(one.reward for one in usable)
        assert rows[example.id]["prompt"] == example.prompt
    learned = load_splits(load_task(str(save)), DataConfig(), seed=0)
    assert {own.targets[0] for own in (*learned.train, *learned.validation, *learned.test)} == {
        row["completion"].strip() for row in rows.values()
    }


def test_accepted_answers_reach_the_reward_and_stand_once(finishing: Path, tmp_path: Path) -> None:
    save = tmp_path / "accepted.jsonl"
    sample(asked(finishing, n=16, keep="accepted", at_least=2, save=save))
    rows = read(save)
    assert all(row["reward"] >= 2 for row in rows)
    assert len({(row["id"], row["completion"]) for row in rows}) == len(rows)


def test_pairs_are_of_the_best_and_the_worst(finishing: Path, tmp_path: Path) -> None:
    save = tmp_path / "pairs.jsonl"
    sample(asked(finishing, n=16, keep="pairs", save=save))
    rows = read(save)
    assert rows
    for row in rows:
        assert row["chosen_reward"] == len(row["chosen"]) > len(row["rejected"]) == row["rejected_reward"]


def test_all_samples_are_written_with_how_they_ended(tmp_path: Path) -> None:
    save = tmp_path / "all.jsonl"
    found = sample(asked(tmp_path, keep="all", save=save))
    assert [row["completion"] for row in read(save)] == [own.text for row in found.samples for own in row]
    assert {row["finish"] for row in read(save)} <= {"stop", "length"}


def test_conversations_are_kept_as_messages(tmp_path: Path) -> None:
    said = [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": "the cat"},
        {"role": "assistant", "content": "the mat"},
    ]
    rows = [{"messages": [*said[:1], {"role": "user", "content": f"the {n} cat"}, said[2]]} for n in range(12)]
    write_rows(tmp_path / "chats.jsonl", rows)
    save = tmp_path / "all.jsonl"
    sample(asked(tmp_path, task=str(tmp_path / "chats.jsonl"), keep="all", save=save, n=1, prompt_count=2))
    for row in read(save):
        assert [own["role"] for own in row["prompt"]] == ["system", "user"]
        assert [own["role"] for own in row["completion"]] == ["assistant"]
    load_task(str(save))


def test_an_answer_without_a_reward_is_counted(tmp_path: Path) -> None:
    folder = tmp_path / "job"
    asked(tmp_path)
    (folder / "none.py").write_text("def none(prompt, answer, targets):\n    return None if 'a' in answer else 1\n")
    found = sample(asked(tmp_path, reward=f"{folder}/none.py:none"))
    assert found.unscored == sum("a" in own.answer.text for row in found.samples for own in row) > 0
    assert all(math.isnan(own.reward) == ("a" in own.answer.text) for row in found.samples for own in row)


BAD: list[tuple[tuple[str, ...], str]] = [
    (("--reward", "bleu"), "Take chrf"),
    (("--reward", "exact_mach", "--gold", "bleu"), "gold: bleu is a number of many answers"),
    (("--keep", "pairs", "--n", "1"), "`n` is 2 or more"),
    (("--keep", "accepted"), "name it by `at_least`"),
    (("--set", "decoding.temperature=0"), "temperature"),
    (("--set", "split=test"), "split"),
    (("--save", "kept.csv"), "what is kept is written as JSONL"),
    (("--at-least", "nan"), "at_least"),
]


@pytest.mark.parametrize(("words", "says"), BAD, ids=lambda item: str(item)[:40])
def test_bad_input_is_an_error_before_anything_is_sampled(words: tuple[str, ...], says: str, tmp_path: Path) -> None:
    write_job(tmp_path / "job", train=4)
    common = ("sample", "--model", "mini", "--task", tmp_path / "job" / "echo.yaml", "--runs", tmp_path / "runs")
    ran = luthier(*common, *words)
    assert ran.code == 2
    assert says in ran.err
    assert "Traceback" not in ran.err
    assert not (tmp_path / "runs").exists()


def test_nothing_that_can_be_kept_is_an_error_and_the_samples_stay(tmp_path: Path) -> None:
    save = tmp_path / "best.jsonl"
    with pytest.raises(LuthierError, match="no sample that reaches 1000 can be kept"):
        sample(asked(tmp_path, at_least=1000, save=save))
    assert not save.exists()
    assert list((tmp_path / "runs" / "store" / "predictions").iterdir())


def test_the_command_prints_the_curve(tmp_path: Path) -> None:
    config = asked(tmp_path)
    given = ("--reward", "exact_match", "--gold", "chrf", "--n", "2", "--set", "decoding.max_new_tokens=4")
    ran = luthier("sample", "--model", config.model, "--task", config.task, "--runs", config.runs, *given)
    assert ran.code == 0, ran.err
    for words in ("The best of n samples", "exact_match", "chrf", "12 answers to 6 prompts", "KL"):
        assert words in " ".join(ran.out.split())
