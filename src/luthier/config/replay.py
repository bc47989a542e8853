"""Settings: examples of other things than the target that an arm is also trained on, against forgetting."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field, model_validator

from luthier.config.base import Name, Settings

TASKS, TEXT, SELF = "tasks", "text", "self"


class ReplayConfig(Settings):
    """What an arm replays. A bare number k is k examples of the retained tasks for each of the target's, added."""

    model_config = ConfigDict(populate_by_name=True)

    share: float = Field(gt=0, lt=1)
    """Share of the training set: 0.05 is 5 %."""
    source: Name = Field(default=TASKS, alias="from")
    """``tasks`` (training examples of the retained tasks), ``text`` (plain text that is not held out), ``self`` (what
    the base answers to the retained tasks' training prompts, or writes by itself where none is retained), or a task or
    a file of one's own."""
    budget: Literal["replace", "add"] = "replace"
    """``replace`` keeps the number of steps, and reads that much less of the target; ``add`` makes training longer."""

    @model_validator(mode="before")
    @classmethod
    def _bare_number(cls, given: Any) -> Any:
        """Read ``replay: 0.5`` as half an example for each of the target's, added to them."""
        if isinstance(given, int | float) and not isinstance(given, bool):
            if not given > 0:
                raise ValueError("a number of examples for each of the target's, above 0")
            return {"share": given / (1 + given), "budget": "add"}
        return given

    def beside(self, examples: int) -> int:
        """Return how many examples are replayed beside so many of the target: in all, or in an epoch of ``replace``."""
        if self.budget == "add":
            return round(self.share / (1 - self.share) * examples)
        return round(self.share * examples)
