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

from pydantic import TypeAdapter, ValidationError

from luthier.config import DecodingConfig
from luthier.data.batching import plan_batches
from luthier.data.encoding import Encoder
from luthier.errors import DataError
from luthier.evaluation.predict import Request, answer, plan, prepare
from luthier.inference.score import answer_logprobs, text_windows
from luthier.jobs.train import examples_digest
from luthier.metrics.log import read_predictions, write_predictions
from luthier.models.language_model import LanguageModel
from luthier.progress import progress
from luthier.records import Dropped, Encoded, Example, Prediction
from luthier.store import Entry, code_digest, digest, open_entry, writing
from luthier.tasks.task import Task

ROOMS = ("data", "tasks", "models", "methods", "inference", "evaluation")
PARTIAL = "partial.jsonl"


@dataclass(frozen=True, slots=True)
class Work:
    """A set of batches to be answered by a model as it will stand then, and the place of the log.

    Attributes:
        entry: Its place in the store.
        batches: What each batch is; only their number and order matter here.
        run: Answers batch k.
        order: Example ids in the order of the split.
        dropped: Examples that cannot be answered because they do not fit.
        label: What the progress bar says.
    """

    entry: Entry
    sizes: tuple[int, ...]
    run: Callable[[int], list[Prediction]]
    order: tuple[str, ...]
    dropped: tuple[Dropped, ...]
    label: str


@dataclass(frozen=True, slots=True)
class Predicted:
    """A finished log.

    Attributes:
        predictions: In the order of the split.
        seconds: Wall seconds of answering, over all processes.
    """

    predictions: tuple[Prediction, ...]
    seconds: float


def task_work(
    model: LanguageModel,
    encoder: Encoder,
    task: Task,
    examples: Sequence[Example],
    *,
    adapter: str,
    out: Path,
    decoding: DecodingConfig,
    batch_tokens: int,
    label: str,
) -> Work:
    """Plan the answers to a task's examples.

    Args:
        model: The base, or the base with an adapter when the work is done.
        encoder: Of that task.
        task: Says when answers end.
        examples: With their exemplars, if any.
        adapter: Key of the adapter that will be attached; "" for the base.
        out: Folder of the store.
        decoding: How answers are generated.
        batch_tokens: Tokens in one forward pass.
        label: What the progress bar says.

    Raises:
        DataError: When not one example fits.
    """
    new_tokens = decoding.max_new_tokens or task.max_new_tokens
    requests, dropped = prepare(examples, encoder, new_tokens=new_tokens)
    if not requests:
        reason = dropped[0].reason if dropped else "there are none"
        raise DataError(
            f"no test example can be answered ({reason})", where=task.name, fix="Use a model that holds longer texts."
        )
    batches = plan(requests, new_tokens=new_tokens, batch_tokens=batch_tokens)
    inputs = _inputs(model, encoder, adapter) | {
        "examples": examples_digest(examples),
        "decoding": decoding.model_dump(mode="json"),
        "stop": list(task.stop),
        "new_tokens": new_tokens,
        "batch_tokens": batch_tokens,
    }

    def run(index: int) -> list[Prediction]:
        chosen: list[Request] = [requests[place] for place in batches[index]]
        return answer(model, encoder, chosen, decoding, new_tokens=new_tokens, stop=task.stop)

    sizes = tuple(len(batch) for batch in batches)
    order = tuple(request.example.id for request in requests)
    return Work(open_entry(out, "predictions", inputs), sizes, run, order, tuple(dropped), label)


def text_work(
    model: LanguageModel,
    encoder: Encoder,
    texts: Sequence[str],
    *,
    adapter: str,
    out: Path,
    batch_tokens: int,
    label: str,
) -> Work:
    """Plan the token loss of plain text; a document is a prediction whose only choice is the document itself.

    Raises:
        DataError: When no document has two tokens.
    """
    windows: list[tuple[str, str, list[Encoded]]] = []
    for number, text in enumerate(texts):
        name = f"document-{number}"
        cut = text_windows(
            model.tokenizer, text, encoder_decoder=model.encoder_decoder, max_length=model.max_length, name=name
        )
        if cut:
            windows.append((name, text, cut))
    if not windows:
        raise DataError("no text is long enough to predict anything", where="retain_text", fix="Give longer documents.")
    longest = [max(len(w.prompt_ids) + len(w.target_ids) for w in cut) * len(cut) for _, _, cut in windows]
    batches = plan_batches(longest, batch_tokens)
    inputs = _inputs(model, encoder, adapter) | {"texts": digest(list(texts)), "batch_tokens": batch_tokens}

    def run(index: int) -> list[Prediction]:
        return _text_losses(model, [windows[place] for place in batches[index]])

    sizes = tuple(len(batch) for batch in batches)
    order = tuple(name for name, _, _ in windows)
    return Work(open_entry(out, "texts", inputs), sizes, run, order, (), label)


def _inputs(model: LanguageModel, encoder: Encoder, adapter: str) -> dict[str, Any]:
    return {"model": model.digest, "adapter": adapter, "encoder": encoder.signature, "code": code_digest(ROOMS)}


def _text_losses(model: LanguageModel, documents: Sequence[tuple[str, str, list[Encoded]]]) -> list[Prediction]:
    logprobs = iter(answer_logprobs(model, [window for _, _, cut in documents for window in cut]))
    return [
        Prediction(
            id=name,
            task="plain_text",
            text=text,
            targets=(text,),
            choices=(text,),
            choice_logprobs=(sum(next(logprobs) for _ in cut),),
            choice_tokens=(sum(len(window.target_ids) for window in cut),),
            finish="choice",
        )
        for name, text, cut in documents
    ]


def finish(work: Work) -> None:
    """Answer what has not been answered yet, and put the log into the store. The model must stand as planned."""

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
        costs = {"seconds": sum(batch.seconds for batch in done)}
        (work.entry.work / "costs.json").write_text(json.dumps(costs))
        partial.unlink(missing_ok=True)
        work.entry.finish()


def read(work: Work) -> Predicted:
    """Read a finished log."""
    costs = json.loads((work.entry.folder / "costs.json").read_text())
    return Predicted(tuple(read_predictions(work.entry.folder / "predictions.jsonl")), costs["seconds"])


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
