"""Messages of a conversation as files hold them: OpenAI's and ShareGPT's keys, parts of content, JSON in a CSV cell."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from luthier.files.value_text import from_json, is_missing, json_text
from luthier.tasks.rows.left_out import LeftOut
from luthier.tasks.rows.marks import MESSAGE_MARKS, is_learned

ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "function_call": "call",
}
"""Roles by the names that are in use; ShareGPT's ``function_call`` is the assistant, whose text is the call."""
REASONING = ("reasoning_content", "reasoning", "thinking")
"""Keys of a message or a row that hold the reasoning before an answer."""
PICTURES = ("images", "image", "videos", "audios", "audio")
_TEXT_KEYS = ("content", "value", "parts")
_CALL_KEYS = ("tool_calls", "function_call")
_NAMES = ("name", "tool_call_id")
_READ = frozenset(("role", "from", *_TEXT_KEYS, *_CALL_KEYS, *_NAMES, *REASONING, *MESSAGE_MARKS))
_PYTHON_LIST_BYTES = 1 << 20
_DIALOGUE = re.compile(r"\A\s*(### ?)?Human: ?")
_SPEAKER = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant): ?")
_MARKED_SPEAKER = re.compile(r"### ?(Human|Assistant): ?")


@dataclass(frozen=True, slots=True)
class Said:
    """One message.

    Attributes:
        role: ``system``, ``user``, ``assistant`` or ``tool``.
        content: Its text.
        calls: The tools that it calls, as a JSON list in OpenAI's form; "" for none.
        more: Further keys that a chat template may use (``name``, ``tool_call_id``), as JSON; "" for none.
        reasoning: The reasoning before the text; "" for none.
        learned: Whether it is to be learned, where the assistant says it.
        unread: Keys that were not read.
    """

    role: str
    content: str
    calls: str = ""
    more: str = ""
    reasoning: str = ""
    learned: bool = True
    unread: tuple[str, ...] = ()


def holds_messages(value: object) -> bool:
    """Say whether a value is a list of messages, or a text that holds one."""
    if isinstance(value, str):
        if not value.lstrip().startswith(("[", "{")):
            return False
        value = parsed(value)
    if isinstance(value, Mapping):
        return _is_message(value)
    return isinstance(value, list | tuple) and bool(value) and all(map(_is_message, value))


def _is_message(value: object) -> bool:
    return isinstance(value, Mapping) and ("role" in value or "from" in value)


def parsed(text: str) -> object:
    """Return what a text holds as JSON or as a Python list; the text itself where it is neither."""
    held = from_json(text)
    if held is not text:
        return held
    if len(text) > _PYTHON_LIST_BYTES:
        return text
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


def read_messages(value: object, column: str, where: str) -> tuple[Said, ...]:
    """Return the messages of a column.

    Raises:
        LeftOut: When it holds no messages, or one that has no text.
        DataError: When a mark in a message cannot be obeyed.
    """
    if isinstance(value, str):
        if _DIALOGUE.match(value):
            return dialogue(value)
        value = parsed(value)
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, list | tuple):
        fix = 'Write [{"role": …}, …], as a list, or in a text as JSON or as a Python list.'
        raise LeftOut(f"column '{column}' is not a list of messages", where=where, fix=fix)
    return tuple(_message(message, column, where) for message in value)


def is_dialogue(value: object) -> bool:
    """Say whether a text is a conversation in which ``Human:`` and ``Assistant:`` speak, as hh-rlhf has it."""
    return isinstance(value, str) and bool(_DIALOGUE.match(value)) and "Assistant:" in value


def dialogue(text: str) -> tuple[Said, ...]:
    """Return the messages of a conversation that is written as ``Human: … Assistant: …``."""
    begin = _DIALOGUE.match(text)
    parts = (_MARKED_SPEAKER if begin is not None and begin[1] else _SPEAKER).split(text)
    roles = {"Human": "user", "Assistant": "assistant"}
    spoken = zip(parts[1::2], parts[2::2], strict=True)
    return tuple(Said(roles[speaker], said.strip()) for speaker, said in spoken)


def tool_list(value: object, column: str, where: str) -> str:
    """Return the tools that a row offers as a JSON list; "" for none.

    Raises:
        LeftOut: When it holds no list of tools.
    """
    held = parsed(value) if isinstance(value, str) and value.strip() else value
    if is_missing(held) or held in ("", [], ()):
        return ""
    if isinstance(held, Mapping):
        held = [held]
    if not isinstance(held, list | tuple) or not all(isinstance(item, Mapping) for item in held):
        raise LeftOut(f"column '{column}' is not a list of tools", where=where, fix="Write OpenAI's list of tools.")
    return json_text(held)


