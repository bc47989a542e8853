"""Conversations that are more than turns of user and assistant, as a chat template writes them.

A later system message stands where it stands in the row, as a message of its own where the template takes one there,
else at the head of the user's message that follows it. Tools, their calls and their answers are the template's to
write; a template that leaves one of them out is refused, because the model would then learn to answer what it does not
see.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from luthier.data.chat import ChatFormat, Conversation
from luthier.errors import DataError
from luthier.records import Example, Message, Turn

_NO_TOOLS = "Take a model whose chat template knows tools, or leave such rows out."


@dataclass(frozen=True, slots=True)
class Spoken:
    """What is rendered.

    Attributes:
        system: System message, or "".
        messages: All messages between it and the answer; empty where ``turns`` and ``prompt`` say it all.
        turns: Earlier exchanges.
        prompt: What was said last.
        reply: The answer; "" where only the prompt is wanted.
        answer: The answer as a message, where it calls tools.
        tools: The tools that are offered, as a JSON list; "" for none.
    """

    system: str
    messages: tuple[Message, ...]
    turns: tuple[Turn, ...]
    prompt: str
    reply: str
    answer: Message | None = None
    tools: str = ""

    @property
    def last(self) -> str:
        """The message that was said last."""
        return self.messages[-1].content if self.messages else self.prompt


def spoken_of(example: Example, mask: Callable[[str], str]) -> Spoken:
    """Return the conversation of an example, each of its texts masked.

    A preamble has no message of its own: in a conversation the system message is what stands before everything.
    """
    system = "\n\n".join(part for part in (example.preamble.strip(), example.system) if part)
    return Spoken(
        system=mask(system),
        messages=tuple(_masked(message, mask) for message in example.messages),
        turns=tuple(Turn(mask(turn.prompt), mask(turn.reply)) for turn in example.turns),
        prompt=mask(example.prompt),
        reply=mask(example.reply),
        answer=_masked(example.answer, mask) if example.answer else None,
        tools=mask(example.tools),
    )


def _masked(message: Message, mask: Callable[[str], str]) -> Message:
    return Message(message.role, mask(message.content), mask(message.more))


def render_spoken(chat: ChatFormat, spoken: Spoken, where: str) -> Conversation:
    """Return the text up to an answer, and the answer as it is learned; that of a call is the template's own.

    Args:
        chat: The template.
        spoken: The conversation.
        where: The example, for messages.

    Raises:
        DataError: When the template fails on the conversation, or leaves a part of it out.
    """
    if _is_simple(spoken):
        return chat.render(spoken.system, spoken.turns, spoken.prompt, spoken.reply, where)
    messages = _messages(spoken)
    plain = (
        not spoken.tools and spoken.answer is None and not any(item.more or item.role == "tool" for item in messages)
    )
    tools = _tools(spoken)
    try:
        found = chat.write([*_with_system(chat, spoken.system, messages), _answer(spoken)], spoken.reply, where, tools)
    except DataError:
        if not plain:
            raise
        found = None
    if found is not None:
        lost = _left_out(found.text, messages, spoken.tools)
        if not lost:
            return found if spoken.answer is None else _call(chat, spoken, messages, found, where)
        if not plain:
            raise DataError(f"the model's chat template leaves out {lost}", where=where, fix=_NO_TOOLS)
    return chat.render(spoken.system, spoken.turns, spoken.prompt, spoken.reply, where)


def expect_conversations(chat: ChatFormat | None, examples: Sequence[Example], mask: Callable[[str], str]) -> None:
    """Announce examples whose conversations will be given to :func:`render_spoken`, which is faster then."""
    if chat is None or len(examples) < 2:
        return
    chat.expect(
        (chat.messages_of(spoken.system, (*spoken.turns, Turn(spoken.prompt, spoken.reply))), spoken.reply, None)
        if _is_simple(spoken)
        else ([*_with_system(chat, spoken.system, _messages(spoken)), _answer(spoken)], spoken.reply, _tools(spoken))
        for spoken in (spoken_of(example, mask) for example in examples)
    )


def _is_simple(spoken: Spoken) -> bool:
    return not spoken.messages and not spoken.tools and spoken.answer is None


def _messages(spoken: Spoken) -> tuple[Message, ...]:
    return spoken.messages or (*messages_of_turns(spoken.turns), Message("user", spoken.prompt))


def _tools(spoken: Spoken) -> list[dict[str, Any]] | None:
    return json.loads(spoken.tools) if spoken.tools else None


def as_dict(message: Message) -> dict[str, Any]:
    """Return a message as a chat template takes it."""
    return {"role": message.role, "content": message.content, **(json.loads(message.more) if message.more else {})}


def messages_of_turns(turns: Sequence[Turn]) -> tuple[Message, ...]:
    """Return exchanges as the messages that were said in them."""
    said = [(Message("user", turn.prompt), Message("assistant", turn.reply)) for turn in turns]
    return tuple(message for pair in said for message in pair)


def _answer(spoken: Spoken) -> dict[str, Any]:
    return as_dict(spoken.answer or Message("assistant", spoken.reply))


def _with_system(chat: ChatFormat, system: str, messages: Sequence[Message]) -> list[dict[str, Any]]:
    written = [as_dict(message) for message in messages]
    if system and chat.takes_system:
        return [{"role": "system", "content": system}, *written]
    if system:
        written[0] = written[0] | {"content": f"{system}\n\n{messages[0].content}"}
    return written


def _left_out(text: str, messages: Sequence[Message], tools: str) -> str:
    """Return what of a conversation does not stand in its text, as a message ends it; "" where all of it does."""
    for name in _tool_names(json.loads(tools) if tools else []):
        if name not in text:
            return f"the tool '{name}' that is offered"
    for message in messages:
        content = message.content.strip()
        if content not in text and json.dumps(content, ensure_ascii=False)[1:-1] not in text:
            return f"a message of role '{message.role}'"
        calls = json.loads(message.more).get("tool_calls", []) if message.more else []
        missing = next((name for name in _tool_names(calls) if name not in text), None)
        if missing is not None:
            return f"a call of the tool '{missing}'"
    return ""


def _tool_names(tools: Sequence[dict[str, Any]]) -> list[str]:
    named = [tool.get("function", tool) for tool in tools]
    return [str(tool["name"]) for tool in named if isinstance(tool, dict) and "name" in tool]


def _call(
    chat: ChatFormat, spoken: Spoken, messages: Sequence[Message], found: Conversation, where: str
) -> Conversation:
    """Return the conversation with the call of a tool as the template writes it."""
    assert spoken.answer is not None
    tools = _tools(spoken)
    whole = chat.written([*_with_system(chat, spoken.system, messages), as_dict(spoken.answer)], where, tools)
    if not whole.startswith(found.text):
        what = "the model's chat template writes a call of a tool otherwise than an answer"
        raise DataError(what, where=where, fix=_NO_TOOLS)
    rest = whole[len(found.text) :]
    reply = rest.rpartition(chat.end)[0] if chat.end and chat.end in rest else rest.rstrip()
    names = _tool_names(json.loads(spoken.answer.more).get("tool_calls", []))
    missing = next((name for name in names if name not in reply), None)
    if missing is not None:
        raise DataError(
            f"the model's chat template leaves out a call of the tool '{missing}'", where=where, fix=_NO_TOOLS
        )
    return replace(found, reply=reply.removeprefix(found.lead))
