"""Experiment trackers: TensorBoard, Weights & Biases, MLflow and Trackio, through ``accelerate``'s own classes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from luthier.config.advice import how_to_set
from luthier.errors import ConfigError, raise_faults
from luthier.training.log import Line

Track: TypeAlias = Callable[[Line], None]
_PROJECT = "luthier"


@contextlib.contextmanager
def tracking(names: Sequence[str], *, run: str, folder: Path, settings: Mapping[str, Any]) -> Iterator[Track]:
    """Open the trackers that were asked for, and close them at the end, whatever happens.

    Args:
        names: As ``training.trackers`` has them.
        run: What the trackers call it, in the project ``luthier``.
        folder: TensorBoard writes below it; the others where their own environment variables say.
        settings: Numbers and words that the run is filed under.

    Yields:
        What takes a line of the training log: its numbers go to every tracker.

    Raises:
        ConfigError: When the package of a tracker is not installed; all of them.
    """
    trackers = _open(names, run, folder) if names else []
    try:
        for tracker in trackers:
            tracker.start()
            tracker.store_init_configuration(
                {key: value for key, value in settings.items() if isinstance(value, int | float | str)}
            )

        def track(line: Line) -> None:
            numbers = {key: value for key, value in line.items() if isinstance(value, int | float) and key != "step"}
            for tracker in trackers:
                tracker.log(numbers, step=int(line["step"] or 0))

        yield track
    finally:
        for tracker in trackers:
            tracker.finish()


def _open(names: Sequence[str], run: str, folder: Path) -> list[Any]:
    from accelerate import PartialState  # type: ignore[import-untyped]
    from accelerate.tracking import (  # type: ignore[import-untyped]
        LOGGER_TYPE_TO_CLASS,
        get_available_trackers,
    )

    installed = {str(getattr(name, "value", name)) for name in get_available_trackers()}
    none = how_to_set("training.trackers", "[]")
    missing = [
        ConfigError(
            f"{name} is not installed", where="training.trackers", fix=f"pip install {name}, or use none with {none}."
        )
        for name in names
        if name not in installed
    ]
    raise_faults("trackers are asked for that are not installed", missing)
    PartialState()  # the trackers ask it which process they are in
    options: dict[str, dict[str, Any]] = {
        "tensorboard": {"run_name": run, "logging_dir": folder / "tensorboard"},
        "wandb": {"run_name": _PROJECT, "name": run},
        "mlflow": {"experiment_name": _PROJECT, "run_name": run},
        "trackio": {"run_name": _PROJECT, "name": run},
    }
    return [LOGGER_TYPE_TO_CLASS[name](**options[name]) for name in dict.fromkeys(names)]
