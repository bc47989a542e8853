"""Tasks of lm-eval on a real model of 135M weights are as its own ``hf`` model has them: see `lm_eval_both`."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("lm_eval")

from lm_eval_both import check, run_both
from lm_eval_local import write_tasks

pytestmark = [pytest.mark.slow, pytest.mark.real]

NAMES = [
    *("mmlu_anatomy", "sst2", "cola", "cb", "wic", "winogender_all", "crows_pairs_english", "truthfulqa_mc1", "bbq"),
    *("gsm8k", "bbh_fewshot_boolean_expressions", "bbh_cot_zeroshot_navigate"),
]


def test_on_a_real_model(smollm2_file: Path, shared_data: Path, tmp_path: Path) -> None:
    write_tasks(NAMES, 4, data=shared_data, folder=tmp_path / "tasks")
    found = run_both(NAMES, tmp_path / "tasks", smollm2_file, tmp_path / "runs", new_tokens=16)
    for name in NAMES:
        check(found, name)
