"""The real pretrained model gives its published greedy text on every road."""

from __future__ import annotations

from pathlib import Path

import torch

from luthier.config.decoding import DecodingConfig
from luthier.data.encoding import Encoder
from luthier.inference.generation import generate
from luthier.inference.stop_conditions import StopConditions
from luthier.models.load import load_model
from luthier.records import Encoded, Example


def expected(folder: Path) -> str:
    return (folder / "expected_greedy.txt").read_text(encoding="utf-8")


def test_begin_and_advance(stories260k: Path) -> None:
    model = load_model(str(stories260k), device="cpu")
    ids = torch.tensor([1])
    text_ids: list[int] = []
    with torch.no_grad():
        continuation = model.begin([ids.numpy().astype("int32")])
        while len(text_ids) < 230 and (not text_ids or text_ids[-1] not in model.end_ids):
            token = continuation.logits.argmax(dim=-1)
            text_ids.append(int(token))
            continuation.advance(token)
    text = model.tokenizer.decode(text_ids, skip_special_tokens=True).lstrip()
    assert text.startswith(expected(stories260k))


def test_generate_with_the_encoder(stories260k: Path) -> None:
    model = load_model(str(stories260k), device="cpu")
    assert model.parameters == 260_032
    encoder = Encoder(model.tokenizer, encoder_decoder=False, max_length=model.max_length)
    prompt = encoder.encode_prompt(Example("story", "stories", "plain", "", ("",)), reserve=256)
    assert isinstance(prompt, Encoded)
    assert prompt.prompt_ids.tolist() == [1]
    other = encoder.encode_prompt(Example("other", "stories", "plain", "One day, a boy named Tim", ("",)), reserve=256)
    assert isinstance(other, Encoded)
    ending = StopConditions(encoder.decode, 230, model.end_ids.union(encoder.stop_ids))
    first, second = generate(model, [prompt, other], DecodingConfig(), ending)
    assert first.text.startswith(expected(stories260k))
    assert first.text != second.text
