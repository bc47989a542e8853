"""The token loss of plain text: a document is a prediction whose only choice is the document itself."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from luthier.data.batching import plan_batches
from luthier.data.text_windows import text_windows
from luthier.errors import DataError
from luthier.evaluation.context import EvaluationContext, computation_of
from luthier.evaluation.jobs import EvaluationJob, response_cache_of
from luthier.evaluation.response_cache import CachedRequest, request_key
from luthier.files.digests import digest
from luthier.files.store import open_entry
from luthier.inference.scoring import answer_logprobs
from luthier.metrics.task_metrics import TOKEN_LOSS
from luthier.models.language_model import LanguageModel
from luthier.records import Encoded, Prediction


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
        return Prediction(self.name, TOKEN_LOSS.task, self.text, (self.text,), choices=(self.text,), finish="choice")


def text_job(model: LanguageModel, texts: Sequence[str], context: EvaluationContext, *, label: str) -> EvaluationJob:
    """Prepare the token loss of plain texts.

    Raises:
        DataError: When no document has two tokens.
    """
    documents = _documents(model, texts)
    inputs = {
        "computation": computation_of(model, context).inputs(),
        "batch_tokens": context.batch_tokens,
        "texts": digest(list(texts)),
        "max_length": model.max_length,
    }

    def batches(indices: Sequence[int]) -> list[tuple[int, ...]]:
        cut = plan_batches([documents[index].tokens for index in indices], context.batch_tokens)
        return [tuple(indices[index] for index in batch) for batch in cut]

    def answer(indices: Sequence[int]) -> list[Prediction]:
        return _text_losses(model, [documents[index] for index in indices], context.batch_tokens)

    return EvaluationJob(
        entry=open_entry(context.out, "texts", inputs, replace(context.about, task="plain text")),
        requests=tuple(CachedRequest(request_key(own.windows, {"kind": "loss"}), own.blank) for own in documents),
        items=tuple(own.windows for own in documents),
        batches=batches,
        answer=answer,
        cache=response_cache_of(model, context),
        dropped=(),
        cut=0,
        label=label,
        device=model.device,
    )


def _documents(model: LanguageModel, texts: Sequence[str]) -> list[Document]:
    documents: list[Document] = []
    for number, text in enumerate(texts):
        name = f"document-{number}"
        windows = text_windows(
            model.tokenizer, text, encoder_decoder=model.encoder_decoder, max_length=model.max_length, name=name
        )
        if windows:
            documents.append(Document(name, text, tuple(windows)))
    if not documents:
        what = "no text is long enough to predict anything"
        raise DataError(what, where="retention_text", fix="Give longer documents.")
    return documents


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
