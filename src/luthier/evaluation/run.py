"""Answer a set of examples, once: the log lies in the store under everything that it depends on.

What earlier evaluations answered is looked up, once, before the rest is planned; see `response_cache`.
Batches are planned before the first is answered, and each is logged as it ends; a killed evaluation goes on with the
batch that it was in, and gives the same log.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter

from luthier.config.decoding import DecodingConfig
from luthier.data.batching import plan_batches
from luthier.data.encoding import Encoder
from luthier.data.splits import digest_examples
from luthier.errors import DataError
from luthier.evaluation.prepared_task import generation_settings_of
from luthier.evaluation.requests import GenerationSettings, Request, answer, plan, prepare
from luthier.evaluation.response_cache import CachedRequest, answers_file, recall, remember, request_key
from luthier.files.atomic import writing
from luthier.files.code_digest import code_digest
from luthier.files.digests import digest
from luthier.files.store import Entry, open_entry, reading
from luthier.inference.engine import TORCH, Engine
from luthier.inference.scoring import answer_logprobs, text_windows
from luthier.kernels.peak_memory import peak_bytes, reset_peak
from luthier.metrics.prediction_log import read_predictions, write_predictions
from luthier.models.language_model import LanguageModel
from luthier.progress import progress, say
from luthier.records import Dropped, Encoded, Example, Prediction
from luthier.tasks.schema import Task

ROOMS = ("data", "tasks", "kernels", "models", "methods", "inference", "evaluation")
PARTIAL = "partial.jsonl"
_OF_SAMPLING = {"seed", "top_k", "top_p"}
"""Settings that a greedy answer does not depend on."""
_NOT_IN_ANSWERS = {"encoder", "batch_tokens"}


@dataclass(frozen=True, slots=True)
class EvaluationJob:
    """What is to be answered by a model as it will stand then, and the place of the log.

    Attributes:
        entry: Its place in the store.
        asked: What is asked, in the order of the split.
        plan: Cuts some of it, by place, into batches; the same for the same places, always.
        run: Answers a batch.
        known: The file of answers that are known from earlier evaluations; None to answer all anew.
        dropped: Examples that cannot be answered because they do not fit.
        cut: Examples whose input text was cut to fit.
        label: What the progress bar says.
        device: Where the model is.
    """

    entry: Entry
    asked: tuple[CachedRequest, ...]
    plan: Callable[[Sequence[int]], list[tuple[int, ...]]]
    run: Callable[[Sequence[int]], list[Prediction]]
    known: Path | None
    dropped: tuple[Dropped, ...]
    cut: int
    label: str
    device: torch.device


@dataclass(frozen=True, slots=True)
class PredictionLog:
    """A finished log.

    Attributes:
        predictions: In the order of the split.
        seconds: Wall seconds of answering, over all processes; of known answers, those that they took at their time.
        peak_memory_bytes: Of the process that finished it; None where it cannot be measured, or answers were known.
        known: Answers that were known from earlier evaluations.
    """

    predictions: tuple[Prediction, ...]
    seconds: float
    peak_memory_bytes: int | None
    known: int = 0


@dataclass(frozen=True, slots=True)
class EvaluationContext:
    """Under what work is done.

    Attributes:
        out: Folder of the store.
        adapter: Key of the adapter that will be attached; "" for the base.
        decoding: How answers are generated.
        batch_tokens: Tokens in one forward pass.
        cache: Whether answers of earlier evaluations are used, and these kept for later ones.
        engine: What computes the answers to tasks; torch when not given.
    """

    out: Path
    adapter: str
    decoding: DecodingConfig
    batch_tokens: int
    cache: bool = True
    engine: Engine | None = None


def task_work(
    model: LanguageModel,
    encoder: Encoder,
    task: Task,
    examples: Sequence[Example],
    under: EvaluationContext,
    *,
    label: str,
) -> EvaluationJob:
    """Plan the answers to a task's examples, exemplars included.

    Raises:
        DataError: When not one example fits.
    """
    how = generation_settings_of(task, under.decoding)
    requests, dropped = prepare(examples, encoder, new_tokens=how.new_tokens)
    if not requests:
        reason = dropped[0].reason if dropped else "there are none"
        raise DataError(
            f"no test example can be answered ({reason})",
            where=task.name,
            fix="Use a model that holds longer texts, or lower max_new_tokens.",
        )

    def batched(places: Sequence[int]) -> list[tuple[int, ...]]:
        left = [requests[place] for place in places]
        batches = plan(left, new_tokens=how.new_tokens, batch_tokens=under.batch_tokens)
        return [tuple(places[index] for index in batch) for batch in batches]

    def run(places: Sequence[int]) -> list[Prediction]:
        asked = [requests[place] for place in places]
        return answer(model, encoder, asked, how, batch_tokens=under.batch_tokens, engine=under.engine)

    return EvaluationJob(
        entry=open_entry(under.out, "predictions", task_inputs(model, encoder, examples, how, under)),
        asked=tuple(_asked(request, encoder, how) for request in requests),
        plan=batched,
        run=run,
        known=_known(model, encoder, under),
        dropped=tuple(dropped),
        cut=sum(any(item.cut_tokens for item in request.items) for request in requests),
        label=label,
        device=model.device,
    )


def _asked(request: Request, encoder: Encoder, how: GenerationSettings) -> CachedRequest:
    """Return a request as earlier evaluations may have asked it, in another task or beside others."""
    example = request.example
    blank = Prediction(example.id, example.task, "", example.targets, choices=example.choices, group=example.group)
    if example.choices:
        return CachedRequest(request_key(request.items, {"kind": "choice"}), blank)
    greedy = how.decoding.temperature == 0
    settings = how.decoding.model_dump(mode="json", exclude=_OF_SAMPLING if greedy else None)
    written = {
        "kind": "text",
        "decoding": settings | {"max_new_tokens": how.new_tokens},
        "stop": how.stop,
        "ends": (encoder.end_ids, encoder.stop_ids),
        # A sampled answer hangs on the example's own random stream.
        "stream": "" if greedy else example.id,
    }
    return CachedRequest(request_key(request.items, written), blank)


def text_work(
    model: LanguageModel, encoder: Encoder, texts: Sequence[str], under: EvaluationContext, *, label: str
) -> EvaluationJob:
    """Plan the token loss of plain text; a document is a prediction whose only choice is the document itself.

    Raises:
        DataError: When no document has two tokens.
    """
    documents: list[Document] = []
    for number, text in enumerate(texts):
        name = f"document-{number}"
        windows = text_windows(
            model.tokenizer, text, encoder_decoder=model.encoder_decoder, max_length=model.max_length, name=name
        )
        if windows:
            documents.append(Document(name, text, tuple(windows)))
    if not documents:
        raise DataError(
            "no text is long enough to predict anything", where="retention_text", fix="Give longer documents."
        )
    inputs = _inputs(model, encoder, under) | {"texts": digest(list(texts)), "max_length": model.max_length}

    def batched(places: Sequence[int]) -> list[tuple[int, ...]]:
        batches = plan_batches([documents[place].tokens for place in places], under.batch_tokens)
        return [tuple(places[index] for index in batch) for batch in batches]

    def run(places: Sequence[int]) -> list[Prediction]:
        return _text_losses(model, [documents[place] for place in places], under.batch_tokens)

    return EvaluationJob(
        entry=open_entry(under.out, "texts", inputs),
        asked=tuple(CachedRequest(request_key(own.windows, {"kind": "loss"}), own.blank) for own in documents),
        plan=batched,
        run=run,
        known=_known(model, encoder, under),
        dropped=(),
        cut=0,
        label=label,
        device=model.device,
    )


@dataclass(frozen=True, slots=True)
class Document:
    """A plain text, cut into windows."""

    name: str
    text: str
    windows: tuple[Encoded, ...]

    @property
    def tokens(self) -> int:
        """Tokens that it takes in a batch, padded to its longest window."""
        return max(len(item.prompt_ids) + len(item.target_ids) for item in self.windows) * len(self.windows)

    @property
    def blank(self) -> Prediction:
        """The prediction whose only choice is the text, without its log-probability."""
        return Prediction(self.name, "plain_text", self.text, (self.text,), choices=(self.text,), finish="choice")


def task_inputs(
    model: LanguageModel,
    encoder: Encoder,
    examples: Sequence[Example],
    how: GenerationSettings,
    under: EvaluationContext,
) -> dict[str, Any]:
    """Return everything that the answers to a task's examples hang on: the inputs of a place in the store."""
    return _inputs(model, encoder, under) | {
        "examples": digest_examples(examples),
        "decoding": under.decoding.model_dump(mode="json"),
        "stop": list(how.stop),
        "new_tokens": how.new_tokens,
    }


