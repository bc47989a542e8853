"""Fold an adapter into its base, prove it on a sample of a task, and write a whole model that needs no adapter."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from luthier.arguments import require_settings
from luthier.config.advice import how_to_set
from luthier.config.merge import MergeConfig
from luthier.errors import ConfigError, DataError
from luthier.evaluation.prepared_task import generation_settings_of, make_encoder, task_metrics_of
from luthier.evaluation.requests import encode_requests, predict_all
from luthier.files.atomic import finish_folder, temporary_folder, writing
from luthier.files.store_contents import refuse_place_in_store
from luthier.methods.adapter_io import is_published, load_adapter, read_card
from luthier.methods.merging import Merged
from luthier.methods.merging import merge as fold
from luthier.metrics.extraction import extract_answers
from luthier.metrics.scoring import score_predictions
from luthier.models.load import load_model
from luthier.tasks.loader import load_examples, load_task, with_data_settings
from luthier.tasks.names import library_names


def merge(config: MergeConfig) -> Merged:
    """Merge an adapter into a model.

    Args:
        config: Names the model, the adapter, and the task whose examples and primary metric the merge is proved on.

    Raises:
        ModelError: When the adapter cannot be merged, or the merged model gives other logits; nothing is written then.
        LuthierError: Whatever is wrong with task, model or adapter.
    """
    require_settings(config, MergeConfig, "merge")
    save, split = config.out, config.split
    if save.exists():
        raise ConfigError("something is there already", where=str(save), fix="Choose another folder with --out.")
    refuse_place_in_store(save, "out")
    task = with_data_settings(load_task(config.task or proving_task(config.adapter)), config.data)
    model = load_model(config.model, device=config.device, trust_remote_code=config.trust_remote_code)
    attached = load_adapter(model, config.adapter, any_base=config.any_base)
    encoder = make_encoder(model, task, config.data)
    examples = load_examples(task, split, limit=config.sample, seed=config.seed, evaluation=True)
    how, task_metrics = generation_settings_of(task, config.decoding), task_metrics_of(task)
    requests, _ = encode_requests(examples, encoder, new_tokens=how.new_tokens)
    encoded = encoder.encode_all(examples).encoded
    if not requests or not encoded:
        what = f"no example of the {split} split fits the model, so a merge cannot be proved"
        fix = f"Name another task with --task, or another split: {how_to_set('split', 'train')}."
        raise DataError(what, where=task.name, fix=fix)

    def primary() -> float:
        batches = predict_all(model, encoder, requests, how, batch_tokens=config.evaluation.batch_tokens)
        predictions = extract_answers([prediction for batch in batches for prediction in batch], task.extraction)
        scores = score_predictions(predictions, [task_metrics.primary_metric], resamples=0)
        return next(score.value for score in scores if score.metric == task_metrics.primary)

    merged = replace(fold(model, attached, encoded, metric=primary), metric=task_metrics.primary)
    with writing(save), temporary_folder(save.parent) as folder:
        model.module.save_pretrained(folder)
        model.tokenizer.save_pretrained(folder)
        finish_folder(folder, save)
    return merged


def proving_task(adapter: Path) -> str:
    """Return the built-in task that an adapter was trained on, for a merge that names no other.

    Raises:
        ConfigError: When it was trained on another, or does not say on which.
        ModelError: When this is no adapter.
    """
    if is_published(adapter):
        what = "an adapter in PEFT's layout does not say on which task a merge can be proved"
        raise ConfigError(what, where=str(adapter), fix="Name one with --task.")
    task = read_card(adapter).task
    if task not in library_names():
        what = f"the adapter was trained on '{task}', which is no built-in task"
        raise ConfigError(what, where=str(adapter), fix="Name its YAML or its data file with --task.")
    return task
