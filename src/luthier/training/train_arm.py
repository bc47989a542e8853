"""Train one arm, once: the result lies in the store under everything that it depends on."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import luthier.version
from luthier.config.arms import Arm
from luthier.config.decoding import DecodingConfig
from luthier.config.evaluation import EvaluationConfig
from luthier.data.batching import micro_batches, plan_steps
from luthier.data.encoding import Encoder
from luthier.errors import ConfigError, Faults, TrainingError
from luthier.evaluation.prepared_task import generation_settings_of, task_metrics_of
from luthier.evaluation.requests import encode_requests, predict_all
from luthier.files.atomic import writing
from luthier.files.code_digest import code_digest
from luthier.files.store import Entry, open_entry, reading
from luthier.kernels.peak_memory import peak_bytes, reset_peak
from luthier.methods.adapter_io import Card, save_adapter
from luthier.methods.base import Attached, count
from luthier.methods.registry import find_method, read_settings
from luthier.metrics.scoring import score_predictions
from luthier.models.language_model import LanguageModel
from luthier.objectives.cross_entropy import mean_loss
from luthier.progress import say
from luthier.records import Encoded, Example
from luthier.tasks.schema import Task
from luthier.training.checkpoint import Progress
from luthier.training.log import read_log
from luthier.training.loop import Validate, Validation, train

Watch: TypeAlias = Callable[[Sequence[float]], None]
"""Sees the scores of every look at the validation split so far, the latest last; raises to end the training."""

# What changes neither the weights nor the choice of the best of them.
_NOT_IN_KEY = {"checkpoint_seconds", "trackers"}


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What an arm learns from and is chosen by.

    Attributes:
        train: Encoded training examples.
        validation: Examples, of which some are answered.
        encoded_validation: The same encoded with their targets, for the loss.
        digest: Of all of it.
    """

    train: tuple[Encoded, ...]
    validation: tuple[Example, ...]
    encoded_validation: tuple[Encoded, ...]
    digest: str


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished training.

    Attributes:
        entry: Its place in the store.
        result: ``steps, best_step, trainable_parameters, stored_bytes, learning_rate``.
        costs: ``training_seconds, supervised_tokens_per_second, peak_memory_bytes``.
    """

    entry: Entry
    result: dict[str, Any]
    costs: dict[str, Any]

    @property
    def adapter(self) -> Path:
        """Folder of the adapter, or of the whole model."""
        return adapter_folder(self.entry)

    @property
    def validation_scores(self) -> tuple[float, ...]:
        """Score of every look at the validation split, turned so that higher is better."""
        return _looks(self.log, 1 if self.result["higher_is_better"] else -1)

    @property
    def log(self) -> Path:
        """The training log."""
        return self.entry.folder / "log.jsonl"


def training_entry(
    model: LanguageModel,
    encoder: Encoder,
    task: Task,
    data: TrainingData,
    arm: Arm,
    *,
    out: Path,
    decoding: DecodingConfig,
) -> Entry:
    """Return the place of a trained arm in the store; nothing is trained or written.

    Raises:
        ConfigError: The method is unknown or its settings are wrong.
    """
    assert arm.method is not None
    method = find_method(arm.method)
    settings = read_settings(method, arm.settings, where=f"arm '{arm.name}', settings")
    peak = arm.training.learning_rate or method.learning_rate
    inputs: dict[str, Any] = {
        "model": model.digest,
        "encoder": encoder.signature,
        "data": data.digest,
        "method": method.name,
        "settings": settings.model_dump(mode="json"),
        "training": {**arm.training.model_dump(mode="json", exclude=_NOT_IN_KEY), "learning_rate": peak},
        "decoding": decoding.model_dump(mode="json"),
        "primary": task.primary,
        "seed": arm.seeds[0],
        "code": code_digest((__name__,)),
    }
    return open_entry(out, "models", inputs)


def adapter_folder(entry: Entry) -> Path:
    """Return where the adapter, or the whole model, of a finished training lies."""
    return entry.folder / "adapter"


def train_arm(
    model: LanguageModel,
    encoder: Encoder,
    task: Task,
    data: TrainingData,
    arm: Arm,
    *,
    out: Path,
    decoding: DecodingConfig,
    evaluation: EvaluationConfig,
    watch: Watch | None = None,
) -> Trained:
    """Return the trained arm from the store, training it first if it is not there.

    The model is left as it was: the base, with nothing attached. ``watch`` may end the training by an exception of its
    own; what was trained so far stays where a later call finds it.

    Raises:
        ConfigError: The method is unknown or its settings are wrong.
        TrainingError: The loss is not finite.
        StoreError: The store cannot be written.
    """
    assert data.train, "the plan has looked"
    entry = training_entry(model, encoder, task, data, arm, out=out, decoding=decoding)
    with entry.held(arm.name):
        if entry.finished:
            say(f"{arm.name}: trained before, found in the store ({entry.key[:8]})")
        else:
            _train(model, encoder, task, data, arm, entry, decoding, evaluation, watch)
    return read_trained(entry)


def _train(
    model: LanguageModel,
    encoder: Encoder,
    task: Task,
    data: TrainingData,
    arm: Arm,
    entry: Entry,
    decoding: DecodingConfig,
    evaluation: EvaluationConfig,
    watch: Watch | None,
) -> None:
    """Train an arm, or go on where a killed process left it, and finish its entry."""
    assert arm.method is not None
    method = find_method(arm.method)
    training = entry.inputs["training"]
    reset_peak(model.device)
    attached = method.attach(model, read_settings(method, arm.settings, where="settings"), seed=arm.seeds[0])
    try:
        with naming(arm):
            progress = train(
                model,
                attached,
                data.train,
                plan_steps(len(data.train), arm.training, seed=arm.seeds[0]),
                arm.training,
                peak_learning_rate=training["learning_rate"],
                seed=arm.seeds[0],
                folder=entry.work,
                validate=_watched(_validator(model, encoder, task, data, arm, decoding, evaluation), watch, entry),
                label=f"{arm.name}: training",
            )
        with writing(entry.work):
            card = Card(
                luthier=luthier.version.__version__,
                method=method.name,
                settings=entry.inputs["settings"],
                base_name=model.name,
                base_digest=model.digest,
                task=task.name,
                template=task.evaluation_template.name if task.templates else "",
                stop=tuple(task.stop),
                trainable_parameters=count(attached.trainable()),
                training=training,
            )
            better = task_metrics_of(task).higher_is_better
            _store(entry, model, attached, card, progress, higher_is_better=better)
    finally:
        attached.detach()


@contextlib.contextmanager
def naming(arm: Arm) -> Iterator[None]:
    """Put the arm's name before the place of a fault."""
    try:
        yield
    except (ConfigError, TrainingError) as fault:
        raise type(fault)(fault.what, where=f"arm '{arm.name}', {fault.where}", fix=fault.fix) from None
    except Faults as several:
        raise Faults(f"arm '{arm.name}': {several.what}", several.faults) from None


