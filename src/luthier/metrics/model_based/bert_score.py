"""BERTScore (Zhang et al. 2020): each token is matched with the most similar token of the other text.

The similarity is the cosine of an encoder's embeddings. The scores equal those of the package bert-score on encoders of
BERT's kind (without idf weights and without rescaling). BERTScore recognises synonyms as far as its encoder does, but
is nearly insensitive to negation with any encoder: report it together with the negation check.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from luthier.errors import ConfigError, ModelError
from luthier.metrics.metric import Details, FloatArray, Metric, mean_of, with_count
from luthier.metrics.model_based.pretrained import fingerprint, load_pretrained, longest_input
from luthier.metrics.overlap.bleu import References, as_lists
from luthier.records import Prediction

if TYPE_CHECKING:
    import torch

MEASURES = ("precision", "recall", "f1")


@dataclass(frozen=True)
class Encoder:
    """An encoder with its tokeniser.

    Attributes:
        model: A transformers model that returns hidden states.
        tokenizer: Its tokeniser.
        layer: Layer whose output is compared; 0 is the output of the embeddings.
    """

    model: Any
    tokenizer: Any
    layer: int


# One encoder is cached: a paired comparison needs it several times, and loading takes longer than scoring.
@lru_cache(maxsize=1)
def load_encoder(model: str, layer: int | None = None) -> Encoder:
    """Load an encoder from a folder or the Hugging Face hub; safetensors only, no remote code.

    Args:
        model: Folder or id.
        layer: Layer whose output is compared; None for the last.

    Raises:
        ModelError: The model cannot be loaded, or has no such layer.
    """
    loaded, tokenizer = load_pretrained("AutoModel", model)
    layers = loaded.config.num_hidden_layers
    if layer is not None and not 0 <= layer <= layers:
        raise ModelError(f"There is no layer {layer}.", where=model, fix=f"Give a layer from 0 to {layers}.")
    return Encoder(loaded, tokenizer, layers if layer is None else layer)


def bert_score(
    predictions: Sequence[str], references: References, encoder: Encoder, *, batch_size: int = 64
) -> FloatArray:
    """Score every prediction against its references.

    Args:
        predictions: n texts.
        references: For each one reference or several; the highest precision, recall and F1 count.
        encoder: From `load_encoder`.
        batch_size: Texts in a batch; the scores do not depend on it beyond rounding.

    Returns:
        float64 ``(n, 3)``: precision, recall, F1; 0 where either text is empty.
    """
    lists = as_lists(predictions, references)
    texts = sorted({text.strip() for row in (predictions, *lists) for text in row}, key=len)
    embedded: dict[str, torch.Tensor] = {}
    for start in range(0, len(texts), batch_size):
        batch = texts[start : start + batch_size]
        embedded |= zip(batch, _embed(batch, encoder), strict=True)
    table = np.zeros((len(predictions), len(MEASURES)))
    for i, (text, truths) in enumerate(zip(predictions, lists, strict=True)):
        rows = [_match(embedded[text.strip()], embedded[truth.strip()]) for truth in truths]
        table[i] = np.max(rows, axis=0)
    return table


def _embed(texts: Sequence[str], encoder: Encoder) -> list[torch.Tensor]:
    """Embed each text: float32 ``(tokens, 1 + width)``, a token's weight (0 for special ones) and unit embedding."""
    import torch

    tokenizer, model = encoder.tokenizer, encoder.model
    most = longest_input(model, tokenizer)
    ids = [tokenizer.encode(text, truncation=True, max_length=most) for text in texts]
    longest = max(map(len, ids))
    padded = torch.zeros(len(ids), longest, dtype=torch.long)
    mask = torch.zeros(len(ids), longest, dtype=torch.long)
    for row, tokens in enumerate(ids):
        padded[row, : len(tokens)] = torch.tensor(tokens)
        mask[row, : len(tokens)] = 1
    padded = torch.where(mask > 0, padded, tokenizer.pad_token_id or 0)
    with torch.no_grad():
        out = model(padded.to(model.device), attention_mask=mask.to(model.device), output_hidden_states=True)
    hidden = torch.nn.functional.normalize(out.hidden_states[encoder.layer].cpu(), dim=-1)
    special = torch.tensor([i for i in (tokenizer.cls_token_id, tokenizer.sep_token_id) if i is not None])
    weight = (~torch.isin(padded, special)).float()
    return [
        torch.cat([weight[row, : len(tokens), None], hidden[row, : len(tokens)]], dim=-1)
        for row, tokens in enumerate(ids)
    ]


def _match(got: torch.Tensor, wanted: torch.Tensor) -> tuple[float, float, float]:
    weight_got, weight_wanted = got[:, 0], wanted[:, 0]
    if not weight_got.any() or not weight_wanted.any():
        return 0.0, 0.0, 0.0
    similar = got[:, 1:] @ wanted[:, 1:].T  # (tokens of the prediction, tokens of the reference)
    precision = float((similar.amax(dim=1) * weight_got).sum() / weight_got.sum())
    recall = float((similar.amax(dim=0) * weight_wanted).sum() / weight_wanted.sum())
    total = precision + recall
    return precision, recall, 2 * precision * recall / total if total else 0.0


def bertscore_metric(model: str, layer: str) -> Metric:
    """Mean BERTScore F1, with precision and recall as details.

    Raises:
        ConfigError: No model was named, or the layer is not a number.
    """
    if not model:
        raise ConfigError("The metric 'bertscore' needs an encoder.", fix="Name one: bertscore:model=FOLDER_OR_ID.")
    if layer and not layer.isdecimal():
        raise ConfigError(
            f"'{layer}' is no layer of an encoder.", fix="Give a whole number: bertscore:model=…:layer=9."
        )

    def statistics(predictions: Sequence[Prediction]) -> FloatArray:
        encoder = load_encoder(model, int(layer) if layer else None)
        return with_count(bert_score([p.text for p in predictions], [p.targets for p in predictions], encoder))

    def aggregate(sums: FloatArray) -> FloatArray:
        return mean_of(sums)[..., 2:]

    def details(sums: FloatArray) -> Details:
        return (dict(zip(MEASURES, map(float, mean_of(sums)), strict=True)),)

    options = f"model:{fingerprint(model)}|layer:{layer or 'last'}|idf:no|rescaled:no"
    return Metric("bertscore", ("bertscore",), "bertscore", True, options, statistics, aggregate, details)
