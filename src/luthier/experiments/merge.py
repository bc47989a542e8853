"""Fold an adapter into its base, proved on a sample of a task, as a whole model; or make several adapters one."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from luthier.arguments import require_settings
from luthier.config.advice import how_to_set
from luthier.config.interpolation import TRAINED
from luthier.config.merge import MergeConfig
from luthier.errors import ConfigError, DataError
from luthier.evaluation.adapter_task import TASK
from luthier.evaluation.prepared_task import generation_settings_of, make_encoder, task_metrics_of
from luthier.evaluation.requests import encode_requests, predict_all
from luthier.files.atomic import finish_folder, temporary_folder, writing
from luthier.files.store_contents import refuse_place_in_store
from luthier.methods.adapter_io import is_published, load_adapter, read_card, save_adapter
from luthier.methods.base import count
from luthier.methods.combining import Combination, Combined, How, combine_into, require_alike
from luthier.methods.interpolation import interpolable
from luthier.methods.lora_mean import is_exact, write_mean
from luthier.methods.merging import Merged
from luthier.methods.merging import merge as fold
from luthier.methods.peft_files import read_config
from luthier.methods.peft_load import load_peft
from luthier.metrics.extraction import extract_answers
from luthier.metrics.scoring import primary_value
from luthier.models.language_model import LanguageModel
from luthier.models.load import load_model
from luthier.records import Encoded
from luthier.tasks.loader import load_examples, load_task, with_data_settings
from luthier.tasks.names import library_names
from luthier.tasks.schema import Task
from luthier.version import __version__


def merge(config: MergeConfig) -> Merged | Combined:
    """Merge an adapter into a model, or make several adapters one.

    Args:
        config: Names the model, the adapters, and the task whose examples and primary metric the merge is proved on.

    Raises:
        ModelError: When the adapter cannot be merged, or the merged model gives other logits, or several adapters are
            not alike; nothing is written then.
        LuthierError: Whatever is wrong with task, model or adapter.
    """
    require_settings(config, MergeConfig, "merge")
    save = config.out
    if save.exists():
        raise ConfigError("something is there already", where=str(save), fix="Choose another folder with --out.")
    refuse_place_in_store(save, "out")
    if config.how is not None:
        require_alike(config.adapter)
    task = with_data_settings(load_task(config.task or proving_task(config.adapter[0])), config.data)
    model = load_model(config.model, device=config.device, trust_remote_code=config.trust_remote_code)
    proof = _Proof(config, model, task)
    if config.how is not None:
        return _combine(config, config.how, proof)
    attached = load_adapter(model, config.adapter[0], any_base=config.any_base)
    if config.scale != TRAINED:
        interpolable(attached, where="scale").interpolate(config.scale)
    encoded = proof.encoded()
    merged = replace(fold(model, attached, encoded, metric=proof.primary), metric=proof.metric)
    with _new_folder(save) as folder:
        _save_model(model, folder)
    return merged


class _Proof:
    """The examples on which a merge is proved, and what the model scores on them as it stands."""

    def __init__(self, config: MergeConfig, model: LanguageModel, task: Task) -> None:
        self.model = model
        self.task = task
        self.encoder = make_encoder(model, task, config.data)
        self.examples = load_examples(task, config.split, limit=config.sample, seed=config.seed, evaluation=True)
        self._how, self._metrics = generation_settings_of(task, config.decoding), task_metrics_of(task)
        self._tokens = config.evaluation.batch_tokens
        self.requests, _ = encode_requests(self.examples, self.encoder, new_tokens=self._how.new_tokens)
        if not self.requests or not self.encoded():
            what = f"no example of the {config.split} split fits the model, so a merge cannot be proved"
            fix = f"Name another task with --task, or another split: {how_to_set('split', 'train')}."
            raise DataError(what, where=task.name, fix=fix)

    @property
    def metric(self) -> str:
        """Name of the task's primary output."""
        return self._metrics.primary

    def encoded(self) -> list[Encoded]:
        """Return the examples as tokens."""
        return list(self.encoder.encode_all(self.examples).encoded)

    def primary(self) -> float:
        """Answer the examples, and score the answers."""
        batches = predict_all(self.model, self.encoder, self.requests, self._how, batch_tokens=self._tokens)
        predictions = extract_answers([prediction for batch in batches for prediction in batch], self.task.extraction)
        return primary_value(predictions, self._metrics)


def _combine(config: MergeConfig, how: How, proof: _Proof) -> Combined:
    """Make several adapters one: an adapter where that is exact, else a whole model."""
    model, folders = proof.model, config.adapter
    combination = Combination(
        how, config.weights or (1.0,) * len(folders), config.density, config.scale, seed=config.seed
    )
    base = proof.primary()
    each = []
    for folder in folders:
        attached = load_adapter(model, folder, any_base=config.any_base)
        each.append(proof.primary())
        attached.detach()
    as_adapter = how == "mean" and is_exact(folders)
    with _new_folder(config.out) as folder:
        if as_adapter:
            _write_adapter(model, folders, combination, folder)
        else:
            combine_into(model, folders, combination, any_base=config.any_base)
            _save_model(model, folder)
        after = proof.primary()
    return Combined(
        adapters=tuple(str(folder) for folder in folders),
        how=how,
        made="adapter" if as_adapter else "model",
        metric=proof.metric,
        base=base,
        each=tuple(each),
        after=after,
        examples=len(proof.requests),
        shares=combination.shares,
    )


def _write_adapter(model: LanguageModel, folders: tuple[Path, ...], combination: Combination, out: Path) -> None:
    """Write the mean of LoRA adapters as one adapter, put it on the model, and complete its folder."""
    write_mean(folders, [share * combination.scale for share in combination.shares], out)
    attached = load_peft(model, out)
    if any(map(is_published, folders)):
        return
    first = read_card(folders[0])
    digests = [read_card(folder).tensors for folder in folders]
    merged = {"how": "mean", "shares": list(combination.shares), "scale": combination.scale, "adapters": digests}
    card = replace(
        first,
        luthier=__version__,
        trainable_parameters=count(attached.trainable()),
        training={"merged": merged},
        settings=first.settings | _widened(first.settings, read_config(out)),
    )
    save_adapter(model, attached, out, card)
    if (folders[0] / TASK).is_file():
        shutil.copyfile(folders[0] / TASK, out / TASK)


def _widened(settings: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of the card that a greater rank changes, as the method calls them."""
    ours = {"rank": "r", "alpha": "lora_alpha", "ranks": "rank_pattern", "alphas": "alpha_pattern"}
    names = ours if "rank" in settings else {name: name for name in ours.values() if name in settings}
    return {name: config[key] for name, key in names.items()}


@contextlib.contextmanager
def _new_folder(place: Path) -> Iterator[Path]:
    """Give a folder that takes its place when everything is in it."""
    with writing(place), temporary_folder(place.parent) as folder:
        yield folder
        finish_folder(folder, place)


def _save_model(model: LanguageModel, folder: Path) -> None:
    model.module.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)


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
