"""Log-probabilities of the reference, the model before it is trained: computed once, and stored.

All objectives that learn from the same records share them, so that arms that differ in their loss alone compute them
once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from luthier.data.batching import ENOUGH, plan_batches
from luthier.files.atomic import writing
from luthier.files.code_digest import code_digest
from luthier.files.store import Entry, open_entry, reading
from luthier.models.language_model import LanguageModel
from luthier.objectives.objective import R
from luthier.records import Encoded
from luthier.training.compute import ComputeSettings
from luthier.training.pass_size import planned_pass_size
from luthier.training.recipe import TrainingRecipe

ENTRY_MODULES = ("luthier.training.reference", "luthier.objectives.registry")
_FILE = "reference.safetensors"


def reference_logprobs(
    model: LanguageModel, recipe: TrainingRecipe[R], records: Sequence[R], digest: str, *, out: Path, start: str = ""
) -> list[Tensor]:
    """Return the log-probabilities (nats) that the model, as it is now, gives to the target tokens of each record.

    Args:
        model: With nothing attached, or with the adapter that training starts from.
        recipe: Names the sequences of a record, and the tokens of a forward pass.
        records: What is trained or validated on.
        digest: Of the records.
        out: Folder of the store, where a later call finds them.
        start: What tells the model, as it is now, apart from the base; "" where it computes as the base does.

    Returns:
        For each record float32 ``(target tokens,)``, one sequence of the record after another, on the model's device;
        nothing where the objective does not need them.

    Raises:
        StoreError: The store cannot be written, or its entry is damaged.
    """
    if not recipe.objective.needs_reference or not records:
        return []
    sequences = [recipe.objective.sequences(record) for record in records]
    entry = _entry(model, recipe, digest, out, start)
    with entry.held("reference"):
        if not entry.finished:
            flat = [sequence for own in sequences for sequence in own]
            logprobs = compute_logprobs(model, recipe, flat)
            with writing(entry.work):
                save_file({"logprobs": torch.cat(logprobs)}, entry.work / _FILE)
                entry.finish()
    with reading(entry):
        stored = load_file(entry.checked(_FILE))["logprobs"].to(model.device)
        lengths = [sum(len(sequence.target_ids) for sequence in own) for own in sequences]
        return list(torch.split(stored, lengths))


def _entry(model: LanguageModel, recipe: TrainingRecipe[R], digest: str, out: Path, start: str) -> Entry:
    inputs = {
        "model": model.digest,
        "records": digest,
        "learns_from": recipe.objective.learns_from,
        "start": start,
        "micro_tokens": recipe.config.micro_tokens,
        "compute": ComputeSettings.of(model).key_inputs(),
        "code": code_digest(ENTRY_MODULES),
    }
    return open_entry(out, "references", inputs)


@torch.no_grad()
def compute_logprobs(model: LanguageModel, recipe: TrainingRecipe[R], sequences: Sequence[Encoded]) -> list[Tensor]:
    """Return the log-probabilities (nats) of the target tokens of each sequence, as the training path computes them.

    Args:
        model: As it is; without dropout.
        recipe: Says how many tokens a forward pass takes.
        sequences: Any number.

    Returns:
        float32 ``(target tokens,)`` on the CPU for each.
    """
    found: list[Tensor] = [torch.empty(0)] * len(sequences)
    training = model.module.training
    model.module.eval()
    lengths = [len(sequence.prompt_ids) + len(sequence.target_ids) for sequence in sequences]
    for places in plan_batches(lengths, planned_pass_size(model, recipe.config), enough=ENOUGH):
        batch = [sequences[place] for place in places]
        logprobs = model.target_logprobs(batch).float().cpu()
        for place, own in zip(places, torch.split(logprobs, [len(item.target_ids) for item in batch]), strict=True):
            found[place] = own
    model.module.train(training)
    return found
