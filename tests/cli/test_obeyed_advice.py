"""The words that a message advises are typed after the command that it refused: then it passes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest
from safetensors.torch import load_file, save_file

from small_job import QUICK_EVAL, QUICK_TRAINING, Workshop, luthier, rows, write_rows

LONG = "x" * 300
Words: TypeAlias = tuple[object, ...]


def too_long(workshop: Workshop, job: Path) -> Words:
    write_rows(job / "train.jsonl", [row | {"answer": LONG if n < 3 else "cat"} for n, row in enumerate(rows("a", 12))])
    return ("check", "-m", workshop.model, "-t", job / "echo.yaml")


def too_long_to_train(workshop: Workshop, job: Path) -> Words:
    return ("tune", *too_long(workshop, job)[1:], "--runs", job / "runs", *QUICK_TRAINING)


def empty(workshop: Workshop, job: Path) -> Words:
    write_rows(job / "train.jsonl", [row | {"answer": "" if n < 3 else "cat"} for n, row in enumerate(rows("a", 12))])
    return ("check", "-m", workshop.model, "-t", job / "echo.yaml")


def reasoned(workshop: Workshop, job: Path) -> Words:
    said = [{"role": "user", "content": "a?"}, {"role": "assistant", "content": "b", "reasoning_content": "so"}]
    chats = [{"id": str(n), "messages": [{**said[0], "content": f"a cat {n}?"}, said[1]]} for n in range(40)]
    write_rows(job / "chats.jsonl", chats)
    return ("check", "-m", workshop.model, "-t", job / "chats.jsonl")


def of_another_base(workshop: Workshop, job: Path) -> Words:
    weights = load_file(workshop.model / "model.safetensors")
    other = job / "model"
    other.mkdir()
    for path in workshop.model.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    name = next(name for name, tensor in weights.items() if "norm" in name)
    save_file({**weights, name: weights[name] * 1.001}, other / "model.safetensors", metadata={"format": "pt"})
    settings = ("--adapter", workshop.adapter, "--runs", job / "runs", *QUICK_EVAL)
    return ("eval", "-m", other, "-t", job / "echo.yaml", *settings)


def without_validation(workshop: Workshop, job: Path) -> Words:
    arms = ("--arms", "lora", "--search", "2", "--set", "training.validations=0", "--runs", job / "runs")
    return (*workshop.compare, *arms)


def without_a_template(workshop: Workshop, job: Path) -> Words:
    return ("check", "-m", workshop.model, "-t", job / "echo.yaml", "--set", "data.chat=always")


def one_system(workshop: Workshop, job: Path) -> Words:
    (job / "p.txt").write_text("a\nb\n")
    return ("score", "-p", job / "p.txt", "-r", job / "p.txt", "--resamples", "-1")


CASES: tuple[tuple[Callable[[Workshop, Path], Words], str], ...] = (
    (too_long, "--set data.max_lost=0.25"),
    (too_long_to_train, "--set data.max_lost=0.25"),
    (empty, "--set data.max_lost=0.15"),  # 3 of all 21 rows
    (reasoned, "--set data.reasoning=leave_out"),
    (of_another_base, "--any-base"),
    (without_validation, "--search 0"),
    (without_a_template, "--set data.chat=auto"),
    (one_system, "--resamples 0"),
)


@pytest.mark.parametrize(("make", "advice"), CASES, ids=lambda item: getattr(item, "__name__", ""))
def test_advice_can_be_typed_and_helps(
    make: Callable[[Workshop, Path], Words], advice: str, workshop: Workshop, job: Path
) -> None:
    command = make(workshop, job)
    refused = luthier(*command)
    assert refused.code == 2
    assert re.search(rf"{re.escape(advice)}(?![\w=])", refused.err), refused.err
    helped = luthier(*command, *shlex.split(advice))
    assert helped.code == 0, helped.err


def test_the_advice_of_a_training_that_diverges_names_the_flag(workshop: Workshop, job: Path) -> None:
    settings = ("--set", "training.learning_rate=1e30", "--runs", job / "runs", *QUICK_TRAINING)
    ran = luthier("tune", "-m", workshop.model, "-t", job / "echo.yaml", "--arm", "full", *settings)
    assert ran.code == 2
    assert "Lower the learning rate: --set training.learning_rate=RATE" in ran.err
