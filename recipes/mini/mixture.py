"""The instruction mixture: every built-in task but those held out, in proportion to its examples."""

from __future__ import annotations

from luthier.config import DataConfig
from luthier.data.encoding import Encoder
from luthier.models.language_model import LanguageModel
from luthier.records import Encoded, Example
from luthier.tasks.load import library_names, load_splits, load_task

HELD_OUT = frozenset({"dialogue_summary", "story_ending", "plain_text"})


def mixture(model: LanguageModel, split: str, *, seed: int) -> list[Encoded]:
    """Encode one split of all tasks of the mixture."""
    examples: list[Example] = []
    for name in library_names():
        if name not in HELD_OUT:
            data = load_splits(load_task(name), DataConfig(), seed)
            examples += getattr(data, split)
    encoder = Encoder(model.tokenizer, encoder_decoder=False, max_length=model.max_length, chat="never")
    return list(encoder.encode_all(examples).encoded)
