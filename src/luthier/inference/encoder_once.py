"""Log-probabilities of given targets by an encoder-decoder: each prompt is encoded once for all of its targets.

The decoder's first step, after its start token, gives the distribution of all first tokens; longer targets branch from
there, reusing the keys and values of the encoder's states.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from luthier.data.batching import plan_batches
from luthier.inference.tree_scoring import TargetScores
from luthier.models.encoder_decoder import EncoderDecoderModel
from luthier.models.language_model import pad
from luthier.records import Encoded


def encoder_once_logprobs(model: EncoderDecoderModel, batch: Sequence[Encoded], budget: int) -> TargetScores:
    """Score the targets of a batch.

    Args:
        model: An encoder-decoder, without keys and values before its targets.
        batch: In any order.
        budget: Tokens of prompts and targets in one forward pass at most, padding included.

    Returns:
        Of every target token, example after example in the order of the batch.
    """
    examples = batch if model.soft_prompt is None else model.soft_prompt.before_each(batch)
    asked: dict[bytes, list[int]] = {}
    for index, item in enumerate(examples):
        asked.setdefault(item.prompt_ids.tobytes(), []).append(index)
    groups = [asked[key] for key in sorted(asked)]
    sizes = [
        len(group) * max(len(examples[index].prompt_ids) + len(examples[index].target_ids) for index in group)
        for group in groups
    ]
    parts: dict[int, TargetScores] = {}
    for chosen in plan_batches(sizes, budget):
        members = [groups[place] for place in chosen]
        indices = [index for group in members for index in group]
        owners = [row for row, group in enumerate(members) for _ in group]
        items = [examples[index] for index in indices]
        lengths = [len(item.target_ids) for item in items]
        logs, likeliest = _score(model, items, owners)
        for index, log, top in zip(indices, torch.split(logs, lengths), torch.split(likeliest, lengths), strict=True):
            parts[index] = log, top
    return (
        torch.cat([parts[index][0] for index in range(len(examples))]),
        torch.cat([parts[index][1] for index in range(len(examples))]),
    )


def _score(model: EncoderDecoderModel, items: Sequence[Encoded], owners: Sequence[int]) -> TargetScores:
    """Score items whose prompts are encoded together; items of one owner share a prompt."""
    firsts = [owners.index(owner) for owner in range(max(owners) + 1)]
    ids, mask = pad([items[index].prompt_ids for index in firsts], side="right", value=0, device=model.device)  # (U, P)
    config = model.module.config
    cache = EncoderDecoderCache(DynamicCache(config=config), DynamicCache(config=config))
    with model.precision():
        states = model.module.get_encoder()(input_ids=ids, attention_mask=mask).last_hidden_state  # (U, P, D)
        start = torch.full((len(firsts), 1), model.start_id, device=model.device)
        logits = _decode(model, states, mask, start, cache)[:, 0]  # (U, V)
        rows = torch.tensor(owners, device=model.device)
        targets = [torch.from_numpy(item.target_ids.astype(np.int64)).to(model.device) for item in items]
        found = [_of_targets(logits[rows], torch.stack([target[0] for target in targets]))]
        longer = [index for index, target in enumerate(targets) if len(target) > 1]
        if longer:
            kept = rows[longer]
            cache.self_attention_cache.batch_select_indices(kept)
            cache.cross_attention_cache.batch_select_indices(kept)
            read, real = pad(
                [items[index].target_ids[:-1] for index in longer], side="right", value=0, device=model.device
            )
            logits = _decode(model, states[kept], mask[kept], read, cache)  # (R, T, V)
            found.append(_of_targets(logits[real.bool()], torch.cat([targets[index][1:] for index in longer])))
    return _in_order(found, [len(target) for target in targets])


def _decode(
    model: EncoderDecoderModel, states: Tensor, mask: Tensor, read: Tensor, cache: EncoderDecoderCache
) -> Tensor:
    output = model.module(
        encoder_outputs=BaseModelOutput(last_hidden_state=states),
        attention_mask=mask,
        decoder_input_ids=read,
        past_key_values=cache,
        use_cache=True,
    )
    logits: Tensor = output.logits
    return logits


def _of_targets(logits: Tensor, targets: Tensor) -> TargetScores:
    values = logits.float()
    chosen = values.gather(1, targets[:, None])[:, 0] - values.logsumexp(dim=1)
    return chosen.cpu(), (values.argmax(dim=1) == targets).cpu()


def _in_order(found: Sequence[TargetScores], lengths: Sequence[int]) -> TargetScores:
    """Merge the scores of first tokens and of later tokens, example after example."""
    starts = np.cumsum([0, *lengths[:-1]])
    places = np.concatenate(
        [starts, *(np.arange(start + 1, start + n) for start, n in zip(starts, lengths, strict=True))]
    )
    logs = torch.empty(sum(lengths), dtype=torch.float32)
    likeliest = torch.empty(sum(lengths), dtype=torch.bool)
    logs[places] = torch.cat([part[0] for part in found])
    likeliest[places] = torch.cat([part[1] for part in found])
    return logs, likeliest
