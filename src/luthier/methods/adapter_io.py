"""Adapter IO: a complete adapter folder holds the method's own files, and a card with what their use requires.

Beside the ecosystem's layout stand ``luthier.json`` (method, settings, base digest, task, template, stop strings) and
``reference.safetensors`` (the logits that these weights gave), which loading checks. An adapter that does not apply, or
that gives other logits than it should, is an error.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError
from safetensors.torch import save_file
from torch import Tensor

from luthier.arguments import as_name, as_path, require_kind
from luthier.config.advice import how_to_set, lower_rate
from luthier.errors import DivergenceError, LuthierError, ModelError, raise_faults
from luthier.files.digests import file_digest
from luthier.files.json_object import require_plain_files
from luthier.files.safetensors_models import all_finite
from luthier.kernels.verification import compare, evaluation_mode, logits_tolerance
from luthier.methods.base import Attached, read_tensors, require_fit
from luthier.methods.base_name import is_same_base
from luthier.methods.peft_files import CONFIG, read_config
from luthier.methods.peft_load import load_peft
from luthier.methods.registry import find_method
from luthier.models.language_model import LanguageModel

CARD = "luthier.json"
REFERENCE = "reference.safetensors"
_REFERENCE_IDS = 8


@dataclass(frozen=True)
class Card:
    """The card of an adapter folder: what the adapter is, and what it was trained with."""

    luthier: str
    method: str
    settings: dict[str, Any]
    base_name: str
    base_digest: str
    task: str = ""
    row_format: dict[str, Any] | None = None
    """How rows of a data file became prompts; None for a task from YAML, which lies beside the card."""
    template: str = ""
    stop: tuple[str, ...] = ()
    encoding: dict[str, Any] = field(default_factory=dict)
    """How prompts became tokens: settings of :class:`luthier.config.data.EncodingConfig`."""
    trainable_parameters: int = 0
    training: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, str] = field(default_factory=dict)
    """Digest of each safetensors file of the method."""


_CARD = TypeAdapter(Card)


def save_adapter(model: LanguageModel, attached: Attached, folder: Path, card: Card) -> None:
    """Write an attached method into a folder.

    Raises:
        DivergenceError: When the model gives logits that are not finite: huge weights are finite themselves.
    """
    folder.mkdir(parents=True, exist_ok=True)
    attached.save(folder)
    card = replace(card, tensors=_digests(folder))
    logits = _reference_logits(model)
    if not all_finite(logits):
        what = "the trained model gives numbers that are not finite"
        raise DivergenceError(what, where=f"method {card.method}", fix=f"{lower_rate()}.")
    save_file({"logits": logits}, folder / REFERENCE)
    text = json.dumps(asdict(card), indent=2, sort_keys=True, ensure_ascii=False)
    (folder / CARD).write_text(text + "\n", encoding="utf-8")


def read_card(folder: Path) -> Card:
    """Read the card of an adapter folder.

    Raises:
        ModelError: When it is missing or damaged.
    """
    path = folder / CARD
    try:
        return _CARD.validate_json(path.read_bytes())
    except OSError:
        there = folder.is_dir()
        what = f"no {CARD}: not an adapter made by Luthier" if there else "there is no such folder"
        raise ModelError(what, where=str(folder), fix="Give the folder that `tune` wrote.") from None
    except ValidationError as invalid:
        raise ModelError(f"damaged: {invalid.errors()[0]['msg']}", where=str(path), fix="Train it again.") from None


def is_published(folder: Path) -> bool:
    """Whether a folder holds an adapter in PEFT's layout that others made: it has no card."""
    return (folder / CONFIG).is_file() and not (folder / CARD).exists()


