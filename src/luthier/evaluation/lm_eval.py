"""The engine as a model of `lm-eval`, so that its tasks are computed at our speed: its own prompts, tokens and rules.

    python -m luthier.evaluation.lm_eval run --model luthier --model_args pretrained=mini,adapter=my-lora --tasks piqa

Tokens, windows and what is done with answers are those of its ``hf`` model, which this one is in all but the computing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lm_eval.__main__ import cli_evaluate
from lm_eval.api.registry import register_model
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs

from luthier.config.decoding import DecodingConfig
from luthier.data.special_tokens import stop_tokens
from luthier.errors import ConfigError
from luthier.inference.generation import generate
from luthier.inference.scoring import BUDGET, score_answers
from luthier.inference.stop_conditions import StopConditions
from luthier.methods.adapter_io import load_adapter
from luthier.models.load import load_model
from luthier.progress import progress
from luthier.records import Encoded

_KNOWN = {"do_sample", "temperature", "top_k", "top_p", "until", "max_gen_toks"}
_WINDOWS_AT_ONCE = 256


@register_model("luthier")
class LuthierLM(HFLM):  # type: ignore[misc]  # lm-eval has no types
    """A model of ours for `lm-eval`.

    An answer of an encoder-decoder ends at the tokens that the task allows; the ``hf`` model of `lm-eval` adds the
    length of the prompt to them.

    Args:
        pretrained: Hugging Face id, folder, or ``mini``.
        adapter: Folder of an adapter, ours or in PEFT's layout.
        batch_tokens: Tokens in one forward pass.
        device: As torch spells it; the best there is when not given.
        trust_remote_code: Run Python code that comes with the model.
        max_length: Tokens of prompt and answer at most; the model's own limit when not given.
        batch_size: Taken because `lm-eval` gives it; batches are made by tokens.
        max_batch_size: The same.
    """

    def __init__(
        self,
        pretrained: str,
        adapter: str | None = None,
        batch_tokens: int | str = BUDGET,
        device: str | None = None,
        trust_remote_code: bool = False,
        max_length: int | None = None,
        batch_size: int | str | None = None,
        max_batch_size: int | None = None,
    ) -> None:
        del batch_size, max_batch_size
        # `lm_eval` gives this device where nobody has named one.
        named = None if device == "cuda:0" and not torch.cuda.is_available() else device
        self.luthier = load_model(pretrained, device=named, trust_remote_code=trust_remote_code)
        if adapter is not None:
            load_adapter(self.luthier, Path(adapter))
            self.luthier.keep_free(self.luthier.virtual_tokens)
        self.batch_tokens = int(batch_tokens)
        super().__init__(
            pretrained=self.luthier.module,
            tokenizer=self.luthier.tokenizer,
            max_length=max_length or self.luthier.max_length,
            batch_size=_WINDOWS_AT_ONCE,
        )

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], disable_tqdm: bool = False, **_options: object
    ) -> list[tuple[float, bool]]:
        items = [
            Encoded(str(number), *self._cut(context, answer)) for number, (_, context, answer) in enumerate(requests)
        ]
        found = [
            (score.logprob, score.greedy) for score in score_answers(self.luthier, items, budget=self.batch_tokens)
        ]
        for (asked, _, _), score in zip(requests, found, strict=True):
            if asked is not None:
                self.cache_hook.add_partial("loglikelihood", asked, score)
        return found

    def _cut(self, context: list[int], answer: list[int]) -> tuple[Any, Any]:
        """Cut on the left what does not fit, as `lm-eval` does: the last token of an answer is never read."""
        if self.luthier.encoder_decoder:
            return _ids(context[-self.max_length :]), _ids(answer[-self.max_length :])
        whole = (context + answer)[-(self.max_length + 1) :]
        return _ids(whole[: len(whole) - len(answer)]), _ids(answer)

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Answer each request by the rules that it carries."""
        groups: dict[str, list[int]] = {}
        for index, request in enumerate(requests):
            groups.setdefault(repr(sorted(request.args[1].items(), key=repr)), []).append(index)
        texts: dict[int, str] = {}
        with progress("generate_until", len(requests), "requests") as advance:
            for indices in groups.values():
                answers = self._write([requests[index].args[0] for index in indices], requests[indices[0]].args[1])
                texts |= dict(zip(indices, answers, strict=True))
                advance(len(indices), "")
        for index, request in enumerate(requests):
            self.cache_hook.add_partial("generate_until", request.args, texts[index])
        return [texts[index] for index in range(len(requests))]

    def _write(self, contexts: Sequence[str], rules: dict[str, Any]) -> list[str]:
        settings = normalize_gen_kwargs(rules, self.max_gen_toks)
        unknown = sorted(settings.keys() - _KNOWN)
        if unknown:
            raise ConfigError(
                f"the task asks for {', '.join(unknown)} in generation, which is not known here",
                where="generation_kwargs",
                fix="Run this task with --model hf, or without them.",
            )
        end = self.tok_decode(self.eot_token_id, skip_special_tokens=False)
        stop = [text for text in handle_stop_sequences(settings["until"], eos=end) if text]
        limit = int(settings["max_gen_toks"])
        room = self.max_length if self.luthier.encoder_decoder else self.max_length - limit
        if room < 1:
            raise ConfigError(
                f"answers of {limit} tokens leave no room for a prompt in {self.max_length}",
                where="max_gen_toks",
                fix="Lower it with --gen_kwargs max_gen_toks=N.",
            )
        prompts = [
            Encoded(str(number), _ids(self.tok_encode(text)[-room:]), _ids([])) for number, text in enumerate(contexts)
        ]
        decoding = DecodingConfig(
            temperature=settings["temperature"] if settings["do_sample"] else 0.0,
            top_k=settings.get("top_k"),
            top_p=settings.get("top_p"),
        )
        ids, texts = stop_tokens(self.tokenizer, stop)
        ending = StopConditions(lambda ids: str(self.tok_decode(ids)), limit, self.luthier.end_ids | ids, texts)
        found = generate(self.luthier, prompts, decoding, ending, budget=self.batch_tokens)
        return [answer.text for answer in found]


def _ids(tokens: Sequence[int]) -> Any:
    return np.asarray(tokens, dtype=np.int32)


if __name__ == "__main__":
    cli_evaluate()
