"""Answer a set of examples, once: the log lies in the store under everything that it depends on.

Batches are planned before the first is answered, and each is logged as it ends; a killed evaluation goes on with the
batch that it was in, and gives the same log.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError

from luthier.config import DecodingConfig
from luthier.data.batching import plan_batches
from luthier.data.encoding import Encoder
from luthier.data.splits import digest_examples
from luthier.errors import DataError
from luthier.evaluation.predict import answer, plan, prepare
from luthier.inference.score import answer_logprobs, text_windows
from luthier.jobs.measures import answering_of
from luthier.metrics.log import read_predictions, write_predictions
from luthier.models.language_model import LanguageModel
from luthier.progress import progress
from luthier.records import Dropped, Encoded, Example, Prediction
from luthier.store import Entry, code_digest, digest, open_entry, reading, writing
from luthier.tasks.task import Task
from luthier.training.memory import peak_bytes, reset_peak

ROOMS = ("data", "tasks", "models", "methods", "inference", "evaluation")
PARTIAL = "partial.jsonl"


@dataclass(frozen=True, slots=True)
class Work:
    """A set of batches to be answered by a model as it will stand then, and the place of the log.

    Attributes:
        entry: Its place in the store.
        sizes: Examples in each batch.
        run: Answers batch k.
        order: Example ids in the order of the split.
        dropped: Examples that cannot be answered because they do not fit.
        cut: Examples whose input text was cut to fit.
        label: What the progress bar says.
        device: Where the model is.
    """

    entry: Entry
    sizes: tuple[int, ...]
    run: Callable[[int], list[Prediction]]
    order: tuple[str, ...]
    dropped: tuple[Dropped, ...]
    cut: int
    label: str
    device: torch.device


@dataclass(frozen=True, slots=True)
class Predicted:
    """A finished log.

    Attributes:
        predictions: In the order of the split.
        seconds: Wall seconds of answering, over all processes.
        peak_memory_bytes: Of the process that finished it; None where it cannot be measured.
    """

    predictions: tuple[Prediction, ...]
    seconds: float
    peak_memory_bytes: int | None


@dataclass(frozen=True, slots=True)
class Conditions:
    """Under what work is done.

    Attributes:
        out: Folder of the store.
        adapter: Key of the adapter that will be attached; "" for the base.
        decoding: How answers are generated.
        batch_tokens: Tokens in one forward pass.
    """

    out: Path
    adapter: str
    decoding: DecodingConfig
    batch_tokens: int


def task_work(
    model: LanguageModel, encoder: Encoder, task: Task, examples: Sequence[Example], under: Conditions, *, label: str
) -> Work:
    """Plan the answers to a task's examples, exemplars included.

    Raises:
        DataError: When not one example fits.
    """
    how = answering_of(task, under.decoding)
    requests, dropped = prepare(examples, encoder, new_tokens=how.new_tokens)
    if not requests:
        reason = dropped[0].reason if dropped else "there are none"
        raise DataError(
            f"no test example can be answered ({reason})",
            where=task.name,
            fix="Use a model that holds longer texts, or lower max_new_tokens.",
        )
    batches = plan(requests, new_tokens=how.new_tokens, batch_tokens=under.batch_tokens)
    inputs = _inputs(model, encoder, under) | {
        "examples": digest_examples(examples),
        "decoding": under.decoding.model_dump(mode="json"),
        "stop": list(how.stop),
        "new_tokens": how.new_tokens,
    }

    def run(index: int) -> list[Prediction]:
        asked = [requests[place] for place in batches[index]]
        return answer(model, encoder, asked, how, batch_tokens=under.batch_tokens)

    sizes = tuple(len(batch) for batch in batches)
    order = tuple(request.example.id for request in requests)
    cut = sum(any(item.cut_tokens for item in request.items) for request in requests)
    entry = open_entry(under.out, "predictions", inputs)
    return Work(entry, sizes, run, order, tuple(dropped), cut, label, model.device)


def text_work(model: LanguageModel, encoder: Encoder, texts: Sequence[str], under: Conditions, *, label: str) -> Work:
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
        raise DataError("no text is long enough to predict anything", where="retain_text", fix="Give longer documents.")
    batches = plan_batches([document.tokens for document in documents], under.batch_tokens)
    inputs = _inputs(model, encoder, under) | {"texts": digest(list(texts)), "max_length": model.max_length}

    def run(index: int) -> list[Prediction]:
        return _text_losses(model, [documents[place] for place in batches[index]], under.batch_tokens)

    sizes = tuple(len(batch) for batch in batches)
    order = tuple(document.name for document in documents)
    return Work(open_entry(under.out, "texts", inputs), sizes, run, order, (), 0, label, model.device)


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


def _inputs(model: LanguageModel, encoder: Encoder, under: Conditions) -> dict[str, Any]:
    return {
        "model": model.digest,
        "adapter": under.adapter,
        "encoder": encoder.signature,
        "batch_tokens": under.batch_tokens,
        "code": code_digest(ROOMS),
    }


def _text_losses(model: LanguageModel, documents: Sequence[Document], batch_tokens: int) -> list[Prediction]:
    windows = [window for document in documents for window in document.windows]
    logprobs = iter(answer_logprobs(model, windows, budget=batch_tokens))
    return [
        Prediction(
            id=document.name,
            task="plain_text",
            text=document.text,
            targets=(document.text,),
            choices=(document.text,),
            choice_logprobs=(sum(next(logprobs) for _ in document.windows),),
            choice_tokens=(sum(len(window.target_ids) for window in document.windows),),
            finish="choice",
        )
        for document in documents
    ]


def finish(work: Work) -> None:
    """Answer what has not been answered yet, and put the log into the store. The model must stand as planned."""
    with work.entry.held(work.label):
        if not work.entry.finished:
            _finish(work)


def _finish(work: Work) -> None:
    reset_peak(work.device)
    partial = work.entry.work / PARTIAL
    with writing(work.entry.work):
        done = _read_partial(partial)
        with progress(work.label, len(work.order), "examples", done=sum(work.sizes[: len(done)])) as advance:
            for index in range(len(done), len(work.sizes)):
                started = time.monotonic()
                predictions = work.run(index)
                done.append(_Batch(time.monotonic() - started, predictions))
                with partial.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(done[-1])) + "\n")
                advance(work.sizes[index], "")
        by_id = {prediction.id: prediction for batch in done for prediction in batch.predictions}
        write_predictions(work.entry.work / "predictions.jsonl", [by_id[name] for name in work.order])
        costs = {"seconds": sum(batch.seconds for batch in done), "peak_memory_bytes": peak_bytes(work.device)}
        (work.entry.work / "costs.json").write_text(json.dumps(costs))
        partial.unlink(missing_ok=True)
        work.entry.finish()


def read(work: Work) -> Predicted:
    """Read a finished log.

    Raises:
        StoreError: When it is damaged.
    """
    folder = work.entry.folder
    with reading(work.entry):
        costs = json.loads((folder / "costs.json").read_text())
        return Predicted(
            tuple(read_predictions(folder / "predictions.jsonl")), costs["seconds"], costs["peak_memory_bytes"]
        )


@dataclass(frozen=True, slots=True)
class _Batch:
    seconds: float
    predictions: list[Prediction]


def _read_partial(path: Path) -> list[_Batch]:
    """Read the batches that a killed evaluation finished; a last line cut in half is removed from the file."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    batches: list[_Batch] = []
    for line in lines:
        try:
            batches.append(TypeAdapter(_Batch).validate_json(line))
        except ValidationError:
            break
    path.write_text("".join(lines[: len(batches)]), encoding="utf-8")
    return batches