def _message(message: object, column: str, where: str) -> Said:
    if not isinstance(message, Mapping):
        fix = 'Write {"role": …, "content": …}.'
        raise LeftOut(f"a message in '{column}' is not an object", where=where, fix=fix)
    role = message.get("role", message.get("from"))
    known = ROLES.get(str(role))
    if known is None:
        raise LeftOut(f"role '{role}' in '{column}'", where=where, fix=f"Known roles: {', '.join(ROLES)}.")
    content = _content(message)
    calls = _calls(message, column, where)
    if known == "call":
        known, calls, content = "assistant", _as_calls(content, column, where), ""
    if content is None and calls:
        content = ""
    if content is None:
        pictures = " but a picture or a file" if _has_other_parts(message) else ""
        raise LeftOut(f"a message of role '{role}' in '{column}' has no text{pictures}", where=where)
    more = {name: message[name] for name in _NAMES if not is_missing(message.get(name))}
    return Said(
        role=known,
        content=content,
        calls=calls,
        more=json_text(more) if more and known == "tool" else "",
        reasoning=reasoning_of(message),
        learned=is_learned(message, MESSAGE_MARKS, where),
        unread=tuple(str(key) for key, value in message.items() if key not in _READ and has_value(value)),
    )


def has_value(value: object) -> bool:
    """Whether something stands in a column: neither null, nor an empty text, list or object."""
    return not is_missing(value) and not (isinstance(value, str | list | tuple | Mapping) and not value)


def reasoning_of(values: Mapping[str, object]) -> str:
    """Return the reasoning that stands beside an answer; "" for none."""
    return next((text for name in REASONING if isinstance(text := values.get(name), str) and text.strip()), "")


def _content(message: Mapping[str, object]) -> str | None:
    content = next((message[name] for name in _TEXT_KEYS if name in message), None)
    if isinstance(content, Mapping):
        content = content.get("parts", content.get("text", content.get("value")))
    if not isinstance(content, list | tuple):
        return content if isinstance(content, str) else None
    texts = [_part_text(part) for part in content]
    kept = [text for text in texts if text is not None]
    return "".join(kept) if len(kept) == len(texts) else None


def _part_text(part: object) -> str | None:
    if isinstance(part, Mapping):
        part = part.get("text")
        if isinstance(part, Mapping):
            part = part.get("value")
    return part if isinstance(part, str) else None


def _has_other_parts(message: Mapping[str, object]) -> bool:
    content = message.get("content")
    return isinstance(content, list | tuple) and bool(content)


def _calls(message: Mapping[str, object], column: str, where: str) -> str:
    value = message.get("tool_calls")
    if isinstance(value, str) and value.strip():
        value = parsed(value)
    if not has_value(value):
        single = message.get("function_call")
        value = [{"type": "function", "function": single}] if has_value(single) else []
    return _call_list(value, column, where) if has_value(value) else ""


def _as_calls(text: str | None, column: str, where: str) -> str:
    held = parsed(text or "")
    held = [held] if isinstance(held, Mapping) else held
    if not isinstance(held, list):
        raise LeftOut(
            f"a function_call in '{column}' is no JSON", where=where, fix='Write {"name": …, "arguments": …}.'
        )
    return _call_list([{"type": "function", "function": item} for item in held], column, where)


def _call_list(value: object, column: str, where: str) -> str:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise LeftOut(f"tool_calls in '{column}' are not a list", where=where, fix="Write OpenAI's list of calls.")
    return json_text([_call(item, column, where) for item in value])


def _call(item: object, column: str, where: str) -> dict[str, object]:
    """Return a call with its arguments as an object: OpenAI writes them as a text, and templates want the object."""
    function = item.get("function", item) if isinstance(item, Mapping) else None
    if isinstance(function, str):
        function = parsed(function)
    if not isinstance(item, Mapping) or not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise LeftOut(f"a tool call in '{column}' has no name", where=where, fix='Write {"function": {"name": …}}.')
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        arguments = parsed(arguments)
    named = {"name": function["name"], "arguments": {} if is_missing(arguments) else arguments}
    known = {"id": item["id"]} if has_value(item.get("id")) else {}
    return {**known, "type": "function", "function": named}
