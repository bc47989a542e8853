"""What a point between base and trained model takes beside its answers, and whether the ends of the way are exact.

    python perf/interpolation.py MODEL

Each kind of adapter gets random weights, is stored, put on and moved to 0, 0.1 … 1. Written to the standard output.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from luthier.kernels.peak_memory import peak_bytes, reset_peak
from luthier.methods.adapter_io import Card, load_adapter, save_adapter
from luthier.methods.interpolation import interpolable
from luthier.methods.registry import find_method, read_settings
from luthier.models.language_model import LanguageModel
from luthier.models.load import load_model

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "lora": ("lora", {}),
    "rslora": ("lora", {"rslora": True}),
    "dora": ("lora", {"dora": True}),
    "lora on the head": ("peft", {"peft_type": "LORA", "target_modules": ["lm_head", "q_proj"]}),
    "ia3": ("peft", {"peft_type": "IA3"}),
    "adapter": ("adapter", {}),
    "selective": ("selective", {}),
    "full": ("full", {}),
}
PROMPT = np.arange(5, 40, dtype=np.int32)
MIB = 2**20


def main(name: str) -> None:
    """Measure every kind on a model."""
    model = load_model(name, device="cpu")
    print(f"{Path(name).name}, {model.parameters:,} weights, {torch.get_num_threads()} thread(s)")
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            print(f"{kind:18}{measure(model, kind, Path(folder))}", flush=True)


def measure(model: LanguageModel, kind: str, folder: Path) -> str:
    """Store an adapter of a kind, and move along its way."""
    name, settings = KINDS[kind]
    method, base = find_method(name), logits(model)
    attached = method.attach(model, read_settings(method, settings, where="perf"), seed=0)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in attached.trainable().values():
            weight.add_(0.01 * torch.randn(weight.shape, generator=draw))
    save_adapter(model, attached, folder, Card("0", name, settings, model.name, model.digest))
    attached.detach()
    attached = load_adapter(model, folder)
    trained, seconds, ends = logits(model), [], []
    reset_peak(model.device)
    before = peak_bytes(model.device) or 0
    for tenth in range(11):
        began = time.perf_counter()
        interpolable(attached, where="perf").interpolate(tenth / 10)
        seconds.append(time.perf_counter() - began)
        if tenth in (0, 10):
            ends.append(torch.equal(logits(model), trained if tenth else base))
    more = ((peak_bytes(model.device) or 0) - before) / MIB
    attached.detach()
    exact = "ends exact" if all(ends) and torch.equal(logits(model), base) else "ENDS DIFFER"
    median, mean, most = statistics.median(seconds), statistics.mean(seconds), max(seconds)
    return f"median {median:.3f} s, mean {mean:.3f} s, most {most:.2f} s, {more:5.0f} MiB more, {exact}"


def logits(model: LanguageModel) -> Tensor:
    """Return the logits after a fixed prompt."""
    with torch.no_grad():
        return model.begin([PROMPT]).logits[0].clone()


if __name__ == "__main__":
    main(sys.argv[1])
