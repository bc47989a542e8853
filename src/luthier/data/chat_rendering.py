"""A model's chat template, rendered: a stranger's program, which runs under hard limits of time and memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from luthier.errors import ModelError, first_line
from luthier.files.limited_worker import Stopped, shared_worker

Message: TypeAlias = dict[str, Any]
Asked: TypeAlias = tuple[str, Sequence[Message], Mapping[str, Any], bool]
"""A template, the messages, its arguments, and whether the generation prompt is wanted."""
Rendering: TypeAlias = tuple[Sequence[Message], Mapping[str, Any], bool]
"""The same without the template."""
_RENDER = f"{__name__}:render_here"


def apply_template(tokenizer: Any, messages: Sequence[Message], arguments: Mapping[str, object], *, ask: bool) -> str:
    """Return a conversation as the tokenizer's chat template writes it.

    Args:
        tokenizer: A Hugging Face tokenizer with a chat template.
        messages: At least one.
        arguments: Of the template, beyond the names of the special tokens.
        ask: Whether the generation prompt ends it.

    Raises:
        ModelError: When the template fails, or breaks a limit; the message is the template's own.
    """
    if has_own_code(tokenizer):
        own = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=ask, **arguments)
        return str(own)
    try:
        return shared_worker().ask(_RENDER, _asked(tokenizer, messages, arguments, ask))
    except Stopped as fault:
        raise ModelError(str(fault)) from None


def expect_template(tokenizer: Any, conversations: Iterable[Rendering]) -> None:
    """Announce what :func:`apply_template` will be asked next: it is rendered together, under the limits of each."""
    if has_own_code(tokenizer):
        return
    with contextlib.suppress(ModelError):  # who asks it is told
        asked = [_asked(tokenizer, messages, arguments, ask) for messages, arguments, ask in conversations]
        shared_worker().expect(_RENDER, asked)


def has_own_code(tokenizer: Any) -> bool:
    """Whether the tokenizer renders conversations by code of the model's own, which the user trusts by name."""
    from transformers import PreTrainedTokenizerBase

    return type(tokenizer).apply_chat_template is not PreTrainedTokenizerBase.apply_chat_template


def _asked(tokenizer: Any, messages: Sequence[Message], arguments: Mapping[str, object], ask: bool) -> Asked:
    try:
        template = tokenizer.get_chat_template(tools=arguments.get("tools"))
    except Exception as fault:  # several templates and none that is the default; values of a wrong type
        raise ModelError(first_line(fault)) from None
    return template, list(messages), {**tokenizer.special_tokens_map, **arguments}, ask


def render_here(asked: Asked) -> str:
    """Render in this process; see :func:`apply_template`."""
    from transformers.utils.chat_template_utils import render_jinja_template

    template, messages, arguments, ask = asked
    try:
        written: Any = render_jinja_template(
            conversations=[list(messages)], chat_template=template, add_generation_prompt=ask, **arguments
        )
    except MemoryError:
        raise
    except Exception as fault:  # a template can raise anything
        raise ModelError(first_line(fault)) from None
    return str(written[0][0])
