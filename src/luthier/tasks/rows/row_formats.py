"""Well-known formats of rows, recognised by their columns, so that a data file needs no task YAML.

    prompt, completion          one exchange (as text, or as messages)
    messages                    a conversation (OpenAI, TRL, Hugging Face)
    instruction, input, output  Alpaca
    conversations               ShareGPT
    prompt, chosen, rejected    preferences: supervised tuning learns the chosen answer

A conversation gives one example for each answer of the assistant, with what was said before it as earlier turns.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from luthier.errors import DataError, TaskError, listed
from luthier.records import Row, Turn

ALPACA_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. Write a "
    "response that appropriately completes the request.\n\n"
    "### Instruction:\n{{ instruction }}\n\n### Input:\n{{ input }}\n\n### Response:"
)
ALPACA_BARE = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{{ instruction }}\n\n### Response:"
)
ALPACA = "{% if row.get('input') %}" + ALPACA_INPUT + "{% else %}" + ALPACA_BARE + "{% endif %}"
_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
}


@dataclass(frozen=True, slots=True)
class RowFormat:
    """How rows of a known format become exchanges.

    Attributes:
        name: ``prompt_completion``, ``messages``, ``alpaca``, ``sharegpt`` or ``preference``.
        sentence: What to tell the user.
        prompt: Jinja text of the prompt; "" for conversations.
        target: Jinja text of the target; "" for conversations.
        conversation: Column that holds the messages; "" where the templates do.
        answer: Column of messages that ends the conversation (preferences, conversational prompt/completion).
        input: Column that holds the input text, or None.
    """

    name: str
    sentence: str
    prompt: str = ""
    target: str = ""
    conversation: str = ""
    answer: str = ""
    input: str | None = None

    @property
    def chat(self) -> bool:
        """Whether the rows are conversations, which want a chat template."""
        return bool(self.conversation)


@dataclass(frozen=True, slots=True)
class Exchange:
    """A prompt and its answer, with what was said before."""

    prompt: str
    reply: str
    turns: tuple[Turn, ...]
    system: str


def recognise(row: Row, where: str) -> RowFormat:
    """Return the format of rows like this one.

    Raises:
        TaskError: When the columns are of no known format.
    """
    row_format = _recognise(row)
    if row_format is None:
        columns = listed(map(str, row))
        what = f"the columns ({columns}) are of no known format"
        fix = (
            "Name them prompt and completion, messages, instruction/input/output, conversations, or "
            "prompt/chosen/rejected; or write a task YAML with a template."
        )
        raise TaskError(what, where=where, fix=fix)
    return row_format


def _recognise(row: Row) -> RowFormat | None:
    columns: Collection[str] = row.keys()
    has = columns.__contains__
    alpaca_input = "input" if has("input") else None
    if has("chosen") and has("rejected"):
        said = "preference rows (chosen, rejected): the chosen answer is learned, the rejected one is not used"
        if isinstance(row["chosen"], list):
            before = "prompt" if has("prompt") else ""
            return RowFormat("preference", said, conversation=before or "chosen", answer="chosen" if before else "")
        if has("prompt"):
            return RowFormat("preference", said, "{{ prompt }}", "{{ chosen }}", input="prompt")
        if has("instruction"):
            return RowFormat("preference", said, ALPACA, "{{ chosen }}", input=alpaca_input)
        return None
    if has("messages"):
        return RowFormat("messages", "conversations (messages): one example for each answer", conversation="messages")
    if has("conversations"):
        said = "ShareGPT conversations: one example for each answer"
        return RowFormat("sharegpt", said, conversation="conversations")
    if has("prompt") and has("completion"):
        said = "rows of prompt and completion, used as they are"
        if isinstance(row["prompt"], list):
            return RowFormat("prompt_completion", said, conversation="prompt", answer="completion")
        return RowFormat("prompt_completion", said, "{{ prompt }}", "{{ completion }}", input="prompt")
    if has("instruction") and has("output"):
        said = "Alpaca rows (instruction, input, output), with Alpaca's own prompt"
        return RowFormat("alpaca", said, ALPACA, "{{ output }}", input=alpaca_input)
    return None


def exchanges(row: Row, row_format: RowFormat, where: str) -> Iterator[Exchange]:
    """Yield an exchange for each answer in a row that holds a conversation; only the last for preferences.

    Raises:
        DataError: When the messages are not a conversation that can be learned.
    """
    messages = _messages(row.get(row_format.conversation), row_format.conversation, where)
    if row_format.answer:
        messages = (*messages, *_messages(row.get(row_format.answer), row_format.answer, where))
    found = list(_pair(messages, where))
    if not found:
        raise DataError("the conversation has no answer of the assistant", where=where)
    last_only = bool(row_format.answer) or row_format.name == "preference"
    yield from found[-1:] if last_only else found


def _pair(messages: tuple[tuple[str, str], ...], where: str) -> Iterator[Exchange]:
    system = "\n\n".join(text for role, text in messages if role == "system")
    turns: list[Turn] = []
    prompt: list[str] = []
    for role, text in messages:
        if role == "user":
            prompt.append(text)
        elif role == "assistant":
            if not prompt:
                what = "the assistant speaks twice in a row" if turns else "the assistant speaks first"
                raise DataError(what, where=where, fix="Let each answer follow a message of the user.")
            asked = "\n\n".join(prompt)
            yield Exchange(asked, text, tuple(turns), system)
            turns.append(Turn(asked, text))
            prompt.clear()


def _messages(value: object, column: str, where: str) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, list):
        raise DataError(f"column '{column}' is not a list of messages", where=where, fix='Write [{"role": …}, …].')
    return tuple(_message(message, column, where) for message in value)


def _message(message: object, column: str, where: str) -> tuple[str, str]:
    if not isinstance(message, Mapping):
        raise DataError(
            f"a message in '{column}' is not an object", where=where, fix='Write {"role": …, "content": …}.'
        )
    role = message.get("role", message.get("from"))
    content = message.get("content", message.get("value"))
    if isinstance(content, list):
        parts = [part.get("text") if isinstance(part, Mapping) else part for part in content]
        texts = [part for part in parts if isinstance(part, str)]
        content = "".join(texts) if len(texts) == len(parts) else None
    known = _ROLES.get(str(role))
    if known is None:
        raise DataError(f"role '{role}' in '{column}'", where=where, fix=f"Known roles: {', '.join(_ROLES)}.")
    if not isinstance(content, str):
        raise DataError(f"a message of role '{role}' in '{column}' has no text", where=where)
    return known, content
