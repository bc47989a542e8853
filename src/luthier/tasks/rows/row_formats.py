"""Well-known formats of rows, recognised by their columns, so that a data file needs no task YAML.

    prompt, completion          one exchange (as text, or as messages)
    messages                    a conversation (OpenAI, TRL, Hugging Face)
    instruction, input, output  Alpaca
    conversations               ShareGPT
    prompt, chosen, rejected    preferences: supervised tuning learns the chosen answer, a preference objective both
    prompt, completion, label   judged answers: supervised tuning learns the good ones, the objective kto all
    question, answer            and other pairs whose names leave no doubt

A conversation gives one example for each answer of the assistant, with what was said before it as earlier turns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from luthier.errors import TaskError, listed
from luthier.files.value_text import is_missing, value_text
from luthier.records import Row, Turn
from luthier.tasks.rows.conversations import Exchange, exchanges_of
from luthier.tasks.rows.left_out import LeftOut
from luthier.tasks.rows.marks import ROW_MARKS, VERDICTS, is_learned
from luthier.tasks.rows.messages import (
    PICTURES,
    REASONING,
    Said,
    has_value,
    holds_messages,
    is_dialogue,
    parsed,
    read_messages,
)

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
DOLLY = "{% if row.get('context') %}{{ context }}\n\n{% endif %}{{ instruction }}"
SYSTEM, HISTORY, TOOLS, MARGIN = ("system", "system_prompt"), "history", "tools", "margin"
ANSWER_COLUMNS = frozenset({"chosen", "rejected", "completion"})
"""Columns of the answers of rows that were judged."""
_BESIDE = ROW_MARKS.union(SYSTEM, REASONING, PICTURES, (HISTORY, TOOLS))
_PAIRS = (
    ("prompt", "response", "{{ prompt }}", True),
    ("query", "response", "{{ query }}", True),
    ("question", "answer", "{{ question }}", True),
    ("question", "response", "{{ question }}", True),
    ("instruction", "response", DOLLY, True),
    ("context", "continuation", "{{ context }}", False),
)
"""Names of a prompt's and an answer's column that leave no doubt, the prompt, and whether it is a message."""
_SHOWN_WITH_IT = frozenset({"context", "passage", "choices", "options", "input", "document", "image"})
"""Columns without which a question may have no answer, so that a pair beside them is in doubt."""


@dataclass(frozen=True, slots=True)
class RowFormat:
    """How rows of a known format become exchanges.

    Attributes:
        name: ``prompt_completion``, ``messages``, ``alpaca``, ``sharegpt``, ``preference``, ``judged`` or ``pair``.
        sentence: What to tell the user.
        prompt: Jinja text of the prompt; "" for conversations.
        target: Jinja text of the target; "" for conversations.
        conversation: Column that holds the messages; "" where the templates do.
        answer: Column of messages that ends the conversation (preferences, conversational prompt/completion).
        input: Column that holds the input text, or None.
        columns: The columns that the above read.
        message: Whether a prompt that is a text is a message, which wants a chat template.
        rejected: Column of the answers that were rejected; "" where rows are no pairs.
        judged: Whether a row says of its one answer whether it is good.
    """

    name: str
    sentence: str
    prompt: str = ""
    target: str = ""
    conversation: str = ""
    answer: str = ""
    input: str | None = None
    columns: tuple[str, ...] = ()
    message: bool = False
    rejected: str = ""
    judged: bool = False

    @property
    def compares(self) -> bool:
        """Whether rows hold preferences, so that all rows of one prompt belong to one split."""
        return self.judged or bool(self.rejected)

    @property
    def chat(self) -> bool:
        """Whether the rows are conversations, which want a chat template."""
        return bool(self.conversation) or self.message

    @property
    def one_answer(self) -> bool:
        """Whether the last answer alone is learned."""
        return bool(self.answer) or self.name == "preference"


def recognise(row: Row, where: str) -> RowFormat:
    """Return the format of rows like this one.

    Raises:
        TaskError: When the columns are of no known format.
    """
    row_format = _preference(row) or _conversation(row) or _exchange(row)
    if row_format is None:
        columns = listed(map(str, row))
        what = f"the columns ({columns}) are of no known format"
        fix = (
            "Name them prompt and completion, messages, instruction/input/output, conversations, question and answer, "
            "or prompt/chosen/rejected; or write a task YAML with a template."
        )
        if ("chosen" in row) != ("rejected" in row):
            other = "rejected" if "chosen" in row else "chosen"
            fix = f"A pair needs both answers: add the column '{other}'. {fix}"
        raise TaskError(what, where=where, fix=fix)
    return row_format


def _preference(row: Row) -> RowFormat | None:
    if "chosen" not in row or "rejected" not in row:
        return None
    said = "preference rows (chosen, rejected): the chosen answer is learned; a preference objective learns from both"
    answers = ("chosen", "rejected", *((MARGIN,) if MARGIN in row else ()))
    if holds_messages(row["chosen"]) or is_dialogue(row["chosen"]):
        asked = ("prompt",) if "prompt" in row else ()
        before, answer = ("prompt", "chosen") if asked else ("chosen", "")
    elif "prompt" in row and holds_messages(row["prompt"]):
        asked, before, answer = ("prompt",), "prompt", "chosen"
    else:
        return _preference_of_texts(row, said, answers)
    columns = (*asked, *answers)
    return RowFormat("preference", said, conversation=before, answer=answer, columns=columns, rejected="rejected")


def _preference_of_texts(row: Row, said: str, answers: tuple[str, ...]) -> RowFormat | None:
    kinds = (("prompt", "{{ prompt }}", ()), ("instruction", ALPACA, ("input",)), ("question", "{{ question }}", ()))
    for asked, prompt, more in kinds:
        if asked in row:
            own_input: str | None = asked
            if more:
                own_input = more[0] if more[0] in row else None
            columns = (asked, *more, *answers)
            return RowFormat(
                "preference", said, prompt, "{{ chosen }}", input=own_input, columns=columns, rejected="rejected"
            )
    return None


def _conversation(row: Row) -> RowFormat | None:
    for column, name, said in (
        ("messages", "messages", "conversations (messages): one example for each answer"),
        ("conversations", "sharegpt", "ShareGPT conversations: one example for each answer"),
        ("conversation", "sharegpt", "ShareGPT conversations: one example for each answer"),
    ):
        if column in row and (column != "conversation" or holds_messages(row[column])):
            return RowFormat(name, said, conversation=column, columns=(column,))
    if "text" in row and is_dialogue(row["text"]):
        said = "conversations (Human: … Assistant: … in text): one example for each answer"
        return RowFormat("dialogue", said, conversation="text", columns=("text",))
    return None


def _exchange(row: Row) -> RowFormat | None:
    if "prompt" in row and "completion" in row:
        said = "rows of prompt and completion, used as they are"
        name, both, judged = "prompt_completion", ("prompt", "completion"), _is_judged(row)
        if judged:
            name, said = "judged", "judged answers: the good ones are learned; the objective kto learns from all"
        if holds_messages(row["prompt"]) or holds_messages(row["completion"]) or isinstance(row["prompt"], list):
            return RowFormat(name, said, conversation="prompt", answer="completion", columns=both, judged=judged)
        return RowFormat(name, said, "{{ prompt }}", "{{ completion }}", input="prompt", columns=both, judged=judged)
    if "instruction" in row and "output" in row:
        said = "Alpaca rows (instruction, input, output), with Alpaca's own prompt"
        own_input = "input" if "input" in row else None
        columns = ("instruction", "input", "output")
        return RowFormat("alpaca", said, ALPACA, "{{ output }}", input=own_input, columns=columns)
    for asked, answered, prompt, message in _PAIRS:
        beside = {name for name in _SHOWN_WITH_IT & row.keys() if has_value(row[name])} - {asked}
        beside -= {"context"} if prompt is DOLLY else set()
        if asked in row and answered in row and not beside and isinstance(row[answered], str | None):
            read = (asked, answered, *(("context",) if prompt is DOLLY else ()))
            said = f"rows of {asked} and {answered}: the {answered} is learned"
            return RowFormat("pair", said, prompt, f"{{{{ {answered} }}}}", input=asked, columns=read, message=message)
    return None


def _is_judged(row: Row) -> bool:
    """Whether a row says whether its answer is good."""
    return any(value_text(row.get(name)).strip().lower() in ("true", "false") for name in VERDICTS)


def unread_columns(row: Row, row_format: RowFormat) -> Iterator[str]:
    """Yield the columns of a row that hold something and are not read."""
    for name, value in row.items():
        if name not in row_format.columns and name not in _BESIDE and has_value(value):
            yield str(name)


def refuse_pictures(row: Row, where: str) -> None:
    """Refuse a row that shows pictures or sounds, which no text model sees.

    Raises:
        LeftOut: It has some.
    """
    name = next((name for name in PICTURES if has_value(row.get(name))), None)
    if name is not None:
        raise LeftOut(f"it comes with {name}, and a text model sees none", where=where)


def system_of(row: Row) -> str:
    """Return a row's own system message; "" for none."""
    return next((text for name in SYSTEM if isinstance(text := row.get(name), str) and text.strip()), "")


