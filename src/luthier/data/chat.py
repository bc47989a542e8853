"""A tokenizer's chat template, learned from its behaviour: what it writes around a message, and how an answer ends."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from luthier.config.advice import how_to_set, without_chat
from luthier.data.chat_rendering import Message, Rendering, apply_template, expect_template
from luthier.errors import DataError, ModelError
from luthier.records import Turn

Tools: TypeAlias = list[dict[str, Any]] | None
_ASK, _SAY = "qzAskedq", "qzSaidq"
# A block for reasoning that ends what stands before an answer: empty and closed, or open.
_CLOSED = re.compile(r"<(\w+)>\s*</\1>\s*$")
_REASONING = re.compile(r"<(\w+)>\s*</\1>\s*$|<(\w*(?:think|thought|reason)\w*)>\s*$")


@dataclass(frozen=True, slots=True)
class Conversation:
    """A rendered conversation, up to where an answer begins.

    Attributes:
        text: All that stands before the answer, but for ``lead``.
        after_prompt: The end of it, from the end of the last user message on.
        lead: Spaces between the text and the answer, which belong to the answer's first token.
        reply: The answer as it is learned: without what stands in ``text`` already.
    """

    text: str
    after_prompt: str
    lead: str
    reply: str


@dataclass(frozen=True, slots=True)
class ChatFormat:
    """How a chat template writes a conversation.

    What the template writes between a question and its answer belongs to the prompt, in training, scoring and
    generation alike: the header of the assistant, also where the template has no generation prompt, and an empty block
    for reasoning. An answer that brings its own reasoning comes after the generation prompt instead, so that it has one
    block.

    Attributes:
        tokenizer: The tokenizer that has the template.
        arguments: Arguments of the template.
        after_prompt: Text from the end of the last user message to the answer, without the spaces that end it.
        lead: Those spaces (``" "`` in Llama 2's).
        opened: Text from the end of the last user message to the end of the generation prompt.
        end: Text that ends the answer.
        reasoning: The tag that begins reasoning (``<think>``), or "" where the template writes none.
        takes_system: Whether the template takes a system message.
    """

    tokenizer: Any
    arguments: Mapping[str, object]
    after_prompt: str
    lead: str
    opened: str
    end: str
    reasoning: str
    takes_system: bool

    def render(self, system: str, turns: Sequence[Turn], prompt: str, reply: str, where: str) -> Conversation:
        """Return the text up to an answer, and the answer as it is learned.

        Args:
            system: System message, or "".
            turns: Earlier exchanges.
            prompt: Last message of the user.
            reply: The answer; "" where only the prompt is wanted.
            where: The example, for messages.

        Raises:
            DataError: When the template fails on this conversation.
        """
        return self.write(self.messages_of(system, (*turns, Turn(prompt, reply))), reply, where)

    def messages_of(self, system: str, turns: Sequence[Turn]) -> list[Message]:
        """Return exchanges as the messages that the template takes."""
        opening = f"{system}\n\n" if system and not self.takes_system else ""
        messages: list[Message] = [{"role": "system", "content": system}] if system and self.takes_system else []
        for number, turn in enumerate(turns):
            messages.append({"role": "user", "content": (opening if not number else "") + turn.prompt})
            messages.append({"role": "assistant", "content": turn.reply})
        return messages

    def expect(self, conversations: Iterable[tuple[Sequence[Message], str, Tools]]) -> None:
        """Announce messages, their last one and tools that will be given to :meth:`write`, which is faster then."""
        asked: list[Rendering] = []
        for messages, reply, tools in conversations:
            arguments = self._arguments(tools)
            asked.append((messages[:-1], arguments, True))
            if self.brings_reasoning(reply):
                asked.append((messages, arguments, False))
        expect_template(self.tokenizer, asked)

    def write(self, messages: Sequence[Message], reply: str, where: str, tools: Tools = None) -> Conversation:
        """Return the text of messages up to the last one, which is the answer, and the answer as it is learned.

        Args:
            messages: As the template takes them.
            reply: The text of the last one.
            where: The example, for messages.
            tools: The tools that are offered.

        Raises:
            DataError: When the template fails on these messages.
        """
        asked = self.written(messages[:-1], where, tools, ask=True)
        if self.brings_reasoning(reply):
            whole = self.written(messages, where, tools)
            opened = _CLOSED.sub("", self.opened)  # an empty block would be a second one
            if asked.endswith(self.opened):
                asked = asked[: len(asked) - len(self.opened)] + opened
            return Conversation(asked, opened, "", self._own_reply(asked, whole, reply))
        if asked.endswith(self.opened):
            asked = asked[: len(asked) - len(self.opened)] + self.after_prompt
        elif self.after_prompt.startswith(self.opened):  # after a tool, a template may end a message in its own way
            asked += self.after_prompt[len(self.opened) :]
        return Conversation(asked, self.after_prompt, self.lead, reply)

    def written(self, messages: Sequence[Message], where: str, tools: Tools = None, *, ask: bool = False) -> str:
        """Return the text that the template makes of messages, with its generation prompt where ``ask`` says so.

        Raises:
            DataError: When the template fails on these messages.
        """
        try:
            return apply_template(self.tokenizer, list(messages), self._arguments(tools), ask=ask)
        except ModelError as fault:
            what = f"the model's chat template fails: {fault.what}"
            raise DataError(
                what,
                where=where,
                fix=f"Correct the row, or {without_chat()}.",
            ) from None

    def _arguments(self, tools: Tools) -> Mapping[str, object]:
        return self.arguments if tools is None else {**self.arguments, "tools": tools}

    def brings_reasoning(self, reply: str) -> bool:
        """Say whether an answer begins with a block of reasoning of the template's kind."""
        return bool(self.reasoning) and reply.lstrip().startswith(self.reasoning)

    def begun(self, reply: str) -> str:
        """Return the beginning of an answer that the generation prompt writes: an open block for reasoning, or ""."""
        place = self.opened.rfind(self.reasoning) if self.brings_reasoning(reply) else -1
        rest = self.opened[place:]
        return rest if place >= 0 and not rest.removeprefix(self.reasoning).strip() else ""

    def _own_reply(self, asked: str, whole: str, reply: str) -> str:
        """Return an answer with reasoning as the template writes it, or as it is where the template leaves it out."""
        written = whole.removeprefix(asked) if whole.startswith(asked) else ""
        own = written.rpartition(self.end)[0] if self.end else written
        if _closing(self.reasoning) in own:
            return own
        begun = self.begun(reply)
        return reply.lstrip().removeprefix(self.reasoning).lstrip("\n") if begun else reply


def read_format(tokenizer: Any, arguments: Mapping[str, object] | None = None) -> ChatFormat:
    """Learn the chat template of a tokenizer.

    Args:
        tokenizer: A Hugging Face tokenizer.
        arguments: Arguments of the template, such as ``{"enable_thinking": False}``.

    Raises:
        ModelError: When it has none, or it fails on one user message.
    """
    if not getattr(tokenizer, "chat_template", None):
        fix = f"Do without one ({how_to_set('data.chat', 'auto')}), or take the model's instruction-tuned version."
        raise ModelError("the tokenizer has no chat template", where=_name(tokenizer), fix=fix)
    given = dict(arguments or {})
    asked = [{"role": "user", "content": _ASK}]
    try:
        prompt = apply_template(tokenizer, asked, given, ask=True)
        answered = apply_template(tokenizer, [*asked, {"role": "assistant", "content": _SAY}], given, ask=False)
    except ModelError as fault:
        raise ModelError(
            f"the chat template fails: {fault.what}",
            where=_name(tokenizer),
            fix=f"{without_chat().capitalize()}.",
        ) from None
    if _ASK not in prompt:
        raise ModelError("the chat template leaves the user's message out", where=_name(tokenizer))
    before, said, end = answered.partition(_SAY)
    opened = prompt.rpartition(_ASK)[2]
    written = before.rpartition(_ASK)[2] if said and _ASK in before else opened
    after_prompt = written.rstrip(" ")
    return ChatFormat(
        tokenizer=tokenizer,
        arguments=given,
        after_prompt=after_prompt,
        lead=written[len(after_prompt) :],
        opened=opened,
        end=end,
        reasoning=_reasoning(written) or _reasoning(opened),
        takes_system=_takes_system(tokenizer, asked, given),
    )


def _reasoning(text: str) -> str:
    found = _REASONING.search(text)
    return f"<{found[1] or found[2]}>" if found else ""


def _closing(tag: str) -> str:
    return f"</{tag[1:]}"


def reasoning_tags(chat: ChatFormat) -> tuple[str, ...]:
    """Return the tags that begin and end reasoning in the answers of a template; none where it writes none."""
    return (chat.reasoning, _closing(chat.reasoning)) if chat.reasoning else ()


def _takes_system(tokenizer: Any, asked: list[Message], arguments: Mapping[str, object]) -> bool:
    mark = "qzSystemq"
    try:
        return mark in apply_template(tokenizer, [{"role": "system", "content": mark}, *asked], arguments, ask=True)
    except ModelError:  # templates refuse a role by raising
        return False


def _name(tokenizer: Any) -> str:
    return str(getattr(tokenizer, "name_or_path", "") or type(tokenizer).__name__)
