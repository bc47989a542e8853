"""The comparisons behind ``docs/claims.md`` are still such as Luthier reads, and name what is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from luthier.config.arms import make_arms
from luthier.config.compare import CompareConfig
from luthier.config.relative_paths import relative_to
from luthier.config.yaml_file import load_yaml
from luthier.tasks.mixture_spec import is_mixture, read_mixture
from luthier.tasks.names import library_names

CLAIMS = Path(__file__).parents[2] / "recipes" / "claims"
CURES = sorted(CLAIMS.glob("cures-*.yaml"))


@pytest.mark.parametrize("path", CURES, ids=lambda path: path.stem)
def test_a_comparison_of_cures_can_be_read(path: Path) -> None:
    config = CompareConfig.model_validate(relative_to(path, load_yaml(path)[0]))
    assert config.training_seeds == (0, 1, 2)
    arms = make_arms(config.arms, training=config.training, few_shots=1, seeds=config.training_seeds)
    assert len(arms) == 13
    assert {arm.training.steps for arm in arms} == {40}, "arms that are compared on forgetting have equal steps"
    (mixture,) = {arm.mixture for arm in arms} - {""}
    assert is_mixture(mixture)
    named = {source.task for source in read_mixture(mixture).tasks}
    assert named == {config.task, *(config.retain or ())} <= set(library_names())


def test_two_targets_are_compared() -> None:
    assert [path.stem for path in CURES] == ["cures-entities", "cures-summaries"]
