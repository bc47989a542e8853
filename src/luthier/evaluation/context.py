"""The circumstances of an evaluation, and everything that the bits of an answer depend on besides the request."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from luthier.config.decoding import DecodingConfig
from luthier.files.code_digest import code_digest
from luthier.files.store import UNSAID, About
from luthier.inference.engine import TORCH, Engine
from luthier.models.language_model import LanguageModel

ENTRY_MODULES = ("luthier.evaluation.jobs", "luthier.evaluation.text_loss", "luthier.evaluation.run")
"""The modules from which the code that computes an answer is reached."""


@dataclass(frozen=True, slots=True)
class EvaluationContext:
    """The circumstances of an evaluation.

    Attributes:
        out: Folder of the store.
        adapter: Key of the adapter that will be attached; "" for the base.
        decoding: How answers are generated.
        batch_tokens: Tokens in one forward pass.
        cache: Whether answers of earlier evaluations are used, and these are kept for later ones.
        engine: What computes the answers to tasks; torch when not given.
        about: The arm and the run that the answers are for.
    """

    out: Path
    adapter: str
    decoding: DecodingConfig
    batch_tokens: int
    cache: bool = True
    engine: Engine | None = None
    about: About = UNSAID


@dataclass(frozen=True, slots=True)
class Computation:
    """What computes an answer: part of the key of every stored answer.

    Attributes:
        model: Digest of the model's files.
        adapter: Key of the adapter; "" for the base.
        engine: Signature of the engine.
        device: Type of the device.
        dtype: Type of the weights.
        products: Type of matrix products.
        kernels: What computes them, and attention.
        threads: Threads of torch on a CPU, whose number changes the last bits of sums; 0 on an accelerator.
        code: Digest of the code that computes.
    """

    model: str
    adapter: str
    engine: str
    device: str
    dtype: str
    products: str
    kernels: tuple[str, ...]
    threads: int
    code: str

    def inputs(self) -> dict[str, Any]:
        """Return the record as JSON can hold it."""
        return asdict(self)


def computation_of(model: LanguageModel, context: EvaluationContext) -> Computation:
    """Describe how a model computes in a context, now."""
    on_cpu = model.device.type == "cpu"
    return Computation(
        model=model.digest,
        adapter=context.adapter,
        engine=context.engine.signature if context.engine else TORCH,
        device=model.device.type,
        dtype=str(model.module.dtype),
        products=model.product_type,
        kernels=model.kernels.key_inputs(),
        threads=torch.get_num_threads() if on_cpu else 0,
        code=code_digest(ENTRY_MODULES),
    )
