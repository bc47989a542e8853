"""The engine as a model of `lm-eval`, so that its tasks are computed at our speed: its own prompts, tokens and rules.

    python -m luthier.evaluation.lm_eval run --model luthier --model_args pretrained=mini,adapter=my-lora --tasks piqa

Tokens, windows and what is done with answers are those of its ``hf`` model, which this one is in all but the computing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lm_eval.__main__ import cli_evaluate
from lm_eval.api.registry import register_model

from luthier.evaluation.harness.tokens import EngineLM
from luthier.inference.generation import generate
from luthier.inference.scoring import BUDGET
from luthier.methods.adapter_io import load_adapter
from luthier.models.load import load_model
from luthier.progress import progress


@register_model("luthier")
class LuthierLM(EngineLM):
    """A model of ours for `lm-eval`.

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
        model = load_model(pretrained, device=named, trust_remote_code=trust_remote_code)
        if adapter is not None:
            load_adapter(model, Path(adapter))
            model.keep_free(model.virtual_tokens)
        super().__init__(model, max_length=max_length, batch_tokens=int(batch_tokens))

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
        how = self.writing(rules)
        prompts = [self.prompt(text, how.room, str(number)) for number, text in enumerate(contexts)]
        found = generate(self.luthier, prompts, how.decoding, how.ending, budget=self.batch_tokens)
        return [answer.text for answer in found]


if __name__ == "__main__":
    cli_evaluate()
