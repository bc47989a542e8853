"""A task of lm-eval made ready for one model: what is asked in tokens, how it is answered, and how it is judged."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

from luthier.config.decoding import DecodingConfig
from luthier.errors import DataError
from luthier.evaluation.context import EvaluationContext, computation_of
from luthier.evaluation.harness.documents import Document, HarnessSettings, documents_of
from luthier.evaluation.harness.judge import Judge, document_chance, harness_metrics, parts_as_text, responses_as_text
from luthier.evaluation.harness.loading import quiet
from luthier.evaluation.harness.tokens import RequestEncoder, Writing
from luthier.evaluation.jobs import EvaluationJob
from luthier.evaluation.requests import Request, plan_request_batches
from luthier.evaluation.response_cache import CachedRequest, cache_file, request_key
from luthier.files.code_digest import code_digest
from luthier.files.digests import digest
from luthier.files.store import open_entry
from luthier.inference.generation import generate
from luthier.inference.scoring import AnswerScore, score_answers
from luthier.inference.stop_conditions import StopConditions
from luthier.metrics.task_metrics import TaskMetrics
from luthier.models.language_model import LanguageModel
from luthier.records import Dropped, Encoded, Example, Prediction
from luthier.tasks.names import HARNESS

_CODE = ("luthier.evaluation.harness.task", "luthier.evaluation.run")
"""The modules from which the code that computes these answers is reached; the version of lm-eval counts with it."""
_OF_SAMPLING = {"seed", "top_k", "top_p"}


@dataclass(frozen=True)
class HarnessRequest:
    """What is asked about one document, in tokens.

    Attributes:
        document: The document.
        request: One sequence for each answer that is scored, the windows of a text, or the prompt of a written answer.
        writing: How an answer is written; None where answers are scored.
        key: Digest of all that the answer depends on, besides the model.
        parts: Where the document is asked about in several ways, each of them; else empty.
    """

    document: Document
    request: Request
    writing: Writing | None
    key: str
    parts: tuple[HarnessRequest, ...] = ()

    @property
    def repeats(self) -> int:
        """Answers that are written to the same prompt."""
        return int(self.document.instances[0].repeats or 1)

    @property
    def blank(self) -> Prediction:
        """The prediction without the answer."""
        example = self.request.example
        return Prediction(example.id, example.task, "", example.targets, choices=example.choices)


@dataclass(frozen=True)
class HarnessTask:
    """A task of lm-eval; see :class:`luthier.evaluation.measured.Measured`.

    Attributes:
        name: With ``lm_eval:`` before it.
        task: lm-eval's own.
        requests: One for each document.
        dropped: Documents that the model cannot hold.
        judge: Applies its filters, and judges.
        chat: Whether prompts are in the model's chat template.
    """

    name: str
    task: Any
    requests: tuple[HarnessRequest, ...]
    dropped: tuple[Dropped, ...]
    judge: Judge
    chat: bool

    @property
    def shots(self) -> int:
        """Exemplars before each prompt."""
        return int(self.task.get_config("num_fewshot") or 0)

    @property
    def has_classes(self) -> bool:
        """Whether each answer is one of several choices, no two of them the same."""
        choices = [own.request.example.choices for own in self.requests]
        return self.task.OUTPUT_TYPE == "multiple_choice" and all(1 < len(own) == len(set(own)) for own in choices)

    @property
    def protocol(self) -> str:
        """What its numbers equal."""
        return f"lm-eval {version('lm_eval')} {self.task.task_name} {self.task.VERSION}"

    @property
    def chance(self) -> float | None:
        """The accuracy of random choices; None where the primary number is no accuracy of choices."""
        return document_chance(self.judge)

    def job(self, model: LanguageModel, context: EvaluationContext, *, label: str) -> EvaluationJob:
        """See :class:`luthier.evaluation.measured.Measured`."""
        assert context.engine is None, "other engines than torch do not say which answers are the likeliest"
        computing = computation_of(model, context).inputs() | {"harness": code_digest(_CODE)}
        requests = self.requests

        def batches(indices: Sequence[int]) -> list[tuple[int, ...]]:
            asked = [requests[index] for index in indices]
            written = [part.writing for own in asked for part in own.parts or (own,)]
            longest = max((writing.ending.limit for writing in written if writing is not None), default=0)
            found = plan_request_batches(
                [own.request for own in asked], new_tokens=longest, batch_tokens=context.batch_tokens
            )
            return [tuple(indices[place] for place in batch) for batch in found]

        def answer(indices: Sequence[int]) -> list[Prediction]:
            return answer_requests(model, [requests[index] for index in indices], context.batch_tokens)

        asked = digest([(own.blank.id, own.key) for own in requests])
        inputs = {"computation": computing, "batch_tokens": context.batch_tokens, "requests": asked}
        return EvaluationJob(
            entry=open_entry(context.out, "predictions", inputs, replace(context.about, task=self.name)),
            requests=tuple(CachedRequest(own.key, own.blank) for own in requests),
            items=tuple(own.request.items for own in requests),
            batches=batches,
            answer=answer,
            cache=cache_file(context.out, computing) if context.cache else None,
            dropped=self.dropped,
            cut=sum(any(item.cut_tokens for item in own.request.items) for own in requests),
            label=label,
            device=model.device,
        )

    def metrics_of(self, log: Sequence[Prediction]) -> TaskMetrics:
        """See :class:`luthier.evaluation.measured.Measured`."""
        return harness_metrics(self.name, self.judge, log, self.chance)

    def signature(self) -> dict[str, str]:
        """See :class:`luthier.evaluation.measured.Measured`."""
        task = self.task
        split = "test" if task.has_test_docs() else "validation"
        found = {
            "task": f"{self.name}-v{task.VERSION}",
            "split": str(task.get_config(f"{split}_split") or split),
            "shots": str(self.shots),
            "by": f"lm_eval-{version('lm_eval')}",
        }
        return found | ({"prompt": "chat-template"} if self.chat else {})

    def ending(self, model: LanguageModel, decoding: DecodingConfig) -> StopConditions:
        """See :class:`luthier.evaluation.measured.Measured`."""
        return next(own.writing.ending for own in self.requests if own.writing is not None)


def prepare_task(task: Any, encoder: RequestEncoder, settings: HarnessSettings) -> HarnessTask:
    """Make a task of lm-eval ready for a model.

    Args:
        task: As :func:`luthier.evaluation.harness.loading.load_tasks` gives it.
        encoder: Of the model, with its adapter's virtual tokens kept free.
        settings: How it is asked.

    Raises:
        TaskError: When it cannot be asked.
        ConfigError: When its answers leave no room for a prompt.
        DataError: When the model can hold not one of its documents.
    """
    name = f"{HARNESS}{task.task_name}"
    documents = documents_of(task, settings, encoder)
    with quiet():
        found = _encoded(name, documents, encoder, settings)
    dropped = [item for item in found if isinstance(item, Dropped)]
    requests = [item for item in found if isinstance(item, HarnessRequest)]
    if not requests:
        raise DataError(
            f"no document can be answered ({dropped[0].reason})", where=name, fix="Use a model that holds more."
        )
    return HarnessTask(name, task, tuple(requests), tuple(dropped), Judge(task, documents), settings.chat)


def _encoded(
    name: str, documents: Sequence[Document], encoder: RequestEncoder, settings: HarnessSettings
) -> list[HarnessRequest | Dropped]:
    parts = [part for document in documents for part in document.parts]
    scored = iter(encoder.scored([one for own in parts if own.kind == "loglikelihood" for one in own.instances]))
    encoded = iter([_encoded_part(name, part, encoder, settings, scored) for part in parts])
    return [_together(document, [next(encoded) for _ in document.parts]) for document in documents]


def _encoded_part(
    name: str, document: Document, encoder: RequestEncoder, settings: HarnessSettings, scored: Iterator[Encoded]
) -> HarnessRequest | Dropped:
    first, writing = document.instances[0], None
    if document.kind == "loglikelihood":
        items = [next(scored) for _ in document.instances]
        choices = tuple(str(instance.args[1]) for instance in document.instances)
    elif document.kind == "loglikelihood_rolling":
        items, choices = encoder.windows(first), (str(first.args[0]),)
    else:
        writing = encoder.writing(first.args[1], settings.max_new_tokens)
        items, choices = [encoder.prompt(first.args[0], writing.room, document.id)], ()
    longest = max((len(item.target_ids) for item in items), default=0)
    if longest > encoder.max_length or not items or not len(items[0].prompt_ids):
        held = f"an answer of {longest} tokens, where the model holds {encoder.max_length}"
        return Dropped(document.id, held if longest > encoder.max_length else "an empty text")
    context = str(first.args[0]) if document.kind != "loglikelihood_rolling" else ""
    example = Example(document.id, name, "lm_eval", context, document.targets, choices)
    return HarnessRequest(document, Request(example, tuple(items)), writing, _key(document, items, writing))


def _together(document: Document, parts: Sequence[HarnessRequest | Dropped]) -> HarnessRequest | Dropped:
    """Return what is asked about a document that is asked about in several ways, planned as a written answer is."""
    dropped = next((own for own in parts if isinstance(own, Dropped)), None)
    if dropped is not None:
        return replace(dropped, id=document.id)
    asked = tuple(own for own in parts if isinstance(own, HarnessRequest))
    if len(asked) == 1:
        return asked[0]
    example = replace(asked[0].request.example, id=document.id, choices=())
    items = tuple(item for own in asked for item in own.request.items)
    writing = next((own.writing for own in asked if own.writing is not None), None)
    return HarnessRequest(document, Request(example, items), writing, digest([own.key for own in asked]), asked)


def _key(document: Document, items: Sequence[Encoded], writing: Writing | None) -> str:
    """Return the digest of what is asked, as other tasks and settings may ask it too."""
    if writing is None:
        return request_key(items, {"kind": f"lm-eval {document.kind}"})
    greedy, ending = writing.decoding.temperature == 0, writing.ending
    how = {
        "kind": f"lm-eval {document.kind}",
        "decoding": writing.decoding.model_dump(mode="json", exclude=_OF_SAMPLING if greedy else None),
        "limit": ending.limit,
        "ends": sorted(ending.end_ids),
        "stop": list(ending.stop),
        "repeats": document.instances[0].repeats or 1,
        # A sampled answer depends on the document's own random stream.
        "stream": "" if greedy else document.id,
    }
    return request_key(items, how)


def answer_requests(model: LanguageModel, asked: Sequence[HarnessRequest], batch_tokens: int) -> list[Prediction]:
    """Answer a batch of requests, in their order."""
    parts = [part for own in asked for part in own.parts or (own,)]
    alike: dict[str, list[int]] = {}
    for place, part in enumerate(parts):
        alike.setdefault("" if part.writing is None else part.writing.mark, []).append(place)
    found: dict[int, Prediction] = {}
    for mark, places in alike.items():
        answers = (_write if mark else _score)(model, [parts[place] for place in places], batch_tokens)
        found |= dict(zip(places, answers, strict=True))
    answered = iter([found[place] for place in range(len(parts))])
    return [_joined(own, [next(answered) for _ in own.parts]) if own.parts else next(answered) for own in asked]


def _joined(own: HarnessRequest, answers: Sequence[Prediction]) -> Prediction:
    """Return the answers to the parts of a document as one prediction."""
    return replace(
        own.blank,
        text=parts_as_text(answers),
        prompt_tokens=max(answer.prompt_tokens for answer in answers),
        generated_tokens=sum(answer.generated_tokens for answer in answers),
        seconds=sum(answer.seconds for answer in answers),
        finish="length" if any(answer.finish == "length" for answer in answers) else "stop",
    )


def _score(model: LanguageModel, asked: Sequence[HarnessRequest], batch_tokens: int) -> list[Prediction]:
    started = time.monotonic()
    items = [item for own in asked for item in own.request.items]
    known = [item for item in items if len(item.target_ids)]  # an answer without tokens is certain
    scores = iter(score_answers(model, known, budget=batch_tokens) if known else ())
    found = iter([next(scores) if len(item.target_ids) else AnswerScore(0.0, True) for item in items])
    seconds = (time.monotonic() - started) / len(asked)
    return [_scored(model, own, [next(found) for _ in own.request.items], seconds) for own in asked]


def _scored(model: LanguageModel, own: HarnessRequest, scores: Sequence[AnswerScore], seconds: float) -> Prediction:
    items, choices = own.request.items, own.request.example.choices
    tokens = [len(item.target_ids) for item in items]
    if len(scores) != len(choices):  # the windows of a text
        scores = [AnswerScore(sum(score.logprob for score in scores), all(score.greedy for score in scores))]
        tokens = [sum(tokens)]
    best = max(range(len(scores)), key=lambda place: (scores[place].logprob, -place))
    return replace(
        own.blank,
        text=choices[best],
        choice_logprobs=tuple(score.logprob for score in scores),
        choice_greedy=tuple(score.greedy for score in scores),
        choice_tokens=tuple(tokens),
        prompt_tokens=model.virtual_tokens + max((len(item.prompt_ids) for item in items), default=0),
        seconds=seconds,
        finish="choice",
    )


def _write(model: LanguageModel, asked: Sequence[HarnessRequest], batch_tokens: int) -> list[Prediction]:
    started, how = time.monotonic(), asked[0].writing
    assert how is not None
    prompts = [
        replace(own.request.items[0], id=f"{own.blank.id}/{number}") for own in asked for number in range(own.repeats)
    ]
    written = iter(generate(model, prompts, how.decoding, how.ending, budget=batch_tokens))
    seconds = (time.monotonic() - started) / len(asked)
    found = []
    for own in asked:
        answers = [next(written) for _ in range(own.repeats)]
        found.append(
            replace(
                own.blank,
                text=responses_as_text([answer.text for answer in answers]),
                prompt_tokens=model.virtual_tokens + len(own.request.items[0].prompt_ids),
                generated_tokens=sum(answer.tokens for answer in answers),
                seconds=seconds,
                finish="length" if any(answer.finish == "length" for answer in answers) else "stop",
            )
        )
    return found