def _validator(
    model: LanguageModel,
    encoder: Encoder,
    task: Task,
    data: TrainingData,
    arm: Arm,
    decoding: DecodingConfig,
    evaluation: EvaluationConfig,
) -> Validate | None:
    """Return a look at the validation split: its loss, and the task's own metric on real answers."""
    if not data.validation or not arm.training.validations:
        return None
    task_metrics = task_metrics_of(task)
    how = generation_settings_of(task, decoding)
    chosen = data.validation[: arm.training.validation_examples]
    requests, _ = encode_requests(chosen, encoder, new_tokens=how.new_tokens)
    if not requests or not data.encoded_validation:
        say(f"{arm.name}: no validation example fits, so the last weights are kept")
        return None
    losses = micro_batches(data.encoded_validation, evaluation.batch_tokens)

    def validate() -> Validation:
        batches = predict_all(model, encoder, requests, how, batch_tokens=evaluation.batch_tokens)
        predictions = [prediction for batch in batches for prediction in batch]
        scores = score_predictions(predictions, [task_metrics.primary_metric], resamples=0)
        value = next(score.value for score in scores if score.metric == task_metrics.primary)
        return Validation(mean_loss(model, losses), task_metrics.primary, value, task_metrics.higher_is_better)

    return validate


def _watched(validate: Validate | None, watch: Watch | None, entry: Entry) -> Validate | None:
    """Show ``watch`` the scores of every look so far after each look."""
    if validate is None or watch is None:
        return validate

    def watched() -> Validation:
        found = validate()
        sign = 1 if found.higher_is_better else -1
        watch((*_looks(entry.work / "log.jsonl", sign), found.score))
        return found

    return watched


def _looks(log: Path, sign: int) -> tuple[float, ...]:
    """Validation scores of a training log, turned so that higher is better."""
    return tuple(sign * float(line["validation_score"] or 0) for line in read_log(log) if "validation_score" in line)


def _store(
    entry: Entry, model: LanguageModel, attached: Attached, card: Card, progress: Progress, *, higher_is_better: bool
) -> None:
    """Write the adapter and what is known of it, clear the work away, and finish the entry."""
    adapter = entry.work / "adapter"
    shutil.rmtree(adapter, ignore_errors=True)
    save_adapter(model, attached, adapter, card)
    result = {
        "steps": progress.step,
        "best_step": progress.best_step,
        "best_score": progress.best_score,
        "higher_is_better": higher_is_better,
        "trainable_parameters": card.trainable_parameters,
        "stored_bytes": sum(path.stat().st_size for path in adapter.rglob("*") if path.is_file()),
        "learning_rate": card.training["learning_rate"],
    }
    costs = {
        "training_seconds": progress.seconds,
        "supervised_tokens_per_second": progress.supervised_tokens / progress.seconds if progress.seconds else None,
        "peak_memory_bytes": peak_bytes(model.device),
    }
    (entry.work / "result.json").write_text(json.dumps(result, indent=2, sort_keys=True))
    (entry.work / "costs.json").write_text(json.dumps(costs, indent=2, sort_keys=True))
    for folder in entry.work.glob("step-*"):
        shutil.rmtree(folder)
    for path in entry.work.glob("best-*"):
        path.unlink()
    entry.finish()


def read_trained(entry: Entry) -> Trained:
    """Read a finished training.

    Raises:
        StoreError: When it is damaged, or not there.
    """
    with reading(entry):
        result = json.loads((entry.folder / "result.json").read_text())
        costs = json.loads((entry.folder / "costs.json").read_text())
        return Trained(entry, dict(result), dict(costs))
