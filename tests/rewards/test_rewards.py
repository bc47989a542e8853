"""Rewards: metrics of single answers, sums of them, and functions of a file."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from luthier.errors import DataError, LuthierError
from luthier.records import Example, Prediction
from luthier.rewards.reward import read_reward

EXAMPLES = tuple(Example(f"{n}", "echo", "plain", f"Say {word}.", (word,)) for n, word in enumerate(["cat", "dog"]))
ANSWERS = tuple(
    Prediction(own.id, "echo", text, own.targets) for own, text in zip(EXAMPLES, ["cat", "a red hen"], strict=True)
)
BREVITY = "def brevity(prompt, answer, targets):\n    return 1 / len(answer.split()) if targets[0] != 'hen' else None\n"


def test_a_metric_is_its_value_for_each_answer() -> None:
    assert read_reward("exact_match", where="reward").values(EXAMPLES, ANSWERS).tolist() == [1.0, 0.0]
    assert read_reward("rougeL", where="reward").values(EXAMPLES, ANSWERS).tolist() == [1.0, 0.0]


def test_a_sum_has_weights(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(BREVITY)
    reward = read_reward(f"0.5 * exact_match + 2*{tmp_path}/mine.py:brevity", where="reward")
    assert reward.values(EXAMPLES, ANSWERS).tolist() == pytest.approx([0.5 + 2, 0 + 2 / 3])


def test_a_function_without_a_number_leaves_an_answer_unscored(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "def reward(prompt, answer, targets):\n    return None if 'red' in answer else 3\n"
    )
    found = read_reward(f"{tmp_path}/mine.py:reward", where="reward").values(EXAMPLES, ANSWERS)
    assert found[0] == 3
    assert math.isnan(found[1])
    mixed = read_reward(f"exact_match + {tmp_path}/mine.py:reward", where="reward").values(EXAMPLES, ANSWERS)
    assert mixed[0] == 4
    assert math.isnan(mixed[1])


def test_another_text_of_the_function_is_another_reward(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    signatures = set()
    for text in (BREVITY, BREVITY.replace("1 /", "2 /")):
        file.write_text(text)
        signatures.add(read_reward(f"{file}:brevity", where="reward").signature)
    assert len(signatures) == 2


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("bleu", "bleu is a number of many answers together, and of one alone mostly 0\n  → Take chrf."),
        ("f1", "f1 is a number of many answers together"),
        ("exact_mach", "exact_match"),
        ("", "'' is no reward"),
        ("0 * rougeL", "the weight of rougeL is 0"),
        ("rougeL + bleu + pearson", "pearson is a number of many answers"),
        ("missing.py:reward", "there is no such file"),
        ("{folder}/mine.py:short", "the file has no function 'short'"),
        ("{folder}/mine.py:bare", "does not take a prompt, an answer and the right answers"),
        ("{folder}/broken.py:reward", "the file cannot be run: ZeroDivisionError"),
    ],
)
def test_rewards_that_are_none(written: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(f"{BREVITY}\ndef bare():\n    return 1\n")
    (tmp_path / "broken.py").write_text("1 / 0\n")
    with pytest.raises(LuthierError) as caught:
        read_reward(written.format(folder=tmp_path), where="reward")
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("return 'good'", "the reward returned str, and a number or None is expected"),
        ("return {}['x']", "the reward raised KeyError: 'x'"),
    ],
)
def test_a_function_that_fails_names_the_example(body: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(f"def reward(prompt, answer, targets):\n    {body}\n")
    with pytest.raises(DataError) as caught:
        read_reward(f"{tmp_path}/mine.py:reward", where="reward").values(EXAMPLES, ANSWERS)
    assert says in str(caught.value)
    assert "example '0'" in str(caught.value)
