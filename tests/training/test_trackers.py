"""Trackers get every line of the log, and are closed whatever happens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rows import run, scripted, start

from luthier.errors import Faults, LuthierError
from luthier.training.log import read_log
from luthier.training.trackers import tracking

tracker_module = pytest.importorskip("accelerate.tracking")


class Recorder(tracker_module.GeneralTracker):  # type: ignore[misc, name-defined]
    """Stands for a tracker of accelerate's."""

    name = "tensorboard"
    requires_logging_directory = True
    opened: tuple[Recorder, ...] = ()

    def __init__(self, run_name: str, logging_dir: Path) -> None:
        super().__init__()
        self.run_name, self.folder = run_name, logging_dir
        self.lines: list[tuple[int, dict[str, Any]]] = []
        self.calls: list[str] = []
        type(self).opened += (self,)

    @property
    def tracker(self) -> None:
        return None

    def start(self) -> None:
        self.calls.append("start")

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.settings = values

    def log(self, values: dict[str, Any], step: int | None = None, **_: Any) -> None:
        self.lines.append((step or 0, values))

    def finish(self) -> None:
        self.calls.append("finish")


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> type[Recorder]:
    monkeypatch.setattr(tracker_module, "_available_trackers", ["tensorboard"])
    monkeypatch.setitem(tracker_module.LOGGER_TYPE_TO_CLASS, "tensorboard", Recorder)
    monkeypatch.setattr(Recorder, "opened", ())
    return Recorder


def test_a_tracker_gets_the_numbers_of_the_log(recorder: type[Recorder], tmp_path: Path) -> None:
    model, attached = start()
    run(model, attached, tmp_path, validate=scripted([1, 2]), steps=4, validations=2, trackers=("tensorboard",))
    (made,) = recorder.opened
    expected = [
        (
            line["step"],
            {key: value for key, value in line.items() if not isinstance(value, str | None) and key != "step"},
        )
        for line in read_log(tmp_path / "log.jsonl")
    ]
    assert len(expected) == 6  # four steps and two validations
    assert made.lines == expected
    assert made.calls == ["start", "finish"]
    assert made.settings["batch_size"] == 3
    assert made.folder.is_relative_to(tmp_path)


def test_trackers_are_closed_after_a_fault(recorder: type[Recorder], tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), tracking(["tensorboard"], run="r", folder=tmp_path, settings={}):
        _ = 1 / 0
    assert recorder.opened[0].calls == ["start", "finish"]


def test_trackers_that_are_not_installed_are_all_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tracker_module, "_available_trackers", [])
    model, attached = start()
    with pytest.raises((LuthierError, Faults)) as caught:
        run(model, attached, tmp_path, steps=2, trackers=("wandb", "trackio"))
    said = str(caught.value)
    for word in ("wandb is not installed", "trackio is not installed", "training.trackers", "pip install wandb"):
        assert word in said


def test_nothing_is_opened_unless_asked(recorder: type[Recorder], tmp_path: Path) -> None:
    model, attached = start()
    run(model, attached, tmp_path, steps=2)
    assert recorder.opened == ()
