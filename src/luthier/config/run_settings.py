"""Settings: what runs of several trainings share: their name, their seeds, and how many processes work."""

from __future__ import annotations

import re
from collections import Counter

from pydantic import Field, field_validator

from luthier.config.base import ModelSettings, RemakingSettings, Seed


class RunSettings(RemakingSettings, ModelSettings):
    """The name of a run, the seeds of its trainings, and the processes that work."""

    name: str | None = Field(default=None, pattern=r"^\w[\w.+-]*$", max_length=100)
    """Folder of this run inside ``runs``; made of the task, the model and a digest when not given."""
    seeds: int | tuple[Seed, ...] | None = None
    """Trains every trained arm once per seed; a number n means 0 to n-1. Once, with ``seed``, when not given."""
    workers: int = Field(default=1, ge=1, le=64)
    """Processes that run independent arms, seeds and trials side by side, each with its share of the threads."""

    @field_validator("name")
    @classmethod
    def _is_not_the_store(cls, name: str | None) -> str | None:
        if name is not None and name.casefold() == "store":
            raise ValueError("this is the folder of the results that all runs share; choose another name")
        return name

    @field_validator("seeds", mode="before")
    @classmethod
    def _seeds_are_whole_numbers(cls, given: object) -> object:
        """Refuse everything else with one message, instead of one for each member of the union."""
        items = given if isinstance(given, list | tuple) else [given]
        if given is not None and not all(re.fullmatch(r"\d+", str(item)) for item in items):
            raise ValueError("a whole number, or a list of whole numbers")
        return given

    @field_validator("seeds")
    @classmethod
    def _seeds_are_distinct(cls, seeds: int | tuple[int, ...] | None) -> int | tuple[int, ...] | None:
        if isinstance(seeds, int) and seeds < 1:
            raise ValueError("at least one seed is needed")
        if isinstance(seeds, tuple):
            if not seeds:
                raise ValueError("at least one seed is needed")
            repeated = [seed for seed, count in Counter(seeds).items() if count > 1]
            if repeated:
                raise ValueError(f"the seed {repeated[0]} is given twice")
        return seeds

    @property
    def training_seeds(self) -> tuple[int, ...]:
        """The seeds that every trained arm is trained with, in order."""
        if self.seeds is None:
            return (self.seed,)
        return tuple(range(self.seeds)) if isinstance(self.seeds, int) else self.seeds