def history_of(row: Row, where: str) -> tuple[Said, ...]:
    """Return what was said before a row's own prompt: pairs of question and answer, or messages.

    Raises:
        LeftOut: When the column holds neither.
    """
    value = row.get(HISTORY)
    value = parsed(value) if isinstance(value, str) and value.strip() else value
    if not has_value(value):
        return ()
    if holds_messages(value):
        return read_messages(value, HISTORY, where)
    if not isinstance(value, list | tuple) or not all(_is_pair(pair) for pair in value):
        fix = "Write [[question, answer], …], or a list of messages."
        raise LeftOut(f"column '{HISTORY}' holds no earlier exchanges", where=where, fix=fix)
    return tuple(Said(role, text) for pair in value for role, text in zip(("user", "assistant"), pair, strict=True))


def _is_pair(value: object) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(text, str) for text in value)


def turns_before(row: Row, where: str) -> tuple[Turn, ...]:
    """Return a row's history as turns, for rows whose prompt is a text; raises as :func:`history_of` does."""
    found = list(exchanges_of(history_of(row, where)))
    return tuple(Turn(item.prompt, item.reply) for item in found)


def exchanges(messages: Sequence[Said], row_format: RowFormat, where: str) -> Iterator[Exchange]:
    """Yield an exchange for each answer in the messages of a row; only the last for preferences.

    An answer that is not to be learned is yielded too, and says so.

    Raises:
        LeftOut: When the assistant says nothing in them.
    """
    found = list(exchanges_of(messages))
    if not found:
        raise LeftOut("the conversation has no answer of the assistant", where=where)
    yield from found[-1:] if row_format.one_answer else found


