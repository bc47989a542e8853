"""A model with the adapter that the user named, or alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from luthier.config.data import EncodingConfig
from luthier.config.evaluate import EvaluateConfig
from luthier.config.predict import PredictConfig
from luthier.config.sample import SampleConfig
from luthier.evaluation.adapter_task import base_of_adapter, encoding_of_adapter
from luthier.evaluation.context import EvaluationContext
from luthier.files.store import About
from luthier.methods.adapter_io import load_adapter
from luthier.models.language_model import LanguageModel
from luthier.models.load import folder_digest, load_model
from luthier.progress import say


@contextmanager
def adapted_model(config: PredictConfig | SampleConfig) -> Iterator[LanguageModel]:
    """Give the model that was named (of an adapter its own base, where none was), with the adapter on it.

    Raises:
        LuthierError: Whatever is wrong with model or adapter.
    """
    model = load_model(
        _model_name(config),
        device=config.device,
        precision=config.precision,
        kernels=config.kernels,
        trust_remote_code=config.trust_remote_code,
    )
    attached = load_adapter(model, config.adapter, any_base=config.any_base) if config.adapter else None
    try:
        model.keep_free(model.virtual_tokens)
        yield model
    finally:
        if attached is not None:
            attached.detach()


def _model_name(config: PredictConfig | SampleConfig) -> str:
    if "model" in config.model_fields_set or config.adapter is None:
        return config.model
    base = base_of_adapter(config.adapter)
    say(f"the model is the adapter's own base: {base}")
    return base


def encoding_as_trained(config: PredictConfig | SampleConfig) -> EncodingConfig:
    """Return how prompts become tokens: as they did when the adapter was trained, but for what was given."""
    if config.adapter is None:
        return config.data
    given = config.data.model_dump(include=config.data.model_fields_set)
    return EncodingConfig.model_validate(encoding_of_adapter(config.adapter) | given)


def answering_context(config: EvaluateConfig | PredictConfig | SampleConfig, run: str) -> EvaluationContext:
    """Return where and how answers are computed and kept."""
    key = folder_digest(config.adapter) if config.adapter else ""
    about = About(arm=str(config.adapter) if config.adapter else "", run=run)
    return EvaluationContext(config.runs, key, config.decoding, config.evaluation.batch_tokens, about=about)
