"""The documents of a task of lm-eval, and the requests that it makes of each: by its own code, before any token."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

from luthier.errors import LuthierError, TaskError, first_line
from luthier.evaluation.harness.loading import as_seeded_by_lm_eval, quiet
from luthier.evaluation.harness.tokens import EngineLM
from luthier.tasks.names import HARNESS

_FEW_SHOT_SEED = 1234
"""That of `lm_eval.simple_evaluate`, for the draw of exemplars."""


@dataclass(frozen=True)
class HarnessSettings:
    """How the tasks of lm-eval are asked.

    Attributes:
        shots: Exemplars, for tasks that do not fix them at 0; the task's own number when None.
        limit: Documents of a task at most, drawn by hash; all when None.
        seed: Decides which are drawn.
        chat: Whether prompts are put into the model's chat template.
        max_new_tokens: Tokens of an answer at most; the task's own number when None.
    """

    shots: int | None = None
    limit: int | None = None
    seed: int = 0
    chat: bool = False
    max_new_tokens: int | None = None


@dataclass(frozen=True)
class Document:
    """One document, and what is asked about it.

    Attributes:
        id: Name of the task, and the document's place in its split.
        instances: lm-eval's requests, in the order in which it judges their answers.
        targets: Right answers, as text.
        choices: What the answer is chosen from; empty for free text.
    """

    id: str
    instances: tuple[Any, ...]
    targets: tuple[str, ...]
    choices: tuple[str, ...]

    @property
    def kind(self) -> str:
        """Of the first request: ``loglikelihood``, ``loglikelihood_rolling`` or ``generate_until``."""
        return str(self.instances[0].request_type)

    @property
    def parts(self) -> tuple[Document, ...]:
        """What is answered in one way: all of it, or each request by itself where they are of several kinds.

        Several scored answers are one, several written ones are not.
        """
        if len(self.instances) == 1 or {str(own.request_type) for own in self.instances} == {"loglikelihood"}:
            return (self,)
        return tuple(
            replace(self, id=f"{self.id}.{number}", instances=(own,)) for number, own in enumerate(self.instances)
        )


def documents_of(task: Any, settings: HarnessSettings, lm: EngineLM) -> tuple[Document, ...]:
    """Let a task build its requests.

    Args:
        task: Of lm-eval; its number of exemplars is set as `simple_evaluate` sets it.
        settings: How it is asked.
        lm: Renders chat templates.

    Raises:
        TaskError: When it cannot.
    """
    name = f"{HARNESS}{task.task_name}"
    try:
        with quiet(), as_seeded_by_lm_eval():
            _set_shots(task, settings.shots)
            places = None if settings.limit is None else _drawn(list(task.eval_docs), settings.limit, settings.seed)
            task.build_all_requests(
                samples=None if places is None else set(places),  # it asks of every document whether it is among them
                apply_chat_template=settings.chat,
                chat_template=lm.apply_chat_template if settings.chat else None,
                tokenizer_name=lm.tokenizer_name if settings.chat else "",
            )
    except LuthierError:
        raise
    except Exception as error:  # whatever a task, its functions or its templates raise
        raise TaskError(
            f"lm-eval cannot build its requests: {type(error).__name__}: {first_line(error)}", where=name
        ) from None
    by_document: dict[int, list[Any]] = defaultdict(list)
    for instance in task.instances:
        by_document[instance.doc_id].append(instance)
    found = [_document(task, name, places[number] if places else number, own) for number, own in by_document.items()]
    return tuple(found)


def _set_shots(task: Any, shots: int | None) -> None:
    own = task.get_config("num_fewshot")
    if shots is not None and own != 0:
        task.set_config(key="num_fewshot", value=shots)
    elif own is None:
        task.set_config(key="num_fewshot", value=0)
    task.set_fewshot_seed(seed=_FEW_SHOT_SEED)


def _drawn(documents: Sequence[Any], limit: int, seed: int) -> list[int] | None:
    """Return the places of the documents that are drawn, in order; None for all of them.

    lm-eval takes the first rows, and files are sorted: BBQ gives .871 or .463 by where one begins.
    """
    if limit >= len(documents):
        return None

    def mark(place: int) -> bytes:
        text = json.dumps([seed, documents[place]], sort_keys=True, default=str)
        return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()

    return sorted(sorted(range(len(documents)), key=lambda place: (mark(place), place))[:limit])


def _document(task: Any, name: str, place: int, instances: list[Any]) -> Document:
    instances.sort(key=lambda instance: instance.idx)
    doc = instances[0].doc
    try:
        choices = tuple(map(str, task.doc_to_choice(doc))) if task.get_config("doc_to_choice") is not None else ()
        gold = task.doc_to_text(doc) if getattr(task, "multiple_input", 0) else task.doc_to_target(doc)
    except Exception:  # a task of its own class may have neither; what is right it then knows alone
        choices, gold = (), ""
    golds = gold if isinstance(gold, list) else [gold]
    return Document(
        f"{name}#{place}", tuple(instances), tuple(_as_text(own, choices) for own in golds) or ("",), choices
    )


def _as_text(gold: Any, choices: Sequence[str]) -> str:
    return choices[gold] if isinstance(gold, int) and 0 <= gold < len(choices) else str(gold)
