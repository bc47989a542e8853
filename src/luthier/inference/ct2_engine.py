"""CTranslate2 as an engine: a converted model scores given targets and generates, on a CPU.

In float32 it gives the numbers of the model that was converted. A prefix that prompts share is computed once.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from luthier.config.advice import how_to_set, use_torch
from luthier.config.decoding import DecodingConfig
from luthier.data.batching import plan_batches
from luthier.errors import ConfigError, ModelError
from luthier.inference.prefix_tree import sort_key
from luthier.inference.static_prompts import CALL, group
from luthier.inference.stop_conditions import GeneratedText, Generation, StopConditions, up_to_end
from luthier.kernels.branches import common_prefix
from luthier.records import Encoded, TokenIds

Precision: TypeAlias = Literal["float32", "int8"]
_WORTH = 32
"""Minimum length of a prefix shared by all prompts that is computed separately before generation."""
_LOGITS = 2**26
"""Maximum number of logits held at a time where whole rows are scored."""


class CTranslate2:
    """A converted model, an :class:`~luthier.inference.engine.Engine`; see :mod:`luthier.inference.ct2_convert`.

    Args:
        folder: In CTranslate2's format; its tokens are named by their ids.
        precision: Of the weights.
        encoder_decoder: Which of the two kinds it is.
        vocabulary: Rows of the output distribution.
        window: Tokens that every layer sees: CTranslate2 is not asked for more.
        begin: Token that begins every answer of an encoder-decoder, or None.

    Attributes:
        signature: See :class:`~luthier.inference.engine.Engine`.

    Raises:
        RuntimeError: When the folder holds no converted model.
    """

    def __init__(
        self,
        folder: Path,
        precision: Precision,
        *,
        encoder_decoder: bool,
        vocabulary: int,
        window: float = math.inf,
        begin: int | None = None,
    ) -> None:
        import ctranslate2

        self.signature = f"ctranslate2-{precision}-{ctranslate2.__version__}"
        self.encoder_decoder = encoder_decoder
        self.vocabulary = vocabulary
        self.window = window
        self._prefix = None if begin is None else [str(begin)]
        kind = ctranslate2.Translator if encoder_decoder else ctranslate2.Generator
        self._runner: Any = kind(
            str(folder), device="cpu", compute_type=precision, intra_threads=torch.get_num_threads()
        )
        self._held = 0  # tokens whose keys and values CTranslate2 keeps

    def answer_logprobs(self, batch: Sequence[Encoded], *, budget: int) -> list[float]:
        """Return the sum of the target tokens' log-probabilities (nats) of each item of a batch.

        Args:
            batch: In any order.
            budget: Tokens read at a time at most; a longer item is read by itself.

        Raises:
            ModelError: When an item is longer than the model's window.
        """
        self._require_seen(max((len(item.prompt_ids) + len(item.target_ids) for item in batch), default=0))
        stepwise = set() if self.encoder_decoder else _worth_steps(batch)
        by_step = [index for index in range(len(batch)) if index in stepwise]
        by_row = [index for index in range(len(batch)) if index not in stepwise]
        found = dict(zip(by_step, self._by_step([batch[index] for index in by_step], budget), strict=True))
        found |= dict(zip(by_row, self._by_row([batch[index] for index in by_row], budget), strict=True))
        return [found[index] for index in range(len(batch))]

    def generate(
        self,
        prompts: Sequence[Encoded],
        decoding: DecodingConfig,
        stop_conditions: StopConditions,
        *,
        budget: int | None = None,
    ) -> list[Generation]:
        """Generate greedily after each prompt.

        Args:
            prompts: Their ``prompt_ids`` are read.
            decoding: Greedy.
            stop_conditions: What ends an answer.
            budget: Tokens of prompts and answers held at a time at most; one sequence is always held.

        Returns:
            Generations in the order of the prompts.

        Raises:
            ConfigError: When the decoding is not greedy.
            ModelError: When a prompt with its answer may be longer than the model's window.
        """
        require_greedy(decoding)
        if not prompts:
            return []
        rows = [prompt.prompt_ids for prompt in prompts]
        self._require_seen(max(map(len, rows)) + stop_conditions.limit)
        shared = 0 if self.encoder_decoder else _shared(rows)
        found: dict[int, Generation] = {}
        for chosen in _batches([len(row) for row in rows], shared, stop_conditions.limit, budget):
            answers = self._write([rows[index] for index in chosen], shared, stop_conditions)
            found |= dict(zip(chosen, answers, strict=True))
        self._let_go(shared, budget)
        return [found[index] for index in range(len(prompts))]

    def _write(self, rows: Sequence[TokenIds], shared: int, stop_conditions: StopConditions) -> list[Generation]:
        texts = [GeneratedText(stop_conditions) for _ in rows]

        def ended(step: Any) -> bool:
            return texts[step.batch_id].add(step.token_id) is not None

        common: dict[str, Any] = {
            "beam_size": 1,
            "end_token": sorted(stop_conditions.end_ids),
            "return_end_token": True,
            "callback": ended if stop_conditions.stop else None,
        }
        if self.encoder_decoder:
            output = self._runner.translate_batch(
                [_names(row) for row in rows],
                max_input_length=0,
                max_decoding_length=stop_conditions.limit,
                min_decoding_length=0,
                target_prefix=None if self._prefix is None else [self._prefix] * len(rows),
                **common,
            )
            written = [[int(token) for token in own.hypotheses[0]] for own in output]
        else:
            output = self._runner.generate_batch(
                [_names(row[shared:]) for row in rows],
                static_prompt=_names(rows[0][:shared]) or None,
                include_prompt_in_result=False,
                max_length=stop_conditions.limit,
                **common,
            )
            written = [own.sequences_ids[0] for own in output]
        return [up_to_end(tokens, stop_conditions) for tokens in written]

    def _by_step(self, items: Sequence[Encoded], budget: int) -> Iterator[float]:
        """Score each token by the distribution after its context; shared prefixes are computed once."""
        contexts = _Contexts()
        tokens = [
            [
                contexts.ask(np.concatenate([item.prompt_ids, item.target_ids[:place]]), int(token))
                for place, token in enumerate(item.target_ids)
            ]
            for item in items
        ]
        logs: dict[tuple[int, int], float] = {}
        for own in group(contexts.rows) if contexts.rows else []:
            for chosen in _alike(contexts.rows, own.rows, budget):
                distributions = self._next([contexts.rows[row] for row in chosen], own.shared).log_softmax(dim=1)
                for row, distribution in zip(chosen, distributions, strict=True):
                    logs |= {(row, token): float(distribution[token]) for token in contexts.asked[row]}
            self._let_go(own.shared, budget)
        return (math.fsum(logs[key] for key in keys) for keys in tokens)

    def _next(self, rows: Sequence[TokenIds], shared: int) -> Tensor:
        """Return float32 ``(rows, vocabulary)``: the logits after rows of equal length with a shared prefix."""
        output = self._runner.generate_batch(
            [_names(row[shared:]) for row in rows],
            static_prompt=_names(rows[0][:shared]) or None,
            include_prompt_in_result=False,
            max_length=1,
            end_token=[],
            return_logits_vocab=True,
        )
        return torch.from_numpy(np.stack([np.array(own.logits[0][-1]) for own in output]))

    def _by_row(self, items: Sequence[Encoded], budget: int) -> Iterator[float]:
        """Score each item with its whole prompt, in batches of similar length."""
        found: dict[int, float] = {}
        room = min(budget, _LOGITS // self.vocabulary)
        lengths = [len(item.prompt_ids) + len(item.target_ids) for item in items]
        for chosen in plan_batches(lengths, room) if items else []:
            prompts = [_names(items[index].prompt_ids) for index in chosen]
            targets = [_names(items[index].target_ids) for index in chosen]
            if self.encoder_decoder:
                output = self._runner.score_batch(prompts, targets, max_input_length=0)
            else:
                whole = [prompt + target for prompt, target in zip(prompts, targets, strict=True)]
                output = self._runner.score_batch(whole, max_input_length=0)
            for index, target, own in zip(chosen, targets, output, strict=True):
                # A decoder's first scores belong to the prompt, an encoder-decoder's last one to an end token.
                logs = own.log_probs[: len(target)] if self.encoder_decoder else own.log_probs[-len(target) :]
                found[index] = math.fsum(logs)
        return (found[index] for index in range(len(items)))

    def _require_seen(self, tokens: int) -> None:
        if tokens > self.window:
            raise ModelError(
                f"{tokens} tokens do not fit the window of {self.window:g} tokens that some layers of the model have; "
                "beyond it CTranslate2 gives other numbers",
                where="evaluation.engine",
                fix=f"Shorten them with {how_to_set('data.max_length', f'{self.window:g}')}, or {use_torch()}.",
            )

    def _let_go(self, tokens: int, budget: int | None) -> None:
        """Count the cached tokens of shared prefixes; above the limit the whole cache is dropped."""
        self._held += tokens
        if self._held > (math.inf if budget is None else budget):
            self._runner.unload_model()  # the only way to drop the cache
            self._runner.load_model()
            self._held = 0


def require_greedy(decoding: DecodingConfig) -> None:
    """Check that CTranslate2 can generate as torch would.

    Raises:
        ConfigError: When they are sampled (CTranslate2 has no random stream for each request) or searched by beams.
    """
    if decoding.temperature > 0:
        raise ConfigError(
            f"CTranslate2 writes greedily, and decoding.temperature is {decoding.temperature:g}",
            where="evaluation.engine",
            fix=f"Give {how_to_set('decoding.temperature', '0')}, or {use_torch()}.",
        )
    if decoding.beams > 1:
        raise ConfigError(
            f"CTranslate2 writes greedily, and decoding.beams is {decoding.beams}",
            where="evaluation.engine",
            fix=f"Give {how_to_set('decoding.beams', '1')}, or {use_torch()}.",
        )


@dataclass
class _Contexts:
    """Distinct contexts, and the tokens whose log-probabilities are needed after each."""

    rows: list[TokenIds] = field(default_factory=list)
    asked: list[set[int]] = field(default_factory=list)
    _places: dict[bytes, int] = field(default_factory=dict)

    def ask(self, context: TokenIds, token: int) -> tuple[int, int]:
        """Register a token that is needed; return the index of its context, and the token."""
        place = self._places.setdefault(context.tobytes(), len(self.rows))
        if place == len(self.rows):
            self.rows.append(context)
            self.asked.append(set())
        self.asked[place].add(token)
        return place, token


def _worth_steps(batch: Sequence[Encoded]) -> set[int]:
    """Return the items for which single steps are cheaper: short targets, or prompts with long shared prefixes."""
    alike: dict[bytes, list[int]] = {}
    for index, item in enumerate(batch):
        alike.setdefault(sort_key(item.prompt_ids), []).append(index)
    order = sorted(alike)
    prompts = [batch[alike[key][0]].prompt_ids for key in order]
    shared = [0, *(common_prefix(one, other) for one, other in itertools.pairwise(prompts)), 0]
    chosen: set[int] = set()
    for place, key in enumerate(order):
        prompt = len(prompts[place])
        answers = [len(batch[index].target_ids) for index in alike[key]]
        fresh = prompt - max(shared[place : place + 2])
        steps = fresh + sum(answer * (answer - 1) // 2 for answer in answers) + CALL * max(answers)
        if steps < sum(prompt + answer for answer in answers):
            chosen.update(alike[key])
    return chosen


def _alike(rows: Sequence[TokenIds], chosen: Sequence[int], budget: int) -> Iterator[tuple[int, ...]]:
    """Cut rows into batches of equal length: in uneven ones CTranslate2 computes a part token by token."""

    def size(row: int) -> int:
        return len(rows[row])

    for length, alike in itertools.groupby(sorted(chosen, key=size), key=size):
        own, most = tuple(alike), max(1, budget // length)
        yield from (own[start : start + most] for start in range(0, len(own), most))


def _batches(lengths: Sequence[int], shared: int, new_tokens: int, budget: int | None) -> Iterator[list[int]]:
    """Cut prompts, sorted by length, into batches, the longest first: if memory does not suffice, it fails at once.

    What a prompt has more than the shortest of its batch is read token by token: a step for all, as costly as one of
    writing, so prompts differ by half of what may be written at most. A single token has a batch of its own: beside it,
    CTranslate2 would take what it reads so for a part of the answer.
    """
    most = math.inf if budget is None else budget
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        longest = lengths[batch[0]] if batch else lengths[index]
        full = (len(batch) + 1) * (longest + new_tokens) > most
        unlike = longest - lengths[index] > (0 if lengths[index] == shared + 1 else new_tokens // 2)
        if batch and (full or unlike):
            yield batch
            batch = []
        batch.append(index)
    yield batch


def _shared(rows: Sequence[TokenIds]) -> int:
    """Return the length of the prefix shared by all rows, or 0 where it is too short to compute separately."""
    low, high = min(rows, key=sort_key), max(rows, key=sort_key)
    shared = min(common_prefix(low, high), min(len(row) for row in rows) - 1)
    return shared if len(rows) > 1 and shared >= _WORTH else 0


def _names(ids: TokenIds) -> list[str]:
    return [str(token) for token in ids.tolist()]
