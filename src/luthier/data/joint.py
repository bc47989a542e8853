"""What stands between prompts and answers that are tokenised as one text."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Joint:
    """What stands between the parts of a prompt.

    Attributes:
        answer: Between a prompt and its answer.
        exemplar: After the answer of an exemplar.
    """

    answer: str = " "
    exemplar: str = "\n\n"
