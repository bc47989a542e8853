"""Law 8: a run that is broken off anywhere goes on to the same bits."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rows import LossFunction, held_out, losses, run, start, validations
from safetensors.torch import save_file

import luthier.training.checkpoint as checkpoints
import luthier.training.validation as validation
from luthier.errors import StoreError
from luthier.methods.base import snapshot
from luthier.models.language_model import LanguageModel
from luthier.objectives.cross_entropy import cross_entropy
from luthier.records import Encoded
from luthier.training.checkpoint import TrainingProgress
from luthier.training.validation import Validate, Validation
from tiny_models import same_bits

MICRO = 30  # a step is two or three forward passes: it is broken off between them too


class BrokenOff(Exception):
    """Stands for a kill."""


def whole(folder: Path, method: str, **training: Any) -> tuple[dict[str, torch.Tensor], TrainingProgress]:
    """Train without a break."""
    model, attached = start(method)
    done = run(model, attached, folder, validate=held_out(model), micro_tokens=MICRO, **training)
    return snapshot(attached), done


def counted(calls: list[int], at: int) -> LossFunction:
    def objective(model: LanguageModel, batch: Sequence[Encoded]) -> torch.Tensor:
        calls[0] += 1
        if calls[0] == at:
            raise BrokenOff
        return cross_entropy(model, batch)

    return objective


def interrupting(at: int) -> LossFunction:
    """Send this process Ctrl-C in one of its forward passes."""
    calls = [0]

    def objective(model: LanguageModel, batch: Sequence[Encoded]) -> torch.Tensor:
        calls[0] += 1
        if calls[0] == at:
            signal.raise_signal(signal.SIGINT)
        return cross_entropy(model, batch)

    return objective


def failing(validate: Validate, at: int) -> Validate:
    calls = [0]

    def measure() -> Validation:
        calls[0] += 1
        if calls[0] == at:
            raise BrokenOff
        return validate()

    return measure


def same_end(
    folder: Path, method: str, expected: tuple[dict[str, torch.Tensor], TrainingProgress], **training: Any
) -> None:
    """Go on as a new process would, and compare everything with the run without a break."""
    torch.manual_seed(999)  # a new process does not have the old one's random state
    model, attached = start(method)
    done = run(model, attached, folder, validate=held_out(model), micro_tokens=MICRO, **training)
    weights, whole_done = expected
    assert same_bits(snapshot(attached), weights)
    assert replace(done, seconds=0) == replace(whole_done, seconds=0)
    assert losses(folder) == losses(folder.parent / "whole")
    assert validations(folder) == validations(folder.parent / "whole")


@pytest.mark.parametrize(("method", "seconds"), [("lora", 0.0), ("lora", 1e9), ("full", 0.0)])
def test_broken_off_before_a_forward_pass(method: str, seconds: float, tmp_path: Path) -> None:
    """With dropout: the random state is part of what goes on. Checkpoints at every step, or only at validations."""
    expected = whole(tmp_path / "whole", method, checkpoint_seconds=seconds)
    assert expected[1].best_step not in (None, 8)  # so that the best weights are loaded at the end
    calls = [0]
    model, attached = start(method)
    run(
        model,
        attached,
        tmp_path / "count",
        objective=counted(calls, -1),
        micro_tokens=MICRO,
        checkpoint_seconds=seconds,
    )
    assert calls[0] > 12
    for at in range(1, calls[0] + 1, 2 if (method, seconds) == ("lora", 0.0) else 5):
        folder = tmp_path / f"broken-{at}"
        model, attached = start(method)
        with pytest.raises(BrokenOff):
            run(
                model,
                attached,
                folder,
                validate=held_out(model),
                objective=counted([0], at),
                micro_tokens=MICRO,
                checkpoint_seconds=seconds,
            )
        same_end(folder, method, expected, checkpoint_seconds=seconds)


def test_broken_off_at_every_validation(tmp_path: Path) -> None:
    expected = whole(tmp_path / "whole", "lora")
    for at in range(1, 5):
        model, attached = start()
        with pytest.raises(BrokenOff):
            run(
                model,
                attached,
                tmp_path / f"broken-{at}",
                validate=failing(held_out(model), at),
                micro_tokens=MICRO,
            )
        same_end(tmp_path / f"broken-{at}", "lora", expected)


def test_stopped_in_a_step_it_ends_the_step_and_keeps_a_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = whole(tmp_path / "whole", "lora", checkpoint_seconds=1e9)
    for at in range(1, 16, 4):
        folder = tmp_path / f"stopped-{at}"
        model, attached = start()
        with pytest.raises(KeyboardInterrupt):
            run(
                model,
                attached,
                folder,
                validate=held_out(model),
                objective=interrupting(at),
                micro_tokens=MICRO,
                checkpoint_seconds=1e9,
            )
        (kept,) = folder.glob("step-*")
        step = int(kept.name.removeprefix("step-"))
        assert len(losses(folder)) == step, "the step that it was in is whole"
        assert f"stopped after step {step} of 8; a checkpoint is kept" in capsys.readouterr().err
        same_end(folder, "lora", expected, checkpoint_seconds=1e9)
        assert f"goes on after step {step} of 8" in capsys.readouterr().err


def test_stopped_in_a_validation_it_validates_when_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is measured, and after the best weights are written."""
    expected = whole(tmp_path / "whole", "lora")
    real = save_file

    def interrupted(weights: dict[str, torch.Tensor], path: Path) -> None:
        real(weights, path)
        raise KeyboardInterrupt

    for at in ("measuring", "keeping"):
        folder = tmp_path / at
        model, attached = start()
        validate = held_out(model)

        def stopped() -> Validation:
            raise KeyboardInterrupt

        if at == "keeping":
            monkeypatch.setattr(validation, "save_file", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(model, attached, folder, validate=stopped if at == "measuring" else validate, micro_tokens=MICRO)
        monkeypatch.setattr(validation, "save_file", real)
        same_end(folder, "lora", expected)


def test_broken_off_at_every_file_of_every_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a checkpoint lies there; the one before it is used."""
    expected = whole(tmp_path / "whole", "lora", checkpoint_seconds=0.0)
    real = save_file
    for at in range(1, 25, 5):
        calls = [0]

        def breaking(tensors: dict[str, torch.Tensor], path: Path, at: int = at, calls: list[int] = calls) -> None:
            calls[0] += 1
            if calls[0] == at:
                path.write_bytes(b"half")
                # A kill does not tidy up behind itself.
                shutil.copytree(path.parent, path.parent.with_name(".writing-left"))
                raise BrokenOff
            real(tensors, path)

        folder = tmp_path / f"broken-{at}"
        monkeypatch.setattr(checkpoints, "save_file", breaking)
        model, attached = start()
        with pytest.raises(BrokenOff):
            run(model, attached, folder, validate=held_out(model), micro_tokens=MICRO, checkpoint_seconds=0)
        assert (folder / ".writing-left").is_dir()
        monkeypatch.setattr(checkpoints, "save_file", real)
        same_end(folder, "lora", expected, checkpoint_seconds=0.0)
        assert not list(folder.glob(".writing-*"))


def test_broken_off_while_the_best_weights_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = whole(tmp_path / "whole", "lora")
    real = save_file
    values = [value for _, value in validations(tmp_path / "whole")]
    gains = sum(value > max(values[:place], default=-1) for place, value in enumerate(values))
    assert gains > 0
    for at in range(1, gains + 1):
        calls: list[Path] = []

        def breaking(tensors: dict[str, torch.Tensor], path: Path, at: int = at, calls: list[Path] = calls) -> None:
            calls.append(path)
            if len(calls) == at:
                path.write_bytes(b"half")
                raise BrokenOff
            real(tensors, path)

        folder = tmp_path / f"broken-{at}"
        monkeypatch.setattr(validation, "save_file", breaking)
        model, attached = start()
        with pytest.raises(BrokenOff):
            run(model, attached, folder, validate=held_out(model), micro_tokens=MICRO)
        monkeypatch.setattr(validation, "save_file", real)
        same_end(folder, "lora", expected)


def test_broken_off_twice_and_after_the_last_step(tmp_path: Path) -> None:
    expected = whole(tmp_path / "whole", "lora", checkpoint_seconds=0.0)
    folder = tmp_path / "broken"
    for at in (5, 4, 3):
        model, attached = start()
        with pytest.raises(BrokenOff):
            run(
                model,
                attached,
                folder,
                validate=held_out(model),
                objective=counted([0], at),
                micro_tokens=MICRO,
                checkpoint_seconds=0,
            )
    same_end(folder, "lora", expected, checkpoint_seconds=0.0)
    # Training was finished but not stored: only the best weights are put in place again.
    same_end(folder, "lora", expected, checkpoint_seconds=0.0)


def test_only_the_newest_checkpoint_is_kept(tmp_path: Path) -> None:
    model, attached = start()
    run(model, attached, tmp_path, checkpoint_seconds=0, validations=0)
    assert [path.name for path in tmp_path.glob("step-*")] == ["step-00000008"]


@pytest.mark.parametrize("name", ["weights.safetensors", "random.safetensors", "progress.json"])
def test_a_damaged_checkpoint_is_said(name: str, tmp_path: Path) -> None:
    model, attached = start()
    run(model, attached, tmp_path, checkpoint_seconds=0, validations=0)
    (newest,) = tmp_path.glob("step-*")
    (newest / name).write_bytes(b"\x00\xff")
    model, attached = start()
    with pytest.raises(StoreError, match="the checkpoint is damaged") as caught:
        run(model, attached, tmp_path, checkpoint_seconds=0, validations=0)
    assert str(newest) in str(caught.value)
