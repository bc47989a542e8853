"""A model that answers texts in Python, by the same encoder, generator and scorer as every evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from luthier.config.decoding import DecodingConfig
from luthier.data.encoding import Encoder
from luthier.errors import DataError
from luthier.evaluation.requests import GenerationSettings, encode_requests, predict_all
from luthier.inference.scoring import BUDGET
from luthier.methods.adapter_io import load_adapter
from luthier.metrics.choice import calibration
from luthier.models.load import load_model
from luthier.records import Example, Prediction


@dataclass(frozen=True, slots=True)
class Classified:
    """A choice.

    Attributes:
        choice: The most probable one.
        probabilities: Of every choice, in their order: the softmax of the log-probabilities of their tokens.
    """

    choice: str
    probabilities: dict[str, float]


class Model:
    """A language model, with an adapter or without, that answers texts.

    Args:
        name: A Hugging Face id, a folder, a GGUF file, or ``mini``.
        adapter: A folder that ``tune`` wrote, or an adapter in PEFT's layout.
        device: As torch spells it; the best there is when not given.
        chat: Whether the model's chat template is used: where it has one (``auto``), never, or always.

    Raises:
        ModelError: When model or adapter cannot be loaded, or do not belong together.
    """

    def __init__(
        self,
        name: str,
        *,
        adapter: Path | str | None = None,
        device: str | None = None,
        chat: Literal["auto", "never", "always"] = "auto",
    ) -> None:
        self._model = load_model(name, device=device)
        if adapter is not None:
            load_adapter(self._model, Path(adapter))
        self._model.keep_free(self._model.virtual_tokens)
        self._encoder = Encoder(
            self._model.tokenizer,
            encoder_decoder=self._model.encoder_decoder,
            max_length=self._model.max_length,
            chat=chat,
            task_wants_chat=True,
            model_tokens=self._model.tokens,
        )

    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_new_tokens: int = 128,
        stop: Sequence[str] = (),
        decoding: DecodingConfig | None = None,
    ) -> list[str]:
        """Return a text for each prompt, in their order.

        Args:
            prompts: What is asked.
            max_new_tokens: Tokens of an answer at most.
            stop: Texts that end an answer.
            decoding: How tokens are chosen; greedily when not given.

        Raises:
            DataError: When a prompt is empty, or does not fit with its answer.
        """
        generation = GenerationSettings(decoding or DecodingConfig(), max_new_tokens, tuple(stop))
        return [own.text for own in self._answer(prompts, (), generation)]

    def classify(self, prompts: Sequence[str], choices: Sequence[str]) -> list[Classified]:
        """Return the most probable of the choices for each prompt, in their order.

        Raises:
            DataError: When there are fewer than two choices, or a prompt is empty or does not fit with them.
        """
        distinct = tuple(dict.fromkeys(choices))
        if len(distinct) < 2 or not all(distinct):
            raise DataError("two choices or more are needed, none of them empty", where="choices")
        answers = self._answer(prompts, distinct, GenerationSettings(DecodingConfig(), 1))
        return [Classified(own.text, choice_probabilities(own)) for own in answers]

    def _answer(
        self, prompts: Sequence[str], choices: tuple[str, ...], generation: GenerationSettings
    ) -> list[Prediction]:
        if isinstance(prompts, str):
            raise DataError("a text was given where a list of texts belongs", where="prompts", fix="Write [text].")
        examples = [Example(str(n), "prompts", "as it is", text, (), choices) for n, text in enumerate(prompts)]
        empty = next((item.id for item in examples if not item.prompt.strip()), None)
        if empty is not None:
            raise DataError("the prompt is empty", where=f"prompts[{empty}]")
        requests, dropped = encode_requests(examples, self._encoder, new_tokens=generation.new_tokens)
        if dropped:
            raise DataError(dropped[0].reason, where=f"prompts[{dropped[0].id}]", fix="Shorten it.")
        batches = predict_all(self._model, self._encoder, requests, generation, batch_tokens=BUDGET)
        found = {own.id: own for batch in batches for own in batch}
        return [found[item.id] for item in examples]


def choice_probabilities(prediction: Prediction) -> dict[str, float]:
    """Return the probability of each choice among the choices: the softmax of their log-probabilities."""
    return dict(zip(prediction.choices, map(float, calibration.choice_probabilities(prediction)), strict=True))
