"""Every kind of request of lm-eval, by a decoder and an encoder-decoder: as its ``hf`` model; see `lm_eval_both`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("lm_eval")

from lm_eval_both import Both, check, run_both
from tiny_models import tiny_folder

TEXTS = ["the cat sat on the red dog. " * 7, "a cat", "stop! the dog, the cat: " * 3, "0123 the red cat. " * 20]
ACC = {"metric": "acc", "aggregation": "mean", "higher_is_better": True}
MEASURES = ("word_perplexity", "byte_perplexity", "bits_per_byte")
KINDS: dict[str, dict[str, Any]] = {
    "rolling": {
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "{{text}}",
        "metric_list": [{"metric": name, "higher_is_better": False} for name in MEASURES],
    },
    "last_word": {
        "output_type": "loglikelihood",
        "doc_to_text": "{{text.split(' ')[:-1]|join(' ')}}",
        "doc_to_target": "{{' ' + text.split(' ')[-1]}}",
        "metric_list": [{"metric": "perplexity", "aggregation": "perplexity", "higher_is_better": False}, ACC],
    },
    "mutual": {
        "output_type": "multiple_choice",
        "doc_to_text": "{{text}} who",
        "doc_to_choice": ["the cat", "a red dog", "no"],
        "doc_to_target": "number",
        "metric_list": [
            ACC,
            {**ACC, "metric": "acc_norm"},
            {**ACC, "metric": "acc_mutual_info"},
            {"metric": "brier_score"},
        ],
    },
    "inputs": {
        "output_type": "multiple_choice",
        "doc_to_text": "number",
        "doc_to_choice": ["the cat", "the dog", "it"],
        "doc_to_target": "sat. stop",
        "metric_list": [ACC],
    },
    "written": {
        "output_type": "generate_until",
        "doc_to_text": "{{text}}",
        "doc_to_target": "{{number}}",
        "generation_kwargs": {"until": [".", "the"], "do_sample": False},
        "metric_list": [{"metric": "exact_match"}, {"metric": "bleu"}, {"metric": "chrf"}],
    },
}
OF_DECODERS = ("rolling", "inputs")


def write(folder: Path) -> Path:
    rows = [{"text": text, "number": place % 3} for place, text in enumerate(TEXTS)]
    (folder / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = {"data_files": {"test": str(folder / "texts.jsonl")}, "cache_dir": str(folder / "cache")}
    common = {"dataset_path": "json", "dataset_kwargs": arguments, "test_split": "test", "metadata": {"version": 0}}
    for name, spec in KINDS.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({"task": name, **common, **spec}))
    return folder


@pytest.fixture(scope="module", params=["llama", "gpt2", "t5"])
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Both:
    folder = tmp_path_factory.mktemp(request.param)
    names = [name for name in KINDS if request.param != "t5" or name not in OF_DECODERS]
    return run_both(names, write(folder), tiny_folder(request.param), folder / "runs")


@pytest.mark.parametrize("name", KINDS)
def test_every_kind(both: Both, name: str) -> None:
    if name in both.tasks:
        check(both, name)
    else:
        assert name in OF_DECODERS
