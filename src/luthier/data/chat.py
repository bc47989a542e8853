"""A tokenizer's chat template, learned from its behaviour: what it writes around a message, and how an answer ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from luthier.errors import ModelError
from luthier.records import Turn

Message: TypeAlias = dict[str, str]
_ASK, _SAY = "qzAskedq", "qzSaidq"


@dataclass(frozen=True, slots=True)
class ChatFormat:
    """How a chat template writes a conversation.

    Attributes:
        tokenizer: The tokenizer that has the template.
        after_prompt: Text from the end of the last user message to where the assistant begins to speak.
        lead: Text that the template puts between that and the answer (``" "`` in Llama 2's).
        end: Text that ends the answer.
        takes_system: Whether the template takes a system message.
    """

    tokenizer: Any
    after_prompt: str
    lead: str
    end: str
    takes_system: bool

    def render(self, system: str, turns: Sequence[Turn], prompt: str) -> str:
        """Return the text up to where the assistant begins to speak."""
        opening = f"{system}\n\n" if system and not self.takes_system else ""
        messages: list[Message] = [{"role": "system", "content": system}] if system and self.takes_system else []
        for number, turn in enumerate((*turns, Turn(prompt, ""))):
            messages.append({"role": "user", "content": (opening if not number else "") + turn.prompt})
            messages.append({"role": "assistant", "content": turn.reply})
        return _apply(self.tokenizer, messages[:-1], ask=True)


def read_format(tokenizer: Any) -> ChatFormat:
    """Learn the chat template of a tokenizer.

    Raises:
        ModelError: When it has none, or it fails on one user message.
    """
    if not getattr(tokenizer, "chat_template", None):
        fix = "Write `chat: auto` or `chat: never`, or take the model's instruction-tuned version."
        raise ModelError("the tokenizer has no chat template", where=_name(tokenizer), fix=fix)
    asked = [{"role": "user", "content": _ASK}]
    try:
        opened = _apply(tokenizer, asked, ask=True)
        answered = _apply(tokenizer, [*asked, {"role": "assistant", "content": _SAY}], ask=False)
    except Exception as fault:  # a template can raise anything
        reason = (str(fault).splitlines() or [type(fault).__name__])[0]
        raise ModelError(
            f"the chat template fails: {reason}", where=_name(tokenizer), fix="Set `chat: never`."
        ) from None
    if _ASK not in opened:
        raise ModelError("the chat template leaves the user's message out", where=_name(tokenizer))
    before, said, end = answered.partition(_SAY)
    lead = before.removeprefix(opened) if said and before.startswith(opened) else ""
    return ChatFormat(tokenizer, opened.rpartition(_ASK)[2], lead, end, _takes_system(tokenizer, asked))


def _takes_system(tokenizer: Any, asked: list[Message]) -> bool:
    mark = "qzSystemq"
    try:
        return mark in _apply(tokenizer, [{"role": "system", "content": mark}, *asked], ask=True)
    except Exception:  # templates refuse a role by raising whatever they like
        return False


def _apply(tokenizer: Any, messages: list[Message], *, ask: bool) -> str:
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=ask))


def _name(tokenizer: Any) -> str:
    return str(getattr(tokenizer, "name_or_path", "") or type(tokenizer).__name__)
