"""Convert a loaded model to CTranslate2's format once, verify that it gives the model's own numbers, and store it.

CTranslate2 names tokens by strings. A vocabulary may have fewer tokens than its model has rows, gaps between its ids,
or two tokens that look alike; so the strings of a converted model are the ids themselves, in decimal.
"""

from __future__ import annotations

import contextlib
import copy
import gc
import importlib.metadata
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from luthier.config.advice import use_torch
from luthier.errors import ModelError, first_line
from luthier.files.code_digest import code_digest
from luthier.files.store import Entry, open_entry, reading
from luthier.inference.ct2_engine import CTranslate2, Precision
from luthier.kernels.verification import LOGPROBS, verify
from luthier.models.language_model import LanguageModel
from luthier.progress import say
from luthier.records import Encoded

_FOLDER = "model"
_LENGTHS = ((7, 2), (31, 1), (19, 9), (96, 4))
"""Tokens of the prompts on which a conversion is verified, and of their answers."""


def open_converted(
    model: LanguageModel,
    out: Path,
    precision: Precision,
    *,
    adapter: str = "",
    whole: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> CTranslate2:
    """Open a model in CTranslate2's format, converted now if it is not in the store.

    Args:
        model: On the CPU, in evaluation mode. It is left as it is.
        out: Folder of the store.
        precision: Of the weights.
        adapter: Key of the adapter that is attached; "" for the base.
        whole: Inside it, the module holds all that the model computes by; entered only if something is converted.

    Raises:
        ModelError: When CTranslate2 is not installed, cannot convert the model, or then gives other numbers.
        StoreError: When the store cannot be written, or what lies there is damaged.
    """
    entry = open_entry(out, "ctranslate2", _inputs(model, precision, adapter))
    label = f"{model.name} for CTranslate2, {precision}"
    if entry.finished:
        say(f"{label}: converted before, found in the store ({entry.key[:8]})")
    else:
        with entry.held(label):
            if not entry.finished:
                with whole():
                    _make(model, entry, precision)
    with reading(entry):
        return _open(model, entry.checked(_FOLDER), precision)


def _inputs(model: LanguageModel, precision: Precision, adapter: str) -> dict[str, Any]:
    if importlib.util.find_spec("ctranslate2") is None:
        raise ModelError(
            "CTranslate2 is not installed",
            where="evaluation.engine",
            fix=f"Install it by `pip install ctranslate2`, or {use_torch()}.",
        )
    return {
        "model": model.digest,
        "adapter": adapter,
        "precision": precision,
        "ctranslate2": importlib.metadata.version("ctranslate2"),
        "code": code_digest((__name__,)),
    }


def _make(model: LanguageModel, entry: Entry, precision: Precision) -> None:
    """Convert a model as float32 and verify it; then convert it once more if other weights are wanted."""
    say(f"{model.name}: is converted for CTranslate2, {precision}")
    folder = entry.work / _FOLDER
    _convert(model, entry.work, "float32")
    _verify(model, _open(model, folder, "float32"))
    if precision != "float32":
        _convert(model, entry.work, precision)
    entry.finish()


def _convert(model: LanguageModel, work: Path, precision: Precision) -> None:
    from ctranslate2.converters import TransformersConverter

    class Loaded(TransformersConverter):  # type: ignore[misc]  # untyped
        """Converts the loaded module instead of reading a checkpoint."""

        def load_model(self, *_: Any, **__: Any) -> Any:
            module = copy.deepcopy(model.module)  # converters modify the module
            _name_as_before(module.config)
            return module

        def load_tokenizer(self, *_: Any, **__: Any) -> Any:
            return _Ids(model)

    config = work / "config"
    model.module.config.save_pretrained(config)
    try:
        with _only_new_garbage():
            Loaded(str(config)).convert(str(work / _FOLDER), quantization=precision, force=True)
    except OSError:
        raise  # the store cannot be written
    except Exception as fault:  # converters of many architectures raise exceptions of any class
        raise ModelError(
            f"CTranslate2 cannot convert this model ({model.module.config.model_type}): {first_line(fault)}",
            where=model.name,
            fix=f"{use_torch().capitalize()}.",
        ) from None


def _name_as_before(config: Any) -> None:
    """Add the configuration entries that converters expect and that transformers 5 renamed or removed."""
    kind = config.model_type
    if kind in ("t5", "mt5"):
        # Both entries say that the embeddings are tied; converters use them to scale hidden states before the head.
        config.tie_word_embeddings = bool(getattr(config, "scale_decoder_outputs", False))
    elif kind == "bart":
        config.normalize_before = False


@contextlib.contextmanager
def _only_new_garbage() -> Iterator[None]:
    """Exclude existing objects from garbage collection: converters collect after each layer, a second each time."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


class _Ids:
    """A tokenizer with the interface that converters expect, whose tokens are their ids.

    What begins and ends a text is named as a token that means nothing: CTranslate2 would give no answer to a prompt of
    such tokens alone. Where answers begin stands in the model's configuration, where they end in each request.
    """

    special_tokens_map: dict[str, str] = {}  # noqa: RUF012  # read only

    def __init__(self, model: LanguageModel) -> None:
        self._tokens = [str(token) for token in range(model.vocabulary)]
        self.unk_token_id = model.vocabulary - 1
        self.unk_token = self.bos_token = self.eos_token = self.pad_token = self._tokens[self.unk_token_id]

    def get_vocab(self) -> dict[str, int]:
        return {token: place for place, token in enumerate(self._tokens)}

    def convert_ids_to_tokens(self, token: int) -> str:
        return self._tokens[token]


def _open(model: LanguageModel, folder: Path, precision: Precision) -> CTranslate2:
    try:
        return CTranslate2(
            folder,
            precision,
            encoder_decoder=model.encoder_decoder,
            vocabulary=model.vocabulary,
            window=model.window,
            begin=model.forced_begin,
        )
    except RuntimeError as fault:
        raise ModelError(first_line(fault), where=str(folder)) from None


@torch.no_grad()
def _verify(model: LanguageModel, converted: CTranslate2) -> None:
    """Compare log-probabilities of answers: some converters silently ignore weights that they do not know."""
    items = examples_to_compare(model)
    found: list[float] = []

    def answer_logprobs() -> torch.Tensor:
        found.extend(converted.answer_logprobs(items, budget=1024))
        return torch.tensor(found, dtype=torch.float64)

    expected = torch.stack([model.target_logprobs([item]).double().sum() for item in items]).cpu()
    verified = verify(answer_logprobs, expected, LOGPROBS)
    if verified.agrees:
        return
    kind, place = model.module.config.model_type, verified.place
    if place is None:
        reason = f"cannot be run: {verified.failure}"
    else:
        reason = f"gives other log-probabilities: {found[place]:.4f} instead of {float(expected[place]):.4f}"
    raise ModelError(
        f"converted for CTranslate2, the model ({kind}) {reason}",
        where=model.name,
        fix=f"{use_torch().capitalize()}.",
    )


def examples_to_compare(model: LanguageModel) -> Sequence[Encoded]:
    """Return random examples on which two forms of a model are compared."""
    rng = np.random.default_rng(0)
    most = int(min(model.window, model.max_length))
    lengths = [(min(asked, most - most // 3), min(answered, most // 3)) for asked, answered in _LENGTHS]
    return [
        Encoded(
            f"verify-{number}",
            rng.integers(0, model.vocabulary, asked, dtype=np.int32),
            rng.integers(0, model.vocabulary, answered, dtype=np.int32),
        )
        for number, (asked, answered) in enumerate(lengths)
    ]
