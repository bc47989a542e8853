"""Checkpoints from which a killed run goes on to the same bits.

A checkpoint is one folder: ``weights.safetensors``, ``optimizer.safetensors``, ``random.safetensors`` and
``progress.json``. It is written under another name and renamed when it is complete, so the newest
folder is always complete.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from luthier.errors import StoreError
from luthier.files.atomic import finish_folder, temporary_folder


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """How far a training has come: part of a checkpoint.

    Attributes:
        step: The number of optimizer steps taken.
        seconds: The wall time of these steps, over all processes.
        supervised_tokens: The number of target tokens trained on.
        best_step: The step of the best weights so far, or None.
        best_score: The validation score of these weights (higher is better), or None.
        validations_without_gain: The number of validations since the best one.
        validation_loss: The latest validation loss, or None.
        validated_step: The step of the latest validation; 0 for none.
        micro_tokens: The tokens of a forward pass from the next step on; 0 where none was chosen yet.
    """

    step: int = 0
    seconds: float = 0.0
    supervised_tokens: int = 0
    best_step: int | None = None
    best_score: float | None = None
    validations_without_gain: int = 0
    validation_loss: float | None = None
    validated_step: int = 0
    micro_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Everything that training needs to go on."""

    progress: TrainingProgress
    weights: dict[str, Tensor]
    optimizer: dict[str, Tensor]


def save_checkpoint(
    folder: Path, progress: TrainingProgress, weights: Mapping[str, Tensor], optimizer: Mapping[str, Tensor]
) -> None:
    """Write a checkpoint atomically, and remove older ones once it is whole."""
    name = f"step-{progress.step:08d}"
    with temporary_folder(folder) as writing:
        save_file(_contiguous(weights), writing / "weights.safetensors")
        save_file(_contiguous(optimizer), writing / "optimizer.safetensors")
        save_file(random_state(), writing / "random.safetensors")
        (writing / "progress.json").write_text(json.dumps(asdict(progress)))
        finish_folder(writing, folder / name)
    for old in _complete(folder)[:-1]:
        shutil.rmtree(old)


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """Read the newest complete checkpoint, set torch's random state from it, and return it; None when there is none.

    Raises:
        StoreError: When its files are damaged.
    """
    complete = _complete(folder)
    if not complete:
        return None
    newest = complete[-1]
    try:
        checkpoint = Checkpoint(
            TrainingProgress(**json.loads((newest / "progress.json").read_text())),
            load_file(newest / "weights.safetensors"),
            load_file(newest / "optimizer.safetensors"),
        )
        random = load_file(newest / "random.safetensors")
    except (OSError, ValueError, TypeError, SafetensorError) as fault:
        raise StoreError(
            f"the checkpoint is damaged: {fault}", where=str(newest), fix="Remove this folder; training starts again."
        ) from None
    restore_random_state(random)
    return checkpoint


def steps_taken(folder: Path) -> int:
    """Return after how many steps a training would go on, 0 where it begins; nothing but that is read."""
    complete = _complete(folder)
    return int(complete[-1].name.removeprefix("step-")) if complete else 0


def _complete(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"))


def _contiguous(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}


def random_state() -> dict[str, Tensor]:
    """Return the state of torch's random generators, of the CPU and of the CUDA device."""
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore_random_state(state: Mapping[str, Tensor]) -> None:
    """Set the state of torch's random generators."""
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
