"""Token loss of plain text: each token is predicted exactly once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data.text_windows import text_windows
from luthier.inference.scoring import answer_logprobs
from luthier.records import Encoded
from tiny_models import BOS, encoded, make_tokenizer, tiny_model

TOKENIZER = make_tokenizer()
BARE = make_tokenizer()
BARE.bos_token = None
texts = st.text("abcdefgh \n", max_size=120)


@given(texts, st.integers(2, 30))
@settings(max_examples=150, deadline=None)
def test_a_decoder_predicts_every_token_once(text: str, max_length: int) -> None:
    ids = TOKENIZER(text, add_special_tokens=False).input_ids
    windows = text_windows(TOKENIZER, text, encoder_decoder=False, max_length=max_length, name="d")
    assert [token for window in windows for token in window.target_ids.tolist()] == ids
    assert all(window.prompt_ids.tolist() == [BOS] for window in windows)
    assert all(len(window.prompt_ids) + len(window.target_ids) <= max_length for window in windows)
    assert len({window.id for window in windows}) == len(windows)


@given(texts, st.integers(2, 30))
@settings(max_examples=100, deadline=None)
def test_without_a_begin_token_only_the_first_of_all_is_not_predicted(text: str, max_length: int) -> None:
    ids = BARE(text, add_special_tokens=False).input_ids
    windows = text_windows(BARE, text, encoder_decoder=False, max_length=max_length, name="d")
    assert [token for window in windows for token in window.target_ids.tolist()] == ids[1:]
    place = 0
    for window in windows:
        assert window.prompt_ids.tolist() == [ids[place]]  # what stands before its first target
        place += len(window.target_ids)
        assert len(window.target_ids) < max_length


@given(texts, st.integers(2, 30))
@settings(max_examples=100, deadline=None)
def test_an_encoder_decoder_reads_one_half_and_writes_the_other(text: str, max_length: int) -> None:
    ids = TOKENIZER(text, add_special_tokens=False).input_ids
    windows = text_windows(TOKENIZER, text, encoder_decoder=True, max_length=max_length, name="d")
    read = [token for window in windows for token in (*window.prompt_ids.tolist(), *window.target_ids.tolist())]
    assert read in (ids, ids[:-1])
    for window in windows:
        assert 0 <= len(window.target_ids) - len(window.prompt_ids) <= 1
        assert len(window.prompt_ids) + len(window.target_ids) <= max_length


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_sums_are_those_of_the_tokens(name: str) -> None:
    model = tiny_model(name)
    items = encoded(61, [(5, 3), (9, 6), (2, 1)])
    with torch.no_grad():
        flat = model.target_logprobs(items).double()
    assert answer_logprobs(model, items) == pytest.approx(
        [float(flat[:3].sum()), float(flat[3:9].sum()), float(flat[9])], rel=1e-6
    )


def test_windows_of_a_long_text_do_not_overlap() -> None:
    windows = text_windows(TOKENIZER, "abcdefgh", encoder_decoder=False, max_length=4, name="doc")
    assert [decoded(window) for window in windows] == ["abc", "def", "gh"]
    assert [window.id for window in windows] == ["doc#0", "doc#3", "doc#6"]
    assert text_windows(TOKENIZER, "", encoder_decoder=False, max_length=4, name="doc") == []
    assert text_windows(TOKENIZER, "a", encoder_decoder=True, max_length=4, name="doc") == []


def decoded(window: Encoded) -> str:
    return str(TOKENIZER.decode(window.target_ids.astype(np.int64)))
