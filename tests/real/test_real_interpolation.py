"""On real weights with tied embeddings: eleven points of every kind of way, the ends bit for bit. `perf` times them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from luthier.methods.adapter_io import Card, load_adapter, save_adapter
from luthier.methods.interpolation import interpolable
from luthier.methods.registry import find_method, read_settings
from luthier.models.language_model import LanguageModel

pytestmark = [pytest.mark.real, pytest.mark.slow]

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "lora": ("lora", {"rank": 8}),
    "rslora": ("lora", {"rank": 8, "rslora": True}),
    "dora": ("lora", {"rank": 8, "dora": True}),
    "lora on the tied head": ("peft", {"peft_type": "LORA", "r": 8, "target_modules": ["lm_head", "q_proj"]}),
    "ia3": ("peft", {"peft_type": "IA3"}),
    "adapter": ("adapter", {}),
    "selective": ("selective", {"last": 2}),
    "full": ("full", {}),
}
PROMPT = np.arange(5, 40, dtype=np.int32)


def logits(model: LanguageModel) -> Tensor:
    with torch.no_grad():
        return model.begin([PROMPT]).logits[0].clone()


def changed(model: LanguageModel, kind: str, folder: Path) -> Path:
    """Store an adapter of random weights; the model is the base again."""
    name, settings = KINDS[kind]
    method = find_method(name)
    attached = method.attach(model, read_settings(method, settings, where="test"), seed=0)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in attached.trainable().values():
            weight.add_(0.01 * torch.randn(weight.shape, generator=draw))
    save_adapter(model, attached, folder, Card("0", name, settings, model.name, model.digest))
    attached.detach()
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_eleven_points(kind: str, smollm2: LanguageModel, tmp_path: Path) -> None:
    model = smollm2
    assert model.module.get_input_embeddings().weight is model.module.get_output_embeddings().weight
    base = logits(model)
    attached = load_adapter(model, changed(model, kind, tmp_path / "adapter"))
    trained = logits(model)
    found = {}
    for point in range(11):
        interpolable(attached, where="test").interpolate(point / 10)
        found[point] = logits(model)
    assert torch.equal(found[0], base)
    assert torch.equal(found[10], trained)
    assert not torch.equal(found[5], found[6])
    attached.detach()
    assert torch.equal(logits(model), base)
    assert model.module.get_input_embeddings().weight is model.module.get_output_embeddings().weight
