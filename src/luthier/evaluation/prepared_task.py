"""A task made ready for one model: how it is encoded, what is evaluated, how it is answered and judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from luthier.config.data import EncodingConfig
from luthier.config.decoding import DecodingConfig
from luthier.data.encoding import Encoder
from luthier.data.joined_encoding import JoinedEncoder
from luthier.evaluation.exemplars import add_exemplars
from luthier.evaluation.requests import GenerationSettings, fits_whole
from luthier.metrics.task_metrics import TaskMetrics
from luthier.models.language_model import LanguageModel
from luthier.records import Example
from luthier.tasks.schema import Task
from luthier.tasks.task_encoder import task_encoder


@dataclass(frozen=True)
class PreparedTask:
    """A task made ready for one model.

    Attributes:
        task: The task.
        encoder: The model's encoder, with or without its chat template as the task wants it.
        examples: What is evaluated.
    """

    task: Task
    encoder: Encoder
    examples: tuple[Example, ...]

    @property
    def metrics(self) -> TaskMetrics:
        """How its answers are judged."""
        return task_metrics_of(self.task)


def make_encoder(model: LanguageModel, task: Task, data: EncodingConfig) -> Encoder:
    """Return the model's encoder for a task; raises as :func:`luthier.tasks.task_encoder.task_encoder` does."""
    return task_encoder(
        task,
        model.tokenizer,
        data,
        encoder_decoder=model.encoder_decoder,
        max_length=model.max_length,
        model_tokens=model.tokens,
    )


def task_metrics_of(task: Task) -> TaskMetrics:
    """Return the task's metrics, primary output and chance level."""
    return TaskMetrics(task.name, tuple(task.metrics), task.primary, task.chance)


def generation_settings_of(task: Task, decoding: DecodingConfig) -> GenerationSettings:
    """Return how answers to the task are generated; the user's limit of an answer wins over the task's."""
    return GenerationSettings(decoding, decoding.max_new_tokens or task.max_new_tokens, tuple(task.stop))


def with_exemplars(
    prepared: PreparedTask, pool: Sequence[Example], shots: int, decoding: DecodingConfig, *, seed: int
) -> tuple[PreparedTask, tuple[int, int]]:
    """Put exemplars before each prompt: as many as fit with the answer, and without a cut.

    Returns:
        The task with its exemplars, and the fewest and the most exemplars that fitted.
    """
    new_tokens = generation_settings_of(prepared.task, decoding).new_tokens

    def fits(example: Example) -> bool:
        return fits_whole(example, prepared.encoder, new_tokens=new_tokens)

    found = add_exemplars(prepared.examples, pool, shots, seed=seed, fits=fits, order=prepared.task.exemplars.order)
    return replace(prepared, examples=found.examples), found.used


def of_references(prepared: PreparedTask) -> PreparedTask:
    """Return a task whose answers hold the log-probability of the first reference of each example.

    Of an example whose only choice is its reference, the answer is that reference, whatever the model prefers.
    """
    return replace(prepared, examples=tuple(replace(own, choices=own.targets[:1]) for own in prepared.examples))


def signature_context(prepared: PreparedTask, shots: int) -> dict[str, str]:
    """Return what a score depends on besides the metric; it joins the score's signature.

    Of choices it says which tokens their log-probabilities rest on: the end token is counted, and a begin token or the
    chat template's text stands before the prompt. lm-eval counts no end token and begins plain prompts without one.
    """
    task = prepared.task
    context = {"task": f"{task.name}-v{task.version}", "split": "test", "shots": str(shots), "prompt": task.digest[:8]}
    if shots and task.exemplars.signature:
        context["exemplars"] = task.exemplars.signature
    if task.extraction is not None:
        context["extract"] = task.extraction.signature
    if task.protocol:
        context["protocol"] = task.protocol
    if isinstance(prepared.encoder, JoinedEncoder):
        context["joint"] = repr(prepared.encoder.joint.answer)
    elif any(example.choices for example in prepared.examples):
        context["choices"] = f"{_before_prompts(prepared.encoder)}end-token"
    return context


def _before_prompts(encoder: Encoder) -> str:
    if encoder.chat:
        return "chat-template+"
    return "begin-token+" if encoder.bos_id is not None else ""
