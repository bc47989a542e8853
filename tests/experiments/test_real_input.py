"""The main job on real input: 400 dialogues, a real pretrained model, and a T5 built from a configuration."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoTokenizer, T5Config, T5ForConditionalGeneration

from luthier.config.compare import CompareConfig
from luthier.experiments.compare import compare
from luthier.results.records import read_results

pytestmark = pytest.mark.slow


@pytest.fixture
def dialogsum(shared_data: Path, tmp_path: Path) -> Path:
    """DialogSum: one summary a dialogue in training, three in the test split."""
    folder = shared_data / "dialogsum"
    task = {
        "name": "dialogsum",
        "version": 1,
        "description": "Summarise a dialogue.",
        "source": {
            "train": str(folder / "train.jsonl"),
            "validation": str(folder / "dev.jsonl"),
            "test": str(folder / "test.jsonl"),
        },
        "id": "fname",
        "input": "dialogue",
        "target": "{{ summary }}",
        "splits": {"test": {"targets": ["{{ summary1 }}", "{{ summary2 }}", "{{ summary3 }}"]}},
        "metrics": ["rouge"],
        "primary": "rougeL",
        "max_new_tokens": 40,
        "stop": ["\n"],
        "templates": [{"name": "plain", "prompt": "{{ dialogue }}\n\nSummary:"}],
    }
    path = tmp_path / "dialogsum.yaml"
    path.write_text(yaml.safe_dump(task))
    return path


@pytest.fixture
def sst2(shared_data: Path, tmp_path: Path) -> Path:
    """SST-2, without header, its columns named in the task."""
    folder = shared_data / "glue" / "SST2"
    task = {
        "name": "sst2",
        "version": 1,
        "description": "Is the review positive?",
        "source": {
            "train": str(folder / "train.tsv"),
            "test": str(folder / "dev.tsv"),
            "columns": ["label", "sentence"],
        },
        "input": "sentence",
        "target": "{{ ['negative', 'positive'][label | int] }}",
        "choices": ["negative", "positive"],
        "chance": 0.5,
        "metrics": ["accuracy", "accuracy_normalised"],
        "primary": "accuracy",
        "templates": [{"name": "plain", "prompt": "Review: {{ sentence }}\nSentiment:"}],
    }
    path = tmp_path / "sst2.yaml"
    path.write_text(yaml.safe_dump(task))
    return path


@pytest.fixture
def t5(stories260k: Path, tmp_path: Path) -> Path:
    """A T5 of random weights, with the tokenizer of the real model."""
    tokenizer = AutoTokenizer.from_pretrained(stories260k)
    torch.manual_seed(0)
    sizes: Any = {  # of what every configuration takes, the types of this one name a part
        "vocab_size": len(tokenizer),
        "d_model": 64,
        "d_kv": 16,
        "d_ff": 128,
        "num_layers": 2,
        "num_decoder_layers": 2,
        "num_heads": 4,
        "dropout_rate": 0.0,
        "decoder_start_token_id": tokenizer.pad_token_id or 0,
        "pad_token_id": tokenizer.pad_token_id or 0,
        "eos_token_id": tokenizer.eos_token_id,
        "n_positions": 512,
    }
    folder = tmp_path / "t5"
    T5ForConditionalGeneration(T5Config(**sizes)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _config(model: Path, task: Path, retained: Path, tmp_path: Path) -> CompareConfig:
    text = tmp_path / "text.txt"
    text.write_text(
        "Once upon a time, there was a little dog. He liked to run in the park.\n\n"
        "One day a girl saw a red ball. She was happy and she played all day with her friend.\n"
    )
    return CompareConfig.model_validate(
        {
            "model": str(model),
            "task": str(task),
            "arms": ["zero_shot", "one_shot", "full", "lora"],
            "retain": [str(retained)],
            "retention_text": str(text),
            "runs": str(tmp_path / "runs"),
            "data": {"train": 400, "validation": 30, "test": 30, "max_length": 256},
            "training": {"epochs": 1, "validations": 1, "validation_examples": 8},
            "evaluation": {"retain_examples": 50, "resamples": 200},
        }
    )


@pytest.mark.parametrize("kind", ["decoder", "encoder-decoder"])
def test_compare_runs_on_real_input(
    kind: str, stories260k: Path, t5: Path, dialogsum: Path, sst2: Path, tmp_path: Path
) -> None:
    model = stories260k if kind == "decoder" else t5
    run = compare(_config(model, dialogsum, sst2, tmp_path))
    results = read_results(run)
    assert results.model.kind == kind
    assert results.task.splits == {"train": 400, "validation": 30, "test": 30}
    assert [arm.name for arm in results.arms] == ["zero_shot", "one_shot", "full", "lora"]
    by_name = {arm.name: arm for arm in results.arms}
    assert by_name["full"].trainable_parameters == results.model.parameters
    assert 0 < by_name["lora"].trainable_parameters < (results.model.parameters or 0)
    for arm in results.arms:
        assert arm.scores[0].metric == "rougeL"
        assert arm.scores[0].n == 30
        assert 0 <= arm.scores[0].value <= 1
    for name in ("full", "lora"):
        arm = by_name[name]
        assert arm.steps == 25  # 400 examples, 16 a step
        assert [item.task for item in arm.retained] == ["sst2"]
        assert arm.retained[0].before.n == 50
        assert arm.token_loss is not None
        assert math.isfinite(arm.token_loss.after.value)
        assert arm.token_loss.after.value != arm.token_loss.before.value
    assert by_name["zero_shot"].retained == ()
