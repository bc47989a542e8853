"""Every method as an arm of a comparison, from the configuration to the table; and a tuned adapter merged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM

from luthier.config.compare import CompareConfig
from luthier.errors import ConfigError, LuthierError, ModelError
from luthier.experiments.compare import compare
from luthier.experiments.evaluate import evaluate
from luthier.experiments.merge import merge
from luthier.experiments.tune import tune
from luthier.methods.adapter_io import read_card
from luthier.methods.merging import Merged
from small_job import comparison, evaluation, merging, tuning, write_job
from tiny_models import tiny_folder, write_folder

ARMS: list[Any] = [
    "zero_shot",
    {"name": "selective", "method": {"selective": {"last": 1}}},
    {"name": "adapter", "method": {"adapter": {"bottleneck": 4}}},
    {"name": "prompt_tuning", "method": {"prompt_tuning": {"virtual_tokens": 5}}},
    {"name": "prefix_tuning", "method": {"prefix_tuning": {"virtual_tokens": 7}}},
    "ia3",
]


def config(kind: str, tmp_path: Path, **changes: Any) -> CompareConfig:
    job = write_job(tmp_path / "job")
    return comparison(kind, job, tmp_path / "runs", training={"steps": 4, "batch_size": 4, "validations": 1}, **changes)


@pytest.mark.parametrize("kind", ["llama", "t5"])
def test_every_arm_is_trained_and_measured(kind: str, tmp_path: Path) -> None:
    from luthier.results.records import read_results

    results = read_results(compare(config(kind, tmp_path, arms=ARMS)))
    arms = {arm.name: arm for arm in results.arms}
    assert list(arms) == ["zero_shot", "selective", "adapter", "prompt_tuning", "prefix_tuning", "ia3"]
    assert all(arm.trainable_parameters > 0 and arm.retained for arm in results.arms if arm.method)
    # Virtual tokens are context: they are counted with the prompt.
    prompt = arms["zero_shot"].prompt_tokens
    extra = {name: round(arm.prompt_tokens - prompt, 6) for name, arm in arms.items()}
    assert extra == {**dict.fromkeys(arms, 0.0), "prompt_tuning": 5.0, "prefix_tuning": 7.0}


@pytest.mark.parametrize("method", ["prompt_tuning", "prefix_tuning"])
@pytest.mark.parametrize("kind", ["gpt2", "bart"])
def test_a_full_context_has_room_for_virtual_tokens(kind: str, method: str, tmp_path: Path) -> None:
    """These models have a table of positions that ends: without room kept free, the last token would have no place."""
    folder = write_folder(
        tmp_path / "short", kind, **{"n_positions" if kind == "gpt2" else "max_position_embeddings": 48}
    )
    job = write_job(tmp_path / "job")
    arm = {"name": "soft", "method": {method: {"virtual_tokens": 6}}}
    settings = comparison(kind, job, tmp_path / "runs", arms=[arm], training={"steps": 2, "validations": 1})
    trained, adapter = tune(tuning(settings, model=str(folder), save=tmp_path / "adapter"))
    assert read_card(adapter).method == method
    assert trained.result.trainable_parameters > 0
    found = evaluate(evaluation(settings, model=str(folder), tasks=[str(job / "echo.yaml")], adapter=adapter))
    assert found[0].log.predictions
    wide = {"name": "soft", "method": {method: {"virtual_tokens": 60}}}
    with pytest.raises(LuthierError, match="60 virtual tokens leave no room in a model of 48 tokens"):
        compare(comparison(kind, job, tmp_path / "runs", arms=[wide], model=str(folder)))


def test_a_method_and_its_settings_are_checked_before_anything_is_trained(tmp_path: Path) -> None:
    arms = [{"name": "a", "method": {"adapter": {"bottleneck": 0}}}, {"name": "b", "method": {"selectve": {}}}]
    with pytest.raises(LuthierError) as caught:
        compare(config("llama", tmp_path, arms=arms))
    assert "arm 'a'" in str(caught.value)
    assert "'bottleneck'" in str(caught.value)
    assert "Did you mean 'selective'?" in str(caught.value)
    misspelled = config("llama", tmp_path, arms=["prompt_tunning"])
    with pytest.raises(LuthierError, match="unknown arm 'prompt_tunning'") as caught:
        compare(misspelled)
    assert "Did you mean 'prompt_tuning'?" in str(caught.value)


def test_a_tuned_adapter_is_merged_into_a_model_of_its_own(tmp_path: Path) -> None:
    settings = config("llama", tmp_path, arms=["lora"])
    _, adapter = tune(tuning(settings, save=tmp_path / "lora"))
    merged = merge(merging(settings, adapter, tmp_path / "merged", sample=4))
    assert isinstance(merged, Merged)
    assert merged.greatest_difference <= merged.tolerance
    assert merged.metric_before == merged.metric_after
    AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    plain = evaluate(evaluation(settings, model=str(tmp_path / "merged")))
    beside = evaluate(evaluation(settings, adapter=adapter))
    assert [item.text for item in plain[0].log.predictions] == [item.text for item in beside[0].log.predictions]
    with pytest.raises(ConfigError, match="something is there already"):
        merge(merging(settings, adapter, tmp_path / "merged"))
    _, soft = tune(tuning(config("llama", tmp_path, arms=["prompt_tuning"]), save=tmp_path / "soft"))
    with pytest.raises(ModelError, match="cannot be merged"):
        merge(merging(settings, soft, tmp_path / "other", sample=4))
    assert not (tmp_path / "other").exists()
    assert Path(tiny_folder("llama")).exists()
