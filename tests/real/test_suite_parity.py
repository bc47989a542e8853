"""On a real model the suites' tasks have lm-eval's tokens and log-probabilities."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from luthier.inference.scoring import answer_logprobs
from luthier.models.language_model import LanguageModel
from luthier.records import Encoded
from suite_pairs import PAIRS, same_requests

pytest.importorskip("lm_eval")

from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from lm_eval_local import local_tasks, requests_of

pytestmark = [pytest.mark.slow, pytest.mark.real]
LOGPROB, SHARE = 2e-4, 5e-6
"""Sums in another order, by another library, differ by some millionths of a long answer's log-probability."""


@pytest.mark.parametrize("ours", ["mmlu_anatomy", "sst2", "cola", "wic", "truthfulqa_mc1", "crows_pairs", "winogender"])
def test_log_probabilities_are_those_of_lm_eval(
    ours: str, smollm2: LanguageModel, shared_data: Path, tmp_path: Path
) -> None:
    theirs = HFLM(pretrained=smollm2.module, tokenizer=smollm2.tokenizer, batch_size=8)
    task = local_tasks([PAIRS[ours]], 12, data=shared_data, folder=tmp_path, shots=0)[PAIRS[ours]]
    asked: list[Any] = []
    items: list[Encoded] = []
    for request, (prompt, answer) in same_requests(ours, requests_of(task), shared_data, smollm2):
        asked.append(Instance("loglikelihood", {}, (request.context, request.continuation), len(asked)))
        items.append(Encoded(str(len(items)), np.asarray(prompt, dtype=np.int32), np.asarray(answer, dtype=np.int32)))
    wanted = [float(logprob) for logprob, _ in theirs.loglikelihood(asked)]
    allowed = np.maximum(LOGPROB, SHARE * np.abs(wanted))
    assert (np.abs(np.array(answer_logprobs(smollm2, items)) - wanted) <= allowed).all()
