"""lm-eval's ``hf`` model in all but the computing: its tokens, its windows, and what it does with answers."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs

from luthier.config.advice import how_to_set
from luthier.config.decoding import DecodingConfig
from luthier.data.chat_rendering import apply_template
from luthier.data.special_tokens import stop_tokens
from luthier.errors import ConfigError, ModelError
from luthier.inference.scoring import BUDGET, AnswerScore, score_answers
from luthier.inference.stop_conditions import StopConditions
from luthier.models.language_model import LanguageModel
from luthier.records import Encoded

_KNOWN = {"do_sample", "temperature", "top_k", "top_p", "until", "max_gen_toks"}
_WINDOWS_AT_ONCE = 256


@dataclass(frozen=True)
class Writing:
    """How an answer is written.

    Attributes:
        decoding: Greedy or sampled.
        ending: What ends it.
        room: Tokens of a prompt at most; more are cut on its left.
    """

    decoding: DecodingConfig
    ending: StopConditions
    room: int

    @property
    def mark(self) -> str:
        """The same for answers that can be written together."""
        ending = self.ending
        return repr((self.decoding.model_dump_json(), ending.limit, ending.stop, sorted(ending.end_ids)))


class EngineLM(HFLM):  # type: ignore[misc]  # lm-eval has no types
    """A model of ours, as lm-eval asks one.

    An answer of an encoder-decoder ends at the tokens that the task allows; the ``hf`` model of lm-eval adds the
    length of the prompt to them.

    Args:
        model: The model, with whatever is attached to it.
        max_length: Tokens of prompt and answer at most; the model's own limit when not given.
        batch_tokens: Tokens in one forward pass.
    """

    def __init__(self, model: LanguageModel, *, max_length: int | None = None, batch_tokens: int = BUDGET) -> None:
        self.luthier = model
        self.batch_tokens = batch_tokens
        super().__init__(
            pretrained=model.module,
            tokenizer=copy.deepcopy(model.tokenizer),  # it is given a padding token
            max_length=max_length or model.max_length,
            batch_size=_WINDOWS_AT_ONCE,
        )

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], disable_tqdm: bool = False, **_options: object
    ) -> list[tuple[float, bool]]:
        items = [self._cut(str(number), context, answer) for number, (_, context, answer) in enumerate(requests)]
        found = [(score.logprob, score.greedy) for score in self.score(items)]
        for (asked, _, _), score in zip(requests, found, strict=True):
            if asked is not None:
                self.cache_hook.add_partial("loglikelihood", asked, score)
        return found

    def score(self, items: Sequence[Encoded]) -> list[AnswerScore]:
        """Score answers whose tokens are known."""
        return score_answers(self.luthier, items, budget=self.batch_tokens)

    def _cut(self, name: str, context: list[int], answer: list[int]) -> Encoded:
        """Cut on the left what does not fit, as lm-eval does: the last token of an answer is never read."""
        if self.luthier.encoder_decoder:
            prompt, answer = context[-self.max_length :], answer[-self.max_length :]
        else:
            room = max(0, self.max_length + 1 - len(answer))
            prompt = context[-room:] if room else []
        return Encoded(name, _ids(prompt), _ids(answer), cut_tokens=len(context) - len(prompt))

    def writing(self, rules: Mapping[str, Any], max_new_tokens: int | None = None) -> Writing:
        """Return how answers are written by the rules that a request carries.

        Args:
            rules: lm-eval's ``generation_kwargs``.
            max_new_tokens: Tokens of an answer at most, in place of those of the rules.

        Raises:
            ConfigError: When a rule is not known, or leaves no room for a prompt.
        """
        settings = normalize_gen_kwargs(dict(rules), self.max_gen_toks)
        unknown = sorted(settings.keys() - _KNOWN)
        if unknown:
            raise ConfigError(
                f"the task asks for {', '.join(unknown)} in generation, which is not known here",
                where="generation_kwargs",
                fix="Run this task with `lm_eval run --model hf`, or without them.",
            )
        end = self.tok_decode(self.eot_token_id, skip_special_tokens=False)
        stop = [text for text in handle_stop_sequences(settings["until"], eos=end) if text]
        limit = max_new_tokens or int(settings["max_gen_toks"])
        room = self.max_length if self.luthier.encoder_decoder else self.max_length - limit
        if room < 1:
            shorter = how_to_set("decoding.max_new_tokens", "N")
            raise ConfigError(
                f"answers of {limit} tokens leave no room for a prompt in {self.max_length}",
                where="max_gen_toks",
                fix=f"Lower it: {shorter} here, --gen_kwargs max_gen_toks=N in lm-eval.",
            )
        decoding = DecodingConfig(
            temperature=settings["temperature"] if settings["do_sample"] else 0.0,
            top_k=settings.get("top_k"),
            top_p=settings.get("top_p"),
        )
        ids, texts = stop_tokens(self.tokenizer, stop)
        ends = self.luthier.end_ids | ids
        return Writing(decoding, StopConditions(lambda ids: str(self.tok_decode(ids)), limit, ends, texts), room)

    def prompt(self, text: str, room: int, name: str) -> Encoded:
        """Return a prompt as tokens, cut on its left."""
        tokens = self.tok_encode(text)
        return Encoded(name, _ids(tokens[-room:]), _ids([]), cut_tokens=max(0, len(tokens) - room))


class RequestEncoder(EngineLM):
    """Turns requests of lm-eval into tokens, by the code that answers them; nothing is computed.

    Args:
        model: The model.
        max_length: Tokens of prompt and answer at most; the model's own limit when not given.
        chat_arguments: Arguments of the chat template.
    """

    def __init__(
        self,
        model: LanguageModel,
        *,
        max_length: int | None = None,
        chat_arguments: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(model, max_length=max_length)
        self._seen: list[Encoded] = []
        self._chat_arguments = chat_arguments or {}

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """Render a conversation within bounds of time and memory; without its system message where that fails.

        Where no generation prompt is wanted the last message is left open, to be continued.
        """
        ask, said = add_generation_prompt, chat_history[-1]["content"].strip()
        try:
            text = apply_template(self.tokenizer, chat_history, self._chat_arguments, ask=ask)
        except ModelError:
            others = [message for message in chat_history if message["role"] != "system"]
            text = apply_template(self.tokenizer, others, self._chat_arguments, ask=ask)
        return text if ask or said not in text else text[: text.rindex(said) + len(said)]

    def score(self, items: Sequence[Encoded]) -> list[AnswerScore]:
        """Note what would be scored."""
        self._seen += items
        return [AnswerScore(0.0, False)] * len(items)

    def scored(self, instances: Sequence[Any]) -> list[Encoded]:
        """Return the sequence of each ``loglikelihood`` request."""
        self._seen = []
        self.loglikelihood(list(instances), disable_tqdm=True)
        return self._seen

    def windows(self, instance: Any) -> list[Encoded]:
        """Return the windows of a ``loglikelihood_rolling`` request."""
        self._seen = []
        self.loglikelihood_rolling([instance], disable_tqdm=True)
        return self._seen


def _ids(tokens: Sequence[int]) -> Any:
    return np.asarray(tokens, dtype=np.int32)
