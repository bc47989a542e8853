"""Settings of the suite ``helm``: which copies are made of each item, and what judges the answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

from pydantic import Field

from luthier.config.base import Name, Seed, Settings, UserPath

Noise: TypeAlias = Literal[
    "mild_mix", "typos", "synonyms", "fillers", "lower_case", "contractions", "misspellings", "spaces"
]
Swap: TypeAlias = Literal["dialect", "pronouns", "names"]
WordListName: TypeAlias = Literal["misspellings", "contractions", "synonyms", "fillers", "dialect", "pronouns", "names"]


class HelmConfig(Settings):
    """How the seven are measured."""

    robustness: tuple[Noise, ...] = ("mild_mix",)
    """Noise over which the worst case of an item is taken."""
    sweeps: tuple[Noise, ...] = ("typos", "synonyms", "fillers")
    """Further noise, each measured by itself."""
    fairness: tuple[Swap, ...] = ("dialect", "pronouns", "names")
    """Changes of who speaks or is spoken of, over which the worst case of an item is taken."""
    lists: Mapping[WordListName, UserPath] = Field(default_factory=dict)
    """Files that stand for Luthier's own word lists, in HELM's formats."""
    seed: Seed = 0
    """The seed of every draw; each item has its own."""
    bias: tuple[Name, ...] = (
        *("representation", "representation:groups=surnames", "association", "association:groups=surnames"),
    )
    """Metrics of bias, the first of which stands in the table; word lists of your own are a setting of theirs."""
    toxicity: Name = "shipped"
    """The classifier of toxicity: the one that ships, or a folder or id of one of transformers."""
    watts: float | None = Field(default=None, gt=0)
    """Power that is assumed for the energy; when not given, 10 W for each thread of a CPU and 300 W for an
    accelerator."""
