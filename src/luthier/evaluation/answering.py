"""A model that answers texts in Python, by the same encoder, generator and scorer as every evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from luthier.arguments import as_name, as_path, as_texts, as_whole, require_kind, shown
from luthier.config.decoding import DecodingConfig
from luthier.data.encoding import Encoder
from luthier.errors import ConfigError, DataError, LuthierError, did_you_mean, raise_faults
from luthier.evaluation.requests import GenerationSettings, encode_requests, predict_all
from luthier.inference.scoring import BUDGET
from luthier.methods.adapter_io import load_adapter
from luthier.metrics.choice import calibration
from luthier.models.load import load_model
from luthier.records import Example, Prediction

Chat: TypeAlias = Literal["auto", "never", "always"]


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
        ConfigError: When an argument is of another kind.
        ModelError: When model or adapter cannot be loaded, or do not belong together.
    """

    def __init__(
        self,
        name: str | Path,
        *,
        adapter: str | Path | None = None,
        device: str | None = None,
        chat: Chat = "auto",
    ) -> None:
        name = as_name(name, where="Model(name)")
        self._adapter = None if adapter is None else as_path(adapter, where="Model(adapter)")
        if chat not in get_args(Chat):
            fix = did_you_mean(str(chat), get_args(Chat))
            raise ConfigError(f"this says nothing of chat: {shown(chat)}", where="Model(chat)", fix=fix)
        self._model = load_model(name, device=device)
        if self._adapter is not None:
            load_adapter(self._model, self._adapter)
        self._model.keep_free(self._model.virtual_tokens)
        self._encoder = Encoder(
            self._model.tokenizer,
            encoder_decoder=self._model.encoder_decoder,
            max_length=self._model.max_length,
            chat=chat,
            task_wants_chat=True,
            model_tokens=self._model.tokens,
        )

    def __repr__(self) -> str:
        adapter = "" if self._adapter is None else f", adapter={str(self._adapter)!r}"
        return f"Model({self._model.name!r}{adapter}, device='{self._model.device}')"

    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_new_tokens: int = 128,
        stop: str | Sequence[str] = (),
        decoding: DecodingConfig | None = None,
    ) -> list[str]:
        """Return a text for each prompt, in their order.

        Args:
            prompts: What is asked.
            max_new_tokens: Tokens of an answer at most.
            stop: Texts that end an answer, or one such text.
            decoding: How tokens are chosen; greedily when not given.

        Raises:
            ConfigError: When an argument is of another kind.
            DataError: When a prompt is no text, is empty, or does not fit with its answer.
        """
        if decoding is not None:
            require_kind(decoding, DecodingConfig, where="generate(decoding)", fix="Write DecodingConfig(…).")
        count = as_whole(max_new_tokens, least=1, where="generate(max_new_tokens)")
        stops = as_texts([stop] if isinstance(stop, str) else stop, where="generate(stop)", some="texts")
        if "" in stops:
            raise ConfigError("a text that ends an answer is empty", where="generate(stop)", fix="Leave it out.")
        generation = GenerationSettings(decoding or DecodingConfig(), count, tuple(stops))
        return [own.text for own in self._answer(prompts, (), generation)]

    def classify(self, prompts: Sequence[str], choices: Sequence[str]) -> list[Classified]:
        """Return the most probable of the choices for each prompt, in their order.

        Raises:
            DataError: When there are fewer than two choices, or a prompt is empty or does not fit with them.
        """
        distinct = tuple(dict.fromkeys(as_texts(choices, where="choices", some="choices")))
        if len(distinct) < 2 or not all(choice.strip() for choice in distinct):
            what = f"two choices or more are needed, none of them empty: {shown(list(choices))}"
            raise DataError(what, where="choices", fix='Write classify(prompts, ["yes", "no"]).')
        answers = self._answer(prompts, distinct, GenerationSettings(DecodingConfig(), 1))
        return [Classified(own.text, choice_probabilities(own)) for own in answers]

    def _answer(
        self, prompts: Sequence[str], choices: tuple[str, ...], generation: GenerationSettings
    ) -> list[Prediction]:
        texts = as_texts(prompts, where="prompts", some="prompts")
        examples = [Example(str(n), "prompts", "as it is", text, (), choices) for n, text in enumerate(texts)]
        empty = [item.id for item in examples if not item.prompt.strip()]
        _raise_each(dict.fromkeys(empty, "the prompt is empty"), "Write something, or leave it out.")
        requests, dropped = encode_requests(examples, self._encoder, new_tokens=generation.new_tokens)
        _raise_each({item.id: item.reason for item in dropped}, "Shorten it, or ask for fewer new tokens.")
        batches = predict_all(self._model, self._encoder, requests, generation, batch_tokens=BUDGET)
        found = {own.id: own for batch in batches for own in batch}
        return [found[item.id] for item in examples]


def _raise_each(reasons: Mapping[str, str], fix: str) -> None:
    """Refuse prompts, each with its place and the reason."""
    faults: list[LuthierError] = [
        DataError(why, where=f"prompts[{number}]", fix=fix) for number, why in reasons.items()
    ]
    raise_faults(f"{len(faults)} prompts cannot be answered", faults)


def choice_probabilities(prediction: Prediction) -> dict[str, float]:
    """Return the probability of each choice among the choices: the softmax of their log-probabilities."""
    return dict(zip(prediction.choices, map(float, calibration.choice_probabilities(prediction)), strict=True))
