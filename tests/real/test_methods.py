"""On real weights an adapter that is trained, saved, loaded and merged answers as it did."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from luthier.config.training import TrainingConfig
from luthier.methods.adapter_io import Card, load_adapter, save_adapter
from luthier.methods.base import count
from luthier.methods.merging import merge
from luthier.methods.registry import find_method, read_settings
from luthier.models.language_model import LanguageModel
from luthier.objectives.cross_entropy import CrossEntropy
from luthier.records import Encoded
from luthier.training.loop import train
from luthier.training.recipe import TrainingRecipe
from luthier.training.stream import shuffled_stream, training_set

pytestmark = [pytest.mark.slow, pytest.mark.real]

SETTINGS: dict[str, dict[str, Any]] = {
    "lora": {"rank": 4},
    "adapter": {"bottleneck": 8},
    "prompt_tuning": {"virtual_tokens": 8},
    "prefix_tuning": {"virtual_tokens": 8},
}
ROWS = (
    ("Is the sky blue?", " yes"),
    ("Is grass red?", " no"),
    ("Is snow white?", " yes, it is"),
    ("Is coal white?", " no, it is black"),
)


def items(model: LanguageModel) -> list[Encoded]:
    def ids(text: str) -> Any:
        return np.array(model.tokenizer(text, add_special_tokens=False).input_ids, dtype=np.int32)

    return [Encoded(str(place), ids(prompt), ids(target)) for place, (prompt, target) in enumerate(ROWS)]


@torch.no_grad()
def outputs(model: LanguageModel) -> torch.Tensor:
    return model.target_logprobs(items(model))


@pytest.fixture(params=["smollm2", "gemma3"])
def model(request: pytest.FixtureRequest) -> LanguageModel:
    found: LanguageModel = request.getfixturevalue(request.param)
    return found


@pytest.mark.parametrize("name", SETTINGS)
def test_trained_saved_loaded_and_merged_it_answers_the_same(name: str, model: LanguageModel, tmp_path: Path) -> None:
    base = outputs(model)
    method = find_method(name)
    attached = method.attach(model, read_settings(method, SETTINGS[name], where="test"), seed=0)
    config = TrainingConfig(learning_rate=1e-3, steps=2, batch_size=4, validations=0, warmup=0.0, schedule="constant")
    stream = shuffled_stream(training_set("test", items(model)), config, seed=0)
    train(model, attached, stream, TrainingRecipe(CrossEntropy(), config, 0), folder=tmp_path / "work")
    learned = outputs(model)
    assert not torch.equal(learned, base)
    card = Card(
        luthier="0",
        method=name,
        settings=SETTINGS[name],
        base_name=model.name,
        base_digest=model.digest,
        task="real",
        stop=(),
        trainable_parameters=count(attached.trainable()),
    )
    save_adapter(model, attached, tmp_path / "adapter", card)
    attached.detach()
    assert torch.equal(outputs(model), base), "the base is as it was"
    loaded = load_adapter(model, tmp_path / "adapter")
    assert torch.equal(outputs(model), learned)
    if name == "lora":
        merged = merge(model, loaded, items(model))
        assert outputs(model).numpy() == pytest.approx(learned.numpy(), abs=1e-3)
        merged.undo()
    loaded.detach()
    assert torch.equal(outputs(model), base)