def _inputs(model: LanguageModel, encoder: Encoder, under: EvaluationContext) -> dict[str, Any]:
    return {
        "model": model.digest,
        "adapter": under.adapter,
        "encoder": encoder.signature,
        "batch_tokens": under.batch_tokens,
        "engine": under.engine.signature if under.engine else TORCH,
        "code": code_digest(ROOMS),
    }


def _known(model: LanguageModel, encoder: Encoder, under: EvaluationContext) -> Path | None:
    """Return the file of answers that this model gave before, computed as they would be now.

    What the encoder's limits and the size of batches change is seen from the tokens of a request, or changes nothing.
    """
    if not under.cache:
        return None
    kept = {name: value for name, value in _inputs(model, encoder, under).items() if name not in _NOT_IN_ANSWERS}
    return answers_file(under.out, kept | {"device": model.device.type, "dtype": str(model.module.dtype)})


def _text_losses(model: LanguageModel, documents: Sequence[Document], batch_tokens: int) -> list[Prediction]:
    started = time.monotonic()
    windows = [window for document in documents for window in document.windows]
    logprobs = iter(answer_logprobs(model, windows, budget=batch_tokens))
    seconds = (time.monotonic() - started) / len(documents)
    return [
        replace(
            document.blank,
            choice_logprobs=(sum(next(logprobs) for _ in document.windows),),
            choice_tokens=(sum(len(window.target_ids) for window in document.windows),),
            seconds=seconds,
        )
        for document in documents
    ]


