"""A conversation as exchanges: each answer of the assistant, with what was said before it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from luthier.records import Message, Turn
from luthier.tasks.rows.messages import Said


@dataclass(frozen=True, slots=True)
class Exchange:
    """A prompt and its answer, with what was said before.

    Attributes:
        prompt: What was said since the last answer.
        reply: The answer; a call of tools stands in it as JSON.
        turns: Earlier exchanges.
        system: What stands before the conversation.
        messages: All messages after ``system`` and before the answer, where turns of user and assistant do not hold
            them as they are: a later system message, tools, an assistant who speaks first. Else empty.
        answer: The answer as a message, where it calls tools.
        reasoning: The reasoning before the answer.
        last: The part of the prompt that was said last.
        learned: Whether the answer is to be learned: it has a prompt, and is not marked as bad.
        marked: Whether it is marked as bad.
    """

    prompt: str
    reply: str
    turns: tuple[Turn, ...]
    system: str
    messages: tuple[Message, ...] = ()
    answer: Message | None = None
    reasoning: str = ""
    last: str = ""
    learned: bool = True
    marked: bool = False


@dataclass(slots=True)
class _Heard:
    """What was said before an answer.

    ``plain`` is whether turns of user and assistant say it all.
    """

    turns: list[Turn] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    plain: bool = True


def exchanges_of(messages: Sequence[Said]) -> Iterator[Exchange]:
    """Yield an exchange for each answer of the assistant.

    Messages of one role in a row are one message. A system message that does not stand at the beginning stays where it
    is. An assistant that speaks first has nothing to answer to: what it says is no answer, but stays as history.
    """
    joined = list(_joined(messages))
    system = ""
    if joined and joined[0].role == "system":
        system, joined = joined[0].content, joined[1:]
    heard = _Heard()
    for said in joined:
        if said.role == "assistant":
            yield _answer(said, heard, system)
        else:
            heard.plain = heard.plain and said.role == "user"
            heard.asked.append(said.content)
            heard.messages.append(Message(said.role, said.content, said.more))


def _answer(said: Said, heard: _Heard, system: str) -> Exchange:
    prompt = "\n\n".join(heard.asked)
    heard.plain = heard.plain and bool(heard.asked)
    message = Message("assistant", said.content, f'{{"tool_calls": {said.calls}}}' if said.calls else "")
    reply = "\n".join(part for part in (said.content, said.calls) if part)
    exchange = Exchange(
        prompt=prompt,
        reply=reply,
        turns=tuple(heard.turns),
        system=system,
        messages=() if heard.plain else tuple(heard.messages),
        answer=message if said.calls else None,
        reasoning=said.reasoning,
        last=heard.asked[-1] if heard.asked and not heard.plain else "",
        learned=said.learned and bool(heard.asked),
        marked=not said.learned,
    )
    heard.turns.append(Turn(prompt, reply))
    heard.messages.append(message)
    heard.plain = heard.plain and not said.calls
    heard.asked.clear()
    return exchange


def _joined(messages: Sequence[Said]) -> Iterator[Said]:
    """Join messages of one role that follow one another; the answers of several tools stay apart."""
    held: list[Said] = []
    for said in messages:
        if held and (held[-1].role != said.role or said.role == "tool" or held[-1].calls or said.calls):
            yield _one(held)
            held = []
        held.append(said)
    if held:
        yield _one(held)


def _one(held: Sequence[Said]) -> Said:
    if len(held) == 1:
        return held[0]
    content, reasoning = ("\n\n".join(part for part in parts if part) for parts in _parts(held))
    # Where a part is not to be learned, the whole is not: its words would be learned with the others.
    return Said(held[0].role, content, reasoning=reasoning, learned=all(said.learned for said in held))


def _parts(held: Sequence[Said]) -> tuple[list[str], list[str]]:
    return [said.content for said in held], [said.reasoning for said in held]
