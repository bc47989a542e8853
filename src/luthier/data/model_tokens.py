"""What a model says of its tokens beside its tokenizer: which begins an answer, and how many it knows at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from luthier.errors import DataError, listed
from luthier.records import Encoded


@dataclass(frozen=True, slots=True)
class ModelTokens:
    """What a model says of its tokens.

    Attributes:
        forced_begin: Token that begins every answer of an encoder–decoder (``forced_bos_token_id``), or None.
        embeddings: Tokens that it knows, where its tokenizer may know more; None where that is not asked.
    """

    forced_begin: int | None = None
    embeddings: int | None = None


def embedded(encoded: Encoded, tokens: ModelTokens, tokenizer: Any) -> Encoded:
    """Return an example if the model has an embedding for every token of it.

    Args:
        encoded: The example.
        tokens: What the model knows.
        tokenizer: Of the model; it may know more tokens.

    Raises:
        DataError: Names the tokens that have none.
    """
    if tokens.embeddings is None or tokens.embeddings >= len(tokenizer):
        return encoded
    ids = np.concatenate([encoded.prompt_ids, encoded.target_ids])
    beyond = np.unique(ids[ids >= tokens.embeddings]).tolist()
    if not beyond:
        return encoded
    names = listed([f"'{name}' (id {index})" for index, name in zip(beyond, _names(tokenizer, beyond), strict=True)], 5)
    raise DataError(
        f"the row becomes {names}, and the model has only {tokens.embeddings} embeddings",
        where=f"example {encoded.id}",
        fix="Remove the text from the row or its template, or use a model that knows it.",
    )


def _names(tokenizer: Any, ids: list[int]) -> list[str]:
    return [str(name) for name in tokenizer.convert_ids_to_tokens(ids)]