def finish(work: EvaluationJob) -> None:
    """Answer what has not been answered yet, and put the log into the store. The model must stand as planned."""
    with work.entry.held(work.label):
        if not work.entry.finished:
            _finish(work)


@dataclass(frozen=True, slots=True)
class _Batch:
    """A line of the partial log; ``known`` where its answers were known before."""

    seconds: float
    predictions: list[Prediction]
    known: bool = False


_BATCH = TypeAdapter(_Batch)


def _finish(work: EvaluationJob) -> None:
    reset_peak(work.device)
    partial = work.entry.work / PARTIAL
    with writing(work.entry.work):
        done = _read_partial(partial) or _recall(work, partial)
        answered = {own.id for batch in done for own in batch.predictions}
        known = {own.id for batch in done if batch.known for own in batch.predictions}
        # The plan holds what was not known at first, so that a killed evaluation goes on in the same batches.
        planned = work.plan([place for place, item in enumerate(work.asked) if item.blank.id not in known])
        with progress(work.label, len(work.asked), "examples", done=len(answered)) as advance:
            for places in planned:
                if work.asked[places[0]].blank.id not in answered:
                    done.append(_answer(work, places, partial))
                    advance(len(places), "")
        by_id = {own.id: own for batch in done for own in batch.predictions}
        write_predictions(work.entry.work / "predictions.jsonl", [by_id[item.blank.id] for item in work.asked])
        costs = {
            "seconds": sum(batch.seconds for batch in done),
            "peak_memory_bytes": None if known else peak_bytes(work.device),
            "known": len(known),
        }
        (work.entry.work / "costs.json").write_text(json.dumps(costs))
        partial.unlink(missing_ok=True)
        work.entry.finish()


def _answer(work: EvaluationJob, places: Sequence[int], partial: Path) -> _Batch:
    """Answer a batch, log it, and keep its answers for later evaluations."""
    started = time.monotonic()
    predictions = work.run(places)
    batch = _Batch(time.monotonic() - started, predictions)
    _append(partial, batch)
    if work.known is not None:
        remember(work.known, zip([work.asked[place].key for place in places], predictions, strict=True))
    return batch


def _recall(work: EvaluationJob, partial: Path) -> list[_Batch]:
    """Log what earlier evaluations answered as the first batch, so that a kill finds the same rest to do."""
    found = recall(work.known, work.asked) if work.known is not None else {}
    if not found:
        return []
    say(f"{work.label}: {len(found)} of {len(work.asked)} answers were known from earlier evaluations")
    batch = _Batch(sum(own.seconds for own in found.values()), list(found.values()), known=True)
    _append(partial, batch)
    return [batch]


def _append(partial: Path, batch: _Batch) -> None:
    with partial.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(batch)) + "\n")


def _read_partial(path: Path) -> list[_Batch]:
    """Read the batches that a killed evaluation finished; a last line cut in half is removed from the file."""
    batches: list[_Batch] = []
    if not path.exists():
        return batches
    whole = 0
    with path.open("rb+") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            try:
                batches.append(_BATCH.validate_python(json.loads(line)))
            except ValueError:
                break
            whole += len(line)
        file.truncate(whole)
    return batches


def read(work: EvaluationJob) -> PredictionLog:
    """Read a finished log.

    Raises:
        StoreError: When it is damaged.
    """
    folder = work.entry.folder
    with reading(work.entry):
        costs = json.loads((folder / "costs.json").read_text())
        predictions = tuple(read_predictions(folder / "predictions.jsonl"))
        return PredictionLog(predictions, costs["seconds"], costs["peak_memory_bytes"], costs.get("known", 0))