def messages_of(row: Row, row_format: RowFormat, where: str) -> tuple[Said, ...]:
    """Return all messages of a row: its system message, its history, and its conversation.

    Raises:
        LeftOut: When it holds no conversation that can be read.
        DataError: When a mark cannot be obeyed.
    """
    system = system_of(row)
    first = (Said("system", system),) if system else ()
    messages = _own_messages(row, row_format, where)
    if first and messages and messages[0].role == "system" and messages[0].content.strip() == system.strip():
        first = ()
    return (*first, *history_of(row, where), *messages)


def _own_messages(row: Row, row_format: RowFormat, where: str) -> tuple[Said, ...]:
    column, answer = row_format.conversation, row_format.answer
    if not answer:
        return read_messages(row.get(column), column, where)
    before, after = _side(row.get(column), column, "user", where), _side(row.get(answer), answer, "assistant", where)
    if _begins_with(after, before):
        return after
    if before and any(said.role in ("system", "user") for said in after):
        if _begins_with(_without_system(after), _without_system(before)):
            whole = any(said.role == "system" for said in after)
            return after if whole else (*(said for said in before if said.role == "system"), *after)
        what = f"'{answer}' holds a question of its own, which is not that of '{column}'"
        raise LeftOut(what, where=where, fix=f"Write the answer alone under '{answer}'.")
    return (*before, *after)


def _side(value: object, column: str, role: str, where: str) -> tuple[Said, ...]:
    """Return one side of an exchange, as messages or as the text of one message."""
    if isinstance(value, str) and not holds_messages(value) and not is_dialogue(value):
        return (Said(role, value),) if value.strip() else ()
    if is_missing(value):
        return ()
    return read_messages(value, column, where)


def _without_system(messages: tuple[Said, ...]) -> tuple[Said, ...]:
    return tuple(said for said in messages if said.role != "system")


def _begins_with(whole: tuple[Said, ...], part: tuple[Said, ...]) -> bool:
    """Whether messages begin with others, said in the same words."""
    if len(whole) <= len(part):
        return False
    pairs = zip(whole, part, strict=False)
    return bool(part) and all((a.role, a.content.strip()) == (b.role, b.content.strip()) for a, b in pairs)


def answer_is_wanted(row: Row, where: str) -> bool:
    """Say whether a row's answer is one to be learned; raises DataError for a mark that cannot be obeyed."""
    return is_learned(row, ROW_MARKS, where)