def load_adapter(model: LanguageModel, folder: Path, *, any_base: bool = False) -> Attached:
    """Attach a stored adapter to a model, and verify that it gives the logits that it gave when it was stored.

    A folder in PEFT's layout that others made has no card: its base is known by name alone, and no logits are checked.

    Args:
        model: The base.
        folder: What :func:`save_adapter` wrote, or an adapter in PEFT's layout.
        any_base: Accept a base other than the one that the adapter was trained on; the logits are not checked then.

    Raises:
        ModelError: When the base is another one, tensors do not fit, or the logits differ.
    """
    model.adapters.require_free()
    require_plain_files(folder)
    if is_published(folder) and not (folder / REFERENCE).exists():
        return _load_published(model, folder, any_base=any_base)
    card = read_card(folder)
    same = card.base_digest == model.digest
    if not same and not any_base:
        raise ModelError(
            f"the adapter was trained on '{card.base_name}' ({card.base_digest[:12]}), "
            f"not on '{model.name}' ({model.digest[:12]})",
            where=str(folder),
            fix=f"Load the base that it belongs to, or add {how_to_set('any_base')} if you know that it fits.",
        )
    attached = find_method(card.method).load(model, folder)
    try:
        if same:
            _check_reference(model, folder)
        _check_digests(folder, card)
    except LuthierError:
        attached.detach()
        raise
    return attached


def add_adapter(model: LanguageModel, name: str, folder: Path | str, *, any_base: bool = False) -> None:
    """Keep a stored adapter in memory beside others on the same base, for ``with model.using(name):``.

    Args:
        model: The base; it is left as it was.
        name: What ``using`` calls the adapter.
        folder: What ``tune`` wrote, or an adapter in PEFT's layout.
        any_base: Accept a base other than the one that the adapter was trained on.

    Raises:
        ModelError: When the name is taken, the base is another one, or the folder is damaged.
    """
    require_kind(model, LanguageModel, where="add_adapter(model)", fix="Load it: luthier.load_model(…).")
    called, place = as_name(name, where="add_adapter(name)"), as_path(folder, where="add_adapter(folder)")
    model.adapters.require_new(called)
    model.adapters.put(called, load_adapter(model, place, any_base=any_base))


def _load_published(model: LanguageModel, folder: Path, *, any_base: bool) -> Attached:
    """Put an adapter without a card on the model, if it names the model as its base: see :func:`is_same_base`."""
    stated = str(read_config(folder).get("base_model_name_or_path") or "")
    if not any_base and not is_same_base(stated, model.name, model.folder):
        known = f"for '{stated}'" if stated else "for a base that it does not name"
        raise ModelError(
            f"the adapter was trained {known}, not for '{model.name}'",
            where=str(folder / CONFIG),
            fix=f"Load the base that it belongs to, or add {how_to_set('any_base')} if you know that it fits.",
        )
    return load_peft(model, folder)


def _digests(folder: Path) -> dict[str, str]:
    return {path.name: file_digest(path) for path in sorted(folder.glob("*.safetensors")) if path.name != REFERENCE}


def _check_digests(folder: Path, card: Card) -> None:
    """Check that the tensors are those that were stored: the reference logits do not depend on every weight."""
    changed = [name for name, known in _digests(folder).items() if card.tensors.get(name, known) != known]
    faults = [
        ModelError("the file is not the one that was stored", where=str(folder / name), fix="Fetch or train it again.")
        for name in changed
    ]
    raise_faults(f"{folder} was changed after it was stored", faults)


def _check_reference(model: LanguageModel, folder: Path) -> None:
    own = {"logits": _reference_logits(model)}
    tensors = read_tensors(folder / REFERENCE)
    require_fit(own, tensors, where=str(folder / REFERENCE))
    verified = compare(own["logits"], tensors["logits"], logits_tolerance(model.device))
    if not verified.agrees:
        raise ModelError(
            f"the adapter gives other logits than when it was stored (largest difference {verified.difference:.3g})",
            where=str(folder),
            fix="The folder is damaged, or the base was changed: train it again.",
        )


def _reference_logits(model: LanguageModel) -> Tensor:
    """Return float32 ``(vocabulary,)`` after a fixed prompt of ids spread over the vocabulary."""
    ids = np.linspace(1, model.vocabulary - 1, _REFERENCE_IDS).astype(np.int32)
    with evaluation_mode(model.module):
        return model.begin([ids]).logits[0].cpu().contiguous()
