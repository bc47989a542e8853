"""The tasks of the suites ask what lm-eval 0.4.13 asks: every request has the same tokens, prompt and answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from luthier.models.load import load_model
from suite_pairs import PAIRS, same_requests

pytest.importorskip("lm_eval")

from lm_eval.models.huggingface import HFLM

from lm_eval_local import local_tasks, requests_of

QUICK = (
    "mmlu_anatomy",
    "sst2",
    "wsc",
    "gsm8k",
    "truthfulqa_mc2",
    "bbh_ruin_names",
    "crows_pairs",
    "winogender",
    "bbq_age",
)


@pytest.fixture(scope="module")
def lm(stories260k: Path) -> Any:
    """lm-eval's own model class, for its tokens."""
    model = load_model(str(stories260k), device="cpu")
    return model, HFLM(pretrained=model.module, tokenizer=model.tokenizer)


def _their_tokens(theirs: Any, request: Any) -> tuple[list[int], list[int]]:
    if request.kind == "generate_until":
        return theirs.tok_encode(request.context), []
    if request.context:
        prompt, answer = theirs._encode_pair(request.context, request.continuation)
        return list(prompt), list(answer)
    answer = theirs.tok_encode(request.continuation, add_special_tokens=False)
    first = theirs.prefix_token_id
    return [first], answer[1:] if answer[0] == first else answer


def _compare(ours: str, limit: int | None, lm: Any, data: Path, folder: Path, shots: int = 0) -> int:
    model, theirs = lm
    requests = requests_of(local_tasks([PAIRS[ours]], limit, data=data, folder=folder, shots=shots)[PAIRS[ours]])
    compared = 0
    for request, own in same_requests(ours, requests, data, model, shots):
        assert own == _their_tokens(theirs, request), f"{ours}, row {request.row}, answer {request.index}"
        compared += 1
    return compared


@pytest.mark.parametrize("ours", QUICK)
def test_a_few_requests_have_the_same_tokens(ours: str, lm: Any, shared_data: Path, tmp_path: Path) -> None:
    assert _compare(ours, 5, lm, shared_data, tmp_path) > 0


@pytest.mark.parametrize("ours", ["mmlu_anatomy", "mmlu_formal_logic"])
def test_exemplars_have_the_same_tokens(ours: str, lm: Any, shared_data: Path, tmp_path: Path) -> None:
    """The first five of the dev file, as lm-eval takes them."""
    assert _compare(ours, 4, lm, shared_data, tmp_path, shots=5) == 16


@pytest.mark.slow
@pytest.mark.parametrize("ours", PAIRS)
def test_many_requests_have_the_same_tokens(ours: str, lm: Any, shared_data: Path, tmp_path: Path) -> None:
    assert _compare(ours, 300, lm, shared_data, tmp_path) > 100
